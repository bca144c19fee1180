//! "Why are my weights random after a restore?"
//!
//! They cannot be: a restore that would restore nothing is refused, and what has no value stays
//! without one. Here a model is given the weights of another program, which names them
//! otherwise.

use std::error::Error;
use warmstart::prelude::*;

/// Two layers in scopes of their own.
fn model<'g>(graph: &'g Graph, first: &str, second: &str) -> Tensor<'g> {
    let x = graph.placeholder("x", [1, 4], DType::F32);
    let hidden = graph.scope(first).linear(x, 8).relu();
    graph.scope(second).linear(hidden, 2)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    let graph = Graph::new();
    model(&graph, "net/layers/0", "net/layers/1");
    let mut saved = Session::new(&gpu);
    saved.declare(&graph.finish()?.variables)?;
    saved.initialize_missing(7)?;
    let file = Saver::new(directory.path()).save(&saved, 500, &SaveOptions::new())?;

    // What goes wrong: all is allowed, as with PyTorch's `strict=False`.
    let graph = Graph::new();
    let logits = model(&graph, "fc1", "fc2");
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[logits], &[])?;
    let checkpoint = Checkpoint::open(&file)?;
    let lenient = RestoreOptions::new().allow_missing().allow_unexpected();
    match checkpoint.plan(&session, &lenient).restore(&mut session) {
        Ok(_) => return Err("a restore of nothing passed for one".into()),
        Err(error) => println!("{error}\n"),
    }
    match session.run(&plan, &[("x", Feed::from(&[1.0f32; 4]))]) {
        Ok(_) => return Err("a run read variables without a value".into()),
        Err(error) => println!("error: {error}\n"),
    }

    // The lines that mend it.
    let options = RestoreOptions::new()
        .rename_scope("net/layers/0", "fc1")
        .rename_scope("net/layers/1", "fc2");
    let report = checkpoint.plan(&session, &options).restore(&mut session)?;
    println!("{report}\n\n{}", session.variables());
    session.run(&plan, &[("x", Feed::from(&[1.0f32; 4]))])?.wait()?;
    Ok(())
}
