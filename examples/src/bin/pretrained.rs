//! "May I run the global initializer after loading part of a pre-trained model?"
//!
//! Not the global one: it would overwrite what was loaded, and is refused. `initialize_missing`
//! fills what has no value and touches nothing else.

use std::error::Error;
use warmstart::prelude::*;

/// An encoder, and a head with so many classes under a name of its own.
fn model<'g>(graph: &'g Graph, head: &str, classes: usize) -> Tensor<'g> {
    let x = graph.placeholder("x", [1, 4], DType::F32);
    let hidden = graph.scope("encoder").linear(x, 8).relu();
    graph.scope(head).linear(hidden, classes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    let graph = Graph::new();
    let mut pretrained = Session::new(&gpu);
    pretrained.compile(&graph, &[model(&graph, "pretraining_head", 100)], &[])?;
    pretrained.initialize_missing(1)?;
    let file = Saver::new(directory.path()).save(&pretrained, 90_000, &SaveOptions::new())?;

    // The encoder is loaded; the old head stays in the file, and the new one gets no value.
    let graph = Graph::new();
    let logits = model(&graph, "head", 3);
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[logits], &[])?;
    let options = RestoreOptions::new().only("encoder/**");
    println!("{}\n", Checkpoint::open(&file)?.plan(&session, &options).restore(&mut session)?);

    // What goes wrong: running now, and initializing all.
    let feeds = [("x", Feed::from(&[1.0f32; 4]))];
    match session.run(&plan, &feeds) {
        Ok(_) => return Err("a run read variables without a value".into()),
        Err(error) => println!("error: {error}\n"),
    }
    match session.initialize_all(7, Overwrite::Refuse) {
        Ok(_) => return Err("restored values were overwritten".into()),
        Err(error) => println!("error: {error}\n"),
    }

    // The line that mends it.
    println!("initialized: {:?}\n\n{}", session.initialize_missing(7)?, session.variables());
    session.run(&plan, &feeds)?.wait()?;
    Ok(())
}
