//! "How do I load only one layer of a checkpoint?"
//!
//! `.only` names what is restored; all else is left as it is, and need not fit. To load it into a
//! layer of another name, or into several, there is TensorFlow's assignment map.

use std::error::Error;
use warmstart::prelude::*;

/// A session with three layers in a row, each with a scope and a number of units.
fn layers(gpu: &Gpu, layers: [(&str, usize); 3]) -> Result<Session, Box<dyn Error>> {
    let graph = Graph::new();
    let x = graph.placeholder("x", [1, 4], DType::F32);
    let y = layers.iter().fold(x, |x, (name, units)| graph.scope(name).linear(x, *units).relu());
    let mut session = Session::new(gpu);
    session.compile(&graph, &[y], &[])?;
    Ok(session)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let gpu = Gpu::new()?;
    let mut saved = layers(&gpu, [("encoder", 4), ("middle", 16), ("decoder", 4)])?;
    saved.initialize_missing(1)?;
    let file = Saver::new(directory.path()).save(&saved, 500, &SaveOptions::new())?;
    let checkpoint = Checkpoint::open(&file)?;

    // What goes wrong: only the encoder is wanted, and the other layers are not to be restored.
    let mut session = layers(&gpu, [("encoder", 4), ("attention", 8), ("head", 3)])?;
    println!("{}\n", checkpoint.plan(&session, &RestoreOptions::new()));

    // The line that mends it.
    let options = RestoreOptions::new().only("encoder/**");
    let report = checkpoint.plan(&session, &options).restore(&mut session)?;
    println!("{report}\n\n{}\n", session.variables());

    // Into layers of other names, two of which begin alike.
    let mut session = layers(&gpu, [("teacher", 4), ("student", 4), ("head", 3)])?;
    let pairs = [("encoder/", "teacher/"), ("encoder/", "student/")];
    let options = RestoreOptions::new().assignment_map(pairs);
    let report = checkpoint.plan(&session, &options).restore(&mut session)?;
    println!("{report}\n\n{}", session.variables());
    Ok(())
}
