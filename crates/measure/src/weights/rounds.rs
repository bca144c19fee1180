//! Arms measured in rounds, and how near each is to its ceiling.
//!
//! Ceilings are arms like the others, and each round runs every arm once, so that what else the
//! machine does hits all of them alike.

use crate::error::MeasureError;
use crate::spread::Spread;
use crate::usage::Sample;
use crate::weights::{Arm, Devices, Memory, Way, Work, Workload};
use warmstart_gpu::MemoryKind;

/// What the rounds of an arm took.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The arm.
    pub arm: Arm,
    /// A sample for each round.
    pub samples: Vec<Sample>,
    /// How many bytes were moved in each.
    pub bytes: u64,
    /// How the adapter's variables are filled if nothing else is asked for.
    pub path: MemoryKind,
}

impl Measured {
    /// Seconds for a round.
    pub fn seconds(&self) -> Option<Spread> {
        Spread::of(self.samples.iter().map(|sample| sample.seconds))
    }

    /// Gigabytes (10⁹ bytes) a second.
    pub fn rates(&self) -> Option<Spread> {
        Some(self.seconds()?.rates(self.bytes as f64 / 1e9))
    }

    /// Processor time, of the median round.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let spent: Option<Vec<f64>> =
            self.samples.iter().map(|sample| sample.cpu_seconds).collect();
        Some(Spread::of(spent?)?.median)
    }

    /// The most resident memory of any round, above what was resident before and, where variables
    /// were made in the measured section and are in memory of the host, above theirs.
    pub fn peak_bytes(&self) -> Option<u64> {
        // What is not mapped on this adapter is in memory of its own.
        let on_host = self.path == MemoryKind::Mappable
            || matches!(self.arm.work, Work::Plain(_) | Work::Memcpy);
        let made = matches!(self.arm.memory, Memory::Fresh | Memory::Huge);
        let own = if made && on_host { self.bytes } else { 0 };
        let peaks: Option<Vec<u64>> = self.samples.iter().map(|sample| sample.peak_bytes).collect();
        peaks?.into_iter().max().map(|peak| peak.saturating_sub(own))
    }

    /// How often work was submitted to the device, where that was counted.
    pub fn submissions(&self) -> Option<u64> {
        self.samples.first()?.submissions
    }

    /// Whether bytes went through staging buffers.
    fn is_staged(&self) -> bool {
        match self.arm.work {
            Work::Restore(_, path) => path == MemoryKind::Staged,
            Work::StagedCheckpoint => true,
            Work::Checkpoint => self.path == MemoryKind::Staged,
            _ => false,
        }
    }
}

/// Runs every arm once in each round, so that what else the machine does hits all of them alike, and
/// in every other round from the last to the first. A round before the first is for caches and
/// pipelines. `begin` is told which is next, from 0, and says whether there is time for it; after the
/// first that counts.
///
/// # Errors
/// The first of any arm.
pub fn rounds(
    workload: &mut Workload,
    arms: &[Arm],
    devices: &Devices,
    rounds: usize,
    begin: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Measured>, MeasureError> {
    let (bytes, path) = (workload.bytes(), devices.own.memory());
    let measured = |&arm| Measured { arm, samples: Vec::new(), bytes, path };
    let mut all: Vec<Measured> = arms.iter().map(measured).collect();
    for round in 0..=rounds {
        if !begin(round) && round > 1 {
            break;
        }
        // What one arm leaves behind (pages of removed files, freed memory) is what the next finds.
        let mut order: Vec<&mut Measured> = all.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for measured in order {
            let sample = workload.run(&measured.arm, devices)?;
            if round > 0 {
                measured.samples.push(sample);
            }
        }
    }
    Ok(all)
}

/// What an arm cannot be faster than.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling<'a> {
    /// The arm that is the ceiling.
    pub of: &'a Measured,
    /// Its gigabytes a second.
    pub rate: f64,
}

