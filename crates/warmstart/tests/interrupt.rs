//! A run that is asked to stop saves what there is, and is later the run without the break.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::raise;
use std::env;
use std::path::Path;
use std::process::{Command, Output, exit};
use std::sync::Arc;
use warmstart::prelude::*;

const STEPS: u64 = 12;
/// What the process is to do that this one starts, and where.
const WHAT: &str = "WARMSTART_TEST_INTERRUPT";
const DIRECTORY: &str = "WARMSTART_TEST_INTERRUPT_DIRECTORY";

/// Trains a line; `then` is called with the steps that are done, before they are recorded.
fn train(
    directory: &Path,
    together: u64,
    mut then: impl FnMut(u64, &Run),
) -> Result<Vec<u8>, TrainingError> {
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 1], DType::F32);
    let y = graph.placeholder("y", [2, 1], DType::F32);
    let loss = graph.scope("line").linear(x, 1).dropout("line", 0.25).mean_squared_error(y);
    let optimizer = Optimizer::adam(0.1);
    let update = optimizer.minimize(loss).update;
    let mut session = Session::new(&Gpu::new().expect("an adapter"));
    let plan = session.compile(&graph, &[loss], &[update]).expect("it compiles");
    let examples = Dataset::with_targets(vec![0., 1., 2., 3.], 1, vec![1., 3., 5., 7.], 1);
    let examples = examples.expect("rows that agree");
    let data = examples.upload(session.gpu(), "x", "y").expect("it has room");
    let training = Training::new(directory).steps(STEPS).seed(3).stop_on_interrupt();
    let mut run = training.begin(&mut session, &graph, &optimizer)?;
    let mut batches = Batches::new(examples.len(), 2, run.seed()).expect("batches");
    while let Some(steps) = run.next_steps(together) {
        let done = steps.end;
        let rows = batches.indices_of(steps);
        let outputs = session.run_steps(&plan, &Steps::rows(&data, &rows)).expect("they run");
        then(done, &run);
        run.record_steps(&session, &outputs, loss)?;
    }
    let file = run.finish(&session)?;
    let checkpoint = Checkpoint::open(&file)?;
    let begin = checkpoint.tensors()[0].range.start as usize;
    Ok(std::fs::read(&file).expect("a file")[begin..].to_vec())
}

/// Asks this very process to stop; the handler has run when this returns.
fn signal(signal: i32) {
    raise(signal).expect("a signal that there is");
}

/// What the other process does. It ends with 0 only where nothing has stopped it.
fn child(what: &str, directory: &Path) {
    let by = if what == "terminate" { SIGTERM } else { SIGINT };
    // Tests that are run in the background of a script begin with Ctrl-C ignored. With a handler it is not.
    if what != "ignored" {
        flag::register(by, Arc::default()).expect("a handler");
    }
    let trained = train(directory, 2, |done, run| {
        if done != 4 {
            return;
        }
        assert_eq!(run.interrupted(), None);
        match what {
            "once" | "terminate" | "ignored" => signal(by),
            "twice" => (0..2).for_each(|_| signal(by)),
            _ => assert_eq!(what, "late"),
        }
    });
    match trained {
        Ok(_) if what == "late" => signal(by),
        Ok(_) => {}
        Err(TrainingError::Interrupted { by, step, steps, file }) => {
            assert_eq!((step, steps), (4, STEPS));
            assert!(file.ends_with("step-4.safetensors"), "{}", file.display());
            // Whoever stopped one run stops the next one, too.
            let error = train(directory, 2, |_, _| {}).expect_err("nothing is done");
            assert!(matches!(error, TrainingError::Interrupted { step: 4, .. }), "{error}");
            exit(by.exit_code().into());
        }
        Err(error) => panic!("{error}"),
    }
}

fn start(what: &str, directory: &Path) -> Output {
    let this = env::current_exe().expect("a path");
    let mut command = match what {
        // As a shell starts `program &` in a script.
        "ignored" => {
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' INT; exec \"$0\" \"$@\""]).arg(this);
            shell
        }
        _ => Command::new(this),
    };
    command.args(["a_run_that_is_interrupted_goes_on_exactly", "--exact", "--nocapture"]);
    command.env(WHAT, what).env(DIRECTORY, directory).output().expect("it starts")
}

#[test]
fn a_run_that_is_interrupted_goes_on_exactly() {
    if let (Some(what), Some(directory)) = (env::var_os(WHAT), env::var_os(DIRECTORY)) {
        return child(what.to_str().expect("one of ours"), Path::new(&directory));
    }
    let whole = tempfile::tempdir().expect("a temporary directory");
    let expected = train(whole.path(), 1, |_, _| {}).expect("nobody stops it");
    let cases: [(&str, i32, &[u64], &str); 5] = [
        ("once", 130, &[4], "Ctrl-C: stopping after step 4 of 12, to save it\nCtrl-C again ends"),
        ("terminate", 143, &[4], "SIGTERM: stopping after step 4 of 12, to save it\n"),
        ("twice", 130, &[], ""),
        ("late", 130, &[STEPS], ""),
        ("ignored", 0, &[STEPS], ""),
    ];
    for (what, code, saved, said) in cases {
        if what == "ignored" && !cfg!(target_os = "linux") {
            continue;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let output = start(what, directory.path());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{what}: {error}");
        assert!(error.contains(said), "{what}: {error}");
        let found: Vec<u64> = (0..=STEPS)
            .filter(|step| directory.path().join(format!("step-{step}.safetensors")).is_file())
            .collect();
        assert_eq!(found, saved, "{what}: {error}");
        let resumed = train(directory.path(), 3, |_, _| {}).expect("nobody stops it");
        assert!(resumed == expected, "{what}: variables differ from the run without a break");
    }
}
