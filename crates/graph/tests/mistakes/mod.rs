//! What the tests of mistakes share.

use std::panic::Location;
use warmstart_graph::{Graph, GraphError};

/// The errors of a graph, which must be so many.
pub fn errors<const N: usize>(graph: &Graph) -> [GraphError; N] {
    let errors = graph.finish().expect_err("mistakes were made").0;
    errors.try_into().unwrap_or_else(|all| panic!("not {N} errors: {all:#?}"))
}

/// Checks that an error points at a line of the caller's file.
#[track_caller]
pub fn at(error: &GraphError, line: u32, operation: &str, scope: &str) {
    assert_eq!(error.location.file, Location::caller().file(), "{error}");
    assert_eq!(error.location.line, line, "{error}");
    assert_eq!(error.operation, operation, "{error}");
    assert_eq!(error.scope, scope, "{error}");
}
