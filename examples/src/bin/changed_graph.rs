//! "I changed the graph after saving: a layer added, one removed, one resized. What now?"
//!
//! Each kind of change is allowed by a line of its own, so that a change nobody meant still shows.

use std::error::Error;
use warmstart::prelude::*;

/// The model as it was saved: 10 words, an auxiliary layer, 2 classes.
fn before<'g>(graph: &'g Graph, words: Tensor<'g>) -> Vec<Tensor<'g>> {
    let vectors = graph.scope("embedding").embedding(words, 10, 8);
    let hidden = graph.scope("fc1").linear(vectors, 8).relu();
    vec![graph.scope("auxiliary").linear(hidden, 4), graph.scope("head").linear(hidden, 2)]
}

/// The model as it is now: 12 words, a second layer, 3 classes.
fn now<'g>(graph: &'g Graph, words: Tensor<'g>) -> Vec<Tensor<'g>> {
    let vectors = graph.scope("embedding").embedding(words, 12, 8);
    let hidden = graph.scope("fc1").linear(vectors, 8).relu();
    let hidden = graph.scope("fc2").linear(hidden, 8).relu();
    vec![graph.scope("head").linear(hidden, 3)]
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    let graph = Graph::new();
    let outputs = before(&graph, graph.placeholder("words", [4], DType::I32));
    let mut saved = Session::new(&gpu);
    saved.compile(&graph, &outputs, &[])?;
    saved.initialize_missing(7)?;
    let file = Saver::new(directory.path()).save(&saved, 500, &SaveOptions::new())?;

    // What goes wrong: three things at once, each listed by itself.
    let graph = Graph::new();
    let outputs = now(&graph, graph.placeholder("words", [4], DType::I32));
    let mut session = Session::new(&gpu);
    session.compile(&graph, &outputs, &[])?;
    let checkpoint = Checkpoint::open(&file)?;
    println!("{}\n", checkpoint.plan(&session, &RestoreOptions::new()));

    // The lines that mend it.
    let options = RestoreOptions::new()
        .allow_missing() // fc2 is new
        .allow_unexpected() // auxiliary is gone
        .resize_rows("embedding/weight", 7) // there are more words; the old ones keep their rows
        .allow_mismatched_shape(); // the head begins anew
    let report = checkpoint.plan(&session, &options).restore(&mut session)?;
    println!("{report}\n\ninitialized: {:?}", session.initialize_missing(7)?);
    println!("\n{}", session.variables());
    Ok(())
}
