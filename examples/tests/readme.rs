//! README shows the digits example as it is.

#[test]
fn readme_shows_the_whole_example() {
    let readme = include_str!("../../README.md");
    let example = include_str!("../src/bin/digits.rs");
    let (_, code) = example.split_once("\n\n").expect("a title, then code");
    assert!(readme.contains(code.trim()), "copy examples/src/bin/digits.rs into README.md");
}
