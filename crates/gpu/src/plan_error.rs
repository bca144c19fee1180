//! What can go wrong when a graph is compiled, and when a plan is run.

use crate::error::{GpuError, SessionError, close_names};
use crate::origin::Origin;
use std::fmt;
use thiserror::Error;
use warmstart_graph::words::{counted, printable};
use warmstart_graph::{DType, GraphErrors, Location, Problem, Shape};

warmstart_graph::debug_as_display!(CompileError, RunError);

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
        some(now)
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
        "{what} takes {bytes} bytes, and one binding of this device holds at most {limit}; {}, or use an adapter with a larger limit",
        SMALLER
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
        "the plan and its variables take {bytes} bytes of device memory, and may take {limit}; {}, mark parts with `Scope::recompute`, or allow more",
        SMALLER
    )]
    OverLimit {
        /// What they take.
        bytes: u64,
        /// What was allowed.
        limit: u64,
    },
    /// The device has no room for a plan and its variables.
    #[error(
        "the plan and its variables take {bytes} bytes of device memory, and this device has room for {room}; {}, mark parts with `Scope::recompute`, or free memory on the device",
        SMALLER
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
        [name] => format!("`{name}`"),
        [name, others @ ..] => format!("`{name}` and {} more", others.len()),
    }
}

impl CompileError {
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
        "placeholder `{name}` {dtype} {shape} (declared at {location}) was not fed{}; pass it with the run", beside(.fed)
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
        "the plan has no placeholder `{name}`.{} It takes: {}", close_names(.close), if .known.is_empty() { "nothing".to_owned() } else { .known.join(", ") }
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
        "placeholder `{name}` was fed twice in one run; pass one value for it, or leave it to the data set"
    )]
    FedTwice {
        /// The placeholder.
        name: String,
    },
    /// A feed of the wrong number of elements.
    #[error(
        "placeholder `{name}` {shape} (declared at {location}) takes {expected} elements, and was fed {found}; feed exactly as many"
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
        "placeholder `{name}` (declared at {location}) takes {expected}, and was fed a tensor of {found}; feed one of its shape, or the elements as a slice"
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
        "placeholder `{name}` (declared at {location}) takes {expected}, and was fed {found}; convert the data"
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
        "placeholder `{name}` {dtype} {shape} (declared at {location}) cannot take the data set's column `{name}`, which has {width} elements of {found} for each example; declare it as [batch, ..] with as many elements after the first extent, and of that dtype"
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
        "placeholder `{name}` (declared at {location}) takes bytes as they are, and those of the data set's column `{name}` are to be multiplied by {scale}, which no byte holds; give them a scale of 1, and multiply in the graph: `.cast(DType::F32) * {scale:?}`; or declare the placeholder as f32"
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
        "placeholder `{name}` takes {batch} examples and `{other}` {other_batch}, but a data set gives both the same ones; declare them with one batch size"
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
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
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

fn beside(fed: &[String]) -> String {
    if fed.is_empty() { String::new() } else { format!(", only {} was", fed.join(", ")) }
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
