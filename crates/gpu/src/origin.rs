//! Where a variable's value came from. The promise of this library rests on this type: a fresh
//! device buffer reads as zeros, so content can never tell an empty variable from a zero one.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use warmstart_graph::words::{first_few, printable, printable_path};
use warmstart_graph::{Initializer, Shape};

/// Where a variable's value came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// There is no value, and why.
    Uninitialized(Missing),
    /// Made by an initializer.
    Initialized {
        /// The recipe.
        initializer: Initializer,
        /// The seed given to the session; with the variable's name it determines every bit.
        seed: u64,
    },
    /// Read from a checkpoint.
    Restored {
        /// The checkpoint's file. Variables from one checkpoint share it.
        file: Arc<Path>,
        /// The tensor's name in that file.
        name: Arc<str>,
        /// The training step the checkpoint was saved at, if it says so.
        step: Option<u64>,
    },
    /// Its first rows read from a checkpoint, the others made by an initializer.
    PartlyRestored {
        /// The checkpoint's file.
        file: Arc<Path>,
        /// The tensor's name in that file.
        name: Arc<str>,
        /// The training step the checkpoint was saved at, if it says so.
        step: Option<u64>,
        /// How many rows were read.
        rows: usize,
        /// How many there are.
        of: usize,
        /// The recipe of the others.
        initializer: Initializer,
        /// Its seed, as for `Initialized`.
        seed: u64,
    },
    /// Set by the program through `Session::assign`.
    Assigned,
    /// Written by a run, by `Tensor::assign_to`.
    Computed {
        /// Where the value came from that was there before, if that run read it, as a running average does;
        /// never itself `Computed` or `Trained`.
        from: Option<Box<Origin>>,
    },
    /// Changed by an optimizer since.
    Trained {
        /// Where the value that training began with came from; never itself `Trained`, nor `Computed` from
        /// something.
        from: Box<Origin>,
    },
}

/// Why a variable has no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Missing {
    /// No initializer ran, nothing was restored, and nothing was assigned.
    NeverInitialized,
    /// A checkpoint was restored that does not hold it.
    AbsentFromCheckpoint {
        /// The checkpoint's file.
        file: PathBuf,
        /// Names in that file that are close to the variable's.
        close: Vec<String>,
    },
    /// A checkpoint was restored whose value has another shape, and that was allowed.
    OtherShape {
        /// The checkpoint's file.
        file: PathBuf,
        /// The shape in that file.
        shape: Shape,
    },
    /// A checkpoint was restored under a rule that leaves the variable out.
    LeftOut {
        /// The checkpoint's file.
        file: PathBuf,
    },
    /// [`Session::discard_values`](crate::Session::discard_values) was called, and nothing gave it
    /// a value since.
    Discarded,
    /// A restore failed over it, and then the device failed to put the old value back.
    LostInRestore,
    /// The device failed while [`Session::initialize_all`](crate::Session::initialize_all) was writing
    /// over it.
    LostInInitialization,
}

impl Origin {
    /// Whether there is a value.
    pub fn has_value(&self) -> bool {
        !matches!(self, Origin::Uninitialized(_))
    }

    /// Whether training changed the value.
    pub fn is_trained(&self) -> bool {
        matches!(self, Origin::Trained { .. })
    }

    /// Whether losing the value would lose more than an initializer can make again.
    pub(crate) fn is_precious(&self) -> bool {
        !matches!(self, Origin::Uninitialized(_) | Origin::Initialized { .. })
    }

    /// What was there before runs changed it: itself, if none did, or if it was written over by one that did not
    /// read it.
    pub fn before_runs(&self) -> &Origin {
        match self {
            Origin::Trained { from } | Origin::Computed { from: Some(from) } => from.before_runs(),
            other => other,
        }
    }

    /// Whether an initialization with this seed made the value, or what runs made it from.
    pub(crate) fn is_of_seed(&self, wanted: u64) -> bool {
        matches!(self.before_runs(), Origin::Initialized { seed, .. } if *seed == wanted)
    }

    /// Notes a training step.
    pub(crate) fn train(&mut self) {
        if !self.is_trained() {
            *self = Origin::Trained { from: Box::new(self.before_runs().clone()) };
        }
    }

    /// Notes that a run wrote it, and whether it read what was there.
    pub(crate) fn compute(&mut self, read: bool) {
        // Where it came from stays; a training loop notes this at every step.
        if !(read && matches!(self, Origin::Computed { .. })) {
            let from = match self.before_runs() {
                Origin::Uninitialized(_) | Origin::Computed { .. } => None,
                from => read.then(|| Box::new(from.clone())),
            };
            *self = Origin::Computed { from };
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Uninitialized(missing) => write!(f, "uninitialized ({missing})"),
            Origin::Initialized { initializer, seed } => {
                write!(f, "initialized ({initializer}, seed {seed})")
            }
            Origin::Restored { file, name, step } => {
                write!(f, "restored ({})", Place { file, name, step })
            }
            Origin::PartlyRestored { file, name, step, rows, of, initializer, seed } => {
                let place = Place { file, name, step };
                write!(f, "{rows} of {of} rows restored ({place}), the others initialized ")?;
                write!(f, "({initializer}, seed {seed})")
            }
            Origin::Assigned => f.write_str("assigned"),
            Origin::Computed { from: None } => f.write_str("computed"),
            Origin::Computed { from: Some(from) } => write!(f, "computed, from {from}"),
            Origin::Trained { from } => write!(f, "trained, from {from}"),
        }
    }
}

