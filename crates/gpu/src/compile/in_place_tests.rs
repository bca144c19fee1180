//! What writing results over what they are computed from saves, and that it changes no bit.

use super::super::{
    Access, Arranged, FetchSpec, Program, Step, Target, compile, fuse, lower, order,
};
use super::super::{simplify, simplify::Live};
use super::*;
use crate::device::gpu::{Gpu, GpuOptions};
use crate::run::steps::Steps;
use crate::session::Session;
use crate::tune::Tune;
use warmstart_graph::random::Philox;
use warmstart_graph::{
    DType, Graph, Initializer, NodeId, Optimizer, Tensor, TensorData, Update, gradients,
};

/// With nothing to spare: the models are small.
const TARGET: Target = Target { spare: 0, ..Target::GPU };

/// Without and with results in place: bytes of values, dispatches, and groups of them.
fn figures(
    graph: &Graph,
    fetches: &[Tensor<'_>],
    updates: &[Update<'_>],
    target: Target,
) -> [(u64, usize, usize); 2] {
    let def = graph.finish().unwrap();
    let fetches: Vec<NodeId> = fetches.iter().map(|tensor| tensor.id()).collect();
    let updates: Vec<NodeId> = updates.iter().map(|update| update.id()).collect();
    [false, true].map(|in_place| {
        let program = compile(&def, &fetches, &updates, Target { in_place, ..target }).unwrap();
        kernels_write_what_they_read_through_one_binding(&program);
        let Program { steps, memory, .. } = &program;
        assert!(memory.least <= memory.total());
        (memory.total(), steps.len(), order::count(steps, memory))
    })
}

/// No kernel reads a buffer through one binding and writes it through another, or writes a part of it
/// twice.
fn kernels_write_what_they_read_through_one_binding(program: &Program) {
    for step in &program.steps {
        let Step::Dispatch(dispatch) = step else { continue };
        let placed = dispatch.bindings.iter().filter_map(|(place, access)| {
            let (buffer, start, bytes) = *program.memory.places.get(place)?;
            Some((buffer, start..start + bytes, *access))
        });
        let placed: Vec<_> = placed.collect();
        for (at, (buffer, range, access)) in placed.iter().enumerate() {
            for (its, its_range, its_access) in &placed[..at] {
                let beside = range.end <= its_range.start || its_range.end <= range.start;
                let fine = match (access, its_access) {
                    (Access::Read, Access::Read) => true,
                    (Access::Write, Access::Write) => buffer != its || beside,
                    _ => buffer != its,
                };
                assert!(fine, "{}: {:?}", dispatch.label, dispatch.bindings);
            }
        }
    }
}

/// Blocks whose result is added to what they read.
fn residual(graph: &Graph, width: usize) -> Tensor<'_> {
    let x = graph.placeholder("x", [256, width], DType::F32);
    (0..4).fold(graph.scope("in").linear(x, width), |x, block| {
        let scope = graph.scope(&format!("block{block}"));
        x + scope.scope("fc2").linear(scope.scope("fc1").linear(x, width).relu(), width)
    })
}

/// Attention with a residual around it: `heads` of `tokens`.
fn attention(graph: &Graph, heads: usize, tokens: usize, blocks: usize) -> Tensor<'_> {
    const WIDTH: usize = 64;
    let x = graph.placeholder("x", [tokens, WIDTH], DType::F32);
    (0..blocks).fold(graph.scope("in").linear(x, WIDTH), |x, block| {
        let scope = graph.scope(&format!("block{block}"));
        let part = |name: &str| {
            let all = scope.scope(name).linear(x, WIDTH);
            all.reshape([tokens, heads, WIDTH / heads]).transpose(&[1, 0, 2])
        };
        let (queries, keys, values) = (part("queries"), part("keys"), part("values"));
        let weights = (queries.matmul_with(keys, false, true) * 0.125).softmax();
        let mixed = weights.matmul(values).transpose(&[1, 0, 2]).reshape([tokens, WIDTH]);
        x + scope.scope("out").linear(mixed, WIDTH)
    })
}

