//! What a restore will do or did, variable by variable, and how that is told.

use crate::tensor::{FileDType, TensorEntry, human_bytes};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use warmstart_graph::{Role, Shape, Variable};

/// Names listed per kind before the report says how many more there are.
const LISTED: usize = 20;

/// What a checkpoint has for one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Its value, under this name.
    Restored {
        /// The tensor's name in the file.
        tensor: String,
    },
    /// No value.
    Missing {
        /// Leftover names in the file that are close, closest first.
        close: Vec<String>,
    },
    /// A value of another shape.
    ShapeMismatch {
        /// The tensor's name in the file.
        tensor: String,
        /// Its shape in the file.
        shape: Shape,
    },
    /// A value of another dtype, and perhaps another shape.
    DTypeMismatch {
        /// The tensor's name in the file.
        tensor: String,
        /// Its dtype in the file.
        dtype: FileDType,
        /// Its shape in the file.
        shape: Shape,
    },
}

/// A variable and what a checkpoint has for it.
#[derive(Clone, Debug, PartialEq)]
pub struct VariableOutcome {
    /// The variable.
    pub variable: Variable,
    /// What the checkpoint has for it.
    pub outcome: Outcome,
}

/// What a restore will do, or did: every variable with its outcome, and every tensor of the
/// checkpoint that belongs to no variable. Prints as a report that says what is wrong and what to
/// do.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    pub(crate) file: PathBuf,
    pub(crate) step: Option<u64>,
    pub(crate) variables: Vec<VariableOutcome>,
    pub(crate) unexpected: Vec<TensorEntry>,
    pub(crate) allow_missing: bool,
    pub(crate) allow_unexpected: bool,
    /// Newer checkpoints that were passed over, with why.
    pub(crate) damaged: Vec<String>,
}

impl RestoreReport {
    /// The checkpoint's file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The step at which the checkpoint was saved, if it says so.
    pub fn step(&self) -> Option<u64> {
        self.step
    }

    /// Every variable with its outcome, in the order of the variables.
    pub fn variables(&self) -> &[VariableOutcome] {
        &self.variables
    }

    /// The variables that get a value.
    pub fn restored(&self) -> impl Iterator<Item = &Variable> {
        self.of(|outcome| matches!(outcome, Outcome::Restored { .. }))
    }

    /// The variables for which the checkpoint has nothing.
    pub fn missing(&self) -> impl Iterator<Item = &Variable> {
        self.of(|outcome| matches!(outcome, Outcome::Missing { .. }))
    }

    /// The variables for which the checkpoint has a value of another shape or dtype.
    pub fn mismatched(&self) -> impl Iterator<Item = &Variable> {
        self.of(|outcome| !matches!(outcome, Outcome::Restored { .. } | Outcome::Missing { .. }))
    }

    /// The tensors of the checkpoint that belong to no variable, in the order of the file.
    pub fn unexpected(&self) -> &[TensorEntry] {
        &self.unexpected
    }

    /// Bytes that go to the device.
    pub fn bytes(&self) -> u64 {
        self.restored().map(Variable::bytes).fold(0, u64::saturating_add)
    }

    /// Whether the checkpoint fits the variables under the options given, so that it can be
    /// restored.
    pub fn closes(&self) -> bool {
        self.mismatched().next().is_none()
            && (self.allow_missing || self.missing().next().is_none())
            && (self.allow_unexpected || self.unexpected.is_empty())
    }

    fn of(&self, wanted: impl Fn(&Outcome) -> bool) -> impl Iterator<Item = &Variable> {
        self.variables.iter().filter(move |v| wanted(&v.outcome)).map(|v| &v.variable)
    }
}

/// One line of a list: a name, and what is said about it.
type Line = (String, String);

/// A kind of outcome: label, number, and its lines.
struct Section {
    label: &'static str,
    count: usize,
    lines: Vec<Line>,
}

