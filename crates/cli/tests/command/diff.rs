use crate::{floats, foreign, json, trained, warmstart};
use std::path::Path;

fn two(directory: &Path, a: &[f32], b: &[f32]) {
    let shape: &[usize] = &[a.len()];
    foreign(&directory.join("a.safetensors"), &[("w", "F32", shape, floats(a))]);
    foreign(&directory.join("b.safetensors"), &[("w", "F32", shape, floats(b))]);
}

#[test]
fn values_are_compared_only_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    two(directory.path(), &[1.0, f32::NAN, 4.0], &[1.0, f32::NAN, 5.0]);
    let diff = |more: &[&str]| {
        warmstart(directory.path(), &[&["diff", "a.safetensors", "b.safetensors"], more].concat())
    };
    assert!(diff(&[]).with(0).contains("--values compares the values too"));
    let out = diff(&["--values"]).with(1);
    let row = out.lines().find(|line| line.starts_with("w ")).unwrap();
    let row: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(row, ["w", "1", "3", "1", "0.2"], "{out}");
    let value = json(&diff(&["--values", "--json"]).with(1));
    assert_eq!((&value["same"], &value["values"][0]["unequal"]), (&false.into(), &1.into()));
    assert_eq!(
        (&value["values"][0]["absolute"], &value["values"][0]["relative"]),
        (&1.0.into(), &0.2.into())
    );
    let same = warmstart(directory.path(), &["diff", "a.safetensors", "a.safetensors", "--values"]);
    assert!(same.with(0).contains("the same: names, dtypes, shapes and values"));
}

#[test]
fn whole_numbers_that_are_one_as_floats_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    for (name, value) in [("a", u64::MAX), ("b", u64::MAX - 1)] {
        let file = directory.path().join(name);
        let opaque = vec![name.as_bytes()[0]; 8];
        foreign(
            &file,
            &[("n", "U64", &[1], value.to_le_bytes().into()), ("c", "C64", &[1], opaque)],
        );
    }
    let value =
        json(&warmstart(directory.path(), &["diff", "a", "b", "--values", "--json"]).with(1));
    assert_eq!(value["values"][0]["unequal"], 1, "{value}");
    assert_eq!(value["values"][1]["equal"], false, "{value}");
    warmstart(directory.path(), &["diff", "a", "a", "--values"]).with(0);
}

#[test]
fn names_shapes_and_dtypes_are_compared_and_rules_inferred() {
    let directory = tempfile::tempdir().unwrap();
    let weights = |scope: &str| ["weight", "bias"].map(|name| format!("{scope}/fc1/{name}"));
    for (file, scope, dtype, bytes) in [("a", "old", "F32", 4), ("b", "new", "F16", 2)] {
        let [weight, bias] = weights(scope);
        foreign(
            &directory.path().join(file),
            &[
                ("kind", dtype, &[2], vec![0; 2 * bytes]),
                (&weight, "F32", &[2, 3], floats(&[0.0; 6])),
                (&bias, "F32", &[3], floats(&[0.0; 3])),
            ],
        );
    }
    let out = warmstart(directory.path(), &["diff", "a", "b"]).with(1);
    for text in [
        "2 tensors only in a",
        "2 tensors only in b",
        "1 tensor of another dtype or shape",
        "f32 [2]",
        "f16 [2]",
        "--rename-",
    ] {
        assert!(out.contains(text), "{text}\n{out}");
    }
    let value = json(&warmstart(directory.path(), &["diff", "a", "b", "--json"]).with(1));
    assert_eq!(value["only_a"].as_array().unwrap().len(), 2);
    assert_eq!(value["different_kind"][0]["b"]["dtype"], "f16");
    assert!(value["values"].is_null());
}

#[test]
fn two_steps_of_one_run_differ_by_their_values() {
    let directory = tempfile::tempdir().unwrap();
    trained(directory.path(), 1, 7, 0.5);
    trained(directory.path(), 2, 8, 0.5);
    let arguments = ["diff", "step-1.safetensors", "step-2.safetensors", "--values"];
    let out = warmstart(directory.path(), &arguments).with(1);
    assert!(
        out.contains("step 1\n") && out.contains("step 2\n") && out.contains("fc1/weight"),
        "{out}"
    );
    assert!(out.contains(" of equal values"), "{out}");
    warmstart(directory.path(), &arguments[..3]).with(0);
    let error = warmstart(directory.path(), &["diff", "step-1.safetensors", "c"]).failed();
    assert!(error.contains("`c`"), "{error}");
}