#[test]
fn a_residual_is_written_over() {
    const VALUE: u64 = 256 * 128 * 4;
    let graph = Graph::new();
    let y = residual(&graph, 128);
    let [apart, together] = figures(&graph, &[y], &[], TARGET);
    // What enters a block, the hidden layer, and what leaves it.
    assert_eq!(apart, (3 * VALUE, 9, 9));
    assert_eq!(together, (2 * VALUE, 9, 9));
    // Each product can be measured against others that write over the same.
    let def = graph.finish().unwrap();
    let program = compile(&def, &[y.id()], &[], Target { alternatives: true, ..TARGET }).unwrap();
    for step in &program.steps {
        let Step::Dispatch(dispatch) = step else { panic!("nothing is updated") };
        assert!(dispatch.alternatives.len() > 2, "{}", dispatch.label);
    }
    // What is fetched is not written over.
    let graph = Graph::new();
    let x = graph.placeholder("x", [256, 128], DType::F32);
    let layer = |name: &str, x| graph.scope(name).linear(x, 128);
    let a = layer("a", x);
    let b = a + layer("b2", layer("b1", a).relu());
    let c = b + layer("c2", layer("c1", b).relu());
    for (fetches, values) in [(&[a, b, c][..], 4), (&[a, c], 3)] {
        let [apart, together] = figures(&graph, fetches, &[], TARGET);
        assert_eq!((apart, together), ((4 * VALUE, 5, 5), (values * VALUE, 5, 5)));
    }
}

#[test]
fn a_softmax_is_written_over_its_scores() {
    let graph = Graph::new();
    let y = attention(&graph, 4, 256, 2);
    let [apart, together] = figures(&graph, &[y], &[], TARGET);
    // Scores and what they become were most of it.
    assert!(together.0 * 5 <= apart.0 * 3, "{apart:?} {together:?}");
    assert_eq!(apart.1, together.1);
    assert!(together.2 <= apart.2);
}

#[test]
fn training_takes_less() {
    for has_attention in [true, false] {
        let [apart, together] = {
            let graph = Graph::new();
            let y =
                if has_attention { attention(&graph, 4, 256, 2) } else { residual(&graph, 256) };
            let loss = y.square().mean_all();
            let update = Optimizer::adam(1e-3).clip_global_norm(1.0).minimize(loss).update;
            figures(&graph, &[loss], &[update], Target { is_cpu: true, ..TARGET })
        };
        let least_saved = if has_attention { 5 } else { 20 };
        assert!(apart.0 - together.0 >= apart.0 / least_saved, "{apart:?} {together:?}");
        assert_eq!(together.1, apart.1);
    }
}

#[test]
fn a_chain_that_is_cut_takes_one_value() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [1024], DType::F32);
    // Only one that changes its shape again and again is cut.
    let y = (0..200).fold(x, |y, at| match at % 2 {
        0 => y.reshape([32, 32]).tanh(),
        _ => y.reshape([1024]).tanh(),
    });
    let [apart, together] = figures(&graph, &[y], &[], TARGET);
    assert_eq!((apart, together), ((8192, 2, 2), (4096, 2, 2)));
}

/// The gradient of a layer's input is masked by the very values that the product for the weight's
/// gradient reads, and may be written over them after that. On a GPU the two run beside each other.
#[test]
fn nothing_waits_for_it() {
    let trained = |target| {
        let graph = Graph::new();
        let x = graph.placeholder("x", [256, 256], DType::F32);
        // Not packed: among those that are, others lie, and wait for that.
        let weight = |layer| {
            let scope = graph.scope(&format!("fc{layer}"));
            scope.variable("weight", [256, 256], Initializer::GlorotUniform)
        };
        let weights: Vec<Tensor<'_>> = (0..6).map(weight).collect();
        let y = weights.iter().fold(x, |x, &weight| x.matmul(weight).relu()).square().mean_all();
        let slopes = gradients(y, &weights).into_iter().flatten();
        let wanted: Vec<Tensor<'_>> = slopes.chain([y]).collect();
        assert_eq!(wanted.len(), 7);
        figures(&graph, &wanted, &[], target)
    };
    let [apart, together] = trained(TARGET);
    assert_eq!(apart, together);
    let [apart, together] = trained(Target { is_cpu: true, ..TARGET });
    assert_eq!((apart.0 - together.0, apart.1), (256 * 256 * 4, together.1));
}