impl RestoreReport {
    fn sections(&self) -> Vec<Section> {
        let restored = self.restored().count();
        let size = match restored {
            0 => Vec::new(),
            _ => vec![(human_bytes(self.bytes()), String::new())],
        };
        let missing: Vec<&Variable> = self.missing().collect();
        let mut shapes = Vec::new();
        let mut dtypes = Vec::new();
        for VariableOutcome { variable: Variable { name, dtype, shape, .. }, outcome } in
            &self.variables
        {
            let line = |file_dtype: &FileDType, file_shape: &Shape| {
                let what = format!("{dtype} {shape}, but {file_dtype} {file_shape} in the file");
                (name.clone(), what)
            };
            match outcome {
                Outcome::ShapeMismatch { shape, .. } => {
                    shapes.push(line(&FileDType::from(*dtype), shape));
                }
                Outcome::DTypeMismatch { dtype, shape, .. } => dtypes.push(line(dtype, shape)),
                Outcome::Restored { .. } | Outcome::Missing { .. } => {}
            }
        }
        let unexpected =
            self.unexpected.iter().map(|t| (t.name.clone(), format!("{} {}", t.dtype, t.shape)));
        let all = vec![
            Section { label: "restored", count: restored, lines: size },
            Section { label: "missing", count: missing.len(), lines: missing_lines(&missing) },
            Section { label: "shape mismatch", count: shapes.len(), lines: shapes },
            Section { label: "dtype mismatch", count: dtypes.len(), lines: dtypes },
            Section {
                label: "unexpected",
                count: self.unexpected.len(),
                lines: unexpected.collect(),
            },
        ];
        let shown = |section: &Section| section.label == "restored" || section.count > 0;
        all.into_iter().filter(shown).collect()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.damaged.clone();
        let output_suffix = self.variables.iter().any(
            |v| matches!(&v.outcome, Outcome::Restored { tensor } if *tensor != v.variable.name),
        );
        if output_suffix {
            notes.push("names that differ only by a trailing `:0` were taken as equal".to_owned());
        }
        if self.closes() && self.missing().next().is_some() {
            notes.push(
                "missing variables keep what they have; `session.initialize_missing(seed)` fills \
                 those that have nothing"
                    .to_owned(),
            );
        }
        if self.closes() && !self.unexpected.is_empty() {
            notes.push("unexpected tensors stay in the file".to_owned());
        }
        notes
    }

    fn errors(&self) -> Vec<String> {
        let missing = self.missing().count();
        let mismatched = self.mismatched().count();
        let mut errors = Vec::new();
        if mismatched > 0 {
            let have = counted(mismatched, "variable has", "variables have");
            errors.push(format!("{have} another shape or dtype in this checkpoint."));
        }
        if missing > 0 && !self.allow_missing {
            let have = counted(missing, "variable has", "variables have");
            errors.push(format!("{have} no value in this checkpoint."));
        }
        if !self.unexpected.is_empty() && !self.allow_unexpected {
            let belong = counted(self.unexpected.len(), "tensor belongs", "tensors belong");
            errors.push(format!("{belong} to no variable."));
        }
        if let Some(last) = errors.last_mut() {
            last.push_str(" Nothing on the device was changed.");
        }
        errors
    }

