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
             columns before it (column `x`, column `y`): as inputs, those columns would give the target away",
            "with pandas: `frame[[\"x\", \"y\", \"z\"]].idxmax(axis=1)`, and leave these \
             columns out; the frame is to be written with `index=False`",
            say,
        ] {
            assert!(error.contains(said), "{keys}{more}{error}\nis not\n{said}");
        }
    }
    // What was named, or looked at, is trained on, and told.
    let task = "task = \"classification\"\n";
    for (target, given, left_out) in [
        (
            "target = \"z\"\n",
            "given away by column `x`, column `y`: in these 10 rows together",
            "[\"x\", \"y\"]",
        ),
        (
            "target = \"x\"\n",
            "given away by column `y`, column `z`: in these 10 rows together",
            "[\"y\", \"z\"]",
        ),
        (
            "ignore = [\"x\"]\n",
            "partly given away by column `y`: in these 10 rows together with column `x`",
            "[\"x\", \"y\"]",
        ),
    ] {
        let out = ran(one_hot, &format!("{task}{target}"), "").with(0);
        let note = format!("the target, is {given} they look one-hot");
        assert!(out.contains(&note), "{target}{out}\nis not\n{note}");
        let place = if target.starts_with("ignore") { "in place of `ignore` " } else { "" };
        let ignore = format!("with `ignore = {left_out}` {place}under [data]");
        assert!(out.contains(&ignore), "{target}{out}");
    }
    let two = "is_male,a,is_female\n1,1,0\n0,2,1\n0,3,1\n1,4,0\n";
    let out = ran(two, task, "").with(0);
    assert!(
        out.contains("column `is_female`, the target, is given away by column `is_male`"),
        "{out}"
    );
    // Few rows may be so by chance, and rows that are skipped are not looked at.
    let out = ran(&format!("a,x,y,z\n{few}"), task, "").with(0);
    assert!(
        out.contains(
            "the target, is given away by column `x`, column `y`: in these 5 rows together"
        ),
        "{out}"
    );
    assert!(out.contains("in the others), which in so few rows may be chance. Leave out"), "{out}");
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

/// Classes beside their own one-hot columns of `True` and `False`, or beside a number of theirs; copies of
/// values.
#[test]
fn a_target_that_inputs_say_in_other_words_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let ran = |data: &str, keys: &str| {
        std::fs::write(at.join("data.csv"), data).unwrap();
        let toml = format!("[data]\nfile = \"data.csv\"\n{keys}[training]\nsteps = 1\n");
        std::fs::write(at.join("run.toml"), toml).unwrap();
        std::fs::remove_dir_all(at.join("runs")).ok();
        warmstart(at, &["train", "run.toml", "--quiet"])
    };
    let names = ["rose", "tulip", "lily"];
    let rows = |row: &dyn Fn(usize) -> String| (0..30).map(row).collect::<String>();
    let flags = |at: usize| {
        let flag = |of| if at % 3 == of { "True" } else { "False" };
        format!("{}.5,{},{},{},{}\n", at * at % 31, flag(0), flag(1), flag(2), names[at % 3])
    };
    let one_hot = format!("size,is_rose,is_tulip,is_lily,flower\n{}", rows(&flags));
    let error = ran(&one_hot, "").failed();
    for said in [
        "column `flower`, the target since it is the last, is given away by column `is_rose`, column `is_tulip`, \
         column `is_lily`: in these 30 rows each of them has one value in all rows of a class, and together they \
         tell all classes apart",
        "by these lines under [data], with another `directory` at the top if a run has begun: target = \"flower\" ignore = [\"is_rose\", \"is_tulip\", \"is_lily\"] or, if \
         these columns are known then, keep them, and name the target alone, by `target = \"flower\"`",
    ] {
        assert!(error.contains(said), "{error}\nis not\n{said}");
    }
    let target = "target = \"flower\"\n";
    let out = ran(&one_hot, target).with(0);
    assert!(out.contains("4 inputs, 3 classes") && out.contains("is given away by"), "{out}");
    let ignore = "ignore = [\"is_rose\", \"is_tulip\", \"is_lily\"]\n";
    let out = ran(&one_hot, &format!("{target}{ignore}")).with(0);
    assert!(out.contains("1 input, 3 classes") && !out.contains("given away"), "{out}");
    // The one-hot columns alone are so in this spelling too.
    let flags = one_hot.replace(",flower\n", "\n");
    let flags = names.iter().fold(flags, |text, name| text.replace(&format!(",{name}\n"), "\n"));
    let error = ran(&flags, "").failed();
    assert!(error.contains("holds `True` and `False`, and looks one-hot together with"), "{error}");
    // Words that say the target are refused as inputs, and are not to be written as numbers.
    let words = |at: usize| format!("{}.5,{},{}\n", at * at % 31, ["no", "yes"][at % 2], at % 2);
    let alive = format!("age,alive,survived\n{}", rows(&words));
    let error = ran(&alive, "target = \"survived\"\ntask = \"classification\"\n").failed();
    for said in [
        "line 2, column `alive` is `no`, not a number",
        "column `survived`, the target, is given away by column `alive`: in these 30 rows each class has a value of \
         its own there. Leave out of the inputs what is not known when the model is used, with `ignore = [\"alive\"]`",
    ] {
        assert!(error.contains(said), "{error}\nis not\n{said}");
    }
    // A number of each class, and no other column: that may be all there is to learn.
    let code = |at: usize| format!("{},{}.5,{}\n", 7 * (at % 3), at * at % 31, names[at % 3]);
    let coded = format!("code,size,flower\n{}", rows(&code));
    let said = "column `code`: in these 30 rows each class has a value of its own there";
    assert!(ran(&coded, "").failed().contains(said));
    let out = ran(&coded, "ignore = [\"size\"]\n").with(0);
    assert!(out.contains(said) && out.contains("There is no other input"), "{out}");
    // Values, and their copies.
    let price = |at: usize| (at * 17 % 31) as f64 + 0.25;
    let copied = |at: usize| format!("{},{},{}\n", at % 5, price(at), price(at));
    let error = ran(&format!("rooms,cost,price\n{}", rows(&copied)), "").failed();
    let said = "column `price`, the target since it is the last, is given away by column `cost`, which equals it in \
                these 30 rows";
    assert!(error.contains(said), "{error}");
    let cents = |at: usize| format!("{},{},{}\n", at % 5, 100.0 * price(at), price(at));
    let out = ran(&format!("rooms,cents,price\n{}", rows(&cents)), "").with(0);
    let said = "column `price`, the target, rises or falls with column `cents` in all these 30 rows, as where one of \
                the two is computed from the other. If so, leave it out of the inputs, with `ignore = [\"cents\"]` \
                under [data], and with another `directory` at the top if a run has begun, as it cannot go on with other inputs";
    assert!(out.contains(said) && !out.contains("given away"), "{out}");
    // As it says: that run does not go on, and another does.
    std::fs::write(
        at.join("other.toml"),
        "directory = \"runs/run\"\n[data]\nfile = \"data.csv\"\nignore = [\"cents\"]\n",
    )
    .unwrap();
    let error = warmstart(at, &["train", "other.toml", "--quiet"]).failed_late();
    assert!(
        error.contains("was trained on other inputs (only in the checkpoint: `cents`)"),
        "{error}"
    );
}

