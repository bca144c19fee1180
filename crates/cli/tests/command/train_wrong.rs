//! Training files and data with mistakes in them.

use crate::train::{npy, zip};
use crate::{floats, warmstart};
use std::path::Path;
use warmstart_gpu::Gpu;

/// The error of training on a text with a file.
pub fn error(directory: &Path, data: &str, toml: &str) -> String {
    std::fs::write(directory.join("data.csv"), data).unwrap();
    std::fs::write(directory.join("run.toml"), toml).unwrap();
    warmstart(directory, &["train", "run.toml", "--quiet"]).failed()
}

const DATA: &str = "a,b,class\n1,2,x\n3,4,y\n5,6,x\n7,8,y\n9,1,x\n";

#[test]
fn mistakes_in_the_file_are_shown_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&str, &[&str]); 23] = [
        (
            "[data]\nfile = \"data.csv\"\n[model]\nhiden = [3]\n",
            &[
                "there is no key `hiden` here",
                "run.toml:4:1",
                "no such key",
                "did you mean `hidden`?",
            ],
        ),
        (
            "[data]\nfile = \"data.csv\"\n[model]\nactivation = \"rleu\"\n",
            &["`rleu` is none of the choices here", "run.toml:4:14", "did you mean `relu`?"],
        ),
        (
            "[data]\nfile = \"data.csv\"\n[modle]\n",
            &["there is no key `modle`", "did you mean `model`?"],
        ),
        ("[model]\nhidden = [3]\n", &["the key `data` is missing", "warmstart train --example"]),
        ("[data]\n", &["the key `file` is missing", "run.toml:1:1"]),
        ("[data\n", &["run.toml:1:6"]),
        (
            "[data]\nfile = \"data.csv\"\n[model]\ndropout = 1.0\n",
            &["`model.dropout`: the share to drop is at least 0 and below 1", "run.toml:4:11"],
        ),
        (
            "[data]\nfile = \"data.csv\"\n[training]\nsteps = 5\nepochs = 2\n",
            &["`training.steps`: `epochs` and `steps` both say how long"],
        ),
        (
            "[data]\nfile = \"data.csv\"\n[optimizer]\nmomentum = 0.9\n",
            &["`optimizer.momentum`: only sgd has this key"],
        ),
        (
            "[data]\nfile = \"data.csv\"\n[optimizer]\nno_decay = [\"bias\"]\n",
            &["`optimizer.no_decay`: there is no weight decay to except these from"],
        ),
        (
            "[data]\nfile = \"data.csv\"\n[optimizer]\nweight_decay = 0.1\nno_decay = [\"bias\", \"fc1/[\"]\n",
            &["`optimizer.no_decay`: \"fc1/[\" is no glob of names: ", "run.toml:5:21"],
        ),
        (
            "[data]\nfile = \"data.csv\"\n[training]\nhuber_delta = 2.0\n",
            &["`training.huber_delta`: only the loss `huber` has this key", "run.toml:4:15"],
        ),
        (
            "[data]\nfile = \"data.csv\"\nscale_targets = false\n",
            &["`data.scale_targets`: classes are not scaled", "run.toml:3:17"],
        ),
        (
            "[data]\nfile = \"data.csv\"\ntarget = \"a\"\nignore = [\"class\"]\ntask = \"regression\"\n[training]\nlabel_smoothing = 0.1\n",
            &["`training.label_smoothing`: a regression has no labels to smooth"],
        ),
        (
            "[data]\nfile = \"data.csv\"\n[schedule]\nkind = \"step\"\nevery = 5\n",
            &["`schedule.kind`: such a schedule needs `every`"],
        ),
        (
            "[data]\nfile = \"data.csv\"\n[training]\nvalidate_every = 9\n[checkpoints]\nsave_every = 3\nkeep_best = 1\n",
            &["`checkpoints.keep_best`: not every checkpoint is validated", "run.toml:7:13"],
        ),
        ("[data]\nfile = \"data.csv\"\n[checkpoints]\nkeep = 0\n", &["keep at least 1"]),
        (
            "[data]\nfile = \"data.csv\"\n[training]\nbatch = 5\n",
            &["`training.batch`: there are only 4 rows to train on", "give at most 4"],
        ),
        (
            "[data]\nfile = \"data.csv\"\n[training]\nloss = \"huber\"\n",
            &[
                "column `class`, the target, holds `x`, which is no number",
                "the loss `huber` is of a regression",
                "leave `loss` under [training] out, if these are classes",
            ],
        ),
        (
            "[data]\nfile = \"data.csv\"\ntask = \"regression\"\n",
            &["holds `x`, which is no number", "say `task = \"classification\"` under [data]"],
        ),
        (
            "[data]\nfile = \"data.csv\"\nvalidation = 0.05\n",
            &["a share of 0.05 of 5 rows leaves none to validate on", "`validation = 0`"],
        ),
        (
            "[data]\nfile = \"data.csv\"\ntarget = \"clas\"\n",
            &["no column `clas`", "did you mean `class`?"],
        ),
        (
            "[data]\nfile = \"data.csv\"\n[warm_start]\ncheckpoint = \"x\"\nrules = [{ renam = [\"a\", \"b\"] }]\n",
            &["`renam` is none of the choices here", "did you mean `rename`?"],
        ),
    ];
    for (toml, expected) in cases {
        let error = error(directory.path(), DATA, toml);
        for expected in expected {
            assert!(error.contains(expected), "{toml}{error}\nis not\n{expected}");
        }
    }
    let missing = warmstart(directory.path(), &["train", "none.toml"]).failed();
    assert!(missing.contains("cannot read `none.toml`"), "{missing}");
    assert!(!directory.path().join("runs").exists());
}

