//! What a plan says of its kernels: bytes moved and operations, against numbers computed by hand.

use super::*;
use warmstart_graph::{DType, Graph, Tensor};

/// Bytes and operations of each kernel, as a GPU gets them.
fn figures(build: impl for<'g> Fn(&'g Graph) -> Tensor<'g>) -> Vec<(u64, u64)> {
    let graph = Graph::new();
    let fetch = build(&graph);
    let program = compile(&graph.finish().unwrap(), &[fetch.id()], &[], Target::GPU).unwrap();
    let of_step = |step: &Step| match step {
        Step::Dispatch(dispatch) => (dispatch.bytes, dispatch.operations),
        Step::Optimizer(_) => panic!("nothing is trained"),
    };
    program.steps.iter().map(of_step).collect()
}

fn floats<'g>(graph: &'g Graph, name: &str, shape: &[usize]) -> Tensor<'g> {
    graph.placeholder(name, shape, DType::F32)
}

#[test]
fn of_products() {
    let layer = figures(|graph| {
        let [x, weight] =
            [("x", [8, 16]), ("weight", [16, 32])].map(|(name, shape)| floats(graph, name, &shape));
        (x.matmul(weight) + floats(graph, "bias", &[32])).relu()
    });
    assert_eq!(layer, [(4 * (8 * 16 + 16 * 32 + 32 + 8 * 32), 2 * 8 * 32 * 16 + 2 * 8 * 32)]);
    // Bound as both operands, and moved once.
    let square = figures(|graph| {
        let x = floats(graph, "x", &[16, 16]);
        x.matmul(x)
    });
    assert_eq!(square, [(4 * 2 * 256, 2 * 16 * 16 * 16)]);
    // With a vector: a reduction, and one in slices.
    for (rows, kernels) in [(4096, 1), (1, 2)] {
        let vector = figures(|graph| {
            let x = floats(graph, "x", &[rows, 1 << 16]);
            x.matmul(floats(graph, "y", &[1 << 16, 1]))
        });
        assert_eq!(vector.len(), kernels);
        assert_eq!(vector[0].1, 2 * rows as u64 * (1 << 16));
    }
    // Slices of a long sum, and the sum of those.
    let long = figures(|graph| {
        let x = floats(graph, "x", &[16, 4096]);
        x.matmul_with(floats(graph, "y", &[16, 4096]), false, true).relu()
    });
    let (operands, slices) = (4 * 2 * 16 * 4096, 4 * 256 * 16);
    assert_eq!(long, [(operands + slices, 2 * 256 * 4096), (slices + 4 * 256, 256 * 16 + 256)]);
}

#[test]
fn of_what_reads_a_part_of_a_tensor() {
    let gathered = figures(|graph| {
        let table = floats(graph, "table", &[50_000, 128]);
        table.gather_rows(graph.placeholder("rows", [64], DType::I32))
    });
    assert_eq!(gathered, [(4 * 64 + 2 * 4 * 64 * 128, 0)]);
    let sliced = figures(|graph| floats(graph, "x", &[100, 64]).slice(0, 10, 20) * 2.0);
    assert_eq!(sliced, [(2 * 4 * 640, 640)]);
    let two = figures(|graph| {
        let x = floats(graph, "x", &[100, 64]);
        x.slice(0, 10, 20) + x.slice(0, 50, 60).transpose(&[1, 0]).reshape([10, 64])
    });
    assert_eq!(two, [(3 * 4 * 640, 640)]);
    // No more than there is: 400 rows of a table of five.
    let few = figures(|graph| {
        let table = floats(graph, "table", &[5, 8]);
        table.gather_rows(graph.placeholder("rows", [400], DType::I32))
    });
    assert_eq!(few, [(4 * 400 + 4 * 5 * 8 + 4 * 400 * 8, 0)]);
    // The rest is zero, and is not read.
    let padded = figures(|graph| floats(graph, "x", &[10, 8]).pad(&[5, 0], [20, 8]));
    assert_eq!(padded, [(4 * 80 + 4 * 160, 0)]);
}

#[test]
fn of_chains_and_reductions() {
    let chain = figures(|graph| {
        let [x, y] = ["x", "y"].map(|name| floats(graph, name, &[100]));
        (x * 2.0 + 1.0).tanh() * y
    });
    assert_eq!(chain, [(4 * 300, 4 * 100)]);
    // What is read transposed too is moved once.
    let both = figures(|graph| {
        let x = floats(graph, "x", &[20, 20]);
        x + x.transpose(&[1, 0])
    });
    assert_eq!(both, [(2 * 4 * 400, 400)]);
    let row = figures(|graph| floats(graph, "x", &[10, 30]) * floats(graph, "row", &[30]));
    assert_eq!(row, [(4 * (300 + 30 + 300), 300)]);
    let sum = figures(|graph| {
        let [x, y] = ["x", "y"].map(|name| floats(graph, name, &[32, 50]));
        (x * y).sum(&[1]).sqrt()
    });
    assert_eq!(sum, [(4 * (2 * 1600 + 32), 1600 + 1600 + 32)]);
    // Bytes are bytes.
    let pixels = figures(|graph| graph.placeholder("x", [8, 16], DType::U8).cast(DType::F32) * 0.5);
    assert_eq!(pixels, [(128 + 4 * 128, 128)]);
}

/// What a kernel holds of its rows it writes, and reads back what it wrote itself.
#[test]
fn of_rows_that_are_held() {
    fn rows(graph: &Graph) -> Tensor<'_> {
        let [x, y] = ["x", "y"].map(|name| floats(graph, name, &[10, 30]));
        (x * y).tanh() + y
    }
    // In the result, which is written once more.
    let softmax = figures(|graph| rows(graph).softmax());
    assert_eq!(softmax, [(4 * 3 * 300, 3 * 300 + 4 * 300)]);
    // Read behind the softmax, too, and computed once.
    let residual = figures(|graph| {
        let rows = rows(graph);
        rows.softmax() + rows
    });
    assert_eq!(residual, [(4 * 3 * 300, 3 * 300 + 4 * 300 + 300)]);
    // In memory of its own, beside labels and losses.
    let loss = figures(|graph| {
        rows(graph).softmax_cross_entropy(graph.placeholder("labels", [10], DType::I32))
    });
    assert_eq!(loss[0], (4 * (3 * 300 + 10 + 10), 3 * 300 + 4 * 300));
}

/// A value that is written over another one is read and written in one binding.
#[test]
fn of_what_is_written_where_it_is_read() {
    let mut bindings = bindings::Bindings::default();
    let (place, other) = (Place::Value(1), Place::Value(2));
    bindings.bind("result", place, Access::Write, "f32");
    assert_eq!(bindings.bytes(|_| 100), 100);
    bindings.read(place, "f32", false, 60);
    assert_eq!(bindings.bytes(|_| 100), 160);
    bindings.read(place, "f32", false, 60);
    bindings.bind("b", other, Access::Read, "vec4<f32>");
    bindings.bind("a", other, Access::Read, "u32");
    assert_eq!(bindings.bytes(|_| 100), 300);
}
