use crate::{floats, foreign, json, trained, warmstart};

#[test]
fn suggestions_are_flags_that_make_it_fit() {
    let directory = tempfile::tempdir().unwrap();
    let mine = trained(directory.path(), 1, 7, 0.5);
    foreign(
        &directory.path().join("theirs.safetensors"),
        &[
            ("module.fc1.weight", "F32", &[4, 3], floats(&[0.5; 12])),
            ("module.fc1.bias", "F32", &[4], floats(&[0.5; 4])),
        ],
    );
    let mine = mine.to_str().unwrap();
    let plan = |more: &[&str]| {
        let arguments = ["plan", "theirs.safetensors", "--graph", mine];
        warmstart(directory.path(), &[&arguments, more].concat())
    };
    let out = plan(&[]).with(1);
    assert!(out.contains("restore theirs.safetensors → "), "{out}");
    assert!(out.contains("As flags, for 2 of "), "{out}");
    let value = json(&plan(&["--json"]).with(1));
    assert_eq!(value["closes"], false);
    let flags = value["suggestions"][0]["flags"].as_array().unwrap();
    let line: Vec<&str> = flags.iter().map(|flag| flag.as_str().unwrap()).collect();
    assert!(out.contains(&format!("\n  {}\n", line.join(" "))), "{out}");
    // As a shell takes them apart.
    let words: Vec<String> = line
        .iter()
        .flat_map(|flag| flag.split(' '))
        .map(|word| word.replace(['\'', '"'], ""))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(words.last(), Some(&"--allow-missing"), "{out}");
    // No tensor is left that could be.
    assert!(!out.contains("--allow-unexpected"), "{out}");
    let out = plan(&words).with(0);
    assert!(out.contains("would fit   2 "), "{out}");
    assert!(out.contains("note: values were not read: `warmstart verify`"), "{out}");
    let value = json(&plan(&[&words[..], &["--json"]].concat()).with(0));
    assert_eq!((&value["closes"], &value["counts"]["restored"]), (&true.into(), &2.into()));
}

#[test]
fn the_model_is_a_checkpoint_or_a_graph() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let run = |arguments: &[&str]| warmstart(directory.path(), arguments);
    run(&["plan", ".", "--graph", "."]).with(0);
    let graph = run(&["graph", ".", "--json"]).with(0);
    std::fs::write(directory.path().join("graph.json"), &graph).unwrap();
    let out = run(&["plan", ".", "--graph", "graph.json"]).with(0);
    // Nothing is restored, and there is no device to be left alone.
    assert!(out.contains("would fit") && !out.contains("restored"), "{out}");
    // Of a file of another program, the tensors are the variables.
    let tensors = [("a", "F32", &[1][..], floats(&[1.0]))];
    foreign(&directory.path().join("a.safetensors"), &tensors);
    run(&["plan", "a.safetensors", "--graph", "a.safetensors"]).with(0);
    let out = run(&["plan", "a.safetensors", "--graph", "."]).with(1);
    assert!(!out.contains("device"), "{out}");
    std::fs::write(directory.path().join("bad.json"), "{\"nodes\": 3}").unwrap();
    let error = run(&["plan", ".", "--graph", "bad.json"]).failed();
    assert!(error.contains("`bad.json` does not describe a graph"), "{error}");
}

/// What no rule and no permission mends is left for the next time.
#[test]
fn flags_that_do_not_make_it_fit_yet_are_told_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, scope: &str, (dtype, bytes): (&str, usize)| {
        let (weight, bias) = (format!("{scope}/weight"), format!("{scope}/bias"));
        let tensors = [
            (weight.as_str(), "F32", &[3, 4][..], floats(&[0.5; 12])),
            (bias.as_str(), "F32", &[4], floats(&[0.5; 4])),
            ("flag", dtype, &[1], vec![0; bytes]),
        ];
        foreign(&directory.path().join(name), &tensors);
    };
    file("theirs.safetensors", "a", ("C64", 8));
    file("mine.safetensors", "b", ("F32", 4));
    let plan = ["plan", "theirs.safetensors", "--graph", "mine.safetensors"];
    let out = warmstart(directory.path(), &plan).with(1);
    let flags = "As flags, for 2 of 3 variables; with these alone it does not fit yet, and `warmstart plan` \
                 with them says why:\n  --rename-scope a=b\n";
    assert!(out.contains(flags), "{out}");
}