#[test]
fn mistakes_in_the_data_name_file_line_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let plain = "[data]\nfile = \"data.csv\"\n";
    let cases = [
        ("", "`data.csv` holds no rows"),
        ("a,b,class\n", "`data.csv` holds no rows but the names of its columns"),
        ("a,b\n1,x\n\n2\n", "`data.csv`, line 4 has 1 cell where line 1 has 2"),
        ("a,b,c\n1,2,x\n3,NaN,y\n5,6,x\n", "`data.csv`, line 3, column `b` has no value"),
        ("a,b,c\n1,2,x\n3,,y\n5,6,x\n", "`data.csv`, line 3, column `b` has no value"),
        ("a,b,c\n1,2,x\n3,-nan,y\n5,6,x\n", "`data.csv`, line 3, column `b` has no value"),
        ("{\"a\": 1}\n{\"a\": 2}\n", "`data.csv` is JSON, an object in each line, and data is not"),
        (
            "[{\"a\": 1}]",
            "`data.csv` is JSON, and data is not read from it help: export it as CSV, for example with pandas: `pandas.read_json(",
        ),
        (
            "a,x,y,z\n1,1,0,0\n2,0,1,0\n3,0,0,1\n4,1,0,0\n5,0,1,0\n6,0,0,1\n7,1,0,0\n8,0,1,0\n9,0,0,1\n0,1,0,0\n",
            "and looks one-hot together with the columns before it (column `x`, column `y`)",
        ),
        ("a,b,c\n1,2,x\n3,4,\n5,6,x\n", "`data.csv`, line 3, column `c` has no value"),
        (
            "a,b,c\n1,1e99,x\n3,4,y\n5,6,x\n",
            "`data.csv`, line 2, column `b` is 1e99, which no `f32`",
        ),
        (
            "a,b,c\n1,1e999,x\n3,4,y\n5,6,x\n",
            "`data.csv`, line 2, column `b` is 1e999, which no `f32`",
        ),
        (
            "a,b,c\n1,inf,x\n3,4,y\n5,6,x\n",
            "`data.csv`, line 2, column `b` is inf, and training needs finite numbers",
        ),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "`data.csv` is a git-lfs pointer, a small text in place of the data",
        ),
        ("1,2,x\n3,red,y\n5,6,x\n", "`data.csv`, line 2, column 2 is `red`, not a number"),
        ("a,b,c\n1,2,x\n3,4,x\n", "column `c`: all rows are of one class, `x`"),
        ("a,b,c\n1,2,x\n3,4,y\n5,6,z\n", "each of the 3 rows is a class of its own"),
        (
            "a,b,c\n1,2,3\n3,4,4\n",
            "column `c`, the target, holds whole numbers: they may be classes or values help: say which",
        ),
        (
            "a,b,c\n1,2,3.5\n3,4,red\n5,6,1.5\n",
            "holds numbers, but `red` in line 3: they may be classes or values help: correct that cell",
        ),
        ("a,a,c\n1,2,x\n3,4,y\n5,6,x\n", "columns 1 and 2 of `data.csv` are both called `a`"),
        ("a,a,c\n1,2,x\n3,4,y\n5,6,x\n", "rename one in the file: the model finds its columns"),
        ("class\nx\ny\nx\n", "no column of `data.csv` is left as an input"),
    ];
    for (data, expected) in cases {
        let error = error(directory.path(), data, plain);
        assert!(error.contains(expected), "{data}{error}\nis not\n{expected}");
        assert!(error.contains("help:"), "{error}");
    }
    let classes = "[data]\nfile = \"data.csv\"\ntask = \"classification\"\n";
    for (data, expected) in [
        ("a,c\n1,1\n2,2\n3,1.0\n", "column `c`: `1` in line 2 and `1.0` in line 4 are one number"),
        ("a,c\n1,-0\n2,x\n3,0\n4,x\n", "`-0` in line 2 and `0` in line 4 are one number"),
    ] {
        let error = error(directory.path(), data, classes);
        assert!(error.contains(expected), "{data}{error}\nis not\n{expected}");
    }
    let targets =
        "[data]\nfile = \"data.csv\"\ntarget = [\"x\", \"y\"]\ntask = \"classification\"\n";
    let one_hot = "a,x,y\n1,1,0\n2,0,1\n3,1.0,0\n";
    let said = error(directory.path(), one_hot, targets);
    assert!(said.contains("these are one-hot, each row has a 1 in the column of its"), "{said}");
    let said = error(directory.path(), "a,x,y\n1,1,0\n2,0,1\n3,1,1\n", targets);
    assert!(said.contains("name one column, or `task = \"regression\"`"), "{said}");
    let loss = "[data]\nfile = \"data.csv\"\n[training]\nloss = \"cross_entropy\"\n";
    let data = "a,b,c\n1,2,3.5\n3,4,4.5\n5,6,1\n7,8,3.5\n";
    let error = error(directory.path(), data, loss);
    assert!(error.contains("column `c`: 3 different numbers in 4 rows are values"), "{error}");
    // The same file, with what the message says.
    let data = "a,b,c\n1,2,x\n3,NaN,y\n5,6,x\n7,8,y\n9,1,x\n1,1,y\n2,2,x\n";
    std::fs::write(directory.path().join("data.csv"), data).unwrap();
    let toml = "[data]\nfile = \"data.csv\"\nmissing = \"skip\"\n[training]\nsteps = 1\n";
    std::fs::write(directory.path().join("run.toml"), toml).unwrap();
    let out = warmstart(directory.path(), &["train", "run.toml", "--quiet"]).with(0);
    assert!(
        out.contains("note: 1 of 7 rows of data.csv has no value somewhere and was skipped\n"),
        "{out}"
    );
}

