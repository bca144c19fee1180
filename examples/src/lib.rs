//! Small programs, each a file in `src/bin`: one per question a user asks of checkpoints, and some
//! that train (`digits`, which `make demo` runs, `regression`, `fine_tuning`, `transformer`).
//!
//! The README uses the weights of `digits` in a second program, which is checked here:
//!
//! ```no_run
//! use warmstart::prelude::*;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let graph = Graph::new();
//!     let images = graph.placeholder("images", [1, 64], DType::F32);
//!     let hidden = graph.scope("fc1").linear(images * (1.0 / 16.0), 128).relu();
//!     let hidden = graph.scope("fc2").linear(hidden, 64).relu();
//!     let logits = graph.scope("fc3").linear(hidden, 10);
//!
//!     let mut session = Session::new(&Gpu::new()?);
//!     let plan = session.compile(&graph, &[logits], &[])?;
//!     // A directory opens its newest whole checkpoint.
//!     let checkpoint = Checkpoint::open("runs/digits")?;
//!     let options = RestoreOptions::new().allow_unexpected();
//!     println!("{}", checkpoint.plan(&session, &options).restore(&mut session)?);
//!
//!     let outputs = session.run(&plan, &[("images", (&[8.0f32; 64]).into())])?;
//!     println!("{:?}", outputs.f32s(logits)?);
//!     Ok(())
//! }
//! ```

/// Steps and directory from the command line, and these where there are none. Ends the program if it
/// was given something else.
pub fn arguments(program: &str, steps: u64, directory: &str) -> (u64, String) {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let read = match &given[..] {
        [] => Some((steps, directory)),
        [given] => given.parse().ok().map(|steps| (steps, directory)),
        [given, directory] => given.parse().ok().map(|steps| (steps, &directory[..])),
        _ => None,
    };
    match read {
        Some((steps, directory)) if !directory.starts_with('-') => (steps, directory.to_owned()),
        _ => {
            eprintln!(
                "usage: {program} [steps, a whole number: {steps}] [directory: {directory}]\ngiven: {}",
                given.join(" ")
            );
            std::process::exit(2);
        }
    }
}
