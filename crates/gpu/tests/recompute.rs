//! Values that are computed again for the gradient: less memory, and not a bit different.

mod common;

use warmstart_gpu::{Gpu, Plan, Session};
use warmstart_graph::reference::Reference;
use warmstart_graph::{
    DType, Graph, GraphDef, Initializer, NodeId, Op, Optimizer, Tensor, TensorData, TrainStep,
};

const BATCH: usize = 256;
const UNITS: usize = 32;

/// Blocks of layers with dropout, marked or not.
fn deep<'g>(
    graph: &'g Graph,
    blocks: usize,
    layers: usize,
    marked: bool,
) -> (Tensor<'g>, TrainStep<'g>) {
    graph.set_seed(11);
    let mut x = graph.placeholder("x", [BATCH, UNITS], DType::F32);
    let labels = graph.placeholder("labels", [BATCH], DType::I32);
    for number in 0..blocks {
        let block = graph.scope(&format!("block_{number}"));
        let build = |block: &warmstart_graph::Scope<'g>| {
            (0..layers).fold(x, |x, layer| {
                let hidden = block.scope(&format!("fc_{layer}")).linear(x, UNITS).relu();
                if layer == 1 { hidden.dropout(block.path(), 0.1) } else { hidden }
            })
        };
        x = if marked { block.recompute(build) } else { build(&block) };
    }
    let loss = graph.scope("out").linear(x, 10).softmax_cross_entropy(labels).mean_all();
    (loss, Optimizer::adam(1e-2).clip_global_norm(1.0).minimize(loss))
}

fn feeds() -> (TensorData, TensorData) {
    let value = |index: usize| ((index * 37 % 101) as f32 - 50.0) / 50.0;
    let x: Vec<f32> = (0..BATCH * UNITS).map(value).collect();
    let labels: Vec<i32> = (0..BATCH as i32).map(|row| row * 7 % 10).collect();
    (TensorData::new([BATCH, UNITS], x).unwrap(), TensorData::new([BATCH], labels).unwrap())
}

/// The losses of some steps, all variables after them, and the plan.
fn trained(
    gpu: &Gpu,
    graph: &Graph,
    loss: Tensor<'_>,
    step: &TrainStep<'_>,
) -> (Vec<u32>, Vec<Vec<u8>>, Plan) {
    let mut session = Session::new(gpu);
    let plan = session.compile(graph, &[loss], &[step.update]).unwrap();
    session.initialize_missing(3).unwrap();
    let (x, labels) = feeds();
    let losses = (0..4).map(|_| {
        let feeds = [("x", (&x).into()), ("labels", (&labels).into())];
        session.run(&plan, &feeds).unwrap().scalar(loss).unwrap().to_bits()
    });
    let losses = losses.collect();
    let variables = session.variables();
    let bytes = variables.iter().map(|info| common::bytes_of(&session, info.name())).collect();
    (losses, bytes, plan)
}

#[test]
fn twelve_layers_take_less_memory_and_train_to_the_same_bits() {
    let gpu = common::gpu();
    let (plain, marked) = (Graph::new(), Graph::new());
    let (loss, step) = deep(&plain, 4, 3, false);
    let (losses, variables, plan) = trained(&gpu, &plain, loss, &step);
    let (marked_loss, marked_step) = deep(&marked, 4, 3, true);
    let (marked_losses, marked_variables, marked_plan) =
        trained(&gpu, &marked, marked_loss, &marked_step);
    assert_eq!(losses, marked_losses);
    assert!(losses[0] != losses[3], "it trains");
    assert_eq!(variables, marked_variables);
    let (all, less) = (plan.memory(), marked_plan.memory());
    assert!(less.values_least * 3 <= all.values_least * 2, "{marked_plan}\n\n{plan}");
    assert!(less.values * 3 <= all.values * 2, "{marked_plan}\n\n{plan}");
    // Nothing is dispatched but the forward pass of each block once more, without its last layer.
    let products = |plan: &Plan| {
        plan.dispatches().iter().filter(|info| info.operations.contains("matmul")).count()
    };
    assert_eq!(products(&marked_plan), products(&plan) + 4 * 2, "{marked_plan}");
    assert!(
        !marked_plan.to_string().contains("control_dependency"),
        "it is no operation of a device: {marked_plan}"
    );
}

