//! What can go wrong when a graph is compiled.

use crate::error::{GpuError, SessionError};
use thiserror::Error;
use warmstart_graph::words::{bytes_and_limit as apart, printable};
use warmstart_graph::{DType, GraphErrors, Location, Problem, Shape};

warmstart_graph::debug_as_display!(CompileError);

/// Why a graph could not be compiled.
#[derive(Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The graph has mistakes.
    #[error(transparent)]
    Graph(#[from] GraphErrors),
    /// A variable of the graph does not agree with the session's, or has no room.
    #[error(transparent)]
    Session(Box<SessionError>),
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A tensor or update of another graph was asked for.
    #[error(
        "a fetch or update belongs to another graph than the one compiled; compile the graph it was built in"
    )]
    ForeignTensor,
    /// A value of elements smaller than a word was asked for: of sixteen bits, or of eight.
    #[error(
        "{location}: a tensor of {dtype} cannot be fetched; fetch it as f32, with `.cast(DType::F32)`"
    )]
    FetchHalf {
        /// Where the tensor was built.
        location: Location,
        /// Its dtype.
        dtype: DType,
    },
    /// Two plans would count the steps of different models together.
    #[error(
        "{location}: `{step}` counts the steps of an optimizer that trains {}, in another plan of this session, and would count those of {} too: Adam's correction would be right for neither. Give one of the optimizers another name, with `Optimizer::named`, or train each model in a session of its own",
        some(before),
        some(now),
        step = printable(.step)
    )]
    SharedStep {
        /// Where the training was built.
        location: Location,
        /// The variable that counts.
        step: String,
        /// What is trained by it in other plans.
        before: Vec<String>,
        /// What would be.
        now: Vec<String>,
    },
    /// A value is larger than what the device lets a kernel see.
    #[error(
        "{what} takes {taken}, and one binding of this device holds at most {most}; {}, or use an adapter with a larger limit",
        SMALLER, taken = apart(*.bytes, *.limit)[0], most = apart(*.bytes, *.limit)[1]
    )]
    TooLarge {
        /// Which value.
        what: String,
        /// Its bytes.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A plan and its variables take more memory than they may.
    #[error(
        "the plan and its variables take {taken} of device memory, and may take {most}; {}, mark parts with `Scope::recompute`, or allow more",
        SMALLER, taken = apart(*.bytes, *.limit)[0], most = apart(*.bytes, *.limit)[1]
    )]
    OverLimit {
        /// What they take.
        bytes: u64,
        /// What was allowed.
        limit: u64,
    },
    /// The device has no room for a plan and its variables.
    #[error(
        "the plan and its variables take {taken} of device memory, and this device has room for {most}; {}, mark parts with `Scope::recompute`, or free memory on the device",
        SMALLER, taken = apart(*.bytes, *.room)[0], most = apart(*.bytes, *.room)[1]
    )]
    NoRoom {
        /// What they take.
        bytes: u64,
        /// What there is for them: what could be had when memory had run out, the variables that they share
        /// with other plans included; or, of a software adapter, what is left of the machine's.
        room: u64,
    },
    /// The largest of no batches was asked for.
    #[error(
        "there is no batch from {smallest} to {largest}; give a range whose first batch is not above its last"
    )]
    NoBatches {
        /// The smallest batch that was asked about.
        smallest: usize,
        /// The largest.
        largest: usize,
    },
    /// A kernel needs more buffers than the device allows.
    #[error(
        "{location}: {operation} reads {buffers} buffers at once, and this device allows {limit}; split it into parts"
    )]
    TooManyBuffers {
        /// The operation.
        operation: String,
        /// Where it was built.
        location: Location,
        /// Buffers it needs.
        buffers: usize,
        /// The limit.
        limit: usize,
    },
    /// A kernel needs more workgroups than the device launches.
    #[error(
        "{location}: {operation} of {shape} needs more workgroups than this device launches ({limit} along one dimension); {}, or split it into parts",
        SMALLER
    )]
    TooManyWorkgroups {
        /// The operation.
        operation: String,
        /// Where it was built.
        location: Location,
        /// The shape of its result.
        shape: Shape,
        /// The limit.
        limit: u32,
    },
    /// An invocation would make more rounds of loops than the driver of a software adapter carries out.
    #[error(
        "{location}: {operation} of {shape} takes up to {rounds} rounds of loops, one after the other, and the driver of a software adapter may end them after 65,535 without a word; {}, split it into parts, or use a GPU",
        SMALLER
    )]
    TooManyRounds {
        /// The operation.
        operation: String,
        /// Where it was built.
        location: Location,
        /// The shape of its result.
        shape: Shape,
        /// How many rounds.
        rounds: usize,
    },
}

