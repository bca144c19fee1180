//! With `--json`, errors are JSON too.

use crate::train::write;
use crate::{json, warmstart};

#[test]
fn every_subcommand_prints_its_error_as_one_line_of_json() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::create_dir(at.join("empty")).unwrap();
    let missing = "there is no checkpoint `none`";
    for (arguments, message) in [
        (&["inspect", "none"][..], missing),
        (&["plan", "none", "--graph", "none"], missing),
        (&["latest", "none"], "`none` does not exist"),
        (&["diff", "none", "none"], missing),
        (&["graph", "none"], missing),
        (&["convert", "none", "out.safetensors"], missing),
        (&["train", "none.toml"], "cannot read `none.toml`"),
        (&["predict", "none", "--data", "none.csv", "-o", "out.csv"], missing),
        (&["bench", "restore", "none"], "unexpected argument 'none' found"),
        (&["inspect", "empty"], "the directory `empty` holds no checkpoint"),
        // Arguments that make no sense.
        (&["inspect"], "the following required arguments were not provided: <PATH>"),
        (&["inspect", "a", "--colour"], "unexpected argument '--colour' found"),
        (&["nonsense"], "unrecognized subcommand 'nonsense'"),
    ] {
        let ran = warmstart(at, &[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 2, "{arguments:?}");
        assert_eq!(ran.out.lines().count(), 1, "{arguments:?}: {}", ran.out);
        let value = json(&ran.out);
        let error = &value["error"];
        assert_eq!(error["code"], 2, "{value}");
        assert!(error["message"].as_str().unwrap().contains(message), "{arguments:?}: {value}");
        // And the standard error has it for people.
        assert!(!ran.error.is_empty(), "{arguments:?}");
        let plain = warmstart(at, arguments);
        assert_eq!((plain.code, &plain.out[..]), (2, ""), "{arguments:?}");
    }
    let help = warmstart(at, &["inspect", "--json", "--help"]).with(0);
    assert!(help.contains("Usage: ") && !help.contains("\"error\""), "{help}");
}

#[test]
fn an_error_in_a_file_has_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "run.toml", "[data]\nfile = \"ä.csv\"\n[model]\nhiden = [3]\n");
    let ran = warmstart(at, &["train", "run.toml", "--json"]);
    let value = json(&ran.out);
    let error = &value["error"];
    assert_eq!(error["message"], "`run.toml`: there is no key `hiden` here", "{value}");
    assert_eq!((&error["file"], &error["line"]), (&"run.toml".into(), &4.into()), "{value}");
    assert_eq!(error["column"], 1, "{value}");
    assert!(error["help"].as_str().unwrap().contains("did you mean `hidden`?"), "{value}");
}

/// One document, which has the errors beside what was found.
#[test]
fn errors_of_verify_are_among_its_answers() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let ran = warmstart(at, &["verify", "none", "nothing", "--json"]);
    assert_eq!(ran.code, 2, "{}", ran.error);
    let value = json(&ran.out);
    assert_eq!(value.as_array().unwrap().len(), 2, "{value}");
    assert!(value[1]["error"].as_str().unwrap().contains("no checkpoint `nothing`"), "{value}");
}
