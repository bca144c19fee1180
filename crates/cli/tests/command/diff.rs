use crate::{floats, foreign, json, trained, warmstart};
use std::path::Path;

fn two(directory: &Path, a: &[f32], b: &[f32]) {
    let shape: &[usize] = &[a.len()];
    foreign(&directory.join("a.safetensors"), &[("w", "F32", shape, floats(a))]);
    foreign(&directory.join("b.safetensors"), &[("w", "F32", shape, floats(b))]);
}

#[test]
fn values_are_compared_only_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    two(directory.path(), &[1.0, f32::NAN, 4.0], &[1.0, f32::NAN, 5.0]);
    let diff = |more: &[&str]| {
        warmstart(directory.path(), &[&["diff", "a.safetensors", "b.safetensors"], more].concat())
    };
    assert!(
        diff(&[])
            .with(0)
            .contains("shapes are the same; values were not compared, which --values does")
    );
    let out = diff(&["--values"]).with(1);
    let row = out.lines().find(|line| line.starts_with("w ")).unwrap();
    let row: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(row, ["w", "1", "3", "1", "0.2"], "{out}");
    let value = json(&diff(&["--values", "--json"]).with(1));
    assert_eq!((&value["same"], &value["values"][0]["unequal"]), (&false.into(), &1.into()));
    assert_eq!(
        (&value["values"][0]["absolute"], &value["values"][0]["relative"]),
        (&1.0.into(), &0.2.into())
    );
    let same = warmstart(directory.path(), &["diff", "a.safetensors", "a.safetensors", "--values"]);
    assert!(same.with(0).contains("names, dtypes, shapes and values are the same"));
}

#[test]
fn whole_numbers_that_are_one_as_floats_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    for (name, value) in [("a", u64::MAX), ("b", u64::MAX - 1)] {
        let file = directory.path().join(name);
        let opaque = vec![name.as_bytes()[0]; 8];
        foreign(
            &file,
            &[("n", "U64", &[1], value.to_le_bytes().into()), ("c", "C64", &[1], opaque)],
        );
    }
    let value =
        json(&warmstart(directory.path(), &["diff", "a", "b", "--values", "--json"]).with(1));
    assert_eq!(value["values"][0]["unequal"], 1, "{value}");
    assert_eq!(value["values"][1]["equal"], false, "{value}");
    warmstart(directory.path(), &["diff", "a", "a", "--values"]).with(0);
}

#[test]
fn names_shapes_and_dtypes_are_compared_and_rules_inferred() {
    let directory = tempfile::tempdir().unwrap();
    let weights = |scope: &str| ["weight", "bias"].map(|name| format!("{scope}/fc1/{name}"));
    for (file, scope, dtype, bytes) in [("a", "old", "F32", 4), ("b", "new", "F16", 2)] {
        let [weight, bias] = weights(scope);
        foreign(
            &directory.path().join(file),
            &[
                ("kind", dtype, &[2], vec![0; 2 * bytes]),
                (&weight, "F32", &[2, 3], floats(&[0.0; 6])),
                (&bias, "F32", &[3], floats(&[0.0; 3])),
            ],
        );
    }
    let out = warmstart(directory.path(), &["diff", "a", "b"]).with(1);
    for text in [
        "2 tensors only in a",
        "2 tensors only in b",
        "1 tensor of another dtype or shape",
        "f32 [2]",
        "f16 [2]",
        "--rename-",
    ] {
        assert!(out.contains(text), "{text}\n{out}");
    }
    let value = json(&warmstart(directory.path(), &["diff", "a", "b", "--json"]).with(1));
    assert_eq!(value["only_a"].as_array().unwrap().len(), 2);
    assert_eq!(value["different_kind"][0]["b"]["dtype"], "f16");
    assert!(value["values"].is_null());
}

#[test]
fn two_steps_of_one_run_differ_by_their_values() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    trained(directory.path(), 2, 8, 0.5);
    let arguments = ["diff", "step-1.safetensors", "step-2.safetensors", "--values"];
    let out = warmstart(directory.path(), &arguments).with(1);
    assert!(
        out.contains("step 1\n") && out.contains("step 2\n") && out.contains("fc1/weight"),
        "{out}"
    );
    assert!(out.contains(" of equal values"), "{out}");
    warmstart(directory.path(), &arguments[..3]).with(0);
    let error = warmstart(directory.path(), &["diff", "step-1.safetensors", "c"]).failed();
    assert!(error.contains("`c`"), "{error}");
}

