//! `warmstart train`: a model from a file that says what to train on what.

mod accumulated;
mod best;
mod changed;
mod check;
mod diverged;
mod examples;
mod explained;
mod memory;
mod network;
mod one_hot;
mod one_to_one;
pub mod part;
mod resumed;
mod row_numbers;
mod ruined;
mod same_model;
mod scaling;
mod score;
pub mod settings;
mod source;
mod submissions;
mod summary;
mod target;
mod warm_start;

pub use network::{LOGITS, PREDICTION, PROBABILITIES};
pub use score::largest;
pub use source::{Kind, Source};

use crate::Answer;
use crate::description::{self, Output};
use crate::error::Failure;
use crate::flags::quoted;
use crate::inference::Inference;
use crate::output::WhileRead;
use crate::text::{self, counted};
use accumulated::Updates;
use best::BestCheckpoint;
use examples::{Data, Examples};
use network::{ROWS_AT_ONCE, Shape};
use resumed::Newest;
use ruined::Guessing;
use scaling::Scale;
use score::Scores;
use settings::{Scaling, Settings};
use std::io::Write;
use std::path::{Path, PathBuf};
use submissions::Submissions;
use warmstart::checkpoint::{Checkpoint, RestoreOptions, latest};
use warmstart::gpu::{Gpu, Session};
use warmstart::graph::{Graph, Optimizer};
use warmstart::{Batches, Run, Training, TrainingError};
use warmstart_graph::words::printable_path;

/// Train a model on a file of data, as a TOML file says; run again, it goes on
///
/// The model is a multilayer perceptron that tells classes apart or predicts values. Data is CSV or IDX
/// (MNIST), also compressed, `.npy`, `.npz` or safetensors; columns, header, task and scaling are found
/// out where nothing is said, and part of the rows is set aside to validate on. Inputs are numbers;
/// `True` and `False` are 1 and 0. Checkpoints, metrics.csv, TensorBoard's event files and the losses as a
/// picture go to a directory. With
/// `background = true` under `[checkpoints]`, checkpoints are written behind the training, which takes
/// memory for a copy of all variables: how much is said before. The model in a checkpoint takes data as
/// it is in the file: `warmstart predict` needs nothing else.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart train --example > run.toml
  warmstart train run.toml
  warmstart predict runs/run --data new.csv -o predictions.csv

The smallest file, which classifies by the last column:
  [data]
  file = \"iris.csv\"

Ctrl-C ends the run after the steps under way and saves a checkpoint; the same command goes on from
it. A second Ctrl-C ends it at once, and so does one before the first step is under way, when there
is nothing to save.

Exit codes: 0 trained, or nothing was left to train, 2 error, 130 stopped by Ctrl-C (143 by SIGTERM)")]
pub struct Arguments {
    /// What to train on what
    #[arg(value_name = "FILE.toml", required_unless_present = "example")]
    file: Option<PathBuf>,
    /// Print a file with every key, what it means and its value where nothing is said
    #[arg(long, conflicts_with = "file")]
    example: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
    /// Print what came of it as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLE: &str = include_str!("train/example.toml");

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let Some(file) = &arguments.file else {
        write!(out, "{EXAMPLE}")?;
        return Ok(Answer::Yes);
    };
    let source = Source::open(file, Kind::Training)?;
    let settings = source.settings()?;
    let data = Data::read(&source, &settings)?;
    let mut job = Job::new(source, settings, data)?;
    if arguments.json {
        // What people read goes where the progress goes.
        let outcome = job.run(arguments.quiet, &mut WhileRead::new(&mut anstream::stderr()))?;
        text::print_json(out, &job.json(&outcome))?;
    } else {
        let mut out = WhileRead::new(out);
        let outcome = job.run(arguments.quiet, &mut out)?;
        job.print(&mut out, &outcome)?;
    }
    Ok(Answer::Yes)
}

/// A training run that is about to begin.
struct Job {
    source: Source,
    settings: Settings,
    data: Data,
    shape: Shape,
    directory: PathBuf,
    steps: u64,
    updates: Updates,
    every: Every,
    keep_best: usize,
    guessing: Guessing,
}

/// Steps between what is done now and then.
struct Every {
    validate: u64,
    save: u64,
}

