//! How fast weights come and go: initializing, saving and restoring 16 MiB in 16 variables; and how
//! long a plan of 10,000 variables takes that does not close.
//!
//! Every measured section that uses the device ends with waiting for it.

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use std::error::Error;
use std::time::Duration;
use warmstart_benches::{announce, drain, mebibytes};
use warmstart_checkpoint::{Checkpoint, RestoreOptions, SaveOptions, save};
use warmstart_gpu::{Gpu, Overwrite, Session};
use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

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

/// Plans of a model of 10,000 variables (weights and biases of layers in blocks), whose inference
/// looks for rules. `scopes`: three rules mend all. `unlike`: no name has anything to do with
/// another. `like`: names are all alike, numbers differ, and shapes fit everywhere. `values`: as
/// `scopes`, and matrices are called otherwise and lie the other way round.
fn inferring(criterion: &mut Criterion) -> Outcome {
    const LAYERS: usize = 5_000;
    type Name = fn(usize, &str) -> String;
    let cases: [(&str, Name, Name); 4] = [
        (
            "values",
            |n, part| format!("module.backbone.block_{}.layer_{}.{part}", n / 10, n % 10),
            |n, part| {
                let part = part.replace("weight", "kernel");
                format!("encoder/block_{}/layer_{}/{part}", n / 10, n % 10)
            },
        ),
        (
            "scopes",
            |n, part| format!("module.backbone.block_{}.layer_{}.{part}", n / 10, n % 10),
            |n, part| format!("encoder/block_{}/layer_{}/{part}", n / 10, n % 10),
        ),
        (
            "unlike",
            |n, part| format!("{:016x}.{part}", (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            |n, part| format!("{:x}/{part}_of", (n as u64 + 7).wrapping_mul(0xd1b5_4a32_d192_ed03)),
        ),
        (
            "like",
            |n, part| format!("layer_{}/sub_{}/{part}", n % 97, n / 97),
            |n, part| format!("layer_{}/sub_{}/{part}", n / 97 + 3, n % 97),
        ),
    ];
    let variables = |name: Name, matrix: [usize; 2]| -> Vec<Variable> {
        let variable = |name: String, shape: &[usize]| Variable {
            name,
            shape: Shape::from(shape.to_vec()),
            dtype: DType::F32,
            initializer: Initializer::Zeros,
            role: Role::Trainable,
            location: Location::caller(),
        };
        (0..LAYERS)
            .flat_map(|n| [(n, "weight", &matrix[..]), (n, "bias", &[4])])
            .map(|(n, part, shape)| variable(name(n, part), shape))
            .collect()
    };
    let directory = tempfile::tempdir()?;
    let mut group = criterion.benchmark_group("plan/10000");
    group.sampling_mode(SamplingMode::Flat);
    let gpu = Gpu::new()?;
    for (case, in_file, in_model) in cases {
        let file = directory.path().join(format!("{case}.safetensors"));
        let mut session = Session::new(&gpu);
        let [in_the_file, in_the_model] = match case {
            "values" => [[4, 8], [8, 4]],
            _ => [[4, 4]; 2],
        };
        session.declare(&variables(in_file, in_the_file))?;
        session.initialize_missing(1)?;
        save(&session, &file, &SaveOptions::new())?;
        let (checkpoint, model) = (Checkpoint::open(&file)?, variables(in_model, in_the_model));
        let plan = checkpoint.plan_for(&model, &RestoreOptions::new());
        println!("plan/10000/{case}: {} suggestions", plan.suggestions().len());
        group.bench_function(case, |bencher| {
            bencher.iter(|| checkpoint.plan_for(&model, &RestoreOptions::new()));
        });
    }
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
    inferring(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
