//! The table of a workload.

use std::error::Error;
use warmstart_measure::{Devices, Measured, Spread, Workload, all_arms, ceiling, rounds};

/// Runs every arm in each round, and prints a line for each.
pub fn report(
    name: &str,
    workload: &mut Workload,
    devices: &Devices,
    count: usize,
) -> Result<(), Box<dyn Error>> {
    // Only Linux tells what is in its cache.
    let mut arms = all_arms();
    arms.retain(|arm| !arm.cold || cfg!(target_os = "linux"));
    let all = rounds(workload, &arms, devices, count, &mut |_| true)?;
    println!("\n{name} ({} MiB), {count} rounds", workload.bytes() >> 20);
    println!(
        "{:32} {:7} {:5} {:>6} {:>11} {:>14} {:>6} {:>5} {:>7}",
        "", "memory", "cache", "GB/s", "from-to", "of ceiling", "cpu s", "MiB", "submits"
    );
    all.iter().for_each(|measured| print(&all, measured));
    Ok(())
}

fn print(all: &[Measured], measured: &Measured) {
    let Some(rates) = measured.rates() else { return };
    let share = |of: fn(&Spread) -> f64| {
        let ceiling = ceiling(all, measured, of)?;
        Some(format!("{:.0} %", of(&rates) / ceiling.rate * 100.0))
    };
    let shares = match (share(|rates| rates.median), share(|rates| rates.most)) {
        (Some(median), Some(most)) => format!("{median} ({most})"),
        _ => "-".to_owned(),
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    println!(
        "{:32} {:7} {:5} {:>6.2} {:>11} {:>14} {:>6} {:>5} {:>7}",
        measured.arm.name,
        format!("{:?}", measured.arm.memory).to_lowercase(),
        if measured.arm.cold { "cold" } else { "warm" },
        rates.median,
        format!("{:.2}-{:.2}", rates.least, rates.most),
        shares,
        or_dash(measured.cpu_seconds().map(|seconds| format!("{seconds:.3}"))),
        or_dash(measured.peak_bytes().map(|bytes| (bytes >> 20).to_string())),
        or_dash(measured.submissions().map(|count| count.to_string())),
    );
}
