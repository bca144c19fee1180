use crate::{floats, foreign, json, warmstart};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// A number that looks random in `0..1`, the same each time.
fn noise(at: usize) -> f32 {
    let mixed = (at as u32).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
    (mixed >> 8) as f32 / (1 << 24) as f32
}

pub fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

/// An IDX file of bytes, compressed.
fn idx(directory: &Path, name: &str, extents: &[u32], bytes: &[u8]) {
    let mut file = vec![0, 0, 8, extents.len() as u8];
    extents.iter().for_each(|extent| file.extend(extent.to_be_bytes()));
    file.extend(bytes);
    let to = std::fs::File::create(directory.join(name)).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::fast());
    encoder.write_all(&file).unwrap();
    encoder.finish().unwrap();
}

/// Pictures of 8 by 8 dots, of four classes: which quarter is bright. The other dots are noise.
pub fn quarters(directory: &Path, rows: usize, name: &str) {
    let class = |row: usize| row % 4;
    let dot = |row: usize, at: usize| {
        let (y, x) = (at / 8, at % 8);
        let bright = (y / 4) * 2 + x / 4 == class(row);
        (noise(row * 64 + at) * 150.0) as u8 + if bright { 100 } else { 0 }
    };
    let dots: Vec<u8> = (0..rows * 64).map(|at| dot(at / 64, at % 64)).collect();
    let labels: Vec<u8> = (0..rows).map(|row| class(row) as u8).collect();
    idx(directory, &format!("{name}-images.gz"), &[rows as u32, 8, 8], &dots);
    idx(directory, &format!("{name}-labels.gz"), &[rows as u32], &labels);
}

/// Three species, told apart by two of three measures; the third is the same everywhere.
pub fn flowers(rows: usize, from: usize) -> String {
    let mut text = "\"length, cm\",width,petals,species\r\n".to_owned();
    for row in from..from + rows {
        let species = row % 3;
        let length = 4.0 + species as f32 + 0.4 * noise(2 * row);
        let width = 30.0 - 8.0 * species as f32 + 3.0 * noise(2 * row + 1);
        let name = ["\"lily, white\"", "rose", "\"the \"\"tulip\"\"\""][species];
        write!(text, "{length},{width},5,{name}\r\n").unwrap();
    }
    text
}

#[test]
fn pictures_are_learned_from_idx_files() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    quarters(at, 400, "train");
    quarters(at, 101, "test");
    write(
        at,
        "mnist.toml",
        "[data]\nfile = \"train-images.gz\"\nlabels = \"train-labels.gz\"\n\
         validation_file = \"test-images.gz\"\nvalidation_labels = \"test-labels.gz\"\n\
         [model]\nhidden = [16]\ndropout = 0.1\n\
         [training]\nepochs = 4\nbatch = 20\n[optimizer]\nlearning_rate = 0.01\n",
    );
    let out = warmstart(at, &["train", "mnist.toml"]).with(0);
    assert!(out.contains("64 inputs, 4 classes: 0, 1, 2, 3"), "{out}");
    assert!(out.contains("400 rows to train on, 101 to validate on, seed 0"), "{out}");
    assert!(out.contains("model    64 → 16 → 4"), "{out}");
    let value = json(&warmstart(at, &["train", "mnist.toml", "--json"]).with(0));
    let accuracy = value["metrics"]["validation/accuracy"].as_f64().unwrap();
    // Four classes of as many rows each: whoever learned nothing has a quarter.
    assert!(accuracy > 0.97, "{value}");
    assert_eq!((&value["resumed"], &value["step"]), (&true.into(), &80.into()));
    assert!(at.join("runs/mnist/loss.svg").exists() && at.join("runs/mnist/metrics.csv").exists());

    // The checkpoint alone says of the same pictures what was validated.
    let arguments = ["predict", "runs/mnist", "--data", "test-images.gz"];
    let out = warmstart(at, &arguments).with(0);
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("class,0,1,2,3"));
    let right = lines.enumerate().filter(|(row, line)| line.starts_with(&(row % 4).to_string()));
    assert_eq!(right.count() as f64 / 101.0, accuracy);
}

