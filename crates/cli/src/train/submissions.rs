//! What a run submits to the device: how many steps at once, and where their batches come from.

use super::examples::Examples;
use super::network::{BATCH_INPUT, BATCH_TARGET};
use crate::error::Failure;
use std::ops::Range;
use std::time::{Duration, Instant};
use warmstart::gpu::{DeviceDataset, Feed, Gpu, Plan, Session, StepOutputs, Steps};
use warmstart::{Batches, Run};

/// Steps of one submission, beyond which the host has next to nothing left to save.
const MOST: u64 = 32;
/// Inputs on the device, beyond which they stay on the host.
const MOST_BYTES: u64 = 256 << 20;
/// What a submission should take: Ctrl-C and the progress wait for it.
const ENOUGH: Duration = Duration::from_millis(100);

/// Submits the steps of a run, several at a time where the device has all rows and steps are short.
pub struct Submissions<'a> {
    examples: &'a Examples,
    /// All rows, on the device.
    on_device: Option<DeviceDataset>,
    /// A batch that is fed, in memory that is used again.
    fed: Fed,
    /// How many the next submission may have.
    steps: u64,
    /// When the last was asked for.
    last: Option<Instant>,
}

impl<'a> Submissions<'a> {
    /// Puts the rows on the device, if they are few enough to leave it the room that training takes, and
    /// nothing is said of a `memory_limit`, which is for all that training takes there.
    pub fn new(gpu: &Gpu, examples: &'a Examples, memory_limit: Option<u64>) -> Submissions<'a> {
        let upload = || match examples {
            Examples::Classes(data) => data.upload(gpu, BATCH_INPUT, BATCH_TARGET),
            Examples::Values(data) => data.upload(gpu, BATCH_INPUT, BATCH_TARGET),
        };
        let bytes = size_of_val(examples.inputs()) as u64;
        let fits = memory_limit.is_none() && bytes <= MOST_BYTES;
        // Whatever a device refuses them for, the same batches can be fed.
        let on_device = if fits { upload().ok() } else { None };
        Submissions { examples, on_device, fed: Fed::default(), steps: 1, last: None }
    }

    /// The steps of the next submission. It ends where the run saves, and after every so many steps.
    pub fn next(&mut self, run: &Run, every: u64) -> Option<Range<u64>> {
        let first = run.next_step()?;
        let now = Instant::now();
        if let Some(last) = self.last.replace(now).filter(|_| self.on_device.is_some()) {
            // How many they are changes no result.
            self.steps = match now - last {
                short if short < ENOUGH / 2 => MOST.min(2 * self.steps),
                long if long > ENOUGH => (self.steps / 2).max(1),
                _ => self.steps,
            };
        }
        run.next_steps(self.steps.min(every - first % every))
    }

    /// Submits them.
    pub fn submit(
        &mut self,
        session: &mut Session,
        plan: &Plan,
        batches: &mut Batches,
        steps: Range<u64>,
    ) -> Result<StepOutputs, Failure> {
        let rows = batches.indices_of(steps);
        Ok(match &self.on_device {
            Some(data) => session.run_steps(plan, &Steps::rows(data, &rows))?,
            None => {
                let feeds = self.fed.gather(self.examples, &rows)?;
                session.run_steps(plan, &Steps::repeat(1).feeds(&feeds))?
            }
        })
    }
}

/// A batch on the host.
#[derive(Default)]
struct Fed {
    inputs: Vec<f32>,
    labels: Vec<i32>,
    values: Vec<f32>,
}

impl Fed {
    fn gather(
        &mut self,
        examples: &Examples,
        rows: &[u32],
    ) -> Result<[(&'static str, Feed<'_>); 2], Failure> {
        let Fed { inputs, labels, values } = self;
        let target = match examples {
            Examples::Classes(data) => {
                data.gather(rows, inputs, labels)?;
                Feed::from(&*labels)
            }
            Examples::Values(data) => {
                data.gather(rows, inputs, values)?;
                Feed::from(&*values)
            }
        };
        Ok([(BATCH_INPUT, Feed::from(&*inputs)), (BATCH_TARGET, target)])
    }
}
