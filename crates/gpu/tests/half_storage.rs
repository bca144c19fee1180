//! Weights stored as `f16` and `bf16`: read by every kind of kernel, into `f32` arithmetic.

mod common;

use half::{bf16, f16};
use warmstart_gpu::{CompileError, RunError, Session};
use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::{DType, Graph, Initializer, NodeId, Optimizer, Tensor, TensorData};

/// Odd extents, so that rows begin in the middle of words.
const ROWS: usize = 37;
const COLUMNS: usize = 19;

/// One of each way that a kernel reads.
fn readers<'g>(graph: &'g Graph, dtype: DType) -> Vec<Tensor<'g>> {
    let root = graph.root();
    let normal = Initializer::Normal { mean: 0.0, stddev: 1.0 };
    let weight = root.state_of("weight", [ROWS, COLUMNS], dtype, normal.clone());
    let vector = root.state_of("vector", [COLUMNS], dtype, normal);
    let rows = graph.placeholder("rows", [5], DType::I32);
    let x = graph.placeholder("x", [8, ROWS], DType::F32);
    let (wide, offset) = (weight.cast(DType::F32), vector.cast(DType::F32));
    vec![
        x.matmul(weight),
        x.matmul(wide) + offset,
        weight.transpose(&[1, 0]).matmul(weight),
        wide.matmul(offset.reshape([COLUMNS, 1])),
        (wide * 2.0 + offset).tanh(),
        wide.sum(&[0]),
        wide.reduce_max(&[1]),
        wide.softmax(),
        wide.argmax().cast(DType::F32),
        wide.gather_rows(rows),
        wide.concat(&[wide * 0.5], 1).slice(1, 3, 9),
        wide.transpose(&[1, 0]),
    ]
}

#[test]
fn every_kind_of_kernel_reads_them() {
    let gpu = common::gpu();
    for dtype in [DType::F16, DType::Bf16] {
        let graph = Graph::new();
        let results = readers(&graph, dtype);
        let def = graph.finish().unwrap();
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &results, &[]).unwrap();
        session.initialize_missing(3).unwrap();
        let x: Vec<f32> = (0..8 * ROWS).map(|at| (at * 29 % 41) as f32 / 20.0 - 1.0).collect();
        let feeds = [
            ("x", TensorData::new([8, ROWS], x).unwrap()),
            ("rows", TensorData::new([5], [36, 0, 7, 7, 11]).unwrap()),
        ];
        let mut twin = Reference::new(&def);
        feeds.iter().for_each(|(name, data)| twin.feed(name, data));
        for name in ["weight", "vector"] {
            let value = session.read(name).unwrap();
            assert_eq!(value.dtype(), dtype);
            twin.assign(name, &value);
        }
        let ids: Vec<NodeId> = results.iter().map(|result| result.id()).collect();
        let fed = feeds.each_ref().map(|(name, data)| (*name, data.into()));
        let outputs = session.run(&plan, &fed).unwrap();
        for (at, (result, expected)) in results.iter().zip(twin.run(&ids).unwrap()).enumerate() {
            let found = outputs.tensor(*result).unwrap();
            for (found, expected) in found.to_f64().iter().zip(&expected.elements) {
                let off = (found - expected).abs();
                assert!(off <= 2e-5 * expected.abs().max(1.0), "{dtype} {at}: {found} {expected}");
            }
        }
    }
}

