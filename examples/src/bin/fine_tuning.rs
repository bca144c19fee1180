//! Fine-tuning: a network that tells even digits from odd ones learns from a few images which digit it
//! is.
//!
//! Shows how one part of a checkpoint is restored and the rest begins anew, what the report and the
//! origins say of that, how a part is frozen and trained later at a smaller rate, and what it was good
//! for: the same images without the pre-training. (With 150 images it is worth next to nothing.)
//!
//! `cargo run --release -p warmstart-examples --bin fine_tuning`. It leaves nothing behind.

use flate2::read::GzDecoder;
use std::error::Error;
use std::io::BufReader;
use warmstart::prelude::*;

type Fallible<T> = Result<T, Box<dyn Error>>;

const SEED: u64 = 7;
const BATCH: usize = 32;

/// Images `[rows, 64]` to logits `[rows, classes]`: a body that sees strokes, and a head that knows
/// classes. A frozen body is not trained.
fn model<'g>(graph: &'g Graph, rows: usize, classes: usize, frozen: bool) -> Tensor<'g> {
    let body = graph.scope("body");
    let body = if frozen { body.frozen() } else { body };
    let images = graph.placeholder("images", [rows, 64], DType::F32);
    let hidden = body.scope("fc1").linear(images, 128).relu();
    let hidden = body.scope("fc2").linear(hidden, 64).relu();
    graph.scope("head").linear(hidden, classes)
}

/// A plan that trains the model: its head alone, if the body is frozen.
fn compile(session: &mut Session, classes: usize, frozen: bool, rate: f32) -> Fallible<Plan> {
    let graph = Graph::new();
    let labels = graph.placeholder("labels", [BATCH], DType::I32);
    let loss = model(&graph, BATCH, classes, frozen).softmax_cross_entropy(labels);
    Ok(session.compile(&graph, &[], &[Optimizer::adam(rate).minimize(loss).update])?)
}

/// Runs a plan for so many steps.
fn train(session: &mut Session, plan: &Plan, examples: &Dataset, steps: u64) -> Fallible<()> {
    let on_device = examples.upload(session.gpu(), "images", "labels")?;
    let rows = Batches::new(examples.len(), BATCH, SEED)?.indices_of(0..steps);
    session.run_steps(plan, &Steps::rows(&on_device, &rows))?.wait()?;
    Ok(())
}

/// How many of a hundred digits are recognised.
fn percent(session: &mut Session, test: &Dataset) -> Fallible<f32> {
    let graph = Graph::new();
    let labels = graph.placeholder("labels", [test.len()], DType::I32);
    let accuracy = model(&graph, test.len(), 10, false).accuracy(labels);
    let plan = session.compile(&graph, &[accuracy], &[])?;
    let feeds = [("images", test.inputs().into()), ("labels", test.labels().into())];
    Ok(100.0 * session.run(&plan, &feeds)?.scalar(accuracy)?)
}

fn main() -> Fallible<()> {
    let csv = GzDecoder::new(&include_bytes!("../../data/digits.csv.gz")[..]);
    let digits = Dataset::read_csv(BufReader::new(csv))?.scaled(1.0 / 16.0);
    let (all, test) = digits.split(0.2, SEED)?;
    // Of many images it is known whether they are even, and of few which digit they are.
    let parity = all.clone().map_labels(|digit| digit % 2);
    let (_, few) = all.split(0.04, SEED)?;
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;

    // Pre-training.
    let mut session = Session::new(&gpu);
    let plan = compile(&mut session, 2, false, 2e-3)?;
    session.initialize_missing(SEED)?;
    train(&mut session, &plan, &parity, 500)?;
    let file = directory.path().join("even_or_odd.safetensors");
    save(&session, &file, &SaveOptions::new().step(500))?;

    // Another program, with a head of ten classes. The body is restored and frozen; the head, and the
    // slots of an optimizer that is to begin anew, are left out.
    let mut session = Session::new(&gpu);
    let plan = compile(&mut session, 10, true, 2e-3)?;
    let checkpoint = Checkpoint::open(&file)?;
    println!("{}\n", checkpoint.plan(&session, &RestoreOptions::new()));
    let options = RestoreOptions::new().only("body/*/{weight,bias}");
    println!("{}\n", checkpoint.plan(&session, &options).restore(&mut session)?);
    println!("initialized: {:?}\n", session.initialize_missing(SEED)?);
    println!("{}\n", session.variables());
    train(&mut session, &plan, &few, 200)?;
    let head_alone = percent(&mut session, &test)?;

    // All of it, at a smaller rate. The head goes on with its slots; the body gets its own, which Adam takes
    // for as old as the head's: its next steps are several times as long as the rate says.
    let plan = compile(&mut session, 10, false, 5e-4)?;
    session.initialize_missing(SEED)?;
    train(&mut session, &plan, &few, 200)?;
    let fine_tuned = percent(&mut session, &test)?;
    println!("{}\n", session.variables());

    // What it was good for: the same images and as many steps, from nothing.
    let mut session = Session::new(&gpu);
    let plan = compile(&mut session, 10, false, 2e-3)?;
    session.initialize_missing(SEED)?;
    train(&mut session, &plan, &few, 400)?;
    let from_nothing = percent(&mut session, &test)?;

    println!("recognised of {} digits, after training on {}:", test.len(), few.len());
    println!("  {head_alone:.1} %  with the body of even and odd, frozen, and a new head");
    println!("  {fine_tuned:.1} %  after training all of that, at a smaller rate");
    println!("  {from_nothing:.1} %  from nothing");
    Ok(())
}