/// What a block reads without computing anything first, and what is asked for besides the loss.
#[test]
fn blocks_of_leaves_and_fetches_from_within() {
    let build = |marked: bool| {
        let graph = Graph::new();
        let table = graph.variable("table", [6, 4], Initializer::Normal { mean: 0.0, stddev: 1.0 });
        let rows = graph.placeholder("rows", [5], DType::I32);
        let scale = graph.placeholder("scale", [4], DType::F32);
        let root = graph.root();
        let block = |_: &warmstart_graph::Scope<'_>| {
            let picked = table.gather_rows(rows).tanh().named("picked");
            let residual = picked * scale + picked.sigmoid();
            (residual.silu() + picked).named("out")
        };
        let out = if marked { root.recompute(block) } else { block(&root) };
        let loss = (out * scale.stop_gradient()).square().sum_all().named("loss");
        let all = warmstart_graph::gradients(loss, &[table, scale]);
        all[0].unwrap().named("table_gradient");
        all[1].unwrap().named("scale_gradient");
        // A gradient that is nothing but what entered the block.
        let product = root.recompute(|_| scale * table.slice(0, 0, 1).reshape([4])).sum_all();
        let alone = warmstart_graph::gradients(product, &[table]);
        alone[0].unwrap().named("alone");
        (scale * 0.5).assign_to(root.state_of("copy", [4], DType::F32, Initializer::Zeros));
        graph.finish().unwrap()
    };
    let names = ["loss", "picked", "out", "table_gradient", "scale_gradient", "alone"];
    let values = |def: GraphDef| {
        let ids: Vec<NodeId> = names.iter().map(|&name| def.names[name]).collect();
        let mut reference = Reference::new(&def);
        let rows = TensorData::new([5], [0i32, 3, 3, 5, 1]).unwrap();
        let scale = TensorData::new([4], [0.5f32, -1.5, 2.0, 1.0]).unwrap();
        reference.feed("rows", &rows);
        reference.feed("scale", &scale);
        let graph = Graph::from_def(def.clone()).unwrap();
        let mut session = Session::new(&common::gpu());
        let fetches: Vec<Tensor<'_>> = names.iter().map(|&n| graph.named(n).unwrap()).collect();
        let plan = session.compile(&graph, &fetches, &[]).unwrap();
        session.initialize_missing(8).unwrap();
        reference.assign("table", &session.read("table").unwrap());
        let expected = reference.run(&ids).unwrap();
        let feeds = [("rows", (&rows).into()), ("scale", (&scale).into())];
        let outputs = session.run(&plan, &feeds).unwrap();
        for ((name, expected), &fetch) in names.iter().zip(&expected).zip(&fetches) {
            let found = outputs.tensor(fetch).unwrap().to_f64();
            for (found, expected) in found.iter().zip(&expected.elements) {
                let near = (found - expected).abs() <= 1e-5 * expected.abs().max(1.0);
                assert!(near, "{name}: {found} and not {expected}");
            }
        }
        expected
    };
    let (plain, marked) = (build(false), build(true));
    assert!(marked.nodes.iter().any(|node| node.op == Op::ControlDependency));
    assert_eq!(values(marked), values(plain));
}

/// Two optimizers ask for gradients one after the other: a block is still computed again only once.
#[test]
fn several_optimizers_share_what_is_computed_again() {
    let dispatches = |apart: bool| {
        let graph = Graph::new();
        let x = graph.placeholder("x", [BATCH, UNITS], DType::F32);
        let loss = graph.scope("block").recompute(|block| {
            let hidden = block.scope("fc_0").linear(x, UNITS).gelu();
            block.scope("fc_1").linear(hidden, UNITS).gelu()
        });
        let loss = loss.square().mean_all();
        let updates = if apart {
            let first = |name: &str| name.contains("fc_0");
            let one = Optimizer::sgd(0.1).minimize_where(loss, |v| first(&v.name)).update;
            let other =
                Optimizer::sgd(0.1).named("o").minimize_where(loss, |v| !first(&v.name)).update;
            vec![one, other]
        } else {
            vec![Optimizer::sgd(0.1).minimize(loss).update]
        };
        let mut session = Session::new(&common::gpu());
        let plan = session.compile(&graph, &[loss], &updates).unwrap();
        let all = plan.dispatches();
        all.iter().filter(|info| info.operations.contains("matmul")).count()
    };
    assert_eq!(dispatches(true), dispatches(false));
}