/// What is learned as something else than it looks like is learned, with a note.
#[test]
fn targets_that_look_like_something_else_are_noted() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let note = |data: &str, keys: &str| {
        std::fs::write(at.join("data.csv"), data).unwrap();
        let toml = format!("[data]\nfile = \"data.csv\"\n{keys}[training]\nsteps = 1\n");
        std::fs::write(at.join("run.toml"), toml).unwrap();
        std::fs::remove_dir_all(at.join("runs")).ok();
        warmstart(at, &["train", "run.toml", "--quiet"]).with(0)
    };
    let targets = "target = [\"x\", \"y\"]\n";
    let out = note("a,x,y\n1,1,0\n2,0,1\n3,1,0\n4,0,1\n", targets);
    assert!(out.contains("note: the targets are learned as values, and look one-hot: "), "{out}");
    let out = note("a,x,y\n1,1,0\n2,0,1\n3,1,0\n4,0,2\n", targets);
    assert!(!out.contains("one-hot"), "{out}");
    let rows = |classes: usize, name: &str| -> String {
        (0..12).map(|row| format!("{row},{name}{}\n", row % classes)).collect()
    };
    let task = "task = \"classification\"\n";
    for (name, keys, meant) in [
        ("name", "", "if these name the rows, say which column is the class with `target`"),
        ("1.", task, "if these are measured values, say `task = \"regression\"` under [data]"),
    ] {
        let out = note(&rows(7, name), keys);
        let few = "note: column 2 has 7 classes in 12 rows, on average fewer than two of each,";
        assert!(out.contains(few) && out.contains(meant), "{out}");
        let out = note(&rows(6, name), keys);
        assert!(!out.contains("classes in 12 rows"), "{out}");
    }
}

