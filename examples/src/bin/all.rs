//! Runs every example program and every documentation example on the adapter at hand, and prints a
//! table of what became of each. `make examples` builds the programs and runs this; the names of some
//! programs run those alone.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::process::{Command, ExitCode};
use std::time::Instant;
use warmstart::prelude::*;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let adapter = Gpu::new()?.summary().to_string();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["program", "adapter", "seconds", "result"]);
    let mut failures = Vec::new();
    let mut run =
        |name: &str, adapter: &str, command: &mut Command| -> Result<(), Box<dyn Error>> {
            eprintln!("running {name}");
            let began = Instant::now();
            let output = command.output()?;
            let seconds = format!("{:.1}", began.elapsed().as_secs_f64());
            let failure = (!output.status.success()).then(|| output.status.to_string());
            let result = result(failure.as_deref(), &String::from_utf8_lossy(&output.stdout));
            let Some(result) = result else { return Ok(()) };
            if !output.status.success() {
                let printed = [output.stdout, output.stderr].concat();
                failures.push(format!("{name}:\n{}", String::from_utf8_lossy(&printed)));
            }
            table.add_row([name, adapter, &seconds, &result]);
            Ok(())
        };

    let scratch = tempfile::tempdir()?;
    let named: Vec<String> = std::env::args().skip(1).collect();
    for name in chosen(programs()?, &named)? {
        let mut command = Command::new(std::env::current_exe()?.with_file_name(&name));
        // How far to train, and where to.
        if let "digits" | "regression" | "transformer" = &name[..] {
            command.arg("50").arg(scratch.path().join(&name));
        }
        run(&name, &adapter, &mut command)?;
    }
    let crates = if named.is_empty() { published_crates(&adapter)? } else { Vec::new() };
    for (name, adapter) in crates {
        let command = &mut cargo();
        let command = command.args(["test", "--quiet", "--doc", "--package", &name]);
        run(&format!("{name}'s documentation"), &adapter, command)?;
    }

    if let Some(seconds) = table.column_mut(2) {
        seconds.set_cell_alignment(CellAlignment::Right);
    }
    println!("{}", table.trim_fmt());
    println!("\n{} of {} passed", table.row_count() - failures.len(), table.row_count());
    failures.iter().for_each(|failure| println!("\n{failure}"));
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Cargo as the user runs it.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The programs of this folder but this one, by name.
fn programs() -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin"))? {
        names.extend(entry?.path().file_stem().and_then(OsStr::to_str).map(str::to_owned));
    }
    names.retain(|name| name != "all");
    names.sort();
    Ok(names)
}

/// Those that are named, or all if none is.
fn chosen(all: Vec<String>, named: &[String]) -> Result<Vec<String>, Box<dyn Error>> {
    if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
        return Err(format!("there is no program `{unknown}`; there are {}", all.join(", ")).into());
    }
    Ok(all.into_iter().filter(|name| named.is_empty() || named.contains(name)).collect())
}

/// The crates whose documentation people read, each with the adapter that its examples run on.
fn published_crates(adapter: &str) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let output = cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("`cargo metadata` failed ({}): {said}", output.status).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let published = list(&metadata["packages"]).into_iter().filter(|p| p["publish"].is_null());
    let mut crates: Vec<(String, String)> = published
        .filter_map(|package| {
            let on_gpu = |d: &Value| d["name"] == "wgpu" || d["name"] == "warmstart-gpu";
            let any = list(&package["dependencies"]).iter().any(on_gpu);
            Some((package["name"].as_str()?.to_owned(), if any { adapter } else { "none" }.into()))
        })
        .collect();
    if crates.is_empty() {
        return Err(format!("`cargo metadata` names no crate with documentation: {said}").into());
    }
    crates.sort();
    Ok(crates)
}

