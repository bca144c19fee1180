//! Kernels that write a second result on the way: which do, which must not, and that both results
//! are those of the CPU twin.

mod common;

use warmstart_gpu::{DispatchInfo, Session};
use warmstart_graph::reference::Reference;
use warmstart_graph::{
    DType, Graph, Initializer, LossScaling, Optimizer, Schedule, Tensor, TensorData, gradients,
};

/// Compiles and runs fetches with numbers for every placeholder, compares each with the twin, and
/// gives the operations of each dispatch.
#[track_caller]
fn dispatches(graph: &Graph, fetches: &[Tensor<'_>]) -> Vec<String> {
    let def = graph.finish().unwrap();
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(graph, fetches, &[]).unwrap();
    session.initialize_missing(3).unwrap();
    let mut reference = Reference::new(&def);
    for info in session.variables().iter() {
        reference.assign(info.name(), &session.read(info.name()).unwrap());
    }
    let mut values = Vec::new();
    let mut needed: Vec<_> = fetches.iter().map(|fetch| fetch.id()).collect();
    let mut seen = std::collections::BTreeSet::new();
    while let Some(id) = needed.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = def.node(id);
        needed.extend(&node.inputs);
        if let warmstart_graph::Op::Placeholder { name, shape, dtype } = &node.op {
            let numbers = (0..shape.elements()).map(|i| (i * 37 + name.len() * 11) % 101);
            let value = match dtype {
                DType::I32 => {
                    let labels: Vec<i32> = numbers.map(|i| (i % 3) as i32).collect();
                    TensorData::new(shape, labels)
                }
                _ => {
                    let numbers: Vec<f32> = numbers.map(|i| i as f32 / 50.0 - 1.0).collect();
                    TensorData::new(shape, numbers)
                }
            };
            values.push((name.clone(), value.unwrap()));
        }
    }
    let mut feeds = Vec::new();
    for (name, value) in &values {
        reference.feed(name, value);
        feeds.push((name.as_str(), value.into()));
    }
    let outputs = session.run(&plan, &feeds).unwrap();
    let ids: Vec<_> = fetches.iter().map(|fetch| fetch.id()).collect();
    for (at, expected) in reference.run(&ids).unwrap().iter().enumerate() {
        let found = outputs.tensor(fetches[at]).unwrap().to_f64();
        assert_eq!(found.len(), expected.elements.len());
        for (found, expected) in found.iter().zip(&expected.elements) {
            // Sums of at most 70 products of numbers below 1.
            assert!((found - expected).abs() < 1e-4, "fetch {at}: {found}, not {expected}\n{plan}");
        }
    }
    plan.dispatches().into_iter().map(|info| info.operations).collect()
}

fn two(graph: &Graph) -> [Tensor<'_>; 2] {
    [("x", [70, 13]), ("dy", [70, 9])]
        .map(|(name, shape)| graph.placeholder(name, shape, DType::F32))
}

#[test]
fn a_sum_over_rows_rides_along_with_the_product() {
    for layout in 0..5 {
        let graph = Graph::new();
        let [x, dy] = two(&graph);
        let (first, second) = match layout {
            // The order of the two says nothing.
            0 => (dy.sum(&[0]), x.matmul_with(dy, true, false)),
            1 => {
                let product = x.matmul_with(dy, true, false);
                (product, dy.sum(&[0]))
            }
            2 => (dy.sum_keep_dims(&[0]), x.transpose(&[1, 0]).matmul(dy)),
            // The operand is transposed in memory, and so is what is summed, or not.
            3 => {
                let turned = graph.placeholder("turned", [9, 70], DType::F32);
                (turned.sum(&[1]), x.matmul_with(turned, true, true))
            }
            _ => {
                let turned = graph.placeholder("turned", [9, 70], DType::F32).transpose(&[1, 0]);
                (turned.sum(&[0]), x.matmul_with(turned, true, false))
            }
        };
        assert_eq!(dispatches(&graph, &[first, second]), ["matmul, sum"], "layout {layout}");
    }
}

