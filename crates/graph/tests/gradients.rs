//! Every gradient against central differences of the CPU twin, in `f64`.

mod cases;

use cases::{Built, Case, Random};
use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::{DType, Graph, Tensor, TensorData, global_norm, gradients};

const SEEDS: u64 = 12;

/// The step of the differences. For a loss L that is smooth at the scale of 1, cutting the series
/// off errs by h² L‴ / 6 ≈ 10⁻¹⁰ and rounding by 2⁻⁵² |L| / h ≈ 2·10⁻¹¹ |L|.
const STEP: f64 = 1e-5;

/// Relative to the larger of 1 and the derivative. It is not the differences but the gradients
/// that need it: their coefficients (0.044715, √(2/π), 1/n, ...) are rounded to `f32` in the graph,
/// each off by up to 2⁻²⁴ ≈ 6·10⁻⁸ of itself. A handful of them, and sums whose terms are larger
/// than their total, stay below this.
const TOLERANCE: f64 = 2e-6;

/// How many elements of an input are compared, drawn at random: the twin is slow.
const COMPARED: usize = 12;

fn reference<'a>(built: &'a Built) -> Reference<'a> {
    let mut reference = Reference::new(&built.def);
    built.feeds.iter().for_each(|(name, data)| reference.feed(name, data));
    built.variables.iter().for_each(|(name, data)| reference.assign(name, data));
    reference
}

fn compare(case: &Case, seed: u64) -> Result<usize, String> {
    let built = case.build(seed);
    let mut twin = reference(&built);
    let values = twin.run(&built.fetches).map_err(|e| format!("{}: {e}", case.name))?;
    for (value, id) in values.iter().zip(&built.fetches) {
        if value.shape != built.def.node(*id).shape || value.elements.iter().any(|x| x.is_nan()) {
            return Err(format!("{} seed {seed}: bad value {value:?}", case.name));
        }
    }
    let (Some(loss), true) = (built.loss, case.smooth) else { return Ok(0) };
    let mut random = Random(seed);
    let mut compared = 0;
    for name in &built.inputs {
        let mut twin = reference(&built);
        let original = Value::from(built.input(name));
        let found = match built.gradients.iter().find(|(other, _)| other == name) {
            Some((_, gradient)) => twin.run(&[*gradient]).map_err(|e| e.to_string())?.remove(0),
            None => Value { elements: vec![0.0; original.elements.len()], ..original.clone() },
        };
        if found.shape != original.shape {
            return Err(format!("{}: the gradient for {name} is {}", case.name, found.shape));
        }
        let fed = built.feeds.iter().any(|(other, _)| other == name);
        let mut at = |index: usize, by: f64| {
            let mut moved = original.clone();
            moved.elements[index] += by;
            if fed {
                twin.feed(name, moved)
            } else {
                twin.assign(name, moved)
            }
            twin.run(&[loss]).expect("it ran before")[0].elements[0]
        };
        let count = original.elements.len();
        let indices: Vec<usize> = if count <= COMPARED {
            (0..count).collect()
        } else {
            (0..COMPARED).map(|_| random.below(count)).collect()
        };
        for index in indices {
            let (above, below) = (at(index, STEP), at(index, -STEP));
            let expected = (above - below) / (2.0 * STEP);
            let (found, size) = (found.elements[index], above.abs().max(below.abs()));
            // Rounding of a loss that is a sum of many terms, each larger than the total.
            let rounding = 1e-10 * size;
            let off = (found - expected).abs();
            if off.is_nan() || off > TOLERANCE * expected.abs().max(1.0) + rounding {
                return Err(format!(
                    "case {} with seed {seed}: the gradient of the loss for `{name}` {} at element \
                     {index} is {found}, and differences give {expected}\n{}",
                    case.name, original.shape, built.def
                ));
            }
            compared += 1;
        }
    }
    Ok(compared)
}