/// The ceiling of an arm among those measured with it, by `rate` of the rounds (their median, or
/// their most); `None` if there is none, or the arm is one itself.
///
/// It is the fastest way to read the same file into the same kind of memory by as many threads
/// without a device (new memory: in pages of either size); the copy out of staging buffers where
/// they are used and it is slower; of a save, writing as much.
pub fn ceiling<'a>(
    all: &'a [Measured],
    measured: &Measured,
    rate: fn(&Spread) -> f64,
) -> Option<Ceiling<'a>> {
    let of = |of: &'a Measured| Some(Ceiling { of, rate: rate(&of.rates()?) });
    let fastest = |is: &dyn Fn(&Arm) -> bool| {
        let candidates = all.iter().filter(|other| is(&other.arm)).filter_map(of);
        candidates.max_by(|a, b| a.rate.total_cmp(&b.rate))
    };
    let arm = &measured.arm;
    if let Work::Save | Work::NaiveSave = arm.work {
        return fastest(&|other| other.work == Work::Write);
    }
    if let Work::Memcpy | Work::StagingCopy | Work::Write | Work::Plain(Way::Read | Way::Map) =
        arm.work
    {
        return None;
    }
    // Where variables are in memory of the device's own, the system makes no pages for them.
    let memory = match arm.memory {
        Memory::Fresh if measured.path == MemoryKind::Mappable => {
            &[Memory::Fresh, Memory::Huge][..]
        }
        _ => &[Memory::Touched],
    };
    let reads = fastest(&|other| {
        let plain = matches!(other.work, Work::Plain(Way::Read | Way::Map));
        plain && memory.contains(&other.memory) && other.cold == arm.cold
    });
    if !measured.is_staged() {
        return reads;
    }
    let copies = fastest(&|other| other.work == Work::StagingCopy);
    reads.into_iter().chain(copies).min_by(|a, b| a.rate.total_cmp(&b.rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(work: Work, memory: Memory, seconds: f64) -> Measured {
        let sample = Sample { seconds, cpu_seconds: None, peak_bytes: None, submissions: None };
        let arm = Arm { name: "an arm", work, memory, cold: false };
        let (samples, bytes) = (vec![sample; 3], 1_000_000_000);
        Measured { arm, samples, bytes, path: MemoryKind::Mappable }
    }

    #[test]
    fn the_ceiling_is_of_the_same_memory_and_of_the_slowest_part() {
        use Memory::{Fresh, Touched};
        let staged = Work::Restore(Way::Read, MemoryKind::Staged);
        let mapped = Work::Restore(Way::Read, MemoryKind::Mappable);
        let all = [
            measured(Work::Plain(Way::Read), Touched, 0.5),
            measured(Work::Plain(Way::Map), Touched, 0.25),
            measured(Work::Plain(Way::Read), Fresh, 1.0),
            measured(Work::StagingCopy, Touched, 0.4),
            measured(Work::Write, Touched, 2.0),
            measured(mapped, Touched, 0.5),
            measured(mapped, Fresh, 2.0),
            measured(staged, Fresh, 2.0),
            measured(Work::Save, Touched, 4.0),
        ];
        let rates: Vec<Option<f64>> = all
            .iter()
            .map(|one| ceiling(&all, one, |rates| rates.median).map(|ceiling| ceiling.rate))
            .collect();
        let none = [None; 5];
        assert_eq!(rates[..5], none);
        assert_eq!(rates[5..], [Some(4.0), Some(1.0), Some(1.0), Some(0.5)]);
        // What is possible in huge pages counts, however memory is made.
        let huge = measured(Work::Plain(Way::Read), Memory::Huge, 0.5);
        let with_huge = [&all[..], &[huge]].concat();
        let rate = |one| ceiling(&with_huge, one, |rates| rates.median).unwrap().rate;
        assert_eq!((rate(&all[5]), rate(&all[6])), (4.0, 2.0));
        let discrete = Measured { path: MemoryKind::Staged, ..all[7].clone() };
        assert_eq!(ceiling(&all, &discrete, |rates| rates.median).unwrap().rate, 2.5);
    }

    #[test]
    fn memory_of_variables_is_left_out_where_it_is_the_hosts() {
        let peak = |work, memory, path| {
            let mut one = Measured { path, ..measured(work, memory, 1.0) };
            one.samples[1].peak_bytes = Some(0);
            one.samples[0].peak_bytes = Some(0);
            one.samples[2].peak_bytes = Some(1_000_000_007);
            one.peak_bytes().unwrap()
        };
        let (with, without) = (1_000_000_007, 7);
        let staged = Work::Restore(Way::Read, MemoryKind::Staged);
        for work in [Work::Checkpoint, Work::Naive, staged] {
            assert_eq!(peak(work, Memory::Fresh, MemoryKind::Mappable), without);
            assert_eq!(peak(work, Memory::Fresh, MemoryKind::Staged), with);
            assert_eq!(peak(work, Memory::Touched, MemoryKind::Mappable), with);
        }
        for work in [Work::Plain(Way::Read), Work::Memcpy] {
            assert_eq!(peak(work, Memory::Fresh, MemoryKind::Staged), without);
        }
    }

    #[test]
    fn what_was_not_measured_is_not_guessed() {
        let one = measured(Work::Memcpy, Memory::Touched, 2.0);
        assert_eq!((one.cpu_seconds(), one.peak_bytes(), one.submissions()), (None, None, None));
        assert_eq!(one.rates().unwrap().median, 0.5);
    }
}