/// Several ways are a line of flags each, with what it takes; what all of them take for granted is told once.
#[test]
fn each_of_several_ways_is_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, scopes: &[&str]| {
        let names = scopes.iter().map(|scope| [format!("{scope}/w"), format!("{scope}/b")]);
        let names: Vec<[String; 2]> = names.collect();
        let layer = |[weight, bias]: &'_ [String; 2]| {
            let [weight, bias]: [&'static str; 2] = [weight.clone().leak(), bias.clone().leak()];
            [
                (weight, "F32", &[3, 4][..], floats(&[0.5; 12])),
                (bias, "F32", &[4][..], floats(&[0.5; 4])),
            ]
        };
        let tensors: Vec<_> = names.iter().flat_map(layer).collect();
        foreign(&directory.path().join(name), &tensors);
    };
    file("theirs.safetensors", &["a", "b"]);
    file("mine.safetensors", &["c"]);
    let plan = ["plan", "theirs.safetensors", "--graph", "mine.safetensors"];
    let out = warmstart(directory.path(), &plan).with(1);
    let ways = "help: there are 2 ways to restore more, and nothing says which of them is meant";
    assert!(out.contains(ways) && !out.contains("As flags"), "{out}");
    for scope in ["a", "b"] {
        let way =
            format!("restores 2 of 2:\n          --rename-scope {scope}=c --allow-unexpected\n");
        assert_eq!(out.matches(&way).count(), 1, "{out}");
        assert_eq!(out.matches(&format!("--rename-scope {scope}=c")).count(), 1, "{out}");
        let flags = ["--rename-scope", &format!("{scope}=c"), "--allow-unexpected"];
        warmstart(directory.path(), &[&plan[..], &flags[..]].concat()).with(0);
    }
    let out = warmstart(directory.path(), &[&plan[..], &["--rename", "x=y"]].concat()).with(1);
    let place = "note: the flags of each way come in place of the rules that were given\n";
    assert!(out.contains(place), "{out}");
}

/// A rule that is a mistake is not to be given again.
#[test]
fn flags_come_after_the_rules_that_do_something() {
    let directory = tempfile::tempdir().unwrap();
    for (file, scopes) in [("theirs.safetensors", ["a", "c"]), ("mine.safetensors", ["b", "d"])] {
        let names = scopes.map(|scope| [format!("{scope}/weight"), format!("{scope}/bias")]);
        let [[a, b], [c, d]] = &names;
        let tensors = [
            (a.as_str(), "F32", &[3, 4][..], floats(&[0.5; 12])),
            (b.as_str(), "F32", &[4], floats(&[0.5; 4])),
            (c.as_str(), "F32", &[5, 7], floats(&[0.5; 35])),
            (d.as_str(), "F32", &[7], floats(&[0.5; 7])),
        ];
        foreign(&directory.path().join(file), &tensors);
    }
    let plan = ["plan", "theirs.safetensors", "--graph", "mine.safetensors"];
    let (good, idle) = ("--rename-scope c=d", "--rename x=y");
    for (given, after) in [
        ("", "for 4 of"),
        (good, "after the rules that were given, for 2 of"),
        (&format!("{idle} {good}"), "after the rules that were given and do something, for 2 of"),
        (idle, "in place of the rules that were given, for 4 of"),
        // One pair of this map does nothing, which is an error; the others are applied all the same.
        ("--assignment-map a/=a/,c/=d/,x/=b/,y/=z/", "after the rules that were given, for 2 of"),
        ("--rename-regex ( x", "in place of the rules that were given, for 4 of"),
    ] {
        let given: Vec<&str> = given.split_whitespace().collect();
        let out = warmstart(directory.path(), &[&plan[..], &given].concat());
        let out = out.with(1);
        assert!(out.contains(&format!("As flags, {after} ")), "{after}\n{out}");
    }
}

