//! `warmstart bench train`.

use super::compute::{self, Ceilings, Rate};
use super::profile::Kernels;
use super::{Common, Place, Progress};
use crate::Answer;
use crate::error::Failure;
use clap::builder::RangedU64ValueParser;
use serde_json::json;
use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use warmstart_gpu::{DeviceDataset, Gpu, Plan, RunError, Session, Steps};
use warmstart_graph::{Graph, Tensor};
use warmstart_measure::{
    LARGE, MeasureError, Mlp, Repeated, Roof, SMALL, run_and_wait, time_in_turn,
};

/// Measure how many steps of training an adapter does in a second
///
/// The model is a multilayer perceptron with ReLU that classifies, trained by Adam; without
/// --sizes there are two, one for digits and one for MNIST. Each is measured with the loss left
/// unread, with the loss read (hence waited for) after each step, both with batches fed by the
/// host, and with batches from a data set on the device, 32 steps in a submission. The ceiling is
/// what its kernels would take, one after the other, at the rate of a copy or of multiply-adds in
/// registers, whichever is slower. Of a small model that is no aim: starting kernels takes longer.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart bench train
  warmstart bench train --sizes 784,512,256,10 --batch 128 --profile --trace step.json
  warmstart bench train --adapter 1 --json >> measurements.jsonl

Exit codes: 0 measured, 2 error")]
pub struct Arguments {
    /// A model of your own: its inputs, the units of each hidden layer, and its classes
    #[arg(
        long,
        value_name = "N,N,...",
        value_delimiter = ',',
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000)
    )]
    sizes: Vec<usize>,
    /// How many rows a batch of that model has; 64 if nothing is said
    #[arg(
        long,
        value_name = "ROWS",
        requires = "sizes",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000)
    )]
    batch: Option<usize>,
    /// Also time each kernel of a step by the device's clock, and say what it is bound by and how
    /// much of a step the device does nothing
    #[arg(long)]
    profile: bool,
    /// Write the kernels of one profiled step as a trace, to look at on ui.perfetto.dev; with
    /// several models, of the last
    #[arg(long, value_name = "FILE", requires = "profile")]
    trace: Option<PathBuf>,
    /// About how long each measurement takes; what takes longer is done once or three times
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = compute::seconds)]
    seconds: Duration,
    #[command(flatten)]
    common: Common,
}

/// So many steps are submitted at once where batches are on the device.
const TOGETHER: usize = 32;
/// The data set has so many batches.
const BATCHES: usize = 16;

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let name;
    let models = match arguments.sizes.as_slice() {
        [] => vec![SMALL, LARGE],
        [_] => {
            return Err(Failure::new("a model needs at least two --sizes: its inputs and classes")
                .help("--sizes 784,512,256,10"));
        }
        sizes => {
            let batch = arguments.batch.unwrap_or(64);
            let widths: Vec<String> = sizes.iter().map(ToString::to_string).collect();
            name = format!("{} batch {batch}", widths.join("-"));
            vec![Mlp { name: &name, widths: sizes, batch }]
        }
    };
    let gpu = Gpu::with(&arguments.common.options())?;
    if arguments.profile && !gpu.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        return Err(RunError::NoTimestamps.into());
    }
    let place = Place::of(gpu.summary());
    if !arguments.common.json {
        place.print(out, "training steps with Adam", &compute::lines(arguments.seconds))?;
        out.flush()?;
    }
    let graphs: Vec<Graph> = models.iter().map(|_| Graph::new()).collect();
    let mut trained = Vec::new();
    for (model, graph) in models.iter().zip(&graphs) {
        trained.push(Trained::new(*model, graph, &gpu)?);
    }
    let kernels = compute::kernels(&gpu)?;
    let mut ceilings = Ceilings::new(&kernels);
    let mut timed: Vec<[Repeated<'_>; 3]> = trained.iter().map(Trained::work).collect();
    let mut work = vec![
        &mut ceilings.multiply_add,
        &mut ceilings.copy_by_kernel,
        &mut ceilings.copy_by_command,
    ];
    work.extend(timed.iter_mut().flatten());
    let progress = Progress::new();
    let kinds = work.len();
    time_in_turn(&mut work, arguments.seconds, &mut |step| progress.show(&step.of(kinds)))?;
    drop(progress);

    if arguments.common.json {
        ceilings.print_json(out, &place, "train")?;
    } else {
        ceilings.print(out)?;
    }
    let roof = ceilings.roof();
    for (trained, timed) in trained.iter().zip(&timed) {
        trained.print(out, &place, arguments.common.json, roof.as_ref(), timed)?;
        let fastest = timed.iter().filter_map(|one| Some(one.seconds()?.median));
        let step = fastest.fold(f64::INFINITY, f64::min);
        if let (true, Some(roof)) = (arguments.profile, &roof) {
            let kernels = trained.profile()?;
            if let Some(file) = &arguments.trace {
                fs::write(file, &kernels.trace).map_err(|error| {
                    Failure::new(format!("cannot write `{}`: {error}", file.display()))
                        .help("name a file in a folder that exists and may be written to")
                })?;
            }
            if arguments.common.json {
                kernels.print_json(out, &place, trained.model.name, roof, step)?;
            } else {
                kernels.print(out, roof, step)?;
            }
        }
    }
    Ok(Answer::Yes)
}

