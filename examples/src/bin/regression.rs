//! How much heat a house needs, learned from the weather: a regression on a table of numbers.
//!
//! Shows examples that a program makes itself, inputs that are scaled within the model, validation
//! while it trains, the checkpoint with the best validation, and predictions from that. How exact the
//! answers can get is known here: the meter is off by 0.2 kW.
//!
//! `cargo run --release -p warmstart-examples --bin regression [steps: 2000] [directory:
//! runs/regression]`. Run again, it goes on from its newest checkpoint; `loss.svg` in the directory
//! shows both losses.

use std::error::Error;
use warmstart::graph::random::Philox;
use warmstart::prelude::*;
use warmstart_examples::arguments;

const BATCH: usize = 64;
/// °C outside, wind in m/s, sun in W/m², people at home.
const INPUTS: usize = 4;
/// The standard deviation of what the meter is off by, in kW.
const NOISE: f32 = 0.2;

/// The heat that is really needed, in kW: walls and draught lose it, sun and people bring some, and
/// there is no cooling. What the model is to find out.
fn heat([outside, wind, sun, people]: [f32; INPUTS]) -> f32 {
    let lost = (20.0 - outside) * (0.15 + 0.01 * wind);
    (lost - 0.004 * sun - 0.1 * people).max(0.0)
}

/// So many hours with their weather, and the heat as it was measured.
fn measured(hours: u32, seed: u64) -> Result<Dataset<f32>, Box<dyn Error>> {
    let (weather, meter) = (Philox::new(seed, "weather"), Philox::new(seed, "meter"));
    let uniform = |word: u32| word as f32 / u32::MAX as f32;
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for hour in 0..hours {
        let [outside, wind, sun, people] = weather.block(hour, 0).map(uniform);
        let row = [40.0 * outside - 15.0, 12.0 * wind, 800.0 * sun, (5.0 * people).floor()];
        // The sum of four uniform numbers is nearly normal, with a variance of 1/3.
        let off = meter.block(hour, 0).map(uniform).iter().sum::<f32>() - 2.0;
        inputs.extend(row);
        targets.push(heat(row) + NOISE * 3f32.sqrt() * off);
    }
    Ok(Dataset::with_targets(inputs, INPUTS, targets, 1)?)
}

/// Weather `[rows, INPUTS]` to heat `[rows, 1]`. Mean and standard deviation of the inputs are
/// variables that are not trained: so they are in the checkpoint with the weights they belong to.
fn model<'g>(graph: &'g Graph, rows: usize, (mean, stddev): &(Vec<f32>, Vec<f32>)) -> Tensor<'g> {
    let weather = graph.placeholder("weather", [rows, INPUTS], DType::F32);
    let inputs = graph.scope("inputs").frozen();
    let mean = inputs.variable("mean", [INPUTS], Initializer::Values(mean.clone()));
    let stddev = inputs.variable("stddev", [INPUTS], Initializer::Values(stddev.clone()));
    let hidden = graph.scope("fc1").linear((weather - mean) / stddev, 32).tanh();
    let hidden = graph.scope("fc2").linear(hidden, 32).tanh();
    graph.scope("fc3").linear(hidden, 1)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (steps, directory) = arguments("regression", 2000, "runs/regression");
    let (training, validation) = measured(2500, 7)?.split(0.2, 7)?;
    let scaling = training.mean_and_stddev();

    let graph = Graph::new();
    let targets = graph.placeholder("heat", [BATCH, 1], DType::F32);
    let loss = model(&graph, BATCH, &scaling).mean_squared_error(targets);
    let optimizer = Optimizer::adam(3e-3);
    let step = optimizer.minimize(loss);
    let evaluation = Graph::new();
    let targets = evaluation.placeholder("heat", [validation.len(), 1], DType::F32);
    let error = model(&evaluation, validation.len(), &scaling).mean_squared_error(targets);

    let gpu = Gpu::new()?;
    let mut session = Session::new(&gpu);
    let train = session.compile(&graph, &[loss], &[step.update])?;
    let validate = session.compile(&evaluation, &[error], &[])?;
    let plan = Training::new(&directory)
        .steps(steps)
        .seed(7)
        .save_every(100)
        .metrics(&["validation"])
        .curve("validation", "validation", |error| error)
        .keep_best("validation", Better::Lower, 1);
    let mut run = plan.begin(&mut session, &graph, &optimizer)?;
    println!("{}", run.begun());

    let mut batches = Batches::new(training.len(), BATCH, run.seed())?;
    let on_device = training.upload(&gpu, "weather", "heat")?;
    let feeds = [("weather", validation.inputs().into()), ("heat", validation.targets().into())];
    // Until the next checkpoint in one submission; each has its validation.
    while let Some(steps) = run.next_steps(100) {
        let rows = batches.indices_of(steps);
        let outputs = session.run_steps(&train, &Steps::rows(&on_device, &rows))?;
        run.metric("validation", session.run(&validate, &feeds)?.scalar(error)?.into());
        run.record_steps(&session, &outputs, loss)?;
    }
    run.finish(&session)?;

    // The program that uses it: the same model for other rows, and the best weights.
    let best = Saver::new(&directory).best("validation", Better::Lower)?.ok_or("no checkpoint")?;
    let days = [
        [-12.0, 9.0, 0.0, 2.0],
        [0.0, 3.0, 100.0, 4.0],
        [8.0, 5.0, 500.0, 1.0],
        [22.0, 1.0, 700.0, 3.0],
    ];
    let graph = Graph::new();
    let prediction = model(&graph, days.len(), &scaling);
    let mut session = Session::new(&gpu);
    let predict = session.compile(&graph, &[prediction], &[])?;
    let weights_alone = RestoreOptions::new().allow_unexpected();
    println!(
        "{}",
        Checkpoint::open(&best.path)?.plan(&session, &weights_alone).restore(&mut session)?
    );
    let predicted = session.run(&predict, &[("weather", days.as_flattened().into())])?;
    println!("\noutside   wind       sun   people   predicted    needed");
    for (day, predicted) in days.iter().zip(predicted.tensor(prediction)?.to_f64()) {
        let [outside, wind, sun, people] = day;
        let needed = heat(*day);
        println!(
            "{outside:4} °C  {wind:2} m/s  {sun:3} W/m²  {people:7}  {predicted:6.2} kW  {needed:5.2} kW"
        );
    }
    // The best was chosen by these very examples, which flatters it a little: an honest score takes others.
    let off = best.value.sqrt();
    println!("\nvalidation: off by {off:.3} kW (root mean square); the meter is by {NOISE:.3}");
    Ok(())
}
