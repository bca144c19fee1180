//! Products of operands rounded to `f16`.

mod cases;

use cases::Random;
use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::{DType, Graph, GraphDef, Op, Optimizer, Problem, TensorData, gradients};

/// The dtypes of the operands of all products, in order.
fn operands(def: &GraphDef) -> Vec<[DType; 2]> {
    let products = def.nodes.iter().filter(|node| matches!(node.op, Op::MatMul { .. }));
    products.map(|node| [0, 1].map(|at| def.node(node.inputs[at]).dtype)).collect()
}

#[test]
fn products_of_a_part_and_of_its_gradient_take_f16() {
    use DType::{F16, F32};
    let graph = Graph::new();
    let x = graph.placeholder("x", [8, 6], F32);
    let before = graph.scope("before").linear(x, 5);
    let inner = graph.root().compute_f16(|scope| {
        // A part within a part ends before it.
        let first = scope.scope("first").compute_f16(|scope| scope.linear(before, 4));
        scope.scope("second").linear(first.tanh(), 3)
    });
    let loss = graph.scope("after").linear(inner, 1).square().mean_all();
    let forward = operands(&graph.finish().unwrap());
    assert_eq!(forward, [[F32; 2], [F16; 2], [F16; 2], [F32; 2]]);
    let step = Optimizer::sgd(0.1).minimize(loss);
    assert!(step.gradients.iter().all(|(_, gradient)| gradient.dtype() == F32));
    let def = graph.finish().unwrap();
    assert!(def.variables.iter().filter(|v| v.shape.rank() == 2).all(|v| v.dtype == F32));
    let backward = &operands(&def)[4..];
    // Two each, last layer first.
    let expected = [[F32; 2], [F16; 2], [F16; 2], [F32; 2]].map(|dtypes| [dtypes; 2]);
    assert_eq!(*backward, *expected.as_flattened());
    // Two inputs, two weights, and two gradients for their products and once more for the bias: of nodes that
    // are equal a plan has one.
    let casts = def.nodes.iter().filter(|node| node.op == Op::Cast(F16));
    assert_eq!(casts.count(), 8, "{def}");
    assert_eq!(Graph::from_def(def.clone()).unwrap().finish().unwrap(), def);
}

/// What is stored as `f16` may be multiplied with what is not: nothing more is rounded.
#[test]
fn only_one_operand_may_be_f16() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 3], DType::F32);
    let weight = graph.placeholder("weight", [3, 4], DType::F16);
    let loss = x.matmul(weight).square().sum_all();
    gradients(loss, &[x, weight]).into_iter().for_each(|gradient| {
        assert_eq!(gradient.unwrap().dtype(), DType::F32);
    });
    let def = graph.finish().unwrap();
    assert_eq!(operands(&def)[1..], [[DType::F32, DType::F16], [DType::F32; 2]]);
    let index = graph.placeholder("index", [3, 4], DType::I32);
    let product = graph.root().compute_f16(|_| x.matmul(index));
    assert_eq!(product.dtype(), DType::F32);
    let errors = graph.finish().unwrap_err();
    assert!(matches!(errors.0[0].problem, Problem::DType { found: DType::I32, .. }), "{errors}");
}

/// Differences are of what is computed, roundings included: so values and steps are such that none
/// is off, and differences are exact.
#[test]
fn gradients_are_the_differences() {
    let mut random = Random(8);
    // Multiples of 1/8 below 8: sums of their products are exact, too.
    let mut grid = |shape: [usize; 2]| {
        let elements: Vec<f32> =
            (0..shape[0] * shape[1]).map(|_| random.below(128) as f32 / 8.0 - 8.0).collect();
        TensorData::new(shape, elements).unwrap()
    };
    for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let graph = Graph::new();
        let [m, k, n] = [3, 7, 5];
        let a_shape = if transpose_a { [k, m] } else { [m, k] };
        let b_shape = if transpose_b { [n, k] } else { [k, n] };
        let a = graph.placeholder("a", a_shape, DType::F32);
        let b = graph.placeholder("b", b_shape, DType::F32);
        let c = graph.placeholder("c", [m, n], DType::F32);
        let bias = graph.placeholder("bias", [1, n], DType::F32);
        let product = graph.root().compute_f16(|_| a.matmul_with(b, transpose_a, transpose_b));
        let loss = ((product + bias.reshape([n])) * c).sum_all();
        let of = gradients(loss, &[a, b, bias]);
        let found = of.into_iter().map(|gradient| gradient.unwrap().id());
        let found: Vec<_> = found.collect();
        let def = graph.finish().unwrap();
        assert!(operands(&def).iter().all(|dtypes| *dtypes == [DType::F16; 2]), "{def}");
        let data = [
            ("a", grid(a_shape)),
            ("b", grid(b_shape)),
            ("bias", grid([1, n])),
            ("c", grid([m, n])),
        ];
        let mut twin = Reference::new(&def);
        data.iter().for_each(|(name, data)| twin.feed(name, data));
        let found = twin.run(&found).unwrap();
        for ((name, original), found) in data[..3].iter().zip(found) {
            for (index, found) in found.elements.iter().enumerate() {
                let mut at = |by: f64| {
                    let mut moved = Value::from(original);
                    moved.elements[index] += by;
                    twin.feed(name, moved);
                    twin.run(&[loss.id()]).unwrap()[0].elements[0]
                };
                let expected = at(0.5) - at(-0.5);
                assert_eq!(*found, expected, "{name} {index} {transpose_a} {transpose_b}");
            }
            twin.feed(name, original);
        }
    }
}