/// Names that are listed in one line.
pub(crate) const SHOWN: usize = 5;

/// Where in which checkpoint.
struct Place<'a> {
    file: &'a Path,
    name: &'a str,
    step: &'a Option<u64>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All of it: two runs have files of the same names.
        write!(f, "{}: {}", printable_path(self.file), printable(self.name))?;
        self.step.map_or(Ok(()), |step| write!(f, ", step {step}"))
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::NeverInitialized => f.write_str("never given a value"),
            Missing::AbsentFromCheckpoint { file, close } => {
                write!(f, "absent from {}", printable_path(file))?;
                if !close.is_empty() {
                    let close = close.iter().map(|name| printable(name));
                    write!(f, ", which has {}", first_few(close, SHOWN))?;
                }
                Ok(())
            }
            Missing::OtherShape { file, shape } => {
                write!(f, "{} has it with shape {shape}", printable_path(file))
            }
            Missing::LeftOut { file } => {
                write!(f, "left out of the restore of {} by a rule", printable_path(file))
            }
            Missing::Discarded => f.write_str("discarded"),
            Missing::LostInRestore => f.write_str("lost in a failed restore"),
            Missing::LostInInitialization => f.write_str("lost in a failed initialization"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_one_line() {
        let restored = Origin::Restored {
            file: Path::new("runs/a/step-500.safetensors").into(),
            name: "fc1/weight".into(),
            step: Some(500),
        };
        assert_eq!(
            restored.to_string(),
            "restored (runs/a/step-500.safetensors: fc1/weight, step 500)"
        );
        let mut trained = restored;
        trained.train();
        assert_eq!(
            trained.to_string(),
            "trained, from restored (runs/a/step-500.safetensors: fc1/weight, step 500)"
        );
        let once = trained.clone();
        trained.train();
        assert_eq!(trained, once);
        let grown = Origin::PartlyRestored {
            file: Path::new("runs/a.safetensors").into(),
            name: "table".into(),
            step: None,
            rows: 10,
            of: 12,
            initializer: Initializer::Zeros,
            seed: 3,
        };
        assert_eq!(
            grown.to_string(),
            "10 of 12 rows restored (runs/a.safetensors: table), the others initialized (zeros, seed 3)"
        );
        let made = Origin::Initialized { initializer: Initializer::GlorotUniform, seed: 7 };
        assert_eq!(made.to_string(), "initialized (glorot_uniform, seed 7)");
        let absent = Origin::Uninitialized(Missing::AbsentFromCheckpoint {
            file: "a.safetensors".into(),
            close: vec!["fc1/w".into()],
        });
        assert_eq!(
            absent.to_string(),
            "uninitialized (absent from a.safetensors, which has fc1/w)"
        );
    }

    /// However often an optimizer and a graph's own updates take turns.
    #[test]
    fn what_runs_change_comes_from_what_was_there_before() {
        let made = Origin::Initialized { initializer: Initializer::Zeros, seed: 7 };
        let mut origin = made.clone();
        for _ in 0..3 {
            origin.train();
            assert_eq!(origin.to_string(), "trained, from initialized (zeros, seed 7)");
            origin.compute(true);
            assert_eq!(origin.to_string(), "computed, from initialized (zeros, seed 7)");
            assert!(origin.is_of_seed(7) && *origin.before_runs() == made);
        }
        // Written over, unread.
        origin.compute(false);
        assert_eq!(origin, Origin::Computed { from: None });
        origin.train();
        assert_eq!(origin.to_string(), "trained, from computed");
        assert!(!origin.is_of_seed(7));
        origin.compute(true);
        assert_eq!(origin, Origin::Computed { from: None });
        let mut empty = Origin::Uninitialized(Missing::NeverInitialized);
        empty.compute(false);
        assert_eq!(empty, Origin::Computed { from: None });
    }

    #[test]
    fn names_of_a_file_cannot_write_to_the_terminal() {
        let name = "w\n\u{1b}[2Kerror: \u{202e}";
        let escaped = r"w\n\u{1b}[2Kerror: \u{202e}";
        let (file, step) = (Arc::from(Path::new(name)), None);
        let restored = Origin::Restored { file, name: name.into(), step };
        assert_eq!(restored.to_string(), format!("restored ({escaped}: {escaped})"));
        let file = PathBuf::from(name);
        let close = vec![name.to_owned()];
        let absent = Missing::AbsentFromCheckpoint { file: file.clone(), close };
        assert_eq!(absent.to_string(), format!("absent from {escaped}, which has {escaped}"));
        let other = Missing::OtherShape { file: file.clone(), shape: Shape::scalar() };
        assert_eq!(other.to_string(), format!("{escaped} has it with shape []"));
        let left_out = Missing::LeftOut { file }.to_string();
        assert_eq!(left_out, format!("left out of the restore of {escaped} by a rule"));
    }

    #[test]
    fn origins_survive_serialization() {
        let origin = Origin::Initialized { initializer: Initializer::HeNormal, seed: u64::MAX };
        let mut trained = origin;
        trained.train();
        let text = serde_json::to_string(&trained).unwrap();
        assert_eq!(serde_json::from_str::<Origin>(&text).unwrap(), trained);
    }
}
