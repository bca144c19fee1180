//! "Why were my constants not restored?"
//!
//! They are. A variable that begins with a constant is saved and restored like any other, and the
//! checkpoint also holds the recipe that it began with.

use std::error::Error;
use warmstart::prelude::*;

/// A session that scales and shifts its input; the two variables begin as given.
fn model(gpu: &Gpu, scale: Initializer, shift: Initializer) -> Result<Session, Box<dyn Error>> {
    let graph = Graph::new();
    let x = graph.placeholder("x", [3], DType::F32);
    let y = x * graph.variable("scale", [3], scale) + graph.variable("shift", [3], shift);
    let mut session = Session::new(gpu);
    session.compile(&graph, &[y], &[])?;
    Ok(session)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    let shift = Initializer::Values(vec![-1.0, 0.25, 2.0]);
    let mut saved = model(&gpu, Initializer::Constant(0.5), shift)?;
    saved.initialize_missing(7)?;
    let file = Saver::new(directory.path()).save(&saved, 500, &SaveOptions::new())?;

    // What goes wrong: without a restore there are no constants, and no zeros that pass for them.
    let mut session = model(&gpu, Initializer::Zeros, Initializer::Zeros)?;
    match session.read("scale") {
        Ok(_) => return Err("a variable without a value was read".into()),
        Err(error) => println!("error: {error}\n"),
    }

    // The line that mends it. That they are declared with zeros by now makes no difference.
    let checkpoint = Checkpoint::open(&file)?;
    let report = checkpoint.plan(&session, &RestoreOptions::new()).restore(&mut session)?;
    println!("{report}\n\n{}\n", session.variables());
    for name in ["scale", "shift"] {
        println!("{name} is {:?}", session.read(name)?.to_f64());
    }

    // The recipes are in the file, so that the constants can be made again without their values.
    let recipes = checkpoint.metadata().variables()?.ok_or("no recipes")?;
    for variable in &recipes {
        println!("{} was declared with {}", variable.name, variable.initializer);
    }
    let mut made = Session::new(&gpu);
    made.declare(&recipes)?;
    made.initialize_missing(7)?;
    println!("made again, shift is the same: {}", made.read("shift")? == saved.read("shift")?);
    Ok(())
}
