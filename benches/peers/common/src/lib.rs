//! What the arms of the comparison share: the rows, their inputs, how time is taken, and the line
//! that an arm answers.
//!
//! An arm is a program for one peer: `arm ROW SAMPLES SECONDS` does the work of one row and prints
//! one line of JSON, an [`Answer`]. The runner starts arms in turn, so that each process is fresh.

mod answer;
mod arm;
mod numbers;
mod peer;
mod row;
mod work;

pub use answer::{Answer, peak_bytes};
pub use arm::main;
pub use numbers::numbers;
pub use peer::{LinearLayer, Outcome, Peer, TrainedMlp};
pub use row::{ALL, MEDIUM, Model, Row, SMALL, Timed};
pub use work::{Batch, Layer, Linear, batch, layers, linear};
