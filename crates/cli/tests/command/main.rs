//! Runs the command as people do, and looks at what it prints and how it ends.

mod bench;
#[cfg(unix)]
mod blanks;
mod convert;
mod devices;
mod diff;
#[cfg(unix)]
mod golden;
mod graph;
mod help;
mod inspect;
#[cfg(unix)]
mod interrupt;
mod json_errors;
mod latest;
#[cfg(unix)]
mod names;
mod plan;
mod predict;
mod python;
mod readme;
mod train;
mod train_accumulated;
mod train_again;
mod train_ends;
mod train_given_away;
mod train_precision;
mod train_ruined;
mod train_texts;
mod train_warm;
mod train_wrong;
mod verify;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};
use warmstart_checkpoint::{SaveOptions, save, step_file_name};
use warmstart_gpu::{Gpu, Session};
use warmstart_graph::{DType, Graph, Location, Optimizer};

/// How a run of the command ended.
struct Ran {
    code: i32,
    out: String,
    error: String,
}

impl Ran {
    /// What was printed, if it ended with this code.
    #[track_caller]
    fn with(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.error);
        self.out
    }

    /// The error, unwrapped from the lines that fit a terminal.
    #[track_caller]
    fn failed(self) -> String {
        // With `--json`, the error is there too.
        let told = || json(&self.out)["error"]["code"] == 2;
        assert!(self.out.is_empty() || told(), "{}\n{}", self.out, self.error);
        self.failed_late()
    }

    /// As [`Ran::failed`], after something was printed.
    #[track_caller]
    fn failed_late(self) -> String {
        assert_eq!(self.code, 2, "{}\n{}", self.out, self.error);
        let words = self.error.replace(['│', '╰', '─', '▶', '├'], " ");
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Runs the command in a directory. What it prints has `/` between folders on every system, but for
/// JSON, where `\` begins an escape.
fn warmstart(directory: &Path, arguments: &[&str]) -> Ran {
    warmstart_with(directory, arguments, &[])
}

/// The same, with some variables of the environment.
fn warmstart_with(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warmstart"));
    command.args(arguments).current_dir(directory).envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        match arguments.contains(&"--json") {
            true => text,
            false => text.replace(std::path::MAIN_SEPARATOR, "/"),
        }
    };
    Ran { code: status.code().unwrap(), out: text(stdout), error: text(stderr) }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// A file as another program writes it: name, dtype, shape and bytes of each tensor.
fn foreign(file: &Path, tensors: &[(&str, &str, &[usize], Vec<u8>)]) {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!({ "format": "pt" }));
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let begin = data.len();
        data.extend_from_slice(bytes);
        let entry = serde_json::json!({
            "dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()],
        });
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(file, [&length[..], &header, &data].concat()).unwrap();
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A checkpoint of ours at a step: a linear layer with the slots of its optimizer, initialized with
/// a seed, with graph, time and a metric.
fn trained(directory: &Path, step: u64, seed: u64, loss: f64) -> PathBuf {
    let graph = Graph::new();
    let optimizer = Optimizer::adam(1e-3);
    // Not of this file: what is printed would change with it.
    let line = Location { file: "model.rs".into(), line: 1 };
    let update = graph.at_line(line, || {
        let input = graph.placeholder("input", [2, 3], DType::F32);
        let output = graph.scope("fc1").linear(input, 4);
        let labels = graph.placeholder("labels", [2], DType::I32);
        optimizer.minimize(output.softmax_cross_entropy(labels)).update
    });
    let gpu = Gpu::new().unwrap();
    let mut session = Session::new(&gpu);
    session.compile(&graph, &[], &[update]).unwrap();
    session.initialize_missing(seed).unwrap();
    let options = SaveOptions::new()
        .step(step)
        .time(SystemTime::UNIX_EPOCH + Duration::from_secs(951_782_400))
        .metric("loss", loss)
        .graph(&graph.finish().unwrap())
        .optimizer(serde_json::to_string(&optimizer).unwrap())
        .extra("author", "me");
    let file = directory.join(step_file_name(step));
    save(&session, &file, &options).unwrap();
    file
}
