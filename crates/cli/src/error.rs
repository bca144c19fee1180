//! Errors as they are shown: what failed, the chain of causes, and what to do.

use crate::data::{listed, no_checkpoint};
use crate::flags::{flag_of, quoted as word};
use crate::text::number;
use crate::wording::Nothing;
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};
use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fmt, io};
use warmstart::TrainingError;
use warmstart::checkpoint::{
    Checkpoint, CheckpointError, Damaged, FileDType, FloatDType, Glob, Rule, list,
};
use warmstart_checkpoint::printable;
use warmstart_graph::words::{nearest, printable_path};

/// Why a question could not be answered.
#[derive(Debug)]
pub struct Failure {
    message: String,
    help: Option<String>,
    cause: Option<Box<Failure>>,
    snippet: Option<Box<Snippet>>,
    /// What the message says, for programs that read JSON.
    fields: Vec<(&'static str, Value)>,
    /// What the process ends with.
    code: u8,
    /// Whether what was printed as JSON tells it already.
    is_told: bool,
}

/// The exit code of errors.
const ERROR: u8 = 2;
/// Whoever read the output has seen enough, as `head` has. No answer was found, so this is none: it is
/// how a shell tells of a program that was stopped by a pipe without a reader.
const BROKEN_PIPE: u8 = 141;

/// The place in a text that is to blame.
#[derive(Debug)]
struct Snippet {
    text: NamedSource<String>,
    place: LabeledSpan,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        let message = message.into();
        let (help, cause, snippet, fields) = (None, None, None, Vec::new());
        Failure { message, help, cause, snippet, fields, code: ERROR, is_told: false }
    }

    /// A file that could not be opened, read or written.
    pub fn file(what: &str, file: &Path, error: &io::Error) -> Failure {
        let help = match error.kind() {
            io::ErrorKind::NotFound if what == "write" => "name a folder that exists".to_owned(),
            io::ErrorKind::NotFound => {
                let is_toml = file.extension().is_some_and(|extension| extension == "toml");
                let kinds = if is_toml { &["toml"][..] } else { &DATA };
                near(file, kinds).unwrap_or_else(|| "check the path".to_owned())
            }
            io::ErrorKind::PermissionDenied => {
                "check its permissions, and those of its folder".to_owned()
            }
            io::ErrorKind::IsADirectory => "name a file in that directory".to_owned(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                "copy or download it again".to_owned()
            }
            _ => "check the disk and the path".to_owned(),
        };
        Failure::new(format!("cannot {what} `{}`: {error}", printable_path(file))).help(help)
    }

    /// Shows a place in a text, marked with a few words.
    pub fn at(mut self, file: &Path, text: &str, place: Range<usize>, label: &str) -> Failure {
        let text = NamedSource::new(printable_path(file), text.to_owned());
        let place = LabeledSpan::new_with_span(Some(label.to_owned()), place);
        self.snippet = Some(Box::new(Snippet { text, place }));
        self
    }

