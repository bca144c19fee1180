//! A run that is killed and begun again is the run without the break, to the bit.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, thread};
use warmstart::TrainingError;
use warmstart::graph::random::Philox;
use warmstart::graph::{TrainStep, Update};
use warmstart::prelude::*;

const EXAMPLES: usize = 37;
const BATCH: usize = 8;
const STEPS: u64 = 40;

/// Everything that a program has, made anew by each process that it stands for.
struct Model {
    graph: Graph,
    optimizer: Optimizer,
}

impl Model {
    fn new(optimizer: Optimizer, dropout_seed: u64) -> Model {
        let graph = Graph::new();
        graph.set_seed(dropout_seed);
        Model { graph, optimizer }
    }

    fn build(&self) -> (Tensor<'_>, Update<'_>) {
        let inputs = self.graph.placeholder("inputs", [BATCH, 6], DType::F32);
        let labels = self.graph.placeholder("labels", [BATCH], DType::I32);
        let hidden = self.graph.scope("fc1").linear(inputs, 16).relu().dropout("hidden", 0.3);
        let hidden = self.graph.scope("fc2").linear(hidden, 12).relu().dropout("again", 0.2);
        let loss = self.graph.scope("fc3").linear(hidden, 3).softmax_cross_entropy(labels);
        let TrainStep { update, .. } = self.optimizer.minimize(loss);
        (loss, update)
    }
}

fn examples() -> Dataset {
    let noise = Philox::new(1, "inputs");
    let inputs = (0..EXAMPLES as u64 * 6).map(|i| (noise.word(i) >> 8) as f32 / (1 << 24) as f32);
    let labels = (0..EXAMPLES as u64).map(|i| (noise.word(1000 + i) % 3) as i32);
    Dataset::new(inputs.collect(), 6, labels.collect()).expect("lengths that agree")
}

/// How a run stops short.
#[derive(Clone, Copy, Debug)]
struct Kill {
    /// Steps that are whole.
    after: u64,
    /// Whether one more step reached the device, but was not recorded.
    midway: bool,
}

/// How it trains.
#[derive(Clone, Copy, Debug, Default)]
struct How {
    kill: Option<Kill>,
    /// Steps that are fed one by one, or so many in a submission from a data set on the device: no
    /// difference either.
    together: Option<u64>,
    /// Whether checkpoints are saved behind the training.
    background: bool,
}

/// Trains until done or killed; the bits of all variables if done. Killed, it drops everything
/// without another word.
fn train(directory: &Path, optimizer: &Optimizer, how: How) -> Option<Vec<Vec<u8>>> {
    let How { kill, together, background } = how;
    let model = Model::new(optimizer.clone(), 5);
    let (loss, update) = model.build();
    let mut session = Session::new(&Gpu::new().expect("an adapter"));
    let plan = session.compile(&model.graph, &[loss], &[update]).expect("it compiles");
    let training = Training::new(directory).steps(STEPS).save_every(6).log_every(5).keep(2);
    let training = training.seed(3).quiet();
    let training = if background { training.save_in_background() } else { training };
    let mut run = training.begin(&mut session, &model.graph, &model.optimizer).expect("it begins");
    let data = examples();
    let mut batches = Batches::new(data.len(), BATCH, run.seed()).expect("batches");
    let on_device = data.upload(session.gpu(), "inputs", "labels").expect("it has room");
    let (mut inputs, mut labels) = (Vec::new(), Vec::new());
    let mut done = 0;
    while let Some(steps) = run.next_steps(together.unwrap_or(1)) {
        let killed = kill.is_some_and(|kill| kill.after <= done);
        if killed && kill.is_some_and(|kill| !kill.midway) {
            stop();
            return None;
        }
        done += steps.end - steps.start;
        if together.is_some() {
            let rows = batches.indices_of(steps);
            let steps = Steps::rows(&on_device, &rows);
            let outputs = session.run_steps(&plan, &steps).expect("they run");
            if killed {
                stop();
                return None;
            }
            run.record_steps(&session, &outputs, loss).expect("they are recorded");
            continue;
        }
        data.gather(batches.indices(steps.start), &mut inputs, &mut labels).expect("in range");
        let feeds = [("inputs", Feed::from(&inputs)), ("labels", Feed::from(&labels))];
        let outputs = session.run(&plan, &feeds).expect("it runs");
        if killed {
            stop();
            return None;
        }
        run.record(&session, &outputs, loss).expect("it is recorded");
    }
    run.finish(&session).expect("it is saved");
    let names: Vec<_> = session.variables().iter().map(|info| info.name().to_owned()).collect();
    Some(names.iter().map(|name| session.read(name).expect("a value").to_le_bytes()).collect())
}