#[test]
fn a_run_that_was_extended_is_the_run_without_a_break() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(60, 0));
    let file = |name: &str, run: &str, steps: u32| {
        let text = format!(
            "directory = \"{run}\"\nseed = 3\n[data]\nfile = \"flowers.csv\"\n\
             [model]\nhidden = [8]\ndropout = 0.2\n\
             [training]\nsteps = {steps}\nbatch = 7\nvalidate_every = 10\n\
             [schedule]\nkind = \"step\"\nevery = 5\nfactor = 0.9\n"
        );
        write(at, name, &text);
    };
    file("a.toml", "broken", 13);
    file("b.toml", "broken", 31);
    file("c.toml", "whole", 31);
    let out = warmstart(at, &["train", "a.toml", "--quiet"]).with(0);
    assert!(out.contains("a new run: "), "{out}");
    let out = warmstart(at, &["train", "b.toml", "--quiet"]).with(0);
    assert!(out.contains("restore broken/step-13.safetensors → "), "{out}");
    assert!(!out.contains("note: the graph"), "{out}");
    warmstart(at, &["train", "c.toml", "--quiet"]).with(0);
    let diff = ["diff", "broken/step-31.safetensors", "whole/step-31.safetensors", "--values"];
    warmstart(at, &diff).with(0);
    // And it did learn in between.
    let diff = ["diff", "broken/step-13.safetensors", "whole/step-31.safetensors", "--values"];
    warmstart(at, &diff).with(1);

    let text = std::fs::read_to_string(at.join("b.toml")).unwrap();
    write(at, "d.toml", &text.replace("seed = 3", "seed = 4"));
    let error = warmstart(at, &["train", "d.toml"]).failed_late();
    assert!(error.contains("is of a run with seed 3; nothing was trained"), "{error}");
    assert!(error.contains("d.toml:2:8"), "{error}");
    let ways = "say `seed = 3` again, or begin another run by this line: in place of `directory` directory = \"broken-2\"";
    assert!(error.contains(ways), "{error}");
    write(at, "flowers.csv", &flowers(61, 0));
    let error = warmstart(at, &["train", "b.toml"]).failed_late();
    assert!(error.contains("was trained on other rows, or another split of them"), "{error}");
    assert!(
        error.contains("give the same data again, or begin another run on this data"),
        "{error}"
    );
    write(at, "flowers.csv", &flowers(60, 0).replace("rose", "rosa"));
    let error = warmstart(at, &["train", "b.toml"]).failed_late();
    let which = "was trained on other classes or targets (only in the checkpoint: `rose`; only in the data: `rosa`);";
    assert!(error.contains(which), "{error}");
}

