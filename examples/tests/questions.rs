//! The programs that answer a question print what they should, and the guide and the README show
//! what they print.

use regex::Regex;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use warmstart::prelude::*;

fn executable(program: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_all")).with_file_name(program);
    path.with_extension(std::env::consts::EXE_EXTENSION)
}

/// Runs a program; its temporary directory is called `runs` in what it printed.
fn run(program: &str) -> String {
    let output = Command::new(executable(program)).output();
    let output = output.unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} failed: {errors}");
    let printed = String::from_utf8(output.stdout).expect("programs print UTF-8");
    let directory = Regex::new(r"[^\s`(]*[/\\]\.tmp\w+").expect("a regular expression");
    directory.replace_all(&printed, "runs").replace('\\', "/").replace("\r\n", "\n")
}

/// Runs a program and looks for whole lines in what it prints, in this order.
fn expect_lines(program: &str, lines: &str) {
    let printed = run(program);
    let mut rest = printed.lines();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        assert!(
            rest.any(|printed| printed == line),
            "{program} does not print this line, or not in this place:\n{line}\nit prints:\n{printed}"
        );
    }
}

macro_rules! questions {
    ($($program:ident: $lines:literal;)+) => {
        $(
            #[test]
            fn $program() {
                expect_lines(stringify!($program), $lines);
            }
        )+
        /// The programs that are looked at here.
        const PROGRAMS: &[&str] = &[$(stringify!($program)),+];
    };
}

