//! Mistakes: each is reported with its place, all together, and none of them panics.

mod mistakes;

use mistakes::{at, errors};
use warmstart_graph::{
    DType, Graph, GraphError, Initializer, NodeId, Optimizer, Problem, Schedule, Shape, TensorData,
    global_norm, gradients,
};

#[test]
fn several_mistakes_are_reported_together_and_none_twice() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [4, 3], DType::F32);
    let wrong = x + graph.constant(TensorData::new([2], [1.0f32, 2.0]).unwrap());
    let first = line!() - 1;
    // What is built on an invalid tensor is no second mistake.
    let after = wrong.relu().matmul(x).slice(7, 2, 1).reshape([9]).sum(&[5]).mean(&[4]);
    let after = after.dropout("d", 0.5).concat(&[x], 8).transpose(&[3]).cast(DType::I32);
    let after = graph.scope("after").linear(after, 3).huber(x, 1.0).accuracy(x);
    let _ = gradients(after, &[x, wrong]);
    let _ = Optimizer::adam(0.1).minimize(after);
    let _ = x.assign_to(wrong);
    let _ = wrong.softmax_cross_entropy_probabilities(x);
    let scope = graph.scope("outer").scope("inner");
    let _ = scope.linear(x, 5).matmul(x);
    let second = line!() - 1;
    let [add, matmul] = errors(&graph);
    at(&add, first, "add", "");
    let shapes = Problem::Broadcast { left: Shape::from([4, 3]), right: Shape::from([2]) };
    assert_eq!(add.problem, shapes);
    at(&matmul, second, "matmul", "outer/inner");
    let Problem::MatMul { left, right, left_inner, right_inner } = &matmul.problem else {
        panic!("{matmul}")
    };
    assert_eq!((left.to_string(), right.to_string()), ("[4, 5]".into(), "[4, 3]".into()));
    assert_eq!((*left_inner, *right_inner), (5, 4));
    let text = graph.finish().unwrap_err().to_string();
    let expected = format!(
        "the graph has 2 errors\n  {0}:{first}: add: shapes [4, 3] and [2] do not broadcast; \
         extents must be equal or 1, aligned at the last dimension\n  {0}:{second}: matmul in scope \
         `outer/inner`: cannot multiply [4, 5] by [4, 3]: the first has 5 columns, the second 4 \
         rows; make them equal, or transpose one",
        file!()
    );
    assert_eq!(text, expected);
}

/// One mistake on one line gives one error of the expected kind, at that line.
macro_rules! refused {
    ($(#[$doc:meta])* $name:ident, $operation:expr, $scope:expr, |$graph:ident| $body:expr, $problem:pat $(if $guard:expr)?) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            let owned = Graph::new();
            let $graph = &owned;
            let line = line!();
            let _ = $body;
            let [error] = errors(&owned);
            // The mistake is somewhere in the lines of the macro's own call.
            assert!((line..line + 12).contains(&error.location.line), "{error}, not {line}");
            at(&error, error.location.line, $operation, $scope);
            assert!(matches!(&error.problem, $problem $(if $guard)?), "{error}");
        }
    };
}

#[track_caller]
fn float<'g, const N: usize>(
    graph: &'g Graph,
    name: &str,
    shape: [usize; N],
) -> warmstart_graph::Tensor<'g> {
    graph.placeholder(name, shape, DType::F32)
}

#[track_caller]
fn labels<'g, const N: usize>(graph: &'g Graph, shape: [usize; N]) -> warmstart_graph::Tensor<'g> {
    graph.placeholder("labels", shape, DType::I32)
}

