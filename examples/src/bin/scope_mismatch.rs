//! "Why are the imported variables None, though the checkpoint loaded?"
//!
//! Because they are under another scope than those that were saved, and a variable is its name. A
//! restore says so, pairs the two scopes, and changes nothing until it is told which is meant.

use std::error::Error;
use warmstart::prelude::*;

/// A session with one layer, under the scope given.
fn layer(gpu: &Gpu, scope: &str) -> Result<Session, Box<dyn Error>> {
    let graph = Graph::new();
    let x = graph.placeholder("x", [1, 10], DType::F32);
    let y = graph.scope(scope).linear(x, 10);
    let mut session = Session::new(gpu);
    session.compile(&graph, &[y], &[])?;
    Ok(session)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    let mut saved = layer(&gpu, "model_scope")?;
    saved.initialize_missing(7)?;
    let file = Saver::new(directory.path()).save(&saved, 500, &SaveOptions::new())?;

    // What goes wrong: the same layer, under another scope.
    let mut session = layer(&gpu, "different_model_scope")?;
    let checkpoint = Checkpoint::open(&file)?;
    println!("{}\n", checkpoint.plan(&session, &RestoreOptions::new()));

    // The line that mends it.
    let options = RestoreOptions::new().rename_scope("model_scope", "different_model_scope");
    let report = checkpoint.plan(&session, &options).restore(&mut session)?;
    println!("{report}\n\n{}", session.variables());
    Ok(())
}
