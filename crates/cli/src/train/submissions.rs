//! What a run submits to the device: how many steps at once, and where their batches come from.
//!
//! Inputs that all are whole numbers from 0 to 255, as those of pictures are, lie on the device as bytes, a
//! quarter of the memory. The kernel that gathers a batch makes the numbers of them that the host would
//! feed, so where rows are changes no bit of what is trained.

use super::examples::Examples;
use super::network::{BATCH_INPUT, BATCH_TARGET};
use crate::error::Failure;
use crate::text;
use std::ops::Range;
use std::time::{Duration, Instant};
use warmstart::gpu::{Column, DeviceDataset, Feed, Gpu, Plan, Session, StepOutputs, Steps};
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
    /// All rows, on the device, or why they are not there.
    on_device: Result<DeviceDataset, String>,
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
        let on_device = match memory_limit {
            None => upload(gpu, examples, MOST_BYTES),
            Some(_) => {
                Err("`memory_limit` is for all that training takes on the device".to_owned())
            }
        };
        Submissions { examples, on_device, fed: Fed::default(), steps: 1, last: None }
    }

    /// What to tell of rows that are not on the device: steps are then submitted one at a time.
    pub fn note(&self) -> Option<String> {
        let why = self.on_device.as_ref().err()?;
        Some(format!("rows stay on the host, which feeds each step its batch: {why}"))
    }

    /// The steps of the next submission. It ends where the run saves, and after every so many steps.
    pub fn next(&mut self, run: &Run, every: u64) -> Option<Range<u64>> {
        let first = run.next_step()?;
        let now = Instant::now();
        if let Some(last) = self.last.replace(now).filter(|_| self.on_device.is_ok()) {
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
            Ok(data) => session.run_steps(plan, &Steps::rows(data, &rows))?,
            Err(_) => {
                let feeds = self.fed.gather(self.examples, &rows)?;
                session.run_steps(plan, &Steps::repeat(1).feeds(&feeds))?
            }
        })
    }
}

/// All rows on the device, unless their inputs take more than so many bytes there or it refuses them: the same
/// batches can be fed.
fn upload(gpu: &Gpu, examples: &Examples, most: u64) -> Result<DeviceDataset, String> {
    let bytes = bytes_of(examples.inputs());
    let (inputs, size) = match &bytes {
        Some(bytes) => (Column::Bytes { bytes, scale: 1.0 }, bytes.len()),
        None => (examples.inputs().into(), size_of_val(examples.inputs())),
    };
    if size as u64 > most {
        let [size, most] = [size as u64, most].map(text::bytes);
        return Err(format!(
            "their inputs take {size}, and {most} leave a device room for what training takes"
        ));
    }
    let target = match examples {
        Examples::Classes(data) => data.labels().into(),
        Examples::Values(data) => data.targets().into(),
    };
    let columns = [(BATCH_INPUT, inputs), (BATCH_TARGET, target)];
    DeviceDataset::new(gpu, examples.len(), &columns).map_err(|error| error.to_string())
}

/// Inputs as bytes, if they are the same numbers to the bit, which -0 is not.
fn bytes_of(inputs: &[f32]) -> Option<Vec<u8>> {
    let byte = |&input: &f32| {
        let byte = input as u8;
        (f32::from(byte).to_bits() == input.to_bits()).then_some(byte)
    };
    inputs.iter().map(byte).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart::Dataset;

    fn values(inputs: Vec<f32>, width: usize) -> Examples {
        let targets = vec![0.5; inputs.len() / width];
        Examples::Values(Dataset::with_targets(inputs, width, targets, 1).unwrap())
    }

    #[test]
    fn what_are_bytes_lies_on_the_device_as_bytes() {
        let gpu = Gpu::new().unwrap();
        let uploaded = |inputs| upload(&gpu, &values(inputs, 4), MOST_BYTES).unwrap().bytes();
        assert_eq!(uploaded(vec![0.0, 1.0, 128.0, 255.0, 7.0, 7.0, 0.0, 3.0]), 8 + 2 * 4);
        for other in [-1.0, -0.0, 0.5, 256.0] {
            assert_eq!(uploaded(vec![0.0, 1.0, 128.0, 255.0, 7.0, 7.0, 0.0, other]), 32 + 2 * 4);
        }
    }

    /// More of them may be there than of other numbers.
    #[test]
    fn rows_that_stay_on_the_host_are_told_with_the_reason() {
        let gpu = Gpu::new().unwrap();
        let [whole, half] = [1.0, 0.5].map(|input| values(vec![input; 16], 4));
        assert!(upload(&gpu, &whole, 16).is_ok());
        let many = upload(&gpu, &half, 16).unwrap_err();
        assert_eq!(
            many,
            "their inputs take 64 B, and 16 B leave a device room for what training takes"
        );
        let submissions = Submissions::new(&gpu, &half, Some(1 << 20));
        let note = submissions.note().unwrap();
        assert_eq!(
            note,
            "rows stay on the host, which feeds each step its batch: `memory_limit` is for all that \
             training takes on the device"
        );
        assert_eq!(Submissions::new(&gpu, &half, None).note(), None);
        // What the device says it refuses them for.
        let none = Examples::Values(Dataset::with_targets(Vec::new(), 0, vec![0.5; 3], 1).unwrap());
        let refused = Submissions::new(&gpu, &none, None).note().unwrap();
        assert!(refused.contains("column `batch/input` has 0 elements"), "{refused}");
    }
}
