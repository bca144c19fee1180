//! What can go wrong with the device and with the variables on it.

use crate::origin::{Origin, SHOWN};
use crate::transfer::cast::{Number, SourceDType};
use std::io;
use std::time::Duration;
use thiserror::Error;
use warmstart_graph::words::{counted, first_few_between, human_bytes, printable};
use warmstart_graph::{DType, InitializeError, Location, Shape};

warmstart_graph::debug_as_display!(GpuError, SessionError);

/// What can go wrong with the device.
#[derive(Error, Clone)]
#[non_exhaustive]
pub enum GpuError {
    /// There is no adapter, or none that gives a device.
    #[error("no usable GPU adapter was found; looked for {looked_for}{}. {install}", listed("; tried ", .tried))]
    NoAdapter {
        /// The backends that were searched.
        looked_for: String,
        /// The adapters that were there but gave no device, each with the reason.
        tried: Vec<String>,
        /// How to install a driver on this system.
        install: String,
    },
    /// No adapter fits the name or index asked for.
    #[error("no GPU adapter fits {wanted}; there are: {}. Ask for one of these by a part of its name or by its index", enumerated(.available))]
    NoSuchAdapter {
        /// What was asked for, and by whom (an option or an environment variable).
        wanted: String,
        /// The adapters there are.
        available: Vec<String>,
    },
    /// `WGPU_BACKEND` names something that is no backend.
    #[error("WGPU_BACKEND names `{unknown}`, which is no backend; this build has {}. Correct it, or unset it to look in all", .built.join(", "))]
    UnknownBackend {
        /// The name.
        unknown: String,
        /// The backends there are.
        built: Vec<String>,
    },
    /// `WGPU_BACKEND` names only backends that this build or system does without.
    #[error("WGPU_BACKEND is `{wanted}`, which is not in this build; it has {}. Name one of these, or unset it to look in all", .built.join(", "))]
    BackendNotBuilt {
        /// What it says.
        wanted: String,
        /// The backends there are.
        built: Vec<String>,
    },
    /// An environment variable that switches something says neither of what it may.
    #[error(
        "{variable} is `{value}`, and takes `off`, `on` or `force`. Correct it, or unset it, which means `on`"
    )]
    UnknownSwitch {
        /// The variable.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// The adapter that was asked for gave no device.
    #[error(
        "adapter {adapter} gave no device: {message}. Ask for another adapter, or update its driver"
    )]
    RequestDevice {
        /// The adapter.
        adapter: String,
        /// What the driver said.
        message: String,
    },
    /// Device memory ran out.
    #[error("out of device memory while making {what}{}. Use a smaller batch or model, or free memory on the device", of_bytes(.bytes))]
    OutOfMemory {
        /// What was being made.
        what: String,
        /// How many bytes it has, where known.
        bytes: Option<u64>,
    },
    /// `wgpu` rejected a call.
    #[error(
        "wgpu rejected {what}: {message}. This is a fault in warmstart or in the shader given; please report it with this text"
    )]
    Validation {
        /// What was being done.
        what: String,
        /// What `wgpu` said.
        message: String,
    },
    /// The driver failed.
    #[error("the driver failed at {what}: {message}. Update the driver, or choose another adapter")]
    Internal {
        /// What was being done.
        what: String,
        /// What `wgpu` or the driver said.
        message: String,
    },
    /// The device is gone: reset, unplugged, or its driver crashed.
    #[error(
        "the device was lost: {reason}. Make a new `Gpu` and `Session` and restore the newest checkpoint"
    )]
    DeviceLost {
        /// What the driver said.
        reason: String,
    },
    /// The device did not finish in time.
    #[error(
        "the device did not finish within {after:?}. Do less per submission, or raise `GpuOptions::timeout`"
    )]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
}

fn listed(lead: &str, items: &[String]) -> String {
    if items.is_empty() { String::new() } else { format!("{lead}{}", items.join("; ")) }
}

fn enumerated(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join("; ") }
}

fn of_bytes(bytes: &Option<u64>) -> String {
    bytes.map_or(String::new(), |bytes| format!(" ({})", human_bytes(bytes)))
}

/// Two declarations of one variable that do not agree.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The variable.
    pub name: String,
    /// What the session holds: dtype, shape, and where it was declared.
    pub held: (DType, Shape, Location),
    /// What was declared now.
    pub declared: (DType, Shape, Location),
}

