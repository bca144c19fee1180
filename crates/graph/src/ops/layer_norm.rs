//! Layer normalization over the last axis (Ba et al. 2016): an operation of its own, so that the device
//! computes a row's mean, deviation and result in one kernel.
//!
//! What the gradient must know of a row is in two numbers. The first is how far the mean lies above the
//! row's first element, not the mean: of a row around 10⁴ that varies by 10⁻², an `f32` holds the mean no
//! closer than 5·10⁻⁴, but its distance from an element as exactly as the deviations.

use crate::reference::Value;
use crate::{DType, Node, Op, Problem, Shape, Tensor, gradients};

fn floats(inputs: &[&Node]) -> Result<(), Problem> {
    match inputs.iter().find(|input| input.dtype != DType::F32) {
        Some(input) => Err(Problem::DType { expected: "f32".to_owned(), found: input.dtype }),
        None => Ok(()),
    }
}

fn width(x: &Node) -> Result<usize, Problem> {
    match x.shape.last() {
        Some(&width) if width > 0 => Ok(width),
        _ => {
            let expected = "a last axis with at least one element".to_owned();
            Err(Problem::Rank { expected, found: x.shape.clone() })
        }
    }
}

fn check_epsilon(epsilon: f32) -> Result<(), Problem> {
    if epsilon.is_finite() && epsilon >= 0.0 {
        return Ok(());
    }
    Err(Problem::Range {
        what: "the epsilon of layer_norm".to_owned(),
        value: epsilon.into(),
        range: "finite and not below 0".to_owned(),
    })
}

fn check_shape(what: &str, input: &Node, expected: Shape) -> Result<(), Problem> {
    if input.shape == expected {
        return Ok(());
    }
    Err(Problem::Shape { what: what.to_owned(), expected, found: input.shape.clone() })
}

/// The shape of the statistics: two numbers for each row.
fn statistics_shape(x: &Shape) -> Shape {
    let rows = x.split_last().map_or(&[][..], |(_, rows)| rows);
    Shape::from([rows, &[2]].concat())
}

pub(super) fn infer(epsilon: f32, inputs: &[&Node]) -> Result<(Shape, DType), Problem> {
    check_epsilon(epsilon)?;
    floats(inputs)?;
    let width = width(inputs[0])?;
    for (what, input) in ["gamma", "beta"].into_iter().zip(&inputs[1..]) {
        check_shape(what, input, Shape::from([width]))?;
    }
    Ok((inputs[0].shape.clone(), DType::F32))
}

pub(super) fn infer_statistics(epsilon: f32, x: &Node) -> Result<(Shape, DType), Problem> {
    check_epsilon(epsilon)?;
    floats(&[x])?;
    width(x)?;
    Ok((statistics_shape(&x.shape), DType::F32))
}

pub(super) fn infer_gradient(inputs: &[&Node]) -> Result<(Shape, DType), Problem> {
    floats(inputs)?;
    let shape = &inputs[0].shape;
    check_shape("gamma", inputs[1], Shape::from([width(inputs[0])?]))?;
    check_shape("gradient", inputs[2], shape.clone())?;
    check_shape("statistics", inputs[3], statistics_shape(shape))?;
    Ok((shape.clone(), DType::F32))
}

/// The mean of a row, and 1 / √(variance + ε).
fn moments(row: &[f64], epsilon: f32) -> (f64, f64) {
    let count = row.len() as f64;
    let mean = row.iter().sum::<f64>() / count;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    (mean, 1.0 / (variance + f64::from(epsilon)).sqrt())
}

fn rows(x: &Value) -> std::slice::ChunksExact<'_, f64> {
    x.elements.chunks_exact(x.shape.last().copied().unwrap_or(1).max(1))
}

pub(super) fn evaluate(epsilon: f32, inputs: &[&Value]) -> Vec<f64> {
    let (gamma, beta) = (&inputs[1].elements, &inputs[2].elements);
    rows(inputs[0])
        .flat_map(|row| {
            let (mean, inverse) = moments(row, epsilon);
            let scaled = row.iter().zip(gamma).zip(beta);
            scaled.map(move |((x, gamma), beta)| (x - mean) * inverse * gamma + beta)
        })
        .collect()
}

pub(super) fn evaluate_statistics(epsilon: f32, x: &Value) -> Vec<f64> {
    rows(x)
        .flat_map(|row| {
            let (mean, inverse) = moments(row, epsilon);
            [mean - row[0], inverse]
        })
        .collect()
}

