//! Variables of a session on the adapter of this machine: declaring, assigning, reading, and
//! where each value came from.

mod common;

use common::{gpu, gpu_with, variable};
use std::collections::BTreeMap;
use std::io;
use warmstart_gpu::{
    MemoryKind, Missing, Origin, Overwrite, RunError, Session, SessionError, UninitializedRead,
};
use warmstart_graph::words::human_bytes;
use warmstart_graph::{DType, Initializer, Location, Role, Shape, TensorData, Variable};

fn ramp(elements: usize) -> Vec<f32> {
    (0..elements).map(|i| i as f32 - 3.5).collect()
}

#[test]
fn assigned_values_come_back_at_every_size() {
    let mut session = Session::new(&gpu());
    let sizes = [0usize, 1, 2, 3, 63, 64, 65, 1009, 100_003, 3_000_017];
    let variables: Vec<_> =
        sizes.iter().map(|n| variable(&format!("v{n}"), [*n], Initializer::Zeros)).collect();
    session.declare(&variables).unwrap();
    for &size in &sizes {
        let value = TensorData::new([size], ramp(size)).unwrap();
        session.assign(&format!("v{size}"), &value).unwrap();
    }
    for &size in &sizes {
        let name = format!("v{size}");
        assert_eq!(session.read(&name).unwrap().as_f32().unwrap(), ramp(size), "{name}");
        assert_eq!(session.variable(&name).unwrap().origin, Origin::Assigned);
    }
}

#[test]
fn every_dtype_and_odd_half_precision_sizes_round_trip() {
    let mut session = Session::new(&gpu());
    let half = |x: i32| half::f16::from_f32(x as f32);
    let values = [
        ("f16", TensorData::new([3], (0..3).map(half).collect::<Vec<_>>()).unwrap()),
        ("f16 again", TensorData::new([1, 1], vec![half(9)]).unwrap()),
        ("i32", TensorData::new([2], vec![i32::MIN, 7]).unwrap()),
        ("u32", TensorData::from(u32::MAX)),
        ("f32", TensorData::new([2], vec![-0.0f32, f32::INFINITY]).unwrap()),
    ];
    let variables: Vec<_> = values
        .iter()
        .map(|(name, value)| {
            let mut variable = variable(name, value.shape(), Initializer::Zeros);
            variable.dtype = value.dtype();
            variable
        })
        .collect();
    session.declare(&variables).unwrap();
    for (name, value) in &values {
        session.assign(name, value).unwrap();
    }
    for (name, value) in &values {
        assert_eq!(session.read(name).unwrap().to_le_bytes(), value.to_le_bytes(), "{name}");
    }
}

#[test]
fn a_fresh_variable_has_no_value_though_its_memory_reads_as_zeros() {
    let mut session = Session::new(&gpu());
    session.declare(&[variable("fc1/weight", [2], Initializer::Zeros)]).unwrap();
    let error = session.read("fc1/weight").unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, SessionError::Uninitialized { .. }), "{text}");
    assert!(text.contains("never given a value") && text.contains("session.rs"), "{text}");
    let absent = Missing::AbsentFromCheckpoint {
        file: "old.safetensors".into(),
        close: vec!["fc1/w".to_owned()],
    };
    session.mark_missing("fc1/weight", absent.clone());
    let text = session.read("fc1/weight").unwrap_err().to_string();
    assert!(text.contains("absent from old.safetensors, which has fc1/w"), "{text}");
    assert_eq!(session.uninitialized().len(), 1);
    session.assign("fc1/weight", &TensorData::new([2], vec![0.0f32; 2]).unwrap()).unwrap();
    session.mark_missing("fc1/weight", absent);
    assert_eq!(session.variable("fc1/weight").unwrap().origin, Origin::Assigned);
    assert!(session.uninitialized().is_empty());
}

#[test]
fn a_value_of_another_shape_or_dtype_is_refused() {
    let mut session = Session::new(&gpu());
    session.declare(&[variable("w", [2, 3], Initializer::Zeros)]).unwrap();
    for value in
        [TensorData::new([3, 2], ramp(6)).unwrap(), TensorData::new([2, 3], vec![0i32; 6]).unwrap()]
    {
        let error = session.assign("w", &value).unwrap_err();
        assert!(matches!(error, SessionError::Mismatch { .. }), "{error}");
        let text = error.to_string();
        let given = format!("{} {}", value.dtype(), value.shape());
        assert!(text.contains("f32 [2, 3]") && text.contains(&given), "{text}");
    }
    let origin = Origin::Uninitialized(Missing::NeverInitialized);
    assert_eq!(session.variable("w").unwrap().origin, origin);
}

#[test]
fn an_unknown_name_brings_the_closest_ones() {
    let mut session = Session::new(&gpu());
    let names = ["encoder/weight", "encoder/bias", "decoder/weight"];
    session.declare(&names.map(|name| variable(name, [1], Initializer::Zeros))).unwrap();
    let text = session.variable("encoder/wieght").unwrap_err().to_string();
    assert!(text.contains("Did you mean `encoder/weight` or `decoder/weight`?"), "{text}");
    let text = session.variable("q").unwrap_err().to_string();
    assert!(!text.contains("Did you mean"), "{text}");
}

