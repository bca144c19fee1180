//! `docs/cli.md` is what the help says.

use crate::warmstart;
use std::fmt::Write;
use std::path::Path;

#[test]
fn the_page_of_the_command_is_its_help() {
    let here = Path::new(".");
    let help = |arguments: &[&str]| {
        let text = warmstart(here, &[arguments, &["--help"]].concat()).with(0);
        // As it is called on Windows.
        let text = text.replace("warmstart.exe", "warmstart");
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n").trim_end().to_owned()
    };
    let whole = help(&[]);
    let names = subcommands(&whole);
    assert!(names.len() > 8, "{names:?}");
    let mut page = format!(
        "# The command `warmstart`\n\nWhat `warmstart help` says. A test holds this page against \
         it; `WARMSTART_WRITE_PAGE=1 cargo test -p warmstart-cli help` writes it \
         anew.\n\n```text\n{whole}\n```\n"
    );
    let mut section = |arguments: &[&str]| {
        let text = help(arguments);
        writeln!(page, "\n## warmstart {}\n\n```text\n{text}\n```", arguments.join(" ")).unwrap();
        subcommands(&text)
    };
    for name in names {
        for within in section(&[&name]) {
            section(&[&name, &within]);
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    if std::env::var_os("WARMSTART_WRITE_PAGE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let written = written.replace(std::path::MAIN_SEPARATOR, "/");
    let differs = page.lines().zip(written.lines()).find(|(now, then)| now != then);
    assert!(page == written, "docs/cli.md is not what the help says; first at {differs:?}");
}

/// The names that a help lists.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .filter(|name| name != "help")
        .collect()
}
