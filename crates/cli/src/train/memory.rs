//! A batch that does not fit is refused, with the largest that does.
//!
//! The limit is the device's, what of its memory is left when that runs out, and the file's
//! `memory_limit`, which a training step and its variables may take, with the copy that saves in the
//! background need where host and device share memory (not validation).

use super::network::{Network, ROWS_AT_ONCE, Shape};
use super::settings::Settings;
use super::source::Source;
use crate::error::Failure;
use warmstart::gpu::{CompileError, MemoryKind, Plan, PlanMemory, Session};
use warmstart::graph::{Graph, Optimizer, Problem};
use warmstart::largest_batch;

/// What `memory_limit` counts.
const MIB: u64 = 1 << 20;

/// What a training step would take, variables included.
/// The copy for saves in the background counts with the variables; predicting takes room of its own.
fn needed(
    session: &Session,
    settings: &Settings,
    graph: &Graph,
    network: &Network<'_>,
) -> Result<PlanMemory, CompileError> {
    let mut memory = session.plan_memory(graph, &[network.loss], &[network.update])?;
    if copies(session, settings) {
        memory.variables *= 2;
    }
    Ok(memory)
}

/// The same, if that is no more than the file allows.
fn planned(
    session: &Session,
    settings: &Settings,
    graph: &Graph,
    network: &Network<'_>,
) -> Result<PlanMemory, CompileError> {
    let memory = needed(session, settings, graph, network)?;
    match settings.training.memory_limit {
        Some(limit) => memory.within(limit.saturating_mul(MIB)),
        None => Ok(memory),
    }
}

/// Whether saves take a copy of the variables from the memory that the device has: the copy is where the
/// host can read it.
fn copies(session: &Session, settings: &Settings) -> bool {
    settings.checkpoints.background && session.gpu().memory() == MemoryKind::Mappable
}

/// Compiles a network for training, unless a step would take more than the file allows.
pub fn compile(
    session: &mut Session,
    settings: &Settings,
    graph: &Graph,
    network: &Network<'_>,
) -> Result<Plan, CompileError> {
    if settings.training.memory_limit.is_some() {
        planned(session, settings, graph, network)?;
    }
    session.compile(graph, &[network.loss], &[network.update])
}

/// What a network is built from, to look at what it takes in one size or another.
pub struct Plans<'a> {
    pub source: &'a Source,
    pub settings: &'a Settings,
    pub optimizer: &'a Optimizer,
    pub shape: Shape,
}

impl<'a> Plans<'a> {
    fn with_shape(&self, shape: Shape) -> Plans<'a> {
        let Plans { source, settings, optimizer, .. } = *self;
        Plans { source, settings, optimizer, shape }
    }

    fn with_batch(&self, batch: usize) -> Plans<'a> {
        self.with_shape(Shape { batch, ..self.shape.clone() })
    }

    pub fn network<'g>(&self, graph: &'g Graph) -> Network<'g> {
        // Whoever looks at the model later knows this file, and not the source of this command.
        let line = |table: &str| self.source.line(table);
        Network::build(graph, self.settings, self.optimizer, &self.shape, &line)
    }
}

/// How many rows the model can be given at once when it is not trained: fewer than usual where its
/// layers are so wide that as many do not fit this device. Where not even one does, as usual: then
/// compiling says what is too large.
pub fn rows_at_once(session: &Session, plans: &Plans<'_>) -> usize {
    let fit = |&rows_at_once: &usize| {
        let graph = Graph::new();
        let shape = Shape { rows_at_once, ..plans.shape.clone() };
        let network = plans.with_shape(shape).network(&graph);
        let planned = session.plan_memory(&graph, &[network.output], &[]);
        !planned.is_err_and(|error| error.is_too_large())
    };
    let mut halves =
        std::iter::successors(Some(ROWS_AT_ONCE), |&rows| (rows > 1).then_some(rows / 2));
    halves.find(fit).unwrap_or(ROWS_AT_ONCE)
}

