//! Bytes that are fed: widened, and scaled, where they are loaded.

use super::product_tests::{gpu, numbers, targets};
use super::*;
use crate::{Column, DeviceDataset, RunError, Steps};
use warmstart_graph::random::Philox;
use warmstart_graph::reference::Reference;
use warmstart_graph::{Elements, GraphDef, Initializer, NodeId, Optimizer, TensorData, gradients};

fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let random = Philox::new(seed, "bytes");
    (0..count as u64).map(|at| random.word(at) as u8).collect()
}

/// Everything fetched, for each target, which must be near the twin's; and the plans' dispatches.
fn follow_twin(
    gpu: &Gpu,
    graph: &Graph,
    fetches: &[Tensor<'_>],
    feeds: &[(&str, TensorData)],
    what: &str,
) -> [Vec<DispatchInfo>; 2] {
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    feeds.iter().for_each(|(name, data)| reference.feed(name, data));
    let ids: Vec<NodeId> = fetches.iter().map(|fetch| fetch.id()).collect();
    let expected = reference.run(&ids).unwrap();
    targets(gpu).map(|target| {
        let mut session = Session::new(gpu);
        let plan = session.compile_for(graph, fetches, &[], target).unwrap();
        let feeds: Vec<(&str, crate::Feed<'_>)> =
            feeds.iter().map(|(name, data)| (*name, data.into())).collect();
        let outputs = session.run(&plan, &feeds).unwrap();
        for (number, (fetch, expected)) in fetches.iter().zip(&expected).enumerate() {
            let found = outputs.tensor(*fetch).unwrap().to_f64();
            assert_eq!(found.len(), expected.elements.len(), "{what}");
            for (at, (found, expected)) in found.iter().zip(&expected.elements).enumerate() {
                let near = (found - expected).abs() <= 2e-5 * expected.abs().max(1.0);
                let both = found.is_nan() && expected.is_nan();
                assert!(near || both, "{what}: {number}[{at}] is {found}, not {expected}");
            }
        }
        plan.dispatches()
    })
}

fn tensor(shape: &[usize], elements: impl Into<Elements>) -> TensorData {
    TensorData::new(shape, elements).unwrap()
}

#[test]
fn bytes_become_numbers_of_all_kinds() {
    let gpu = gpu();
    // Whole words, parts of them, and nothing.
    for count in [0, 1, 2, 3, 4, 5, 31, 256, 1027] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [count], DType::U8);
        let fetches = [
            x.cast(DType::F32) / 255.0,
            x.cast(DType::I32) - graph.constant(200),
            x.cast(DType::U32) * graph.constant(3u32),
            x.cast(DType::F32).sum_all(),
        ];
        let all: Vec<u8> = (0..count).map(|at| (at * 37 + 251) as u8).collect();
        let what = format!("{count} bytes");
        follow_twin(&gpu, &graph, &fetches, &[("x", tensor(&[count], all))], &what);
    }
}

/// Pixels are widened and scaled by the product that reads them, whichever way it lies: no kernel is there
/// for that.
#[test]
fn products_read_bytes_and_scale_them() {
    let gpu = gpu();
    for (seed, (m, k, n)) in
        [(1, 1, 1), (7, 5, 3), (16, 8, 12), (37, 101, 29), (64, 784, 40), (33, 130, 1), (0, 4, 4)]
            .into_iter()
            .enumerate()
    {
        let graph = Graph::new();
        let x = graph.placeholder("x", [m, k], DType::U8);
        let y = graph.placeholder("y", [k, n], DType::F32);
        let z = graph.placeholder("z", [m, n], DType::F32);
        let wide = x.cast(DType::F32);
        for (name, scaled) in
            [("plain", wide), ("times", wide * 0.25), ("times", 0.5 * wide), ("by", wide / 255.0)]
        {
            let products = [
                scaled.matmul(y),
                scaled.matmul_with(z, true, false),
                z.matmul_with(scaled, true, false),
                scaled.transpose(&[1, 0]).matmul(z),
            ];
            for (way, product) in products.into_iter().enumerate() {
                let feeds = [
                    ("x", tensor(&[m, k], bytes(m * k, seed as u64))),
                    if way == 0 {
                        ("y", tensor(&[k, n], numbers(k * n, 1)))
                    } else {
                        ("z", tensor(&[m, n], numbers(m * n, 2)))
                    },
                ];
                let what = format!("{m} x {k} x {n}, {name}, {way}");
                // The twin's numbers are in f64; a sum of many large ones is near by its own size.
                let near = product * (1.0 / (255.0 * 64.0));
                let dispatches = follow_twin(&gpu, &graph, &[near], &feeds, &what);
                let most = if product.shape().elements() == 0 { 0 } else { 2 };
                for of_target in dispatches {
                    assert!(of_target.len() <= most, "{what}: {of_target:?}");
                    let is_product = |info: &DispatchInfo| info.operations.contains("matmul");
                    // Slices of a long sum are two.
                    assert!(of_target.first().is_none_or(is_product), "{what}: {of_target:?}");
                }
            }
        }
    }
}