/// As many as are searched for: nobody knows of how many they are.
#[test]
fn ways_that_are_not_told_are_said_to_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let names = ["a", "b", "c", "d", "e", "f"].map(|scope| format!("branch_{scope}/w"));
    let mine = ("branch_x/w", "F32", &[3, 4][..], floats(&[0.5; 12]));
    foreign(&at.join("mine.safetensors"), &[mine]);
    for (n, ways, more) in [(3, "3", false), (6, "at least 4", true)] {
        let theirs: Vec<_> = names[..n]
            .iter()
            .map(|name| (&**name, "F32", &[3, 4][..], floats(&[0.5; 12])))
            .collect();
        foreign(&at.join("theirs.safetensors"), &theirs);
        for command in [
            &["plan", "theirs.safetensors", "--graph", "mine.safetensors"][..],
            &["diff", "theirs.safetensors", "mine.safetensors"],
        ] {
            let out = warmstart(at, command).with(1);
            // The flags of each are in the report of the one, and below that of the other.
            let way = match command[0] {
                "plan" => format!("there are {ways} ways to restore more, and nothing says which"),
                _ => format!("(way 1 of {ways}; nothing says which is meant)"),
            };
            assert!(out.contains(&way), "{way}\n{out}");
            let value = json(&warmstart(at, &[command, &["--json"]].concat()).with(1));
            let key = if command[0] == "plan" { "suggestions" } else { "rules" };
            assert_eq!(value[key][0]["may_be_more"], more, "{value:#}");
        }
    }
}

/// No flag is shown for such a name, but a file can say it.
#[test]
fn rules_that_are_no_flags_are_suggested_as_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    // What a terminal does not show as it is; or what the shells of Windows change.
    let theirs = if cfg!(windows) { "a$c" } else { "a\u{1b}" };
    for (file, scope) in [("theirs.safetensors", theirs), ("mine.safetensors", "b")] {
        let (weight, bias) = (format!("{scope}/weight"), format!("{scope}/bias"));
        let tensors = [
            (weight.as_str(), "F32", &[3, 4][..], floats(&[0.5; 12])),
            (bias.as_str(), "F32", &[4], floats(&[0.5; 4])),
        ];
        foreign(&at.join(file), &tensors);
    }
    let plan = ["plan", "theirs.safetensors", "--graph", "mine.safetensors"];
    let out = warmstart(at, &plan).with(1);
    assert!(!out.contains("As flags") && !out.contains('\u{1b}'), "{out}");
    let (_, file) = out.split_once("As a file for --rules, for 2 of 2 variables:\n").unwrap();
    std::fs::write(at.join("rules.toml"), file).unwrap();
    warmstart(at, &[&plan[..], &["--rules", "rules.toml"]].concat()).with(0);
}

#[test]
fn a_rule_that_does_nothing_is_told() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let out =
        warmstart(directory.path(), &["plan", ".", "--graph", ".", "--rename", "x=y"]).with(1);
    assert!(out.contains("error: `--rename x=y` touches no name."), "{out}");
    let plan = ["plan", ".", "--graph", ".", "--ignore", "**/wieght"];
    // Windows has other quotes.
    let out = warmstart(directory.path(), &plan).with(1).replace('"', "'");
    let near = "help: did you mean `--ignore '**/weight'` for `--ignore '**/wieght'`?";
    assert!(out.contains(near), "{out}");
}

