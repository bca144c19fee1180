//! What `linear` and `train` have in common: the adapter's ceilings, and how rates are shown.

use super::chart::{self, Bar};
use super::{Place, percent};
use crate::error::Failure;
use crate::text::{HEADING, styled};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use warmstart_gpu::{CeilingKernels, DispatchInfo, Gpu, Roof};
use warmstart_graph::words::three_digits as short;
use warmstart_measure::{Repeated, Spread};

/// A length of time on the command line.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "it is a number of seconds from 0.001 to 3600".to_owned())
}

/// The adapter's ceilings, measured in turn with the rest.
pub struct Ceilings<'a> {
    kernels: &'a CeilingKernels,
    pub multiply_add: Repeated<'a>,
    pub copy_by_kernel: Repeated<'a>,
    pub copy_by_command: Repeated<'a>,
}

impl<'a> Ceilings<'a> {
    pub fn new(kernels: &'a CeilingKernels) -> Ceilings<'a> {
        Ceilings {
            kernels,
            multiply_add: Repeated::new(|times| Ok(kernels.multiply_add(times)?)),
            copy_by_kernel: Repeated::new(|times| Ok(kernels.copy_by_kernel(times)?)),
            copy_by_command: Repeated::new(|times| Ok(kernels.copy_by_command(times)?)),
        }
    }

    /// Each with its name, its amount and the unit of its rate.
    fn each(&self) -> [(&'static str, &Repeated<'a>, u64, &'static str); 3] {
        let (bytes, operations) = (self.kernels.bytes(), self.kernels.operations());
        [
            ("multiply-adds in registers", &self.multiply_add, operations, "GFLOP/s"),
            ("memory, copied by a kernel", &self.copy_by_kernel, bytes, "GB/s"),
            ("memory, copied by a command", &self.copy_by_command, bytes, "GB/s"),
        ]
    }

    /// What no kernel can exceed for long: by median rounds, of the two copies the faster.
    pub fn roof(&self) -> Option<Roof> {
        let rate = |amount: u64, seconds: Spread| amount as f64 / seconds.median;
        let bytes = self.kernels.bytes();
        let by_kernel = rate(bytes, self.copy_by_kernel.seconds()?);
        let by_command = rate(bytes, self.copy_by_command.seconds()?);
        Some(Roof {
            bytes_per_second: by_kernel.max(by_command),
            operations_per_second: rate(self.kernels.operations(), self.multiply_add.seconds()?),
        })
    }

    pub fn print(&self, out: &mut dyn Write) -> Result<(), Failure> {
        writeln!(out, "\n{}", styled(HEADING, "ceilings of the adapter"))?;
        for (name, repeated, amount, unit) in self.each() {
            let Some(seconds) = repeated.seconds() else { continue };
            let rates = seconds.rates(amount as f64 / 1e9);
            let (rate, range) = (short(rates.median), range(rates));
            writeln!(out, "{name:<28} {rate:>8} {unit:<8} {range}")?;
        }
        Ok(())
    }

    pub fn print_json(
        &self,
        out: &mut dyn Write,
        place: &Place,
        benchmark: &str,
    ) -> Result<(), Failure> {
        for (name, repeated, amount, unit) in self.each() {
            let mut fields = json!({ "measurement": name, "role": "ceiling" });
            extend(&mut fields, times(repeated));
            let rate = repeated.seconds().map(|seconds| amount as f64 / seconds.median / 1e9);
            match unit {
                "GB/s" => {
                    fields["bytes"] = json!(amount);
                    fields["gigabytes_per_second"] = json!(rate);
                }
                _ => {
                    fields["operations"] = json!(amount);
                    fields["gigaflops_per_second"] = json!(rate);
                }
            }
            place.print_json(out, benchmark, fields)?;
        }
        Ok(())
    }
}

/// Something that was timed, as a rate.
pub struct Rate {
    pub name: String,
    /// How much is done each time.
    pub amount: f64,
    pub seconds: Spread,
    pub share_of_ceiling: Option<f64>,
    /// More cells of its line.
    pub more: Vec<String>,
}

/// Prints rates as a chart: name, rate, range, share of the ceiling, milliseconds, and more.
pub fn print_chart(
    out: &mut dyn Write,
    title: &str,
    unit: &str,
    more: &[&str],
    lines: &[Rate],
) -> Result<(), Failure> {
    writeln!(out, "\n{}", styled(HEADING, title))?;
    let header = [&["", unit, "range", "of ceiling", "ms"], more].concat();
    let bar = |line: &Rate| {
        let rates = line.seconds.rates(line.amount);
        let own = [
            line.name.clone(),
            short(rates.median),
            range(rates),
            percent(line.share_of_ceiling),
            short(line.seconds.median * 1e3),
        ];
        Bar { cells: own.into_iter().chain(line.more.clone()).collect(), value: rates.median }
    };
    let bars: Vec<Bar> = lines.iter().map(bar).collect();
    for line in chart::chart(&header, 4, &bars, chart::width()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn range(rates: Spread) -> String {
    format!("{}-{}", short(rates.least), short(rates.most))
}

/// The fields of what was timed.
pub fn times(repeated: &Repeated<'_>) -> Value {
    let seconds = repeated.seconds();
    json!({
        "rounds": repeated.rounds(),
        "seconds": seconds.map(|seconds| seconds.median),
        "fastest_seconds": seconds.map(|seconds| seconds.least),
        "slowest_seconds": seconds.map(|seconds| seconds.most),
    })
}

/// Adds fields to an object.
pub fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more);
    }
}

/// The least time that dispatches could take one after the other under the adapter's ceilings.
pub fn least_seconds(roof: &Roof, dispatches: &[DispatchInfo]) -> f64 {
    dispatches.iter().map(|dispatch| roof.least_seconds(dispatch).0).sum()
}

/// The adapter's own lines below a title.
pub fn lines(each: Duration) -> [(&'static str, String); 1] {
    let rounds = warmstart_measure::ROUNDS;
    let each = crate::text::short(each.as_secs_f64());
    [("rounds", format!("{rounds} of all in turn, fewer of what takes long; {each} s for each"))]
}

/// The kernels of the ceilings.
pub fn kernels(gpu: &Gpu) -> Result<CeilingKernels, Failure> {
    Ok(CeilingKernels::new(gpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_three_digits_or_more() {
        assert_eq!(range(Spread { least: 2.0, median: 5.0, most: 10.0 }), "2.00-10.0");
        assert_eq!([0.5, 12.34, 99.96, 12345.6].map(short), ["0.500", "12.3", "100", "12346"]);
    }

    #[test]
    fn lengths_of_time_are_read() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "x", "NaN", "1e9"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
