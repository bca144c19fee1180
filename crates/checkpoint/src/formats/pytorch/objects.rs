//! What a pickle makes by calling the objects that it names: containers, storages and tensors.

use super::error::PyTorchError;
use super::globals::Global;
use super::machine::{AXIS, Machine, Result, Storage, Tensor, Value};
use crate::tensor::FileDType;

/// Tensors have no more axes than this; in PyTorch and NumPy neither.
const MOST_AXES: usize = 64;

impl Machine<'_> {
    /// Calls an object with a tuple of arguments, which makes a container or a tensor.
    pub(super) fn call(&mut self, callable: &Value, arguments: &Value) -> Result<Value> {
        let Value::Global(mut global) = *callable else {
            return self.wrong("something is called that cannot be");
        };
        let Value::Sequence(mut arguments) = *arguments else {
            return self.wrong("something is called without a tuple of arguments");
        };
        if global == Global::RebuildFromType {
            match self.sequences[arguments][..] {
                [Value::Global(inner), Value::Global(Global::Plain), Value::Sequence(of), _] => {
                    (global, arguments) = (inner, of);
                }
                _ => return self.wrong("a tensor of a class of its own is described differently"),
            }
        }
        let given = &self.sequences[arguments];
        Ok(match global {
            Global::OrderedDict if given.is_empty() => {
                self.dicts.push(Vec::new());
                Value::Dict(self.dicts.len() - 1)
            }
            Global::Size | Global::Set => match given[..] {
                [Value::Sequence(of)] => Value::Sequence(of),
                _ => return self.wrong("`torch.Size` or a set is made of something unknown"),
            },
            Global::RebuildParameter => match given.first() {
                Some(Value::Tensor(of)) => Value::Tensor(*of),
                _ => return self.wrong("a parameter is made of something that is no tensor"),
            },
            Global::RebuildTensor => {
                let tensor = self.tensor(given, None, given.get(6))?;
                self.keep(tensor)?
            }
            Global::RebuildTensorV3 => {
                let Some(Value::Global(Global::DType(dtype))) = given.get(6) else {
                    return self.wrong("a tensor has a dtype that is not known");
                };
                let tensor = self.tensor(given, Some(*dtype), given.get(7))?;
                self.keep(tensor)?
            }
            Global::Plain => Value::Plain,
            _ => return self.wrong("something is called that cannot be, or with other arguments"),
        })
    }

    fn keep(&mut self, tensor: Tensor) -> Result<Value> {
        // One tuple may be the shape and the strides of all tensors, and each copies it.
        let cost = AXIS * (tensor.shape.len() + tensor.strides.len());
        self.budget = self.budget.checked_sub(cost).ok_or(PyTorchError::TooMany)?;
        self.tensors.push(tensor);
        Ok(Value::Tensor(self.tensors.len() - 1))
    }

    /// The tensor that these arguments describe.
    fn tensor(
        &self,
        given: &[Value],
        dtype: Option<FileDType>,
        metadata: Option<&Value>,
    ) -> Result<Tensor> {
        let [
            Value::Storage(storage),
            Value::Int(offset),
            Value::Sequence(shape),
            Value::Sequence(strides),
            ..,
        ] = *given
        else {
            return self.wrong("a tensor is described differently");
        };
        // It can say that the elements are to be negated or conjugated.
        let empty = match metadata {
            Some(Value::Dict(dict)) => self.dicts[*dict].is_empty(),
            _ => true,
        };
        if !empty {
            return self.wrong("a tensor is a conjugated or negated view, which is not read");
        }
        let Some(dtype) = dtype.or(self.storages[storage].dtype) else {
            return self.wrong("a tensor has no dtype");
        };
        let numbers = |of: usize| -> Result<Vec<u64>> {
            // A tuple may be shared by all tensors: what each copies of it must be bounded.
            if self.sequences[of].len() > MOST_AXES {
                return self.wrong("a tensor has more than 64 axes");
            }
            let number = |value: &Value| match value {
                Value::Int(number) => u64::try_from(*number).ok(),
                _ => None,
            };
            match self.sequences[of].iter().map(number).collect() {
                Some(numbers) => Ok(numbers),
                None => self.wrong("a shape or a stride is no number, or negative"),
            }
        };
        let shape = numbers(shape)?.into_iter().map(usize::try_from).collect();
        let (Ok(offset), Ok(shape)) = (u64::try_from(offset), shape) else {
            return self.wrong("an offset or a shape is negative or too large");
        };
        let strides = numbers(strides)?;
        let shape: Vec<usize> = shape;
        match shape.len() == strides.len() {
            true => Ok(Tensor { storage, dtype, offset, shape, strides }),
            false => self.wrong("a tensor has more extents than strides, or fewer"),
        }
    }

    /// A storage, by what PyTorch knows it by: `('storage', class, key, device, elements)`.
    pub(super) fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let Value::Sequence(id) = id else {
            return self.wrong("a storage is not described by a tuple");
        };
        let storage = match &self.sequences[id][..] {
            [
                Value::Text(kind),
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(elements @ 0..),
            ] if self.pickle[kind.clone()] == *b"storage" => {
                Storage { dtype: *dtype, key: key.clone(), elements: elements.unsigned_abs() }
            }
            _ => return self.wrong("a storage is described differently"),
        };
        self.storages.push(storage);
        self.push(Value::Storage(self.storages.len() - 1));
        Ok(())
    }
}
