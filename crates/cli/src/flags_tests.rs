use super::*;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    rules: RuleFlags,
}

fn parse(arguments: &[&str]) -> Vec<Rule> {
    let arguments = ["test"].iter().chain(arguments).copied();
    Line::try_parse_from(arguments).unwrap().rules.read().unwrap().0
}

fn refused(arguments: &[&str]) -> String {
    let arguments = ["test"].iter().chain(arguments).copied();
    Line::try_parse_from(arguments).map(|_| ()).unwrap_err().to_string()
}

/// What a POSIX shell makes of a line.
fn shell(line: &str) -> Vec<String> {
    let (mut words, mut word, mut within) = (Vec::new(), None::<String>, false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                within = !within;
                word.get_or_insert_default();
            }
            '\\' if !within => word.get_or_insert_default().extend(characters.next()),
            ' ' if !within => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

fn every_rule(text: &str) -> Vec<Rule> {
    let text = || text.to_owned();
    vec![
        Rule::Rename { from: text(), to: "a=b".into() },
        Rule::RenameScope { from: String::new(), to: text() },
        Rule::RenameComponent { from: text(), to: text() },
        Rule::RenameRegex { pattern: text(), replacement: "$1=".into() },
        Rule::StripPrefix(text()),
        Rule::AddPrefix(text()),
        Rule::Separator { from: '=', to: ',' },
        Rule::Separator { from: '\\', to: '\'' },
        Rule::AssignmentMap(vec![(text(), "b/".into()), ("c".into(), text())]),
        Rule::Only(text()),
        Rule::Ignore(text()),
        Rule::Transpose(text()),
        Rule::Cast(text()),
        Rule::Reshape(text()),
        Rule::ResizeRows { glob: text(), seed: 7 },
    ]
}

#[test]
fn every_rule_comes_back_from_its_flag() {
    for text in ["fc1/weight", "**/{a,b}", "a=b,c\\d\\", "-x y", "it's", "\\=", "ü"] {
        let mut rules = every_rule(text);
        if cfg!(windows) {
            // Its shells would take the `$1` for a variable.
            rules.retain(|rule| !matches!(rule, Rule::RenameRegex { .. }));
        }
        let line: Vec<String> = rules.iter().map(|rule| flag_of(rule).unwrap()).collect();
        let take_apart = if cfg!(windows) { windows } else { shell };
        let words = take_apart(&line.join(" "));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(parse(&words), rules, "{line:?}");
    }
}

/// As it would be shown, it would be the flag of another rule.
#[test]
fn what_cannot_be_shown_as_it_is_has_no_flag() {
    for text in ["a\u{1b}b", "a\nb", "\u{202e}"] {
        for rule in every_rule(text) {
            let fixed = matches!(rule, Rule::Separator { .. });
            assert_eq!(flag_of(&rule).is_some(), fixed, "{rule}");
        }
    }
}

#[test]
fn rules_keep_the_order_of_the_command_line() {
    let rules = parse(&[
        "--transpose",
        "a",
        "--rename",
        "b=c",
        "--rename-regex",
        "d",
        "e",
        "--transpose",
        "f",
        "--rename-regex",
        "g",
        "h",
        "--rename=i=",
    ]);
    let code: Vec<String> = rules.iter().map(ToString::to_string).collect();
    let expected = [
        r#".transpose("a")"#,
        r#".rename("b", "c")"#,
        r#".rename_regex("d", "e")"#,
        r#".transpose("f")"#,
        r#".rename_regex("g", "h")"#,
        r#".rename("i", "")"#,
    ];
    assert_eq!(code, expected);
}

#[test]
fn what_is_wrong_with_a_value_is_said() {
    assert!(refused(&["--rename", "a"]).contains("no `=` between"));
    assert!(refused(&["--rename", "a=b=c"]).contains("write `\\=`"));
    assert!(refused(&["--separator", "..=/"]).contains("`..` is not one character"));
    assert!(refused(&["--resize-rows", "a"]).contains("before the seed"));
    assert!(refused(&["--resize-rows", "a=-1"]).contains("`-1` is not a whole number"));
    assert!(refused(&["--rename-regex", "a"]).contains("2"));
}

#[test]
fn rules_of_files_stand_where_the_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.toml");
    let text = "allow_missing = true\nrules = [{ strip_prefix = \"a.\" }, { cast = \"**\" }]\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let rules = parse(&["--only", "b", "--rules", file, "--ignore", "c"]);
    let code: Vec<String> = rules.iter().map(ToString::to_string).collect();
    assert_eq!(
        code,
        [r#".only("b")"#, r#".strip_prefix("a.")"#, r#".cast("**")"#, r#".ignore("c")"#]
    );
    let line = Line::try_parse_from(["test", "--rules", file]).unwrap();
    assert!(line.rules.read().unwrap().1.allow_missing);
    let line = Line::try_parse_from(["test", "--rules", "no.toml"]).unwrap();
    assert!(line.rules.read().is_err());
}

/// What a program on Windows is given of a line, by the rules of its C library.
fn windows(line: &str) -> Vec<String> {
    let (mut words, mut word, mut within, mut slashes) = (Vec::new(), None::<String>, false, 0);
    for character in line.chars() {
        if character == '\\' {
            slashes += 1;
            continue;
        }
        let halved = if character == '"' { slashes / 2 } else { slashes };
        let is_escaped = character == '"' && slashes % 2 == 1;
        if slashes > 0 {
            word.get_or_insert_default().push_str(&"\\".repeat(halved));
        }
        slashes = 0;
        match character {
            '"' if !is_escaped => {
                within = !within;
                word.get_or_insert_default();
            }
            ' ' if !within => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    if slashes > 0 {
        word.get_or_insert_default().push_str(&"\\".repeat(slashes));
    }
    words.extend(word);
    words
}

#[test]
fn words_are_quoted_as_the_shells_of_windows_take_them() {
    let words = [
        "plain/path-1.csv",
        r"C:\runs\iris",
        r"C:\my runs\iris\",
        "**/weight",
        "a{b,c}",
        "",
        "it's",
        "say \"so\"",
        "a=b,c=d",
        r#"a\"b"#,
        r#"a\\"b \c\\"#,
        r#"\""#,
    ];
    let line: Vec<String> = words.iter().map(|word| quoted_for_windows(word)).collect();
    assert_eq!(windows(&line.join(" ")), words, "{}", line.join(" "));
    // What both shells take as it is stays so, and nothing has the quotes of POSIX.
    assert_eq!(line[..2], words[..2]);
    assert_eq!(line[3], "\"**/weight\"");
    assert!(line.iter().all(|word| !word.starts_with('\'')));
    assert_eq!(quoted_for_windows(r#"a\"b"#), r#""a\\\"b""#);
}

/// Rules with such words are suggested as a file.
#[test]
fn what_the_shells_of_windows_would_change_has_no_flag_there() {
    for text in ["layer_${1}", "a$$b", "a`nb", "%PATH%", "50%", "say \"so\""] {
        assert_eq!(unchanged_for_windows(text), None, "{text}");
        assert_eq!(shell(&quoted_for_posix(text)), [text]);
        let rule = Rule::RenameRegex { pattern: "a".into(), replacement: text.into() };
        assert_eq!(flag_of(&rule).is_none(), cfg!(windows), "{text}");
    }
    for text in [r"layer_(\d+)/", "**/{a,b}", "it's", "ü", r"a\"] {
        assert_eq!(unchanged_for_windows(text), Some(quoted_for_windows(text)));
    }
}