/// A model, compiled, with its data.
struct Trained<'a> {
    model: Mlp<'a>,
    session: RefCell<Session>,
    plan: Plan,
    loss: Tensor<'a>,
    batch: (Vec<f32>, Vec<i32>),
    data: DeviceDataset,
    rows: Vec<u32>,
}

impl<'a> Trained<'a> {
    fn new(model: Mlp<'a>, graph: &'a Graph, gpu: &Gpu) -> Result<Trained<'a>, Failure> {
        let (session, plan, loss) = model.compile(gpu, graph)?;
        let examples = BATCHES * model.batch;
        let (x, labels) = model.examples(examples);
        let columns = [("x", (&x).into()), ("labels", (&labels).into())];
        let data = DeviceDataset::new(gpu, examples, &columns).map_err(MeasureError::from)?;
        // Far from each other, as shuffled rows are.
        let row = |at: usize| (at * 997 % examples) as u32;
        let rows = (0..TOGETHER * model.batch).map(row).collect();
        let session = RefCell::new(session);
        Ok(Trained { model, session, plan, loss, batch: model.batch(), data, rows })
    }

    fn feeds(&self) -> [(&'static str, warmstart_gpu::Feed<'_>); 2] {
        [("x", (&self.batch.0).into()), ("labels", (&self.batch.1).into())]
    }

    /// A step in three ways, in the order of [`WAYS`].
    fn work(&self) -> [Repeated<'_>; 3] {
        let unread = |times| {
            Ok(run_and_wait(&mut self.session.borrow_mut(), &self.plan, &self.feeds(), times)?)
        };
        let read = |times| {
            let mut session = self.session.borrow_mut();
            for _ in 0..times {
                session.run(&self.plan, &self.feeds())?.scalar(self.loss)?;
            }
            Ok(())
        };
        let together = |times: usize| {
            let mut session = self.session.borrow_mut();
            let mut last = None;
            for done in (0..times).step_by(TOGETHER) {
                let count = TOGETHER.min(times - done);
                let rows = &self.rows[..count * self.model.batch];
                last = Some(session.run_steps(&self.plan, &Steps::rows(&self.data, rows))?);
            }
            last.map_or(Ok(()), |outputs| Ok(outputs.wait()?))
        };
        [Repeated::new(unread), Repeated::new(read), Repeated::new(together)]
    }

    fn print(
        &self,
        out: &mut dyn Write,
        place: &Place,
        json: bool,
        roof: Option<&Roof>,
        timed: &[Repeated<'_>; 3],
    ) -> Result<(), Failure> {
        let dispatches = self.plan.dispatches();
        let least = roof.map(|roof| compute::least_seconds(roof, &dispatches));
        let mut lines = Vec::new();
        for ((name, key), repeated) in WAYS.into_iter().zip(timed) {
            let Some(seconds) = repeated.seconds() else { continue };
            let share = least.map(|least| least / seconds.median);
            if json {
                let mut fields = json!({
                    "measurement": "train",
                    "role": "benchmark",
                    "model": self.model.name,
                    "sizes": self.model.widths,
                    "batch": self.model.batch,
                    "strategy": key,
                    "dispatches": dispatches.len(),
                    "steps_per_second": 1.0 / seconds.median,
                    "ceiling_seconds": least,
                    "share_of_ceiling": share,
                });
                compute::extend(&mut fields, compute::times(repeated));
                place.print_json(out, "train", fields)?;
            }
            let (name, more) = (name.to_owned(), Vec::new());
            lines.push(Rate { name, amount: 1.0, seconds, share_of_ceiling: share, more });
        }
        if !json {
            let title = format!("{}, {} dispatches a step", self.model.name, dispatches.len());
            compute::print_chart(out, &title, "steps/s", &[], &lines)?;
        }
        Ok(())
    }

    fn profile(&self) -> Result<Kernels, Failure> {
        Kernels::of(&mut self.session.borrow_mut(), &self.plan, &self.feeds())
    }
}

/// How steps are done: for people, and for JSON.
const WAYS: [(&str, &str); 3] = [
    ("loss not read", "loss_not_read"),
    ("loss read each step", "loss_read_each_step"),
    ("32 steps in a submission", "steps_together"),
];
