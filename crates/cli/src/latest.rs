//! `warmstart latest`: which checkpoint of a run to use.

use crate::Answer;
use crate::data::listed;
use crate::error::{Failure, within};
use crate::flags::quoted;
use crate::text;
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use warmstart_checkpoint::{
    Better, Checkpoint, CheckpointError, Damaged, Latest, StepFile, best, best_verified, latest,
    latest_verified, list, maybe_checkpoints,
};
use warmstart_graph::words::{first_few, printable_path};

/// Print the newest whole checkpoint of a directory, or the best one by a metric
///
/// Prints its path alone, for use in scripts. Its weights are read and held against their checksums,
/// unless --no-verify asks for a look at header and length alone. Damaged checkpoints that were left
/// out are named on the standard error.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart inspect $(warmstart latest runs/digits)
  warmstart latest runs/iris --best validation/accuracy --higher

Exit codes: 0 printed, 1 there is none, 2 the directory could not be read, or all are damaged")]
pub struct Arguments {
    /// The directory of the run
    directory: PathBuf,
    /// The best by this metric, among the checkpoints that have it
    #[arg(long, value_name = "METRIC", requires = "direction")]
    best: Option<String>,
    #[command(flatten)]
    direction: Direction,
    /// Do not read the weights: whole is what has its whole header and the length that it says
    #[arg(long)]
    no_verify: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(id = "direction", multiple = false, requires = "best")]
struct Direction {
    /// Higher values of the metric are better
    #[arg(long)]
    higher: bool,
    /// Lower values of the metric are better
    #[arg(long)]
    lower: bool,
}

struct Found {
    step: u64,
    path: PathBuf,
    value: Option<f64>,
    damaged: Vec<Damaged>,
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let directory = &arguments.directory;
    if directory.is_file() {
        let (file, folder) = (printable_path(directory), directory.parent());
        let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
        let folder = quoted(&printable_path(folder.unwrap_or(Path::new("."))));
        return Err(Failure::new(format!(
            "`{file}` is a file, and `latest` chooses among those of a folder"
        ))
        .help(format!("name the folder, as `warmstart latest {folder}`")));
    }
    let found = match &arguments.best {
        None => newest(directory, arguments.no_verify)?.map(|found| Found {
            step: found.step,
            path: found.path,
            value: None,
            damaged: found.damaged,
        }),
        Some(metric) => {
            let better = if arguments.direction.higher { Better::Higher } else { Better::Lower };
            let best = match arguments.no_verify {
                true => best(directory, metric, better)?,
                false => best_verified(directory, metric, better)?,
            };
            best.map(|found| Found {
                step: found.step,
                path: found.path,
                value: Some(found.value),
                damaged: found.damaged,
            })
        }
    };
    let Some(found) = found else {
        let directory = printable_path(directory);
        match &arguments.best {
            Some(metric) => {
                let known = match metrics(&arguments.directory)? {
                    known if known.is_empty() => "they have none".to_owned(),
                    known => format!("there are {}", listed(&known)),
                };
                text::say(format_args!(
                    "no checkpoint in `{directory}` has the metric `{metric}`; {known}"
                ));
            }
            None => text::say(format_args!("{}", instead(&arguments.directory))),
        }
        if arguments.json {
            writeln!(out, "null")?;
        }
        return Ok(Answer::No);
    };
    if arguments.json {
        let damaged: Vec<_> = found.damaged.iter().map(|one| one.path.to_string_lossy()).collect();
        let value = json!({
            "file": found.path.to_string_lossy(),
            "step": found.step,
            "value": found.value.map(text::number),
            "verified": !arguments.no_verify,
            "damaged": damaged,
        });
        text::print_json(out, &value)?;
    } else {
        let notes = found.damaged.iter().map(|damaged| match found.value {
            None => damaged.to_string(),
            Some(_) => {
                let what = damaged.what();
                format!("a damaged checkpoint was left out, which may be better: {what}")
            }
        });
        for note in Damaged::first_notes(notes) {
            text::say(format_args!("note: {note}"));
        }
        // As it is, for a script to open.
        match std::io::stdout().is_terminal() {
            true => writeln!(out, "{}", printable_path(&found.path))?,
            false => writeln!(out, "{}", found.path.to_string_lossy())?,
        }
    }
    Ok(Answer::Yes)
}

