//! Errors as they are shown: what failed, the chain of causes, and what to do.

use crate::wording::{Flags, Nothing};
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use std::error::Error;
use std::ops::Range;
use std::path::Path;
use std::{fmt, io};
use warmstart::TrainingError;
use warmstart::checkpoint::{CheckpointError, Wording};

/// Why a question could not be answered.
#[derive(Debug)]
pub struct Failure {
    message: String,
    help: Option<String>,
    cause: Option<Box<Failure>>,
    snippet: Option<Box<Snippet>>,
    broken_pipe: bool,
}

/// The place in a text that is to blame.
#[derive(Debug)]
struct Snippet {
    text: NamedSource<String>,
    place: LabeledSpan,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        let message = message.into();
        Failure { message, help: None, cause: None, snippet: None, broken_pipe: false }
    }

    /// A file that could not be opened, read or written.
    pub fn file(what: &str, file: &Path, error: &io::Error) -> Failure {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check its permissions, and those of its folder",
            _ => "check the disk and the path",
        };
        Failure::new(format!("cannot {what} `{}`: {error}", file.display())).help(help)
    }

    /// Shows a place in a text, marked with a few words.
    pub fn at(mut self, file: &Path, text: &str, place: Range<usize>, label: &str) -> Failure {
        let text = NamedSource::new(file.display().to_string(), text.to_owned());
        let place = LabeledSpan::new_with_span(Some(label.to_owned()), place);
        self.snippet = Some(Box::new(Snippet { text, place }));
        self
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

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.snippet.as_ref().map(|snippet| &snippet.text as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let snippet = self.snippet.as_ref()?;
        Some(Box::new(std::iter::once(snippet.place.clone())))
    }
}

/// Failures of the libraries that say themselves what to do.
macro_rules! failure_of {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::of(&error)
            }
        }
    )*};
}

failure_of!(
    warmstart::BatchError,
    warmstart::DatasetError,
    warmstart::gpu::CompileError,
    warmstart::gpu::GpuError,
    warmstart::gpu::RunError,
    warmstart::graph::GraphErrors,
    warmstart_measure::MeasureError
);

impl From<TrainingError> for Failure {
    fn from(error: TrainingError) -> Failure {
        match error {
            TrainingError::Checkpoint(error) => error.into(),
            error => Failure::of(&error),
        }
    }
}

/// What their messages advise programs to call is here what people can type.
impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Failure {
        match &error {
            CheckpointError::Mismatch(report) => Failure::new(report.worded(&Nothing).to_string()),
            CheckpointError::NoGraph { file } => Failure::new(format!("`{}` holds no graph", file.display()))
                .help("only checkpoints that warmstart saved with their graph can be run or drawn: those of `warmstart train` are"),
            CheckpointError::ConvertRule { file, rule, problem } => {
                let rule = Flags.rule(rule).unwrap_or_else(|| rule.to_string());
                let file = file.display();
                let failure = Failure::new(format!("cannot convert into `{file}`: `{rule}` {problem}"));
                match rule.starts_with("--cast") {
                    true => failure.help("`--dtype f32`, `f16` or `bf16` casts all floats"),
                    false => failure.help("nothing was written"),
                }
            }
            CheckpointError::IsADirectory { path } => {
                let path = path.display();
                Failure::new(format!("`{path}` is a directory; nothing was written"))
                    .help(format!("give a file's name in it, such as `{path}/model.safetensors`"))
            }
            CheckpointError::Exists { file } => {
                Failure::new(format!("`{}` exists; nothing was written", file.display()))
                    .help("choose another name, or replace it: --force")
            }
            error => Failure::of(error),
        }
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
