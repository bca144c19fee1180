//! The programs that train, but for `digits`: that they learn what they say, and what they print.

use safetensors::SafeTensors;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn start(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect("the example starts")
}

/// What a program prints.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = start(program, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} failed: {said}");
    String::from_utf8(output.stdout).expect("the example prints UTF-8")
}

/// The first number of the first line with these words.
fn number(printed: &str, words: &str) -> f64 {
    let line = printed.lines().find(|line| line.contains(words));
    let line = line.unwrap_or_else(|| panic!("no `{words}` in: {printed}"));
    let number = line.split_whitespace().find_map(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("no number in: {line}"))
}

/// The losses of a run, by row of its metrics.
fn losses(directory: &Path) -> Vec<f64> {
    let metrics = fs::read_to_string(directory.join("metrics.csv")).expect("metrics");
    let mut rows = metrics.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let header = rows.next().expect("a header");
    let column = header.iter().position(|name| *name == "loss").expect("a column of losses");
    rows.map(|row| row[column].parse().expect("a loss")).collect()
}

#[test]
fn a_regression_gets_as_exact_as_its_meter_and_goes_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_str().expect("a path of UTF-8");
    let regression = env!("CARGO_BIN_EXE_regression");
    let begun = run(regression, &["300", path]);
    assert!(begun.contains("no checkpoint yet: 22 variables initialized, seed 7"), "{begun}");
    let printed = run(regression, &["1500", path]);
    assert!(printed.contains("step-300.safetensors → 22 variables"), "{printed}");
    assert!(number(&printed, "validation: off by") < number(&begun, "validation: off by"));

    // The meter is off by 0.2 kW, and less than 0.18 would be no chance.
    let off = number(&printed, "validation: off by");
    assert!((0.18..0.23).contains(&off), "{printed}");
    let mut days = printed.lines().skip_while(|line| !line.starts_with("outside"));
    let header = days.next().unwrap_or_else(|| panic!("no predictions in: {printed}"));
    assert!(header.ends_with("predicted    needed"), "{printed}");
    for day in days.by_ref().take(4) {
        let columns: Vec<&str> = day.split_whitespace().collect();
        let kilowatts = |from_right: usize| -> f64 {
            let value = columns.iter().rev().nth(from_right).and_then(|cell| cell.parse().ok());
            value.unwrap_or_else(|| panic!("no number in: {day}"))
        };
        assert!((kilowatts(3) - kilowatts(1)).abs() < 0.2, "{day}");
    }

    let curve = fs::read_to_string(directory.path().join("loss.svg")).expect("a picture");
    assert!(curve.contains("training") && curve.contains("validation"), "{curve}");
    let metrics = fs::read_to_string(directory.path().join("metrics.csv")).expect("metrics");
    assert!(metrics.starts_with("step,loss,validation"), "{metrics}");
}

#[test]
fn fine_tuning_shows_what_is_from_where_and_pays() {
    let printed = run(env!("CARGO_BIN_EXE_fine_tuning"), &[]);
    for lines in [
        "  rules       1    .only(\"body/*/{weight,bias}\")  4 names\n  restored    4    ",
        "  left out    16   ",
        "  shape mismatch  6   head/weight  f32 [64, 10], but f32 [64, 2] in the file\n",
        "initialized: [\"head/weight\", \"head/bias\", ",
    ] {
        assert!(printed.contains(lines), "`{lines}` is not in: {printed}");
    }
    // In the tables: before the new head is trained, and when all of it was.
    let origins = |name: &str| -> Vec<&str> {
        let begin = format!(" {name} ");
        let lines = printed.lines().filter(|line| line.starts_with(&begin));
        lines.filter(|line| !line.contains("in the file")).collect()
    };
    let body = origins("body/fc1/weight");
    assert_eq!(body.len(), 2, "{printed}");
    assert!(body[0].contains(" restored (") && body[0].contains("step 500)"), "{printed}");
    assert!(body[1].contains(" trained"), "{printed}");
    let head = origins("head/weight");
    assert!(head[0].contains(" initialized (glorot_uniform, seed 7)"), "{printed}");
    assert!(head[1].contains(" trained"), "{printed}");

    let fine_tuned = number(&printed, "at a smaller rate");
    // A head that merely trains on gains nothing like it.
    assert!(fine_tuned > number(&printed, "frozen, and a new head") + 15.0, "{printed}");
    assert!(fine_tuned > number(&printed, "from nothing"), "{printed}");
}

#[test]
fn a_transformer_learns_to_look_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_str().expect("a path of UTF-8");
    let printed = run(env!("CARGO_BIN_EXE_transformer"), &["150", path]);
    // With attention that is not trained, little more is known than which letters there are: a loss of
    // about 1.2.
    let losses = losses(directory.path());
    assert!(losses.first().is_some_and(|&loss| loss > 3.0), "{losses:?}");
    assert!(losses.last().is_some_and(|&loss| loss < 0.1), "{losses:?}");
    assert!(printed.contains("stressed → desserts\n"), "{printed}");
    assert!(number(&printed, "words are spelled backwards") >= 250.0, "{printed}");
}

#[test]
fn a_transformer_trains_to_the_same_bits() {
    let trained = || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().to_str().expect("a path of UTF-8");
        run(env!("CARGO_BIN_EXE_transformer"), &["10", path]);
        let file = fs::read(directory.path().join("step-10.safetensors")).expect("a checkpoint");
        let file = SafeTensors::deserialize(&file).expect("a plain safetensors file");
        let tensors = file.tensors().into_iter();
        let mut tensors: Vec<(String, Vec<u8>)> =
            tensors.map(|(name, view)| (name, view.data().to_vec())).collect();
        tensors.sort();
        (losses(directory.path()), tensors)
    };
    let (losses, tensors) = trained();
    assert!(!losses.is_empty());
    let (again, other) = trained();
    assert_eq!(losses, again);
    for ((name, bytes), (_, other)) in tensors.iter().zip(&other) {
        assert!(bytes == other, "{name} differs");
    }
    assert_eq!(tensors.len(), other.len());
}

#[test]
fn arguments_that_mean_nothing_are_named_with_what_is_expected() {
    for program in [env!("CARGO_BIN_EXE_regression"), env!("CARGO_BIN_EXE_transformer")] {
        for given in [&["many"][..], &["--help"], &["1000", "--help"], &["1", "runs/a", "b"]] {
            let output = start(program, given);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(" [steps, a whole number: "), "{said}");
            assert!(said.contains(&format!("given: {}", given.join(" "))), "{said}");
        }
    }
}

#[test]
fn each_says_what_it_shows_and_how_it_is_run_and_is_read_in_a_sitting() {
    let readme = include_str!("../../README.md");
    for program in ["regression", "fine_tuning", "transformer"] {
        let file = format!("{}/src/bin/{program}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = fs::read_to_string(file).expect("a source");
        let (top, _) = source.split_once("\n\n").expect("a description, then code");
        assert!(top.contains("\n//! Shows "), "{program}");
        let run = format!("`cargo run --release -p warmstart-examples --bin {program}");
        assert!(top.contains(&run), "{program} does not say how it is run");
        assert!(source.lines().count() <= 160, "{program} is more than a screen or two");
        assert!(readme.contains(&format!("(examples/src/bin/{program}.rs)")), "{program}");
    }
}