/// Values of one shape, each made of one or two of before in some way, and which of them are fetched.
fn random_graph<'g>(graph: &'g Graph, seed: u64) -> (Vec<Tensor<'g>>, Vec<Update<'g>>) {
    let dice = Philox::new(seed, "graphs in place");
    let mut at = 0;
    let mut below = |bound: usize| {
        at += 1;
        dice.word(at) as usize % bound
    };
    // Rows and columns alike, so that a transposed value can stand beside the others.
    let size = [3, 17, 32, 65][below(4)];
    let x = graph.placeholder("x", [size, size], DType::F32);
    let mut values = vec![x, graph.scope("in").linear(x, size)];
    let mut fetches = Vec::new();
    for layer in 0..4 + below(12) {
        let last = values[values.len() - 1];
        let other = values[values.len() - 1 - below(values.len().min(4))];
        let scope = graph.scope(&format!("layer{layer}"));
        let value = match below(11) {
            0 => scope.linear(last, size).tanh() + other,
            1 => other * 0.5 + scope.linear(other, size).relu(),
            2 => (last * 3.0).softmax(),
            3 => (last + other).log_softmax() * 0.1,
            4 => last.transpose(&[1, 0]) - other,
            5 => last.sin() * other,
            6 => last - last.mean(&[1]).reshape([size, 1]),
            7 => last.matmul(other) * 0.1,
            8 => last.slice(1, 1, size).pad(&[0, 0], [size, size]) + other,
            9 => scope.layer_norm(last, 1e-5) + other * 0.5,
            _ => last.dropout(&format!("dropout{layer}"), 0.2),
        };
        if below(4) == 0 {
            fetches.push(value);
        }
        values.push(value);
    }
    let last = values[values.len() - 1];
    let mut updates = Vec::new();
    if below(2) == 0 {
        let loss = last.square().mean_all();
        fetches.push(loss);
        updates.push(Optimizer::sgd(0.01).clip_global_norm(1.0).minimize(loss).update);
    } else {
        fetches.push(last);
    }
    (fetches, updates)
}

fn cases() -> u64 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 2_000 } else { 100 }
}

