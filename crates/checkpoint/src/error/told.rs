//! What errors say of files and variables: which of them, and what to do.

use super::{CheckpointError, Damaged, damage};
use crate::printable::printable;
use crate::tensor::{FileDType, FloatDType};
use std::io;
use std::path::{Path, PathBuf};
use warmstart_gpu::Origin;
use warmstart_graph::words::{
    counted_as, first_few, first_few_between, printable_path, short_number,
};

/// Files that are listed.
const LISTED: usize = 10;
/// Variables that are listed in one line.
const SHOWN: usize = 5;

/// What to do about a failed file operation.
pub(super) fn advice(operation: &str, error: &io::Error) -> &'static str {
    // EMFILE and ENFILE, and ERROR_TOO_MANY_OPEN_FILES, which have no kind.
    let too_many: &[i32] = if cfg!(windows) { &[4] } else { &[24, 23] };
    if error.raw_os_error().is_some_and(|code| too_many.contains(&code)) {
        return "This process has too many files open: raise the limit (`ulimit -n`), or convert the checkpoint into fewer files where the limit is higher";
    }
    // ERROR_SHARING_VIOLATION and ERROR_LOCK_VIOLATION, which have no kind either.
    if cfg!(windows) && matches!(error.raw_os_error(), Some(32 | 33)) {
        return "Another program has it open: close it there, and try again";
    }
    match error.kind() {
        io::ErrorKind::NotFound if operation == "create a file in" => {
            "Make this directory, or choose another"
        }
        io::ErrorKind::NotFound => "Check that its directory exists",
        // What is open can neither be replaced nor removed there on some file systems.
        io::ErrorKind::PermissionDenied if cfg!(windows) => {
            "Check the permissions of the file and its directory, and that no program has it open"
        }
        io::ErrorKind::PermissionDenied => "Check the permissions of the file and its directory",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Free space there, or choose another directory"
        }
        io::ErrorKind::FileTooLarge => {
            "The file system, or a limit (`ulimit -f`), allows no file so large: choose another directory, or raise the limit"
        }
        io::ErrorKind::ReadOnlyFilesystem => "Choose a directory that can be written",
        io::ErrorKind::NotADirectory if operation.starts_with("list") => {
            "It is a file: name the folder that it is in"
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "A file has this name: choose another directory"
        }
        io::ErrorKind::InvalidFilename => "Choose a shorter or plainer name",
        _ => "Check the disk and try again; existing checkpoints are untouched",
    }
}

/// A number in few digits, unless another would read the same.
pub(super) fn apart(value: f64, other: f64) -> String {
    let short = short_number(value);
    if short == short_number(other) { format!("{value:e}") } else { short }
}

/// What to write a number as that is infinite in this dtype.
pub(super) fn instead_of_infinite(dtype: FileDType, value: f64) -> &'static str {
    match dtype {
        FileDType::F16 if value.abs() <= FloatDType::Bf16.largest() => {
            "write bf16, which reaches as far as f32, or allow infinite numbers"
        }
        _ => "leave it as it is, or allow infinite numbers",
    }
}

/// What to use in place of a damaged checkpoint.
pub(super) fn instead(older: &Option<PathBuf>) -> String {
    match older {
        Some(older) => format!("Restore the checkpoint before it, `{}`", printable_path(older)),
        None => "Restore it from a backup, or copy the file again".to_owned(),
    }
}

/// What to open in place of a directory in which nothing was looked for by name.
pub(super) fn instead_of_directory(directory: &Path, files: &[PathBuf]) -> String {
    let names = "those of a run are named `step-<n>.safetensors`, others `model.safetensors` or \
        `<name>.safetensors.index.json`";
    match files {
        [] => format!(": {names}; name a file, or save into it first"),
        files => {
            let paths: Vec<PathBuf> = files.iter().map(|file| directory.join(file)).collect();
            format!(" of a name that is looked for ({names}): name the file, {}", quoted(&paths))
        }
    }
}

