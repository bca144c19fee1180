//! README shows the digits example as it is.

#[test]
fn readme_shows_the_whole_example() {
    let readme = include_str!("../../README.md");
    let example = include_str!("../src/bin/digits.rs");
    let (_, code) = example.split_once("\n\n").expect("a title, then code");
    assert!(readme.contains(code.trim()), "copy examples/src/bin/digits.rs into README.md");
}

/// The program is compiled as an example of the library's documentation.
#[test]
fn readme_shows_how_another_program_uses_the_weights() {
    let documentation = include_str!("../src/lib.rs");
    let lines = documentation.lines().map(|line| line.trim_start_matches("//!"));
    let text: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let text = text.join("\n");
    let code = text.split("```no_run\n").nth(1).and_then(|code| code.split("```").next());
    let code = code.expect("a block of code").trim();
    assert!(include_str!("../../README.md").contains(code), "README shows another program");
}
