//! `warmstart train` where columns of the inputs say what the target is.

use crate::warmstart;

/// However the task is said, and also where it is not.
#[test]
fn a_target_that_inputs_give_away_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let few = "1,1,0,0\n2,0,1,0\n3,0,0,1\n4,1,0,0\n5,0,1,0\n";
    let one_hot = format!("a,x,y,z\n{few}{few}");
    let one_hot = one_hot.as_str();
    let ran = |data: &str, keys: &str, more: &str| {
        std::fs::write(at.join("data.csv"), data).unwrap();
        let toml = format!("[data]\nfile = \"data.csv\"\n{keys}[training]\nsteps = 1\n{more}");
        std::fs::write(at.join("run.toml"), toml).unwrap();
        std::fs::remove_dir_all(at.join("runs")).ok();
        warmstart(at, &["train", "run.toml", "--quiet"])
    };
    for (keys, more, say) in [
        (
            "",
            "",
            "`target = \"z\"`, with `task = \"classification\"` or `task = \"regression\"` under",
        ),
        ("task = \"classification\"\n", "", "`target = \"z\"` under [data]"),
        ("task = \"regression\"\n", "", "`target = \"z\"` under [data]"),
        ("", "loss = \"cross_entropy\"\n", "`target = \"z\"` under [data]"),
    ] {
        let error = ran(one_hot, keys, more).failed();
        for said in [
            "column `z`, the target since it is the last, holds 0 and 1, and looks one-hot together with the \
             columns before it (column `x`, column `y`): as inputs, those would give it away",
            "with pandas: `frame[[\"x\", \"y\", \"z\"]].idxmax(axis=1)`, and leave these out",
            say,
        ] {
            assert!(error.contains(said), "{keys}{more}{error}\nis not\n{said}");
        }
    }
    // What was named, or looked at, is trained on, and told.
    let task = "task = \"classification\"\n";
    for (target, given, left_out) in [
        ("target = \"z\"\n", "given away by column `x`, column `y`: together", "[\"x\", \"y\"]"),
        ("target = \"x\"\n", "given away by column `y`, column `z`: together", "[\"y\", \"z\"]"),
        (
            "ignore = [\"x\"]\n",
            "partly given away by column `y`: together with column `x`",
            "[\"x\", \"y\"]",
        ),
    ] {
        let out = ran(one_hot, &format!("{task}{target}"), "").with(0);
        let note = format!("the target, is {given} they look one-hot");
        assert!(out.contains(&note), "{target}{out}\nis not\n{note}");
        assert!(out.contains(&format!("with `ignore = {left_out}` under [data]")), "{target}{out}");
    }
    let two = "is_male,a,is_female\n1,1,0\n0,2,1\n0,3,1\n1,4,0\n";
    let out = ran(two, task, "").with(0);
    assert!(
        out.contains("column `is_female`, the target, is given away by column `is_male`"),
        "{out}"
    );
    // Few rows may be so by chance, and rows that are skipped are not looked at.
    let out = ran(&format!("a,x,y,z\n{few}"), task, "").with(0);
    assert!(out.contains("the target, is given away by column `x`, column `y`: together"), "{out}");
    let skipped = format!("{one_hot}?,0,0,0\n6,?,0,0\n7,0,0,\n");
    let error = ran(&skipped, "missing = \"skip\"\n", "").failed();
    assert!(error.contains("looks one-hot together with the columns before it"), "{error}");
    let error = ran(&skipped, task, "").failed();
    assert!(error.contains("line 14, column `z` has no value"), "{error}");
    // What is no input gives nothing away.
    for (data, ignore) in [(one_hot, "ignore = [\"x\", \"y\"]\n"), (two, "ignore = [1]\n")] {
        let out = ran(data, &format!("{task}{ignore}"), "").with(0);
        assert!(!out.contains("one-hot"), "{ignore}{out}");
    }
}

#[test]
fn what_is_ignored_is_no_target() {
    let rows: String = (0..20).map(|n| format!("{n},{},{}.5,{n}\n", n % 3, 2 * n)).collect();
    let data = format!("x,y,price,row\n{rows}");
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("data.csv"), data).unwrap();
    let ran = |keys: &str| {
        let head = "[data]\nfile = \"data.csv\"\ntask = \"regression\"\n";
        std::fs::write(at.join("run.toml"), format!("{head}{keys}[training]\nsteps = 1\n"))
            .unwrap();
        std::fs::remove_dir_all(at.join("runs")).ok();
        warmstart(at, &["train", "run.toml"])
    };
    for ignore in ["\"row\"", "-1", "4"] {
        let out = ran(&format!("ignore = [{ignore}]\n")).with(0);
        assert!(out.contains("2 inputs, to predict price"), "{ignore}: {out}");
    }
    let error = ran("target = \"price\"\nignore = [\"row\", \"price\"]\n").failed();
    assert!(error.contains("column `price` is a target, and to be ignored"), "{error}");
    let error = ran("ignore = [1, 2, 3, 4]\n").failed();
    assert!(error.contains("to be ignored"), "{error}");
}
