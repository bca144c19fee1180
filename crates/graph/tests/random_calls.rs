//! Random calls with random arguments, mostly wrong: nothing panics, and what is accepted works.

mod ones;

use ones::give_ones;
use proptest::collection::vec;
use proptest::prelude::*;
use warmstart_graph::reference::{Reference, ReferenceError};
use warmstart_graph::{
    DType, Graph, GraphDef, Initializer, NodeId, Optimizer, Problem, Schedule, Tensor, TensorData,
    global_norm, gradients,
};

/// One call: which, on which tensors, with which numbers.
#[derive(Clone, Debug)]
struct Call {
    what: u8,
    on: [usize; 3],
    numbers: Vec<usize>,
    more: Vec<usize>,
    real: f32,
}

/// Mostly small, sometimes absurd.
fn number() -> impl Strategy<Value = usize> {
    prop_oneof![
        40 => 0usize..4,
        4 => 4usize..9,
        1 => Just(usize::MAX),
        1 => Just(1usize << 33),
        1 => Just(usize::MAX / 2 + 1)
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let real = prop_oneof![
        6 => -1.0f32..2.0,
        1 => Just(f32::NAN),
        1 => Just(f32::INFINITY),
        1 => Just(0.0f32)
    ];
    (0u8..64u8, any::<[usize; 3]>(), vec(number(), 0..4), vec(number(), 0..4), real)
        .prop_map(|(what, on, numbers, more, real)| Call { what, on, numbers, more, real })
}

const DTYPES: [DType; 5] = [DType::F32, DType::I32, DType::U32, DType::F16, DType::Bf16];

fn make<'g>(
    graph: &'g Graph,
    foreign: Tensor<'g>,
    pool: &[Tensor<'g>],
    call: &Call,
) -> Option<Tensor<'g>> {
    let pick = |at: usize| match call.on[at] {
        at if at % 97 == 0 => foreign,
        at => pool[at % pool.len()],
    };
    let (a, b, c) = (pick(0), pick(1), pick(2));
    let (numbers, more, real) = (&call.numbers[..], &call.more[..], call.real);
    let first = numbers.first().copied().unwrap_or(0);
    let second = more.first().copied().unwrap_or(1);
    let dtype = DTYPES[call.on[2] % DTYPES.len()];
    let name = ["a", "b", "c/d", "", "e:0", "global_step", "f"][call.on[1] % 7];
    Some(match call.what {
        0 => graph.placeholder(name, numbers, dtype),
        1 => graph.scope(name).variable("w", numbers, Initializer::Zeros),
        2 => graph.root().reuse().state_of(name, numbers, dtype, Initializer::Ones),
        3 => graph.constant(real),
        4 => graph.constant(first as u32),
        5 => graph.constant(-(first as i32 % 9)),
        6 => a + b,
        7 => a - b,
        8 => a * b,
        9 => a / b,
        10 => a.min(b),
        11 => a.max(b),
        12 => a.pow(b),
        13 => a.greater(b),
        14 => a.equal(b),
        15 => a.select(b, c),
        16 => a.cast(dtype),
        17 => a.stop_gradient(),
        18 => -a,
        19 => a.exp(),
        20 => a.log(),
        21 => a.relu(),
        22 => a.leaky_relu(real),
        23 => a.gelu(),
        24 => a.gelu_tanh(),
        25 => a.silu(),
        26 => a.softplus(),
        27 => a.matmul(b),
        28 => a.matmul_with(b, first % 2 == 0, second % 2 == 0),
        29 => a.sum(numbers),
        30 => a.sum_keep_dims(numbers),
        31 => a.sum_all(),
        32 => a.mean(numbers),
        33 => a.mean_all(),
        34 => a.reduce_max(numbers),
        35 => a.argmax(),
        36 => a.accuracy(b),
        37 => a.softmax(),
        38 => a.log_softmax(),
        39 => a.softmax_cross_entropy(b),
        40 => a.softmax_cross_entropy_smoothed(b, real),
        41 => a.softmax_cross_entropy_probabilities(b),
        42 => a.binary_cross_entropy_with_logits(b),
        43 => a.mean_squared_error(b),
        44 => a.huber(b, real),
        45 => a.reshape(numbers),
        46 => a.transpose(numbers),
        47 => a.broadcast_to(numbers),
        48 => a.slice(first, second, more.get(1).copied().unwrap_or(2)),
        49 => a.slice_box(numbers, more),
        50 => a.pad(numbers, more),
        51 => a.concat(&[b, c], first),
        52 => a.concat(&[], first),
        53 => a.gather_rows(b),
        54 => a.dropout(name, real),
        55 => global_norm(graph, &[a, b, c]),
        56 => graph.scope(name).linear(a, first),
        57 => graph.scope(name).embedding(a, first, second),
        58 => return gradients(a.sum_all(), &[b, c]).into_iter().flatten().next(),
        59 => return gradients(a, &[b]).into_iter().flatten().next(),
        60 => {
            let _ = a.named(name).assign_to(b);
            return None;
        }
        61 => a.layer_norm(b, c, real),
        62 => graph.scope(name).layer_norm(a, real),
        _ => {
            let schedule = Schedule::step(0.1, first as u64, real).warm_up(second as u64);
            let optimizer = Optimizer::adam(schedule).clip_global_norm(real).named(name);
            // Of anything with a variable in it, or of something that is no loss.
            let loss = if first % 2 == 0 { (a * pool[2]).sum_all() } else { a };
            let optimizer = if real > 1.0 { Optimizer::adam(real) } else { optimizer };
            return Some(optimizer.minimize(loss).gradient_norm);
        }
    })
}