fn newest(directory: &Path, no_verify: bool) -> Result<Option<Latest>, CheckpointError> {
    if no_verify { latest(directory) } else { latest_verified(directory) }
}

/// Opens a file, or of a directory the newest checkpoint whose weights are whole. Those that were
/// left out are named on the standard error.
pub fn open_verified(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let checkpoint = Checkpoint::open_verified(path)?;
    for note in Damaged::first_notes(checkpoint.damaged().iter()) {
        text::say(format_args!("note: {note}"));
    }
    Ok(checkpoint)
}

/// What is said of a directory without checkpoints of a run: what there is, and what to do.
fn instead(directory: &Path) -> String {
    let shown = printable_path(directory);
    let nothing = format!("`{shown}` holds no checkpoint named `step-<n>.safetensors`");
    match Checkpoint::open(directory) {
        Ok(other) => {
            let (file, format) = (printable_path(other.file()), other.format());
            format!(
                "{nothing}, but one of another kind: `{file}` ({format}), which is what other subcommands open by `{shown}`"
            )
        }
        // This says what there is, and what to name.
        Err(CheckpointError::NoCheckpoint { files, .. }) if files.is_empty() => {
            within(directory).map_or_else(|| nothing.clone(), |help| format!("{nothing}; {help}"))
        }
        Err(error @ (CheckpointError::NoCheckpoint { .. } | CheckpointError::Several { .. })) => {
            error.to_string()
        }
        Err(error) => format!("{nothing}; what it holds cannot be opened: {error}"),
    }
}

/// How the checkpoint was chosen that a directory was opened by, and what else the directory holds;
/// `None` where there was no choice. What is `named` too, nobody has overlooked.
pub fn choice(path: &Path, checkpoint: &Checkpoint, named: &Path) -> Option<String> {
    if !path.is_dir() {
        return None;
    }
    let files = list(path).unwrap_or_default();
    let newest = newest_of(path, checkpoint, &files);
    let Some(others) = beside(path, checkpoint, named, &files) else { return newest };
    let taken = newest.unwrap_or_else(|| {
        let (file, directory) = (printable_path(checkpoint.file()), printable_path(path));
        format!("`{file}` is what `{directory}` is opened by")
    });
    Some(format!("{taken}. To open what else it holds, name the file: {others}"))
}

/// Which of the checkpoints of a run this is, if there are several.
fn newest_of(path: &Path, checkpoint: &Checkpoint, files: &[StepFile]) -> Option<String> {
    let at = files.iter().position(|file| file.path == checkpoint.file())?;
    let (file, directory) = (printable_path(checkpoint.file()), printable_path(path));
    match files.len() {
        // Nobody could have meant another.
        1 => None,
        n if at + 1 == n => {
            Some(format!("`{file}` is the newest of {n} checkpoints in `{directory}`"))
        }
        n => {
            let word = quoted(&directory.to_string());
            Some(format!(
                "`{file}` is the newest of {n} checkpoints in `{directory}` whose header is whole. Headers alone decided: `warmstart latest {word}` reads the weights too"
            ))
        }
    }
}

/// The first few files that may be checkpoints too, and are neither a part of this one nor of the run.
fn beside(path: &Path, checkpoint: &Checkpoint, named: &Path, run: &[StepFile]) -> Option<String> {
    const SHOWN: usize = 3;
    let run = run.iter().map(|file| file.path.as_path());
    let own = checkpoint.files().chain([checkpoint.file()]).chain(run);
    let own: BTreeSet<&OsStr> = own.filter_map(Path::file_name).collect();
    let mut names = maybe_checkpoints(path);
    let named = named.canonicalize().ok();
    let is_named = |name: &Path| named.is_some() && path.join(name).canonicalize().ok() == named;
    names.retain(|name| !own.contains(name.as_os_str()) && !is_named(name));
    let shown = names.iter().map(|name| format!("`{}`", printable_path(path.join(name))));
    (!names.is_empty()).then(|| first_few(shown, SHOWN))
}

/// The names of all metrics, but of checkpoints that cannot be opened.
fn metrics(directory: &Path) -> Result<Vec<String>, Failure> {
    let files = list(directory)?.into_iter();
    let whole = files.filter_map(|file| Checkpoint::open(&file.path).ok());
    let names: BTreeSet<String> = whole
        .flat_map(|checkpoint| {
            checkpoint.metadata().metrics().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        })
        .collect();
    Ok(names.into_iter().collect())
}
