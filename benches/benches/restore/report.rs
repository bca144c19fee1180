//! The table of a workload.

use crate::arms::{Arm, Memory, Work, arms};
use crate::resources::Sample;
use crate::ways::Way;
use crate::workload::Workload;
use std::error::Error;
use warmstart_gpu::Gpu;

/// GB/s of the median round and of the fastest and slowest.
struct Rates {
    slowest: f64,
    median: f64,
    fastest: f64,
}

impl Rates {
    fn of(bytes: u64, samples: &[Sample]) -> Rates {
        let rate = |sample: &Sample| bytes as f64 / sample.seconds / 1e9;
        let mut rates: Vec<f64> = samples.iter().map(rate).collect();
        rates.sort_by(f64::total_cmp);
        let (slowest, fastest) = (rates[0], rates[rates.len() - 1]);
        Rates { slowest, median: rates[rates.len() / 2], fastest }
    }
}

/// Whether an arm is a ceiling of another: the same file read into the same kind of memory by as
/// many threads, without a device; of a save, writing as much.
fn is_ceiling(other: &Arm, arm: &Arm) -> bool {
    if arm.work == Work::Save || arm.work == Work::Write {
        return other.work == Work::Write;
    }
    let memory = match arm.memory {
        Memory::Fresh => Memory::Fresh,
        _ => Memory::Touched,
    };
    let reads = matches!(other.work, Work::Plain(Way::Read | Way::Map));
    reads && other.memory == memory && other.cold == arm.cold
}

/// Runs every arm in each round, and prints a line for each.
pub fn report(
    workload: &mut Workload,
    gpus: &[Gpu; 2],
    rounds: usize,
) -> Result<(), Box<dyn Error>> {
    let arms = arms();
    let mut samples: Vec<Vec<Sample>> = arms.iter().map(|_| Vec::new()).collect();
    // The round before the first is for caches and pipelines.
    for round in 0..=rounds {
        for (arm, samples) in arms.iter().zip(&mut samples) {
            let sample = workload.run(arm, gpus)?;
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    println!("\n{} ({} MiB), {rounds} rounds", workload.name, workload.bytes >> 20);
    println!(
        "{:32} {:7} {:5} {:>6} {:>11} {:>14} {:>6} {:>5} {:>7}",
        "", "memory", "cache", "GB/s", "from-to", "of ceiling", "cpu s", "MiB", "submits"
    );
    let rates: Vec<Rates> = samples.iter().map(|s| Rates::of(workload.bytes, s)).collect();
    for ((arm, taken), rate) in arms.iter().zip(&samples).zip(&rates) {
        let ceilings: Vec<&Rates> = arms
            .iter()
            .zip(&rates)
            .filter(|(other, _)| is_ceiling(other, arm))
            .map(|(_, rates)| rates)
            .collect();
        let share = |of: fn(&Rates) -> f64| {
            of(rate) / ceilings.iter().map(|rates| of(rates)).fold(0.0, f64::max) * 100.0
        };
        let mut cpu: Vec<f64> = taken.iter().map(|sample| sample.cpu_seconds).collect();
        cpu.sort_by(f64::total_cmp);
        let own = if arm.memory == Memory::Fresh { workload.bytes } else { 0 };
        let peak = taken.iter().map(|s| s.peak_bytes.saturating_sub(own)).max().unwrap_or(0);
        println!(
            "{:32} {:7} {:5} {:>6.2} {:>11} {:>14} {:>6.3} {:>5} {:>7}",
            arm.name,
            format!("{:?}", arm.memory).to_lowercase(),
            if arm.cold { "cold" } else { "warm" },
            rate.median,
            format!("{:.2}-{:.2}", rate.slowest, rate.fastest),
            format!("{:.0} % ({:.0} %)", share(|r| r.median), share(|r| r.fastest)),
            cpu[cpu.len() / 2],
            peak >> 20,
            taken[0].submissions.map_or("-".to_owned(), |count| count.to_string()),
        );
    }
    Ok(())
}
