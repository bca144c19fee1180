//! `docs/cli.md` is what the help says.

use crate::warmstart;
use std::fmt::Write;
use std::path::Path;

#[test]
fn the_page_of_the_command_is_its_help() {
    let here = Path::new(".");
    let help = |arguments: &[&str]| {
        let text = warmstart(here, &[arguments, &["--help"]].concat()).with(0);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n").trim_end().to_owned()
    };
    let whole = help(&[]);
    let commands = whole.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() > 8, "{names:?}");
    let mut page = format!(
        "# The command `warmstart`\n\nWhat `warmstart help` says. A test holds this page against \
         it; `WARMSTART_WRITE_PAGE=1 cargo test -p warmstart-cli help` writes it \
         anew.\n\n```text\n{whole}\n```\n"
    );
    for name in names {
        writeln!(page, "\n## warmstart {name}\n\n```text\n{}\n```", help(&[name])).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    if std::env::var_os("WARMSTART_WRITE_PAGE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let differs = page.lines().zip(written.lines()).find(|(now, then)| now != then);
    assert!(page == written, "docs/cli.md is not what the help says; first at {differs:?}");
}