    /// Tells programs something that the message says, under a name of its own.
    fn field(mut self, name: &'static str, value: impl Into<Value>) -> Failure {
        self.fields.push((name, value.into()));
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

    /// Something else that can be done about it.
    pub fn or(self, other: &str) -> Failure {
        let help = match &self.help {
            Some(help) => format!("{help}; or {other}"),
            None => other.to_owned(),
        };
        self.help(help)
    }

    /// A sentence that stands in a line of its own below what to do.
    pub fn also(self, more: &str) -> Failure {
        let help = self.help.as_deref().unwrap_or_default();
        let help = format!("{help}\n{more}");
        self.help(help.trim_start())
    }

    /// Whether only the reader of the output has gone.
    pub fn is_broken_pipe(&self) -> bool {
        self.code == BROKEN_PIPE
    }

    /// What the process ends with.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// As one that what was printed as JSON tells already.
    pub fn told(mut self) -> Failure {
        self.is_told = true;
        self
    }

    /// What `--json` prints of it; `None` where that was printed already.
    pub fn json(&self) -> Option<Value> {
        if self.is_told {
            return None;
        }
        let mut error = json!({ "code": self.code, "message": self.message });
        let mut causes = Vec::new();
        let mut cause = self.cause.as_deref();
        while let Some(failure) = cause {
            causes.push(failure.message.as_str());
            cause = failure.cause.as_deref();
        }
        if !causes.is_empty() {
            error["causes"] = json!(causes);
        }
        if let Some(help) = &self.help {
            error["help"] = json!(help);
        }
        for (name, value) in &self.fields {
            error[*name] = value.clone();
        }
        if let Some(Snippet { text, place }) = self.snippet.as_deref() {
            let before = text.inner().get(..place.offset()).unwrap_or_default();
            let line = before.rsplit('\n').next().unwrap_or_default();
            error["file"] = json!(text.name());
            error["line"] = json!(1 + before.matches('\n').count());
            error["column"] = json!(1 + line.chars().count());
        }
        Some(json!({ "error": error }))
    }
}

/// A message or help as it may be printed: both have lines of their own making, and names of files'
/// making.
fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable_lines(&self.message))
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.help.as_deref().map(printable_lines);
        help.map(|help| Box::new(help) as Box<dyn fmt::Display>)
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
            TrainingError::Mismatch(report) => CheckpointError::Mismatch(report).into(),
            TrainingError::AlreadyRunning(lock) => {
                let directory = printable_path(lock.parent().unwrap_or(&lock));
                Failure::new(format!("another run trains in `{directory}`; nothing was changed"))
                    .help("wait until it has ended, or stop it")
            }
            TrainingError::Interrupted { by, step, steps, file } => {
                let file = printable_path(file);
                let message =
                    format!("stopped by {by} after {step} of {steps} steps, and saved as `{file}`");
                Failure { code: by.exit_code(), ..Failure::new(message) }
            }
            error => Failure::of(&error),
        }
    }
}

/// Arguments that make no sense. What clap prints begins with what is wrong.
impl From<&clap::Error> for Failure {
    fn from(error: &clap::Error) -> Failure {
        let text = error.to_string();
        let text = text.trim().trim_start_matches("error: ");
        let (message, help) = text.split_once("\n\n").unwrap_or((text, ""));
        let words: Vec<&str> = message.split_whitespace().collect();
        let failure = Failure::new(words.join(" "));
        if help.is_empty() { failure } else { failure.help(help.trim()) }
    }
}

/// What their messages advise programs to call is here what people can type.
impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Failure {
        match &error {
            CheckpointError::Mismatch(report) => Failure::new(report.worded(&Nothing).to_string()),
            CheckpointError::NoGraph { file } => Failure::new(format!("`{}` holds no graph", printable_path(file)))
                .help("only checkpoints that were saved with their graph can be run or drawn: `warmstart train` and `Training` save so, and a `Saver` with `SaveOptions::graph`"),
            CheckpointError::ConvertRule { file, rule, problem } => {
                let rule = flag_of(rule).unwrap_or_else(|| rule.to_string());
                let file = printable_path(file);
                let failure = Failure::new(format!("cannot convert into `{file}`: `{rule}` {problem}"));
                match rule.starts_with("--cast") {
                    true => failure.help("`--dtype f32`, `f16` or `bf16` casts all floats"),
                    false => failure.help("nothing was written"),
                }
            }
            CheckpointError::ConvertInfinite { tensor, first, value, dtype, largest, .. } => {
                let other = match dtype {
                    FileDType::F16 if value.abs() <= FloatDType::Bf16.largest() => {
                        "`--dtype bf16` reaches as far as f32"
                    }
                    _ => "without `--dtype` it stays what it is",
                };
                Failure::new(format!("{}; nothing was written", error.what()))
                    .help(format!("{other}; `--allow-infinite` writes it all the same, as infinite"))
                    .field("tensor", tensor.as_str())
                    .field("first", first.as_slice())
                    .field("value", number(*value))
                    .field("dtype", dtype.to_string())
                    .field("largest", *largest)
            }
            CheckpointError::Malformed { file, .. } if let Some(failure) = no_checkpoint(file) => failure,
            CheckpointError::NotFound { path } => {
                Failure::new(format!("there is no checkpoint `{}`", printable_path(path)))
                    .help(instead_of(path))
            }
            CheckpointError::NoCheckpoint { directory, files } if files.is_empty() => {
                let failure =
                    Failure::new(format!("the directory `{}` holds no checkpoint", printable_path(directory)));
                let variables = directory.join("variables");
                if variables.join("variables.index").is_file() {
                    return failure.help(format!(
                        "it is a TensorFlow SavedModel, whose weights lie in `{}`: name that",
                        printable_path(variables)
                    ));
                }
                failure.help(within(directory).unwrap_or_else(|| {
                    "those of a run are named `step-<n>.safetensors`, others `model.safetensors` or `<name>.safetensors.index.json`; name a file".to_owned()
                }))
            }
            CheckpointError::AllDamaged { directory, damaged } => {
                Failure::new(error.what()).help(rescue(directory, damaged))
            }
            CheckpointError::IsADirectory { path } => {
                let path = printable_path(path);
                Failure::new(format!("`{path}` is a directory; nothing was written"))
                    .help(format!("give a file's name in it, such as `{path}/model.safetensors`"))
            }
            CheckpointError::Exists { file } => {
                Failure::new(format!("`{}` exists; nothing was written", printable_path(file)))
                    .help("choose another name, or replace it: --force")
            }
            error => Failure::of(error),
        }
    }
}