/// The failure of compiling a network for training.
pub fn refused(error: CompileError, plans: &Plans<'_>, session: &Session) -> Failure {
    let Plans { source, settings, .. } = *plans;
    if !error.is_too_large() {
        return error.into();
    }
    let room = match error {
        CompileError::NoRoom { room, .. } => room,
        _ => u64::MAX,
    };
    let batch = plans.shape.batch;
    let largest = largest_batch(1..=batch, |batch| {
        let graph = Graph::new();
        let network = plans.with_batch(batch).network(&graph);
        planned(session, settings, &graph, &network)?.within(room)
    });
    let is_limit = matches!(error, CompileError::OverLimit { .. });
    let what = if is_limit { "`memory_limit`" } else { "this device" };
    let (key, label) = match largest {
        Err(_) if is_limit => ("memory_limit", "too little"),
        _ => ("batch", "too large"),
    };
    let why = match &error {
        CompileError::OverLimit { bytes, limit } => format!(
            "a step takes {} with its variables, and `memory_limit` allows {}",
            mebibytes(*bytes),
            limit / MIB
        ),
        CompileError::NoRoom { bytes, room } => format!(
            "a step takes {} with its variables, and this device has room for {} MiB",
            mebibytes(*bytes),
            room / MIB
        ),
        error => error.what(),
    };
    let message = format!("batches of {batch} rows do not fit: {why}");
    let failure = source.failure(&["training", key], message, label);
    let copy = match is_limit && copies(session, settings) {
        true => "; `background = false` needs no copy of the variables",
        false => "",
    };
    match largest {
        Ok(largest) if largest.batch < batch => {
            let largest = largest.batch;
            failure.help(format!(
                "give at most {largest}, the largest that fits {what}; `gradient_accumulation_steps` makes an update of several batches{copy}"
            ))
        }
        // Memory had run out, and there seems to be enough of it by now.
        Ok(_) => failure.help("run the command again, as there seems to be room for this batch now; else give a smaller batch, or end what else uses this device"),
        Err(_) if is_limit => {
            let need = |settings: &Settings| {
                let graph = Graph::new();
                let one = Plans { settings, ..plans.with_batch(1) };
                let network = one.network(&graph);
                needed(session, settings, &graph, &network)
            };
            failure.help(not_one_row(source, settings, &need))
        }
        Err(_) => failure.help("not even a batch of one row fits: give smaller layers"),
    }
}

/// What to do where not even one row is within the limit: of the keys that save memory, those with
/// which one row fits.
fn not_one_row(
    source: &Source,
    settings: &Settings,
    need: &dyn Fn(&Settings) -> Result<PlanMemory, CompileError>,
) -> String {
    const NONE_FITS: &str = "not even a batch of one row fits";
    let Ok(memory) = need(settings) else { return format!("{NONE_FITS}: give smaller layers") };
    let all = |memory: &PlanMemory| memory.peak() + memory.variables;
    let limit = settings.training.memory_limit.unwrap_or(u64::MAX).saturating_mul(MIB);
    let least = all(&memory).div_ceil(MIB);
    type Set = fn(&mut Settings);
    let with = |set: Set| {
        let mut settings = source.settings().ok()?;
        set(&mut settings);
        need(&settings).ok()
    };
    let keys: [(&str, Set); 3] = [
        ("`keep_f16 = true`", |settings| settings.training.keep_f16 = true),
        ("`recompute = true`", |settings| settings.training.recompute = true),
        ("`background = false`, which needs no copy of the variables", without_copy),
    ];
    let fits = |set| with(set).is_some_and(|with| all(&with) <= limit);
    let keys = keys.iter().filter(|(_, set)| fits(*set));
    let ways: String = keys.map(|(key, _)| format!(", or {key}")).collect();
    let variables = with(without_copy).map_or(memory.variables, |with| with.variables);
    let why = match variables > limit {
        true => format!(", as the variables alone take {}", mebibytes(variables)),
        false => String::new(),
    };
    format!("{NONE_FITS}{why}: give a `memory_limit` of at least {least}{ways}, or smaller layers")
}

/// Saves that take no copy of the variables.
fn without_copy(settings: &mut Settings) {
    settings.checkpoints.background = false;
}

/// Bytes as `memory_limit` has them, and rounded up: what is beyond a limit is not to look like it.
fn mebibytes(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(MIB));
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// The failure of a network whose layers fit no device, or not this one, at any size of a batch.
pub fn refused_layers(error: CompileError, source: &Source, settings: &Settings) -> Failure {
    let is_limit = error.is_too_large();
    let what = match &error {
        // What is wrong with the others may come of that; and the parts of a network that train and
        // that predict have the same.
        CompileError::Graph(errors) => errors
            .0
            .iter()
            .find(|error| matches!(error.problem, Problem::TooLarge { .. }))
            .map(ToString::to_string),
        error => is_limit.then(|| error.what()),
    };
    let Some(what) = what else { return error.into() };
    let hidden = &settings.model.hidden;
    let largest = (0..hidden.len()).max_by_key(|&layer| hidden[layer]).unwrap_or(0).to_string();
    let message = format!("layers of these sizes do not fit: {what}");
    source.failure(&["model", "hidden", &largest], message, "the largest").help(match is_limit {
        true => "give smaller layers; `WGPU_ADAPTER_NAME` chooses an adapter with larger limits, if `warmstart devices` shows one",
        // More than can be counted fits no adapter.
        false => "give smaller layers",
    })
}

