//! Names of files and folders move no cursor, and begin no line that nobody wrote.

use crate::{json, trained, warmstart};

const HOSTILE: &str = "w\n\u{1b}[2K\u{202e}";

/// Everything that was printed, by commands that succeed and fail, about files in a folder of this name.
fn printed(name: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    trained(&folder, 1, 7, 0.5);
    let damaged = trained(&folder, 2, 7, 0.25);
    std::fs::write(damaged, "").unwrap();
    let whole = &*format!("{name}/step-1.safetensors");
    let (other, missing) = (&*format!("{name}/{name}.safetensors"), &*format!("{name}/none"));
    let runs: [&[&str]; 14] = [
        &["inspect", name],
        &["inspect", missing],
        &["inspect", "."],
        &["verify", name],
        &["verify", whole, missing],
        &["plan", name, "--graph", whole],
        &["plan", whole, "--graph", missing],
        &["convert", whole, other],
        &["convert", whole, name],
        &["diff", whole, other],
        &["graph", whole],
        &["latest", "."],
        &["train", missing],
        &["predict", whole, "--data", missing],
    ];
    let ran = runs.map(|arguments| {
        let ran = warmstart(directory.path(), arguments);
        format!("{arguments:?}\n{}{}", ran.out, ran.error)
    });
    // Scripts get it as it is.
    let found = json(&warmstart(directory.path(), &["latest", name, "--json"]).with(0));
    assert_eq!(found["file"], whole);
    ran.into()
}

#[test]
fn no_name_moves_the_cursor() {
    for (text, plain) in printed(HOSTILE).iter().zip(printed("w")) {
        let moves = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(moves), "{text:?}");
        assert_eq!(text.lines().count(), plain.lines().count(), "{text}\n{plain}");
    }
}
