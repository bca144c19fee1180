//! "What becomes of the optimizer's slots when the checkpoint has none, or those of another one?"
//!
//! They are told as a group, and training does not go on with zeros in silence: either the slots
//! are restored, or you say that they begin anew.

use std::error::Error;
use warmstart::prelude::*;

/// A session with the training of two layers, by the optimizer given if there is one.
fn model(gpu: &Gpu, optimizer: Option<Optimizer>) -> Result<Session, Box<dyn Error>> {
    let graph = Graph::new();
    let x = graph.placeholder("x", [1, 4], DType::F32);
    let labels = graph.placeholder("labels", [1], DType::I32);
    let hidden = graph.scope("fc1").linear(x, 8).relu();
    let loss = graph.scope("fc2").linear(hidden, 2).softmax_cross_entropy(labels);
    let update = optimizer.map(|optimizer| optimizer.minimize(loss).update);
    let mut session = Session::new(gpu);
    session.compile(&graph, &[loss], update.as_slice())?;
    Ok(session)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    let save = |mut session: Session, name: &str| -> Result<Checkpoint, Box<dyn Error>> {
        session.initialize_missing(7)?;
        let file = directory.path().join(name).with_extension("safetensors");
        warmstart::checkpoint::save(&session, &file, &SaveOptions::new().step(500))?;
        Ok(Checkpoint::open(&file)?)
    };
    let weights_only = save(model(&gpu, None)?, "weights_only")?;
    let momentum = save(model(&gpu, Some(Optimizer::sgd(0.1).momentum(0.9)))?, "momentum")?;

    // What goes wrong: Adam needs its moments, and neither checkpoint has them.
    let mut session = model(&gpu, Some(Optimizer::adam(1e-3)))?;
    println!("{}\n", weights_only.plan(&session, &RestoreOptions::new()));
    println!("{}\n", momentum.plan(&session, &RestoreOptions::new()));

    // The lines that mend it, where beginning with fresh moments is meant.
    let options = RestoreOptions::new().allow_missing().allow_unexpected();
    momentum.plan(&session, &options).restore(&mut session)?;
    session.initialize_missing(7)?;
    println!("{}", session.variables());
    Ok(())
}