/// What can go wrong with the variables of a session.
#[derive(Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A name that the session does not know.
    #[error("there is no variable `{name}`.{} `session.variables()` lists all there are", close_names(.close), name = printable(.name))]
    UnknownVariable {
        /// The name.
        name: String,
        /// Names that are close to it.
        close: Vec<String>,
    },
    /// Variables are declared again with another shape or dtype.
    #[error("{}. A variable is its name: give one of the two another name or scope, or the same shape and dtype", conflicts(.0))]
    Conflict(Vec<Conflict>),
    /// A variable of a dtype that none can have.
    #[error(
        "variable `{name}` (declared at {location}) cannot be {dtype}, which is for what is fed. Declare it as f32, f16, bf16, i32 or u32", name = printable(.name)
    )]
    VariableDType {
        /// The variable.
        name: String,
        /// Its dtype.
        dtype: DType,
        /// Where it was declared.
        location: Location,
    },
    /// A variable that no buffer of this device can hold.
    #[error(
        "variable `{name}` {dtype} {shape} (declared at {location}) is larger than {}, the most that one binding of this device holds. Split it into several variables, or use an adapter with a larger limit", human_bytes(*.limit), name = printable(.name)
    )]
    TooLarge {
        /// The variable.
        name: String,
        /// Its dtype.
        dtype: DType,
        /// Its shape.
        shape: Shape,
        /// Where it was declared.
        location: Location,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A variable's initializer does not fit the variable.
    #[error("variable `{name}` (declared at {location}): {source}", name = printable(.name))]
    Initializer {
        /// The variable.
        name: String,
        /// Where it was declared.
        location: Location,
        /// Why the initializer does not fit.
        source: InitializeError,
    },
    /// `initialize_all` would destroy values that no initializer can make again.
    #[error("`initialize_all` would overwrite {} that no initializer can make again: {}. Nothing was changed. Call `initialize_missing(seed)` to fill only variables without a value, or `initialize_all(seed, Overwrite::Everything)` to lose these", counted(.variables.len(), "value"), origins(.variables))]
    WouldOverwrite {
        /// The variables, with where their values came from.
        variables: Vec<(String, Origin)>,
    },
    /// A value of another shape or dtype than the variable's.
    #[error(
        "variable `{name}` is {dtype} {shape} (declared at {location}), but the value given is {given_dtype} {given_shape}. Give a value of the variable's own dtype and shape", name = printable(.name)
    )]
    Mismatch {
        /// The variable.
        name: String,
        /// Its dtype.
        dtype: DType,
        /// Its shape.
        shape: Shape,
        /// Where it was declared.
        location: Location,
        /// The dtype given.
        given_dtype: DType,
        /// The shape given.
        given_shape: Shape,
    },
    /// A variable without a value was to be read.
    #[error(
        "variable `{name}` (declared at {location}) has no value: {origin}. Call `initialize_missing(seed)`, restore a checkpoint that holds it, or `assign` it", name = printable(.name)
    )]
    Uninitialized {
        /// The variable.
        name: String,
        /// Where it was declared.
        location: Location,
        /// Why it has no value.
        origin: Box<Origin>,
    },
    /// Two values were to be restored into one variable at once.
    #[error("variable `{name}` is restored twice in one call. Give one source for each variable", name = printable(.name))]
    RestoredTwice {
        /// The variable.
        name: String,
    },
    /// A restore was given an origin that says there is no value.
    #[error(
        "variable `{name}` was to be restored with the origin \"{origin}\", which says that it has no value. Give the file and name that its bytes come from", name = printable(.name)
    )]
    RestoredFromNothing {
        /// The variable.
        name: String,
        /// The origin given.
        origin: Box<Origin>,
    },
    /// The bytes of a variable could not be read from their source.
    #[error(
        "reading {bytes} bytes at byte {offset} for variable `{name}` failed: {source}. Every variable is as it was before; check the file and restore again", name = printable(.name)
    )]
    Source {
        /// The variable.
        name: String,
        /// Where in the source the failing read began.
        offset: u64,
        /// How many bytes were asked for.
        bytes: u64,
        /// What the source said.
        source: io::Error,
    },
    /// A source said, after all its bytes were read, that they are not what they should be.
    #[error(
        "the bytes read for variable `{name}` are not what they should be: {source}. Every variable is as it was before; restore another copy of the file or an earlier checkpoint", name = printable(.name)
    )]
    Refused {
        /// The variable.
        name: String,
        /// What the source said.
        source: io::Error,
    },
    /// Elements of a type that the variable's dtype cannot be made from.
    #[error(
        "variable `{name}` is {dtype}, and {from} is not cast to that: it would have to be rounded or cut off. Declare the variable as f32, or convert the checkpoint", name = printable(.name)
    )]
    NoCast {
        /// The variable.
        name: String,
        /// The element type of the source.
        from: SourceDType,
        /// The variable's.
        dtype: DType,
    },
    /// A number of the source that the variable's dtype cannot hold: an integer out of its range, or a
    /// finite number that would become infinite.
    #[error(
        "element {index} of the {from} source of variable `{name}` is {value}, which {dtype} cannot hold ({}). Every variable is as it was before; {}",
        reach(*.dtype), instead_of(*.dtype, *.value), name = printable(.name)
    )]
    OutOfRange {
        /// The variable.
        name: String,
        /// The first such element, counted in the order of the source.
        index: u64,
        /// What it is there.
        value: Number,
        /// The element type of the source.
        from: SourceDType,
        /// The variable's.
        dtype: DType,
    },
    /// Only matrices are transposed.
    #[error(
        "variable `{name}` has shape {shape}, and only a matrix can be transposed while it is restored. Transpose variables of rank 2 only", name = printable(.name)
    )]
    TransposedRank {
        /// The variable.
        name: String,
        /// Its shape.
        shape: Shape,
    },
    /// A source was said to hold more rows than the variable has.
    #[error(
        "the first {rows} rows of variable `{name}` were to be restored, but its shape is {shape}. Give no more rows than it has", name = printable(.name)
    )]
    LeadingRows {
        /// The variable.
        name: String,
        /// Its shape.
        shape: Shape,
        /// How many rows the source was said to have.
        rows: usize,
    },
    /// The bytes of a variable could not be handed on.
    #[error(
        "writing the bytes of variable `{name}` failed: {source}. The variables are unchanged; free space or choose another place, and save again", name = printable(.name)
    )]
    Sink {
        /// The variable.
        name: String,
        /// What the sink said.
        source: io::Error,
    },
}