#[cfg(test)]
mod tests {
    use super::super::network;
    use super::super::scaling::Scale;
    use super::super::settings::Scaling;
    use super::super::source::Kind;
    use super::*;
    use warmstart::gpu::{Gpu, GpuError};
    use warmstart::graph::Location;

    fn shape(batch: usize) -> Shape {
        Shape {
            inputs: 2,
            outputs: 3,
            batch,
            rows_at_once: ROWS_AT_ONCE,
            scale: Scale::learn(&[0.0, 1.0, 2.0, 3.0], 2, Scaling::None),
            target_scale: None,
        }
    }

    /// What a step of so many rows takes.
    fn step(session: &Session, settings: &Settings, batch: usize) -> PlanMemory {
        let (graph, line) = (Graph::new(), |_: &str| Location::caller());
        let optimizer = network::optimizer(settings, 10);
        let network = Network::build(&graph, settings, &optimizer, &shape(batch), &line);
        planned(session, settings, &graph, &network).unwrap()
    }

    #[test]
    fn keys_that_save_memory_do() {
        let session = Session::new(&Gpu::new().unwrap());
        let memory = |keys: &str| {
            let text = format!(
                "[data]\nfile = \"a.csv\"\n[model]\nhidden = [64, 64, 64, 64, 64, 64]\n\
                 activation = \"silu\"\n[training]\n{keys}"
            );
            step(&session, &toml::from_str(&text).unwrap(), 512)
        };
        let values = |keys: &str| memory(keys).values;
        let plain = values("");
        let (again, kept) = (values("recompute = true"), values("keep_f16 = true"));
        assert!(again * 4 < plain * 3, "{again} of {plain}");
        assert!(kept * 4 < plain * 3, "{kept} of {plain}");
        let both = values("recompute = true\nkeep_f16 = true");
        assert!(both < again && both < kept, "{both} of {again} and {kept}");
        // What saves copy is elsewhere on a device that has memory of its own.
        let copies = 1 + u64::from(session.gpu().memory() == MemoryKind::Mappable);
        let background = memory("[checkpoints]\nbackground = true").variables;
        assert_eq!(background, copies * memory("").variables);
    }

    /// Where memory has run out, what was left of it is what a batch must fit.
    #[test]
    fn a_batch_beyond_the_memory_that_is_left_is_refused_with_the_largest_within() {
        const BATCH: usize = 512;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("run.toml");
        let text =
            "[data]\nfile = \"a.csv\"\n[model]\nhidden = [64, 64]\n[training]\nbatch = 512\n";
        std::fs::write(&file, text).unwrap();
        let source = Source::open(&file, Kind::Training).unwrap();
        let settings: Settings = source.parse().unwrap();
        let optimizer = network::optimizer(&settings, 10);
        let session = Session::new(&Gpu::new().unwrap());
        let all = |batch| {
            let memory = step(&session, &settings, batch);
            memory.peak() + memory.variables
        };
        let said = |error| {
            let (shape, settings) = (shape(BATCH), &settings);
            let plans = Plans { source: &source, settings, optimizer: &optimizer, shape };
            format!("{:?}", refused(error, &plans, &session))
        };
        let bytes = all(BATCH);
        for fits in [1, 2, 100, 511] {
            let room = all(fits);
            let text = said(CompileError::NoRoom { bytes, room });
            let largest = text.split_once("give at most ").and_then(|(_, help)| {
                let (largest, what) = help.split_once(", ")?;
                what.starts_with("the largest that fits this device;").then_some(largest)
            });
            let largest: usize = largest.and_then(|largest| largest.parse().ok()).expect(&text);
            assert!((fits..BATCH).contains(&largest), "{text}");
            assert!(all(largest) <= room && all(largest + 1) > room, "{text}");
            let begins =
                format!("batches of 512 rows do not fit: a step takes {}", mebibytes(bytes));
            assert!(text.contains(&begins), "{text}");
            assert!(text.contains(&format!("has room for {} MiB", room / MIB)), "{text}");
        }
        let text = said(CompileError::NoRoom { bytes, room: all(1) - 1 });
        assert!(text.contains("not even a batch of one row fits: give smaller layers"), "{text}");
        // Somebody else has taken it, and let go of it again.
        let what = "values".to_owned();
        let text = said(CompileError::Gpu(GpuError::OutOfMemory { what, bytes: Some(bytes) }));
        assert!(
            text.contains("run the command again, as there seems to be room for this batch now"),
            "{text}"
        );
        // What is said to authors of programs is not said here.
        let what = "the result of matmul".to_owned();
        let text = said(CompileError::TooLarge { what, bytes, limit: 1 });
        let what = "the result of matmul takes";
        assert!(text.contains(what) && !text.contains("largest_batch"), "{text}");
    }
}