#[test]
fn other_sums_have_their_own_dispatch() {
    for layout in 0..6 {
        let graph = Graph::new();
        let [x, dy] = two(&graph);
        let fetches = match layout {
            // Along the other axis, of the other operand, of something else.
            0 => vec![x.matmul_with(dy, true, false), dy.sum(&[1])],
            1 => vec![x.matmul_with(dy, true, false), x.sum(&[0])],
            2 => vec![x.matmul_with(dy, true, false), (dy * 2.0).sum(&[0])],
            3 => vec![x.matmul_with(dy, true, false), dy.reduce_max(&[0])],
            // Of a reshaped operand, whose columns are others.
            4 => vec![x.matmul_with(dy, true, false), dy.reshape([35, 18]).sum(&[0])],
            // With something computed after it.
            _ => vec![x.matmul_with(dy, true, false), dy.sum(&[0]).exp()],
        };
        assert_eq!(dispatches(&graph, &fetches).len(), 2, "layout {layout}");
    }
    // Read before the product is computed, which needs it itself.
    let graph = Graph::new();
    let [x, dy] = two(&graph);
    let sums = dy.sum(&[0]);
    let scaled = x * (sums.sum_all() * 0.01);
    let product = scaled.matmul_with(dy, true, false);
    let found = dispatches(&graph, &[product, sums]);
    assert!(found.iter().all(|operations| !operations.contains(',')), "{found:?}");
    // One product carries one sum; two sums of one tensor are one.
    let graph = Graph::new();
    let [x, dy] = two(&graph);
    let product = x.matmul_with(dy, true, false);
    let found = dispatches(&graph, &[dy.sum(&[0]), product, dy.sum_keep_dims(&[0])]);
    assert_eq!(found.len(), 2, "{found:?}");
}

/// Two sums of the same elements are one kernel, if the first reads what the second sums up.
#[test]
fn a_sum_rides_along_with_a_sum() {
    let count = |build: &dyn for<'g> Fn(Tensor<'g>, Tensor<'g>) -> Vec<Tensor<'g>>| {
        let graph = Graph::new();
        let [x, y] = ["x", "second"].map(|name| graph.placeholder(name, [70, 9], DType::F32));
        dispatches(&graph, &build(x, y))
    };
    for axes in [&[0][..], &[1], &[0, 1]] {
        let found = count(&|x, y| vec![(x * y).sum(axes), y.sum_keep_dims(axes)]);
        assert_eq!(found, ["mul+sum, sum"]);
        // The order of the two says nothing.
        assert_eq!(count(&|x, y| vec![y.sum(axes), (x * y).sum(axes)]), ["mul+sum, sum"]);
    }
    // Two of three.
    let found = count(&|x, y| vec![(x * y).sum(&[0]), x.sum(&[0]), y.sum(&[0])]);
    assert_eq!(found, ["mul+sum, sum", "sum"]);
    // What a product sums up on the way it keeps.
    let found = count(&|x, y| vec![x.matmul_with(y, true, false), (x * y).sum(&[0]), y.sum(&[0])]);
    assert_eq!(found, ["matmul, sum", "mul+sum"]);
    // Along other axes, of what is not read, of what is not summed, or with something after it.
    for other in [
        count(&|x, y| vec![(x * y).sum(&[0]), y.sum(&[1])]),
        count(&|x, y| vec![x.exp().sum(&[0]), y.sum(&[0])]),
        count(&|x, y| vec![(x * y).sum(&[0]), (y * 2.0).sum(&[0])]),
        count(&|x, y| vec![(x * y).sum(&[0]), y.reduce_max(&[0])]),
        count(&|x, y| vec![(x * y).sum(&[0]), y.sum(&[0]).exp()]),
        // Needed before.
        count(&|x, y| vec![(x * y * y.sum(&[0])).sum(&[0])]),
    ] {
        assert_eq!(other.len(), 2, "{other:?}");
    }
}

