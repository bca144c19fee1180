//! What the tests of this crate share.
#![allow(dead_code, unused_imports)] // Each test binary uses its own part.

mod left_out;

pub use left_out::left_out;
use std::io::Write;
use warmstart_gpu::{Gpu, GpuOptions, MemoryKind, Session};
use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

/// The adapter of this machine. There must be one: a test that skips proves nothing.
pub fn gpu() -> Gpu {
    Gpu::new().unwrap()
}

/// Runs a test of this program in a process of its own, and says so to the one that asked; in that process it
/// is `false`, and the test goes on.
pub fn ran_in_a_child(test: &str) -> bool {
    const CHILD: &str = "WARMSTART_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return false;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args([test, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    let [told, text] = [&output.stdout, &output.stderr].map(|out| String::from_utf8_lossy(out));
    // One that was renamed would run nothing, and be a success.
    assert!(output.status.success() && told.contains("ok. 1 passed"), "{told}\n{text}");
    for line in text.lines().filter(|line| line.starts_with("left out: ")) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    true
}

/// The device with variables of this kind of memory and this much staging.
pub fn gpu_with(memory: MemoryKind, staging_bytes: u64) -> Gpu {
    Gpu::with(&GpuOptions { memory: Some(memory), staging_bytes, ..Default::default() }).unwrap()
}

/// A trainable variable.
#[track_caller]
pub fn variable(name: &str, shape: impl Into<Shape>, initializer: Initializer) -> Variable {
    Variable {
        name: name.to_owned(),
        shape: shape.into(),
        dtype: DType::F32,
        initializer,
        role: Role::Trainable,
        location: Location::caller(),
    }
}

/// Both ways in, the second with a ring far smaller than the largest variables here.
pub fn ways() -> [(MemoryKind, u64); 3] {
    [(MemoryKind::Mappable, 0), (MemoryKind::Staged, 128 << 20), (MemoryKind::Staged, 64 << 10)]
}

/// The bytes of a variable.
pub fn bytes_of(session: &Session, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    session
        .snapshot_read(&[name], &mut |_, piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    bytes
}