pub(crate) fn close_names(close: &[String]) -> String {
    match close {
        [] => String::new(),
        close => {
            let quoted: Vec<String> =
                close.iter().map(|name| format!("`{}`", printable(name))).collect();
            format!(" Did you mean {}?", quoted.join(" or "))
        }
    }
}

/// Where the numbers of a dtype end.
fn reach(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "it ends at 3.4028235e38, and an infinity is not what was saved",
        DType::F16 => "it ends at 65504, and an infinity is not what was saved",
        DType::Bf16 => "it ends at 3.3895314e38, and an infinity is not what was saved",
        DType::I32 => "it holds -2147483648 to 2147483647",
        DType::U32 => "it holds 0 to 4294967295",
        DType::U8 => "it holds 0 to 255",
    }
}

/// What to do about a number that a dtype cannot hold.
fn instead_of(dtype: DType, value: Number) -> &'static str {
    let value = match value {
        Number::Unsigned(value) => value as f64,
        Number::Signed(value) => value as f64,
        Number::Float(value) => f64::from(value),
        Number::Double(value) => value,
    };
    let fits = |largest: f64| value.abs() <= largest;
    match dtype {
        DType::F16 if fits(f64::from(half::bf16::MAX)) => {
            "declare the variable as f32 or bf16, or leave it out of the restore"
        }
        DType::F16 | DType::Bf16 if fits(f64::from(f32::MAX)) => {
            "declare the variable as f32, or leave it out of the restore"
        }
        DType::F16 | DType::Bf16 | DType::F32 => {
            "leave the variable out of the restore, or mend the checkpoint"
        }
        DType::I32 | DType::U32 | DType::U8 => {
            "declare the variable as f32 where rounding is no harm, or convert the checkpoint"
        }
    }
}

fn origins(variables: &[(String, Origin)]) -> String {
    let one = |(name, origin): &(String, Origin)| format!("`{}` {origin}", printable(name));
    first_few_between(variables.iter().map(one), SHOWN, "; ")
}

fn conflicts(conflicts: &[Conflict]) -> String {
    let place = |(dtype, shape, location): &(DType, Shape, Location)| {
        format!("{dtype} {shape} at {location}")
    };
    let each: Vec<String> = conflicts
        .iter()
        .map(|c| {
            let (held, declared) = (place(&c.held), place(&c.declared));
            let name = printable(&c.name);
            format!("variable `{name}` is declared as {held} and as {declared}")
        })
        .collect();
    each.join("; ")
}
