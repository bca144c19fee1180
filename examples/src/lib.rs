//! Small programs: one per question a user asks. Each is a file in `src/bin`; `make demo` runs
//! `digits`.
//!
//! The README uses the weights of `digits` in a second program, which is checked here:
//!
//! ```no_run
//! use warmstart::prelude::*;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let graph = Graph::new();
//!     let images = graph.placeholder("images", [1, 64], DType::F32);
//!     let hidden = graph.scope("fc1").linear(images, 128).relu();
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
//!     let outputs = session.run(&plan, &[("images", (&[0.5f32; 64]).into())])?;
//!     println!("{:?}", outputs.tensor(logits)?.as_f32());
//!     Ok(())
//! }
//! ```