pub(super) fn evaluate_gradient(inputs: &[&Value]) -> Vec<f64> {
    let gamma = &inputs[1].elements;
    let statistics = inputs[3].elements.chunks_exact(2);
    let all = rows(inputs[0]).zip(rows(inputs[2])).zip(statistics);
    all.flat_map(|((row, dy), statistics)| {
        let normalized: Vec<f64> =
            row.iter().map(|x| (x - row[0] - statistics[0]) * statistics[1]).collect();
        let scaled: Vec<f64> = dy.iter().zip(gamma).map(|(dy, gamma)| dy * gamma).collect();
        let count = row.len() as f64;
        let mean = scaled.iter().sum::<f64>() / count;
        let along = normalized.iter().zip(&scaled).map(|(x, dy)| x * dy).sum::<f64>() / count;
        let pairs = normalized.into_iter().zip(scaled);
        pairs.map(move |(x, dy)| statistics[1] * (dy - mean - x * along))
    })
    .collect()
}

fn last_axis(x: Tensor<'_>) -> usize {
    x.shape().rank().saturating_sub(1)
}

/// What is scaled by gamma, from the statistics.
fn normalized<'g>(x: Tensor<'g>, statistics: Tensor<'g>) -> Tensor<'g> {
    let last = last_axis(x);
    let (shift, inverse) = (statistics.slice(last, 0, 1), statistics.slice(last, 1, 2));
    (x - x.slice(last, 0, 1) - shift) * inverse
}

/// With y = (x − mean) r γ + β and h = (x − mean) r: dγ = Σ dy h and dβ = Σ dy over rows; dx is an
/// operation of its own.
pub(super) fn gradient<'g>(
    epsilon: f32,
    inputs: &[Tensor<'g>],
    dy: Tensor<'g>,
) -> Vec<Option<Tensor<'g>>> {
    let (x, gamma) = (inputs[0], inputs[1]);
    let statistics = x.apply(Op::LayerNormStatistics { epsilon }, &[]);
    let dx = x.apply(Op::LayerNormGradient, &[gamma, dy, statistics]);
    let rows: Vec<usize> = (0..last_axis(x)).collect();
    let dgamma = (dy * normalized(x, statistics)).sum(&rows);
    vec![Some(dx), Some(dgamma), Some(dy.sum(&rows))]
}

/// With s = mean − x₀ and r = 1 / √(variance + ε): dx = ds / n + dr (−r³) (x − mean) / n, and the first
/// element's has −ds too.
pub(super) fn statistics_gradient<'g>(
    x: Tensor<'g>,
    statistics: Tensor<'g>,
    dy: Tensor<'g>,
) -> Tensor<'g> {
    let last = last_axis(x);
    let shape = x.shape();
    let count = shape[last] as f32;
    let (ds, dr) = (dy.slice(last, 0, 1), dy.slice(last, 1, 2));
    let inverse = statistics.slice(last, 1, 2);
    let along = dr * inverse.square() / count;
    let spread = ds / count - normalized(x, statistics) * along;
    spread - ds.pad(&vec![0; shape.rank()], shape)
}

/// The gradient of the gradient, through what that is composed of: with d = dy γ, it is
/// dx = r (d − mean d − h mean(d h)).
pub(super) fn second_gradient<'g>(
    inputs: &[Tensor<'g>],
    upstream: Tensor<'g>,
) -> Vec<Option<Tensor<'g>>> {
    // What they were computed from is reached through the gradients that are returned, not here.
    let own: Vec<Tensor<'g>> = inputs.iter().map(|input| input.stop_gradient()).collect();
    let [x, gamma, dy, statistics] = own[..] else { return vec![None; inputs.len()] };
    let last = [last_axis(x)];
    let count = x.shape()[last[0]] as f32;
    let mean = |x: Tensor<'g>| x.sum_keep_dims(&last) / count;
    let (scaled, normalized) = (dy * gamma, normalized(x, statistics));
    let centred = scaled - mean(scaled) - normalized * mean(scaled * normalized);
    let dx = centred * statistics.slice(last[0], 1, 2);
    gradients((dx * upstream.stop_gradient()).sum_all(), &own)
}

impl<'g> Tensor<'g> {
    /// Layer normalization over the last axis (Ba et al. 2016): `(x − mean) / √(variance + epsilon) ·
    /// gamma + beta`, with mean and variance (the biased one) of each row, and `gamma` and `beta` of the
    /// shape `[width]`. As `torch.nn.functional.layer_norm` and `tf.keras.layers.LayerNormalization`,
    /// whose usual epsilons are 10⁻⁵ and 10⁻³. [`Scope::layer_norm`](crate::Scope::layer_norm) is
    /// the layer with its variables.
    ///
    /// ```
    /// use warmstart_graph::{DType, Graph};
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [32, 64], DType::F32);
    /// let gamma = graph.constant(1.0f32).broadcast_to([64]);
    /// let beta = graph.constant(0.0f32).broadcast_to([64]);
    /// assert_eq!(x.layer_norm(gamma, beta, 1e-5).shape().to_string(), "[32, 64]");
    /// ```
    #[track_caller]
    #[must_use]
    pub fn layer_norm(self, gamma: Tensor<'g>, beta: Tensor<'g>, epsilon: f32) -> Tensor<'g> {
        self.apply(Op::LayerNorm { epsilon }, &[gamma, beta])
    }
}
