//! "How do I get rid of `Attempting to use uninitialized value`?" Nothing runs and nothing is saved
//! without a value; the error says which variable, what reads it, and what to call.

use std::error::Error;
use warmstart::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 3], DType::F32);
    let y = graph.scope("encoder").linear(x, 4).relu();
    let mut session = Session::new(&Gpu::new()?);
    let plan = session.compile(&graph, &[y], &[])?;
    let feeds = [("x", Feed::from(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]))];

    match session.run(&plan, &feeds) {
        Ok(_) => return Err("a run read variables without a value".into()),
        Err(error) => println!("error: {error}\n"),
    }
    match Saver::new("runs/uninitialized").save(&session, 0, &SaveOptions::new()) {
        Ok(_) => return Err("variables without a value were saved".into()),
        Err(error) => println!("error: {error}\n"),
    }

    let bias = TensorData::new([4], [0.0f32, 0.5, 1.0, 1.5]).ok_or("four elements")?;
    // The bias gets a value of ours; only what is missing is initialized.
    session.assign("encoder/bias", &bias)?;
    session.initialize_missing(7)?;
    println!("{}", session.variables());
    session.run(&plan, &feeds)?.wait()?;

    // That would lose the assigned value.
    match session.initialize_all(7, Overwrite::Refuse) {
        Ok(_) => Err("an assigned value was overwritten".into()),
        Err(error) => {
            println!("\nerror: {error}");
            Ok(())
        }
    }
}