/// All that a checkpoint holds except the time at which it was saved: its metadata, and its bytes.
fn saved(file: &Path) -> (Vec<Option<String>>, Vec<u8>) {
    let checkpoint = Checkpoint::open(file).expect("a checkpoint");
    let metadata = checkpoint.metadata();
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let text = |text: Option<&str>| text.map(str::to_owned);
    let variables = format!("{:?}", metadata.variables().expect("what we wrote"));
    let said = vec![
        number(metadata.step()),
        number(metadata.seed()),
        text(metadata.graph()),
        text(metadata.optimizer()),
        Some(variables),
    ];
    let begin = checkpoint.tensors()[0].range.start as usize;
    (said, fs::read(file).expect("a file")[begin..].to_vec())
}

/// Kills a run again and again at random until it is done, and holds it to the run without breaks.
fn survives(optimizer: Optimizer, seed: u64) {
    let whole = tempfile::tempdir().expect("a temporary directory");
    let expected = train(whole.path(), &optimizer, How::default()).expect("nobody kills it");
    let broken = tempfile::tempdir().expect("a temporary directory");
    let dice = Philox::new(seed, "kills");
    let mut kills = Vec::new();
    let found = loop {
        let word = dice.word(kills.len() as u64);
        let kill = Kill { after: u64::from(word % 13), midway: word & 1 << 31 != 0 };
        let together = [None, Some(1), Some(4), Some(9)][(word >> 16) as usize % 4];
        let how = How { kill: Some(kill), together, background: false };
        if let Some(found) = train(broken.path(), &optimizer, how) {
            break found;
        }
        kills.push((kill, together));
        assert!(kills.len() < 100, "it never ends: {kills:?}");
    };
    assert!(kills.len() >= 3, "too few kills to show anything: {kills:?}");
    assert!(found == expected, "variables differ from the run without a break: {kills:?}");
    same_files(whole.path(), broken.path(), &format!("{kills:?}"));
}

/// Holds what a run has left against what the run without a break has.
fn same_files(whole: &Path, broken: &Path, kills: &str) {
    for file in ["step-40.safetensors", "step-36.safetensors"] {
        let saved = |directory: &Path| saved(&directory.join(file));
        assert!(saved(whole) == saved(broken), "{file} differs: {kills}");
    }
    let metrics = |directory: &Path| fs::read(directory.join("metrics.csv")).expect("a file");
    assert!(metrics(whole) == metrics(broken), "metrics differ: {kills}");
}

/// Tells a child where to train, and how.
const DIRECTORY: &str = "WARMSTART_TEST_DIRECTORY";
const HOW: &str = "WARMSTART_TEST_HOW";
/// What the child prints when it is to be killed.
const READY: &str = "kill me";

/// In a child, says that it is time, and waits for it. What is being saved goes on meanwhile.
fn stop() {
    if env::var_os(DIRECTORY).is_some() {
        println!("{READY}");
        loop {
            thread::park();
        }
    }
}

