//! How fast it computes: a dense layer, training steps, compiling.
//!
//! Every measured section ends with waiting for the device.

use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput};
use std::error::Error;
use std::time::{Duration, Instant};
use warmstart_benches::{
    LARGE, SMALL, announce, compute_and_wait, describe, run_and_wait, square_layer,
};
use warmstart_gpu::{DeviceDataset, Gpu, Outputs, Session, StepOutputs, Steps};
use warmstart_graph::Graph;

type Outcome = Result<(), Box<dyn Error>>;

/// One run of linear + ReLU of square matrices, forward, then wait. Weights, input and result are on
/// the device. Elements are floating-point operations of the product, 2 n³.
fn linear(criterion: &mut Criterion, gpu: &Gpu) -> Outcome {
    announce("linear", gpu);
    let mut group = criterion.benchmark_group("linear");
    group.sampling_mode(SamplingMode::Flat);
    for size in [256, 512, 1024, 2048] {
        let (mut session, plan) = square_layer(gpu, size)?;
        describe(&format!("linear+relu {size}"), &plan);
        compute_and_wait(&mut session, &plan, 1, 1)?;
        group.throughput(Throughput::Elements(2 * (size as u64).pow(3)));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| compute_and_wait(&mut session, &plan, 1, 1).expect("the device works"));
        });
    }
    group.finish();
    Ok(())
}

/// How many training steps one measured section takes.
const STEPS: usize = 10;

/// Ten Adam steps, each with a fed batch. `wait`: no loss is read, and after the tenth the device is waited
/// for. `read`: the loss is read, hence waited for, after each. Elements are steps.
fn train(criterion: &mut Criterion, gpu: &Gpu) -> Outcome {
    announce("train", gpu);
    let mut group = criterion.benchmark_group("train");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(STEPS as u64));
    for model in [SMALL, LARGE] {
        let graph = Graph::new();
        let (mut session, plan, loss) = model.compile(gpu, &graph)?;
        describe(model.name, &plan);
        let (x, labels) = model.batch();
        let feeds = [("x", (&x).into()), ("labels", (&labels).into())];
        run_and_wait(&mut session, &plan, &feeds, 1)?;
        group.bench_function(BenchmarkId::new(model.name, "wait"), |bencher| {
            bencher.iter(|| {
                run_and_wait(&mut session, &plan, &feeds, STEPS).expect("the device works");
            });
        });
        group.bench_function(BenchmarkId::new(model.name, "read"), |bencher| {
            bencher.iter(|| {
                for _ in 0..STEPS {
                    let outputs = session.run(&plan, &feeds).expect("the device works");
                    outputs.scalar(loss).expect("the loss is fetched");
                }
            });
        });
    }
    group.finish();
    Ok(())
}

/// How many steps one submission takes.
const TOGETHER: [usize; 3] = [1, 8, 32];

