//! "I changed an initializer. Which wins, the initializer or the checkpoint?"
//!
//! The checkpoint, and the restore says so. An initializer only says what a variable begins with
//! when nothing is restored, and it never runs over a restored value unless told to.

use std::error::Error;
use warmstart::prelude::*;

/// A session with one layer, whose weights begin as the initializer says.
fn layer(gpu: &Gpu, weight: Initializer) -> Result<Session, Box<dyn Error>> {
    let graph = Graph::new();
    let x = graph.placeholder("x", [1, 3], DType::F32);
    let y = graph.scope("fc1").linear_with(x, 2, weight, Initializer::Zeros);
    let mut session = Session::new(gpu);
    session.compile(&graph, &[y], &[])?;
    Ok(session)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    let mut saved = layer(&gpu, Initializer::GlorotUniform)?;
    saved.initialize_missing(7)?;
    let file = Saver::new(directory.path()).save(&saved, 500, &SaveOptions::new())?;

    let mut session = layer(&gpu, Initializer::HeNormal)?;
    let plan = Checkpoint::open(&file)?.plan(&session, &RestoreOptions::new());
    println!("{}\n", plan.restore(&mut session)?);

    // What goes wrong: initializing everything after the restore, out of habit.
    match session.initialize_all(7, Overwrite::Refuse) {
        Ok(_) => return Err("restored values were overwritten".into()),
        Err(error) => println!("error: {error}\n"),
    }

    // The line that mends it: fill what has no value. Here that is nothing.
    println!("initialized: {:?}", session.initialize_missing(7)?);
    let same = session.read("fc1/weight")? == saved.read("fc1/weight")?;
    println!("fc1/weight has the bits that were saved: {same}\n\n{}", session.variables());
    Ok(())
}