refused!(
    dtype_of_unary,
    "exp",
    "",
    |g| labels(g, [3]).exp(),
    Problem::DType { found: DType::I32, .. }
);
refused!(
    dtype_of_binary,
    "add",
    "",
    |g| float(g, "x", [3]) + labels(g, [3]),
    Problem::DType { found: DType::I32, .. }
);
refused!(
    dtype_of_division,
    "div",
    "",
    |g| labels(g, [3]) / g.constant(2i32),
    Problem::DType { .. }
);
refused!(
    cast_to_a_storage_type,
    "cast",
    "",
    |g| float(g, "x", [3]).cast(DType::I32).cast(DType::F16),
    Problem::DType { found: DType::I32, .. }
);
refused!(scalar_operand_of_a_product, "matmul", "", |g| float(g, "x", []).matmul(float(g, "y", [2, 2])), Problem::Rank { found, .. } if found.rank() == 0);
refused!(
    batches_of_a_product,
    "matmul",
    "",
    |g| float(g, "x", [2, 3, 4]).matmul(float(g, "y", [5, 4, 3])),
    Problem::Broadcast { .. }
);
refused!(
    linear_of_a_scalar,
    "matmul",
    "fc",
    |g| g.scope("fc").linear(float(g, "x", []), 2),
    Problem::Rank { .. }
);
refused!(axis_of_a_sum, "sum", "", |g| float(g, "x", [3]).sum(&[1]), Problem::Axis { axis: 1, shape } if shape[..] == [3]);
refused!(
    axis_given_twice,
    "sum",
    "",
    |g| float(g, "x", [3, 4]).mean(&[1, 1]),
    Problem::AxisTwice { axis: 1 }
);
refused!(
    axis_of_a_slice,
    "slice",
    "",
    |g| float(g, "x", [3]).slice(1, 0, 1),
    Problem::Axis { axis: 1, .. }
);
refused!(
    axis_of_a_concat,
    "concat",
    "",
    |g| float(g, "x", [3]).concat(&[], 2),
    Problem::Axis { axis: 2, .. }
);
refused!(
    axes_of_a_transposition,
    "transpose",
    "",
    |g| float(g, "x", [3, 2]).transpose(&[1, 1]),
    Problem::AxisTwice { axis: 1 }
);
refused!(
    too_few_axes_of_a_transposition,
    "transpose",
    "",
    |g| float(g, "x", [3, 2]).transpose(&[0]),
    Problem::Entries { argument: "permutation", .. }
);
refused!(reshape, "reshape", "", |g| float(g, "x", [3, 2]).reshape([7]), Problem::Reshape { from, to } if from[..] == [3, 2] && to[..] == [7]);
refused!(broadcast_to, "broadcast_to", "", |g| float(g, "x", [3, 2]).broadcast_to([3]), Problem::BroadcastTo { from, to } if from[..] == [3, 2] && to[..] == [3]);
refused!(slice_past_the_end, "slice", "", |g| float(g, "x", [3]).slice(0, 2, 4), Problem::Slice { axis: 0, start: 2, end: 4, shape } if shape[..] == [3]);
refused!(
    slice_backwards,
    "slice",
    "",
    |g| float(g, "x", [3]).slice(0, 2, 1),
    Problem::Slice { axis: 0, start: 2, end: 1, .. }
);
refused!(
    slice_that_overflows,
    "slice",
    "",
    |g| float(g, "x", [3]).slice_box(&[usize::MAX], [2]),
    Problem::Slice { .. }
);
refused!(
    pad_that_overflows,
    "pad",
    "",
    |g| float(g, "x", [3]).pad(&[usize::MAX], [5]),
    Problem::Slice { .. }
);
refused!(
    pad_of_another_rank,
    "pad",
    "",
    |g| float(g, "x", [3]).pad(&[0, 0], [5, 5]),
    Problem::Rank { .. }
);
refused!(parts_of_a_concat, "concat", "", |g| float(g, "x", [3, 2]).concat(&[float(g, "y", [3, 4])], 0), Problem::Shape { expected, found, .. } if expected[..] == [3, 2] && found[..] == [3, 4]);
refused!(shape_of_labels, "softmax_cross_entropy", "", |g| float(g, "x", [3, 2]).softmax_cross_entropy(labels(g, [3, 1])), Problem::Shape { expected, found, .. } if expected[..] == [3] && found[..] == [3, 1]);
refused!(
    /// They would broadcast, and the accuracy be wrong without a word.
    shape_of_labels_of_an_accuracy, "accuracy", "", |g| float(g, "x", [3, 2]).accuracy(labels(g, [3, 1])), Problem::Shape { expected, found, .. } if expected[..] == [3] && found[..] == [3, 1]);
