//! "I renamed a variable. How do I restore a checkpoint that has its old name?"

use std::error::Error;
use warmstart::prelude::*;

/// A session with an embedding and a layer; the embedding's variable has the name given.
fn model(gpu: &Gpu, embedding: &str) -> Result<Session, Box<dyn Error>> {
    let graph = Graph::new();
    let words = graph.placeholder("words", [2], DType::I32);
    let initializer = Initializer::Normal { mean: 0.0, stddev: 0.02 };
    let vectors = graph.variable(embedding, [100, 8], initializer).gather_rows(words);
    let logits = graph.scope("head").linear(vectors, 3);
    let mut session = Session::new(gpu);
    session.compile(&graph, &[logits], &[])?;
    Ok(session)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    let mut saved = model(&gpu, "embedding/table")?;
    saved.initialize_missing(7)?;
    let file = Saver::new(directory.path()).save(&saved, 500, &SaveOptions::new())?;

    // What goes wrong: one name has changed since.
    let mut session = model(&gpu, "embedding/vectors")?;
    let checkpoint = Checkpoint::open(&file)?;
    println!("{}\n", checkpoint.plan(&session, &RestoreOptions::new()));

    // The line that mends it.
    let options = RestoreOptions::new().rename("embedding/table", "embedding/vectors");
    let report = checkpoint.plan(&session, &options).restore(&mut session)?;
    println!("{report}\n\n{}", session.variables());
    Ok(())
}
