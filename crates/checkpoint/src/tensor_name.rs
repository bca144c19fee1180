//! The name of a tensor.

use serde::{Serialize, Serializer};
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The name of a tensor in a file. Of thousands of tensors each has its name once: the checkpoint, plans
/// and the origins of variables share it.
///
/// ```
/// # use warmstart_checkpoint::TensorName;
/// let name = TensorName::from("fc1/weight");
/// assert!(name == "fc1/weight" && name.ends_with("weight"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorName(Arc<str>);

impl TensorName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for TensorName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for TensorName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TensorName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TensorName {
    fn from(name: &str) -> TensorName {
        TensorName(name.into())
    }
}

impl From<String> for TensorName {
    fn from(name: String) -> TensorName {
        TensorName(name.into())
    }
}

impl From<&TensorName> for Arc<str> {
    fn from(name: &TensorName) -> Arc<str> {
        name.0.clone()
    }
}

impl PartialEq<str> for TensorName {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for TensorName {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<String> for TensorName {
    fn eq(&self, other: &String) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<TensorName> for String {
    fn eq(&self, other: &TensorName) -> bool {
        other == self
    }
}

impl PartialEq<TensorName> for &str {
    fn eq(&self, other: &TensorName) -> bool {
        other == self
    }
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for TensorName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}
