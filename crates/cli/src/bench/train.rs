//! `warmstart bench train`.

use super::compute::{self, Ceilings, Rate};
use super::profile::{Kernels, Step};
use super::{Common, Place, Progress};
use crate::Answer;
use crate::error::Failure;
use crate::output;
use crate::text::{self, HEADING, styled};
use clap::builder::RangedU64ValueParser;
use serde_json::json;
use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use warmstart_gpu::{DeviceDataset, Gpu, Plan, Profile, Roof, RunError, Session, Steps};
use warmstart_graph::words::printable_path;
use warmstart_graph::{Graph, Tensor};
use warmstart_measure::{LARGE, MeasureError, Mlp, Repeated, SMALL, run_and_wait, time_in_turn};

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
    /// much of a step the device does nothing: of steps submitted together, or where no batch fits
    /// into a data set, of fed ones whose loss is not read
    #[arg(long)]
    profile: bool,
    /// Write the kernels of one profiled step as a trace, to look at on ui.perfetto.dev;
    /// where two models are measured, each is a process of its own, named after its model
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
/// The data set has so many batches, if they fit.
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
    if let Some(file) = &arguments.trace {
        output::check(file)?;
    }
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
        trained.push(Trained::new(*model, graph, &gpu, binding(&gpu))?);
    }
    let kernels = compute::kernels(&gpu)?;
    let mut ceilings = Ceilings::new(&kernels);
    let mut timed: Vec<Vec<Timed<'_>>> = trained.iter().map(Trained::work).collect();
    let mut work = vec![
        &mut ceilings.multiply_add,
        &mut ceilings.copy_by_kernel,
        &mut ceilings.copy_by_command,
    ];
    work.extend(timed.iter_mut().flatten().map(|(_, repeated)| repeated));
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
    let mut profiled = Vec::new();
    for (trained, timed) in trained.iter().zip(&timed) {
        trained.print(out, &place, arguments.common.json, roof.as_ref(), timed)?;
        let medians: Vec<(Way, f64)> =
            timed.iter().filter_map(|(way, one)| Some((*way, one.seconds()?.median))).collect();
        let (way, _) = trained.profiled();
        if let (true, Some(roof), Some(step)) = (arguments.profile, roof, step_of(way, &medians)) {
            let kernels = trained.profile(roof)?;
            if arguments.common.json {
                kernels.print_json(out, &place, trained.model.name, &step)?;
            } else {
                kernels.print(out, &step, trained.plan.dispatches().len())?;
            }
            profiled.push((trained.model.name, kernels));
        }
    }
    if let Some(file) = &arguments.trace {
        let runs: Vec<_> = profiled.iter().map(|(name, kernels)| (*name, &kernels.run)).collect();
        fs::write(file, Profile::chrome_trace_of(&runs))
            .map_err(|error| Failure::file("write", file, &error))?;
        text::say(format_args!(
            "wrote `{}`, a trace to look at on ui.perfetto.dev: of the run whose time is the median, so that its \
             kernels differ a little from the medians of the table",
            printable_path(file)
        ));
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
    /// Examples on the device, and rows of them for a submission.
    data: Option<(DeviceDataset, Vec<u32>)>,
}

/// The most bytes of a column of a data set.
fn binding(gpu: &Gpu) -> u64 {
    let limits = gpu.limits();
    let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    most.min(u64::from(u32::MAX))
}

