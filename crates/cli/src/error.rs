//! Errors as they are shown: what failed, the chain of causes, and what to do.

use miette::Diagnostic;
use std::error::Error;
use std::{fmt, io};

/// Why a question could not be answered.
#[derive(Debug)]
pub struct Failure {
    message: String,
    help: Option<String>,
    cause: Option<Box<Failure>>,
    broken_pipe: bool,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), help: None, cause: None, broken_pipe: false }
    }

    /// An error with its causes. Many of our messages quote their cause already: those are left
    /// out, as nobody wants to read the same sentence twice.
    pub fn of(error: &(dyn Error + 'static)) -> Failure {
        let message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source.filter(|source| message.contains(&source.to_string())) {
            source = error.source();
        }
        let cause = source.map(|source| Box::new(Failure::of(source)));
        Failure { cause, ..Failure::new(message) }
    }

    /// What to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }

    /// Whether only the reader of the output has gone.
    pub fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}

impl From<warmstart_checkpoint::CheckpointError> for Failure {
    fn from(error: warmstart_checkpoint::CheckpointError) -> Failure {
        Failure::of(&error)
    }
}

/// Only writing the output fails so; files have errors of their own.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        let failure = Failure::new(format!("cannot write the output: {error}"))
            .help("check the disk, if the output goes to a file");
        Failure { broken_pipe, ..failure }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        match error.io_error_kind() {
            Some(kind) => Failure::from(io::Error::from(kind)),
            None => Failure::new(format!("cannot write the output as JSON: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Layer {
        #[error("outer: {0}")]
        Quoting(#[source] Box<Layer>),
        #[error("middle")]
        Silent(#[source] Box<Layer>),
        #[error("innermost")]
        Innermost,
    }

    #[test]
    fn causes_that_the_message_quotes_are_not_repeated() {
        let error = Layer::Quoting(Box::new(Layer::Silent(Box::new(Layer::Innermost))));
        let failure = Failure::of(&error);
        assert_eq!(failure.to_string(), "outer: middle");
        assert_eq!(failure.source().unwrap().to_string(), "innermost");
    }
}
