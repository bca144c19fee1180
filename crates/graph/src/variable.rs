//! What a graph says about a variable. Its value belongs to a session, not to a graph.

use crate::{DType, Initializer, Location, Shape};
use serde::{Deserialize, Serialize};

/// The declaration of a variable. A variable *is* its name: two graphs that declare the same name
/// speak of the same value, and must agree on shape and dtype.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variable {
    /// The full name, scopes included: `encoder/layer_0/weight`.
    pub name: String,
    /// The extents.
    pub shape: Shape,
    /// The element type.
    pub dtype: DType,
    /// The recipe for a first value.
    pub initializer: Initializer,
    /// What the variable is for.
    pub role: Role,
    /// Where it was declared.
    pub location: Location,
}

impl Variable {
    /// A variable with the given name, declared by the caller.
    #[track_caller]
    pub fn new(
        name: impl Into<String>,
        shape: impl Into<Shape>,
        dtype: DType,
        initializer: Initializer,
        role: Role,
    ) -> Variable {
        let location = Location::caller();
        Variable { name: name.into(), shape: shape.into(), dtype, initializer, role, location }
    }

    /// Bytes of the value.
    pub fn bytes(&self) -> u64 {
        (self.shape.elements() as u64).saturating_mul(self.dtype.size() as u64)
    }
}

/// What a variable is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A weight that optimizers may change.
    Trainable,
    /// State that is not trained, such as a step counter or a frozen weight.
    State,
    /// An optimizer's slot, such as Adam's first moment.
    Slot {
        /// The variable it belongs to, or `None` for a slot of the optimizer as a whole (its step).
        variable: Option<String>,
        /// The optimizer, in lower case: `adam`.
        optimizer: String,
        /// The slot within it: `m`.
        slot: String,
    },
}
