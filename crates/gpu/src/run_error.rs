//! What can go wrong when a plan is run.

use crate::error::{GpuError, close_names};
use crate::origin::Origin;
use std::fmt;
use thiserror::Error;
use warmstart_graph::words::{counted, human_bytes, printable};
use warmstart_graph::{DType, Location, Shape};

warmstart_graph::debug_as_display!(RunError);

/// A variable without a value that a run would have read.
#[derive(Clone, Debug, PartialEq)]
pub struct UninitializedRead {
    /// The variable.
    pub name: String,
    /// Its dtype.
    pub dtype: DType,
    /// Its shape.
    pub shape: Shape,
    /// Why it has no value.
    pub origin: Origin,
    /// The operation that reads it first.
    pub operation: String,
    /// Where that operation was built.
    pub location: Location,
}

impl fmt::Display for UninitializedRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UninitializedRead { name, dtype, shape, origin, operation, location } = self;
        let name = printable(name);
        write!(f, "`{name}` {dtype} {shape}: {origin}; read by {operation} at {location}")
    }
}

/// Why a plan could not be run. Nothing was dispatched then.
#[derive(Error)]
#[non_exhaustive]
pub enum RunError {
    /// Variables without a value would be read.
    #[error("{}", uninitialized(.variables))]
    Uninitialized {
        /// All of them.
        variables: Vec<UninitializedRead>,
    },
    /// A placeholder was not fed.
    #[error(
        "placeholder `{name}` {dtype} {shape} (declared at {location}) was not fed{}; pass it with the run", beside(.fed), name = printable(.name)
    )]
    NotFed {
        /// The placeholder.
        name: String,
        /// Its dtype.
        dtype: DType,
        /// Its shape.
        shape: Shape,
        /// Where it was declared.
        location: Location,
        /// What was fed, by the caller or from a data set.
        fed: Vec<String>,
    },
    /// A feed that the plan has no placeholder for.
    #[error(
        "the plan has no placeholder `{name}`.{} It takes: {}", close_names(.close), if .known.is_empty() { "nothing".to_owned() } else { listed_names(.known) }, name = printable(.name)
    )]
    UnknownFeed {
        /// The name that was fed.
        name: String,
        /// Names that are close to it.
        close: Vec<String>,
        /// All placeholders of the plan.
        known: Vec<String>,
    },
    /// A placeholder was fed twice.
    #[error(
        "placeholder `{name}` was fed twice in one run; pass one value for it, or leave it to the data set", name = printable(.name)
    )]
    FedTwice {
        /// The placeholder.
        name: String,
    },
    /// A feed of the wrong number of elements.
    #[error(
        "placeholder `{name}` {shape} (declared at {location}) takes {expected} elements, and was fed {found}; feed exactly as many", name = printable(.name)
    )]
    FeedLength {
        /// The placeholder.
        name: String,
        /// Its shape.
        shape: Shape,
        /// Where it was declared.
        location: Location,
        /// Elements it takes.
        expected: usize,
        /// Elements it was fed.
        found: usize,
    },
    /// A tensor of another shape. Slices have none: they are taken as they are.
    #[error(
        "placeholder `{name}` (declared at {location}) takes {expected}, and was fed a tensor of {found}; feed one of its shape, or the elements as a slice", name = printable(.name)
    )]
    FeedShape {
        /// The placeholder.
        name: String,
        /// Where it was declared.
        location: Location,
        /// Its shape.
        expected: Shape,
        /// The tensor's.
        found: Shape,
    },
    /// A feed of the wrong dtype.
    #[error(
        "placeholder `{name}` (declared at {location}) takes {expected}, and was fed {found}; convert the data", name = printable(.name)
    )]
    FeedDType {
        /// The placeholder.
        name: String,
        /// Where it was declared.
        location: Location,
        /// The dtype it takes.
        expected: DType,
        /// The dtype it was fed.
        found: DType,
    },
    /// A plan of another session.
    #[error(
        "the plan was compiled for another session; compile the graph with the session that runs it"
    )]
    OtherSession,
    /// A tensor that the plan does not fetch.
    #[error(
        "{tensor} is not among what this plan fetches: {}; add it to the fetches when compiling{}",
        listed(.fetched), or_keep(.tensor, .fetched)
    )]
    NotFetched {
        /// The tensor, with the line that built it.
        tensor: String,
        /// What the plan fetches.
        fetched: Vec<String>,
    },
    /// A tensor of another graph than the plan's was asked of a run.
    #[error(
        "{tensor} belongs to another graph than the plan that was run, which fetches {}; ask for a tensor of the graph that was compiled, or run the plan of the other graph",
        listed(.fetched)
    )]
    OtherGraph {
        /// The tensor, with the line that built it.
        tensor: String,
        /// What the plan fetches.
        fetched: Vec<String>,
    },
    /// A fetched tensor of another dtype or shape than it was read as.
    #[error("{tensor} is {dtype} {shape}, and was read as {wanted}; `Outputs::tensor` reads any")]
    FetchedAs {
        /// The tensor, with the line that built it.
        tensor: String,
        /// Its dtype.
        dtype: DType,
        /// Its shape.
        shape: Shape,
        /// What it was read as.
        wanted: &'static str,
    },
    /// No steps, or too many for one submission.
    #[error(
        "a submission takes 1 to {most} steps, and was to take {steps}; submit them in parts of some tens"
    )]
    StepCount {
        /// How many were asked for.
        steps: usize,
        /// How many there can be.
        most: usize,
    },
    /// Indices of examples that are not whole batches.
    #[error(
        "{rows} row indices are not whole batches of {batch}; give {batch} for each step, the first extent of the placeholders that the data set has columns for, and for at least one step"
    )]
    Rows {
        /// How many indices were given.
        rows: usize,
        /// How many each step takes.
        batch: usize,
    },
    /// An index beyond the last example.
    #[error("example {row} does not exist; the data set has {examples}, counted from 0")]
    NoSuchRow {
        /// The index.
        row: u32,
        /// How many examples there are.
        examples: usize,
    },
    /// A column of a data set that a placeholder cannot take.
    #[error(
        "placeholder `{name}` {dtype} {shape} (declared at {location}) cannot take the data set's column `{name}`, which has {width} elements of {found} for each example; declare it as [batch, ..] with as many elements after the first extent, and of that dtype", name = printable(.name)
    )]
    Column {
        /// The placeholder and the column.
        name: String,
        /// The placeholder's dtype.
        dtype: DType,
        /// The placeholder's shape.
        shape: Shape,
        /// Where it was declared.
        location: Location,
        /// The dtype that the column gives.
        found: DType,
        /// Elements of an example.
        width: usize,
    },
    /// Bytes that are to be scaled, for a placeholder that takes bytes.
    #[error(
        "placeholder `{name}` (declared at {location}) takes bytes as they are, and those of the data set's column `{name}` are to be multiplied by {scale}, which no byte holds; give them a scale of 1, and multiply in the graph: `.cast(DType::F32) * {scale:?}`; or declare the placeholder as f32", name = printable(.name)
    )]
    ColumnScale {
        /// The placeholder and the column.
        name: String,
        /// Where the placeholder was declared.
        location: Location,
        /// What the bytes are to be multiplied by.
        scale: f32,
    },
    /// Placeholders that take the same examples, but not the same number of them.
    #[error(
        "placeholder `{name}` takes {batch} examples and `{other}` {other_batch}, but a data set gives both the same ones; declare them with one batch size", name = printable(.name), other = printable(.other)
    )]
    BatchSizes {
        /// A placeholder.
        name: String,
        /// Its first extent.
        batch: usize,
        /// Another one.
        other: String,
        /// Its first extent.
        other_batch: usize,
    },
    /// A data set in the memory of another device.
    #[error(
        "the data set is in the memory of another device than the session's; upload it to `session.gpu()`"
    )]
    OtherDevice,
    /// The device cannot measure time.
    #[error(
        "this adapter has no timestamp queries, so kernels cannot be timed; time whole steps instead"
    )]
    NoTimestamps,
    /// Memory ran out for what a run needs beside its plan: for what is read back, or for what several steps
    /// of one submission need.
    #[error(
        "out of memory while making {what} ({}){}, use a smaller batch or model, or free memory on the device", human_bytes(*.bytes), less(.steps)
    )]
    NoRoom {
        /// What there was no memory for.
        what: String,
        /// How many bytes it has.
        bytes: u64,
        /// How many steps were to be submitted together.
        steps: usize,
    },
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