questions! {
    scope_mismatch: r#"
  restored    0
  missing     2   different_model_scope/weight  f32 [10, 10]
                  different_model_scope/bias    f32 [10]
  unexpected  2   model_scope/bias              f32 [10]
                  model_scope/weight            f32 [10, 10]
error: 2 variables have no value in this checkpoint.
error: 2 tensors belong to no variable. Nothing on the device was changed.
help: renaming scope `model_scope` to `different_model_scope` restores 2 of 2:
          .rename_scope("model_scope", "different_model_scope")
restore runs/step-500.safetensors → 2 variables
  rules       1   .rename_scope("model_scope", "different_model_scope")  2 names
  restored    2   440 B
 different_model_scope/weight  f32    [10, 10]    400  restored (runs/step-500.safetensors: model_scope/weight, step 500)
"#;
    renamed_variable: r#"
  would fit   2   108 B
  missing     1   embedding/vectors  f32 [100, 8]
  unexpected  1   embedding/table    f32 [100, 8]
error: 1 tensor belongs to no variable. Nothing on the device was changed.
  rules       1   .rename("embedding/table", "embedding/vectors")  1 name
  restored    3   3.2 KiB
 embedding/vectors  f32    [100, 8]   3200  restored (runs/step-500.safetensors: embedding/table, step 500)
"#;
    other_initializer: r#"
  restored    2   32 B
note: the restored values win over other initializers: `fc1/weight` is declared with he_normal, and began as glorot_uniform
error: `initialize_all` would overwrite 2 values that no initializer can make again: `fc1/weight` restored (runs/step-500.safetensors: fc1/weight, step 500); `fc1/bias` restored (runs/step-500.safetensors: fc1/bias, step 500). Nothing was changed. Call `initialize_missing(seed)` to fill only variables without a value, or `initialize_all(seed, Overwrite::Everything)` to lose these
initialized: []
fc1/weight has the bits that were saved: true
 fc1/weight  f32    [3, 2]     24  restored (runs/step-500.safetensors: fc1/weight, step 500)
"#;
    constant_initializer: r#"
error: variable `scale` (declared at examples/src/bin/constant_initializer.rs:13) has no value: uninitialized (never given a value). Call `initialize_missing(seed)`, restore a checkpoint that holds it, or `assign` it
  restored    2   24 B
note: the restored values win over other initializers: `scale` is declared with zeros, and began as constant(0.5); so is one more
 scale  f32    [3]       12  restored (runs/step-500.safetensors: scale, step 500)
scale is [0.5, 0.5, 0.5]
shift is [-1.0, 0.25, 2.0]
scale was declared with constant(0.5)
shift was declared with values(3 given)
made again, shift is the same: true
"#;
    random_after_restore: r#"
  restored    0
  missing     4   fc1/weight           f32 [4, 8]
  unexpected  4   net/layers/0/bias    f32 [8]
error: this checkpoint has nothing that fits any of the 4 variables. Nothing on the device was changed.
help: these 2 rules together restore 4 of 4:
          .rename_scope("net/layers/0", "fc1")
          .rename_scope("net/layers/1", "fc2")
help: leave the restore out if no variable is to be restored
error: 4 variables that this run reads have no value; nothing was run:
  `fc1/weight` f32 [4, 8]: uninitialized (never given a value); read by matmul at examples/src/bin/random_after_restore.rs:13
  restored    4   232 B
 fc1/weight  f32    [4, 8]    128  restored (runs/step-500.safetensors: net/layers/0/weight, step 500)
 fc2/bias    f32    [2]         8  restored (runs/step-500.safetensors: net/layers/1/bias, step 500)
"#;
    latest_checkpoint: r#"
error: cannot read checkpoint `runs/step-300.safetensors`: tensor `fc1/weight` ends at file offset 872, but the file has 856 bytes: it was cut short; copy or write it again
restore runs/step-200.safetensors → 2 variables
  restored    2   40 B
note: a newer checkpoint is damaged, and an older one was opened: cannot read checkpoint `runs/step-300.safetensors`: tensor `fc1/weight` ends at file offset 872, but the file has 856 bytes: it was cut short; copy or write it again
 fc1/weight  f32    [4, 2]     32  restored (runs/step-200.safetensors: fc1/weight, step 200)
"#;
    uninitialized: r#"
error: 2 variables that this run reads have no value; nothing was run:
  `encoder/weight` f32 [3, 4]: uninitialized (never given a value); read by matmul at examples/src/bin/uninitialized.rs:10
  `encoder/bias` f32 [4]: uninitialized (never given a value); read by add at examples/src/bin/uninitialized.rs:10
error: cannot save `runs/uninitialized/step-0.safetensors`: 2 variables have no value: `encoder/weight`, uninitialized (never given a value); `encoder/bias`, uninitialized (never given a value). Nothing was written: call `initialize_missing(seed)` or restore them first
 encoder/weight  f32    [3, 4]     48  initialized (glorot_uniform, seed 7)
 encoder/bias    f32    [4]        16  assigned
error: `initialize_all` would overwrite 1 value that no initializer can make again: `encoder/bias` assigned. Nothing was changed. Call `initialize_missing(seed)` to fill only variables without a value, or `initialize_all(seed, Overwrite::Everything)` to lose these
"#;
    changed_graph: r#"
  missing         2   fc2/weight        f32 [8, 8]
  shape mismatch  3   embedding/weight  f32 [12, 8], but f32 [10, 8] in the file
                      head/weight       f32 [8, 3], but f32 [8, 2] in the file
                      head/bias         f32 [3], but f32 [2] in the file
  unexpected      2   auxiliary/bias    f32 [4]
error: 3 variables have another shape or dtype in this checkpoint.
error: 2 variables have no value in this checkpoint.
error: 2 tensors belong to no variable. Nothing on the device was changed.
  rules           1   .resize_rows("embedding/weight", 7)  1 name
  restored        3   672 B
                      embedding/weight  10 of 12 rows from the file, 2 initialized (normal(0, 0.02), seed 7)
initialized: ["fc2/weight", "fc2/bias", "head/weight", "head/bias"]
 embedding/weight  f32    [12, 8]    384  10 of 12 rows restored (runs/step-500.safetensors: embedding/weight, step 500), the others initialized (normal(0, 0.02), seed 7)
 fc2/weight        f32    [8, 8]     256  initialized (glorot_uniform, seed 7)
 head/weight       f32    [8, 3]      96  initialized (glorot_uniform, seed 7)
"#;
    incomplete_save: r#"
killed, with an unfinished file left: true
restore runs/step-100.safetensors → 1 variable
  restored    1   64.0 MiB
 embedding/weight  f32    [262144, 64]  67108864  restored (runs/step-100.safetensors: embedding/weight, step 100)
saved step 200, with an unfinished file left: false
"#;
    optimizer_slots: r#"
restore runs/weights_only.safetensors → 14 variables
  would fit   4    232 B
  missing     10   global_step  u32 []
                   adam's slots m, v for 4 variables
                   adam's own slot step
error: 10 variables have no value in this checkpoint. Nothing on the device was changed.
help: the checkpoint holds weights without the slots of adam, and training would restart its moments: `.allow_missing()` and then `session.initialize_missing(seed)` say that this is meant
restore runs/momentum.safetensors → 14 variables
  missing     9   adam's slots m, v for 4 variables
  unexpected  5   sgd's slot momentum for 4 variables
                  sgd's own slot step
help: the checkpoint was trained with sgd, and this graph trains with adam: `.allow_missing().allow_unexpected()` and then `session.initialize_missing(seed)` begin with the restored weights and fresh slots
 fc1/weight         f32    [4, 8]    128  restored (runs/momentum.safetensors: fc1/weight, step 500)
 fc1/weight/adam/m  f32    [4, 8]    128  initialized (zeros, seed 7)
"#;
    pretrained: r#"
  rules       1   .only("encoder/**")  2 names
  restored    2   160 B
  ignored     2   head/weight              f32 [8, 3]
                  head/bias                f32 [3]
  left out    2   pretraining_head/bias    f32 [100], by `.only("encoder/**")`
error: 2 variables that this run reads have no value; nothing was run:
  `head/weight` f32 [8, 3]: uninitialized (left out of the restore of runs/step-90000.safetensors by a rule); read by matmul at examples/src/bin/pretrained.rs:13
error: `initialize_all` would overwrite 2 values that no initializer can make again: `encoder/weight` restored (runs/step-90000.safetensors: encoder/weight, step 90000); `encoder/bias` restored (runs/step-90000.safetensors: encoder/bias, step 90000). Nothing was changed. Call `initialize_missing(seed)` to fill only variables without a value, or `initialize_all(seed, Overwrite::Everything)` to lose these
initialized: ["head/weight", "head/bias"]
 encoder/weight  f32    [4, 8]    128  restored (runs/step-90000.safetensors: encoder/weight, step 90000)
 head/weight     f32    [8, 3]     96  initialized (glorot_uniform, seed 7)
"#;
    one_layer: r#"
  would fit   2   80 B
  missing     4   attention/weight  f32 [4, 8]
  unexpected  4   decoder/bias      f32 [4]
error: 4 variables have no value in this checkpoint.
  rules       1   .only("encoder/**")  2 names
  ignored     4   attention/weight  f32 [4, 8]
  left out    4   decoder/bias      f32 [4], by `.only("encoder/**")`
                  middle/weight     f32 [4, 16], by `.only("encoder/**")`
 encoder/weight    f32    [4, 4]     64  restored (runs/step-500.safetensors: encoder/weight, step 500)
 attention/weight  f32    [4, 8]    128  uninitialized (left out of the restore of runs/step-500.safetensors by a rule)
  rules       1   .assignment_map([("encoder/", "teacher/"), ("encoder/", "student/")])  4 names
  restored    4   160 B
  left out    4   decoder/bias    f32 [4], by `.assignment_map(…)`
note: 2 tensors are the values of several variables each: `encoder/bias` of `teacher/bias`, `student/bias`; `encoder/weight` of `teacher/weight`, `student/weight`
 student/weight  f32    [4, 4]     64  restored (runs/step-500.safetensors: encoder/weight, step 500)
"#;
    graph_from_checkpoint: r#"
restore runs/step-100.safetensors → 4 variables
  would fit   4    328 B
  unexpected  10   global_step  u32 []
                   adam's slots m, v for 4 variables
                   adam's own slot step
error: 10 tensors belong to no variable. Nothing on the device was changed.
note: unexpected tensors stay in the file
 fc2/bias    f32    [2]          8  restored (runs/step-100.safetensors: fc2/bias, step 100)
exclusive or: [0.0, 1.0, 1.0, 0.0]
"#;
    counted_layers: r#"
  would fit   4   160 B
  missing     2   layer_3/weight  f32 [4, 4]
                  layer_3/bias    f32 [4]
  unexpected  2   layer_0/bias    f32 [4]
                  layer_0/weight  f32 [4, 4]
help: these 3 rules together restore the 2 that are left:
          .rename_scope("layer_2", "layer_3")
          .rename_scope("layer_1", "layer_2")
          .rename_scope("layer_0", "layer_1")
      only the order of their numbers says that `layer_0/bias` is `layer_1/bias`, and `layer_1/bias` is `layer_2/bias`; so it is with `layer_1/weight`
      `layer_1/weight`, which would fit as it is, gets `layer_0/weight` in place of `layer_1/weight`; so it is with 3 more
  restored    6   240 B
 layer_1/weight  f32    [4, 4]     64  restored (runs/step-500.safetensors: layer_0/weight, step 500)
 layer_3/bias    f32    [4]        16  restored (runs/step-500.safetensors: layer_2/bias, step 500)
the first layer has the weights of the first layer: true
"#;
    other_library: r#"
restore runs/pytorch.safetensors → 4 variables
  restored        0
  missing         3   patches/weight  f32 [2, 2, 3, 8]
                      head/weight     f32 [8, 5]
                      head/bias       f32 [5]
  shape mismatch  1   class_token     f32 [8], but f32 [1, 1, 8] in the file
  unexpected      3   head.bias       f32 [5]
                      head.weight     f32 [5, 8]
                      patches.weight  f32 [8, 3, 2, 2]
error: 1 variable has another shape or dtype in this checkpoint.
error: 3 variables have no value in this checkpoint.
error: 3 tensors belong to no variable. Nothing on the device was changed.
help: these 3 rules together restore 3 of 4:
          .separator('.', '/')
          .transpose("**/weight")
          .reshape("class_token")
help: `patches/weight` asks for [2, 2, 3, 8], and [8, 3, 2, 2] is left in the file: the same extents in another order, which no rule mends. PyTorch's kernels are out, in, height, width, TensorFlow's height, width, in, out: turn them before they are saved, with `numpy.transpose(kernel, (2, 3, 1, 0))`
restore runs/pytorch.safetensors → 4 variables
  rules       3   .separator('.', '/')       3 names
                  .transpose("head/weight")  1 name
                  .reshape("class_token")    1 name
  restored    4   596 B
                  1 transposed, 1 reshaped
 patches/weight  f32    [8, 3, 2, 2]    384  restored (runs/pytorch.safetensors: patches.weight)
 head/weight     f32    [8, 5]          160  restored (runs/pytorch.safetensors: head.weight)
the kernel begins with [0.0, 12.0, 24.0, 36.0, 48.0, 60.0, 72.0, 84.0]
the matrix begins with [0.0, 8.0, 16.0, 24.0, 32.0]
"#;
}