#[test]
fn a_cross_entropy_computes_its_gradient_too() {
    for smoothing in [0.0, 0.25] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [70, 3], DType::F32);
        let labels = graph.placeholder("labels", [70], DType::I32);
        let loss = x.softmax_cross_entropy_smoothed(labels, smoothing);
        let dx = gradients(loss, &[x])[0].unwrap();
        let expected = ["softmax_cross_entropy, softmax_cross_entropy_gradient", "sum+div"];
        assert_eq!(dispatches(&graph, &[loss, dx]), expected);
        assert_eq!(dispatches(&graph, &[dx]), ["softmax_cross_entropy_gradient"]);
        assert_eq!(dispatches(&graph, &[loss]), ["softmax_cross_entropy", "sum+div"]);
        // The square's gradient needs the loss first.
        let squared = gradients(loss.square(), &[x])[0].unwrap();
        let found = dispatches(&graph, &[loss, squared]);
        assert!(found.iter().all(|operations| !operations.contains(',')), "{found:?}");
    }
}

fn activated<'g>(x: Tensor<'g>, activation: &str) -> Tensor<'g> {
    match activation {
        "relu" => x.relu(),
        "tanh" => x.tanh(),
        "sigmoid" => x.sigmoid(),
        "gelu" => x.gelu(),
        _ => x.silu(),
    }
}

fn dropped<'g>(x: Tensor<'g>, name: &str, rate: f32) -> Tensor<'g> {
    if rate > 0.0 { x.dropout(name, rate) } else { x }
}

fn weighted<'g>(losses: Tensor<'g>, mask: Tensor<'g>) -> Tensor<'g> {
    (losses * mask).sum_all() / mask.sum_all()
}

/// Means over some of the rows, or with weights, in which the sum of the weights comes first: one dispatch
/// more than the plain mean takes.
#[test]
fn a_gradient_rides_along_with_a_masked_mean() {
    type Mean = for<'g> fn(Tensor<'g>, Tensor<'g>, Tensor<'g>) -> Tensor<'g>;
    let means: [(Mean, usize); 5] = [
        (|x, labels, mask| weighted(x.softmax_cross_entropy_per_row(labels), mask), 3),
        (
            |x, labels, mask| weighted(x.softmax_cross_entropy_smoothed_per_row(labels, 0.1), mask),
            3,
        ),
        (|x, labels, _| x.softmax_cross_entropy_ignoring(labels, 2), 3),
        // Without a sum there is none to wait for.
        (|x, labels, mask| (x.softmax_cross_entropy_per_row(labels) * mask).mean_all(), 2),
        (|x, labels, _| x.softmax_cross_entropy(labels), 2),
    ];
    for (at, (mean, expected)) in means.into_iter().enumerate() {
        for rows in [2, 70, 1030] {
            let graph = Graph::new();
            let x = graph.placeholder("x", [rows, 5], DType::F32);
            let labels = graph.placeholder("labels", [rows], DType::I32);
            let mask = graph.placeholder("mask", [rows], DType::F32).square() + 0.5;
            let loss = mean(x, labels, mask);
            let dx = gradients(loss, &[x])[0].unwrap();
            let found = dispatches(&graph, &[loss, dx]);
            assert_eq!(found.len(), expected, "mean {at}, {rows} rows: {found:?}");
            let is_carried = |label: &String| {
                label.contains("softmax_cross_entropy, ")
                    && label.ends_with("softmax_cross_entropy_gradient")
            };
            assert!(found.iter().any(is_carried), "mean {at}, {rows} rows: {found:?}");
        }
    }
    // What depends on the loss comes after it.
    let graph = Graph::new();
    let x = graph.placeholder("x", [70, 5], DType::F32);
    let losses = x.softmax_cross_entropy_per_row(graph.placeholder("labels", [70], DType::I32));
    let focal = (losses * losses.stop_gradient()).sum_all();
    let dx = gradients(focal, &[x])[0].unwrap();
    let found = dispatches(&graph, &[focal, dx]);
    assert!(found.iter().all(|label| !label.contains(',')), "{found:?}");
}