refused!(
    shape_of_probabilities,
    "softmax_cross_entropy_probabilities",
    "",
    |g| float(g, "x", [3, 2]).softmax_cross_entropy_probabilities(float(g, "p", [2])),
    Problem::Shape { .. }
);
refused!(
    dtype_of_indices,
    "gather_rows",
    "",
    |g| float(g, "x", [3, 2]).gather_rows(float(g, "i", [2])),
    Problem::DType { found: DType::F32, .. }
);
refused!(
    rows_of_a_scalar,
    "gather_rows",
    "",
    |g| float(g, "x", []).gather_rows(labels(g, [2])),
    Problem::Rank { .. }
);
refused!(softmax_of_a_scalar, "softmax", "", |g| float(g, "x", []).softmax(), Problem::Rank { .. });
refused!(
    layer_norm_of_a_scalar,
    "layer_norm",
    "ln",
    |g| g.scope("ln").layer_norm(float(g, "x", []), 1e-5),
    Problem::Rank { .. }
);
refused!(
    layer_norm_of_nothing,
    "layer_norm",
    "ln",
    |g| g.scope("ln").layer_norm(float(g, "x", [3, 0]), 1e-5),
    Problem::Rank { .. }
);
refused!(gamma_of_a_layer_norm, "layer_norm", "", |g| float(g, "x", [3, 2]).layer_norm(float(g, "g", [3]), float(g, "b", [2]), 1e-5), Problem::Shape { what, expected, found } if what == "gamma" && expected[..] == [2] && found[..] == [3]);
refused!(beta_of_a_layer_norm, "layer_norm", "", |g| float(g, "x", [3, 2]).layer_norm(float(g, "g", [2]), float(g, "b", [1, 2]), 1e-5), Problem::Shape { what, found, .. } if what == "beta" && found[..] == [1, 2]);
refused!(
    dtype_of_a_layer_norm,
    "layer_norm",
    "",
    |g| float(g, "x", [3, 2]).layer_norm(labels(g, [2]), float(g, "b", [2]), 1e-5),
    Problem::DType { found: DType::I32, .. }
);
refused!(
    epsilon_below_zero,
    "layer_norm",
    "ln",
    |g| g.scope("ln").layer_norm(float(g, "x", [3, 2]), -1e-5),
    Problem::Range { .. }
);
refused!(
    epsilon_that_is_no_number,
    "layer_norm",
    "ln",
    |g| g.scope("ln").layer_norm(float(g, "x", [3, 2]), f32::NAN),
    Problem::Range { .. }
);
refused!(argmax_of_nothing, "argmax", "", |g| float(g, "x", [3, 0]).argmax(), Problem::Rank { .. });
refused!(
    rate_of_dropout,
    "dropout",
    "",
    |g| float(g, "x", [3]).dropout("d", 1.0),
    Problem::Range { value: 1.0, .. }
);
refused!(
    rate_of_dropout_that_is_no_number,
    "dropout",
    "",
    |g| float(g, "x", [3]).dropout("d", f32::NAN),
    Problem::Range { .. }
);
refused!(
    label_smoothing,
    "softmax_cross_entropy",
    "",
    |g| float(g, "x", [3, 2]).softmax_cross_entropy_smoothed(labels(g, [3]), 1.5),
    Problem::Range { value: 1.5, .. }
);
refused!(
    delta_of_huber,
    "huber",
    "",
    |g| float(g, "x", [3]).huber(float(g, "y", [3]), 0.0),
    Problem::Range { .. }
);
refused!(
    slope_that_cannot_be_stored,
    "leaky_relu",
    "",
    |g| float(g, "x", [3]).leaky_relu(f32::INFINITY),
    Problem::Range { .. }
);
refused!(too_many_elements, "placeholder", "", |g| float(g, "x", [1 << 16, 1 << 16]), Problem::TooLarge { shape } if shape[..] == [1 << 16, 1 << 16]);
refused!(
    elements_that_overflow,
    "broadcast_to",
    "",
    |g| float(g, "x", []).broadcast_to([usize::MAX, 2]),
    Problem::TooLarge { .. }
);
refused!(
    extents_that_overflow_beside_a_zero,
    "placeholder",
    "",
    |g| float(g, "x", [usize::MAX, usize::MAX, 0]).mean(&[0, 1]),
    Problem::TooLarge { .. }
);
refused!(
    variable_with_too_many_elements,
    "variable",
    "a",
    |g| g.scope("a").variable("v", [usize::MAX, 3], Initializer::Zeros),
    Problem::TooLarge { .. }
);
refused!(empty_name, "variable", "a", |g| g.scope("a").variable("", [2], Initializer::Zeros), Problem::Name { name } if name == "a/");
refused!(
    empty_scope,
    "variable",
    "a//b",
    |g| g.scope("a//b").variable("c", [2], Initializer::Zeros),
    Problem::Name { .. }
);
refused!(
    reserved_name,
    "variable",
    "",
    |g| g.variable("__metadata__", [2], Initializer::Zeros),
    Problem::Name { .. }
);
refused!(tensorflow_output_name, "placeholder", "", |g| float(g, "x:0", [2]), Problem::Name { .. });
refused!(control_character, "placeholder", "", |g| float(g, "x\n", [2]), Problem::Name { .. });
refused!(initializer_of_another_size, "variable", "", |g| g.variable("v", [3], Initializer::Values(vec![1.0])), Problem::Initializer { name, .. } if name == "v");
refused!(
    loss_of_integers,
    "gradients",
    "",
    |g| gradients(labels(g, []), &[]),
    Problem::DType { .. }
);
refused!(loss_that_is_not_a_scalar, "gradients", "a", |g| Optimizer::sgd(0.1).minimize(g.scope("a").linear(float(g, "x", [2, 3]), 4)), Problem::LossNotScalar { shape } if shape[..] == [2, 4]);
refused!(
    nothing_to_train,
    "minimize",
    "",
    |g| Optimizer::sgd(0.1).minimize(float(g, "x", [2]).sum_all()),
    Problem::NothingToTrain
);
refused!(
    frozen_is_nothing_to_train,
    "minimize",
    "",
    |g| Optimizer::sgd(0.1)
        .minimize(g.root().frozen().variable("v", [2], Initializer::Ones).sum_all()),
    Problem::NothingToTrain
);
refused!(
    limit_of_the_norm,
    "minimize",
    "",
    |g| Optimizer::sgd(0.1)
        .clip_global_norm(0.0)
        .minimize(g.variable("v", [2], Initializer::Ones).sum_all()),
    Problem::Range { value: 0.0, .. }
);
refused!(
    beta_of_one,
    "minimize",
    "",
    |g| Optimizer::adam(0.1)
        .betas(0.9, 1.0)
        .minimize(g.variable("v", [2], Initializer::Ones).sum_all()),
    Problem::Range { value: 1.0, .. }
);
refused!(
    momentum_that_is_no_number,
    "minimize",
    "",
    |g| Optimizer::sgd(0.1)
        .momentum(f32::NAN)
        .minimize(g.variable("v", [2], Initializer::Ones).sum_all()),
    Problem::Range { .. }
);
refused!(
    factor_below_zero,
    "schedule",
    "sgd",
    |g| Optimizer::sgd(Schedule::step(0.1, 2, -0.5))
        .minimize(g.variable("v", [2], Initializer::Ones).sum_all()),
    Problem::Range { .. }
);
refused!(
    learning_rate_that_is_no_number,
    "schedule",
    "sgd",
    |g| Optimizer::sgd(Schedule::cosine(f32::NAN, 0.0, 5).warm_up(3))
        .minimize(g.variable("v", [2], Initializer::Ones).sum_all()),
    Problem::Range { .. }
);
refused!(
    nesterov_without_momentum,
    "minimize",
    "",
    |g| Optimizer::sgd(0.1).nesterov().minimize(g.variable("v", [2], Initializer::Ones).sum_all()),
    Problem::Range { value: 0.0, .. }
);
refused!(
    momentum_of_adam,
    "minimize",
    "",
    |g| Optimizer::adam(0.1)
        .momentum(0.9)
        .minimize(g.variable("v", [2], Initializer::Ones).sum_all()),
    Problem::OptimizerSetting { setting, optimizer: "adam", .. } if setting == "momentum"
);
refused!(
    nesterov_of_adamw,
    "minimize",
    "",
    |g| Optimizer::adamw(0.1)
        .nesterov()
        .minimize(g.variable("v", [2], Initializer::Ones).sum_all()),
    Problem::OptimizerSetting { setting, optimizer: "adamw", .. } if setting == "nesterov"
);
refused!(
    betas_of_sgd,
    "minimize",
    "",
    |g| Optimizer::sgd(0.1)
        .betas(0.9, 0.99)
        .minimize(g.variable("v", [2], Initializer::Ones).sum_all()),
    Problem::OptimizerSetting { setting, optimizer: "sgd", .. } if setting == "betas"
);
refused!(
    epsilon_of_sgd,
    "minimize",
    "",
    |g| Optimizer::sgd(0.1)
        .epsilon(1e-7)
        .minimize(g.variable("v", [2], Initializer::Ones).sum_all()),
    Problem::OptimizerSetting { setting, optimizer: "sgd", .. } if setting == "epsilon"
);
refused!(assignment_to_an_expression, "assign", "", |g| float(g, "x", []).assign_to(g.constant(1.0f32)), Problem::NotAVariable { operation } if operation == "constant");
refused!(shape_of_an_assignment, "assign", "", |g| float(g, "x", [3]).assign_to(g.variable("v", [2], Initializer::Ones)), Problem::Shape { expected, found, .. } if expected[..] == [2] && found[..] == [3]);
refused!(
    dtype_of_an_assignment,
    "assign",
    "",
    |g| labels(g, [2]).assign_to(g.variable("v", [2], Initializer::Ones)),
    Problem::DType { found: DType::I32, .. }
);
refused!(
    dtype_of_a_norm,
    "global_norm",
    "",
    |g| global_norm(g, &[labels(g, [2])]),
    Problem::DType { .. }
);