/// Feeds ones and runs everything that is not too large for the twin.
fn run(def: &GraphDef) {
    let most = def.nodes.iter().map(|node| node.shape.elements()).max().unwrap_or(0);
    if most > 4000 {
        return;
    }
    let mut reference = Reference::new(def);
    give_ones(&mut reference, def, usize::MAX);
    // Of updates that write the same variable, the first.
    let mut all: Vec<NodeId> = Vec::new();
    for id in (0..def.nodes.len()).map(NodeId) {
        all.push(id);
        if let Err(errors) = def.check_updates(&all) {
            assert!(def.node(id).op.is_update(), "{errors}");
            assert_eq!(reference.run(&all), Err(ReferenceError::Graph(errors)));
            all.pop();
        }
    }
    let values = reference.run(&all).expect("every input has a value");
    for (value, node) in values.iter().zip(all.iter().map(|&id| def.node(id))) {
        assert_eq!(value.shape, node.shape, "{}", node.op.name());
        assert_eq!(value.elements.len(), node.shape.elements(), "{}", node.op.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_call_panics(calls in vec(call(), 1..24)) {
        let other = Graph::new();
        let foreign = (0..40).fold(other.constant(1.0f32), |x, _| x + 1.0);
        let start = Graph::new();
        let empty = TensorData::new([2, 0], Vec::<f32>::new()).expect("no elements");
        let _ = start.placeholder("x", [2, 3], DType::F32).named("t0");
        let _ = start.placeholder("labels", [2], DType::I32).named("t1");
        let _ = start.variable("v", [3, 3], Initializer::GlorotUniform).named("t2");
        let _ = start.constant(empty).named("t3");
        let mut accepted = start.finish().expect("no mistakes yet");
        let mut count = 4;
        for call in &calls {
            // On a copy, so that a mistake does not hide what comes after it.
            let graph = Graph::from_def(accepted.clone()).expect("it was accepted");
            let pool: Vec<Tensor<'_>> =
                (0..count).filter_map(|at| graph.named(&format!("t{at}"))).collect();
            let made = make(&graph, foreign, &pool, call);
            let made = made.map(|tensor| tensor.named(&format!("t{count}")));
            match graph.finish() {
                Ok(def) => {
                    prop_assert!(def.validate().is_ok(), "{:?}", def.validate());
                    accepted = def;
                    count += usize::from(made.is_some());
                }
                Err(errors) => {
                    for error in &errors.0 {
                        prop_assert_eq!(&error.location.file, file!());
                        prop_assert!(!matches!(error.problem, Problem::Damaged { .. }), "{}", error);
                    }
                }
            }
        }
        let _ = accepted.to_string();
        let _ = accepted.to_dot();
        run(&accepted);
    }
}