#[test]
fn under_rules_one_is_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| warmstart(directory.path(), arguments);
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    foreign(
        &a,
        &[
            ("module.w", "F32", &[2, 3], floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])),
            ("module.table", "F32", &[3, 1], floats(&[1.0, 2.0, 3.0])),
            ("module.n", "I32", &[1], vec![7, 0, 0, 0]),
            ("module.old", "F32", &[1], floats(&[0.0])),
        ],
    );
    foreign(
        &b,
        &[
            ("w", "F32", &[3, 2], floats(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0])),
            ("table", "F32", &[2, 1], floats(&[1.0, 2.0])),
            ("n", "F32", &[1], floats(&[7.0])),
        ],
    );
    run(&["diff", "a", "b", "--values"]).with(1);
    let rules = directory.path().join("rules.toml");
    let text = "rules = [\n  { strip_prefix = \"module.\" },\n  { transpose = \"w\" },\n\
        \x20 { resize_rows = [\"table\", 0] },\n  { cast = \"n\" },\n  { ignore = \"old\" },\n]\n";
    std::fs::write(&rules, text).unwrap();
    let diff = ["diff", "a", "b", "--values", "--rules", "rules.toml"];
    let out = run(&diff).with(0);
    for text in [
        "names, dtypes, shapes and values are the same under these rules",
        "ignored: 1 tensor of a, 0 of b",
        "not compared: 1 row that",
    ] {
        assert!(out.contains(text), "{text}\n{out}");
    }
    let value = json(&run(&[&diff[..], &["--json"]].concat()).with(0));
    assert_eq!(value["ignored_a"], serde_json::json!(["module.old"]));
    assert_eq!((&value["rows_not_compared"], &value["allowed"]), (&1.into(), &0.into()));
    assert_eq!(
        (&value["same"], &value["under"][1]),
        (&true.into(), &"{ transpose = \"w\" }".into())
    );
    // The same file is one for the others.
    run(&["plan", "a", "--graph", "b", "--rules", "rules.toml"]).with(0);
    std::fs::write(&rules, "rules = [{ strip_prefix = \"x\" }]").unwrap();
    assert!(run(&diff).failed().contains("`{ strip_prefix = \"x\" }` touches no name"));
    std::fs::write(&rules, "rules = [{ strip_prefx = \"x\" }]").unwrap();
    let error = run(&diff).failed();
    assert!(
        error.contains("did you mean `strip_prefix`?") && error.contains("[warm_start]"),
        "{error}"
    );
    std::fs::write(&rules, "rules = [{ strip_prefix = \"module.\" }, { transpose = \"w\" }]")
        .unwrap();
    let out = run(&["convert", "a", "c.safetensors", "--rules", "rules.toml"]).with(0);
    assert!(out.contains("1 transposed"), "{out}");
    run(&["diff", "a", "c.safetensors", "--values", "--rules", "rules.toml"]).with(0);
}

/// As for `plan`: what a rule's glob matches is not what the rule does.
#[test]
fn a_rule_about_values_that_none_needs_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| warmstart(directory.path(), arguments);
    for file in ["a", "b"] {
        let tensors = [
            ("w", "F32", &[2, 3][..], floats(&[0.0; 6])),
            ("bias", "F32", &[3], floats(&[0.0; 3])),
        ];
        foreign(&directory.path().join(file), &tensors);
    }
    let rules = directory.path().join("rules.toml");
    let diff = ["diff", "a", "b", "--rules", "rules.toml"];
    let plan = ["plan", "a", "--graph", "b", "--rules", "rules.toml"];
    for rule in ["transpose = \"bias\"", "cast = \"{w,bias}\"", "reshape = \"w\""] {
        std::fs::write(&rules, format!("rules = [{{ {rule} }}]")).unwrap();
        let error = run(&diff).failed();
        let told = format!("`{{ {rule} }}` changes nothing: it matches ");
        assert!(
            error.contains(&told) && error.contains("none that takes part needs it"),
            "{error}"
        );
        let out = run(&plan).with(1);
        assert!(out.contains("` changes nothing: "), "{out}");
    }
    // Whatever there is may need nothing.
    std::fs::write(&rules, "rules = [{ cast = \"**\" }, { reshape = \"**\" }]").unwrap();
    run(&diff).with(0);
    run(&plan).with(0);
    // A name that is mistyped is one of b.
    std::fs::write(&rules, "rules = [{ transpose = \"biass\" }]").unwrap();
    let error = run(&diff).failed();
    assert!(error.contains("did you mean `{ transpose = \"bias\" }`?"), "{error}");
}

