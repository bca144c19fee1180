//! What can be wrong with a graph.

use crate::words::{counted, counted_as, first_few, printable};
use crate::{DType, Location, Shape};
use std::fmt;
use thiserror::Error;

/// Has the `Debug` of error types write their `Display`, as `anyhow` and `eyre` do.
///
/// `fn main() -> Result<(), Box<dyn Error>>` and `unwrap` print errors by `Debug`. A derived one
/// would bury the sentence that says what to do under pages of fields.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_as_display {
    ($($error:ty),* $(,)?) => {$(
        impl ::std::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(self, f)
            }
        }
    )*};
}

debug_as_display!(GraphError, GraphErrors, Problem);

/// One mistake in building a graph: what is wrong, in which operation, and where it was written.
#[derive(Clone, PartialEq, Error)]
#[error("{location}: {operation}{}: {problem}", InScope(.scope))]
pub struct GraphError {
    /// The operation: `matmul`, `variable`, ...
    pub operation: String,
    /// The scope it was built in, empty at the top.
    pub scope: String,
    /// The user's file and line.
    pub location: Location,
    /// What is wrong.
    pub problem: Problem,
}

struct InScope<'a>(&'a str);

impl fmt::Display for InScope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " in scope `{}`", printable(self.0)) }
    }
}

/// Every mistake in a graph, in the order in which they were made.
#[derive(Clone, PartialEq, Error)]
pub struct GraphErrors(pub Vec<GraphError>);

impl fmt::Display for GraphErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the graph has {}", counted(self.0.len(), "error"))?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

/// Names of variables, the first few in full.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        f.write_str(if self.0.len() == 1 { "variable " } else { "variables " })?;
        f.write_str(&first_few(self.0.iter().map(|name| format!("`{}`", printable(name))), SHOWN))
    }
}

/// Names that may have been meant.
struct Nearest<'a>(&'a [String]);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            write!(f, "{}`{}`", if at == 0 { " (nearest: " } else { ", " }, printable(name))?;
        }
        f.write_str(if self.0.is_empty() { "" } else { ")" })
    }
}

fn entries(count: usize) -> String {
    counted_as(count, "entry", "entries")
}