/// What can be done where all checkpoints of a directory are damaged.
fn rescue(directory: &Path, damaged: &[Damaged]) -> String {
    let one = if damaged.len() == 1 { "it" } else { "one of them" };
    let backup = format!("copy {one} again from where there is a whole one");
    // What cannot be read is not left out by its name; nor is there anything to keep where nothing is left.
    let lost = |file: &Path| -> Option<(usize, Vec<String>)> {
        let found = Checkpoint::open(file).ok()?.verify();
        let tensors = found.damaged.iter().map(|error| match error {
            CheckpointError::Checksum { tensor, .. } => Some(tensor.clone()),
            _ => None,
        });
        let lost = tensors.collect::<Option<Vec<String>>>()?;
        (found.tensors > lost.len()).then_some((found.tensors, lost))
    };
    let weights =
        damaged.iter().filter(|one| matches!(one.error, CheckpointError::Checksum { .. }));
    let mut whole = weights.filter_map(|one| Some((&one.path, lost(&one.path)?)));
    let Some((file, (tensors, lost))) = whole.next() else {
        return format!("{backup}; no weights can be had from what is here");
    };
    let file = word(&printable_path(file));
    let whole = word(&printable_path(directory.join("whole.safetensors")));
    let ignored = lost.iter().map(|name| flag_of(&Rule::Ignore(Glob::escape(name))));
    // A command that leaves out only some of them would fail.
    let Some(ignored) = ignored.collect::<Option<Vec<String>>>() else { return backup };
    let left = tensors - lost.len();
    format!(
        "{backup}; or keep what is whole, {left} of {tensors} tensors:\n    warmstart convert {file} {whole} {}\nA warm start takes those with `allow_missing = true`, a program with `allow_missing()`",
        ignored.join(" ")
    )
}

/// What may have been meant by the path of a file that is not there.
fn instead_of(path: &Path) -> String {
    // A checkpoint in several files goes by the name that it would have in one.
    let index = path.with_added_extension("index.json");
    if index.is_file() {
        return format!("it is in several files: name their index, `{}`", printable_path(index));
    }
    near(path, &CHECKPOINTS)
        .unwrap_or_else(|| "check the path; a directory opens its newest checkpoint".into())
}

/// The folders of a folder that hold checkpoints of runs, if there are some.
pub fn within(directory: &Path) -> Option<String> {
    const LOOKED_AT: usize = 1000;
    let entries = directory.read_dir().ok()?.flatten().take(LOOKED_AT);
    let holds = |folder: &PathBuf| list(folder).is_ok_and(|files| !files.is_empty());
    let folders = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).filter(holds);
    let mut folders: Vec<String> = folders.map(printable_path).collect();
    folders.sort();
    match folders.as_slice() {
        [] => None,
        [one] => Some(format!("did you mean `{one}`?")),
        several => Some(format!("name one of the runs in it: {}", listed(several))),
    }
}