/// What to do about a graph that is too large, wherever its batch has a part in that.
const SMALLER: &str = "use a smaller model or batch (`largest_batch(1..=batch, |batch| ...)` of the crate `warmstart` finds the largest batch that fits)";

/// The first of some names, and how many more there are.
fn some(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [name] => format!("`{}`", printable(name)),
        [name, others @ ..] => format!("`{}` and {} more", printable(name), others.len()),
    }
}

impl CompileError {
    /// What is wrong: the message, and where something is larger than it may be, without the advice to
    /// whoever writes a program.
    pub fn what(&self) -> String {
        let text = self.to_string();
        match text.split_once(SMALLER) {
            Some((what, _)) => what.trim_end_matches([';', ' ']).to_owned(),
            None => text,
        }
    }

    /// Whether a smaller graph, such as one of a smaller batch, may do: something is larger than the
    /// device or the caller allows, or memory has run out.
    pub fn is_too_large(&self) -> bool {
        match self {
            CompileError::TooLarge { .. }
            | CompileError::OverLimit { .. }
            | CompileError::NoRoom { .. }
            | CompileError::TooManyWorkgroups { .. }
            | CompileError::TooManyRounds { .. } => true,
            CompileError::Session(error) if matches!(**error, SessionError::TooLarge { .. }) => {
                true
            }
            CompileError::Graph(GraphErrors(errors)) => {
                errors.iter().all(|error| matches!(error.problem, Problem::TooLarge { .. }))
            }
            other => other.is_out_of_memory(),
        }
    }

    /// Whether memory ran out while something was made.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        let error = match self {
            CompileError::Gpu(error) => error,
            CompileError::Session(error) => match &**error {
                SessionError::Gpu(error) => error,
                _ => return false,
            },
            _ => return false,
        };
        matches!(error, GpuError::OutOfMemory { .. })
    }
}

impl From<SessionError> for CompileError {
    fn from(error: SessionError) -> CompileError {
        CompileError::Session(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_told_without_advice() {
        let what = || "the result of matmul".to_owned();
        let (location, shape) =
            (|| Location { file: "a.rs".into(), line: 3 }, || Shape::from([2, 3]));
        let cases = [
            (
                CompileError::TooLarge { what: what(), bytes: 9, limit: 8 },
                "the result of matmul takes 9 B, and one binding of this device holds at most 8 B",
            ),
            (CompileError::OverLimit { bytes: 9, limit: 8 }, "device memory, and may take 8 B"),
            (CompileError::NoRoom { bytes: 9, room: 8 }, "and this device has room for 8 B"),
            (
                CompileError::TooManyWorkgroups {
                    operation: what(),
                    location: location(),
                    shape: shape(),
                    limit: 8,
                },
                "than this device launches (8 along one dimension)",
            ),
            (
                CompileError::TooManyRounds {
                    operation: what(),
                    location: location(),
                    shape: shape(),
                    rounds: 8,
                },
                "may end them after 65,535 without a word",
            ),
            (
                CompileError::NoBatches { smallest: 2, largest: 1 },
                "give a range whose first batch is not above its last",
            ),
        ];
        for (error, end) in cases {
            assert!(error.what().ends_with(end), "{}", error.what());
            assert!(error.to_string().starts_with(&error.what()), "{error}");
        }
    }
}
