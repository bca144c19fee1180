//! What README shows of TensorFlow's checkpoints is what the command prints of those in
//! `crates/checkpoint/tests/fixtures/tensorflow`.

use crate::warmstart;
use std::fs;
use std::path::Path;
use warmstart_checkpoint::{SaveOptions, save};
use warmstart_gpu::{Gpu, Session};
use warmstart_graph::{DType, Initializer, Role, Shape, Variable};

#[test]
fn what_the_readme_shows_is_what_is_printed() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(here.join("../../README.md")).unwrap().replace("\r\n", "\n");
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let fixtures = here.join("../checkpoint/tests/fixtures/tensorflow");
    for folder in ["tf1_linear", "tf1_adam", "tf1_sharded"] {
        fs::create_dir(at.join(folder)).unwrap();
        for entry in fs::read_dir(fixtures.join(folder)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), at.join(folder).join(entry.file_name())).unwrap();
        }
    }
    // A model of one's own with the same layer in another scope.
    let variable = |name: &str, shape: &[usize]| {
        let initializer = Initializer::GlorotUniform;
        Variable::new(name, Shape::from(shape), DType::F32, initializer, Role::Trainable)
    };
    let mut session = Session::new(&Gpu::new().unwrap());
    session
        .declare(&[variable("classifier/weight", &[10, 10]), variable("classifier/bias", &[10])])
        .unwrap();
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
        if !line.contains("tf1_") {
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let printed = warmstart(at, &words).out;
        let lines = |text: &str| -> Vec<String> {
            text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
        };
        assert_eq!(lines(&printed), lines(expected), "{line}\n{printed}");
        shown += 1;
    }
    assert!(shown >= 3, "{shown}");
}
