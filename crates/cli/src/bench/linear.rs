//! `warmstart bench linear`.

use super::compute::{self, Ceilings, Rate};
use super::{Common, Place, Progress};
use crate::Answer;
use crate::error::Failure;
use crate::text;
use clap::builder::RangedU64ValueParser;
use serde_json::json;
use std::io::Write;
use std::time::Duration;
use warmstart_gpu::{Gpu, Plan, Session};
use warmstart_measure::{Repeated, compute_and_wait, square_layer, time_in_turn};

/// Measure how fast a dense layer with ReLU is computed
///
/// Input, weights and result are [N, N] and on the device, so a run moves nothing from the host or to
/// it; up to 64 runs of small layers are in a submission. GFLOP/s counts the product alone, 2 N³
/// operations. The ceiling is the time that its arithmetic would take at the rate of multiply-adds in
/// registers, or its bytes at the rate of a copy, whichever is longer.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart bench linear
  warmstart bench linear --size 4096 --seconds 5
  warmstart bench linear --adapter 1 --json >> measurements.jsonl

Exit codes: 0 measured, 2 error")]
pub struct Arguments {
    /// N, or several separated by commas, which are measured in turn
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_values = ["256", "512", "1024", "2048"],
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=65536)
    )]
    size: Vec<usize>,
    /// About how long each measurement takes; what takes longer is done once or three times
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = compute::seconds)]
    seconds: Duration,
    #[command(flatten)]
    common: Common,
}

/// So many runs are in a submission at most.
const TOGETHER: usize = 64;

/// How many operations a submission has at most, if it has several runs: some systems take a device
/// for hung that is busy with one for two seconds.
const OPERATIONS: u64 = 1 << 36;

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let gpu = Gpu::with(&arguments.common.options())?;
    let most = gpu.limits().max_storage_buffer_binding_size;
    for &size in &arguments.size {
        let bytes = 4 * (size as u64).pow(2);
        if bytes > most {
            let (bytes, most) = (text::bytes(bytes), text::bytes(most));
            let message = format!(
                "a matrix of [{size}, {size}] takes {bytes}, and one binding of this adapter holds \
                 {most} at most"
            );
            return Err(Failure::new(message).help("a smaller --size, or another --adapter"));
        }
    }
    let place = Place::of(gpu.summary());
    let json = arguments.common.json;
    if !json {
        place.print(out, "linear + ReLU, forward", &compute::lines(arguments.seconds))?;
        out.flush()?;
    }
    let mut layers: Vec<(usize, Session, Plan)> = Vec::new();
    for &size in &arguments.size {
        let (session, plan) = square_layer(&gpu, size)?;
        layers.push((size, session, plan));
    }
    let kernels = compute::kernels(&gpu)?;
    let mut ceilings = Ceilings::new(&kernels);
    let mut timed: Vec<(usize, &Plan, Repeated<'_>)> = layers
        .iter_mut()
        .map(|(size, session, plan)| {
            let plan: &Plan = plan;
            let operations = 2 * (*size as u64).pow(3);
            let together = ((OPERATIONS / operations) as usize).clamp(1, TOGETHER);
            let work = move |times: usize| Ok(compute_and_wait(session, plan, times, together)?);
            (*size, plan, Repeated::new(work))
        })
        .collect();
    let mut work = vec![
        &mut ceilings.multiply_add,
        &mut ceilings.copy_by_kernel,
        &mut ceilings.copy_by_command,
    ];
    work.extend(timed.iter_mut().map(|(_, _, repeated)| repeated));
    let progress = Progress::new();
    let kinds = work.len();
    time_in_turn(&mut work, arguments.seconds, &mut |step| progress.show(&step.of(kinds)))?;
    drop(progress);

    let roof = ceilings.roof();
    if json {
        ceilings.print_json(out, &place, "linear")?;
    } else {
        ceilings.print(out)?;
    }
    let mut lines = Vec::new();
    for (size, plan, repeated) in &timed {
        let Some(seconds) = repeated.seconds() else { continue };
        let dispatches = plan.dispatches();
        let least = roof.map(|roof| compute::least_seconds(&roof, &dispatches));
        let share = least.map(|least| least / seconds.median);
        let product = 2.0 * (*size as f64).powi(3);
        if json {
            let mut fields = json!({
                "measurement": "linear+relu",
                "role": "benchmark",
                "size": size,
                "dispatches": dispatches.len(),
                "operations": product as u64,
                "gigaflops_per_second": product / seconds.median / 1e9,
                "ceiling_seconds": least,
                "share_of_ceiling": share,
            });
            compute::extend(&mut fields, compute::times(repeated));
            place.print_json(out, "linear", fields)?;
        }
        lines.push(Rate {
            name: format!("N = {size}"),
            amount: product / 1e9,
            seconds,
            share_of_ceiling: share,
            more: vec![dispatches.len().to_string()],
        });
    }
    if !json {
        let title = "relu(x W + b), all [N, N]";
        compute::print_chart(out, title, "GFLOP/s", &["dispatches"], &lines)?;
    }
    Ok(Answer::Yes)
}
