//! Texts that are no CSV, or of another dialect.

use crate::train_wrong::error;
use crate::warmstart;
use std::path::PathBuf;

/// Of a file that other programs wrote, or that was edited by hand.
#[test]
fn texts_that_are_no_csv_are_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let plain = "[data]\nfile = \"data.csv\"\ntask = \"regression\"\n[training]\nsteps = 1\n";
    for (data, said) in [
        (
            "a|b|c\n1|2|3.5\n2|3|4.5\n",
            "if `|` stands between its cells, say `separator = \"|\"` under [data]",
        ),
        ("a b\n1 2.5\n2 3.5\n", "if ` ` stands between its cells"),
        ("my data\na,b\n1,2\n", "if line 1 is a title or a remark, remove the line"),
        ("a,b,c\n1,\"2,3\n4,5,6\n", "a quote that opens in line 2 is not closed in that line"),
        (
            "a,b,\n1,2.5,\n3,4.5,\n",
            "`data.csv`, column 3 (without a name) has no value in any row help: leave the column out, by this line \
             under [data]; a separator at the end of each line makes such a last column: ignore = [3]",
        ),
        ("a,b,c\n1,,2.5\n3,,4.5\n", "column `b` has no value in any row"),
        ("a,b\n\"1,000\",2.5\n\"2,000\",3.5\n", "with nothing between thousands, as in `1234.5`"),
        ("a,b\n$5,2.5\n$6,3.5\n", "write numbers without their unit, here `$`"),
        (",0,1,2\n0,1.5,2.5,1\n1,2.5,3.5,2\n", "line 1 counts its cells from 0"),
    ] {
        let told = error(directory.path(), data, plain);
        assert!(told.contains(said), "{data}\n{told}\nis not\n{said}");
    }
    std::fs::write(directory.path().join("wide.csv"), b"\xff\xfea\0\n\0").unwrap();
    let told = error(directory.path(), "", &plain.replace("data.csv", "wide.csv"));
    assert!(
        told.contains("`wide.csv` is text in UTF-16") && told.contains("`CSV UTF-8`"),
        "{told}"
    );
    let told = error(directory.path(), "", &plain.replace("data.csv", "."));
    assert!(told.contains("name a file in that directory"), "{told}");
}

#[test]
fn rows_that_are_trained_on_are_no_rows_to_validate_on() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("data.csv"), "a,b\n1,2.5\n3,4.5\n").unwrap();
    std::fs::write(at.join("more.csv"), "a,b\n1,2.5\n3,4.5\n").unwrap();
    for (file, is_told) in [("./data.csv", true), ("more.csv", false)] {
        let toml = format!(
            "[data]\nfile = \"data.csv\"\nvalidation_file = \"{file}\"\n[training]\nsteps = 1\n"
        );
        std::fs::write(at.join("run.toml"), toml).unwrap();
        std::fs::remove_dir_all(at.join("runs")).ok();
        let out = warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
        let said = "holds both the rows to train on and those to validate on";
        assert_eq!(out.contains(said), is_told, "{out}");
    }
}

/// `True` is 1 for a regression, as it is among inputs: in rows to train on, and in rows to validate on.
#[test]
fn truths_are_values_to_predict() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let rows = |truth: [&str; 2]| {
        let row = |row: usize| format!("{},{}\n", row * 7 % 11, truth[row % 2]);
        format!("a,sold\n{}", (0..20).map(row).collect::<String>())
    };
    let trained = |truth| {
        std::fs::write(at.join("data.csv"), rows(truth)).unwrap();
        std::fs::write(at.join("more.csv"), rows(["0", "1"])).unwrap();
        let toml = "[data]\nfile = \"data.csv\"\nvalidation_file = \"more.csv\"\ntask = \"regression\"\n\
                    [training]\nsteps = 3\n";
        std::fs::write(at.join("run.toml"), toml).unwrap();
        std::fs::remove_dir_all(at.join("runs")).ok();
        warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
        let mut run =
            std::fs::read_dir(at.join("runs/run")).unwrap().map(|file| file.unwrap().path());
        let is_checkpoint = |file: &PathBuf| file.extension().is_some_and(|of| of == "safetensors");
        let bytes = std::fs::read(run.find(is_checkpoint).unwrap()).unwrap();
        // Without the header, which holds a checksum of the texts.
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    assert!(trained(["False", "True"]) == trained(["0", "1"]), "other values are learned");
}

