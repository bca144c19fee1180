//! Snapshots for which there is no memory, on a device that refuses buffers as if it had none left.

use super::*;
use crate::device::gpu::{GpuOptions, MemoryKind, Refused};
use warmstart_graph::{DType, Initializer, Role, Variable};

fn variable(name: &str, role: Role) -> Variable {
    let location = Location::caller();
    let initializer = Initializer::Normal { mean: 0.0, stddev: 1.0 };
    Variable {
        name: name.to_owned(),
        shape: [1000].into(),
        dtype: DType::F32,
        initializer,
        role,
        location,
    }
}

fn read(snapshot: &mut Snapshot, name: &str) -> Result<Vec<u8>, SessionError> {
    let mut bytes = Vec::new();
    snapshot.read(&[name], &mut |_, piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

fn is_refused(error: SessionError) {
    let typed = matches!(error, SessionError::Gpu(GpuError::OutOfMemory { bytes: Some(_), .. }));
    assert!(typed && error.to_string().contains("a snapshot of the variables"), "{error}");
}

/// Whichever of its buffers is the one too many.
#[test]
fn no_room_for_a_snapshot_is_an_error_and_changes_nothing() {
    for memory in [MemoryKind::Mappable, MemoryKind::Staged] {
        let options = GpuOptions { memory: Some(memory), ..Default::default() };
        let gpu = Gpu::with(&options).unwrap();
        let mut session = Session::new(&gpu);
        // In two arenas.
        session.declare(&[variable("a", Role::Trainable), variable("b", Role::State)]).unwrap();
        session.initialize_missing(1).unwrap();
        let state = |session: &Session| {
            let value = |name: &str| session.read(name).unwrap().to_le_bytes();
            (session.variables().to_string(), ["a", "b"].map(value))
        };
        let before = state(&session);
        let buffers = session.store.arenas().len();
        assert_eq!(buffers, 2);
        for made in 0..buffers {
            gpu.refuse(Some(Refused::After(made)));
            is_refused(session.snapshot().map(drop).unwrap_err());
            assert!(state(&session) == before, "{made}");
        }
        // With room again, it goes on.
        let mut snapshot = session.snapshot().unwrap();
        for (name, value) in ["a", "b"].iter().zip(&before.1) {
            assert!(read(&mut snapshot, name).unwrap() == *value, "{name}");
        }
        // Of an older one that would have to grow nothing is left, but its memory for the next.
        session.declare(&[variable("c", Role::State)]).unwrap();
        session.initialize_missing(1).unwrap();
        gpu.refuse(Some(Refused::After(0)));
        is_refused(session.snapshot_into(&mut snapshot).unwrap_err());
        let nothing = read(&mut snapshot, "a").unwrap_err();
        assert!(matches!(nothing, SessionError::UnknownVariable { .. }), "{nothing}");
        assert!(state(&session).1 == before.1);
        session.snapshot_into(&mut snapshot).unwrap();
        assert!(read(&mut snapshot, "a").unwrap() == before.1[0]);
        assert!(read(&mut snapshot, "c").unwrap() == session.read("c").unwrap().to_le_bytes());
    }
}