/// A ZIP archive of something else has another kind of advice than one that is a checkpoint.
#[test]
fn archives_without_arrays_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("run.toml"), "[data]\nfile = \"data\"\n").unwrap();
    for (names, said) in [
        (
            &["data.csv"][..],
            "`data` is a ZIP archive, and there are no arrays in it help: unpack it",
        ),
        (
            &["[Content_Types].xml", "xl/workbook.xml"],
            "`data` is an Excel workbook, and data is not",
        ),
    ] {
        let files: Vec<_> = names.iter().map(|name| (*name, b"1,2,x\n".to_vec())).collect();
        std::fs::write(at.join("data"), zip(&files)).unwrap();
        let error = warmstart(at, &["train", "run.toml"]).failed();
        assert!(error.contains(said), "{error}");
    }
}

/// What is packed by gzip and ends too early.
#[test]
fn packed_data_that_was_cut_short_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, DATA.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    std::fs::write(at.join("run.toml"), "[data]\nfile = \"data.csv.gz\"\n").unwrap();
    let said = |bytes: &[u8]| {
        std::fs::write(at.join("data.csv.gz"), bytes).unwrap();
        warmstart(at, &["train", "run.toml"]).failed()
    };
    for cut in [packed.len() - 12, packed.len() - 4, 15] {
        let error = said(&packed[..cut]);
        let short =
            "cannot read `data.csv.gz`: its compressed bytes end too early: it was cut short";
        assert!(error.contains(short) && error.contains("copy or download it again"), "{error}");
    }
    let mut damaged = packed.clone();
    damaged[packed.len() - 6] ^= 1;
    let error = said(&damaged);
    assert!(error.contains("`data.csv.gz`: its compressed bytes are damaged"), "{error}");
}

/// One run tells them all, with the line that leaves them out.
#[test]
fn columns_of_text_are_told_all_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let rows = "1,red,2,x,2,u\n1,blue,,x,2,v\n2,red,3,y,\"no, thanks\",u\n3,blue,4,y,2,v\n";
    let plain = "[data]\nfile = \"data.csv\"\nmissing = \"skip\"\nignore = [\"e\"]\n[training]\nsteps = 1\n";
    let said = error(directory.path(), &format!("a,\"b\"\"c\",c,d,e,class\n{rows}"), plain);
    for part in [
        "`data.csv` has text in 2 of the 4 columns that are inputs, which take numbers:",
        "column `b\"c`: `red` in line 2",
        "column `d`: `x` in line 2",
        "ignore = [\"e\", 'b\"c', \"d\"]",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let ignored = plain.replace("[\"e\"]", "[\"e\", 'b\"c', \"d\"]");
    std::fs::write(directory.path().join("run.toml"), ignored).unwrap();
    warmstart(directory.path(), &["train", "run.toml", "--quiet"]).with(0);
    // Columns without names go by their numbers, and so do those that share one.
    let unnamed = plain.replace("\"e\"", "5");
    let said = error(directory.path(), rows, &unnamed);
    assert!(said.contains("ignore = [5, 2, 4]"), "{said}");
    let said = error(directory.path(), &format!("a,b,c,b,e,class\n{rows}"), plain);
    assert!(said.contains("ignore = [\"e\", 2, 4]"), "{said}");
}

