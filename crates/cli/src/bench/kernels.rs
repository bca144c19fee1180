//! `warmstart bench kernels`.

use super::{Common, Place, Progress};
use crate::Answer;
use crate::error::Failure;
use serde_json::{Map, Value, json};
use std::io::Write;
use warmstart_gpu::{CompileError, Gpu, GpuOptions, Session, Tune};
use warmstart_graph::{DType, Graph};

/// Measure which kernel computes each product of dense layers the fastest
///
/// Of each layer: its product, and those of the gradients of its input and of its weights. What is
/// printed is lines of the table of kernels that comes with warmstart, crates/gpu/src/compile/kernels.txt,
/// whose head says what the words are. An adapter that the table does not have yet gets there by a pull
/// request or an issue with these lines. Nothing that was measured before is followed; what comes out is
/// kept in WARMSTART_CACHE for all programs. Products with a vector, and those of few results that are
/// long sums, have one kernel each, and no line.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart bench kernels
  warmstart bench kernels --layer 64x784x128,64x128x10
  warmstart bench kernels --adapter 1 --json >> measurements.jsonl

Exit codes: 0 measured, 2 error")]
pub struct Arguments {
    /// Rows (as many as a batch has), inputs and outputs of a layer, or several separated by commas
    #[arg(
        long,
        value_name = "ROWSxINPUTSxOUTPUTS",
        value_delimiter = ',',
        default_values = [
            "64x128x128", "64x256x256", "64x512x512", "64x1024x1024",
            "256x128x128", "256x256x256", "256x512x512", "256x1024x1024",
            "1024x128x128", "1024x256x256", "1024x512x512", "1024x1024x1024",
        ],
        value_parser = layer
    )]
    layer: Vec<[usize; 3]>,
    #[command(flatten)]
    common: Common,
}

/// A layer on the command line.
fn layer(text: &str) -> Result<[usize; 3], String> {
    let extents = text.split('x').map(str::parse).collect::<Result<Vec<usize>, _>>();
    let layer = extents.ok().and_then(|extents| <[usize; 3]>::try_from(extents).ok());
    layer
        .filter(|layer| layer.iter().all(|extent| (1..=65536).contains(extent)))
        .ok_or_else(|| "it is three numbers from 1 to 65536, as in 64x784x128".to_owned())
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let options = GpuOptions { tune: Some(Tune::Force), ..arguments.common.options() };
    let gpu = Gpu::with(&options)?;
    let place = Place::of(gpu.summary());
    let progress = Progress::new();
    let mut printed = 0;
    for (at, &layer) in arguments.layer.iter().enumerate() {
        let [rows, inputs, outputs] = layer;
        let of = arguments.layer.len();
        progress.show(&format!("{rows}x{inputs}x{outputs}, layer {} of {of}", at + 1));
        for product in 0..3 {
            compile(&gpu, layer, product)?;
        }
        let measured = gpu.measured_kernels();
        progress.show("");
        for kernel in &measured[printed..] {
            if !arguments.common.json {
                writeln!(out, "{kernel}")?;
                continue;
            }
            let seconds: Map<String, Value> = kernel
                .seconds
                .iter()
                .map(|&(name, seconds)| (name.to_owned(), seconds.into()))
                .collect();
            let fields = json!({
                "measurement": "kernel",
                "role": "benchmark",
                "adapter_class": kernel.adapter,
                "class": kernel.class,
                "usual": kernel.seconds.first().map(|(name, _)| name),
                "chosen": kernel.chosen,
                "kernel_seconds": seconds,
            });
            place.print_json(out, "kernels", fields)?;
        }
        out.flush()?;
        printed = measured.len();
    }
    Ok(Answer::Yes)
}

/// Compiles a layer's product, the gradient of its input or that of its weights, which measures it.
fn compile(gpu: &Gpu, layer: [usize; 3], product: usize) -> Result<(), CompileError> {
    let [rows, inputs, outputs] = layer;
    let graph = Graph::new();
    let matrix =
        |name, rows: usize, columns: usize| graph.placeholder(name, [rows, columns], DType::F32);
    let input = || matrix("input", rows, inputs);
    let weights = || matrix("weights", inputs, outputs);
    let gradient = || matrix("gradient", rows, outputs);
    let result = match product {
        0 => input().matmul(weights()),
        1 => gradient().matmul_with(weights(), false, true),
        _ => input().matmul_with(gradient(), true, false),
    };
    Session::new(gpu).compile(&graph, &[result], &[]).map(drop)
}
