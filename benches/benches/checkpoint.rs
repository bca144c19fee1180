//! How fast weights come and go: initializing, saving and restoring 16 MiB in 16 variables.
//!
//! Every measured section ends with waiting for the device.

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use std::error::Error;
use std::time::Duration;
use warmstart_benches::{announce, drain, mebibytes};
use warmstart_checkpoint::{Checkpoint, RestoreOptions, SaveOptions, save};
use warmstart_gpu::{Gpu, Overwrite, Session};

type Outcome = Result<(), Box<dyn Error>>;

/// Variables of 1 MiB each.
const VARIABLES: usize = 16;

/// Every variable by Glorot's uniform initializer, over the values that are there.
fn initialize(criterion: &mut Criterion, gpu: &Gpu) -> Outcome {
    announce("initialize", gpu);
    let mut session = Session::new(gpu);
    session.declare(&mebibytes(VARIABLES))?;
    session.initialize_missing(1)?;
    let mut group = criterion.benchmark_group("initialize");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Bytes((VARIABLES as u64) << 20));
    group.bench_function("glorot_uniform", |bencher| {
        bencher.iter(|| {
            session.initialize_all(1, Overwrite::Everything).expect("Glorot fits matrices");
            drain(gpu).expect("the device works");
        });
    });
    group.finish();
    Ok(())
}

/// One save over the file of the one before: until it is durable.
fn saving(criterion: &mut Criterion, gpu: &Gpu) -> Outcome {
    announce("save", gpu);
    let mut session = Session::new(gpu);
    session.declare(&mebibytes(VARIABLES))?;
    session.initialize_missing(1)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("model.safetensors");
    save(&session, &file, &SaveOptions::new())?;
    let mut group = criterion.benchmark_group("save");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Bytes((VARIABLES as u64) << 20));
    group.bench_function("replace", |bencher| {
        bencher.iter(|| save(&session, &file, &SaveOptions::new()).expect("there is space"));
    });
    group.finish();
    Ok(())
}

/// Open, plan and restore a file that the system has in its cache. `live`: over variables that
/// have values, which are copied aside first. `fresh`: into a new session, whose variables are declared, hence
/// allocated, in the measured section.
fn restoring(criterion: &mut Criterion, gpu: &Gpu) -> Outcome {
    announce("restore", gpu);
    let variables = mebibytes(VARIABLES);
    let mut session = Session::new(gpu);
    session.declare(&variables)?;
    session.initialize_missing(1)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("model.safetensors");
    save(&session, &file, &SaveOptions::new())?;
    let restore = |session: &mut Session| {
        let checkpoint = Checkpoint::open(&file).expect("it was just saved");
        let plan = checkpoint.plan(session, &RestoreOptions::new());
        plan.restore(session).expect("it holds these variables");
        drain(gpu).expect("the device works");
    };
    let mut group = criterion.benchmark_group("restore");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Bytes((VARIABLES as u64) << 20));
    group.bench_function("live", |bencher| bencher.iter(|| restore(&mut session)));
    group.bench_function("fresh", |bencher| {
        bencher.iter_batched(
            || Session::new(gpu),
            |mut session| {
                session.declare(&variables).expect("there is memory");
                restore(&mut session);
                session
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    Ok(())
}

fn main() -> Outcome {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let gpu = Gpu::new()?;
    initialize(&mut criterion, &gpu)?;
    saving(&mut criterion, &gpu)?;
    restoring(&mut criterion, &gpu)?;
    criterion.final_summary();
    Ok(())
}