/// What is trained is `f32`; a copy in 16 bits follows it, to be served from.
#[test]
fn a_copy_follows_what_is_trained() {
    let gpu = common::gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [6, 5], DType::F32);
    let weight = graph.scope("fc").variable("weight", [5, 3], Initializer::GlorotUniform);
    let copy = graph.root().state_of("copy", [5, 3], DType::Bf16, Initializer::Zeros);
    let step = Optimizer::adam(0.1).minimize(x.matmul(weight).square().mean_all());
    let follow = weight.cast(DType::Bf16).assign_to(copy);
    let served = x.matmul(copy);
    let mut session = Session::new(&gpu);
    let train = session.compile(&graph, &[], &[step.update]).unwrap();
    let follow = session.compile(&graph, &[], &[follow]).unwrap();
    let serve = session.compile(&graph, &[served], &[]).unwrap();
    session.initialize_missing(1).unwrap();
    let inputs: Vec<f32> = (0..30).map(|at| at as f32 / 30.0).collect();
    let feeds = [("x", (&inputs).into())];
    for _ in 0..3 {
        session.run(&train, &feeds).unwrap().wait().unwrap();
    }
    session.run(&follow, &[]).unwrap().wait().unwrap();
    let weight = session.read("fc/weight").unwrap();
    let rounded: Vec<bf16> = weight.as_f32().unwrap().iter().map(|&x| bf16::from_f32(x)).collect();
    let rounded = TensorData::new([5, 3], rounded).unwrap();
    assert_eq!(session.read("copy").unwrap(), rounded);
    let served = session.run(&serve, &feeds).unwrap().tensor(served).unwrap().to_f64();
    let rounded = Value::from(&rounded).elements;
    for (at, found) in served.iter().enumerate() {
        let product = |k: usize| f64::from(inputs[at / 3 * 5 + k]) * rounded[k * 3 + at % 3];
        assert!((found - (0..5).map(product).sum::<f64>()).abs() < 1e-6, "{at}: {found}");
    }
}

#[test]
fn they_are_fetched_by_a_cast_and_fed_as_they_are() {
    let gpu = common::gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [3], DType::Bf16);
    let wide = x.cast(DType::F32);
    let mut session = Session::new(&gpu);
    let error = session.compile(&graph, &[x], &[]).map(|_| ()).unwrap_err();
    assert!(matches!(&error, CompileError::FetchHalf { dtype: DType::Bf16, .. }), "{error}");
    assert!(error.to_string().contains("of bf16 cannot be fetched"), "{error}");
    let plan = session.compile(&graph, &[wide], &[]).unwrap();
    let values = [1.5, -1e38, 1e-40].map(bf16::from_f32);
    let outputs = session.run(&plan, &[("x", (&values).into())]).unwrap();
    let found = outputs.tensor(wide).unwrap();
    assert_eq!(found.as_f32(), Some(&values.map(bf16::to_f32)[..]));
    let error = session.run(&plan, &[("x", (&[0.0f32; 3]).into())]).map(|_| ()).unwrap_err();
    assert!(matches!(&error, RunError::FeedDType { found: DType::F32, .. }), "{error}");
}

/// Subnormal ones included, which a driver could take for zero.
#[test]
fn every_f16_is_read_as_it_is() {
    let gpu = common::gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [1 << 16], DType::F16);
    let wide = x.cast(DType::F32);
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[wide], &[]).unwrap();
    let values: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let found = session.run(&plan, &[("x", (&values).into())]).unwrap().tensor(wide).unwrap();
    for (value, found) in values.iter().zip(found.as_f32().unwrap()) {
        let (expected, found) = (value.to_f32(), *found);
        let same = expected.to_bits() == found.to_bits() || (expected.is_nan() && found.is_nan());
        assert!(same, "{:#06x}: {found}, not {expected}", value.to_bits());
    }
}

/// What is read more often than once is read as it is stored, too.
#[test]
fn widening_for_a_softmax_is_no_kernel() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [6, 10], DType::F16);
    let labels = graph.placeholder("labels", [6], DType::I32);
    let wide = x.cast(DType::F32);
    let loss = wide.softmax_cross_entropy(labels);
    let results = [wide.softmax(), wide.transpose(&[1, 0]).log_softmax(), loss];
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &results, &[]).unwrap();
    assert!(plan.dispatches().iter().all(|info| !info.operations.contains("cast")), "{plan}");
}