/// As pandas writes its index, unless it is told not to.
#[test]
fn an_input_that_numbers_the_rows_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let rows: String = (0..20).map(|n| format!("{n},{}.5,{}\n", n * n % 7, n % 2)).collect();
    std::fs::write(at.join("data.csv"), format!(",x,y\n{rows}")).unwrap();
    let toml = "[data]\nfile = \"data.csv\"\ntask = \"classification\"\n[training]\nsteps = 1\n";
    std::fs::write(at.join("run.toml"), toml).unwrap();
    let out = warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    let said = "column 1 (without a name) is an input and numbers these 20 rows in their order, as the index does \
                that pandas writes if `to_csv` is not told `index=False`. Leave out of the inputs what is not known \
                when the model is used, with `ignore = [1]` under [data]";
    assert!(out.contains(said), "{out}");
    // Beside inputs that give the target away, one line leaves all of them out.
    let ran = |header: &str, row: &dyn Fn(usize) -> String, task: &str| {
        let rows: String = (0..20).map(row).collect();
        std::fs::write(at.join("data.csv"), format!("{header}\n{rows}")).unwrap();
        let toml = toml.replace("classification\"\n", &format!("{task}\"\ntarget = \"y\"\n"));
        std::fs::write(at.join("run.toml"), toml).unwrap();
        std::fs::remove_dir_all(at.join("runs")).ok();
        warmstart(at, &["train", "run.toml", "--quiet"]).with(0)
    };
    let word =
        |n: usize| format!("{n},{},{},{}.5,{}\n", n + 1, 7 * (n % 2), n * n % 7, ["a", "b"][n % 2]);
    let out = ran(",id,code,x,y", &word, "classification");
    assert!(out.contains("with `ignore = [1, \"id\", \"code\"]` under [data]"), "{out}");
    let numbers = "column 1 (without a name), column `id` are inputs and number these 20 rows in their order. The \
                   `ignore` above leaves such columns out too";
    assert!(out.contains(numbers), "{out}");
    assert_eq!(out.matches("`ignore = ").count(), 1, "{out}");
    let alone = |n: usize| format!("{n},{},{}\n", 7 * (n % 2), ["a", "b"][n % 2]);
    let out = ran("id,code,y", &alone, "classification");
    assert!(out.contains("rows in their order. There is no other input: add columns"), "{out}");
    // What rises with time rises with the number of the row: that is told once.
    let rising = |n: usize| format!("{n},{},{}.25\n", n * n % 7, 3 * n);
    let out = ran("id,x,y", &rising, "regression");
    assert!(out.contains("column `id` is an input and numbers") && !out.contains("rises"), "{out}");
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