#[test]
fn slots_without_their_weights_are_told_with_flags_and_in_json() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let plan = |more: &[&str]| {
        let arguments = ["plan", ".", "--graph", ".", "--ignore", "fc1/weight"];
        warmstart(directory.path(), &[&arguments, more].concat())
    };
    // Windows has other quotes.
    let out = plan(&[]).with(1).replace('"', "'");
    let error = "error: adam's slots m, v for fc1/weight would be restored, though what they \
                 belong to is not.";
    let help = "help: `--ignore 'fc1/weight/**'` leaves these slots out, too, so that they begin anew \
                with what they belong to; `--allow-slots-alone` restores them";
    assert!(out.contains(error) && out.contains(help), "{out}");
    let value = json(&plan(&["--json"]).with(1));
    assert_eq!(value["slots_alone"], serde_json::json!(["fc1/weight/adam/m", "fc1/weight/adam/v"]));
    assert_eq!(value["errors"].as_array().map(Vec::len), Some(1), "{value}");
    assert!(value["errors"][0].as_str().is_some_and(|told| error.ends_with(told)), "{value}");
    assert!(value["helps"][0].as_str().is_some_and(|told| told.contains("--allow-slots-alone")));
    plan(&["--ignore", "fc1/weight/**"]).with(0);
    let value = json(&plan(&["--allow-slots-alone", "--json"]).with(0));
    let note = "adam's slots m, v for fc1/weight: restored, though what they belong to is not";
    assert_eq!(value["notes"], serde_json::json!([note]));
}

#[test]
fn reports_name_flags_and_no_methods() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let tensors = [
        ("fc1/weight", "F32", &[3, 4][..], floats(&[0.0; 12])),
        ("fc1/bias", "F32", &[5], floats(&[0.0; 5])),
        ("extra", "F64", &[1], vec![0; 8]),
    ];
    foreign(&directory.path().join("a.safetensors"), &tensors);
    let plan = ["plan", "a.safetensors", "--graph", "."];
    let out = warmstart(directory.path(), &plan).with(1);
    for flag in [
        "`--allow-missing` ",
        "`--allow-unexpected` ",
        "`--allow-mismatched-shape`",
        "`--resize-rows fc1/bias=0`",
    ] {
        assert!(out.contains(flag), "{flag}\n{out}");
    }
    assert!(!out.contains("()") && !out.contains("`."), "{out}");
    let all = ["--allow-missing", "--allow-unexpected", "--allow-mismatched-shape"];
    let out = warmstart(directory.path(), &[&plan[..], &all].concat()).with(0);
    assert!(out.contains("missing variables keep what they have\n"), "{out}");
    // Flags may come from a file.
    let text = "allow_missing = true\nallow_unexpected = true\nallow_mismatched_shape = true\n";
    std::fs::write(directory.path().join("rules.toml"), text).unwrap();
    let by_file = warmstart(directory.path(), &[&plan[..], &["--rules", "rules.toml"]].concat());
    assert_eq!(by_file.with(0), out);
}

#[test]
fn a_model_without_variables_is_told_which_dtypes_they_have() {
    let directory = tempfile::tempdir().unwrap();
    foreign(&directory.path().join("n.safetensors"), &[("n", "I64", &[1], vec![0; 8])]);
    let plan = ["plan", "n.safetensors", "--graph", "n.safetensors"];
    let error = warmstart(directory.path(), &plan).failed();
    assert!(error.contains("that variables have: f32, f16, bf16, i32, u32"), "{error}");
}

/// The tensors of a file of another program are no declarations.
#[test]
fn what_a_file_does_not_declare_is_not_said_to_be_declared() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    let weight = [("fc1/weight", "F32", &[3, 4][..], floats(&[0.5; 12]))];
    foreign(&directory.path().join("theirs.safetensors"), &weight);
    let arguments = ["plan", "step-1.safetensors", "--graph", "theirs.safetensors"];
    let out =
        warmstart(directory.path(), &[&arguments[..], &["--allow-unexpected"]].concat()).with(0);
    assert!(out.contains("would fit   1 ") && !out.contains("declared"), "{out}");
}