/// Adam steps of the small MLP whose batches come from a data set on the device, 1 to 32 in one
/// submission, and beside them the same steps fed one by one. `steps`: 64 steps, then the losses are
/// read. `host`: what the host does for one step (gather a batch, encode, submit), with the device
/// idle before it; no waiting. One layer of 2048 is the control: beside its product launching costs
/// nothing, so submitting together must win nothing.
fn steps(criterion: &mut Criterion, gpu: &Gpu) -> Outcome {
    announce("steps", gpu);
    const TOTAL: usize = 64;
    let graph = Graph::new();
    let (mut session, plan, loss) = SMALL.compile(gpu, &graph)?;
    describe(SMALL.name, &plan);
    let examples = SMALL.examples(1437);
    let columns = [("x", (&examples.0).into()), ("labels", (&examples.1).into())];
    let data = DeviceDataset::new(gpu, 1437, &columns)?;
    let rows: Vec<u32> = (0..(TOTAL * SMALL.batch) as u32).map(|at| at * 997 % 1437).collect();
    let batch = |step: usize| SMALL.gathered(&examples, &rows[step * SMALL.batch..]);
    let (mut layer, layer_plan) = square_layer(gpu, 2048)?;

    let mut group = criterion.benchmark_group("steps");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(TOTAL as u64));
    group.bench_function(BenchmarkId::new(SMALL.name, "fed"), |bencher| {
        bencher.iter(|| {
            let mut outputs = Vec::new();
            for step in 0..TOTAL {
                let (x, labels) = batch(step);
                let feeds = [("x", (&x).into()), ("labels", (&labels).into())];
                outputs.push(session.run(&plan, &feeds).expect("the device works"));
            }
            let read = |outputs: &Outputs| outputs.scalar(loss).expect("the loss is fetched");
            outputs.iter().map(read).collect::<Vec<f32>>()
        });
    });
    for together in TOGETHER {
        group.bench_function(BenchmarkId::new(SMALL.name, together), |bencher| {
            bencher.iter(|| {
                let submit = |rows| session.run_steps(&plan, &Steps::rows(&data, rows));
                let outputs: Vec<StepOutputs> = rows
                    .chunks(together * SMALL.batch)
                    .map(submit)
                    .collect::<Result<_, _>>()
                    .expect("the device works");
                let read = |outputs: &StepOutputs| outputs.scalars(loss).expect("it is fetched");
                outputs.iter().flat_map(read).collect::<Vec<f32>>()
            });
        });
    }
    // On a software adapter a step takes more than a second: as few as there can be.
    const LAYERS: usize = 3;
    group.throughput(Throughput::Elements(LAYERS as u64)).sample_size(10);
    for together in [1, LAYERS] {
        group.bench_function(BenchmarkId::new("linear+relu 2048", together), |bencher| {
            bencher.iter(|| {
                compute_and_wait(&mut layer, &layer_plan, LAYERS, together)
                    .expect("the device works")
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("host");
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function(BenchmarkId::new(SMALL.name, "fed"), |bencher| {
        bencher.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for time in 0..times {
                let start = Instant::now();
                let (x, labels) = batch(time as usize % TOTAL);
                let feeds = [("x", (&x).into()), ("labels", (&labels).into())];
                let outputs = session.run(&plan, &feeds).expect("the device works");
                spent += start.elapsed();
                outputs.wait().expect("the device works");
            }
            spent
        });
    });
    for together in TOGETHER {
        group.bench_function(BenchmarkId::new(SMALL.name, together), |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    let start = Instant::now();
                    let steps = Steps::rows(&data, &rows[..together * SMALL.batch]);
                    let outputs = session.run_steps(&plan, &steps).expect("the device works");
                    spent += start.elapsed();
                    outputs.wait().expect("the device works");
                }
                spent / together as u32
            });
        });
    }
    group.finish();
    Ok(())
}

/// Compiling the small MLP for training. `cold`: `Session::compile` on a device that was opened for it,
/// so no pipeline is there (what the driver caches on disk may be). `warm`: on a device that has compiled the same
/// graph, so all pipelines are. `first_step`: open a device, build, compile, initialize, one step, wait.
fn compile(criterion: &mut Criterion, gpu: &Gpu) -> Outcome {
    announce("compile", gpu);
    let graph = Graph::new();
    let (loss, update) = SMALL.build(&graph);
    let mut group = criterion.benchmark_group("compile");
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function("cold", |bencher| {
        bencher.iter_batched(
            || Session::new(&Gpu::new().expect("it opened before")),
            |mut session| {
                let plan = session.compile(&graph, &[loss], &[update]).expect("it compiles");
                (session, plan)
            },
            BatchSize::PerIteration,
        );
    });
    Session::new(gpu).compile(&graph, &[loss], &[update])?;
    group.bench_function("warm", |bencher| {
        bencher.iter_batched(
            || Session::new(gpu),
            |mut session| {
                let plan = session.compile(&graph, &[loss], &[update]).expect("it compiles");
                (session, plan)
            },
            BatchSize::PerIteration,
        );
    });
    let (x, labels) = SMALL.batch();
    let feeds = [("x", (&x).into()), ("labels", (&labels).into())];
    group.bench_function("first_step", |bencher| {
        bencher.iter_with_large_drop(|| {
            let gpu = Gpu::new().expect("it opened before");
            let graph = Graph::new();
            let (mut session, plan, _) = SMALL.compile(&gpu, &graph).expect("it compiles");
            run_and_wait(&mut session, &plan, &feeds, 1).expect("the device works");
            (session, plan)
        });
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
    linear(&mut criterion, &gpu)?;
    train(&mut criterion, &gpu)?;
    steps(&mut criterion, &gpu)?;
    compile(&mut criterion, &gpu)?;
    criterion.final_summary();
    Ok(())
}