/// What came of a run.
struct Outcome {
    checkpoint: PathBuf,
    /// Steps done; more than were asked for where earlier runs asked for more.
    step: u64,
    /// The losses as a picture, once there are some.
    curve: Option<PathBuf>,
    scores: Scores,
    /// A better one than the newest.
    best: Option<BestCheckpoint>,
    restored: bool,
    /// What is to be known about it.
    notes: Vec<String>,
    /// What is wrong with the weights, though they are numbers.
    ruined: Option<String>,
}

/// Between validations that nobody asked for at another pace; as many whole epochs as that takes.
const STEPS_AT_LEAST: u64 = 100;
const EPOCHS: u64 = 20;
const BATCH: usize = 64;

impl Job {
    fn new(source: Source, settings: Settings, data: Data) -> Result<Job, Failure> {
        let training = &settings.training;
        let rows = data.training.len();
        let batch = training.batch.unwrap_or(BATCH.min(rows));
        if batch > rows {
            let message = format!("there are only {} to train on", counted(rows, "row"));
            return Err(source
                .failure(&["training", "batch"], message, "rows in a batch")
                .help(format!("give at most {rows}")));
        }
        let epoch = Batches::new(rows, batch, settings.seed)?.steps_per_epoch();
        let directory = match &settings.directory {
            Some(directory) => source.path(directory),
            None => {
                let stem = source.file.file_stem().unwrap_or("run".as_ref());
                source.path(&Path::new("runs").join(stem))
            }
        };
        let updates = Updates::of(&directory, &settings);
        // Rows that an epoch's last whole batch leaves over are made up for by batches of the next.
        let steps = match training.steps {
            Some(steps) => {
                // A checkpoint that is there may be another model's, which is told first.
                if !updates.goes_on() {
                    updates.check(&source, steps)?;
                }
                steps
            }
            None => {
                let steps = training.epochs.unwrap_or(EPOCHS).saturating_mul(rows as u64);
                updates.whole(steps.div_ceil(batch as u64))
            }
        };
        let checkpoints = &settings.checkpoints;
        let validate_every = training
            .validate_every
            .or(checkpoints.save_every.filter(|&every| every > 0))
            .unwrap_or(epoch * STEPS_AT_LEAST.div_ceil(epoch));
        let save_every = checkpoints.save_every.unwrap_or(validate_every);
        let validated = save_every.is_multiple_of(validate_every) && data.validation.is_some();
        let keep_best = checkpoints.keep_best.unwrap_or(usize::from(validated));
        if keep_best > 0 && !validated {
            let message = "not every checkpoint is validated, so that none is known to be the best";
            return Err(source
                .failure(&["checkpoints", "keep_best"], message, "this many of the best")
                .help("give a `save_every` that is a multiple of `validate_every`, and rows to validate on"));
        }
        let shape = shape(&settings, &data, batch);
        let scale = shape.target_scale.as_ref();
        let guessing = Guessing::of(&data.training, shape.outputs, scale, &settings);
        let every = Every { validate: validate_every, save: save_every };
        Ok(Job {
            source,
            settings,
            data,
            shape,
            directory,
            steps,
            updates,
            every,
            keep_best,
            guessing,
        })
    }

    fn plans<'a>(&'a self, optimizer: &'a Optimizer) -> memory::Plans<'a> {
        let (source, settings) = (&self.source, &self.settings);
        memory::Plans { source, settings, optimizer, shape: self.shape.clone() }
    }