/// Which checkpoints of a directory are damaged, and how each is, in lines of their own.
pub(super) fn told(directory: &Path, damaged: &[Damaged], which: &str) -> String {
    let (all, are) = match damaged.len() {
        1 => ("the only checkpoint".to_owned(), "is"),
        n => (format!("all {n} checkpoints"), "are"),
    };
    let name = |path: &Path| printable_path(path.file_name().map_or(path, Path::new));
    let line = |one: &Damaged| {
        // It may be another file of the checkpoint that is damaged, or not there.
        let other = match &one.error {
            CheckpointError::Malformed { file, .. } if *file != one.path => {
                format!("`{}`: ", name(file))
            }
            _ => String::new(),
        };
        format!("\n  `{}`: {other}{}", name(&one.path), damage(&one.error))
    };
    let lines: String = damaged.iter().take(LISTED).map(line).collect();
    let more = match damaged.len().saturating_sub(LISTED) {
        0 => String::new(),
        n => format!("\n  … and {n} more"),
    };
    format!("{all} in `{}`{which} {are} damaged:{lines}{more}", printable_path(directory))
}

pub(super) fn recorded(damaged: &[Damaged], metric: &str) -> String {
    format!(
        " that {} recorded `{}`",
        if damaged.len() == 1 { "has" } else { "have" },
        printable(metric)
    )
}

pub(super) fn one_of(damaged: &[Damaged]) -> &'static str {
    if damaged.len() == 1 { "it" } else { "one of them" }
}

/// What can still be had of damaged checkpoints.
pub(super) fn partly(damaged: &[Damaged]) -> &'static str {
    match damaged.iter().any(|one| matches!(one.error, CheckpointError::Checksum { .. })) {
        true => "; or restore the tensors that are whole from a file named by itself",
        false => "",
    }
}

pub(super) fn quoted(names: &[PathBuf]) -> String {
    first_few(names.iter().map(|name| format!("`{}`", printable_path(name))), LISTED)
}

pub(super) fn chosen(globs: &[String]) -> String {
    first_few_between(globs.iter().map(|glob| format!("`only({glob:?})`")), SHOWN, " or ")
}

pub(super) fn have(n: usize) -> String {
    counted_as(n, "variable has", "variables have")
}

pub(super) fn uninitialized(variables: &[(String, Origin)]) -> String {
    let one = |(name, origin): &(String, Origin)| format!("`{}`, {origin}", printable(name));
    first_few_between(variables.iter().map(one), SHOWN, "; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmstart_gpu::Missing;

    #[test]
    fn a_refused_save_of_a_large_model_is_told_shortly() {
        let never = || Origin::Uninitialized(Missing::NeverInitialized);
        let refused = |n: usize| {
            let variables = (0..n).map(|at| (format!("layer_{at}/w"), never())).collect();
            CheckpointError::Uninitialized { file: "m".into(), variables }.to_string()
        };
        let text = refused(5000);
        assert!(text.len() < 600, "{text}");
        assert!(text.contains("5000 variables have no value: `layer_0/w`, uninit"), "{text}");
        assert!(text.contains("; `layer_4/w`, uninitialized (never given a value) and 4995 more."));
        assert!(!refused(5).contains(" more."), "{}", refused(5));
    }

    #[test]
    fn of_many_files_the_first_few_are_named() {
        let files = |n: usize| (0..n).map(|at| format!("f{at}.safetensors").into()).collect();
        let several =
            |n| CheckpointError::Several { directory: "runs".into(), names: files(n) }.to_string();
        let text = several(5000);
        assert!(text.ends_with("`f8.safetensors`, `f9.safetensors` and 4990 more"), "{text}");
        assert!(several(10).ends_with("`f8.safetensors`, `f9.safetensors`"), "{}", several(10));
        let none = CheckpointError::NoCheckpoint { directory: "runs".into(), files: files(5000) };
        let text = none.to_string();
        assert!(text.len() < 600 && text.ends_with("f9.safetensors` and 4990 more"), "{text}");
    }

    #[test]
    fn a_plan_for_other_variables_names_the_first_that_differs() {
        let variable = "w\n\u{1b}[2K".to_owned();
        let text = CheckpointError::OutdatedPlan { file: "m".into(), variable }.to_string();
        assert_eq!(
            text,
            "the plan to restore `m` was made for other variables than the session has now: some were \
             declared since this plan was made, or have another role or initializer \
             (`w\\n\\u{1b}[2K` differs). Nothing was changed: make the plan again, after all variables \
             are declared"
        );
    }
}
