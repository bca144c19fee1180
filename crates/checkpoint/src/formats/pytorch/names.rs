//! The names of the tensors in what a pickle built: their keys and places, joined by dots.
//!
//! The walk has a budget, since containers may hold each other many times over.

use super::error::PyTorchError;
use super::machine::{AXIS, Machine, Value};

/// More containers than this around a tensor are no checkpoint.
const DEEPEST: usize = 64;
/// What a tensor that is listed takes, beside its name and axes.
const TENSOR: usize = 128;

/// A walk through containers. They may hold each other, many times over: what the walk may see is
/// bounded by the length of the pickle.
struct Walk<'a> {
    machine: &'a Machine<'a>,
    name: String,
    depth: usize,
    budget: usize,
    found: Vec<(String, usize)>,
}

/// The tensors with their names, in the order of the containers. A tensor by itself has no name.
pub(super) fn list(
    machine: &Machine<'_>,
    root: &Value,
) -> Result<Vec<(String, usize)>, PyTorchError> {
    let (name, found, budget) = (String::new(), Vec::new(), machine.budget);
    let mut walk = Walk { machine, name, depth: 0, budget, found };
    walk.visit(root)?;
    Ok(walk.found)
}

impl Walk<'_> {
    fn visit(&mut self, value: &Value) -> Result<(), PyTorchError> {
        self.charge(1)?;
        match value {
            Value::Tensor(tensor) => {
                // It is copied, however often it is listed.
                let axes = self.machine.tensors[*tensor].shape.len();
                self.charge(TENSOR + self.name.len() + AXIS * axes)?;
                self.found.push((self.name.clone(), *tensor));
            }
            Value::Sequence(of) => {
                for (place, value) in self.machine.sequences[*of].iter().enumerate() {
                    self.within(&place.to_string(), value)?;
                }
            }
            Value::Dict(of) => {
                for (key, value) in &self.machine.dicts[*of] {
                    match key {
                        Value::Text(text) => self.within(self.machine.text(text), value)?,
                        Value::Int(number) => self.within(&number.to_string(), value)?,
                        _ => self.unnamed(value)?,
                    }
                }
            }
            Value::Plain
            | Value::Int(_)
            | Value::Text(_)
            | Value::Global(_)
            | Value::Storage(_) => {}
        }
        Ok(())
    }

    fn charge(&mut self, cost: usize) -> Result<(), PyTorchError> {
        self.budget = self.budget.checked_sub(cost).ok_or(PyTorchError::TooMany)?;
        Ok(())
    }

    /// Goes into what a container has under a key.
    fn within(&mut self, key: &str, value: &Value) -> Result<(), PyTorchError> {
        if self.depth == DEEPEST {
            return Err(PyTorchError::TooDeep { name: self.name.clone(), depth: DEEPEST });
        }
        self.charge(key.len())?;
        let length = self.name.len();
        if self.depth > 0 {
            self.name.push('.');
        }
        self.name.push_str(key);
        self.depth += 1;
        self.visit(value)?;
        self.depth -= 1;
        self.name.truncate(length);
        Ok(())
    }

    /// A key that makes no name is of no matter if no tensor is behind it.
    fn unnamed(&mut self, value: &Value) -> Result<(), PyTorchError> {
        let before = self.found.len();
        self.within("?", value)?;
        match self.found.len() == before {
            true => Ok(()),
            false => Err(PyTorchError::Key { name: self.name.clone() }),
        }
    }
}
