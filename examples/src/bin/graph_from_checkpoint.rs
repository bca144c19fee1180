//! "Can I rebuild the model from its checkpoint, without the code that defined it?"
//!
//! Yes: `Training` saves the graph with the weights, and `Checkpoint::graph` gives it back.

use std::error::Error;
use std::path::Path;
use warmstart::prelude::*;

/// Trains a model that learns exclusive or. Its graph is in no other function.
fn train(gpu: &Gpu, directory: &Path) -> Result<(), Box<dyn Error>> {
    let graph = Graph::new();
    let x = graph.placeholder("x", [4, 2], DType::F32);
    let labels = graph.placeholder("labels", [4], DType::I32);
    let hidden = graph.scope("fc1").linear(x, 16).tanh();
    let logits = graph.scope("fc2").linear(hidden, 2);
    logits.argmax().named("answer");
    let loss = logits.softmax_cross_entropy(labels);
    let optimizer = Optimizer::adam(0.05);
    let step = optimizer.minimize(loss);
    let mut session = Session::new(gpu);
    let plan = session.compile(&graph, &[loss], &[step.update])?;
    let training = Training::new(directory).steps(100).seed(7).quiet();
    let mut run = training.begin(&mut session, &graph, &optimizer)?;
    while run.next_step().is_some() {
        let feeds = [("x", Feed::from(&INPUTS)), ("labels", Feed::from(&[0, 1, 1, 0]))];
        let outputs = session.run(&plan, &feeds)?;
        run.record(&session, &outputs, loss)?;
    }
    run.finish(&session)?;
    Ok(())
}

const INPUTS: [f32; 8] = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    train(&gpu, directory.path())?;

    // From here on there is only the file.
    let checkpoint = Checkpoint::open(directory.path())?;
    let graph = checkpoint.graph()?;
    let answer = graph.named("answer").ok_or("no tensor `answer`")?;
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[answer], &[])?;

    // What goes wrong: the graph is no weights, and the checkpoint has more than inference needs.
    println!("{}\n", checkpoint.plan(&session, &RestoreOptions::new()));

    // The line that mends it.
    let options = RestoreOptions::new().allow_unexpected();
    let report = checkpoint.plan(&session, &options).restore(&mut session)?;
    println!("{report}\n\n{}\n", session.variables());
    let outputs = session.run(&plan, &[("x", Feed::from(&INPUTS))])?;
    println!("exclusive or: {:?}", outputs.tensor(answer)?.to_f64());
    Ok(())
}