/// What is advised works: no advice leaves out all inputs, or another column than that to predict.
#[test]
fn columns_of_text_may_be_the_target_or_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let plain = "[data]\nfile = \"data.csv\"\n[training]\nsteps = 1\n";
    let rows = "dog,1,0.5\ncat,2,0.25\ndog,3,1.5\ncat,4,2.5\ndog,5,1\ncat,6,2\n";
    let said = error(directory.path(), &format!("animal,length,noise\n{rows}"), plain);
    for part in [
        "line 2, column `animal` is `dog`, not a number",
        "column `noise` is what is predicted, being the last",
        "target = \"animal\"",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let targeted = plain.replace("[training]", "target = \"animal\"\n[training]");
    std::fs::write(directory.path().join("run.toml"), targeted).unwrap();
    let out = warmstart(directory.path(), &["train", "run.toml", "--quiet"]).with(0);
    assert!(out.contains("2 classes"), "{out}");
    let rows = "a;b;c\n3,8;-0,8;dog\n1,5;2,5;cat\n";
    let said = error(directory.path(), rows, plain);
    assert!(said.contains("with a decimal point, not a comma"), "{said}");
    assert!(!said.contains("ignore"), "{said}");
    let said = error(directory.path(), "a,b,c\nx,y,1.5\nz,w,2.5\n", plain);
    assert!(
        said.contains("write the kinds of text in them as numbers") && !said.contains("ignore"),
        "{said}"
    );
}

#[test]
fn rows_to_validate_on_are_held_against_those_to_train_on() {
    let directory = tempfile::tempdir().unwrap();
    let toml = "[data]\nfile = \"data.csv\"\nvalidation_file = \"other.csv\"\n";
    let other = |text: &str| {
        std::fs::write(directory.path().join("other.csv"), text).unwrap();
        error(directory.path(), DATA, toml)
    };
    let said = other("b,a,class\n1,2,x\n3,4,z\n");
    assert!(said.contains("`other.csv`, line 3: the class `z` is in no row to train on"), "{said}");
    let said = other("b,class\n1,x\n");
    assert!(said.contains("`other.csv` has no column `a`"), "{said}");
}

/// They fit in batches that are small enough, and so do those of whoever predicts later.
#[test]
fn layers_too_wide_for_many_rows_at_once_get_fewer() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    // As many values for 256 rows as no binding of software Vulkan holds.
    let toml = "[data]\nfile = \"data.csv\"\n[model]\nhidden = [140000]\n[training]\nsteps = 1\n";
    std::fs::write(at.join("data.csv"), DATA).unwrap();
    std::fs::write(at.join("run.toml"), toml).unwrap();
    warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    let out = warmstart(at, &["predict", "runs/run", "--data", "data.csv"]).with(0);
    assert_eq!(out.lines().count(), DATA.lines().count(), "{out}");
    // It goes on as what it was.
    std::fs::write(at.join("run.toml"), toml.replace("steps = 1", "steps = 2")).unwrap();
    warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
}

#[test]
fn layers_that_do_not_fit_are_shown_where_they_are_said() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Gpu::new().unwrap().limits().clone();
    let binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    // Beyond what an index reaches, and beyond what this device binds, or launches at once.
    let wide = format!("[8, {}, 4]", binding / 4 / 8 + 1);
    for (hidden, said) in [
        ("[8, 2000000000]", &["more elements than an index of 32 bits reaches"][..]),
        (&wide, &["one binding of this device holds at most", "more workgroups than this device"]),
    ] {
        let toml = format!("[data]\nfile = \"data.csv\"\n[model]\nhidden = {hidden}\n");
        std::fs::write(directory.path().join("data.csv"), DATA).unwrap();
        std::fs::write(directory.path().join("run.toml"), toml).unwrap();
        let error = warmstart(directory.path(), &["train", "run.toml", "--quiet"]).failed_late();
        for part in
            ["`model.hidden`: layers of these sizes do not fit: ", "run.toml:4:14", "smaller"]
        {
            assert!(error.contains(part), "{part}\n{error}");
        }
        let times: usize = said.iter().map(|said| error.matches(said).count()).sum();
        assert_eq!(times, 1, "{said:?}\n{error}");
    }
    assert!(!directory.path().join("runs").exists(), "nothing was begun");
}

