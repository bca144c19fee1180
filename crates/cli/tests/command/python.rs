//! Files written here, opened by Python's `safetensors`, where Python has it. With
//! `WARMSTART_TEST_PYTHON=1` in the environment, Python without it is a failure and not passed over.

use crate::{trained, warmstart};
use std::process::Command;

const SCRIPT: &str = r#"
import json, sys
from safetensors import safe_open
seen = {}
for file in sys.argv[1:]:
    with safe_open(file, framework="np") as opened:
        for name in opened.keys():
            value = opened.get_tensor(name)
            seen[name] = [str(value.dtype), list(value.shape), value.tobytes().hex()]
print(json.dumps(seen))
"#;

#[test]
fn python_reads_what_is_written_here() {
    let python = |arguments: &[&str]| Command::new("python3").args(arguments).output();
    let has_it = python(&["-c", "import numpy, safetensors"]).is_ok_and(|ran| ran.status.success());
    if !has_it {
        let must = std::env::var_os("WARMSTART_TEST_PYTHON").is_some_and(|value| value != "0");
        assert!(!must, "python3 has no `safetensors` with `numpy` here: install both");
        println!("skipped: python3 has no `safetensors` with `numpy` here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let saved = trained(directory.path(), 1, 7, 0.5);
    let run = |arguments: &[&str]| warmstart(directory.path(), arguments).with(0);
    run(&["convert", ".", "one.safetensors"]);
    let many = ["convert", ".", "many.safetensors", "--max-shard-size", "60B", "--json"];
    let many = crate::json(&run(&many));
    let parts = many["files"].as_array().unwrap().iter();
    let parts = parts.map(|file| directory.path().join(file.as_str().unwrap()));
    let read = |files: &[std::path::PathBuf]| {
        let mut arguments = vec!["-c", SCRIPT];
        arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
        let ran = python(&arguments).unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        crate::json(&String::from_utf8(ran.stdout).unwrap())
    };
    let of_saved = read(&[saved]);
    assert_eq!(of_saved["fc1/weight"][0], "float32");
    assert_eq!(of_saved["fc1/weight"][1], serde_json::json!([3, 4]));
    assert_eq!(read(&[directory.path().join("one.safetensors")]), of_saved);
    assert_eq!(read(&parts.collect::<Vec<_>>()), of_saved);
    // The bits are those that the command reads.
    let stats = ["inspect", ".", "--tensor", "fc1/weight", "--stats", "--json"];
    let value = crate::json(&run(&stats));
    let bytes = of_saved["fc1/weight"][2].as_str().unwrap();
    let hex = |at: usize| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap();
    let all: Vec<u8> = (0..bytes.len()).step_by(2).map(hex).collect();
    let floats = all.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four));
    let largest = floats.fold(f32::NEG_INFINITY, f32::max);
    assert_eq!(value["tensors"][0]["stats"]["max"].as_f64().unwrap(), f64::from(largest));
}
