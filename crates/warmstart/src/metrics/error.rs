//! What can go wrong with metrics.

use std::io;
use std::path::{Path, PathBuf};
use warmstart_graph::words::{printable, printable_path};

warmstart_graph::debug_as_display!(MetricsError);

/// Why metrics could not be written, read or drawn.
#[derive(thiserror::Error)]
pub enum MetricsError {
    /// The operating system refused.
    #[error(
        "could not {action} `{}`: {source}; make sure that the place exists, can be written and has room",
        printable_path(file)
    )]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or directory.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name that a column cannot have.
    #[error(
        "`{name}` cannot be a column's name; give each column its own name, not empty, not `step`, \
         without comma, quote or line break"
    )]
    ColumnName {
        /// The name.
        name: String,
    },
    /// A value for a column that was not declared.
    #[error("there is no column `{name}` among {}; name it when the metrics are opened, as by `Training::metrics`", columns.join(", "))]
    UnknownColumn {
        /// The name.
        name: String,
        /// The columns there are.
        columns: Vec<String>,
    },
    /// A step that is not after the last one written.
    #[error(
        "step {step} was written after step {last}; write all values of a step in one call, and steps in order"
    )]
    StepDidNotGrow {
        /// The step.
        step: u64,
        /// The last step before it.
        last: u64,
    },
    /// A CSV file that is not one of ours, or is damaged.
    #[error("`{}`, line {line}: {what}; correct the line, or move the file away", printable_path(file), what = printable(what))]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// A curve without a single point that can be drawn.
    #[error(
        "the curve `{title}` has no point to draw; give at least one finite value (above 0 on a logarithmic axis)"
    )]
    NothingToDraw {
        /// The curve's title.
        title: String,
    },
    /// The drawing library refused.
    #[error("the curve `{title}` could not be drawn: {message}; give other values or another size")]
    Draw {
        /// The curve's title.
        title: String,
        /// What the library said.
        message: String,
    },
}

impl MetricsError {
    /// For `map_err`: names the action and the file.
    pub(crate) fn io<'a>(
        action: &'static str,
        file: &'a Path,
    ) -> impl FnOnce(io::Error) -> MetricsError + use<'a> {
        move |source| MetricsError::Io { action, file: file.to_owned(), source }
    }
}