#[test]
fn values_are_predicted_in_their_own_units() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut text = "area;rooms;price\n".to_owned();
    for row in 0..120 {
        let (area, rooms) =
            (40.0 + 100.0 * noise(2 * row), (1.0 + 5.0 * noise(2 * row + 1)).floor());
        writeln!(text, "{area};{rooms};{}", 3000.0 * area - 5000.0 * rooms + 10_000.5).unwrap();
    }
    write(at, "houses.csv", &text);
    write(
        at,
        "houses.toml",
        "[data]\nfile = \"houses.csv\"\nvalidation = 0.25\n[model]\nhidden = []\n\
         [training]\nsteps = 250\nbatch = 30\nloss = \"huber\"\n\
         [optimizer]\nlearning_rate = 0.05\n",
    );
    let value = json(&warmstart(at, &["train", "houses.toml", "--json", "--quiet"]).with(0));
    assert!(value["metrics"]["validation/r2"].as_f64().unwrap() > 0.999, "{value}");
    // Prices are spread over 300,000.
    assert!(value["metrics"]["validation/rmse"].as_f64().unwrap() < 2000.0, "{value}");
    // Columns are found by their names, whatever else there is.
    write(at, "new.csv", "id,rooms,area\nx,2,100\ny,4,50\n");
    let out =
        warmstart(at, &["predict", "runs/houses", "--data", "new.csv", "-o", "out.csv"]).with(0);
    assert!(out.starts_with("2 rows predicted by runs/houses/step-250.safetensors"), "{out}");
    let out = std::fs::read_to_string(at.join("out.csv")).unwrap();
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("price"));
    for (line, expected) in lines.zip([300_000.5f64, 140_000.5]) {
        let price: f64 = line.parse().unwrap();
        assert!((price - expected).abs() < 5000.0, "{out}");
    }
    let said = |data: &str| {
        write(at, "wrong.csv", data);
        warmstart(at, &["predict", "runs/houses", "--data", "wrong.csv"]).failed()
    };
    let error = said("aera,rooms\n1,2\n");
    assert!(error.contains("has no column `area`, which the model takes"), "{error}");
    // The file is what can be mended.
    assert!(error.contains("if its column `aera` is that one, call it `area`"), "{error}");
    let error = said("1,2\n3,4\n");
    assert!(error.contains("does not name its columns"), "{error}");
    assert!(error.contains("if it has one, say `--header true`"), "{error}");
    // Unless it is said that places are meant: of the inputs, or of the file that was trained on.
    assert!(error.contains("the order of those, say `--header false`"), "{error}");
    assert!(!said("1,2,3,4\n").contains("--header false"));
    let by_place = |data: &str| {
        write(at, "plain.csv", data);
        let arguments = ["predict", "runs/houses", "--data", "plain.csv", "--header", "false"];
        warmstart(at, &arguments)
    };
    write(at, "named.csv", "rooms,area\n2,100\n4,50\n");
    let named = warmstart(at, &["predict", "runs/houses", "--data", "named.csv"]).with(0);
    assert_eq!(by_place("100,2\n50,4\n").with(0), named);
    assert_eq!(by_place("100,2,0\n50,4,0\n").with(0), named);
    assert!(by_place("1,2,3,4\n").failed().contains("the model takes 2, or all 3 of the file"));
    for (data, problem) in [
        ("area,rooms\n1,2\n3,\n", "line 3, column `rooms` has no value"),
        ("area,rooms\n1,2\n3,b\n", "line 3, column `rooms` is `b`, not a number"),
        ("area,rooms\n1,2\n3,1e99\n", "line 3, column `rooms` is 1e99"),
        ("area,0\n1,2\n", "line 1 has numbers as a row would"),
    ] {
        let error = said(data);
        assert!(error.contains(problem) && error.contains("help:"), "{error}");
        // Keys of the file that it was trained by are not here.
        assert!(!error.contains("[data]") && !error.contains("`ignore`"), "{error}");
    }
}

#[test]
fn predictions_are_what_validation_saw() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(90, 0));
    write(at, "others.csv", &flowers(31, 1000));
    write(
        at,
        "run.toml",
        "[data]\nfile = \"flowers.csv\"\nvalidation_file = \"others.csv\"\n\
         [model]\nhidden = [8]\n[training]\nsteps = 15\nbatch = 30\n",
    );
    let ran = warmstart(at, &["train", "run.toml", "--quiet"]);
    assert!(ran.out.contains("3 classes: `lily, white`, `rose`, `the \"tulip\"`"), "{}", ran.out);
    assert!(ran.out.contains("note: 1 input is the same in all rows"), "{}", ran.out);
    ran.with(0);
    let value = json(&warmstart(at, &["train", "run.toml", "--quiet", "--json"]).with(0));
    let accuracy = value["metrics"]["validation/accuracy"].as_f64().unwrap();
    let out = warmstart(at, &["predict", "runs/run", "--data", "others.csv"]).with(0);
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("class,\"lily, white\",rose,\"the \"\"tulip\"\"\""));
    let classes = ["\"lily, white\",", "rose,", "\"the \"\"tulip\"\"\","];
    let right = lines.enumerate().filter(|(row, line)| line.starts_with(classes[(1000 + row) % 3]));
    assert_eq!(right.count() as f64 / 31.0, accuracy);
    for line in out.lines().skip(1) {
        let sum: f64 = line.rsplit(',').take(3).map(|share| share.parse::<f64>().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{line}");
    }
}