/// What the table says of a program that failed or did not and printed this, if it says anything: a
/// crate without examples is nothing to tell of.
fn result(failure: Option<&str>, printed: &str) -> Option<String> {
    Some(match (failure, documentation_examples(printed)) {
        (Some(status), _) => format!("failed, {status}"),
        (None, None) => "passed".to_owned(),
        (None, Some(0)) => return None,
        (None, Some(1)) => "passed, 1 example".to_owned(),
        (None, Some(examples)) => format!("passed, {examples} examples"),
    })
}

/// How many examples ran, if this is what documentation tests print.
fn documentation_examples(printed: &str) -> Option<usize> {
    // "test result: ok. 14 passed; 0 failed; ..."
    let results = printed.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    let passed = results.filter_map(|line| line.split_once(' ')?.0.parse::<usize>().ok());
    passed.reduce(|all, more| all + more)
}

#[cfg(test)]
mod tests {
    use super::{chosen, programs, published_crates, result};

    /// What `cargo test --quiet --doc` prints: examples that share a program, and then those that need
    /// one each.
    const SHARED_AND_ALONE: &str = "
running 4 tests
.i..
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s


running 2 tests
..
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.22s

all doctests ran in 0.88s; merged doctests compilation took 0.64s
";

    const NONE: &str = "
running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

";

    const ONE_FAILS: &str = "
running 2 tests
. 1/2
src/lib.rs - three (line 4) --- FAILED

failures:

---- src/lib.rs - three (line 4) stdout ----
Test executable failed (exit status: 101).

failures:
    src/lib.rs - three (line 4)

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.49s

all doctests ran in 1.80s; merged doctests compilation took 1.29s
";

    fn row(failure: Option<&str>, printed: &str) -> String {
        result(failure, printed).unwrap_or_else(|| "no row".to_owned())
    }

    #[test]
    fn the_programs_that_are_named_are_run_and_others_refused() {
        let all = programs().expect("this folder");
        assert!(all.iter().any(|name| name == "digits") && !all.iter().any(|name| name == "all"));
        let chosen = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            chosen(all.clone(), &names).map_err(|error| error.to_string())
        };
        assert_eq!(chosen(&[]), Ok(all.clone()));
        assert_eq!(
            chosen(&["regression", "digits"]),
            Ok(vec!["digits".into(), "regression".into()])
        );
        let refused = chosen(&["digits", "digit"]).expect_err("there is none of this name");
        assert!(refused.starts_with("there is no program `digit`; there are "), "{refused}");
        assert!(refused.contains(", digits, "), "{refused}");
    }

    #[test]
    fn documentation_examples_are_counted_over_all_their_programs() {
        assert_eq!(row(None, SHARED_AND_ALONE), "passed, 5 examples");
        let one = SHARED_AND_ALONE.replace("3 passed", "1 passed").replace("2 passed", "0 passed");
        assert_eq!(row(None, &one), "passed, 1 example");
        assert_eq!(row(None, NONE), "no row");
    }

    #[test]
    fn the_examples_of_all_published_crates_are_run() {
        let crates = published_crates("the adapter").expect("a workspace");
        let on = |name: &str| {
            let of = crates.iter().find(|(of, _)| of == name);
            of.map_or("is not there", |(_, adapter)| adapter.as_str())
        };
        for name in ["warmstart", "warmstart-gpu", "warmstart-checkpoint"] {
            assert_eq!(on(name), "the adapter", "{name}");
        }
        assert_eq!(on("warmstart-graph"), "none");
        assert_eq!(on("warmstart-examples"), "is not there");
    }

    #[test]
    fn what_fails_has_a_row_whatever_it_printed() {
        for printed in [ONE_FAILS, SHARED_AND_ALONE, NONE, ""] {
            assert_eq!(row(Some("exit status: 101"), printed), "failed, exit status: 101");
        }
    }

    #[test]
    fn programs_are_not_taken_for_documentation() {
        for printed in ["", "restored    2   440 B\n", "the test result: ok. 3 passed\n"] {
            assert_eq!(row(None, printed), "passed");
        }
    }
}
