//! What the tests on a device share.
#![allow(dead_code)] // Each test binary uses its own part.

use std::path::{Path, PathBuf};
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