#[test]
fn weights_of_another_checkpoint_begin_a_run() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write(at, "flowers.csv", &flowers(30, 0));
    let toml = |run: &str, steps: u32, warm: &str| {
        format!(
            "directory = \"{run}\"\n[data]\nfile = \"flowers.csv\"\n[model]\nhidden = [4]\n\
             [training]\nsteps = {steps}\nbatch = 8\n{warm}"
        )
    };
    write(at, "first.toml", &toml("first", 5, ""));
    warmstart(at, &["train", "first.toml", "--quiet"]).with(0);
    // Slots and the step stay behind without a word: it is a new run, with the same weights.
    write(at, "second.toml", &toml("second", 1, "[warm_start]\ncheckpoint = \"first\"\n"));
    let out = warmstart(at, &["train", "second.toml", "--quiet"]).with(0);
    assert!(out.contains("restore first/step-5.safetensors → 6 variables"), "{out}");
    assert!(out.contains("restored    6 "), "{out}");

    let layer = |name: &str, shape: &[usize]| {
        (format!("net.{name}"), shape.to_vec(), floats(&vec![0.5; shape.iter().product()]))
    };
    let layers =
        [layer("fc1.weight", &[3, 4]), layer("fc1.bias", &[4]), layer("head.weight", &[4, 9])];
    let tensors: Vec<_> = layers
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), "F32", shape.as_slice(), bytes.clone()))
        .collect();
    foreign(&at.join("theirs.safetensors"), &tensors);
    let warm = |rules: &str| {
        let warm = format!("[warm_start]\ncheckpoint = \"theirs.safetensors\"\n{rules}");
        write(at, "third.toml", &toml("third", 1, &warm));
        warmstart(at, &["train", "third.toml", "--quiet"])
    };
    let ran = warm("");
    assert!(ran.out.contains("Under [warm_start], for 2 of "), "{}", ran.out);
    assert!(ran.out.contains("{ strip_prefix = \"net.\" },"), "{}", ran.out);
    let error = ran.failed_late();
    assert!(error.contains("does not fit the model; nothing was trained"), "{error}");
    assert!(!at.join("third").exists());
    let out = warm(
        "allow_missing = true\nrules = [\n  { strip_prefix = \"net.\" },\n  \
         { separator = [\".\", \"/\"] },\n  { ignore = \"head/**\" },\n]\n",
    )
    .with(0);
    assert!(out.contains("restored    2 "), "{out}");
    let fc1 = ["inspect", "third", "--tensor", "fc1/bias", "--stats", "--json"];
    let value = json(&warmstart(at, &fc1).with(0));
    // One step of Adam later.
    let mean = value["tensors"][0]["stats"]["mean"].as_f64().unwrap();
    assert!((mean - 0.5).abs() < 0.01, "{value}");
}

#[test]
fn the_example_is_a_file_that_trains() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let example = warmstart(at, &["train", "--example"]).with(0);
    write(at, "run.toml", &example);
    write(at, "data.csv", &flowers(12, 0));
    let text = example.replace("#epochs = 20 ", "epochs = 1 ");
    assert_ne!(text, example);
    write(at, "run.toml", &text);
    warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    assert!(at.join("runs/run/step-1.safetensors").exists());
}

