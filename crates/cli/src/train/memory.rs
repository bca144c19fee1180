//! A batch that does not fit is refused, with the largest that does.

use super::network::{Network, Shape};
use super::settings::Settings;
use super::source::Source;
use crate::error::Failure;
use warmstart::gpu::{CompileError, Session};
use warmstart::graph::{Graph, Optimizer};
use warmstart::largest_batch;

/// The failure of compiling a network for training.
pub fn refused(
    error: CompileError,
    source: &Source,
    settings: &Settings,
    optimizer: &Optimizer,
    shape: &Shape,
    session: &Session,
) -> Failure {
    if !error.is_too_large() {
        return error.into();
    }
    let largest = largest_batch(1..=shape.batch, |batch| {
        let graph = Graph::new();
        let shape = Shape { batch, ..shape.clone() };
        let line = |table: &str| source.line(table);
        let network = Network::build(&graph, settings, optimizer, &shape, &line);
        session.plan_memory(&graph, &[network.loss], &[network.update])
    });
    let batch = shape.batch;
    let message = format!("batches of {batch} rows do not fit: {error}");
    let failure = source.failure(&["training", "batch"], message, "too large");
    match largest {
        Ok(largest) if largest.batch < batch => failure
            .help(format!("give at most {}, the largest that fits this device", largest.batch)),
        // Memory has run out, of which only its user knows how much there is.
        Ok(_) => failure.help("try a smaller batch, or end what else uses this device"),
        Err(_) => failure.help("not even a batch of one row fits: give smaller layers"),
    }
}