/// Trains in a child, which the system ends at a step: nothing is dropped there, and what was not
/// written is lost.
fn killed_in_a_child(directory: &Path, kill: Kill, background: bool) {
    let this = env::current_exe().expect("a test program");
    let mut child = Command::new(this)
        .args(["a_process_that_is_killed_at_any_step_goes_on_exactly", "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(HOW, format!("{} {} {background}", kill.after, kill.midway))
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let ready = lines.any(|line| line.is_ok_and(|line| line.ends_with(READY)));
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    assert!(ready, "the child came to no end: {kill:?}, background: {background}");
}

#[test]
fn a_process_that_is_killed_at_any_step_goes_on_exactly() {
    let schedule = Schedule::cosine(5e-2, 1e-3, 30).warm_up(7);
    let optimizer = Optimizer::adam(schedule).clip_global_norm(0.5);
    if let Some(directory) = env::var_os(DIRECTORY) {
        let how = env::var(HOW).expect("it says how");
        let [after, midway, background] = how.split(' ').collect::<Vec<_>>()[..] else { panic!() };
        let kill = Kill { after: after.parse().unwrap(), midway: midway == "true" };
        let how = How { kill: Some(kill), together: None, background: background == "true" };
        train(Path::new(&directory), &optimizer, how);
        return;
    }
    let whole = tempfile::tempdir().expect("a temporary directory");
    let expected = train(whole.path(), &optimizer, How::default()).expect("nobody kills it");
    // All of them in `make test-long`; else some, on both sides of saves, which are every sixth step.
    let is_long = env::var_os("WARMSTART_TEST_LONG").is_some();
    let steps = (0..STEPS).filter(|step| is_long || [0, 6, 11, 13, 24, 39].contains(step));
    for (at, after) in steps.enumerate() {
        let all = [(false, false), (true, false), (false, true), (true, true)];
        let some = if is_long { &all[..] } else { &all[at % 4..][..1] };
        for &(midway, background) in some {
            let broken = tempfile::tempdir().expect("a temporary directory");
            let kill = Kill { after, midway };
            killed_in_a_child(broken.path(), kill, background);
            let how = How { background, ..How::default() };
            let found = train(broken.path(), &optimizer, how).expect("nobody kills it");
            let what = format!("{kill:?}, background: {background}");
            assert!(found == expected, "variables differ from the run without a break: {what}");
            same_files(whole.path(), broken.path(), &what);
        }
    }
}

#[test]
fn adam_with_a_cosine_and_clipping_goes_on_exactly() {
    let schedule = || Schedule::cosine(5e-2, 1e-3, 30).warm_up(7);
    for seed in 0..2 {
        survives(Optimizer::adam(schedule()).clip_global_norm(0.5), seed);
    }
}

#[test]
fn momentum_with_an_exponential_decay_goes_on_exactly() {
    let schedule = Schedule::Exponential { initial: 0.1, every: 9, factor: 0.5 };
    for seed in 2..4 {
        survives(Optimizer::sgd(schedule.clone()).momentum(0.9).nesterov(), seed);
    }
}

/// Saves are every sixth step, and so in the middle of updates of four.
#[test]
fn accumulated_gradients_go_on_exactly() {
    let schedule = Schedule::cosine(5e-2, 1e-3, 8).warm_up(2);
    let optimizer = Optimizer::adam(schedule).clip_global_norm(0.5).gradient_accumulation_steps(4);
    survives(optimizer.clone(), 4);
    survives(optimizer.loss_scaling(LossScaling::new().growth_interval(2)), 5);
    survives(Optimizer::sgd(0.1).gradient_accumulation_steps(7), 6);
}

/// Begins a run in a directory; the run and the session's seed.
fn begin(
    directory: &Path,
    seed: Option<u64>,
    dropout_seed: u64,
    steps: u64,
) -> Result<(u64, Option<u64>), TrainingError> {
    let model = Model::new(Optimizer::sgd(0.1), dropout_seed);
    let (loss, update) = model.build();
    let mut session = Session::new(&Gpu::new().expect("an adapter"));
    let plan = session.compile(&model.graph, &[loss], &[update]).expect("it compiles");
    let training = Training::new(directory).steps(steps).quiet();
    let training = seed.into_iter().fold(training, Training::seed);
    let mut run = match training.begin(&mut session, &model.graph, &model.optimizer) {
        Ok(run) => run,
        Err(error) => {
            let untouched = session.uninitialized().len() == session.variables().len();
            assert!(untouched, "something was restored: {error}");
            return Err(error);
        }
    };
    while run.next_step().is_some() {
        let (inputs, labels) = ([0.5f32; BATCH * 6], [1i32; BATCH]);
        let feeds = [("inputs", Feed::from(&inputs)), ("labels", Feed::from(&labels))];
        let outputs = session.run(&plan, &feeds)?;
        run.record(&session, &outputs, loss)?;
    }
    let seed = run.seed();
    let saved = Checkpoint::open(run.finish(&session)?)?;
    Ok((seed, saved.metadata().seed()))
}

#[test]
fn a_resumed_run_keeps_its_seed_and_saves_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    assert_eq!(begin(path, Some(9), 5, 1).expect("it begins"), (9, Some(9)));
    assert_eq!(begin(path, Some(9), 5, 2).expect("it goes on"), (9, Some(9)));
    assert_eq!(begin(path, None, 5, 3).expect("it goes on"), (9, Some(9)));
}

#[test]
fn another_seed_than_the_checkpoints_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    begin(path, None, 5, 1).expect("it begins");
    let error = begin(path, Some(8), 5, 2).expect_err("the seed is 0");
    assert!(matches!(error, TrainingError::OtherSeed { found: 0, given: 8, .. }), "{error}");
    let text = error.to_string();
    for part in ["step-1.safetensors", "seed 0", "seed 8", "`.seed(0)`", "another directory"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    let error = begin(path, None, 6, 2).expect_err("the graph's seed is 5");
    assert!(matches!(error, TrainingError::OtherGraphSeed { found: 5, given: 6, .. }), "{error}");
    let text = error.to_string();
    for part in ["step-1.safetensors", "`dropout/", "`set_seed(5)`", "another directory"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    begin(path, None, 5, 2).expect("it goes on");
}
