//! "My layers are counted from 1, and those in the file from 0. What now?"
//!
//! Rename each. No name says that the first layer is the first, so a restore suggests it only where
//! as many layers with the same shapes follow each other on both sides, and says that order decides.

use std::error::Error;
use warmstart::prelude::*;

/// A session with three equal layers, counted from so much on.
fn layers(gpu: &Gpu, first: usize) -> Result<Session, Box<dyn Error>> {
    let graph = Graph::new();
    let x = graph.placeholder("x", [1, 4], DType::F32);
    let layer = |x, number| graph.scope(&format!("layer_{number}")).linear(x, 4).relu();
    let y = (first..first + 3).fold(x, layer);
    let mut session = Session::new(gpu);
    session.compile(&graph, &[y], &[])?;
    Ok(session)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    let mut saved = layers(&gpu, 0)?;
    saved.initialize_missing(7)?;
    let file = Saver::new(directory.path()).save(&saved, 500, &SaveOptions::new())?;

    // What goes wrong: two names are on both sides, and mean another layer on each. With everything
    // allowed, `layer_1` would get the weights of the second layer, and the last one none.
    let mut session = layers(&gpu, 1)?;
    let checkpoint = Checkpoint::open(&file)?;
    println!("{}\n", checkpoint.plan(&session, &RestoreOptions::new()));

    // The lines that mend it, the last layer first: no name is given to a second layer.
    let options = RestoreOptions::new()
        .rename_scope("layer_2", "layer_3")
        .rename_scope("layer_1", "layer_2")
        .rename_scope("layer_0", "layer_1");
    let report = checkpoint.plan(&session, &options).restore(&mut session)?;
    println!("{report}\n\n{}\n", session.variables());
    let same = session.read("layer_1/weight")? == saved.read("layer_0/weight")?;
    println!("the first layer has the weights of the first layer: {same}");
    Ok(())
}
