//! Snapshots: the values of one moment, whatever the session does afterwards, and on whatever
//! thread they are read.

mod common;

use common::{gpu, gpu_with, variable};
use std::collections::HashMap;
use std::io;
use std::thread;
use warmstart_gpu::{MemoryKind, Session, SessionError, Snapshot};
use warmstart_graph::{Graph, Initializer, Optimizer, TensorData, Variable};

type Values = HashMap<String, Vec<u8>>;

fn names(session: &Session) -> Vec<String> {
    session.variables().iter().map(|info| info.name().to_owned()).collect()
}

fn values(session: &Session) -> Values {
    let names = names(session);
    names
        .into_iter()
        .map(|name| (name.clone(), session.read(&name).unwrap().to_le_bytes()))
        .collect()
}

fn read(snapshot: &mut Snapshot, names: &[String]) -> Values {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut values = Values::new();
    let mut sink = |name: &str, piece: &[u8]| {
        assert!(piece.len() <= 8 << 20);
        values.entry(name.to_owned()).or_default().extend_from_slice(piece);
        Ok(())
    };
    snapshot.read(&names, &mut sink).unwrap();
    values
}

/// Variables of odd sizes, an empty one, and one of several pieces.
fn odd() -> Vec<Variable> {
    [0usize, 1, 65, 1009, 3_000_017]
        .iter()
        .map(|n| variable(&format!("v{n}"), [*n], Initializer::Normal { mean: 0.0, stddev: 1.0 }))
        .collect()
}

#[test]
fn a_snapshot_keeps_what_was_there() {
    for memory in [MemoryKind::Mappable, MemoryKind::Staged] {
        let mut session = Session::new(&gpu_with(memory, 1 << 20));
        session.declare(&odd()).unwrap();
        session.initialize_missing(1).unwrap();
        let before = values(&session);
        let mut snapshot = session.snapshot().unwrap();
        assert_eq!(snapshot.bytes(), session.snapshot_bytes());
        for name in names(&session) {
            let shape = session.variable(&name).unwrap().shape().clone();
            let zeros = TensorData::new(shape.clone(), vec![0.0f32; shape.elements()]).unwrap();
            session.assign(&name, &zeros).unwrap();
        }
        let after = values(&session);
        assert!(after != before);
        // Twice: reading changes nothing. Then the same memory again.
        for _ in 0..2 {
            assert!(read(&mut snapshot, &names(&session)) == before);
        }
        session.snapshot_into(&mut snapshot).unwrap();
        assert!(read(&mut snapshot, &names(&session)) == after);
    }
}

#[test]
fn a_snapshot_is_read_on_another_thread_while_training_goes_on() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [16, 8], warmstart_graph::DType::F32);
    let y = graph.placeholder("y", [16, 4], warmstart_graph::DType::F32);
    let hidden = graph.scope("one").linear(x, 300).relu();
    let loss = graph.scope("two").linear(hidden, 4).mean_squared_error(y);
    let step = Optimizer::adam(0.01).minimize(loss);
    let inputs: Vec<f32> = (0..128).map(|i| (i as f32 * 0.37).sin()).collect();
    let targets: Vec<f32> = (0..64).map(|i| (i as f32 * 0.11).cos()).collect();
    for memory in [MemoryKind::Mappable, MemoryKind::Staged] {
        let mut session = Session::new(&gpu_with(memory, 1 << 20));
        let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
        session.initialize_missing(3).unwrap();
        let names = names(&session);
        let mut snapshot = session.snapshot().unwrap();
        for _ in 0..20 {
            let expected = values(&session);
            session.snapshot_into(&mut snapshot).unwrap();
            thread::scope(|scope| {
                let reader = scope.spawn(|| read(&mut snapshot, &names));
                // Both threads poll, and each sees the callbacks of the other's mappings.
                loop {
                    let done = reader.is_finished();
                    let feeds = [("x", (&inputs).into()), ("y", (&targets).into())];
                    let outputs = session.run(&plan, &feeds).unwrap();
                    assert!(outputs.scalar(loss).unwrap().is_finite());
                    if done {
                        break;
                    }
                }
                assert!(reader.join().unwrap() == expected);
            });
            assert!(values(&session) != expected);
        }
    }
}

#[test]
fn memory_is_asked_for_only_when_variables_come() {
    let gpu = gpu();
    let mut session = Session::new(&gpu);
    assert_eq!(session.snapshot_bytes(), 0);
    let mut snapshot = session.snapshot().unwrap();
    assert!(read(&mut snapshot, &[]).is_empty());
    session.declare(&odd()).unwrap();
    session.initialize_missing(1).unwrap();
    session.snapshot_into(&mut snapshot).unwrap();
    let bytes = snapshot.bytes();
    assert!(bytes >= 4 * 3_001_092 && bytes == session.snapshot_bytes());
    session.declare(&[variable("more", [7], Initializer::Ones)]).unwrap();
    session.initialize_missing(1).unwrap();
    session.snapshot_into(&mut snapshot).unwrap();
    assert_eq!(snapshot.bytes(), bytes + 256);
    assert!(read(&mut snapshot, &names(&session)) == values(&session));

    // Into the snapshot of another device.
    let mut other = Session::new(&common::gpu());
    other.declare(&odd()).unwrap();
    other.initialize_missing(2).unwrap();
    other.snapshot_into(&mut snapshot).unwrap();
    assert!(read(&mut snapshot, &names(&other)) == values(&other));
}

#[test]
fn what_had_no_value_has_none_in_the_snapshot() {
    let mut session = Session::new(&gpu());
    session.declare(&odd()).unwrap();
    let mut snapshot = session.snapshot().unwrap();
    session.initialize_missing(1).unwrap();
    let mut nothing = |_: &str, _: &[u8]| -> io::Result<()> { panic!("no byte may be handed out") };
    let error = snapshot.read(&["v1"], &mut nothing).unwrap_err();
    assert!(matches!(&error, SessionError::Uninitialized { name, .. } if name == "v1"), "{error}");
    let error = snapshot.read(&["v1010"], &mut nothing).unwrap_err();
    assert!(error.to_string().contains("Did you mean `v1009`"), "{error}");
}

#[test]
fn a_sink_that_fails_leaves_a_snapshot_that_can_be_read() {
    let mut session = Session::new(&gpu());
    session.declare(&odd()).unwrap();
    session.initialize_missing(1).unwrap();
    let mut snapshot = session.snapshot().unwrap();
    let mut full = |_: &str, _: &[u8]| Err(io::ErrorKind::StorageFull.into());
    let error = snapshot.read(&["v1", "v65"], &mut full).unwrap_err();
    assert!(matches!(&error, SessionError::Sink { name, .. } if name == "v1"), "{error}");
    assert!(read(&mut snapshot, &names(&session)) == values(&session));
}