/// What is no product's alone is scaled by whoever reads it, and computed once more by nobody.
#[test]
fn what_others_read_too_is_scaled_there() {
    let gpu = gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [9, 4, 5], DType::U8);
    let y = graph.placeholder("y", [20, 6], DType::F32);
    let pixels = x.reshape([9, 20]).cast(DType::F32) / 255.0;
    let fetches = [pixels.matmul(y), pixels.sum(&[0]), pixels.softmax(), pixels];
    let feeds =
        [("x", tensor(&[9, 4, 5], bytes(180, 4))), ("y", tensor(&[20, 6], numbers(120, 5)))];
    follow_twin(&gpu, &graph, &fetches, &feeds, "pixels for four");
}

/// Bytes that must lie in memory in another arrangement are packed again.
#[test]
fn arrangements_of_bytes_are_bytes() {
    let gpu = gpu();
    for width in [1, 3, 4, 7, 16] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [6, width + 2], DType::U8);
        let y = graph.placeholder("y", [width, 5], DType::F32);
        let part = x.slice(1, 1, 1 + width);
        let both = part.concat(&[part.transpose(&[1, 0]).reshape([6, width])], 0);
        let fetches = [
            part.cast(DType::F32).matmul(y),
            both.cast(DType::F32).matmul(y) * 0.5,
            both.transpose(&[1, 0]).cast(DType::I32),
        ];
        let feeds = [
            ("x", tensor(&[6, width + 2], bytes(6 * (width + 2), 7))),
            ("y", tensor(&[width, 5], numbers(5 * width, 8))),
        ];
        follow_twin(&gpu, &graph, &fetches, &feeds, &format!("width {width}"));
    }
}

#[test]
fn bytes_are_indices_and_labels() {
    let gpu = gpu();
    let graph = Graph::new();
    let words = graph.placeholder("words", [3, 5], DType::U8);
    let table = graph.placeholder("table", [40, 7], DType::F32);
    let labels = graph.placeholder("labels", [3], DType::U8);
    let rows = table.gather_rows(words);
    let loss = rows.sum(&[1]).softmax_cross_entropy(labels.cast(DType::I32));
    let [slope] = &gradients(loss, &[table])[..] else { panic!("one gradient") };
    let fetches = [rows, loss, slope.unwrap()];
    let feeds = [
        ("words", tensor(&[3, 5], (0..15).map(|at| at * 3 % 41).collect::<Vec<u8>>())),
        ("table", tensor(&[40, 7], numbers(280, 9))),
        ("labels", tensor(&[3], [0u8, 6, 2])),
    ];
    follow_twin(&gpu, &graph, &fetches, &feeds, "indices");
}

/// A classifier of pixels and the same with `f32` pixels.
fn classifier(graph: &Graph, dtype: DType, width: usize) -> (Tensor<'_>, Update<'_>) {
    let x = graph.placeholder("x", [8, width], dtype);
    let labels = graph.placeholder("labels", [8], DType::I32);
    let pixels = x.cast(DType::F32) / 255.0;
    let hidden = graph.scope("fc1").linear(pixels, 20).relu();
    let loss = graph.scope("fc2").linear(hidden, 4).softmax_cross_entropy(labels);
    (loss, Optimizer::adam(1e-2).minimize(loss).update)
}