/// An ignored row has no part in the loss, whatever its logits are: as the twin has it.
#[test]
fn an_ignored_row_may_have_any_logits() {
    let gpu = common::gpu();
    for logit in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -9.0] {
        for rows in [2, 35, 600] {
            let graph = Graph::new();
            let x = graph.placeholder("x", [rows, 2], DType::F32);
            let labels = graph.placeholder("labels", [rows], DType::I32);
            let loss = x.softmax_cross_entropy_ignoring(labels, -1);
            let fetches = [loss, gradients(loss, &[x])[0].unwrap()];
            let mut logits = vec![0.0f32; 2 * rows];
            logits[2 * rows - 1] = logit;
            let mut classes = vec![0i32; rows];
            classes[rows - 1] = -1;
            let def = graph.finish().unwrap();
            let mut reference = Reference::new(&def);
            reference.feed("x", &TensorData::new([rows, 2], logits.clone()).unwrap());
            reference.feed("labels", &TensorData::new([rows], classes.clone()).unwrap());
            let expected = reference.run(&fetches.map(Tensor::id)).unwrap();
            let mut session = Session::new(&gpu);
            let plan = session.compile(&graph, &fetches, &[]).unwrap();
            let feeds = [("x", (&logits).into()), ("labels", (&classes).into())];
            let outputs = session.run(&plan, &feeds).unwrap();
            for (fetch, expected) in fetches.into_iter().zip(expected) {
                let found = outputs.tensor(fetch).unwrap().to_f64();
                for (at, (found, expected)) in found.iter().zip(&expected.elements).enumerate() {
                    let both = found.is_nan() && expected.is_nan();
                    let near = (found - expected).abs() <= 1e-5;
                    assert!(both || near, "{logit}, {rows}: [{at}] is {found}, not {expected}");
                }
            }
        }
    }
}

/// Three layers, trained by Adam with clipping and a schedule, whatever stands between the layers.
#[test]
fn a_training_step_of_three_layers_is_twelve_dispatches() {
    for activation in ["relu", "tanh", "sigmoid", "gelu", "silu"] {
        for (rate, scaling) in [(0.0, false), (0.1, false), (0.0, true), (0.1, true)] {
            let graph = Graph::new();
            let x = graph.placeholder("x", [8, 16], DType::F32);
            let labels = graph.placeholder("labels", [8], DType::I32);
            let hidden = activated(graph.scope("fc1").linear(x, 33), activation);
            let hidden = dropped(hidden, "fc1", rate);
            let hidden = activated(graph.scope("fc2").linear(hidden, 17), activation);
            let hidden = dropped(hidden, "fc2", rate);
            let loss = graph.scope("fc3").linear(hidden, 10).softmax_cross_entropy(labels);
            let schedule = Schedule::cosine(1e-2, 0.0, 100).warm_up(10);
            let mut optimizer = Optimizer::adam(schedule).clip_global_norm(1.0);
            if scaling {
                optimizer = optimizer.loss_scaling(LossScaling::new());
            }
            let step = optimizer.minimize(loss);
            let mut session = Session::new(&common::gpu());
            let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
            let what = format!("{activation}, dropout {rate}, loss scaling {scaling}");
            assert!(plan.dispatches().len() <= 12, "{what}\n{plan}");
            let operations: Vec<String> =
                plan.dispatches().into_iter().map(|info| info.operations).collect();
            let count = |what: &str| operations.iter().filter(|all| all.starts_with(what)).count();
            assert_eq!((count("matmul, sum"), count("matmul")), (3, 8), "{what}\n{plan}");
            // Without the loss there is one dispatch less.
            let plan = session.compile(&graph, &[], &[step.update]).unwrap();
            assert!(plan.dispatches().len() <= 11, "{what}\n{plan}");
        }
    }
}

