//! The largest batch that fits: shapes are static, so each batch is a graph of its own.

use std::fmt;
use std::ops::RangeInclusive;
use warmstart_gpu::CompileError;

/// What [`largest_batch`] found. Prints as a sentence.
#[derive(Debug)]
pub struct LargestBatch<T> {
    /// The largest batch that fits.
    pub batch: usize,
    /// What was made of it.
    pub fits: T,
    /// The next larger batch and why it does not fit; none if all batches asked for do.
    pub refused: Option<(usize, CompileError)>,
}

impl<T> fmt::Display for LargestBatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the largest batch that fits is {}", self.batch)?;
        match &self.refused {
            Some((batch, why)) => write!(f, "; with {batch}, {why}"),
            None => f.write_str(", the largest that was asked for"),
        }
    }
}

/// Looks for the largest batch that fits, by halves: a batch is taken to fit if a larger one does.
///
/// What fits is for `make` to say. With [`Session::plan_memory`](warmstart_gpu::Session::plan_memory)
/// as below it is the device's limits (of one binding, of one buffer), and what of its memory may be
/// used, if [said](warmstart_gpu::PlanMemory::within). Nothing is taken and nothing runs, and a graph
/// takes milliseconds. How much memory a device has `wgpu` does not tell; but where it has run out,
/// [`CompileError::NoRoom`] tells for how much there is room, and that is what to look within. An update may
/// be of more examples than fit at once, by
/// [gradient accumulation](warmstart_graph::Optimizer::gradient_accumulation_steps).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use warmstart::{largest_batch, prelude::*};
///
/// fn model(graph: &Graph, batch: usize) -> (Tensor<'_>, TrainStep<'_>) {
///     let x = graph.placeholder("x", [batch, 784], DType::F32);
///     let labels = graph.placeholder("labels", [batch], DType::I32);
///     let hidden = graph.scope("fc1").linear(x, 512).relu();
///     let loss = graph.scope("fc2").linear(hidden, 10).softmax_cross_entropy(labels);
///     (loss, Optimizer::adam(1e-3).minimize(loss))
/// }
///
/// let session = Session::new(&Gpu::new()?);
/// let largest = largest_batch(1..=1 << 20, |batch| {
///     let graph = Graph::new();
///     let (loss, step) = model(&graph, batch);
///     session.plan_memory(&graph, &[loss], &[step.update])?.within(64 << 20)
/// })?;
/// assert!(largest.fits.peak() <= 64 << 20);
/// println!("{largest}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`CompileError::NoBatches`] if the range is empty, any error that has nothing to do with size (see
/// [`CompileError::is_too_large`]), and that of the smallest batch if not even that one fits.
pub fn largest_batch<T>(
    batches: RangeInclusive<usize>,
    mut make: impl FnMut(usize) -> Result<T, CompileError>,
) -> Result<LargestBatch<T>, CompileError> {
    let (smallest, largest) = (*batches.start(), *batches.end());
    if batches.is_empty() {
        return Err(CompileError::NoBatches { smallest, largest });
    }
    let (mut batch, mut fits) = (smallest, make(smallest)?);
    if largest == smallest {
        return Ok(LargestBatch { batch, fits, refused: None });
    }
    let mut refused = match make(largest) {
        Ok(fits) => return Ok(LargestBatch { batch: largest, fits, refused: None }),
        Err(why) if why.is_too_large() => (largest, why),
        Err(other) => return Err(other),
    };
    while refused.0 - batch > 1 {
        let middle = batch + (refused.0 - batch) / 2;
        match make(middle) {
            Ok(made) => (batch, fits) = (middle, made),
            Err(why) if why.is_too_large() => refused = (middle, why),
            Err(other) => return Err(other),
        }
    }
    Ok(LargestBatch { batch, fits, refused: Some(refused) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart_gpu::{Gpu, PlanMemory, Session};
    use warmstart_graph::{DType, Graph, Optimizer};

    fn too_large(bytes: u64) -> CompileError {
        CompileError::OverLimit { bytes, limit: 1 }
    }

    #[test]
    fn the_boundary_is_found_wherever_it_is() {
        for limit in 1..=40usize {
            let mut asked = 0;
            let found = largest_batch(1..=40, |batch| {
                asked += 1;
                if batch <= limit { Ok(batch * 3) } else { Err(too_large(batch as u64)) }
            });
            let found = found.unwrap();
            assert_eq!((found.batch, found.fits), (limit, limit * 3));
            assert_eq!(found.refused.map(|(batch, _)| batch), (limit < 40).then_some(limit + 1));
            assert!(asked <= 8, "{asked}");
        }
        assert!(largest_batch::<()>(1..=9, |_| Err(too_large(1))).is_err());
        let alone = largest_batch(7..=7, Ok).unwrap();
        assert_eq!(
            alone.to_string(),
            "the largest batch that fits is 7, the largest that was asked for"
        );
    }

    #[test]
    fn an_empty_range_is_refused() {
        let (first, last) = (5, 1);
        let error = largest_batch(first..=last, Ok).unwrap_err();
        assert!(!error.is_too_large());
        assert!(error.to_string().contains("there is no batch from 5 to 1"), "{error}");
    }

    #[test]
    fn other_errors_end_the_search() {
        let found = largest_batch(1..=9, |batch| match batch {
            1 => Ok(()),
            9 => Err(too_large(1)),
            _ => Err(CompileError::ForeignTensor),
        });
        assert!(matches!(found, Err(CompileError::ForeignTensor)));
    }

    /// By the device's own limits: what is found compiles, and one more does not.
    #[test]
    fn limits_of_a_binding_decide() {
        let gpu = Gpu::new().unwrap();
        let limits = gpu.limits();
        let binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        const UNITS: usize = 1 << 16;
        let expected = (binding / 256 * 256 / (UNITS as u64 * 4)) as usize;
        let plan = |batch: usize, session: &Session| -> Result<PlanMemory, CompileError> {
            let graph = Graph::new();
            let x = graph.placeholder("x", [batch, 2], DType::F32);
            let loss = graph.scope("fc").linear(x, UNITS).tanh().square().mean_all();
            let step = Optimizer::sgd(0.1).minimize(loss);
            session.plan_memory(&graph, &[loss], &[step.update])
        };
        let session = Session::new(&gpu);
        let found = largest_batch(1..=expected * 4, |batch| plan(batch, &session)).unwrap();
        assert_eq!(found.batch, expected);
        let text = found.to_string();
        let next = expected + 1;
        let begins =
            format!("the largest batch that fits is {expected}; with {next}, the result of ");
        assert!(text.starts_with(&begins), "{text}");
        assert!(session.variables().iter().next().is_none(), "nothing is declared");
        // A batch whose elements no index reaches is one that is too large as well.
        let far = largest_batch(1..=usize::MAX / UNITS, |batch| plan(batch, &session)).unwrap();
        assert_eq!(far.batch, expected);
    }
}