impl RunError {
    /// What to say of an error while something was made for so many steps.
    pub(crate) fn in_making(error: GpuError, steps: usize) -> RunError {
        match error {
            GpuError::OutOfMemory { what, bytes: Some(bytes) } => {
                RunError::NoRoom { what, bytes, steps }
            }
            error => RunError::Gpu(error),
        }
    }
}

/// What to do less of where memory has run out.
fn less(steps: &usize) -> String {
    match steps {
        0 | 1 => "; fetch less at once".to_owned(),
        steps => format!(" for {steps} steps of one submission; submit fewer steps at once"),
    }
}

/// What a plan fetches, the first few in full.
fn listed(fetched: &[String]) -> String {
    const SHOWN: usize = 4;
    let first = fetched.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    match fetched.len().checked_sub(SHOWN) {
        _ if fetched.is_empty() => "nothing".to_owned(),
        None | Some(0) => first,
        Some(more) => format!("{first}; and {more} more"),
    }
}

/// Advice where a tensor of the same operation and scope is fetched: a model that was built twice, say, or
/// an `accuracy` that was asked for again.
fn or_keep(tensor: &str, fetched: &[String]) -> &'static str {
    let what = |described: &str| match described.rsplit_once(" at ") {
        Some((what, _line)) => what.to_owned(),
        None => described.to_owned(),
    };
    if fetched.iter().any(|other| what(other) == what(tensor)) {
        "; or, if it is one of these built a second time, keep the tensor that was compiled and ask for that"
    } else {
        ""
    }
}

fn listed_names(names: &[String]) -> String {
    printable(&names.join(", ")).into_owned()
}

fn beside(fed: &[String]) -> String {
    if fed.is_empty() { String::new() } else { format!(", only {} was", listed_names(fed)) }
}

/// Variables that are listed, each in a line of its own.
const LISTED: usize = 20;

fn uninitialized(variables: &[UninitializedRead]) -> String {
    let count = counted(variables.len(), "variable");
    let verb = if variables.len() == 1 { "has" } else { "have" };
    let mut text = format!("{count} that this run reads {verb} no value; nothing was run:");
    for variable in variables.iter().take(LISTED) {
        text.push_str(&format!("\n  {variable}"));
    }
    if let more @ 1.. = variables.len().saturating_sub(LISTED) {
        text.push_str(&format!("\n  … and {more} more"));
    }
    text.push_str(
        "\nhelp: `session.initialize_missing(seed)` gives a first value to these and leaves all others as they are; or restore a checkpoint that holds them, or `assign` them",
    );
    text
}

#[cfg(test)]
#[path = "run_error_tests.rs"]
mod tests;