/// A step whose loss is the mean over the rows that have a label takes one dispatch more, for their number,
/// and trains as the twin does. Its gradients are those of the twin's, and the slopes of the twin's loss.
#[test]
fn a_training_step_that_ignores_labels_is_thirteen_dispatches() {
    const IGNORED: i32 = -1;
    let graph = Graph::new();
    let x = graph.placeholder("x", [8, 16], DType::F32);
    let labels = graph.placeholder("labels", [8], DType::I32);
    let hidden = graph.scope("fc1").linear(x, 33).tanh();
    let hidden = graph.scope("fc2").linear(hidden, 17).gelu();
    let logits = graph.scope("fc3").linear(hidden, 10);
    let loss = logits.softmax_cross_entropy_ignoring(labels, IGNORED);
    let parts = ["weight", "bias"].map(|part| [1, 2, 3].map(|layer| format!("fc{layer}/{part}")));
    let names: Vec<String> = parts.concat();
    let of: Vec<Tensor<'_>> = names.iter().map(|name| graph.get_variable(name).unwrap()).collect();
    let slopes: Vec<Tensor<'_>> = gradients(loss, &of).into_iter().flatten().collect();
    assert_eq!(slopes.len(), names.len());
    let step = Optimizer::adam(1e-2).clip_global_norm(1.0).minimize(loss);
    let def = graph.finish().unwrap();
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
    assert_eq!(plan.dispatches().len(), 13, "{plan}");
    let together = "softmax_cross_entropy_gradient";
    let carried = |info: &DispatchInfo| {
        info.operations.contains("softmax_cross_entropy, ") && info.operations.ends_with(together)
    };
    assert!(plan.dispatches().iter().any(carried), "{plan}");
    let asking = session.compile(&graph, &[&[loss], &slopes[..]].concat(), &[]).unwrap();
    session.initialize_missing(3).unwrap();
    let mut twin = Reference::new(&def);
    for variable in &def.variables {
        twin.assign(&variable.name, &session.read(&variable.name).unwrap());
    }
    let xs: Vec<f32> = (0..8 * 16).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    // One that counts, some, and all.
    for counted in [1, 5, 8] {
        let label = |row: i32| if row * 3 % 8 < counted { row * 7 % 10 } else { IGNORED };
        let ys: Vec<i32> = (0..8).map(label).collect();
        assert_eq!(ys.iter().filter(|&&label| label != IGNORED).count() as i32, counted);
        twin.feed("x", &TensorData::new([8, 16], xs.clone()).unwrap());
        twin.feed("labels", &TensorData::new([8], ys.clone()).unwrap());
        let feeds = [("x", (&xs).into()), ("labels", (&ys).into())];
        let outputs = session.run(&asking, &feeds).unwrap();
        let ids: Vec<_> = slopes.iter().map(|slope| slope.id()).collect();
        let expected = twin.run(&ids).unwrap();
        for ((name, slope), expected) in names.iter().zip(&slopes).zip(expected) {
            let found = outputs.tensor(*slope).unwrap().to_f64();
            for (at, (found, twins)) in found.iter().zip(&expected.elements).enumerate() {
                let what = format!("{name}, {at}, {counted} rows: {found}, and the twin's {twins}");
                assert!((found - twins).abs() < 1e-5, "{what}");
            }
            // The first, the last and one between.
            let value = session.read(name).unwrap();
            let own = value.as_f32().unwrap().to_vec();
            for at in [0, own.len() / 3, own.len() - 1] {
                let mut loss_at = |moved: f32| {
                    let mut elements = own.clone();
                    elements[at] += moved;
                    twin.assign(name, &TensorData::new(value.shape(), elements.clone()).unwrap());
                    let loss = twin.run(&[loss.id()]).unwrap()[0].elements[0];
                    (f64::from(elements[at]), loss)
                };
                let [(before, low), (after, high)] = [-1e-2, 1e-2].map(&mut loss_at);
                let (found, slope) = (found[at], (high - low) / (after - before));
                let what = format!("{name}, {at}, {counted} rows: {found}, and a slope of {slope}");
                assert!((found - slope).abs() < 1e-4, "{what}");
            }
            twin.assign(name, &value);
        }
        // And a step with them.
        let found = session.run(&plan, &feeds).unwrap().scalar(loss).unwrap();
        let expected = twin.run(&[loss.id(), step.update.id()]).unwrap()[0].elements[0];
        assert!((f64::from(found) - expected).abs() < 1e-5, "{found}, and the twin's {expected}");
        for name in &names {
            let found = session.read(name).unwrap().to_f64();
            let expected = &twin.variable(name).unwrap().elements;
            for (at, (found, twins)) in found.iter().zip(expected).enumerate() {
                // Adam divides small slopes by their own size: a last bit of one is more of a step.
                assert!(
                    (found - twins).abs() < 1e-4,
                    "{name}, {at}: {found}, and the twin's {twins}"
                );
            }
            twin.assign(name, &session.read(name).unwrap());
        }
    }
}

