use crate::{json, trained, warmstart};

#[test]
fn the_newest_whole_and_the_best_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let latest =
        |arguments: &[&str]| warmstart(directory.path(), &[&["latest", "run"], arguments].concat());
    let ran = latest(&[]);
    assert!(ran.error.contains("`run` holds no checkpoint"), "{}", ran.error);
    assert_eq!(ran.with(1), "");
    assert_eq!(latest(&["--json"]).with(1), "null\n");
    trained(&run, 9, 7, 0.25);
    trained(&run, 10, 7, 0.5);
    let path = |step: u64| format!("run/step-{step}.safetensors\n");
    assert_eq!(latest(&[]).with(0), path(10));
    assert_eq!(latest(&["--best", "loss", "--lower"]).with(0), path(9));
    assert_eq!(latest(&["--best", "loss", "--higher"]).with(0), path(10));
    let value = json(&latest(&["--best", "loss", "--lower", "--json"]).with(0));
    assert_eq!((&value["step"], &value["value"]), (&9.into(), &0.25.into()));
    let ran = latest(&["--best", "accuracy", "--higher"]);
    assert!(ran.error.contains("metric `accuracy`; there are `loss`"), "{}", ran.error);
    assert_eq!(ran.with(1), "");
    for wrong in
        [&["--best", "loss"][..], &["--higher"], &["--best", "loss", "--higher", "--lower"]]
    {
        assert_eq!(latest(wrong).code, 2, "{wrong:?}");
    }
    std::fs::write(run.join("step-10.safetensors"), "").unwrap();
    let ran = latest(&[]);
    assert!(ran.error.starts_with("note: a newer checkpoint is damaged"), "{}", ran.error);
    assert_eq!(ran.with(0), path(9));
}

#[test]
fn weights_are_read_unless_they_are_not_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    std::fs::create_dir(&run).unwrap();
    trained(&run, 1, 7, 0.5);
    let newest = trained(&run, 2, 7, 0.25);
    let mut bytes = std::fs::read(&newest).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let latest = |more: &[&str]| warmstart(directory.path(), &[&["latest", "run"], more].concat());
    for (more, said) in [
        (&[][..], "note: a newer checkpoint is damaged, and an older one was opened: "),
        (&["--best", "loss", "--lower"], "note: a damaged checkpoint was left out, which may be"),
    ] {
        let ran = latest(more);
        assert!(ran.error.starts_with(said), "{}", ran.error);
        assert!(ran.error.ends_with(" are not as they were written\n"), "{}", ran.error);
        assert!(ran.with(0).trim_end().ends_with("step-1.safetensors"));
        let unread = latest(&[more, &["--no-verify"]].concat()).with(0);
        assert!(unread.trim_end().ends_with("step-2.safetensors"), "{unread}");
    }
    assert_eq!(json(&latest(&["--json"]).with(0))["verified"], true);
    std::fs::remove_file(run.join("step-1.safetensors")).unwrap();
    let error = latest(&[]).failed();
    assert!(error.contains("the only checkpoint in `run` is damaged"), "{error}");
    assert!(error.contains("copy it again from where there is a whole one"), "{error}");
}

#[test]
fn a_file_is_no_folder_of_a_run() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("my runs");
    std::fs::create_dir(&run).unwrap();
    trained(&run, 1, 7, 0.5);
    trained(&run, 2, 7, 0.5);
    let latest = ["latest", "my runs/step-1.safetensors"];
    let error = warmstart(directory.path(), &latest).failed();
    assert!(error.contains("is a file, and `latest` chooses among those of a folder"), "{error}");
    let folder = if cfg!(windows) { "\"my runs\"" } else { "'my runs'" };
    assert!(error.contains(&format!("as `warmstart latest {folder}`")), "{error}");
    let plan = ["plan", "my runs", "--graph", "my runs"];
    let newest = "note: `my runs/step-2.safetensors` is the newest of 2 checkpoints in `my runs`\n";
    let out = warmstart(directory.path(), &plan).with(0);
    assert!(out.contains(newest), "{out}");
    // There is something to do only where one was passed over.
    let file = run.join("step-2.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(file, &bytes[..100]).unwrap();
    let out = warmstart(directory.path(), &plan).with(0);
    let latest = format!("`warmstart latest {folder}` reads the weights too");
    assert!(out.contains(&latest), "{out}");
}

/// Whoever opens a folder is told what else is in it, and how to open that.
#[test]
fn what_a_folder_holds_beside_what_it_is_opened_by_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let step = trained(&run, 1, 7, 0.5);
    let said = |arguments: &[&str]| warmstart(directory.path(), arguments).with(0);
    let (inspect, plan) =
        (["inspect", "run"], ["plan", "run", "--graph", "run/step-1.safetensors"]);
    assert!(!said(&inspect).contains("what else"));
    for name in ["a.safetensors", "b.pt"] {
        std::fs::copy(&step, run.join(name)).unwrap();
    }
    let others = "To open what else it holds, name the file: `run/a.safetensors`, `run/b.pt`\n";
    let taken = format!("note `run/step-1.safetensors` is what `run` is opened by. {others}");
    let words = |text: String| {
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n")
            .collect::<String>()
    };
    for arguments in [&inspect[..], &plan] {
        let out = words(said(arguments)).replace("note:", "note");
        assert!(out.contains(&taken), "{out}");
    }
    std::fs::copy(&step, run.join("step-2.safetensors")).unwrap();
    let out = said(&inspect);
    let newest = format!("the newest of 2 checkpoints in `run`. {others}");
    assert!(out.contains(&newest), "{out}");
    std::fs::remove_file(&step).unwrap();
    std::fs::rename(run.join("step-2.safetensors"), run.join("model.safetensors")).unwrap();
    let out = said(&inspect);
    let taken = format!("`run/model.safetensors` is what `run` is opened by. {others}");
    assert!(out.contains(&taken), "{out}");
    // Who names one of them knows of it.
    let plan = said(&["plan", "run/b.pt", "--graph", "run"]);
    assert!(plan.contains("name the file: `run/a.safetensors`\n"), "{plan}");
    // A file of its own is what was asked for.
    assert!(!said(&["inspect", "run/a.safetensors"]).contains("what else"));
}
