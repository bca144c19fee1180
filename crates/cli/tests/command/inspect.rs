use crate::{floats, foreign, json, trained, warmstart};

#[test]
fn a_checkpoint_of_ours_is_told_whole() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 500, 7, 0.25);
    let out = warmstart(directory.path(), &["inspect", "."]).with(0);
    for line in [
        "./step-500.safetensors\n",
        "  format     safetensors, saved by warmstart (format 3)\n",
        "  step       500\n",
        "  seed       7\n",
        "  saved      2000-02-29T00:00:00Z\n",
        "  metrics    loss 0.25\n",
        "  metadata   author: me\n",
        ", with checksums\n",
        "\nname ",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    let of = |name: &str| {
        let line = out.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(of("fc1/weight").starts_with("fc1/weight f32 [3, 4] 48 "), "{out}");
    assert!(of("fc1/weight/adam/m").ends_with(" adam's m"), "{out}");
    assert!(!out.contains('\x1b'), "colours where there is no terminal: {out}");
    let value = json(&warmstart(directory.path(), &["inspect", ".", "--json"]).with(0));
    assert_eq!((&value["step"], &value["seed"]), (&500.into(), &7.into()));
    assert_eq!(value["metrics"]["loss"], 0.25);
    assert_eq!(value["time"], "2000-02-29T00:00:00Z");
    assert!(value["optimizer"].is_object(), "{value}");
    let tensors = value["tensors"].as_array().unwrap();
    assert_eq!(value["totals"]["tensors"], tensors.len());
    let weight = tensors.iter().find(|tensor| tensor["name"] == "fc1/weight").unwrap();
    assert_eq!((&weight["shape"], &weight["bytes"]), (&[3, 4].into(), &48.into()));
    assert_eq!(weight["role"], "trainable");
    let checksum = weight["checksum"].as_str().unwrap();
    assert!(checksum.starts_with("xxh3 ") && checksum.len() == 21, "{checksum}");
}

#[test]
fn statistics_are_those_of_the_values() {
    let directory = tempfile::tempdir().unwrap();
    let values = floats(&[-1.0, 0.0, 3.0, f32::NAN, f32::INFINITY]);
    foreign(
        &directory.path().join("a.safetensors"),
        &[
            ("a", "F32", &[5], values),
            ("half", "BF16", &[2], vec![0x80, 0x3f, 0x80, 0xbf]),
            ("of/none", "C64", &[1], vec![0; 8]),
            ("of/nothing", "F32", &[0], vec![]),
        ],
    );
    let inspect = |more: &[&str]| {
        warmstart(directory.path(), &[&["inspect", "a.safetensors"], more].concat())
    };
    let out = inspect(&["--stats"]).with(0);
    let row = |name: &str| {
        let line = out.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        line.split('│').next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("a"), "a f32 [5] 20 -1 3 0.6667 1.6997 1 1");
    assert_eq!(row("half"), "half bf16 [2] 4 -1 1 0 1 0 0");
    assert_eq!(row("of/none"), "of/none c64 [1] 8");
    assert_eq!(row("of/nothing"), "of/nothing f32 [0] 0 - - - - 0 0");
    assert!(out.contains("  metadata   format: pt\n"), "{out}");
    let value = json(&inspect(&["--stats", "--json", "--tensor", "a"]).with(0));
    assert_eq!(value["tensors"].as_array().unwrap().len(), 1);
    let stats = &value["tensors"][0]["stats"];
    assert_eq!(
        (&stats["nan"], &stats["infinite"], &stats["zeros"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert_eq!((&stats["min"], &stats["max"]), (&(-1.0).into(), &3.0.into()));
    assert_eq!(stats["histogram"][15], 1);
    // `*` stays within one part of a name.
    let out = inspect(&["--tensor", "*"]).with(0);
    assert!(out.contains("half") && !out.contains("of/none"), "{out}");
    let error = inspect(&["--tensor", "b*"]).failed();
    assert!(error.contains("matches `b*`") && error.contains("help"), "{error}");
}

#[test]
fn what_cannot_be_opened_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let inspect = |path: &str| warmstart(directory.path(), &["inspect", path]).failed();
    let error = inspect("nothing.safetensors");
    assert!(error.contains("nothing.safetensors") && error.contains("check the path"), "{error}");
    std::fs::write(directory.path().join("page"), "<!DOCTYPE html><html></html>").unwrap();
    assert!(inspect("page").contains("HTML page"));
    for (name, bytes, what) in [
        ("read.me", &b"Weights of a model\nthat is not here\n"[..], "a text, and no checkpoint"),
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture, and no checkpoint"),
        ("model.onnx", b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\xff\xff", "an ONNX model"),
        ("noise", b"\x01\xfe\x03\xfc\x05\xfa\x07\xf8\x09", "no checkpoint of a kind that is read"),
    ] {
        std::fs::write(directory.path().join(name), bytes).unwrap();
        let error = inspect(name);
        assert!(error.contains(what), "{error}");
        assert!(!error.contains("write it again") && !error.contains("announced"), "{error}");
        let kinds = error.contains("checkpoints are read from safetensors, PyTorch's `.pt`");
        assert!(kinds || name == "model.onnx", "{error}");
    }
    let variables = directory.path().join("saved_model/variables");
    std::fs::create_dir_all(&variables).unwrap();
    std::fs::write(variables.join("variables.index"), "").unwrap();
    for (name, begin, told) in [
        (
            "a.parquet",
            "PAR1\x15\0",
            "`a.parquet` is a Parquet file, which is data, and no checkpoint",
        ),
        (
            "a.jsonl",
            "{\"a\":1}\n{\"a\":2}\n",
            "pandas.read_json(\"a.jsonl\", lines=True).to_csv(\"a.csv\"",
        ),
        ("b.csv", "a,b\n1,2\n", "name it as `file` under [data] in a TOML file"),
        ("c.CSV", "a,b\n1,2\n", "`c.CSV` is a text with a row in each line, which is data"),
    ] {
        std::fs::write(directory.path().join(name), begin).unwrap();
        let error = inspect(name);
        assert!(error.contains(told), "{error}\nis not\n{told}");
    }
    std::fs::write(directory.path().join("empty.csv"), "").unwrap();
    let error = inspect("empty.csv");
    assert!(!error.contains("a row in each line"), "{error}");
    let error = inspect("saved_model");
    assert!(error.contains("SavedModel, whose weights lie in `saved_model/variables`"), "{error}");
    let ran = warmstart(directory.path(), &["inspect", "a", "--tensor", "["]);
    assert!(ran.code == 2 && ran.error.contains("--tensor"), "{}", ran.error);
}

/// The reader of the standard error may go, as `head` does.
#[test]
#[cfg(unix)]
fn an_error_that_nobody_reads_is_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_warmstart"));
    command.args(["inspect", "nothing.safetensors"]).current_dir(directory.path());
    assert_eq!(command.stderr(writer).status().unwrap().code(), Some(2));
}

#[test]
fn names_move_no_cursor_and_may_be_long() {
    let directory = tempfile::tempdir().unwrap();
    let (file, long) = (directory.path().join("a.safetensors"), "n".repeat(70_000));
    let name = "x\nnote: all is well \u{1b}[2K";
    let one = || floats(&[1.0]);
    foreign(&file, &[(name, "F32", &[1], one()), (&long, "F32", &[1], one())]);
    let out = warmstart(directory.path(), &["inspect", "a.safetensors"]).with(0);
    assert!(out.contains(r"x\nnote: all is well \u{1b}[2K"), "{out}");
    // The widest column goes on in another line.
    assert!(out.contains(&long[..65_000]), "{out}");
    assert!(!out.contains('\u{1b}'), "{out}");
}

#[test]
fn errors_about_names_of_files_move_no_cursor() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let name = "x\nnote: all is well \u{1b}[2K";
    let one = || floats(&[1.0]);
    foreign(&at.join("data.safetensors"), &[(name, "F32", &[1], one()), ("b", "F32", &[], one())]);
    let header = serde_json::json!({ "__metadata__": { "warmstart.step": name } }).to_string();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(at.join("a.safetensors"), [&length[..], header.as_bytes()].concat()).unwrap();
    let ran = warmstart(at, &["inspect", "a.safetensors"]);
    assert!(!ran.error.contains('\u{1b}') && ran.error.contains(r"\u{1b}[2K"), "{}", ran.error);
    std::fs::write(at.join("one.csv"), format!("\"{name}\",y\n1,2\n3,4\n")).unwrap();
    let train = |data: &str, target: &str| {
        let text = format!("[data]\nfile = \"{data}\"\ntarget = \"{target}\"\n{}\n", MODEL);
        std::fs::write(at.join("run.toml"), text).unwrap();
        warmstart(at, &["train", "run.toml", "--quiet"])
    };
    for ran in [train("one.csv", "other"), train("data.safetensors", "y")] {
        assert_eq!(ran.code, 2);
        assert!(!ran.error.contains('\u{1b}'), "{:?}", ran.error);
        assert!(!ran.error.contains("\nnote: all is well"), "{}", ran.error);
        assert!(ran.error.contains(r"\nnote: all is well"), "{}", ran.error);
    }
}

const MODEL: &str = "[model]\nhidden = [4]\n[training]\nsteps = 1\n";
