//! Which examples make up the batch of a step.

use rand::seq::SliceRandom;
use std::ops::Range;
use warmstart_graph::random::Philox;

warmstart_graph::debug_as_display!(BatchError);

/// Why examples cannot be put into batches.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A batch of no examples.
    #[error("the batch size is 0; give at least 1")]
    EmptyBatch,
    /// There are too few examples for even one batch.
    #[error("{}", too_few(*examples, *batch))]
    TooFewExamples {
        /// How many examples there are.
        examples: usize,
        /// The size of a batch.
        batch: usize,
    },
    /// Examples are numbered by `u32`, as they are on the device.
    #[error(
        "{examples} examples are more than {} can number; split them into several data sets",
        u32::MAX
    )]
    TooManyExamples {
        /// How many examples there are.
        examples: usize,
    },
}

fn too_few(examples: usize, batch: usize) -> String {
    match examples {
        0 => format!("there are no examples to fill a batch of {batch}; give at least {batch}"),
        _ => format!(
            "{examples} examples do not fill one batch of {batch}; \
             give a batch size of at most {examples}, or more examples"
        ),
    }
}

/// Shuffled batches in a reproducible order.
///
/// The batch of a step is a function of the number of examples, the batch size, the seed and the
/// step alone. A resumed run that goes on at step 500 therefore sees the batches that an
/// uninterrupted run sees from step 500 on, in the middle of an epoch too; nothing about the order
/// has to be saved but the seed.
///
/// Each epoch shuffles all examples anew. Every batch has exactly the batch size, as compiled plans
/// have static shapes: what remains of an epoch after its last whole batch is skipped. As the
/// remainder is a different one in each epoch, no example is skipped in the long run.
///
/// ```
/// # fn main() -> Result<(), warmstart::BatchError> {
/// use warmstart::Batches;
/// let mut batches = Batches::new(100, 32, 7)?;
/// assert_eq!(batches.steps_per_epoch(), 3);
/// let first = batches.indices(0).to_vec();
/// assert_eq!(first.len(), 32);
/// batches.indices(1000);
/// assert_eq!(batches.indices(0), first);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Batches {
    examples: u32,
    batch: usize,
    seed: u64,
    /// The epoch whose order is held, and that order.
    shuffled: Option<(u64, Vec<u32>)>,
}

impl Batches {
    /// Batches of `batch` of the examples `0..examples`.
    ///
    /// # Errors
    /// If the batch size is 0 or larger than the number of examples, or if there are more examples
    /// than a `u32` can number.
    pub fn new(examples: usize, batch: usize, seed: u64) -> Result<Batches, BatchError> {
        if batch == 0 {
            return Err(BatchError::EmptyBatch);
        }
        if examples < batch {
            return Err(BatchError::TooFewExamples { examples, batch });
        }
        let count =
            u32::try_from(examples).map_err(|_| BatchError::TooManyExamples { examples })?;
        Ok(Batches { examples: count, batch, seed, shuffled: None })
    }

    /// The size of every batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The seed of the order.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The number of whole batches in an epoch, at least 1.
    pub fn steps_per_epoch(&self) -> u64 {
        u64::from(self.examples) / self.batch as u64
    }

    /// The epoch that a step belongs to, both counted from 0 since the beginning of training.
    pub fn epoch(&self, step: u64) -> u64 {
        step / self.steps_per_epoch()
    }

    /// The examples in the batch of a step, counted from 0 since the beginning of training (not
    /// since a resume, not since the epoch's beginning).
    ///
    /// The order of one epoch is held, so that steps in sequence cost one shuffle an epoch.
    pub fn indices(&mut self, step: u64) -> &[u32] {
        let epoch = self.epoch(step);
        let order = match self.shuffled.take() {
            Some((held, order)) if held == epoch => order,
            _ => shuffled(self.examples, self.seed, &format!("batches of epoch {epoch}")),
        };
        let (_, order) = self.shuffled.insert((epoch, order));
        // Smaller than the number of examples, so it fits.
        let start = (step % (u64::from(self.examples) / self.batch as u64)) as usize * self.batch;
        &order[start..start + self.batch]
    }