    fn run(&mut self, quiet: bool, out: &mut dyn Write) -> Result<Outcome, Failure> {
        self.describe(out)?;
        let optimizer = network::optimizer(&self.settings, self.updates.by(self.steps));
        let gpu = Gpu::new()?;
        let mut session = Session::new(&gpu);
        self.shape.rows_at_once = memory::rows_at_once(&session, &self.plans(&optimizer));
        let graph = Graph::new();
        let network = self.plans(&optimizer).network(&graph);
        let too_large = |error| memory::refused_layers(error, &self.source, &self.settings);
        graph.finish().map_err(|errors| {
            let unmatched = check::unmatched(&self.source, &self.settings, &errors);
            unmatched.unwrap_or_else(|| too_large(errors.into()))
        })?;
        let newest = self.check_newest(&graph)?;
        if self.settings.training.steps.is_some() {
            self.updates.check(&self.source, self.steps)?;
        }
        let resumes = newest.is_some();
        session.plan_memory(&graph, &[network.output], &[]).map_err(too_large)?;
        // First, so that the model's variables are all there are when weights are restored.
        let inference = Inference::compile(&mut session, &graph, network.output)?;
        let warm = match &self.settings.warm_start {
            Some(settings) if !resumes => {
                let last = format!("fc{}", self.settings.model.hidden.len() + 1);
                let model = (&self.data.description, last.as_str());
                warm_start::warm_start(&self.source, settings, &mut session, model, &self.shape, out)?
            }
            Some(_) => vec![
                "[warm_start] is for the beginning of a run: this one goes on from its own checkpoint"
                    .to_owned(),
            ],
            None => Vec::new(),
        };
        let train = memory::compile(&mut session, &self.settings, &graph, &network);
        let train =
            train.map_err(|error| memory::refused(error, &self.plans(&optimizer), &session))?;
        let Newest { mut notes, restore } = newest.unwrap_or_default();
        let mut run = self.begin(quiet, restore, (&mut session, &graph, &optimizer))?;
        self.learn_guessing(&session);
        writeln!(out, "{}", gpu.summary())?;
        summary::begun(out, run.begun(), self.settings.warm_start.is_some())?;
        notes.extend(self.changed(run.begun(), &optimizer)?);
        notes.extend(warm);
        let first = run.next_step().unwrap_or(self.steps);
        let began_ruined = if resumes { self.ruined(first) } else { None };
        notes.extend(began_ruined.as_ref().map(|ruined| self.begins_ruined(ruined)));
        let limit = self.settings.training.memory_limit;
        let mut submissions = Submissions::new(&gpu, &self.data.training, limit);
        if self.settings.checkpoints.background && run.next_step().is_some() {
            let bytes = text::bytes(session.snapshot_bytes());
            notes.push(format!(
                "saves in the background take {bytes} of memory more, for a copy of all variables"
            ));
        }
        if run.next_step().is_some() {
            notes.extend(self.still_rises());
            notes.extend(submissions.note());
        }
        for note in &notes {
            writeln!(out, "{} {note}", text::styled(text::HEADING, "note:"))?;
        }
        out.flush()?;
        let complete = run.next_step().is_none();

        let mut batches = Batches::new(self.data.training.len(), self.shape.batch, run.seed())?;
        let mut newest_scores = None;
        while let Some(steps) = submissions.next(&run, self.every.validate) {
            let done = steps.end;
            let outputs = submissions.submit(&mut session, &train, &mut batches, steps)?;
            newest_scores = None;
            if done.is_multiple_of(self.every.validate) || done == self.steps {
                let scores = self.validate(&inference, &mut session)?;
                for &(name, value) in &scores {
                    run.metric(name, value);
                }
                newest_scores = Some(scores);
            }
            run.record_steps(&session, &outputs, network.loss)
                .map_err(|error| self.failed(error))?;
            // After the losses of the steps that led there.
            if let Some(scores) = newest_scores.as_ref().filter(|scores| !scores.is_empty()) {
                run.say(format_args!("step {done}: validation {}", score::described(scores)));
            }
        }
        let scores = match newest_scores {
            Some(scores) => scores,
            // Whoever stops a run does not wait for scores.
            None if run.interrupted().is_some() => Scores::new(),
            None => self.validate(&inference, &mut session)?,
        };
        let checkpoint = run.finish(&session).map_err(|error| {
            let stopped = matches!(error, TrainingError::Interrupted { .. });
            let failure = self.failed(error);
            let file = quoted(&printable_path(&self.source.file));
            match stopped {
                true => failure.help(format!("`warmstart train {file}` goes on from there")),
                false => failure,
            }
        })?;
        let step = Checkpoint::open(&checkpoint)?.step().unwrap_or(self.steps);
        let curve = Some(self.directory.join("loss.svg")).filter(|curve| curve.exists());
        if complete {
            let (steps, directory) = (self.steps, printable_path(&self.directory));
            let note = format!(
                "nothing is left to train: {steps} steps were asked for, and {directory} is at step {step}; ask for more to go on"
            );
            // With progress, the run itself has said it.
            if quiet {
                writeln!(out, "{} {note}", text::styled(text::HEADING, "note:"))?;
            }
            notes.push(note);
        }
        let best = self.best(&checkpoint, &scores);
        let ruined = self.ruined(step).filter(|_| !complete);
        let ruined = ruined.map(|ruined| self.ends_ruined(&ruined, began_ruined.is_some()));
        Ok(Outcome { checkpoint, step, curve, scores, best, restored: resumes, notes, ruined })
    }

