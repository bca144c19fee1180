//! Runs every example program and every documentation example on the adapter at hand, and prints a
//! table of what became of each. `make examples` builds the programs and runs this.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::process::{Command, ExitCode, Output};
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
            let result = match (output.status.success(), documentation_examples(&output)) {
                (true, None) => "passed".to_owned(),
                // A crate without examples is nothing to tell of.
                (true, Some(0)) => return Ok(()),
                (true, Some(1)) => "passed, 1 example".to_owned(),
                (true, Some(examples)) => format!("passed, {examples} examples"),
                (false, _) => format!("failed, {}", output.status),
            };
            if !output.status.success() {
                let printed = [output.stdout, output.stderr].concat();
                failures.push(format!("{name}:\n{}", String::from_utf8_lossy(&printed)));
            }
            table.add_row([name, adapter, &seconds, &result]);
            Ok(())
        };

    let scratch = tempfile::tempdir()?;
    for name in programs()? {
        let mut command = Command::new(std::env::current_exe()?.with_file_name(&name));
        if name == "digits" {
            command.arg("50").arg(scratch.path());
        }
        run(&name, &adapter, &mut command)?;
    }
    for (name, adapter) in published_crates(&adapter)? {
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

/// The crates whose documentation people read, each with the adapter that its examples run on.
fn published_crates(adapter: &str) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let metadata = cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: Value = serde_json::from_slice(&metadata.stdout)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let published = list(&metadata["packages"]).into_iter().filter(|p| p["publish"].is_null());
    let mut crates: Vec<(String, String)> = published
        .filter_map(|package| {
            let on_gpu = |d: &Value| d["name"] == "wgpu" || d["name"] == "warmstart-gpu";
            let any = list(&package["dependencies"]).iter().any(on_gpu);
            Some((package["name"].as_str()?.to_owned(), if any { adapter } else { "none" }.into()))
        })
        .collect();
    crates.sort();
    Ok(crates)
}

/// How many examples ran, if this is the output of documentation tests.
fn documentation_examples(output: &Output) -> Option<usize> {
    let printed = String::from_utf8_lossy(&output.stdout);
    // "test result: ok. 14 passed; 0 failed; ..."
    let results = printed.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    let passed = results.filter_map(|line| line.split_once(' ')?.0.parse::<usize>().ok());
    passed.reduce(|all, more| all + more)
}