/// What each place holds is followed from step to step: every kernel finds there what it would find if
/// nothing were written over, and so do the fetches, in the order of the nodes and in that which groups
/// them.
#[test]
fn whoever_reads_finds_what_was_written_for_it() {
    let mut taken = 0;
    for seed in 0..cases() {
        let graph = Graph::new();
        let (fetches, updates) = random_graph(&graph, seed);
        let def = graph.finish().unwrap();
        let ids: Vec<NodeId> = fetches.iter().map(|tensor| tensor.id()).collect();
        let updates: Vec<NodeId> = updates.iter().map(|update| update.id()).collect();
        let live: Live = simplify::simplify(&def, &ids, &updates);
        let mut fused = fuse::fuse(&live, &Default::default(), TARGET);
        let lower = |fused: &_| lower::lower(&def, &live, fused, TARGET).ok().unwrap();
        let specs = |fused: &fuse::Fused| -> Vec<FetchSpec> {
            let ids = live.fetches.iter().zip(&ids);
            let spec = |(&id, &node): (&usize, &NodeId)| {
                let (shape, dtype) = (live.node(id).shape.clone(), live.node(id).dtype);
                FetchSpec { node, place: fused.place(&live, id), shape, dtype }
            };
            ids.map(spec).collect()
        };
        let (apart, wanted) = (lower(&fused), specs(&fused));
        fused.over = over(&live, &apart, &wanted);
        taken += fused.over.len();
        let (together, found) = (lower(&fused), specs(&fused));
        assert_eq!(apart.steps.len(), together.steps.len());
        let in_place = |place: Place| match place {
            Place::Value(id) => fused.place(&live, id),
            place => place,
        };
        let arranged = Arranged::new(&live, lower(&fused), found.clone(), TARGET).unwrap();
        let grouped = order::grouped(&together.steps, &together.packed, &arranged.memory, &found);
        for order in [(0..apart.steps.len()).collect(), grouped] {
            let mut held: HashMap<Place, Place> = HashMap::new();
            for step in order {
                let Step::Dispatch(dispatch) = &apart.steps[step] else { continue };
                let values = dispatch.bindings.iter();
                let values = values.filter(|(place, _)| matches!(place, Place::Value(_)));
                for (place, _) in values.clone().filter(|(_, access)| *access == Access::Read) {
                    assert_eq!(held.get(&in_place(*place)), Some(place), "{seed}: step {step}");
                }
                for (place, _) in values.filter(|(_, access)| *access == Access::Write) {
                    held.insert(in_place(*place), *place);
                }
            }
            for fetch in wanted.iter().filter(|fetch| matches!(fetch.place, Place::Value(_))) {
                assert_eq!(held.get(&in_place(fetch.place)), Some(&fetch.place), "{seed}");
            }
        }
    }
    assert!(taken as u64 > cases() / 4, "{taken} results in place");
}

/// The bits of what is fetched in the first run and the third, and of all variables after them.
fn bits(gpu: &Gpu, seed: u64, target: Target) -> (Vec<Vec<u8>>, u64) {
    let graph = Graph::new();
    let (fetches, updates) = random_graph(&graph, seed);
    let mut session = Session::new(gpu);
    let plan = session.compile_for(&graph, &fetches, &updates, target).unwrap();
    session.initialize_missing(5).unwrap();
    let size = fetches[0].graph().finish().unwrap().nodes[0].shape.clone();
    let random = Philox::new(seed, "inputs");
    let x: Vec<f32> = (0..size.elements() as u64)
        .map(|at| (random.word(at) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect();
    let x = TensorData::new(size, x).unwrap();
    let feeds = [("x", (&x).into())];
    let outputs = session.run(&plan, &feeds).unwrap();
    let of = |tensor: &Tensor<'_>| outputs.tensor(*tensor).unwrap().to_le_bytes();
    let mut bits: Vec<Vec<u8>> = fetches.iter().map(of).collect();
    // What stays where it was written, of the second of two steps.
    let outputs = session.run_unread(&plan, &Steps::repeat(2).feeds(&feeds)).unwrap();
    bits.extend(fetches.iter().map(|tensor| outputs.tensor(*tensor).unwrap().to_le_bytes()));
    drop(outputs);
    let names: Vec<String> = session.variables().iter().map(|info| info.name().into()).collect();
    bits.extend(names.iter().map(|name| session.read(name).unwrap().to_le_bytes()));
    (bits, plan.memory().values)
}

#[test]
fn results_in_place_have_the_same_bits() {
    let gpu = Gpu::with(&GpuOptions { tune: Some(Tune::Off), ..Default::default() }).unwrap();
    let own = Target::of(&gpu);
    let mut smaller = 0;
    for seed in 0..cases() / 8 {
        for target in [true, false].map(|is_cpu| Target { is_cpu, spare: 0, ..own }) {
            let (expected, apart) = bits(&gpu, seed, Target { in_place: false, ..target });
            let (found, together) = bits(&gpu, seed, target);
            assert!(found == expected, "seed {seed}, {target:?}: other bits");
            assert!(together <= apart);
            smaller += u64::from(together < apart);
        }
    }
    assert!(smaller > cases() / 24, "{smaller}");
}