    /// The examples in the batches of several steps, one batch after the other: what
    /// [`Steps::rows`](warmstart_gpu::Steps::rows) takes.
    pub fn indices_of(&mut self, steps: Range<u64>) -> Vec<u32> {
        let mut all = Vec::new();
        for step in steps {
            all.extend_from_slice(self.indices(step));
        }
        all
    }
}

/// The numbers `0..examples` in an order of its own for each seed and purpose.
pub(crate) fn shuffled(examples: u32, seed: u64, purpose: &str) -> Vec<u32> {
    let mut order: Vec<u32> = (0..examples).collect();
    order.shuffle(&mut Philox::new(seed, purpose).rng());
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new version of `rand` must not change the order: runs saved before it could not resume.
    #[test]
    fn the_order_never_changes() {
        let mut batches = Batches::new(10, 10, 7).unwrap();
        assert_eq!(batches.indices(0), [9, 6, 8, 3, 1, 0, 4, 5, 7, 2]);
        assert_eq!(batches.indices(1), [2, 8, 7, 9, 6, 5, 0, 3, 1, 4]);
        assert_eq!(
            Batches::new(10, 10, 1 << 40).unwrap().indices(0),
            [2, 1, 6, 4, 8, 0, 9, 5, 7, 3]
        );
    }

    #[test]
    fn an_epoch_sees_each_example_at_most_once() {
        let mut batches = Batches::new(103, 10, 3).unwrap();
        assert_eq!(batches.steps_per_epoch(), 10);
        for epoch in 0..3 {
            let mut seen = [false; 103];
            for step in epoch * 10..(epoch + 1) * 10 {
                assert_eq!(batches.epoch(step), epoch);
                for &index in batches.indices(step) {
                    assert!(!std::mem::replace(&mut seen[index as usize], true));
                }
            }
            assert_eq!(seen.iter().filter(|&&seen| seen).count(), 100);
        }
    }

    #[test]
    fn the_remainder_changes_from_epoch_to_epoch() {
        let mut batches = Batches::new(19, 10, 0).unwrap();
        let mut seen = [false; 19];
        for step in 0..50 {
            batches.indices(step).iter().for_each(|&index| seen[index as usize] = true);
        }
        assert_eq!(seen, [true; 19]);
    }

    #[test]
    fn a_resumed_run_goes_on_in_the_middle_of_an_epoch() {
        let mut through = Batches::new(50, 8, 11).unwrap();
        let steps: Vec<Vec<u32>> = (0..40).map(|step| through.indices(step).to_vec()).collect();
        let mut resumed = Batches::new(50, 8, 11).unwrap();
        for step in 15..40 {
            assert_eq!(resumed.indices(step), steps[step as usize]);
        }
        assert_eq!(resumed.indices_of(4..9), steps[4..9].concat());
        assert_eq!(resumed.indices_of(9..9), [0; 0]);
        assert_ne!(steps[0], steps[6], "two epochs have different orders");
        assert_ne!(Batches::new(50, 8, 12).unwrap().indices(0), steps[0]);
    }

    #[test]
    fn the_last_step_there_can_be() {
        let mut batches = Batches::new(5, 5, 1).unwrap();
        let mut last = batches.indices(u64::MAX).to_vec();
        last.sort_unstable();
        assert_eq!(last, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn batches_that_cannot_be() {
        assert_eq!(Batches::new(10, 0, 0).unwrap_err(), BatchError::EmptyBatch);
        let error = Batches::new(10, 11, 0).unwrap_err();
        assert_eq!(error, BatchError::TooFewExamples { examples: 10, batch: 11 });
        assert!(error.to_string().starts_with("10 examples do not fill one batch of 11"));
        let examples = u32::MAX as usize + 1;
        assert_eq!(
            Batches::new(examples, 1, 0).unwrap_err(),
            BatchError::TooManyExamples { examples }
        );
    }
}