#[test]
fn tensors_of_another_graph_are_refused() {
    let (graph, other) = (Graph::new(), Graph::new());
    let x = float(&graph, "x", []);
    // More nodes than the first graph has, so that an index of one leads nowhere in the other.
    let y = (0..9).fold(float(&other, "y", []), |y, _| y + 1.0);
    let v = other.variable("v", [], Initializer::Ones);
    let line = line!();
    let _ = x + y;
    let _ = gradients(x, &[y]);
    let _ = x.assign_to(v);
    let _ = x.assign_to(y);
    let _ = global_norm(&graph, &[x, y]);
    let _ = x.softmax_cross_entropy_probabilities(y);
    let found: [GraphError; 6] = errors(&graph);
    let operations = ["add", "gradients", "assign", "assign", "global_norm"];
    for (offset, (error, operation)) in found.iter().zip(operations).enumerate() {
        at(error, line + 1 + offset as u32, operation, "");
        assert_eq!(error.problem, Problem::ForeignTensor);
    }
    assert!(other.finish().is_ok());
}

#[test]
fn there_is_no_gradient_through_a_gradient_of_cross_entropy() {
    let graph = Graph::new();
    let x = float(&graph, "x", [4, 3]);
    let line = line!() + 1;
    let loss = x.softmax_cross_entropy(labels(&graph, [4]));
    let dx = gradients(loss, &[x])[0].unwrap();
    let weights = graph.variable("v", [3], Initializer::Ones);
    assert!(gradients(dx.sum_all(), &[x])[0].is_none());
    let [error] = errors(&graph);
    at(&error, line, "gradients", "");
    assert!(matches!(error.problem, Problem::NoGradient { .. }), "{error}");
    assert!(error.to_string().contains("softmax_cross_entropy_gradient"));
    let _ = weights;
}