/// Training on bytes is training on their numbers, to the bit, in as many kernels and less memory; fed or
/// from a data set.
#[test]
fn training_on_bytes_is_training_on_their_numbers() {
    let gpu = gpu();
    for width in [12, 13] {
        let pixels = bytes(24 * width, 3);
        let floats: Vec<f32> = pixels.iter().map(|&byte| byte.into()).collect();
        let labels: Vec<i32> = (0..24).map(|row| row % 4).collect();
        for target in targets(&gpu) {
            let train = |dtype: DType, from_data: bool| {
                let graph = Graph::new();
                let (loss, update) = classifier(&graph, dtype, width);
                let mut session = Session::new(&gpu);
                let plan = session.compile_for(&graph, &[loss], &[update], target).unwrap();
                session.initialize_missing(5).unwrap();
                let column = |name: &'static str| -> (&'static str, crate::Feed<'_>) {
                    match (name, dtype) {
                        ("labels", _) => (name, (&labels).into()),
                        (_, DType::U8) => (name, (&pixels).into()),
                        _ => (name, (&floats).into()),
                    }
                };
                let losses: Vec<u32> = if from_data {
                    let columns = ["x", "labels"].map(|name| {
                        let (name, feed) = column(name);
                        (name, Column::Elements(feed))
                    });
                    let data = DeviceDataset::new(&gpu, 24, &columns).unwrap();
                    let rows: Vec<u32> = (0..24).collect();
                    let outputs = session.run_steps(&plan, &Steps::rows(&data, &rows)).unwrap();
                    outputs.scalars(loss).unwrap().iter().map(|loss| loss.to_bits()).collect()
                } else {
                    let step = |at: usize| {
                        let x = at * 8 * width..(at + 1) * 8 * width;
                        let x: crate::Feed<'_> = match dtype {
                            DType::U8 => (&pixels[x]).into(),
                            _ => (&floats[x]).into(),
                        };
                        let feeds = [("x", x), ("labels", (&labels[at * 8..][..8]).into())];
                        let outputs = session.run(&plan, &feeds).unwrap();
                        outputs.scalar(loss).unwrap().to_bits()
                    };
                    (0..3).map(step).collect()
                };
                let weight = session.read("fc1/weight").unwrap().to_le_bytes();
                ((losses, weight), plan.dispatches().len(), plan.memory().feeds)
            };
            let (expected, dispatches, memory) = train(DType::F32, false);
            for from_data in [false, true] {
                let (found, own_dispatches, own_memory) = train(DType::U8, from_data);
                assert!(found == expected, "{width}, from data: {from_data}: other bits");
                assert!(own_dispatches <= dispatches, "{own_dispatches}, not {dispatches}");
                assert!(own_memory < memory / 2, "{own_memory} of {memory} bytes");
            }
        }
    }
}

#[test]
fn what_does_not_fit_names_placeholder_and_line() {
    let gpu = gpu();
    let graph = Graph::new();
    let line = line!() + 1;
    let x = graph.placeholder("pixels", [2, 3], DType::U8);
    let wide = x.cast(DType::F32);
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[wide], &[]).unwrap();
    let here = format!("bytes_tests.rs:{line}");
    let too_few = session.run(&plan, &[("pixels", (&[1u8, 2, 3, 4, 5]).into())]).err().unwrap();
    assert!(matches!(too_few, RunError::FeedLength { expected: 6, found: 5, .. }), "{too_few}");
    assert!(too_few.to_string().contains(&here), "{too_few}");
    let floats = session.run(&plan, &[("pixels", (&[1.0f32; 6]).into())]).err().unwrap();
    let wrong = matches!(floats, RunError::FeedDType { expected: DType::U8, .. });
    assert!(wrong && floats.to_string().contains(&here), "{floats}");
    let turned = tensor(&[3, 2], bytes(6, 1));
    let turned = session.run(&plan, &[("pixels", (&turned).into())]).err().unwrap();
    assert!(turned.to_string().contains(&here), "{turned}");
    let fetched = session.compile(&graph, &[x], &[]).err().unwrap();
    assert!(matches!(fetched, CompileError::FetchHalf { dtype: DType::U8, .. }), "{fetched}");
}

/// All mistakes at once, each with its line.
#[test]
fn what_bytes_are_not_for_is_refused_when_the_graph_is_built() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [3], DType::U8);
    let line = line!() + 1;
    graph.root().state_of("mask", [3], DType::U8, Initializer::Zeros);
    let _ = x.cast(DType::F32).cast(DType::U8);
    let _ = x + x;
    let _ = x.reshape([3, 1]).matmul(x.reshape([1, 3]));
    let errors = graph.finish().unwrap_err().to_string();
    for (at, what) in [
        "variable `mask` cannot be u8",
        "u8 is for what is fed, and f32 does not fit it",
        "needs f32 operands, was given u8; convert with `.cast(..)`",
        "was given u8; convert with `.cast(..)`",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(errors.contains(what), "{errors}");
        assert!(errors.contains(&format!("bytes_tests.rs:{}", line + at as u32)), "{errors}");
    }
}

/// Graphs with bytes travel as all others do.
#[test]
fn a_stored_graph_keeps_its_bytes() {
    let gpu = gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [3], DType::U8);
    let sum = x.cast(DType::F32) + graph.constant(vec![1u8, 2, 250]).cast(DType::F32);
    let _ = sum.named("sum");
    let stored = serde_json::to_string(&graph.finish().unwrap()).unwrap();
    assert!(stored.contains("\"u8\""), "{stored}");
    let def: GraphDef = serde_json::from_str(&stored).unwrap();
    def.validate().unwrap();
    let again = Graph::from_def(def).unwrap();
    let named = again.named("sum").unwrap();
    let mut session = Session::new(&gpu);
    let plan = session.compile(&again, &[named], &[]).unwrap();
    let outputs = session.run(&plan, &[("x", (&[255u8, 0, 5]).into())]).unwrap();
    assert_eq!(outputs.tensor(named).unwrap().to_f64(), [256.0, 2.0, 255.0]);
}
