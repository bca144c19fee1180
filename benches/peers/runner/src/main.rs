//! Runs the comparison: starts the arms in turn, holds their results against each other, and writes
//! `RESULTS.md` and `results.svg` into the current folder, and the short of them into `../RESULTS.md`.
//!
//! `runner [PART...]` runs only rows whose names contain one of the parts. `PEERS_QUICK=1` makes a
//! short pass. Neither replaces the tables of a full one: they write into `target/partial`.
//! `PEERS_OUT` names another folder to write into. `PEERS_LARGE=1` adds the rows for GPUs.

mod arms;
mod build_costs;
mod chart;
mod machine;
mod pass;
mod report;
mod results;
mod summary;

use arms::Arm;
use machine::Machine;
use pass::Settings;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let parts: Vec<String> = env::args().skip(1).collect();
    let quick = env::var_os("PEERS_QUICK").is_some_and(|value| value != "0");
    let mut machine = Machine::look();
    println!("{machine}");
    let arms = Arm::all()?;
    let there = pass::there(&arms).len();
    let settings = if quick { Settings::QUICK } else { Settings::FULL.of_arms(there) };
    let results = pass::run(&arms, &settings, &parts)?;
    machine.look_again();

    let report = report::Report {
        arms: &arms,
        machine: &machine,
        settings: &settings,
        results: &results,
        build_costs: build_costs::read("build-costs.tsv")?,
    };
    let text = report.to_string();
    println!("\n{text}");
    let elsewhere = env::var_os("PEERS_OUT").map(PathBuf::from);
    let kept = elsewhere.is_none() && !quick && parts.is_empty();
    let usual = if kept { "" } else { "target/partial" };
    let folder = elsewhere.unwrap_or_else(|| PathBuf::from(usual));
    fs::create_dir_all(Path::new(".").join(&folder))?;
    fs::write(folder.join("RESULTS.md"), text)?;
    chart::draw(&folder.join("results.svg"), &arms, &results)?;
    if kept {
        summary::put(Path::new("../RESULTS.md"), &report.summary().to_string())?;
    } else {
        fs::write(folder.join("summary.md"), report.summary().to_string())?;
    }
    println!("Written: {}", folder.join("RESULTS.md").display());
    Ok(())
}
