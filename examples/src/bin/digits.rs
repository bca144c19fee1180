//! Trains a classifier of handwritten digits: `digits [steps [directory]]`. Run it again: it goes on
//! from its newest checkpoint until so many steps are done.

use flate2::read::GzDecoder;
use std::error::Error;
use std::io::BufReader;
use warmstart::prelude::*;

const BATCH: usize = 64;

/// Images `[batch, 64]`, dots of 0 to 16, to logits `[batch, 10]`.
fn model<'g>(graph: &'g Graph, batch: usize) -> Tensor<'g> {
    let images = graph.placeholder("images", [batch, 64], DType::F32);
    // Scaled within the model, so that whoever uses it needs to know nothing but the checkpoint.
    let hidden = graph.scope("fc1").linear(images * (1.0 / 16.0), 128).relu();
    let hidden = graph.scope("fc2").linear(hidden, 64).relu();
    graph.scope("fc3").linear(hidden, 10).named("logits")
}

/// Steps and directory from the command line.
fn arguments() -> (u64, String) {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let (steps, directory) = match &given[..] {
        [] => ("1000", "runs/digits"),
        [steps] => (&steps[..], "runs/digits"),
        [steps, directory, ..] => (&steps[..], &directory[..]),
    };
    match steps.parse() {
        Ok(steps) if given.len() < 3 && !directory.starts_with('-') => {
            (steps, directory.to_owned())
        }
        _ => {
            eprintln!("usage: digits [steps, a whole number: 1000] [directory: runs/digits]");
            eprintln!("given: {}", given.join(" "));
            std::process::exit(2);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (steps, directory) = arguments();

    let csv = GzDecoder::new(&include_bytes!("../../data/digits.csv.gz")[..]);
    let digits = Dataset::read_csv(BufReader::new(csv))?;
    let (training, test) = digits.split(0.2, 7)?;

    // What to compute: a loss to train on, and the same variables on the whole test part.
    let graph = Graph::new();
    let labels = graph.placeholder("labels", [BATCH], DType::I32);
    let loss = model(&graph, BATCH).softmax_cross_entropy(labels);
    let optimizer = Optimizer::adam(2e-3);
    let step = optimizer.minimize(loss);
    let evaluation = Graph::new();
    let labels = evaluation.placeholder("labels", [test.len()], DType::I32);
    let accuracy = model(&evaluation, test.len()).accuracy(labels);

    // Where: variables live in the session, plans share them.
    let gpu = Gpu::new()?;
    println!("{}", gpu.summary());
    let mut session = Session::new(&gpu);
    let train = session.compile(&graph, &[loss], &[step.update])?;
    let evaluate = session.compile(&evaluation, &[accuracy], &[])?;
    let plan = Training::new(&directory).steps(steps).seed(7).save_every(250).stop_on_interrupt();
    let mut run = plan.begin(&mut session, &graph, &optimizer)?;
    println!("{}\n\n{}\n", run.begun(), session.variables());

    let mut batches = Batches::new(training.len(), BATCH, run.seed())?;
    let on_device = training.upload(&gpu, "images", "labels")?;
    while let Some(steps) = run.next_steps(32) {
        let rows = batches.indices_of(steps);
        let outputs = session.run_steps(&train, &Steps::rows(&on_device, &rows))?;
        run.record_steps(&session, &outputs, loss)?;
    }
    let newest = match run.finish(&session) {
        // Stopped by Ctrl-C: a shell is told so by the exit code.
        Err(stopped @ TrainingError::Interrupted { by, .. }) => {
            eprintln!("{stopped}");
            std::process::exit(by.exit_code().into());
        }
        finished => finished?,
    };

    let feeds = [("images", test.inputs().into()), ("labels", test.labels().into())];
    let share = session.run(&evaluate, &feeds)?.scalar(accuracy)?;
    println!("{:.1} % of {} test images are recognised", 100.0 * share, test.len());
    println!("newest checkpoint {}, losses {directory}/loss.svg", newest.display());
    Ok(())
}