#[test]
fn gradients_are_the_derivatives() {
    let mut failures = Vec::new();
    for case in cases::all() {
        let mut compared = 0;
        for seed in 0..SEEDS {
            match compare(&case, seed) {
                Ok(count) => compared += count,
                Err(failure) => {
                    failures.push(failure);
                    break;
                }
            }
        }
        assert!(
            compared > 0 || !case.smooth || !failures.is_empty(),
            "case {} compared nothing",
            case.name
        );
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}

/// Runs a graph with one input `x` and gives the values of some nodes.
fn values<'g, const N: usize, const M: usize>(
    x: [f32; N],
    build: impl FnOnce(&'g Graph, Tensor<'g>) -> [Tensor<'g>; M],
    graph: &'g Graph,
) -> [Vec<f64>; M] {
    let fed = graph.placeholder("x", [N], DType::F32);
    let fetches = build(graph, fed).map(|tensor| tensor.id());
    let def = graph.finish().expect("it fits together");
    let mut reference = Reference::new(&def);
    reference.feed("x", &TensorData::new([N], x).expect("N elements"));
    let mut found = reference.run(&fetches).expect("x is fed").into_iter();
    std::array::from_fn(|_| found.next().expect("one for each").elements)
}

fn gradient<'g>(y: Tensor<'g>, x: Tensor<'g>) -> Tensor<'g> {
    gradients(y.sum_all(), &[x])[0].expect("y depends on x")
}

/// Where a function bends, differences say nothing; PyTorch's choices are followed.
#[test]
fn gradients_at_bends() {
    let graph = Graph::new();
    let [relu, leaky, abs, maximum, norm] = values(
        [0.0, -1.0, 2.0, 2.0, 2.0],
        |graph, x| {
            let zeros = x * 0.0;
            [
                gradient(x.relu(), x),
                gradient(x.leaky_relu(0.5), x),
                gradient(x.abs(), x),
                gradient(x.reduce_max(&[0]), x),
                gradient(global_norm(graph, &[zeros]), zeros),
            ]
        },
        &graph,
    );
    assert_eq!(relu, [0.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(leaky, [0.5, 0.5, 1.0, 1.0, 1.0]);
    assert_eq!(abs, [0.0, -1.0, 1.0, 1.0, 1.0]);
    let third = 1.0 / 3.0;
    assert_eq!(maximum, [0.0, 0.0, third, third, third]);
    assert_eq!(norm, [0.0; 5]);
}

#[test]
fn powers_of_zero_have_finite_gradients() {
    let graph = Graph::new();
    let [base, exponent] = values(
        [0.0, 0.0, 0.0, 2.0],
        |graph, a| {
            let b = TensorData::new([4], [0.0f32, 1.0, 2.0, 0.0]).expect("four");
            let b = graph.constant(b);
            [gradient(a.pow(b), a), gradient(a.pow(b), b)]
        },
        &graph,
    );
    assert_eq!(base, [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(exponent, [0.0, 0.0, 0.0, std::f64::consts::LN_2]);
}

#[test]
fn stopped_gradients_do_not_flow() {
    let graph = Graph::new();
    let [found] = values([3.0, 5.0], |_, x| [gradient(x.stop_gradient() * x, x)], &graph);
    assert_eq!(found, [3.0, 5.0]);
    let graph = Graph::new();
    let x = graph.placeholder("x", [2], DType::F32);
    let loss = (x.stop_gradient() + x.floor() + x.sign() + x.greater(x)).sum_all();
    assert!(gradients(loss, &[x])[0].is_none());
    assert!(graph.finish().is_ok());
}

/// Integers are those of a device: they wrap around, and keep their bits when cast.
#[test]
fn integers_are_those_of_a_device() {
    let graph = Graph::new();
    let [sum, product, difference, bits, back, clamped] = values(
        [-1.5, 3e9],
        |graph, x| {
            let large = graph.constant(i32::MAX);
            let minus = graph.constant(-1i32);
            let one = graph.constant(1u32);
            [
                large + large,
                large * large,
                graph.constant(0u32) - one,
                minus.cast(DType::U32),
                graph.constant(u32::MAX).cast(DType::I32),
                x.cast(DType::I32),
            ]
        },
        &graph,
    );
    assert_eq!((sum, product), (vec![-2.0], vec![1.0]));
    let largest = vec![f64::from(u32::MAX)];
    assert_eq!((difference, bits), (largest.clone(), largest));
    assert_eq!(back, [-1.0]);
    assert_eq!(clamped, [-1.0, f64::from(i32::MAX)]);
}

/// Sums and products over nothing, rows of no elements, labels and indices that point nowhere.
#[test]
fn empty_and_outside() {
    let graph = Graph::new();
    let [sum, largest, mean, product, rows, picked, scattered, loss] = values(
        [1.0, 2.0, 4.0, 8.0],
        |graph, x| {
            let none = x.slice(0, 0, 0);
            let table = x.reshape([2, 2]);
            let index = TensorData::new([3], [1i32, -1, 2]).expect("three");
            let index = graph.constant(index);
            let labels = graph.constant(TensorData::new([2], [2i32, -1]).expect("two"));
            [
                none.sum_all(),
                none.reduce_max(&[0]),
                none.mean_all(),
                none.reshape([2, 0]).matmul(none.reshape([0, 2])),
                none.reshape([3, 0]).log_softmax().sum(&[1]),
                table.gather_rows(index).slice(1, 0, 1),
                gradient(table.gather_rows(index), table),
                table.softmax_cross_entropy(labels),
            ]
        },
        &graph,
    );
    assert_eq!((sum, largest), (vec![0.0], vec![f64::NEG_INFINITY]));
    assert!(mean[0].is_nan());
    assert_eq!((product, rows), (vec![0.0; 4], vec![0.0; 3]));
    assert!(picked[0] == 4.0 && picked[1].is_nan() && picked[2].is_nan());
    assert_eq!(scattered, [0.0, 0.0, 1.0, 1.0]);
    assert!(loss[0].is_nan());
}

/// As one operation it is what it is composed of, in its gradients and their gradients too.
#[test]
fn a_layer_norm_is_what_it_is_composed_of() {
    for shape in [&[1][..], &[5], &[7, 1], &[1, 6], &[3, 4, 5]] {
        let graph = Graph::new();
        let (last, width) = (shape.len() - 1, shape[shape.len() - 1]);
        let x = graph.placeholder("x", shape, DType::F32);
        let gamma = graph.placeholder("gamma", [width], DType::F32);
        let beta = graph.placeholder("beta", [width], DType::F32);
        let centred = x - x.sum_keep_dims(&[last]) / width as f32;
        let variance = centred.square().sum_keep_dims(&[last]) / width as f32;
        let composed = centred * (variance + 0.25).rsqrt() * gamma + beta;
        let all = |y: Tensor<'_>| {
            let inputs = [x, gamma, beta];
            let mut all = vec![y];
            let first = gradients(y.sin().sum_all(), &inputs);
            let first: Vec<Tensor<'_>> = first.into_iter().flatten().collect();
            let size = first.iter().map(|g| g.square().sum_all()).reduce(|a, b| a + b);
            let second = gradients(size.expect("three gradients"), &inputs);
            all.extend(first);
            all.extend(second.into_iter().flatten());
            all.into_iter().map(Tensor::id).collect::<Vec<_>>()
        };
        let (found, expected) = (all(x.layer_norm(gamma, beta, 0.25)), all(composed));
        assert_eq!((found.len(), expected.len()), (7, 7));
        let def = graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        let mut random = Random(8);
        for (name, count) in [("x", x.shape().elements()), ("gamma", width), ("beta", width)] {
            let numbers: Vec<f32> = (0..count).map(|_| random.number(-2.0, 2.0)).collect();
            let shape = if name == "x" { shape } else { &[width] };
            reference.feed(name, &TensorData::new(shape, numbers).unwrap());
        }
        let (found, expected) = (reference.run(&found).unwrap(), reference.run(&expected).unwrap());
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.shape, expected.shape);
            for (found, expected) in found.elements.iter().zip(&expected.elements) {
                let near = (found - expected).abs() <= 1e-10 * expected.abs().max(1.0);
                assert!(near, "{shape:?}, value {at}: {found}, not {expected}");
            }
        }
    }
}