/// Nodes and variables that an optimizer builds point at the line that asked for it, or at the
/// line of the forward operation: never into the library.
#[test]
fn everything_points_at_this_file() {
    let graph = Graph::new();
    let x = float(&graph, "x", [4, 3]);
    let y = graph.scope("fc").linear(x, 5).gelu().dropout("d", 0.1);
    let y = graph.scope("ln").layer_norm(y, 1e-5);
    let table = graph.scope("table").embedding(labels(&graph, [4]), 7, 5);
    let loss = (y.huber(table, 1.0) + y.log_softmax().reduce_max(&[0, 1])).named("loss");
    let schedule = Schedule::cosine(0.1, 0.0, 50).warm_up(5).then(20, Schedule::step(0.1, 3, 0.5));
    let schedule = schedule.then(70, Schedule::exponential(0.1, 3, 0.5));
    let line = line!() + 1;
    let step = Optimizer::adamw(schedule).clip_global_norm(1.0).minimize(loss);
    let def = graph.finish().unwrap();
    let of = |id: NodeId| &def.node(id).location;
    assert_eq!((of(step.update.id()).line, of(step.learning_rate.id()).line), (line, line));
    for (at, node) in def.nodes.iter().enumerate() {
        assert_eq!(node.location.file, file!(), "node {at}, {}", node.op.name());
    }
    for variable in &def.variables {
        assert_eq!(variable.location.file, file!(), "{}", variable.name);
        let slot = matches!(variable.role, warmstart_graph::Role::Slot { .. });
        assert_eq!(variable.location.line == line, slot, "{}", variable.name);
    }
}

#[test]
fn stored_damage_is_a_problem_too() {
    let graph = Graph::new();
    let _ = float(&graph, "x", [3]).relu();
    let mut def = graph.finish().unwrap();
    def.nodes[1].inputs = vec![NodeId(1)];
    let [error] = def.validate().unwrap_err().0.try_into().unwrap();
    at(&error, line!() - 4, "relu", "");
    assert!(matches!(error.problem, Problem::Damaged { .. }), "{error}");
}