/// The programs that answer no question: `digits.rs` and `training_programs.rs` look at those that train.
const OTHERS: [&str; 5] = ["all", "digits", "regression", "fine_tuning", "transformer"];

/// The file names, without their ends, of `src/bin`, but for those that answer no question.
fn programs() -> Vec<String> {
    let entries = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin")).expect("a folder");
    let names = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned()
    });
    names.filter(|name| !OTHERS.contains(&&name[..])).collect()
}

#[test]
fn every_program_is_looked_at_and_begins_with_its_question() {
    for program in programs() {
        assert!(PROGRAMS.contains(&program.as_str()), "no lines of `{program}` are expected here");
        let file = format!("{}/src/bin/{program}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = fs::read_to_string(file).expect("a source");
        let first = source.lines().next().unwrap_or_default();
        let question = first.starts_with("//! \"") && first.contains("?\"");
        assert!(question, "{program}: the first line is no question: {first}");
        assert!(source.lines().count() <= 65, "{program} is more than a screen");
    }
}

/// Blocks of a Markdown text that show what a program prints: its name, and the lines. What the
/// command prints is for its own tests.
fn consoles(markdown: &str) -> Vec<(&str, Vec<&str>)> {
    let blocks = markdown.split("\n```console\n").skip(1);
    let blocks = blocks.filter(|block| !block.starts_with("$ warmstart ")).map(|block| {
        let (block, _) = block.split_once("\n```\n").expect("the block ends");
        let mut lines = block.lines();
        let command = lines.next().unwrap_or_default();
        let program = command.strip_prefix("$ cargo run -p warmstart-examples --bin ");
        (program.unwrap_or_else(|| panic!("no program is run: {command}")), lines.collect())
    });
    blocks.collect()
}

#[test]
fn the_guide_and_the_readme_show_what_the_programs_print() {
    let guide = consoles(include_str!("../../docs/restore-guide.md"));
    let readme = consoles(include_str!("../../README.md"));
    assert!(!readme.is_empty());
    for program in programs() {
        assert!(guide.iter().any(|(shown, _)| *shown == program), "the guide lacks `{program}`");
    }
    for (program, lines) in guide.into_iter().chain(readme) {
        let printed = run(program);
        let printed: Vec<&str> = printed.lines().collect();
        let mut rest = &printed[..];
        // What stands between lines of `...` must be printed as one piece, in order.
        let pieces = lines.split(|line| *line == "...").filter(|piece| !piece.is_empty());
        for piece in pieces {
            let at = rest.windows(piece.len()).position(|window| window == piece);
            let at = at.unwrap_or_else(|| {
                let (piece, printed) = (piece.join("\n"), printed.join("\n"));
                panic!("{program} no longer prints this:\n{piece}\nit prints:\n{printed}")
            });
            let first = rest.len() == printed.len() && lines.first() != Some(&"...");
            assert!(at == 0 || !first, "{program} prints more at first: {}", rest[..at].join("\n"));
            rest = &rest[at + piece.len()..];
        }
        let whole = lines.last() == Some(&"...") || rest.is_empty();
        assert!(whole, "{program} prints more than is shown: {}", rest.join("\n"));
    }
}

/// What `make examples` prints.
#[test]
fn a_table_says_which_programs_passed() {
    let all = |named: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_all")).args(named).output();
        output.expect("the program starts")
    };
    let output = all(&["uninitialized", "scope_mismatch"]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}");
    let heads: Vec<&str> = printed.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heads, ["program", "adapter", "seconds", "result"], "{printed}");
    let adapter = Gpu::new().expect("an adapter").summary().to_string();
    let row = |row: &str| {
        let (program, rest) = row.trim().split_once(' ')?;
        let rest = rest.trim().strip_prefix(&adapter)?.trim().strip_suffix("passed")?;
        // Whole seconds and tenths.
        let (whole, tenths) = rest.trim().split_once('.')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        (is_number(whole) && is_number(tenths) && tenths.len() == 1).then(|| program.to_owned())
    };
    let programs: Vec<String> = printed.lines().skip(1).filter_map(row).collect();
    assert_eq!(programs, ["scope_mismatch", "uninitialized"], "{printed}");
    assert!(printed.contains("2 of 2 passed"), "{printed}");

    let output = all(&["uninitialised"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no program `uninitialised`"), "{said}");
    assert!(said.contains("scope_mismatch"), "{said}");
}

#[test]
fn a_main_that_returns_the_error_shows_the_report() {
    let graph = Graph::new();
    let images = graph.placeholder("images", [1, 64], DType::F32);
    let logits = graph.scope("layer1").linear(images, 128);
    let mut session = Session::new(&Gpu::new().expect("an adapter"));
    session.compile(&graph, &[logits], &[]).expect("a plan");
    session.initialize_missing(7).expect("values");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let saver = Saver::new(directory.path());
    saver.save(&session, 10, &SaveOptions::new()).expect("a checkpoint");

    let output = Command::new(executable("digits")).arg("20").arg(directory.path()).output();
    let output = output.expect("digits starts");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    for line in [
        "step-10.safetensors → 20 variables",
        "  unexpected  2    layer1/bias",
        " Nothing on the device was changed.",
        ".rename_scope(\"layer1\", \"fc1\")",
    ] {
        assert!(said.contains(line), "`{line}` is not in:\n{said}");
    }
    assert!(!said.contains("RestoreReport {"), "{said}");
}
