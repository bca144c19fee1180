//! "How do I find the latest checkpoint, and what if it is damaged?"
//!
//! Open the directory. The newest checkpoint that is whole is taken; those that are newer and
//! damaged are named. There is no file that points to the newest, so none can point to a wrong one.

use std::error::Error;
use std::fs::OpenOptions;
use warmstart::prelude::*;

/// A session with one layer.
fn layer(gpu: &Gpu) -> Result<Session, Box<dyn Error>> {
    let graph = Graph::new();
    let x = graph.placeholder("x", [1, 4], DType::F32);
    let y = graph.scope("fc1").linear(x, 2);
    let mut session = Session::new(gpu);
    session.compile(&graph, &[y], &[])?;
    Ok(session)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    let mut training = layer(&gpu)?;
    training.initialize_missing(7)?;
    let saver = Saver::new(directory.path());
    for step in [100, 200, 300] {
        saver.save(&training, step, &SaveOptions::new())?;
    }

    // What goes wrong: the newest one lost its end, in a copy or on a full disk.
    let newest = directory.path().join("step-300.safetensors");
    let file = OpenOptions::new().write(true).open(&newest)?;
    file.set_len(file.metadata()?.len() - 16)?;
    match Checkpoint::open(&newest) {
        Ok(_) => return Err("a damaged checkpoint was opened".into()),
        Err(error) => println!("error: {error}\n"),
    }

    // The line that mends it: open the directory instead.
    let checkpoint = Checkpoint::open(directory.path())?;
    let mut session = layer(&gpu)?;
    let report = checkpoint.plan(&session, &RestoreOptions::new()).restore(&mut session)?;
    println!("{report}\n\n{}", session.variables());
    Ok(())
}
