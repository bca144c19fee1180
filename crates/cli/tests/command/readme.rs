//! What README shows of TensorFlow's checkpoints is what the command prints of those in
//! `crates/checkpoint/tests/fixtures/tensorflow`.

use crate::warmstart;
use std::fs;
use std::path::Path;
use warmstart_checkpoint::{SaveOptions, save};
use warmstart_gpu::{Gpu, Session};
use warmstart_graph::{DType, Graph, Initializer, Optimizer};

#[test]
fn what_the_readme_shows_is_what_is_printed() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(here.join("../../README.md")).unwrap().replace("\r\n", "\n");
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let fixtures = here.join("../checkpoint/tests/fixtures/tensorflow");
    for folder in ["tf1_adam", "tf2_keras2", "tf2_keras3"] {
        fs::create_dir(at.join(folder)).unwrap();
        for entry in fs::read_dir(fixtures.join(folder)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), at.join(folder).join(entry.file_name())).unwrap();
        }
    }
    // A model of one's own with the same layer in another scope, and an optimizer of another name.
    let graph = Graph::new();
    let inputs = graph.placeholder("inputs", [2, 4], DType::F32);
    let scope = graph.scope("classifier");
    let kernel = scope.variable("kernel", [4, 3], Initializer::GlorotUniform);
    let bias = scope.variable("bias", [3], Initializer::Zeros);
    let loss = (inputs.matmul(kernel) + bias).mean_all();
    let _ = Optimizer::adam(1e-3).minimize(loss);
    let mut session = Session::new(&Gpu::new().unwrap());
    session.declare(&graph.finish().unwrap().variables).unwrap();
    session.initialize_missing(7).unwrap();
    save(&session, at.join("mine.safetensors"), &SaveOptions::new()).unwrap();

    let mut shown = 0;
    for block in readme.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let Some((line, expected)) =
            block.strip_prefix("$ warmstart ").and_then(|block| block.split_once('\n'))
        else {
            continue;
        };
        if !line.contains("tf1_") && !line.contains("tf2_") {
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let printed = warmstart(at, &words).out;
        let lines = |text: &str| -> Vec<String> {
            text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
        };
        assert!(shows(&lines(expected), &lines(&printed)), "{line}\n{printed}");
        shown += 1;
    }
    assert!(shown >= 3, "{shown}");
}

/// Whether lines are those of a text, of which `...` leaves some out.
fn shows(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == "..." => {
            (1..=printed.len()).any(|left_out| shows(rest, &printed[left_out..]))
        }
        Some((line, rest)) => {
            printed.split_first().is_some_and(|(first, left)| first == line && shows(rest, left))
        }
    }
}

#[test]
fn lines_left_out_are_some() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let shows = |expected: &str, printed: &str| shows(&lines(expected), &lines(printed));
    assert!(shows("a\n...\nd", "a\nb\nc\nd") && shows("a\n...", "a\nb"));
    assert!(!shows("a\n...\nb", "a\nb") && !shows("a\n...\nd", "a\nb\nc") && !shows("a", "a\nb"));
}