/// What names of data end with.
pub const DATA: [&str; 10] =
    ["csv", "tsv", "npy", "npz", "gz", "idx", "ubyte", "idx1-ubyte", "idx3-ubyte", "safetensors"];

/// What names of checkpoints end with.
pub const CHECKPOINTS: [&str; 10] =
    ["safetensors", "json", "index", "pt", "pth", "bin", "npz", "npy", "gguf", "ckpt"];

/// The file of the same folder whose name a mistyped one was probably meant to be, if it ends with
/// the same or with one of these. What names end with is the same for many, so it tells nothing else.
fn near(path: &Path, kinds: &[&str]) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = folder.unwrap_or(Path::new(".")).read_dir().ok()?.flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    let mut names: Vec<PathBuf> = files.map(|entry| entry.file_name().into()).collect();
    names.retain(|name| {
        let kind = name.extension().and_then(|extension| extension.to_str());
        name.extension() == path.extension() || kind.is_some_and(|kind| kinds.contains(&kind))
    });
    // Folders list their files in any order.
    names.sort();
    if let Some(other) = names.iter().find(|name| name.file_stem() == path.file_stem()) {
        return Some(format!("did you mean `{}`?", printable_path(path.with_file_name(other))));
    }
    let alike = names.iter().filter(|name| name.extension() == path.extension());
    let stems = alike.filter_map(|name| name.file_stem()?.to_str());
    let mut near = path.with_file_name(nearest(path.file_stem()?.to_str()?, stems)?);
    if let Some(extension) = path.extension() {
        near.add_extension(extension);
    }
    Some(format!("did you mean `{}`?", printable_path(near)))
}

/// Only writing the output fails so; files have errors of their own.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let code = if error.kind() == io::ErrorKind::BrokenPipe { BROKEN_PIPE } else { ERROR };
        let failure = Failure::new(format!("cannot write the output: {error}"))
            .help("check the disk, if the output goes to a file");
        Failure { code, ..failure }
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
    fn files_that_cannot_be_meant_are_not_suggested() {
        let here = tempfile::tempdir().unwrap();
        let at = |name: &str| here.path().join(name);
        for name in ["iris.toml", "model.png", "flowers.csv.bak"] {
            std::fs::write(at(name), "").unwrap();
        }
        for folder in ["sub.d", "sub.csv"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        for (missing, kinds) in [
            ("iris.csv", &DATA[..]),
            ("sub", &DATA),
            ("sub.csb", &DATA),
            ("flowers.csv", &DATA),
            ("model.safetensors", &CHECKPOINTS),
        ] {
            assert_eq!(near(&at(missing), kinds), None, "{missing}");
        }
        for name in ["iris.tsv", "iris.npy", "iriss.csv", "model.pt"] {
            std::fs::write(at(name), "").unwrap();
        }
        for (missing, kinds, meant) in [
            // The first of two by name.
            ("iris.csv", &DATA[..], "iris.npy"),
            ("iris", &DATA, "iris.npy"),
            ("irisz.csv", &DATA, "iriss.csv"),
            ("model.safetensors", &CHECKPOINTS, "model.pt"),
            ("irys.toml", &["toml"], "iris.toml"),
        ] {
            let expected = format!("did you mean `{}`?", printable_path(at(meant)));
            assert_eq!(near(&at(missing), kinds), Some(expected), "{missing}");
        }
    }

    #[test]
    fn causes_that_the_message_quotes_are_not_repeated() {
        let error = Layer::Quoting(Box::new(Layer::Silent(Box::new(Layer::Innermost))));
        let failure = Failure::of(&error);
        assert_eq!(failure.to_string(), "outer: middle");
        assert_eq!(failure.source().unwrap().to_string(), "innermost");
    }
}
