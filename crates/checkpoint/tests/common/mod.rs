//! What the tests on a device share.
#![allow(dead_code)] // Each test binary uses its own part.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use warmstart_checkpoint::{Checkpoint, TensorEntry};
use warmstart_gpu::{Gpu, GpuOptions, MemoryKind, Session};
use warmstart_graph::{DType, Initializer, Location, Role, Shape, TensorData, Variable};

/// The adapter of this machine. There must be one: a test that skips proves nothing.
pub fn session(variables: &[Variable]) -> Session {
    let mut session = Session::new(&Gpu::new().unwrap());
    session.declare(variables).unwrap();
    session
}

/// As [`session`], with device memory of this kind.
pub fn session_in(memory: MemoryKind, variables: &[Variable]) -> Session {
    let options = GpuOptions { memory: Some(memory), ..Default::default() };
    let mut session = Session::new(&Gpu::with(&options).unwrap());
    session.declare(variables).unwrap();
    session
}

/// A trainable `f32` variable.
pub fn variable(name: &str, shape: impl Into<Shape>) -> Variable {
    of_dtype(name, DType::F32, shape)
}

/// A variable without an interesting initializer.
pub fn of_dtype(name: &str, dtype: DType, shape: impl Into<Shape>) -> Variable {
    Variable {
        name: name.to_owned(),
        shape: shape.into(),
        dtype,
        initializer: Initializer::Zeros,
        role: Role::Trainable,
        location: Location::caller(),
    }
}

/// A trainable variable with Glorot's initializer.
pub fn glorot(name: &str, shape: impl Into<Shape>) -> Variable {
    Variable { initializer: Initializer::GlorotUniform, ..variable(name, shape) }
}

/// The bytes of a variable on the device.
pub fn bytes(session: &Session, name: &str) -> Vec<u8> {
    session.read(name).unwrap().to_le_bytes()
}

/// Name, origin and bytes of every variable: equal before and after if nothing was changed.
pub fn state(session: &Session) -> Vec<(String, String, Option<Vec<u8>>)> {
    let one = |info: &warmstart_gpu::VariableInfo| {
        let value = info.origin.has_value().then(|| bytes(session, info.name()));
        (info.name().to_owned(), info.origin.to_string(), value)
    };
    session.variables().iter().map(one).collect()
}

pub fn f32s(values: &[f32]) -> TensorData {
    TensorData::new([values.len()], values).unwrap()
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The value of a tensor in a checkpoint.
pub fn value(checkpoint: &Checkpoint, tensor: &TensorEntry) -> Vec<u8> {
    let mut value = vec![0; tensor.bytes() as usize];
    checkpoint.read(tensor, 0, &mut value).unwrap();
    value
}

/// Holds dtype, shape and every byte of all tensors that `expected.json` has bytes of against it,
/// and tells how many those are.
pub fn check_expected(checkpoint: &Checkpoint, expected: &Path) -> usize {
    let expected = std::fs::read_to_string(expected).unwrap().replace("NaN", "null");
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let tensors = expected["tensors"].as_object().unwrap();
    check_tensors(checkpoint, tensors.iter().map(|(name, about)| (name.clone(), about.clone())))
}

/// As [`check_expected`], for tensors of which these descriptions stand in such a file.
pub fn check_tensors(
    checkpoint: &Checkpoint,
    expected: impl IntoIterator<Item = (String, serde_json::Value)>,
) -> usize {
    let mut checked = 0;
    for (name, about) in expected {
        let name = name.as_str();
        if name == "_CHECKPOINTABLE_OBJECT_GRAPH" {
            // What the names are made from.
            assert!(checkpoint.tensor(name).is_none());
            continue;
        }
        let tensor = checkpoint.tensor(name).unwrap_or_else(|| panic!("no tensor `{name}`"));
        let shape: Vec<usize> = serde_json::from_value(about["shape"].clone()).unwrap();
        assert_eq!(tensor.shape[..], shape, "{name}");
        let dtype = about["dtype"].as_str().unwrap().trim_start_matches("torch.");
        let short = dtype.replace("uint", "u").replace("int", "i").replace("bfloat", "bf");
        let short = short.replace("float", "f").replace("complex", "c");
        assert_eq!(tensor.dtype.name(), short, "{name}");
        let Some(digest) = about["sha256_le_bytes"].as_str() else { continue };
        let found = Sha256::digest(value(checkpoint, tensor));
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{name}");
        checked += 1;
    }
    checked
}