#[test]
fn declarations_that_disagree_change_nothing() {
    let mut session = Session::new(&gpu());
    session.declare(&[variable("w", [2, 3], Initializer::Zeros)]).unwrap();
    session.assign("w", &TensorData::new([2, 3], ramp(6)).unwrap()).unwrap();
    let mut integer = variable("b", [3], Initializer::Zeros);
    integer.dtype = DType::I32;
    let again = [
        variable("new", [1], Initializer::Zeros),
        variable("w", [3, 2], Initializer::Zeros),
        variable("b", [3], Initializer::Zeros),
        integer,
    ];
    let error = session.declare(&again).unwrap_err();
    let SessionError::Conflict(conflicts) = &error else { panic!("{error}") };
    assert_eq!(conflicts.len(), 2);
    let text = error.to_string();
    for part in ["f32 [2, 3] at", "f32 [3, 2] at", "f32 [3] at", "i32 [3] at"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(session.variables().len(), 1);
    session.declare(&[again[0].clone(), variable("w", [2, 3], Initializer::Ones)]).unwrap();
    assert_eq!(session.read("w").unwrap().as_f32().unwrap(), ramp(6));
    assert_eq!(session.variable("w").unwrap().variable.initializer, Initializer::Zeros);
    assert_eq!(session.variables().len(), 2);
}

/// A graph that was stored may call its variables anything.
#[test]
fn names_that_disagree_cannot_write_to_the_terminal() {
    let mut session = Session::new(&gpu());
    let name = "w\n\u{1b}[2Kerror: \u{202e}";
    session.declare(&[variable(name, [2], Initializer::Zeros)]).unwrap();
    let text = session.declare(&[variable(name, [3], Initializer::Zeros)]).unwrap_err().to_string();
    let escaped = r"variable `w\n\u{1b}[2Kerror: \u{202e}` is declared as f32 [2] at ";
    assert!(text.starts_with(escaped), "{text:?}");
}

#[test]
fn too_large_a_variable_is_named_with_the_limit() {
    let gpu = gpu();
    let mut session = Session::new(&gpu);
    let limit = gpu.limits().max_storage_buffer_binding_size;
    let shape = Shape::from([limit as usize / 4 + 1]);
    let error = session.declare(&[variable("vast", shape, Initializer::Zeros)]).unwrap_err();
    assert!(matches!(error, SessionError::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains(&human_bytes(limit)), "{error}");
}

/// Initializers and casts write whole words, or halves of them.
#[test]
fn a_variable_has_no_dtype_that_is_only_fed() {
    let mut session = Session::new(&gpu());
    let fed = Variable { dtype: DType::U8, ..variable("x", [4], Initializer::Ones) };
    let error = session.declare(&[variable("w", [4], Initializer::Ones), fed]).unwrap_err();
    assert!(matches!(error, SessionError::VariableDType { dtype: DType::U8, .. }), "{error}");
    assert!(error.to_string().starts_with("variable `x` (declared at "), "{error}");
    assert!(session.variables().is_empty(), "nothing is declared");
}

#[test]
fn the_table_has_one_line_per_variable() {
    let mut session = Session::new(&gpu());
    session
        .declare(&[
            variable("fc1/weight", [64, 32], Initializer::Zeros),
            variable("fc1/bias", [32], Initializer::Zeros),
        ])
        .unwrap();
    session.assign("fc1/bias", &TensorData::new([32], ramp(32)).unwrap()).unwrap();
    let text = session.variables().to_string();
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["name", "dtype", "shape", "bytes", "origin"]);
    assert_eq!(lines[1][..5], ["fc1/weight", "f32", "[64,", "32]", "8192"]);
    assert_eq!(lines[2], ["fc1/bias", "f32", "[32]", "128", "assigned"]);
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_sink_that_fails_is_named() {
    let mut session = Session::new(&gpu());
    session.declare(&[variable("w", [4], Initializer::Zeros)]).unwrap();
    session.assign("w", &TensorData::new([4], ramp(4)).unwrap()).unwrap();
    let full = || io::Error::new(io::ErrorKind::StorageFull, "the disk is full");
    let error = session.snapshot_read(&["w"], &mut |_, _| Err(full())).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`w`") && text.contains("the disk is full"), "{text}");
    assert_eq!(session.read("w").unwrap().as_f32().unwrap(), ramp(4));
}

#[test]
fn snapshots_come_in_order_and_whole() {
    let mut session = Session::new(&gpu());
    // `full` takes whole staging buffers, so that `nothing` is alone behind them.
    let full = 2 << 20;
    let sizes = [
        ("small", 3),
        ("empty", 0),
        ("large", 5_000_001),
        ("full", full),
        ("nothing", 0),
        ("last", 64),
    ];
    session.declare(&sizes.map(|(name, n)| variable(name, [n], Initializer::Zeros))).unwrap();
    for (name, n) in sizes {
        session.assign(name, &TensorData::new([n], ramp(n)).unwrap()).unwrap();
    }
    for wanted in [&["last", "large", "empty", "small"][..], &["full", "nothing"], &["nothing"]] {
        whole_and_in_order(&session, wanted);
    }
}

fn whole_and_in_order(session: &Session, wanted: &[&str]) {
    let mut got: Vec<(String, Vec<u8>)> = Vec::new();
    session
        .snapshot_read(wanted, &mut |name, piece| {
            assert!(piece.len() <= 8 << 20);
            match got.last_mut() {
                Some((last, bytes)) if last == name => bytes.extend_from_slice(piece),
                _ => got.push((name.to_owned(), piece.to_vec())),
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(got.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), wanted);
    for (name, bytes) in &got {
        assert_eq!(bytes, &session.read(name).unwrap().to_le_bytes(), "{name}");
    }
}

/// Neighbours are copied together, in whatever order and through however little memory they are
/// read: every byte is still its own variable's.
#[test]
fn many_variables_come_back_in_any_order_and_through_little_memory() {
    for (memory, staging) in
        [(MemoryKind::Mappable, 4096), (MemoryKind::Staged, 4096), (MemoryKind::Mappable, 1 << 20)]
    {
        let mut session = Session::new(&gpu_with(memory, staging));
        let dtypes = [DType::F32, DType::U32, DType::F16];
        let data: Vec<(String, TensorData)> = (0..180u32)
            .map(|i| {
                let elements = [0, 1, 64, 63, 65, 130, 1009, 7][(i * i / 7 + i) as usize % 8];
                let dtype = dtypes[i as usize % 3];
                let bytes = elements as u32 * dtype.size() as u32;
                let bytes: Vec<u8> = (0..bytes).map(|k| (i * 31 + k * 7) as u8).collect();
                (format!("v{i:03}"), TensorData::from_le_bytes([elements], dtype, &bytes).unwrap())
            })
            .collect();
        let declared: Vec<_> = data
            .iter()
            .map(|(name, value)| Variable {
                dtype: value.dtype(),
                role: Role::State,
                ..variable(name, value.shape().clone(), Initializer::Zeros)
            })
            .collect();
        session.declare(&declared).unwrap();
        for (name, value) in &data {
            session.assign(name, value).unwrap();
        }
        let orders: [Vec<usize>; 4] = [
            (0..180).collect(),
            (0..180).rev().collect(),
            (0..180).step_by(7).collect(),
            (0..180).map(|i| i * 77 % 180).collect(),
        ];
        for order in orders {
            let wanted: Vec<&str> = order.iter().map(|&i| data[i].0.as_str()).collect();
            let mut got: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            let mut sink = |name: &str, piece: &[u8]| {
                got.entry(name.to_owned()).or_default().extend_from_slice(piece);
                Ok(())
            };
            session.snapshot_read(&wanted, &mut sink).unwrap();
            assert_eq!(got.len(), wanted.len());
            for &i in &order {
                let (name, value) = &data[i];
                assert_eq!(got[name], value.to_le_bytes(), "{name}, {memory:?}, {staging}");
            }
        }
    }
}

#[test]
fn what_a_large_model_lacks_or_would_lose_is_told_shortly() {
    let read = |at: usize| UninitializedRead {
        name: format!("layer_{at}/\u{1b}w"),
        dtype: DType::F32,
        shape: Shape::from([2]),
        origin: Origin::Uninitialized(Missing::NeverInitialized),
        operation: "matmul".into(),
        location: Location::caller(),
    };
    let refused = |n| RunError::Uninitialized { variables: (0..n).map(read).collect() }.to_string();
    let text = refused(5000);
    assert_eq!(text.lines().count(), 1 + 20 + 1 + 1, "{text}");
    assert!(text.starts_with("5000 variables that this run reads have no value"), "{text}");
    assert!(text.contains("\n  … and 4980 more\nhelp: "), "{text}");
    assert!(text.contains(r"`layer_19/\u{1b}w`") && !text.contains('\u{1b}'), "{text}");
    assert!(!refused(20).contains("more\n"), "{}", refused(20));

    let mut session = Session::new(&gpu());
    let ones = |at: usize| variable(&format!("layer_{at}/w"), [1], Initializer::Ones);
    session.declare(&(0..9).map(ones).collect::<Vec<_>>()).unwrap();
    for at in 0..9 {
        let value = TensorData::from(vec![1.0f32]);
        session.assign(&format!("layer_{at}/w"), &value).unwrap();
    }
    let text = session.initialize_all(1, Overwrite::Refuse).unwrap_err().to_string();
    assert!(text.contains("`layer_0/w` assigned; `layer_1/w` assigned; "), "{text}");
    assert!(text.contains("; `layer_4/w` assigned and 4 more. Nothing was changed"), "{text}");
}