impl<'a> Trained<'a> {
    /// With a data set of columns of `most` bytes at most.
    fn new(model: Mlp<'a>, graph: &'a Graph, gpu: &Gpu, most: u64) -> Result<Trained<'a>, Failure> {
        let (session, plan, loss) = model.compile(gpu, graph)?;
        let (session, batch) = (RefCell::new(session), model.batch());
        let trained = Trained { model, session, plan, loss, batch, data: None };
        let each = 4 * model.widths[0] as u64 * model.batch as u64;
        let examples = (most / each).min(BATCHES as u64) as usize * model.batch;
        if examples == 0 {
            return Ok(trained);
        }
        let (x, labels) = model.examples(examples);
        let columns = [("x", (&x).into()), ("labels", (&labels).into())];
        let data = DeviceDataset::new(gpu, examples, &columns).map_err(MeasureError::from)?;
        // Far from each other, as shuffled rows are.
        let row = |at: usize| (at * 997 % examples) as u32;
        let rows = (0..TOGETHER * model.batch).map(row).collect();
        Ok(Trained { data: Some((data, rows)), ..trained })
    }

    fn feeds(&self) -> [(&'static str, warmstart_gpu::Feed<'_>); 2] {
        [("x", (&self.batch.0).into()), ("labels", (&self.batch.1).into())]
    }

    /// A step in all ways; not together with others if no batch fits into a data set.
    fn work(&self) -> Vec<Timed<'_>> {
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
        let mut ways = vec![(Way::Unread, Repeated::new(unread)), (Way::Read, Repeated::new(read))];
        if let Some((data, rows)) = &self.data {
            let together = move |submissions: usize| {
                let mut session = self.session.borrow_mut();
                let mut last = None;
                for _ in 0..submissions {
                    last = Some(session.run_steps(&self.plan, &Steps::rows(data, rows))?);
                }
                last.map_or(Ok(()), |outputs| Ok(outputs.wait()?))
            };
            ways.push((Way::Together, Repeated::new(together).in_parts(TOGETHER)));
        }
        ways
    }

    fn print(
        &self,
        out: &mut dyn Write,
        place: &Place,
        json: bool,
        roof: Option<&Roof>,
        timed: &[Timed<'_>],
    ) -> Result<(), Failure> {
        let dispatches = self.plan.dispatches();
        let least = roof.map(|roof| compute::least_seconds(roof, &dispatches));
        let mut lines = Vec::new();
        for (way, repeated) in timed {
            let Some(seconds) = repeated.seconds() else { continue };
            let share = least.map(|least| least / seconds.median);
            if json {
                let mut fields = json!({
                    "measurement": "train",
                    "role": "benchmark",
                    "model": self.model.name,
                    "sizes": self.model.widths,
                    "batch": self.model.batch,
                    "strategy": way.key(),
                    "dispatches": dispatches.len(),
                    "steps_per_second": 1.0 / seconds.median,
                    "ceiling_seconds": least,
                    "share_of_ceiling": share,
                });
                compute::extend(&mut fields, compute::times(repeated));
                place.print_json(out, "train", fields)?;
            }
            let (name, more) = (way.name().to_owned(), Vec::new());
            lines.push(Rate { name, amount: 1.0, seconds, share_of_ceiling: share, more });
        }
        if !json {
            let title = format!("{}, {} dispatches a step", self.model.name, dispatches.len());
            compute::print_chart(out, &title, "steps/s", &[], &lines)?;
            if self.data.is_none() {
                let note = styled(HEADING, "note:");
                writeln!(
                    out,
                    "{note} a batch is too large for a data set on the device, so steps are not \
                     submitted together"
                )?;
            }
        }
        Ok(())
    }

    /// The way whose kernels are profiled, and the data set that its batches come from: together, if there
    /// is one, and else with the loss unread.
    fn profiled(&self) -> (Way, Option<&(DeviceDataset, Vec<u32>)>) {
        match &self.data {
            Some(data) => (Way::Together, Some(data)),
            None => (Way::Unread, None),
        }
    }

    /// Of a step in the way that [`profiled`](Trained::profiled) names.
    fn profile(&self, roof: Roof) -> Result<Kernels, Failure> {
        let mut session = self.session.borrow_mut();
        let one = || match self.profiled() {
            (_, Some((data, rows))) => {
                let steps = Steps::rows(data, &rows[..self.model.batch]);
                session.profile_steps(&self.plan, &steps)
            }
            (_, None) => session.profile(&self.plan, &self.feeds()),
        };
        Kernels::of(one, roof)
    }
}

/// The step of the way whose kernels are profiled, of the median seconds of all ways that were measured.
/// So both sides of the idle share are of one way.
fn step_of(way: Way, medians: &[(Way, f64)]) -> Option<Step> {
    let (_, seconds) = *medians.iter().find(|(own, _)| *own == way)?;
    Some(Step { name: way.name(), key: way.key(), seconds })
}

/// How a step is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Fed by the host, which reads nothing.
    Unread,
    /// Fed by the host, which waits for the loss of each.
    Read,
    /// Many in one submission, with batches from a data set.
    Together,
}

/// A way, and the work that is timed.
type Timed<'a> = (Way, Repeated<'a>);

impl Way {
    /// For people.
    fn name(self) -> &'static str {
        match self {
            Way::Unread => "loss not read",
            Way::Read => "loss read each step",
            Way::Together => "32 steps in a submission",
        }
    }

    /// For JSON.
    fn key(self) -> &'static str {
        match self {
            Way::Unread => "loss_not_read",
            Way::Read => "loss_read_each_step",
            Way::Together => "steps_together",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither the fastest, whose kernels are others, nor the last.
    #[test]
    fn the_idle_share_is_of_the_way_that_is_profiled() {
        let medians = [(Way::Together, 3.0), (Way::Unread, 1.0), (Way::Read, 2.0)];
        let step = |way, medians| step_of(way, medians).map(|step| (step.key, step.seconds));
        assert_eq!(step(Way::Together, &medians), Some(("steps_together", 3.0)));
        assert_eq!(step(Way::Unread, &medians[1..]), Some(("loss_not_read", 1.0)));
        // What was not measured is none of the others.
        assert_eq!(step(Way::Together, &medians[1..]), None);
    }

    #[test]
    fn as_many_batches_as_fit_are_on_the_device() {
        let gpu = Gpu::new().unwrap();
        // A batch takes 96 bytes.
        let model = Mlp { name: "small", widths: &[6, 3], batch: 4 };
        for (most, examples) in [(95, None), (96, Some(4)), (300, Some(12)), (1 << 20, Some(64))] {
            let graph = Graph::new();
            let trained = Trained::new(model, &graph, &gpu, most).unwrap();
            let found = trained.data.as_ref().map(|(data, _)| data.len());
            assert_eq!(found, examples, "{most}");
            let mut ways = trained.work();
            let known: Vec<Way> = ways.iter().map(|(way, _)| *way).collect();
            assert_eq!(known.contains(&Way::Together), examples.is_some());
            assert!(known.contains(&trained.profiled().0));
            let mut work: Vec<_> = ways.iter_mut().map(|(_, repeated)| repeated).collect();
            time_in_turn(&mut work, Duration::from_micros(1), &mut |_| {}).unwrap();
            let mut out = Vec::new();
            let place = Place::of(gpu.summary());
            trained.print(&mut out, &place, false, None, &ways).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.contains("note:"), examples.is_none(), "{text}");
            assert_eq!(text.contains("in a submission"), examples.is_some(), "{text}");
        }
    }
}