/// The gradient of a bias is the sum of what that of its weight reads, where both are asked for. Whatever else
/// is added to a product, or a bias to one of `f32` or of a frozen weight, has that of what was not rounded.
#[test]
fn the_gradient_of_a_bias_is_of_the_numbers_that_its_weight_reads() {
    const ROWS: usize = 3;
    #[derive(Clone, Copy, PartialEq)]
    enum How {
        Plain,
        Mixed,
        Kept,
        Recomputed,
    }
    let all = |how: How, shape: &[usize], first: bool, asked: &str| {
        let graph = Graph::new();
        let [a, b] = [("a", [ROWS, 2]), ("b", [2, 5])]
            .map(|(name, shape)| graph.placeholder(name, shape, DType::F32));
        let addend = graph.placeholder("addend", shape, DType::F32);
        let sum = || {
            let product = match how {
                How::Plain => a.matmul(b),
                _ => graph.root().compute_f16(|_| a.matmul(b)),
            };
            if first { addend + product } else { product + addend }
        };
        let sum = match how {
            How::Plain | How::Mixed => sum(),
            How::Kept => graph.root().keep_f16(|_| sum()),
            How::Recomputed => graph.root().recompute(|_| sum()),
        };
        let loss = (sum * (1.0 + 2f32.powi(-12))).sum_all();
        let of = match asked {
            "weight" => vec![addend, b],
            "input" => vec![addend, a],
            _ => vec![addend],
        };
        let gradient = gradients(loss, &of)[0].unwrap();
        assert_eq!(gradient.dtype(), DType::F32);
        let def = graph.finish().unwrap();
        let mut twin = Reference::new(&def);
        for (name, shape) in [("a", &[ROWS, 2][..]), ("b", &[2, 5]), ("addend", shape)] {
            let count = shape.iter().product();
            twin.feed(name, &TensorData::new(shape, vec![1.0f32; count]).unwrap());
        }
        let elements = twin.run(&[gradient.id()]).unwrap()[0].elements.clone();
        assert!(elements.iter().all(|element| *element == elements[0]), "{elements:?}");
        elements[0]
    };
    let (rows, more) = (ROWS as f64, 1.0 + 2f64.powi(-12));
    for first in [false, true] {
        for asked in ["weight", "input", ""] {
            let is_with = asked == "weight";
            for how in [How::Mixed, How::Kept, How::Recomputed] {
                let expected = if is_with { rows } else { rows * more };
                assert_eq!(all(how, &[5], first, asked), expected, "{asked}");
                assert_eq!(all(how, &[ROWS, 5], first, asked), more, "{asked}");
                assert_eq!(all(how, &[1], first, asked), 5.0 * rows * more, "{asked}");
                assert_eq!(all(how, &[ROWS, 1], first, asked), 5.0 * more, "{asked}");
            }
            assert_eq!(all(How::Plain, &[5], first, asked), rows * more, "{asked}");
        }
    }
}

/// The twin rounds operands, and nothing else.
#[test]
fn operands_are_rounded_and_products_are_not() {
    let graph = Graph::new();
    let a = graph.placeholder("a", [1, 2], DType::F32);
    let b = graph.placeholder("b", [2, 1], DType::F32);
    let product = graph.root().compute_f16(|_| a.matmul(b));
    let def = graph.finish().unwrap();
    let mut twin = Reference::new(&def);
    let mut value = |a: [f32; 2], b: [f32; 2]| {
        twin.feed("a", &TensorData::new([1, 2], a).unwrap());
        twin.feed("b", &TensorData::new([2, 1], b).unwrap());
        twin.run(&[product.id()]).unwrap()[0].elements[0]
    };
    let step = 1.0 + 2f32.powi(-10);
    assert_eq!(value([step, 0.0], [step, 0.0]), f64::from(step) * f64::from(step));
    assert_eq!(value([1.0 + 2f32.powi(-12), 1.0], [2.0, 0.5]), 2.5);
    assert_eq!(value([60_000.0, 60_000.0], [1.0, 1.0]), 120_000.0);
    assert_eq!(value([65_520.0, 0.0], [1.0, 1.0]), f64::INFINITY);
    assert_eq!(value([1e-8, 1.0], [1.0, 0.0]), 0.0);
}