/// Names of variables are those of the graph.
#[test]
fn no_decay_that_matches_nothing_is_shown_where_it_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let toml = "[data]\nfile = \"data.csv\"\n[optimizer]\nweight_decay = 0.1\nno_decay = [\"bias\", \"fc/*\"]\n";
    std::fs::write(directory.path().join("data.csv"), DATA).unwrap();
    std::fs::write(directory.path().join("run.toml"), toml).unwrap();
    let error = warmstart(directory.path(), &["train", "run.toml", "--quiet"]).failed_late();
    for part in [
        "`optimizer.no_decay`: \"fc/*\" matches no variable that is trained",
        "run.toml:5:21",
        "the nearest are `fc1/",
        "correct the pattern, or take it out of `no_decay`",
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
    assert!(!directory.path().join("runs").exists(), "nothing was begun");
}

/// The device would have to bind more than it can: the largest batch that fits is named.
#[test]
fn a_batch_that_does_not_fit_is_refused_with_the_largest_that_does() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Gpu::new().unwrap().limits().clone();
    let binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    const ROWS: u64 = 4096;
    // Rows of the widest layer that one binding holds are a few less than there are.
    let (width, fits) = (binding / 4 / (ROWS - 96), ROWS - 96);
    let rows: String =
        (0..ROWS).map(|row| format!("{row},{}\n", ["x", "y"][row as usize % 2])).collect();
    let data = format!("a,class\n{rows}");
    std::fs::write(directory.path().join("data.csv"), data).unwrap();
    let toml = format!(
        "[data]\nfile = \"data.csv\"\nvalidation = 0.0\n[model]\nhidden = [{width}]\n[training]\nbatch = {ROWS}\n"
    );
    std::fs::write(directory.path().join("run.toml"), toml).unwrap();
    let error = warmstart(directory.path(), &["train", "run.toml", "--quiet"]).failed_late();
    for part in [
        format!("`training.batch`: batches of {ROWS} rows do not fit: the result of "),
        "run.toml:7:9".to_owned(),
        format!("give at most {fits}, the largest that fits this device"),
    ] {
        assert!(error.contains(&part), "{part}\n{error}");
    }
    assert!(!directory.path().join("runs").exists(), "nothing was begun");
}

/// Arrays have names, and no first line; and what is to be predicted is not to be left out.
#[test]
fn what_is_wrong_with_an_array_is_told_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let x = npy("<f4", "(3, 2)", &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let text =
        "[data]\nfile = \"a.npz\"\narray = \"x\"\nlabels_array = \"y\"\ntask = \"regression\"\n";
    std::fs::write(at.join("run.toml"), text).unwrap();
    let said = |y: &[f32]| {
        let y = npy("<f4", &format!("({},)", y.len()), &floats(y));
        std::fs::write(at.join("a.npz"), zip(&[("x.npy", x.clone()), ("y.npy", y)])).unwrap();
        warmstart(at, &["train", "run.toml"]).failed()
    };
    let error = said(&[1.5, 2.5, f32::INFINITY]);
    let place = "`a.npz`, array `y`, row 3, column 1";
    let infinite = format!("{place} is inf as `f32`, and training needs finite numbers");
    assert!(error.contains(&infinite) && !error.contains("`ignore`"), "{error}");
    let error = said(&[1.5, 2.5, f32::NAN]);
    assert!(error.contains(&format!("{place} has no value")), "{error}");
    assert!(error.contains("`missing = \"skip\"`") && !error.contains("`ignore`"), "{error}");
    let error = said(&[1.5, 2.5]);
    let rows = "`a.npz`, array `y` has labels for 2 rows, and `a.npz`, array `x` has 3 rows";
    assert!(error.contains(rows) && !error.contains("`header`"), "{error}");
    let whole = std::fs::read(at.join("a.npz")).unwrap();
    std::fs::write(at.join("a.npz"), &whole[..whole.len() / 2]).unwrap();
    let error = warmstart(at, &["train", "run.toml"]).failed();
    assert!(
        error.contains("cannot read the data in `a.npz`: ") && error.contains("cut short"),
        "{error}"
    );
}
