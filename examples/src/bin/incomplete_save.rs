//! "My job was killed while it saved. Is the checkpoint gone?"
//!
//! No. A save is written beside its place and takes its name only when it is whole, so what was
//! there before stays whole too. Here the program starts itself a second time and kills that one
//! while it saves.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use warmstart::prelude::*;

/// A session with a variable that takes a while to write.
fn model(gpu: &Gpu) -> Result<Session, Box<dyn Error>> {
    let graph = Graph::new();
    let words = graph.placeholder("words", [1], DType::I32);
    let vectors = graph.scope("embedding").embedding(words, 1 << 18, 64);
    let mut session = Session::new(gpu);
    session.compile(&graph, &[vectors], &[])?;
    Ok(session)
}

/// Whether a save is under way there, or was when its process ended.
fn unfinished(directory: &Path) -> Result<bool, Box<dyn Error>> {
    let mut entries = std::fs::read_dir(directory)?;
    Ok(entries.any(|entry| entry.is_ok_and(|e| e.path().extension() == Some("partial".as_ref()))))
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(directory) = std::env::args().nth(1) {
        let mut session = model(&Gpu::new()?)?;
        session.initialize_missing(8)?;
        return Ok(Saver::new(directory).save(&session, 200, &SaveOptions::new()).map(drop)?);
    }
    let directory = tempfile::tempdir()?;
    let mut session = model(&Gpu::new()?)?;
    session.initialize_missing(7)?;
    let saver = Saver::new(directory.path());
    saver.save(&session, 100, &SaveOptions::new())?;

    // What goes wrong: step 200 is killed in the middle of its save. (Should the kill come too late
    // and the file be whole, then once more.)
    for _attempt in 0..10 {
        let mut child = Command::new(std::env::current_exe()?).arg(directory.path()).spawn()?;
        while !unfinished(directory.path())? && child.try_wait()?.is_none() {}
        child.kill()?;
        child.wait()?;
        if unfinished(directory.path())? {
            break;
        }
        std::fs::remove_file(directory.path().join("step-200.safetensors"))?;
    }
    println!("killed, with an unfinished file left: {}\n", unfinished(directory.path())?);

    // Nothing to mend: the directory opens its newest whole checkpoint.
    let checkpoint = Checkpoint::open(directory.path())?;
    let report = checkpoint.plan(&session, &RestoreOptions::new()).restore(&mut session)?;
    println!("{report}\n\n{}\n", session.variables());

    // The next save clears away what was left.
    saver.save(&session, 200, &SaveOptions::new())?;
    println!("saved step 200, with an unfinished file left: {}", unfinished(directory.path())?);
    Ok(())
}