/// What is wrong with an operation, with what to do about it.
#[derive(Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// Two operands do not broadcast.
    #[error(
        "shapes {left} and {right} do not broadcast; extents must be equal or 1, aligned at the last dimension"
    )]
    Broadcast {
        /// Shape of the first operand.
        left: Shape,
        /// Shape of the second operand.
        right: Shape,
    },
    /// The extents that a matrix product sums over differ.
    #[error(
        "cannot multiply {left} by {right}: the first has {left_inner} columns, the second {right_inner} rows; make them equal, or transpose one"
    )]
    MatMul {
        /// Shape of the first operand, after its transposition.
        left: Shape,
        /// Shape of the second operand, after its transposition.
        right: Shape,
        /// Columns of the first.
        left_inner: usize,
        /// Rows of the second.
        right_inner: usize,
    },
    /// A dtype that the operation does not take.
    #[error("needs {expected}, was given {found}; convert with `.cast(..)`")]
    DType {
        /// What the operation takes.
        expected: String,
        /// What it was given.
        found: DType,
    },
    /// Bytes that would be computed.
    #[error(
        "u8 is for what is fed, and {found} does not fit it; keep it as {found}, or feed the bytes"
    )]
    MadeU8 {
        /// What would be cast.
        found: DType,
    },
    /// A variable of a dtype that none can have.
    #[error(
        "variable `{name}` cannot be {dtype}, which is for what is fed; declare it as f32, f16, bf16, i32 or u32, or feed it to a placeholder", name = printable(.name)
    )]
    VariableDType {
        /// The variable.
        name: String,
        /// Its dtype.
        dtype: DType,
    },
    /// A rank that the operation does not take.
    #[error("needs {expected}, was given {found}; reshape it first")]
    Rank {
        /// What the operation takes.
        expected: String,
        /// The shape it was given.
        found: Shape,
    },
    /// An argument that has not one entry for each dimension.
    #[error(
        "`{argument}` {given:?} has {} for {} dimensions; give one for each of {shape}",
        entries(.given.len()), .shape.rank()
    )]
    Entries {
        /// Which argument.
        argument: &'static str,
        /// What was given.
        given: Vec<usize>,
        /// The shape whose dimensions it is for.
        shape: Shape,
    },
    /// A dimension that was given more than once.
    #[error("axis {axis} is given twice; give each at most once")]
    AxisTwice {
        /// The axis.
        axis: usize,
    },
    /// A dimension that the shape does not have.
    #[error("there is no axis {axis} in shape {shape}; use 0 to rank - 1, each at most once")]
    Axis {
        /// The axis asked for.
        axis: usize,
        /// The shape.
        shape: Shape,
    },
    /// A reshape that changes the number of elements.
    #[error("cannot reshape {from} ({} elements) to {to} ({} elements); the numbers must be equal", .from.elements(), .to.elements())]
    Reshape {
        /// Shape before.
        from: Shape,
        /// Shape asked for.
        to: Shape,
    },
    /// A shape that cannot be repeated to another.
    #[error(
        "cannot broadcast {from} to {to}; extents must be equal or 1, aligned at the last dimension"
    )]
    BroadcastTo {
        /// Shape before.
        from: Shape,
        /// Shape asked for.
        to: Shape,
    },
    /// A slice outside the tensor.
    #[error(
        "cannot take {start}..{end} of axis {axis} of {shape}; start <= end <= extent must hold"
    )]
    Slice {
        /// The axis.
        axis: usize,
        /// First index.
        start: usize,
        /// Index after the last.
        end: usize,
        /// The shape.
        shape: Shape,
    },
    /// Two operands must have one shape.
    #[error("needs {what} of shape {expected}, was given {found}; reshape it")]
    Shape {
        /// Which operand.
        what: String,
        /// The shape needed.
        expected: Shape,
        /// The shape given.
        found: Shape,
    },
    /// A loss between a value and a target of another shape.
    #[error(
        "prediction {prediction} and target {target} differ in shape, and broadcasting them would compare every element of one with many of the other; give the target the prediction's shape, with `.reshape({prediction})` if it has as many elements"
    )]
    LossShapes {
        /// Shape of the prediction (logits).
        prediction: Shape,
        /// Shape of the target.
        target: Shape,
    },
    /// A number out of its range.
    #[error("{what} is {value}, and must be {range}")]
    Range {
        /// Which number.
        what: String,
        /// Its value.
        value: f64,
        /// What it may be.
        range: String,
    },
    /// A setting of another optimizer.
    #[error("{optimizer} has no `{setting}`; take it away, or use {others}")]
    OptimizerSetting {
        /// The setting.
        setting: String,
        /// The optimizer that was given it.
        optimizer: &'static str,
        /// Those that have it.
        others: &'static str,
    },
    /// What should say which variables are meant is no glob.
    #[error("`{what}` {glob:?} is no glob of names: {why}; correct it")]
    Glob {
        /// Which argument.
        what: &'static str,
        /// The glob, as it was given.
        glob: String,
        /// What is wrong with it.
        why: String,
    },
    /// A glob of names that matches no variable that it could be meant for.
    #[error(
        "`{what}` {glob:?} matches no trainable variable{}; correct it, or take it away",
        Nearest(.nearest)
    )]
    UnmatchedGlob {
        /// Which argument.
        what: &'static str,
        /// The glob, as it was given.
        glob: String,
        /// Names of variables that are most like it, the nearest first.
        nearest: Vec<String>,
    },
    /// A tensor of more elements than a 32-bit index reaches.
    #[error("{shape} has more elements than an index of 32 bits reaches; split it")]
    TooLarge {
        /// The shape.
        shape: Shape,
    },
    /// A name that could not be found again in a checkpoint.
    #[error(
        "`{name}` is not a usable name: it is empty, or has an empty part, a control character, a trailing `:0` or the reserved name `__metadata__`; rename it", name = printable(.name)
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A variable declared twice.
    #[error(
        "variable `{name}` is already declared at {first}; give one of them another name or scope, or ask for the same variable with `.reuse()`", name = printable(.name)
    )]
    DuplicateVariable {
        /// The variable.
        name: String,
        /// Where it was declared first.
        first: Location,
    },
    /// A slot whose name is taken, mostly by another optimizer of the same name.
    #[error(
        "optimizer `{optimizer}` keeps its state in variable `{name}`, which is already declared at {first}; give this optimizer another name with `.named(\"..\")`, or, where the graph has this training already, as one from a checkpoint does, compile that: `graph.updates()`", name = printable(.name), optimizer = printable(.optimizer)
    )]
    DuplicateSlot {
        /// The optimizer's name.
        optimizer: String,
        /// The slot's full name.
        name: String,
        /// Where that name was declared first.
        first: Location,
    },
    /// A reuse that does not agree with the declaration.
    #[error(
        "variable `{name}` is {declared_dtype} {declared} as declared at {first}, and reused as {dtype} {shape}; make them agree", name = printable(.name)
    )]
    Reuse {
        /// The variable.
        name: String,
        /// Where it was declared.
        first: Location,
        /// Declared shape.
        declared: Shape,
        /// Declared dtype.
        declared_dtype: DType,
        /// Shape asked for.
        shape: Shape,
        /// Dtype asked for.
        dtype: DType,
    },
    /// A placeholder or named tensor declared twice.
    #[error("the name `{name}` is already taken by another {kind} at {first}; choose another", name = printable(.name))]
    DuplicateName {
        /// The name.
        name: String,
        /// `placeholder` or `tensor`.
        kind: String,
        /// Where it was taken.
        first: Location,
    },
    /// The initializer does not suit the variable.
    #[error("variable `{name}` of {dtype} {shape} cannot be initialized with {initializer}: {why}", name = printable(.name))]
    Initializer {
        /// The variable.
        name: String,
        /// Its shape.
        shape: Shape,
        /// Its dtype.
        dtype: DType,
        /// The initializer.
        initializer: String,
        /// What does not suit.
        why: String,
    },
    /// A tensor of another graph.
    #[error(
        "an operand belongs to another graph; build the whole expression in one `Graph` (variables are shared by name)"
    )]
    ForeignTensor,
    /// A gradient through something that has none.
    #[error(
        "there is no gradient through {operation}; use `.stop_gradient()` if none is meant to flow"
    )]
    NoGradient {
        /// The operation.
        operation: String,
    },
    /// An optimizer has nothing to train.
    #[error(
        "the loss depends on no trainable variable; build it from variables, or check for a `stop_gradient`"
    )]
    NothingToTrain,
    /// A loss that is not a scalar.
    #[error(
        "the loss has shape {shape}, and must be a scalar; reduce it with `.mean_all()` or `.sum_all()`"
    )]
    LossNotScalar {
        /// Its shape.
        shape: Shape,
    },
    /// An assignment to something that is not a variable.
    #[error(
        "the target of an assignment is the result of {operation}, not a variable; assign to what `variable` or `state_of` gave"
    )]
    NotAVariable {
        /// The operation that gave the target.
        operation: String,
    },
    /// Two updates of one run that write the same variables.
    #[error(
        "{} would be written twice in one run, here and by {operation} at {first}; run the two in plans of their own, or let each optimizer train its own variables with `minimize_where`",
        Listed(.variables)
    )]
    WrittenTwice {
        /// The variables.
        variables: Vec<String>,
        /// The other update's operation.
        operation: String,
        /// Where the other update was built.
        first: Location,
    },
    /// A serialized graph that does not fit together.
    #[error("the stored graph is damaged: {}; save it again", printable(.why))]
    Damaged {
        /// What does not fit.
        why: String,
    },
}
