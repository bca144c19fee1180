//! How many crates a program with the library is compiled from.

use std::collections::BTreeSet;
use std::process::Command;

/// What one asks of a library that others build: fewer than this many, its own included.
const FEWER_THAN: usize = 150;

#[test]
fn the_library_is_compiled_from_few_crates() {
    let arguments =
        "tree --offline --package warmstart --edges normal,build --prefix none --format {p}";
    let output = Command::new(env!("CARGO"))
        .args(arguments.split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<&str> = text
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect();
    assert!(crates.iter().any(|line| line.starts_with("wgpu ")), "{text}");
    assert!(crates.len() < FEWER_THAN, "{}: {crates:#?}", crates.len());
}
