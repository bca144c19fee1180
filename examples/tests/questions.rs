//! The programs that answer a question print what they should, and the guide and the README show
//! what they print.

use regex::Regex;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs a program; its temporary directory is called `runs` in what it printed.
fn run(program: &str) -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_all")).with_file_name(program);
    let output = Command::new(path.with_extension(std::env::consts::EXE_EXTENSION)).output();
    let output = output.unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} failed: {errors}");
    let printed = String::from_utf8(output.stdout).expect("programs print UTF-8");
    let directory = Regex::new(r"[^\s`]*[/\\]\.tmp\w+").expect("a regular expression");
    directory.replace_all(&printed, "runs").replace('\\', "/").replace("\r\n", "\n")
}

/// Runs a program and looks for whole lines in what it prints, in this order.
fn expect_lines(program: &str, lines: &[&str]) {
    let printed = run(program);
    let mut rest = printed.lines();
    for &line in lines {
        assert!(
            rest.any(|printed| printed == line),
            "{program} does not print this line, or not in this place:\n{line}\nit prints:\n{printed}"
        );
    }
}

macro_rules! questions {
    ($($program:ident: [$($line:expr),+ $(,)?];)+) => {
        $(
            #[test]
            fn $program() {
                expect_lines(stringify!($program), &[$($line),+]);
            }
        )+
        /// The programs that are looked at here.
        const PROGRAMS: &[&str] = &[$(stringify!($program)),+];
    };
}

questions! {
//LINES
}

/// The file names, without their ends, of `src/bin`, but for those that answer no question.
fn programs() -> Vec<String> {
    let entries = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin")).expect("a folder");
    let names = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned()
    });
    names.filter(|name| name != "all" && name != "digits").collect()
}

#[test]
fn every_program_is_looked_at_and_begins_with_its_question() {
    for program in programs() {
        assert!(PROGRAMS.contains(&program.as_str()), "no lines of `{program}` are expected here");
        let file = format!("{}/src/bin/{program}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = fs::read_to_string(file).expect("a source");
        let first = source.lines().next().unwrap_or_default();
        let question = first.starts_with("//! \"") && first.contains("?\"");
        assert!(question, "{program}: the first line is no question: {first}");
        assert!(source.lines().count() <= 65, "{program} is more than a screen");
    }
}