/// The same numbers under other names are told so: a run keeps the names, by which `predict` finds columns.
#[test]
fn columns_that_are_called_otherwise_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let rows: String = (0..20).map(|n| format!("{n}.5,{}.25,{}.5\n", n * n % 7, 2 * n)).collect();
    let toml = "[data]\nfile = \"data.csv\"\ntarget = -1\n[training]\nsteps = 1\n";
    std::fs::write(at.join("data.csv"), format!("a,b,c\n{rows}")).unwrap();
    std::fs::write(at.join("run.toml"), toml).unwrap();
    warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    let again = |text: &str| {
        std::fs::write(at.join("data.csv"), text).unwrap();
        warmstart(at, &["train", "run.toml", "--quiet"]).failed_late()
    };
    for (header, said) in [
        (
            "length,b,c",
            "was trained on other inputs (only in the checkpoint: `a`; only in the data: `length`); nothing was \
             trained help: a run goes on with the data it began with: only names are others: call them again what \
             the checkpoint calls them, or begin another run on this data, by this line",
        ),
        (
            "b,a,c",
            "was trained on other inputs (the same columns, in another order or among others)",
        ),
        (
            "a,b,price",
            "other classes or targets (only in the checkpoint: `c`; only in the data: `price`)",
        ),
    ] {
        let error = again(&format!("{header}\n{rows}"));
        assert!(error.contains(said), "{header}\n{error}\nis not\n{said}");
    }
    let other = rows.replace("0.25", "0.75");
    let error = again(&format!("length,b,c\n{other}"));
    assert!(
        error.contains("give the same data again, or begin another run on this data"),
        "{error}"
    );
    let error = again(&rows);
    assert!(error.contains("other inputs (the data does not name its columns now)"), "{error}");
    assert!(error.contains("began with: give the first line with the names again, or"), "{error}");
    // More columns that are no inputs: what is learned, and by which names, is the same.
    let more: String = rows.lines().map(|line| format!("9,{line}\n")).collect();
    let longer = toml.replace("target", "ignore = [\"more\"]\ntarget").replace("= 1\n", "= 2\n");
    std::fs::write(at.join("data.csv"), format!("more,a,b,c\n{more}")).unwrap();
    std::fs::write(at.join("run.toml"), &longer).unwrap();
    let out = warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    assert!(out.contains("restore runs/run/step-1.safetensors"), "{out}");
    warmstart(at, &["predict", "runs/run", "--data", "data.csv"]).with(0);
    // Names that there were not: the line has them.
    std::fs::remove_dir_all(at.join("runs")).unwrap();
    std::fs::write(at.join("data.csv"), &rows).unwrap();
    std::fs::write(at.join("run.toml"), toml).unwrap();
    warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    let error = again(&format!("a,b,c\n{rows}"));
    let said = "began with: remove the first line, which has the names, or begin another run on this data, by";
    assert!(error.contains(said), "{error}");
}

/// A target is filled in, and never ignored; what is ignored already stays so.
#[test]
fn a_target_without_values_is_told_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let error = |keys: &str, data: &str| {
        std::fs::write(at.join("data.csv"), data).unwrap();
        std::fs::write(at.join("labels.csv"), "class\nnan\nnan\n").unwrap();
        let toml = format!("[data]\nfile = \"data.csv\"\n{keys}");
        std::fs::write(at.join("run.toml"), toml).unwrap();
        warmstart(at, &["train", "run.toml", "--quiet"]).failed()
    };
    let fill =
        "has no value in any row help: fill it in, or name another with `target` under [data]";
    let named = "a,b,class\n1,2,\n3,4,\n";
    for (keys, data, said) in [
        ("target = \"class\"\n", named, format!("column `class`, the target, {fill}")),
        ("", named, format!("column `class`, the target since it is the last, {fill}")),
        ("target = 2\n", "1,\n3,\n", format!("column 2, the target, {fill}")),
        (
            "ignore = [\"a\"]\n",
            "a,b,c,class\n1,,2,x\n3,,4,y\n",
            "column `b` has no value in any row help: leave the column out, by this line in place of `ignore` \
             under [data]: ignore = [\"a\", \"b\"]"
                .to_owned(),
        ),
        (
            "labels = \"labels.csv\"\n",
            "a,b\n1,2\n3,4\n",
            "column `class` has no value in any row help: fill in the labels, or give a file that has them"
                .to_owned(),
        ),
    ] {
        let error = error(keys, data);
        assert!(error.contains(&said), "{keys}{error}\nis not\n{said}");
        assert!(!said.contains("fill") || !error.contains("ignore"), "{keys}{error}");
    }
}