    fn helps(&self) -> Vec<String> {
        let mut helps = Vec::new();
        if self.mismatched().next().is_some() {
            helps.push(
                "give the variables the shapes and dtypes of the file, or name the checkpoint of \
                 this model"
                    .to_owned(),
            );
        }
        let close = self.variables.iter().filter_map(|v| match &v.outcome {
            Outcome::Missing { close } if !close.is_empty() => Some((&v.variable.name, close)),
            _ => None,
        });
        for (name, close) in close.take(5).filter(|_| !self.allow_missing) {
            let close: Vec<String> = close.iter().map(|name| format!("`{name}`")).collect();
            helps.push(format!("close to `{name}` in this checkpoint: {}", close.join(", ")));
        }
        let missing: Vec<&Variable> = self.missing().collect();
        let restored = self.restored().count();
        if !missing.is_empty() && !self.allow_missing && restored > 0 {
            let only_slots = missing.iter().all(|v| matches!(v.role, Role::Slot { .. }));
            helps.push(if only_slots {
                "the checkpoint holds weights without the optimizer's slots: `.allow_missing()` \
                 and then `session.initialize_missing(seed)` start the optimizer afresh"
                    .to_owned()
            } else {
                let others = counted(restored, "variable", "variables");
                format!(
                    "`.allow_missing()` restores the other {others}; then \
                     `session.initialize_missing(seed)` fills those without a value"
                )
            });
        }
        if !self.unexpected.is_empty() && !self.allow_unexpected {
            helps.push("`.allow_unexpected()` leaves such tensors in the file".to_owned());
        }
        helps
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = counted(self.variables.len(), "variable", "variables");
        writeln!(f, "restore {} → {variables}", self.file.display())?;
        let sections = self.sections();
        let labels = sections.iter().map(|s| s.label.len()).max().unwrap_or(0).max(10) + 2;
        let counts = sections.iter().map(|s| s.count.to_string().len()).max().unwrap_or(1);
        let shown = || sections.iter().flat_map(|s| s.lines.iter().take(LISTED));
        // Groups of slots have no second column and may be longer than any name.
        let names = shown().filter(|(_, what)| !what.is_empty());
        let width = names.map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for Section { label, count, lines } in &sections {
            let head = format!("  {label:<labels$}{count:<counts$}");
            let indent = head.chars().count();
            let mut head = Some(head);
            for (name, what) in lines.iter().take(LISTED) {
                let head = head.take().unwrap_or_default();
                let line = match what.as_str() {
                    "" => format!("{head:<indent$}   {name}"),
                    _ => format!("{head:<indent$}   {name:<width$}  {what}"),
                };
                writeln!(f, "{line}")?;
            }
            if let Some(head) = head {
                writeln!(f, "{}", head.trim_end())?;
            }
            if lines.len() > LISTED {
                writeln!(f, "{:indent$}   … and {} more", "", lines.len() - LISTED)?;
            }
        }
        let prefixed = |prefix: &'static str, lines: Vec<String>| {
            lines.into_iter().map(move |line| format!("{prefix}: {line}"))
        };
        let last: Vec<String> = prefixed("note", self.notes())
            .chain(prefixed("error", self.errors()))
            .chain(prefixed("help", self.helps()))
            .collect();
        f.write_str(&last.join("\n"))
    }
}

/// Missing variables by name, and missing slots by groups: an optimizer's slots are missing
/// together or not at all, and a hundred lines would hide the one weight that is missing too.
fn missing_lines(missing: &[&Variable]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut by_variable: BTreeMap<(&str, Option<&str>), BTreeSet<&str>> = BTreeMap::new();
    for variable in missing {
        if let Role::Slot { variable, optimizer, slot } = &variable.role {
            by_variable.entry((optimizer, variable.as_deref())).or_default().insert(slot);
        } else {
            let what = format!("{} {}", variable.dtype, variable.shape);
            lines.push((variable.name.clone(), what));
        }
    }
    let mut groups: BTreeMap<(&str, BTreeSet<&str>, bool), Vec<&str>> = BTreeMap::new();
    for ((optimizer, variable), slots) in by_variable {
        let group = groups.entry((optimizer, slots, variable.is_some())).or_default();
        group.extend(variable);
    }
    for ((optimizer, slots, _), variables) in groups {
        let word = if slots.len() == 1 { "slot" } else { "slots" };
        let slots = slots.into_iter().collect::<Vec<_>>().join(", ");
        let text = match variables.as_slice() {
            [] => format!("{optimizer}'s own {word} {slots}"),
            [one] => format!("{optimizer}'s {word} {slots} for {one}"),
            many => format!("{optimizer}'s {word} {slots} for {} variables", many.len()),
        };
        lines.push((text, String::new()));
    }
    lines
}

pub(crate) fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