#[test]
fn what_is_suggested_as_a_file_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let of = |scope: &str| ["weight", "bias"].map(|name| format!("{scope}/fc1/{name}"));
    for (file, scope) in [("a", "old"), ("b", "new")] {
        let [weight, bias] = of(scope);
        let tensors = [
            (&*weight, "F32", &[2, 3][..], floats(&[0.0; 6])),
            (&*bias, "F32", &[3], floats(&[0.0; 3])),
        ];
        foreign(&directory.path().join(file), &tensors);
    }
    let out = warmstart(directory.path(), &["diff", "a", "b"]).with(1);
    let (_, file) = out.split_once("As a file for --rules:\n").unwrap();
    let (file, _) = file.split_once("\n  ]\n").unwrap();
    std::fs::write(directory.path().join("rules.toml"), format!("{file}\n]\n")).unwrap();
    let diff = ["diff", "a", "b", "--values", "--rules", "rules.toml"];
    warmstart(directory.path(), &diff).with(0);
}

#[test]
fn what_a_file_of_rules_allows_is_no_difference() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| warmstart(directory.path(), arguments);
    let rules = directory.path().join("rules.toml");
    let one =
        |name: &'static str, values: &[f32]| (name, "F32", vec![values.len()], floats(values));
    for (file, tensors) in [
        ("a", [one("w", &[1.0]), one("head", &[1.0, 2.0]), one("old", &[1.0])]),
        ("b", [one("w", &[1.0]), one("head", &[1.0]), one("new", &[1.0])]),
    ] {
        let tensors = tensors
            .each_ref()
            .map(|(n, dtype, shape, data)| (*n, *dtype, &shape[..], data.clone()));
        foreign(&directory.path().join(file), &tensors);
    }
    let diff = |text: &str, more: &[&str]| {
        std::fs::write(&rules, text).unwrap();
        run(&[&["diff", "a", "b", "--values", "--rules", "rules.toml"], more].concat())
    };
    let all = "allow_missing = true\nallow_unexpected = true\nallow_mismatched_shape = true\n";
    let out = diff(all, &[]).with(0);
    for text in [
        "only in a, which is allowed",
        "only in b, which is allowed",
        "allowed to differ: 3 tensors",
        "the same under these rules",
    ] {
        assert!(out.contains(text), "{text}\n{out}");
    }
    let value = json(&diff(all, &["--json"]).with(0));
    assert_eq!((&value["same"], &value["allowed"]), (&true.into(), &3.into()));
    // Each of them alone is not all.
    for line in all.lines() {
        let value = json(&diff(&all.replace(line, ""), &["--json"]).with(1));
        assert_eq!((&value["same"], &value["allowed"]), (&false.into(), &2.into()), "{line}");
    }
    // Of nothing, nothing is said.
    let error = diff("rules = [{ ignore = \"**\" }]", &[]).failed();
    assert!(error.contains("leave no tensor to compare"), "{error}");
    let error = diff(&format!("rules = [{{ ignore = \"w\" }}]\n{all}"), &[]).failed();
    assert!(error.contains("leave no tensor to compare"), "{error}");
}

/// A restore wants a value for each variable, which a comparison does not.
#[test]
fn suggested_flags_are_whole_for_plan() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    trained(at, 1, 7, 0.5);
    let tensors = [
        ("module.fc1.weight", "F32", &[3, 4][..], floats(&[0.5; 12])),
        ("module.fc1.bias", "F32", &[4], floats(&[0.5; 4])),
    ];
    foreign(&at.join("theirs.safetensors"), &tensors);
    let diff = ["diff", "theirs.safetensors", "step-1.safetensors"];
    let out = warmstart(at, &diff).with(1);
    assert!(out.contains("\n  `plan` needs --allow-missing too\n"), "{out}");
    let value = json(&warmstart(at, &[&diff[..], &["--json"]].concat()).with(1));
    assert_eq!(value["rules"][0]["plan_also"], "--allow-missing", "{value}");
}

