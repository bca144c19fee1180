//! The inputs and first weights of each row.

use crate::{Model, numbers};

/// Input, weights `[size, size]` (row-major, inputs by units) and bias of a dense layer.
pub struct Linear {
    /// Rows and columns.
    pub size: usize,
    /// `[size, size]`, in [-1, 1).
    pub input: Vec<f32>,
    /// `[size, size]`, small enough that the results are of the order of one.
    pub weight: Vec<f32>,
    /// `[size]`.
    pub bias: Vec<f32>,
}

/// The dense layer of this size.
pub fn linear(size: usize) -> Linear {
    let elements = size * size;
    Linear {
        size,
        input: numbers(1, elements, 1.0),
        weight: numbers(2, elements, 1.0 / (size as f32).sqrt()),
        bias: numbers(3, size, 0.1),
    }
}

/// First weights of one layer of an MLP; biases begin as zeros.
pub struct Layer {
    /// What goes in.
    pub inputs: usize,
    /// What comes out.
    pub units: usize,
    /// `[inputs, units]`, row-major.
    pub weight: Vec<f32>,
}

/// The first weights of a model.
pub fn layers(model: &Model) -> Vec<Layer> {
    let layer = |(index, pair): (usize, &[usize])| {
        let (inputs, units) = (pair[0], pair[1]);
        let limit = (6.0 / (inputs + units) as f32).sqrt();
        let weight = numbers(10 + index as u32, inputs * units, limit);
        Layer { inputs, units, weight }
    };
    model.widths.windows(2).enumerate().map(layer).collect()
}

/// The batch that every step is fed.
#[derive(Clone)]
pub struct Batch {
    /// `[rows, features]`.
    pub features: Vec<f32>,
    /// `[rows]`, the classes.
    pub labels: Vec<i32>,
}

/// The batch of a model.
pub fn batch(model: &Model) -> Batch {
    let classes = model.classes();
    Batch {
        features: numbers(1, model.batch * model.widths[0], 1.0),
        labels: (0..model.batch).map(|row| (row * 7 % classes) as i32).collect(),
    }
}
