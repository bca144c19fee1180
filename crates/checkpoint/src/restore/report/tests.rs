//! What the JSON of a report says beyond its text: both numbers of bytes, what was allowed, and
//! what else there was.

use crate::{Checkpoint, RestoreOptions};
use serde_json::json;
use std::fs;
use std::path::Path;
use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

fn variable(name: &str, shape: &[usize]) -> Variable {
    Variable {
        name: name.into(),
        shape: Shape::from(shape),
        dtype: DType::F32,
        initializer: Initializer::Zeros,
        role: Role::Trainable,
        location: Location::caller(),
    }
}

/// Three numbers of eight bytes, four rows of two of four bytes, and one of four.
fn write(file: &Path) {
    let header = r#"{"wide":{"dtype":"F64","shape":[3],"data_offsets":[0,24]},"table":{"dtype":"F32","shape":[4,2],"data_offsets":[24,56]},"steps":{"dtype":"F32","shape":[1],"data_offsets":[56,60]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    fs::write(file, [&length[..], header.as_bytes(), &[0; 60]].concat()).unwrap();
}

#[test]
fn bytes_of_the_file_are_told_apart_from_those_of_variables() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    write(&file);
    let checkpoint = Checkpoint::open(&file).unwrap();
    let options = RestoreOptions::new().cast("wide").resize_rows("**", 7).leave_out("steps");
    let bytes = |table: &[usize]| {
        let variables = [variable("wide", &[3]), variable("table", table)];
        let plan = checkpoint.plan_for(&variables, &options);
        assert!(plan.closes(), "{plan}");
        let json = plan.to_json();
        assert_eq!((json["bytes_read"].as_u64(), json["bytes_of_variables"].as_u64()), {
            (Some(plan.bytes_read()), Some(plan.bytes()))
        });
        (plan.bytes_read(), plan.bytes())
    };
    // As many rows, more of them, which are initialized, and fewer, of which the rest is not read.
    assert_eq!(bytes(&[4, 2]), (24 + 32, 12 + 32));
    assert_eq!(bytes(&[6, 2]), (24 + 32, 12 + 48));
    assert_eq!(bytes(&[1, 2]), (24 + 8, 12 + 8));
}

#[test]
fn what_was_allowed_and_left_out_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    write(&file);
    let checkpoint = Checkpoint::open(&file).unwrap();
    let allowed = |options: RestoreOptions| {
        let json = checkpoint.plan_for(&[variable("table", &[4, 2])], &options).to_json();
        ["allow_missing", "allow_unexpected", "allow_mismatched_shape"]
            .map(|key| json[key].as_bool().unwrap())
    };
    let options = RestoreOptions::new;
    assert_eq!(allowed(options()), [false, false, false]);
    assert_eq!(allowed(options().allow_missing()), [true, false, false]);
    assert_eq!(allowed(options().allow_unexpected()), [false, true, false]);
    assert_eq!(allowed(options().allow_mismatched_shape()), [false, false, true]);

    // Not what a variable waits for, nor what the file does not hold.
    let options = options().leave_out("steps").leave_out("table").leave_out("elsewhere");
    let json = checkpoint.plan_for(&[variable("table", &[4, 2])], &options).to_json();
    assert_eq!(json["left_out"], json!(["steps"]));
    assert_eq!(json["unexpected"][0]["name"], "wide");
}

/// A model that has grown by a layer's width would be told in three times as many lines.
#[test]
fn slots_of_another_shape_are_told_with_what_they_belong_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    let names = ["a", "a/adam/m", "a/adam/v", "b", "b/adam/m", "b/adam/v", "c", "c/adam/m"];
    let entry = |at: usize, name: &str| {
        let (begin, end) = (8 * at, 8 * at + 8);
        format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{begin},{end}]}}"#)
    };
    let entries: Vec<String> = names.iter().enumerate().map(|(at, name)| entry(at, name)).collect();
    let header = format!("{{{}}}", entries.join(","));
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&file, [&length[..], header.as_bytes(), &[0; 64]].concat()).unwrap();
    let of = |name: &str| match name.split_once("/adam/") {
        None => Role::Trainable,
        Some((owner, slot)) => {
            Role::Slot { variable: Some(owner.into()), optimizer: "adam".into(), slot: slot.into() }
        }
    };
    // What only a slot has is told of it.
    let shape = |name: &str| if name == "c" { [2] } else { [3] };
    let variables = names.map(|name| Variable { role: of(name), ..variable(name, &shape(name)) });
    let plan = Checkpoint::open(&file).unwrap().plan_for(&variables, &RestoreOptions::new());
    let told = plan.to_string();
    let lines = "  shape mismatch  7   a         f32 [3], but f32 [2] in the file
                      b         f32 [3], but f32 [2] in the file
                      c/adam/m  f32 [3], but f32 [2] in the file
                      adam's slots m, v for 2 variables
error: 7 variables have another shape";
    assert!(told.contains(lines), "{told}");
}

#[test]
fn one_tensor_for_two_variables_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.safetensors");
    write(&file);
    let checkpoint = Checkpoint::open(&file).unwrap();
    let variables = [variable("teacher", &[4, 2]), variable("student", &[4, 2])];
    let both = [("table", "teacher"), ("table", "student")];
    let plan = checkpoint.plan_for(&variables, &RestoreOptions::new().assignment_map(both));
    assert!(plan.closes(), "{plan}");
    let shared = json!([{ "tensor": "table", "variables": ["teacher", "student"] }]);
    assert_eq!(plan.to_json()["shared"], shared);
    let plan = checkpoint.plan_for(&variables, &RestoreOptions::new());
    assert_eq!(plan.to_json()["shared"], json!([]));
}

#[test]
fn damaged_newer_checkpoints_are_told() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("step-100.safetensors"));
    let damaged = |json: serde_json::Value| json["damaged"].clone();
    let plan = || {
        let checkpoint = Checkpoint::open(directory.path()).unwrap();
        checkpoint.plan_for(&[variable("table", &[4, 2])], &RestoreOptions::new()).to_json()
    };
    assert_eq!(damaged(plan()), json!([]));
    fs::write(directory.path().join("step-200.safetensors"), b"\x02\0\0\0\0\0\0\0{").unwrap();
    let told = damaged(plan());
    let [one] = told.as_array().unwrap().as_slice() else { panic!("{told}") };
    assert!(one.as_str().unwrap().contains("step-200.safetensors"), "{told}");
}