/// What both have and no variable can be, `plan` leaves out by itself.
#[test]
fn what_no_variable_can_be_needs_no_flag_of_plan() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for scope in ["a", "b"] {
        let [weight, bias, count] =
            ["weight", "bias", "count"].map(|name| format!("{scope}/{name}"));
        let tensors = [
            (weight.as_str(), "F32", &[3, 4][..], floats(&[0.5; 12])),
            (bias.as_str(), "F32", &[4], floats(&[0.5; 4])),
            (count.as_str(), "I64", &[], vec![0; 8]),
        ];
        foreign(&at.join(scope), &tensors);
    }
    let out = warmstart(at, &["diff", "a", "b"]).with(1);
    assert!(out.contains("for 2 of 2 variables:\n  --rename-scope a=b\n\n"), "{out}");
    assert!(out.contains("note: 1 tensor that only b has cannot be a variable"), "{out}");
    warmstart(at, &["plan", "a", "--graph", "b", "--rename-scope", "a=b"]).with(0);
    let value = json(&warmstart(at, &["diff", "a", "b", "--json"]).with(1));
    assert_eq!(value["rules"][0]["plan_also"], "", "{value}");
}

/// Nothing that could be allowed makes a variable of complex numbers.
#[test]
fn what_plan_does_not_take_whatever_is_allowed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (name, scope, dtype, bytes) in [("a", "a", "C64", 8), ("b", "b", "F32", 4)] {
        let (weight, bias) = (format!("{scope}/weight"), format!("{scope}/bias"));
        let tensors = [
            (weight.as_str(), "F32", &[3, 4][..], floats(&[0.5; 12])),
            (bias.as_str(), "F32", &[4], floats(&[0.5; 4])),
            ("flag", dtype, &[1], vec![0; bytes]),
        ];
        foreign(&at.join(name), &tensors);
    }
    let out = warmstart(at, &["diff", "a", "b"]).with(1);
    let line = "  --rename-scope a=b\n  `plan` does not fit with them yet, and says what is still \
                wrong\n";
    assert!(out.contains(line) && !out.contains("`plan` needs"), "{out}");
    let value = json(&warmstart(at, &["diff", "a", "b", "--json"]).with(1));
    let rule = value["rules"][0].as_object().unwrap();
    assert!(rule["plan_also"].is_null(), "{value}");
}

#[test]
fn of_many_damaged_checkpoints_the_newest_few_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let whole = trained(directory.path(), 1, 7, 0.5);
    for step in 2..10 {
        std::fs::write(whole.with_file_name(format!("step-{step}.safetensors")), b"").unwrap();
    }
    for command in [
        &["diff", ".", "."][..],
        &["inspect", "."],
        &["plan", "step-1.safetensors", "--graph", "."],
        &["latest", "."],
        &["latest", ".", "--best", "loss", "--lower"],
        &["convert", ".", "out.safetensors", "--only", "fc1/weight"],
    ] {
        let ran = warmstart(directory.path(), command);
        // For the subcommands that print one thing, notes are beside it.
        let out = format!("{}{}", ran.out, ran.error);
        assert_eq!(ran.code, 0, "{out}");
        let told = out.matches(" damaged, and an older one was opened: ").count()
            + out.matches(" damaged checkpoint was left out, which may be better: ").count();
        assert_eq!(told, 5, "{command:?}: {out}");
        assert!(out.contains(" 3 more checkpoints are damaged\n"), "{command:?}: {out}");
    }
}

#[test]
fn each_of_several_ways_says_what_plan_needs() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (file, scopes) in [("a", &["a", "b"][..]), ("b", &["c"])] {
        let names: Vec<String> = scopes
            .iter()
            .flat_map(|scope| ["w", "b"].map(|name| format!("{scope}/{name}")))
            .collect();
        let tensor = |name| match str::ends_with(name, "/w") {
            true => (name, "F32", &[3, 4][..], floats(&[0.5; 12])),
            false => (name, "F32", &[3][..], floats(&[0.5; 3])),
        };
        let tensors: Vec<_> = names.iter().map(|name| tensor(name.as_str())).collect();
        foreign(&at.join(file), &tensors);
    }
    let out = warmstart(at, &["diff", "a", "b"]).with(1);
    let ways = out.matches("As flags, for 2 of 2 variables (way ").count();
    assert!(ways > 1, "{out}");
    assert_eq!(out.matches("  `plan` needs --allow-unexpected too\n").count(), ways, "{out}");
    // All that is about a way stands together.
    let (_, first) = out.split_once("(way 1 of ").unwrap();
    let (first, _) = first.split_once("(way 2 of ").unwrap();
    assert!(first.contains("`plan` needs") && first.contains("As a file for --rules:"), "{out}");
}
