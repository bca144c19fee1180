//! A batch that does not fit is refused, with the largest that does.

use super::network::{Network, Shape};
use super::settings::Settings;
use super::source::Source;
use crate::error::Failure;
use warmstart::gpu::{CompileError, Plan, PlanMemory, Session};
use warmstart::graph::{Graph, Optimizer};
use warmstart::largest_batch;

/// What training would take, if that is no more than the file allows.
fn planned(
    session: &Session,
    settings: &Settings,
    graph: &Graph,
    network: &Network<'_>,
) -> Result<PlanMemory, CompileError> {
    let memory = session.plan_memory(graph, &[network.loss], &[network.update])?;
    match settings.training.memory_limit {
        Some(limit) => memory.within(limit.saturating_mul(1 << 20)),
        None => Ok(memory),
    }
}

/// Compiles a network for training, unless that would take more than the file allows.
pub fn compile(
    session: &mut Session,
    settings: &Settings,
    graph: &Graph,
    network: &Network<'_>,
) -> Result<Plan, CompileError> {
    if settings.training.memory_limit.is_some() {
        planned(session, settings, graph, network)?;
    }
    session.compile(graph, &[network.loss], &[network.update])
}

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
        planned(session, settings, &graph, &network)
    });
    let batch = shape.batch;
    let message = format!("batches of {batch} rows do not fit: {error}");
    let failure = source.failure(&["training", "batch"], message, "too large");
    let what = match &error {
        CompileError::OverLimit { .. } => "`memory_limit`",
        _ => "this device",
    };
    match largest {
        Ok(largest) if largest.batch < batch => {
            failure.help(format!("give at most {}, the largest that fits {what}", largest.batch))
        }
        // Memory has run out, of which only its user knows how much there is.
        Ok(_) => failure.help("try a smaller batch, or end what else uses this device"),
        Err(_) => failure.help("not even a batch of one row fits: give smaller layers"),
    }
}