    fn validate(&self, inference: &Inference, session: &mut Session) -> Result<Scores, Failure> {
        let Some(rows) = &self.data.validation else { return Ok(Scores::new()) };
        Ok(score::score(rows, &inference.run(session, rows.inputs())?))
    }

    /// That the run ends before the learning rate is what was asked for.
    fn still_rises(&self) -> Option<String> {
        let together = u64::from(self.settings.training.gradient_accumulation_steps.max(1));
        let (warm_up, updates) = (u64::from(self.settings.schedule.warm_up), self.steps / together);
        (warm_up > updates).then(|| format!(
            "the learning rate still rises when the run ends: `warm_up` under [schedule] is {warm_up} updates, and the run has {updates}"
        ))
    }

    fn begin(
        &self,
        quiet: bool,
        restore: RestoreOptions,
        (session, graph, optimizer): (&mut Session, &Graph, &Optimizer),
    ) -> Result<Run, Failure> {
        let checkpoints = &self.settings.checkpoints;
        let description = serde_json::to_string(&self.data.description)?;
        let mut keys = changed::keys(&self.settings, self.shape.batch)?;
        self.updates.note(&mut keys);
        let keys = serde_json::to_string(&keys)?;
        let mut training = Training::new(&self.directory)
            .steps(self.steps)
            .seed(self.settings.seed)
            .save_every(self.every.save)
            .keep(checkpoints.keep)
            .keep_every_steps(checkpoints.keep_every)
            .log_every(self.settings.training.log_every)
            .restore_options(restore)
            .stop_on_interrupt()
            .extra(description::KEY, description)
            .extra(changed::KEY, keys);
        if let Some(validation) = &self.data.validation {
            let (names, (best, better)) = score::metrics(validation);
            training = training.metrics(&names);
            if self.keep_best > 0 {
                training = training.keep_best(best, better, self.keep_best);
            }
            if let Some(curve) = score::curve(validation, &self.settings) {
                training = training.curve(curve.metric, curve.name, curve.value);
            }
        }
        if checkpoints.background {
            training = training.save_in_background();
        }
        if quiet {
            training = training.quiet();
        }
        training.begin(session, graph, optimizer).map_err(|error| {
            if let TrainingError::NonFiniteAccumulators { file, variables, .. } = &error {
                return self.without_loss_scaling(file, variables);
            }
            let of_other_variables =
                matches!(&error, TrainingError::Mismatch(_));
            let failure = self.begun_afresh(error);
            let newest = latest(&self.directory).ok().flatten().filter(|_| of_other_variables);
            match newest {
                Some(newest) => failure.help(format!(
                    "a run goes on with the optimizer it began with: use that optimizer again, or begin another run with these weights, by these lines{}",
                    self.another_run(&newest.path)
                )),
                None => failure,
            }
        })
    }
}

/// The sizes of the model, and what scales its inputs and outputs.
fn shape(settings: &Settings, data: &Data, batch: usize) -> Shape {
    let training = &data.training;
    let of_bytes = if data.bytes { Scaling::MinMaxTogether } else { Scaling::Standardize };
    let scaling = settings.data.scaling.unwrap_or(of_bytes);
    let scale = Scale::learn(training.inputs(), training.width(), scaling);
    let outputs = match &data.description.output {
        Output::Classes(names) | Output::Values(names) => names.len(),
    };
    let target_scale = match training {
        Examples::Classes(_) => None,
        Examples::Values(data) => {
            let scaling = match settings.data.scale_targets {
                true => Scaling::Standardize,
                false => Scaling::None,
            };
            Some(Scale::learn(data.targets(), data.target_width(), scaling))
        }
    };
    let (inputs, rows_at_once) = (training.width(), ROWS_AT_ONCE);
    Shape { inputs, outputs, batch, rows_at_once, scale, target_scale }
}