#[test]
fn rows_come_from_arrays_too() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let rows = 40;
    let inputs: Vec<f32> = (0..rows * 2).map(noise).collect();
    let labels: Vec<u8> = (0..rows)
        .flat_map(|row| i64::from(inputs[2 * row] > inputs[2 * row + 1]).to_le_bytes())
        .collect();
    foreign(
        &at.join("data.safetensors"),
        &[("x", "F32", &[rows, 2], floats(&inputs)), ("y", "I64", &[rows], labels)],
    );
    let toml = |more: &str| {
        let text = format!(
            "[data]\nfile = \"data.safetensors\"\n{more}[model]\nhidden = []\n\
             [training]\nsteps = 100\nbatch = 16\n[optimizer]\nlearning_rate = 0.1\n"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet", "--json"])
    };
    let error = toml("").failed();
    assert!(error.contains("`data.safetensors` holds 2 arrays"), "{error}");
    let error = toml("array = \"X\"\n").failed();
    assert!(error.contains("has no array `X`") && error.contains("did you mean `x`?"), "{error}");
    // Whole numbers may be classes or values; only bytes are taken for classes.
    let arrays = "array = \"x\"\nlabels_array = \"y\"\n";
    let error = toml(arrays).failed();
    assert!(error.contains("holds whole numbers: they may be classes or values"), "{error}");
    let value = json(&toml(&format!("{arrays}task = \"classification\"\n")).with(0));
    assert_eq!(value["data"]["output"]["classes"], serde_json::json!(["0", "1"]));
    assert!(value["metrics"]["validation/accuracy"].as_f64().unwrap() >= 0.875, "{value}");
    let out = warmstart(
        at,
        &["predict", "runs/run", "--data", "data.safetensors", "--array", "x", "-o", "out.csv"],
    )
    .with(0);
    assert!(out.starts_with("40 rows predicted"), "{out}");
}

/// Classes in the last column of an array are in rows that are otherwise no whole numbers.
#[test]
fn classes_stand_in_a_column_of_an_array() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let train = |change: &dyn Fn(&mut Vec<f32>), data: &str| {
        let mut cells: Vec<f32> = (0..30)
            .flat_map(|row| [noise(2 * row), noise(2 * row + 1), (row % 3) as f32])
            .collect();
        change(&mut cells);
        std::fs::write(at.join("x.npy"), npy("<f4", "(30, 3)", &floats(&cells))).unwrap();
        let text = format!(
            "[data]\nfile = \"x.npy\"\ntask = \"classification\"\n{data}[training]\nsteps = 1\n"
        );
        write(at, "run.toml", &text);
        warmstart(at, &["train", "run.toml", "--quiet", "--json"])
    };
    let skip = "missing = \"skip\"\n";
    // Rows that are skipped may have anything; 0 may be -0.
    let value = json(
        &train(&|cells| (cells[0], cells[2], cells[11]) = (f32::NAN, 0.5, -0.0), skip).with(0),
    );
    assert_eq!(value["data"]["output"]["classes"], serde_json::json!(["0", "1", "2"]));
    assert_eq!(value["data"]["rows"]["training"], 23);
    // One step is no curve.
    assert_eq!(value["losses"], serde_json::Value::Null);
    let out = warmstart(at, &["train", "run.toml", "--quiet"]).with(0);
    assert!(!out.contains("loss.svg") && out.contains("newest checkpoint"), "{out}");
    let error = train(&|cells| cells[5] = f32::NAN, "").failed();
    assert!(error.contains("row 2, column 3 has no value"), "{error}");
    for wrong in [0.5, f32::INFINITY, 16_777_216.0] {
        let error = train(&|cells| cells[5] = wrong, skip).failed();
        let expected = format!("row 2, column 3 holds {wrong}, which is no class");
        assert!(error.contains(&expected), "{error}");
    }
}