/// A product's kernel stores all that is asked for of what it computes, element by element.
#[test]
fn a_product_stores_what_its_activation_reads() {
    for (rows, inner, columns) in [(1, 33, 65), (33, 70, 9), (5, 40, 1), (64, 64, 64), (40, 1, 33)]
    {
        let graph = Graph::new();
        let x = graph.placeholder("x", [rows, inner], DType::F32);
        let weight = graph.placeholder("weight", [inner, columns], DType::F32);
        let bias = graph.placeholder("bias", [columns], DType::F32);
        let hidden = x.matmul(weight) + bias;
        let (gelu, product) = (hidden.gelu(), x.matmul(weight));
        let turned = gelu.reshape([columns, rows]) * 2.0;
        assert_eq!(dispatches(&graph, &[gelu, hidden]), ["matmul+add+gelu"]);
        assert_eq!(dispatches(&graph, &[turned, product, hidden, gelu]).len(), 1);
        // What an activation's gradient needs, and what dropout's does.
        let dropped = hidden.silu().dropout(&format!("of {rows}"), 0.25);
        let slope = gradients((dropped * bias).sum_all(), &[hidden])[0].unwrap();
        let found = dispatches(&graph, &[dropped, slope]);
        assert_eq!((found.len(), &found[0][..6]), (2, "matmul"), "{found:?}");
        let slope = gradients((gelu.matmul_with(weight, false, true)).sum_all(), &[x]);
        let found = dispatches(&graph, &[gelu.matmul_with(weight, false, true), slope[0].unwrap()]);
        assert_eq!(found.iter().filter(|all| *all == "matmul+add+gelu").count(), 1, "{found:?}");
    }
}

#[test]
fn what_is_not_stored_on_the_way() {
    let count = |build: &dyn for<'g> Fn(Tensor<'g>, Tensor<'g>) -> Vec<Tensor<'g>>| {
        let graph = Graph::new();
        let [x, y] = ["x", "second"].map(|name| graph.placeholder(name, [33, 33], DType::F32));
        dispatches(&graph, &build(x, y)).len()
    };
    // Two functions of elements are one kernel.
    assert_eq!(count(&|x, _| vec![x.exp(), x.exp().tanh()]), 1);
    // What another kernel needs before.
    let before = count(&|x, y| {
        let product = x.matmul(y);
        vec![product, product.tanh() * product.sum_keep_dims(&[1])]
    });
    assert_eq!(before, 3);
    // What is read elsewhere than where it is written.
    assert_eq!(count(&|x, _| vec![x.exp(), x.exp() + x.exp().transpose(&[1, 0])]), 2);
    // The second of two products: a kernel has one.
    let gated = count(&|x, y| {
        let (gate, value) = (x.matmul(y), y.matmul(x));
        vec![gate, value, gate * value]
    });
    assert_eq!(gated, 2);
}

/// What an optimizer reads lies in one buffer, which no kernel may read and write.
#[test]
fn gradients_of_gradients_in_the_packed_buffer_have_their_own_dispatch() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [8, 5], DType::F32);
    let labels = graph.placeholder("labels", [8], DType::I32);
    let logits = graph.scope("fc").linear(x, 3);
    // The gradient of this variable is what the others are computed from.
    let offset = graph.variable("offset", [8, 3], Initializer::Ones);
    let loss = (logits + offset).softmax_cross_entropy(labels);
    let step = Optimizer::sgd(0.5).minimize(loss);
    let def = graph.finish().unwrap();
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
    session.initialize_missing(3).unwrap();
    let mut reference = Reference::new(&def);
    for variable in &def.variables {
        reference.assign(&variable.name, &session.read(&variable.name).unwrap());
    }
    let xs: Vec<f32> = (0..40).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let ys: Vec<i32> = (0..8).map(|i| i % 3).collect();
    for _ in 0..3 {
        session.run(&plan, &[("x", (&xs).into()), ("labels", (&ys).into())]).unwrap();
        reference.feed("x", &TensorData::new([8, 5], xs.clone()).unwrap());
        reference.feed("labels", &TensorData::new([8], ys.clone()).unwrap());
        reference.run(&[step.update.id()]).unwrap();
    }
    for variable in &def.variables {
        let found = session.read(&variable.name).unwrap().to_f64();
        let expected = &reference.variable(&variable.name).unwrap().elements;
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{}: {found}, not {expected}", variable.name);
        }
    }
    assert!(!plan.to_string().contains(", s"), "{plan}");
}