/// Inputs would otherwise be taken for labels, without a word.
#[test]
fn rows_to_validate_on_have_labels_apart_too() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let labels: Vec<u8> = (0..12).map(|row| row % 2).collect();
    let x: Vec<u8> = (0..12).map(|row| row * 20).collect();
    idx(at, "y.gz", &[12], &labels);
    for width in [1, 2] {
        // As many columns as there are of labels, and more.
        let rows: Vec<u8> = x.iter().flat_map(|&x| vec![x; width as usize]).collect();
        idx(at, "x.gz", &[12, width], &rows);
        idx(at, "v.gz", &[12, width], &rows);
        let text = "[data]\nfile = \"x.gz\"\nlabels = \"y.gz\"\nvalidation_file = \"v.gz\"\n";
        write(at, "run.toml", text);
        let error = warmstart(at, &["train", "run.toml"]).failed();
        assert!(
            error.contains("`data.validation_file`: the labels to train on have a file or an array of their own"),
            "{error}"
        );
        assert!(error.contains("give `validation_labels` or `validation_labels_array`"), "{error}");
    }
    let text =
        "[data]\nfile = \"x.npz\"\narray = \"x\"\nlabels_array = \"y\"\nvalidation_array = \"v\"\n";
    write(at, "run.toml", text);
    let error = warmstart(at, &["train", "run.toml"]).failed();
    assert!(
        error.contains("`data.validation_array`: the labels to train on have a file"),
        "{error}"
    );
}

/// An array as NumPy writes it.
pub fn npy(descr: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{dict:<117}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    [&file, header.as_bytes(), bytes].concat()
}

/// A ZIP archive of files as they are, which is what `numpy.savez` writes.
pub fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut archive, mut contents) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let mut entry = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        entry.extend(crc.sum().to_le_bytes());
        entry.extend((bytes.len() as u32).to_le_bytes());
        entry.extend((bytes.len() as u32).to_le_bytes());
        entry.extend((name.len() as u32).to_le_bytes());
        contents.extend(b"PK\x01\x02\x14\x00");
        contents.extend(&entry);
        contents.extend([0; 10]);
        contents.extend((archive.len() as u32).to_le_bytes());
        contents.extend(name.as_bytes());
        archive.extend(b"PK\x03\x04");
        archive.extend(&entry);
        archive.extend(name.as_bytes());
        archive.extend(bytes);
    }
    let (begin, count) = (archive.len() as u32, files.len() as u16);
    archive.extend(&contents);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    archive.extend((contents.len() as u32).to_le_bytes());
    archive.extend(begin.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

#[test]
fn numpy_arrays_are_learned_from() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let inputs: Vec<f32> = (0..60 * 4).map(noise).collect();
    let targets: Vec<u8> =
        inputs.chunks(4).flat_map(|row| f64::from(3.0 * row[0] - row[3]).to_le_bytes()).collect();
    let (x, y) = (npy("<f4", "(60, 2, 2)", &floats(&inputs)), npy("<f8", "(60,)", &targets));
    let model = "[model]\nhidden = []\n[training]\nsteps = 150\nbatch = 24\n\
                 [optimizer]\nlearning_rate = 0.05\n";
    let trained = |data: &str| {
        write(at, "run.toml", &format!("directory = \"run\"\n[data]\n{data}{model}"));
        json(&warmstart(at, &["train", "run.toml", "--quiet", "--json"]).with(0))
    };
    std::fs::write(at.join("x.npy"), &x).unwrap();
    std::fs::write(at.join("y.npy"), &y).unwrap();
    let value = trained("file = \"x.npy\"\nlabels = \"y.npy\"\n");
    assert!(value["metrics"]["validation/r2"].as_f64().unwrap() > 0.999, "{value}");
    assert_eq!(value["resumed"], false);
    // The same arrays in one file are the same data.
    let both = zip(&[("x.npy", x.clone()), ("y.npy", y)]);
    std::fs::write(at.join("both.npz"), &both).unwrap();
    let value = trained("file = \"both.npz\"\narray = \"x\"\nlabels_array = \"y\"\n");
    assert_eq!(value["resumed"], true);
    let out = warmstart(at, &["train", "run.toml"]).with(0);
    assert!(out.contains("4 inputs, to predict `y`"), "{out}");
    let out = warmstart(at, &["predict", "run", "--data", "x.npy"]).with(0);
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("prediction"));
    for (line, row) in lines.zip(inputs.chunks(4)) {
        let missed = line.parse::<f32>().unwrap() - (3.0 * row[0] - row[3]);
        assert!(missed.abs() < 0.05, "{out}");
    }
}
