//! How close the placement comes to the least possible, for graphs of many kinds, and that it is one.

use super::*;
use crate::compile::{Part, Program, compile, order};
use crate::device::gpu::{Gpu, GpuOptions};
use crate::device::locked;
use crate::run::steps::Steps;
use crate::session::Session;
use crate::tune::Tune;
use std::ops::Range;
use warmstart_graph::random::Philox;
use warmstart_graph::{DType, Graph, NodeId, Optimizer, Tensor, TensorData, Update};

/// What a plan may take of the least possible.
const MOST: f64 = 1.15;

/// With nothing to spare, so that small models are looked at as closely as large ones.
const TARGETS: [Target; 2] = [
    Target { is_cpu: true, subgroup_size: Some(8), spare: 0, ..Target::GPU },
    Target { spare: 0, ..Target::GPU },
];

/// What is fetched and updated: a result, or a training step.
fn wanted<'g>(output: Tensor<'g>, trained: bool, clip: bool) -> (Tensor<'g>, Vec<Update<'g>>) {
    if !trained {
        return (output, Vec::new());
    }
    let optimizer = Optimizer::adam(1e-3);
    let optimizer = if clip { optimizer.clip_global_norm(1.0) } else { optimizer };
    let loss = output.square().mean_all();
    (loss, vec![optimizer.minimize(loss).update])
}

fn program(graph: &Graph, fetch: Tensor<'_>, updates: &[Update<'_>], target: Target) -> Program {
    let def = graph.finish().unwrap();
    let updates: Vec<NodeId> = updates.iter().map(|update| update.id()).collect();
    compile(&def, &[fetch.id()], &updates, target).unwrap()
}

/// How much more than the least a program takes, after a look at where everything is. What a GPU has to spare
/// for gradients counts as nothing.
fn ratio(program: &Program, target: Target) -> f64 {
    check(program);
    let memory = &program.memory;
    assert!(memory.least <= memory.total() && memory.total() <= memory.unshared);
    let has_gradients = memory.places.contains_key(&Place::Packed(0));
    if has_gradients && memory.total() <= memory.least + target.spare {
        return 1.0;
    }
    if memory.least == 0 { 1.0 } else { memory.total() as f64 / memory.least as f64 }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The gradients that a step reads: an optimizer those of its parameters, and what sums up squares those that
/// are in its table, each of them whole.
fn gradients_of(program: &Program, step: &Step) -> Vec<Place> {
    let region = |&(place, _): &(Place, Access)| match place {
        Place::Packed(region) => Some(region),
        _ => None,
    };
    let Some(region) = step.uses().iter().find_map(region) else { return Vec::new() };
    let is_read: Box<dyn Fn(&Part) -> bool> = match step {
        Step::Optimizer(step) => Box::new(|part| step.gradients.contains(part)),
        Step::Dispatch(dispatch) => {
            let table = dispatch.bindings.iter().find_map(|&(place, _)| match place {
                Place::Table(number) => Some(&program.tables[number]),
                _ => None,
            });
            let blocks: Vec<(u64, u64)> = table
                .unwrap()
                .chunks(2)
                .map(|b| (u64::from(b[0]) * 4, u64::from(b[1]) * 4))
                .collect();
            Box::new(move |part| {
                let own = part.offset..part.offset + part.bytes;
                let inside = blocks.iter().filter(|(start, _)| own.contains(start));
                let bytes: u64 = inside.map(|&(_, bytes)| bytes).sum();
                assert!(part.region != region || bytes == 0 || bytes == part.bytes, "{part:?}");
                part.region == region && bytes > 0
            })
        }
    };
    let read = program.gradients.0.iter().filter(|(_, part)| is_read(part));
    read.map(|(&id, _)| Place::Value(id)).collect()
}

/// That what is read is what was written there last, that a kernel uses a buffer in one way and each part
/// of it through one binding, and that sources declare bindings as they are.
fn check(program: &Program) {
    let part = |place: &Place| {
        let &(buffer, start, bytes) = program.memory.places.get(place).filter(|at| at.2 > 0)?;
        Some((buffer, start..start + bytes))
    };
    // What was written, and what of that is there still.
    let (mut written, mut there) = (HashSet::new(), HashMap::new());
    for step in &program.steps {
        let gradients = gradients_of(program, step);
        let each = step.uses().into_iter().filter(|(place, _)| !matches!(place, Place::Packed(_)));
        let (read, new): (Vec<_>, Vec<_>) = each
            .chain(gradients.into_iter().map(|place| (place, Access::Read)))
            .filter_map(|(place, access)| Some((place, access, part(&place)?)))
            // What is bound as written may only be read.
            .partition(|(place, access, _)| *access == Access::Read || written.contains(place));
        for (place, ..) in &read {
            assert!(there.contains_key(place), "{place:?} was written over");
        }
        for (place, _, (buffer, bytes)) in new {
            let is_other = |_: &Place, (own, range): &mut (usize, Range<u64>)| {
                *own != buffer || !overlap(range, &bytes)
            };
            there.retain(is_other);
            written.insert(place);
            there.insert(place, (buffer, bytes));
        }
        for (place, ..) in &read {
            assert!(there.contains_key(place), "{place:?} is written over while it is read");
        }
    }
    for place in program.fetches.iter().map(|fetch| fetch.place) {
        assert!(part(&place).is_none() || there.contains_key(&place), "{place:?} is fetched");
    }
    for step in &program.steps {
        let Step::Dispatch(dispatch) = step else { continue };
        for (number, &(place, access)) in dispatch.bindings.iter().enumerate() {
            let kind = if access == Access::Write { "read_write" } else { "read" };
            let declared = format!("@group(0) @binding({number}) var<storage, {kind}> ");
            let others = dispatch.alternatives.iter().map(|other| &other.source);
            for source in others.chain([&dispatch.source]) {
                assert!(source.contains(&declared), "{}: {declared}: {source}", dispatch.label);
            }
            let Some(&(buffer, start, bytes)) = program.memory.places.get(&place) else { continue };
            for &(other, its_access) in &dispatch.bindings[..number] {
                let Some(&(its, its_start, its_bytes)) = program.memory.places.get(&other) else {
                    continue;
                };
                let beside = !overlap(&(start..start + bytes), &(its_start..its_start + its_bytes));
                let is_read = access == Access::Read && its_access == Access::Read;
                let is_fine = is_read || buffer != its || access == its_access && beside;
                assert!(is_fine, "{}: {:?}", dispatch.label, dispatch.bindings);
            }
        }
    }
}

/// How many kernels read beside what they write in a buffer: they bind what was there before as written,
/// beside something else that is written.
fn together(program: &Program) -> usize {
    let mut begun = HashSet::new();
    let reads = |step: &&Step| {
        let Step::Dispatch(dispatch) = step else { return false };
        let values = dispatch.bindings.iter().filter(|(_, access)| *access == Access::Write);
        let values: Vec<(usize, Place)> =
            values.filter_map(|&(p, _)| Some((program.memory.buffer(p)?, p))).collect();
        let beside = |&(buffer, place): &(usize, Place)| {
            let all = values.iter().filter(|(other, _)| *other == buffer).count();
            all > 1 && begun.contains(&place)
        };
        let found = values.iter().any(beside);
        begun.extend(values.iter().map(|&(_, place)| place));
        found
    };
    program.steps.iter().filter(reads).count()
}

/// Dice for one graph.
fn dice(seed: u64, name: &str) -> impl FnMut(usize) -> usize {
    let dice = Philox::new(seed, name);
    let mut at = 0;
    move |bound: usize| {
        at += 1;
        dice.word(at) as usize % bound
    }
}

/// Layers of any kind: each takes one or two values of before.
fn layers(graph: &Graph, seed: u64) -> Tensor<'_> {
    let mut below = dice(seed, "graphs");
    let batch = 1 + below(200);
    let mut values = vec![graph.placeholder("x", [batch, 1 + below(300)], DType::F32)];
    for layer in 0..3 + below(12) {
        let x = values[values.len() - 1 - below(values.len().min(3))];
        let scope = graph.scope(&format!("layer{layer}"));
        let value = match below(5) {
            0 => x.softmax(),
            1 => x.tanh().dropout(&format!("dropout{layer}"), 0.1),
            2 => {
                let width = values[values.len() - 1].shape()[1];
                scope.linear(x, width).sigmoid() * values[values.len() - 1]
            }
            _ => scope.linear(x, 1 + below(300)).relu(),
        };
        values.push(value);
    }
    graph.scope("last").linear(values[values.len() - 1], 3)
}

/// The same with what joins and cuts values, normalizes them, and adds to them.
fn joined(graph: &Graph, seed: u64) -> Tensor<'_> {
    let mut below = dice(seed, "wide");
    let batch = 1 + below(300);
    let mut values = vec![graph.placeholder("x", [batch, 1 + below(300)], DType::F32)];
    for layer in 0..3 + below(10) {
        let x = values[values.len() - 1 - below(values.len().min(3))];
        let y = values[values.len() - 1 - below(values.len().min(4))];
        let scope = graph.scope(&format!("layer{layer}"));
        let width = x.shape()[1];
        let value = match below(7) {
            0 => x.concat(&[y], 1),
            1 => scope.layer_norm(x, 1e-5).gelu(),
            2 => x + scope.linear(y, width).silu(),
            3 => x.slice(1, 0, 1 + below(width)),
            4 => x.softmax() * 2.0,
            _ => scope.linear(x, 1 + below(400)).relu(),
        };
        values.push(value);
    }
    graph.scope("last").linear(values[values.len() - 1], 3)
}

/// Branches of any depth from one value, side by side at the end.
fn branches(graph: &Graph, seed: u64) -> Tensor<'_> {
    let mut below = dice(seed, "branches");
    let x = graph.placeholder("x", [1 + below(256), 1 + below(256)], DType::F32);
    let mut branch = |number: usize| {
        (0..1 + below(3)).fold(x, |x, layer| {
            graph.scope(&format!("branch{number}/fc{layer}")).linear(x, 1 + below(300)).relu()
        })
    };
    let all: Vec<Tensor<'_>> = (0..2 + seed as usize % 11).map(&mut branch).collect();
    let y = all[0].concat(&all[1..], 1);
    let y = if below(2) == 0 { y.softmax() } else { y };
    graph.scope("out").linear(y, 1 + below(20))
}

/// Layers that narrow and widen again, some with what leaves one that narrows joined to what enters
/// the one that widens.
fn autoencoder<'g>(graph: &'g Graph, seed: u64) -> Tensor<'g> {
    let mut below = dice(seed, "autoencoder");
    let mut widths = vec![100 + below(900)];
    for _ in 0..1 + below(4) {
        widths.push((widths[widths.len() - 1] / (2 + below(4))).max(1));
    }
    let (kind, skips) = (below(3), below(3) == 0);
    let layer = |name: String, x: Tensor<'g>, units: usize| {
        let scope = graph.scope(&name);
        let x = scope.scope("fc").linear(x, units);
        match kind {
            0 => x.relu(),
            1 => x.tanh(),
            _ => scope.scope("norm").layer_norm(x, 1e-5).gelu(),
        }
    };
    let mut x = graph.placeholder("x", [1 + below(256), widths[0]], DType::F32);
    let mut entered = Vec::new();
    for &units in &widths[1..] {
        entered.push(x);
        x = layer(format!("down{units}x{}", entered.len()), x, units);
    }
    for skip in entered.into_iter().rev() {
        let units = skip.shape()[1];
        x = layer(format!("up{units}x{}", x.shape()[1]), x, units);
        x = if skips { x.concat(&[skip], 1) } else { x };
    }
    x
}

/// Blocks of attention and a perceptron, as in GPT.
fn blocks(graph: &Graph, tokens: usize, heads: usize, head: usize, count: usize) -> Tensor<'_> {
    let width = heads * head;
    let x = graph.placeholder("x", [tokens, width], DType::F32);
    let mut x = graph.scope("in").linear(x, width);
    for block in 0..count {
        let scope = graph.scope(&format!("block{block}"));
        let normal = scope.scope("norm1").layer_norm(x, 1e-5);
        let part = |name: &str| {
            let all = scope.scope(name).linear(normal, width);
            all.reshape([tokens, heads, head]).transpose(&[1, 0, 2])
        };
        let weights = (part("q").matmul_with(part("k"), false, true) * 0.125).softmax();
        let mixed = weights.matmul(part("v")).transpose(&[1, 0, 2]).reshape([tokens, width]);
        x = x + scope.scope("mix").linear(mixed, width);
        let normal = scope.scope("norm2").layer_norm(x, 1e-5);
        let hidden = scope.scope("fc1").linear(normal, 4 * width).gelu();
        x = x + scope.scope("fc2").linear(hidden, width);
    }
    graph.scope("out").linear(x, 1 + tokens % 50)
}

fn attention(graph: &Graph, seed: u64) -> Tensor<'_> {
    let mut below = dice(seed, "blocks");
    let (tokens, heads, head) = (8 + below(300), 1 + below(6), 8 * (1 + below(8)));
    blocks(graph, tokens, heads, head, 1 + below(3))
}

/// A bottleneck: of what a kernel reads and writes each would need a buffer as large as the largest.
fn narrow(graph: &Graph) -> Tensor<'_> {
    let x = graph.placeholder("x", [16, 64], DType::F32);
    [200, 1, 100, 100]
        .into_iter()
        .enumerate()
        .fold(x, |x, (layer, units)| graph.scope(&format!("fc{layer}")).linear(x, units).tanh())
}

fn cases(usual: u64) -> u64 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 10 * usual } else { usual }
}

/// Looks at training steps and predictions on both kinds of devices, and tells how the ratios are
/// distributed.
fn all_take_hardly_more(name: &str, make: fn(&Graph, u64) -> Tensor<'_>, seeds: u64) {
    for trained in [true, false] {
        for target in TARGETS {
            let of = |seed| {
                let graph = Graph::new();
                let output = make(&graph, seed);
                let (fetch, updates) = wanted(output, trained, seed % 2 == 0);
                let program = program(&graph, fetch, &updates, target);
                let groups = order::count(&program.steps, &program.memory);
                (ratio(&program, target), seed, groups, together(&program))
            };
            let mut all: Vec<_> = (0..seeds).map(of).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (most, seed, ..) = all[all.len() - 1];
            let groups: usize = all.iter().map(|one| one.2).sum();
            let together: usize = all.iter().map(|one| one.3).sum();
            let what = format!("{name}, trained: {trained}, software: {}", target.is_cpu);
            println!(
                "{what}: median {:.3}, 99 of 100 at most {:.3}, most {most:.3} (seed {seed}); \
                 {groups} groups, {together} kernels read beside what they write",
                all[all.len() / 2].0,
                all[(all.len() * 99).div_ceil(100) - 1].0,
            );
            let over: Vec<_> = all.iter().filter(|one| one.0 > MOST).collect();
            assert!(over.is_empty(), "{what}: {over:?}");
        }
    }
}

#[test]
fn layers_take_hardly_more_than_the_least() {
    all_take_hardly_more("layers", layers, cases(600));
}

#[test]
fn joined_layers_take_hardly_more_than_the_least() {
    all_take_hardly_more("joined layers", joined, cases(400));
}

#[test]
fn branches_and_autoencoders_take_hardly_more_than_the_least() {
    all_take_hardly_more("branches", branches, cases(120));
    all_take_hardly_more("autoencoders", autoencoder, cases(120));
}

#[test]
fn attention_takes_hardly_more_than_the_least() {
    all_take_hardly_more("attention", attention, cases(80));
    // One that is deep: what is tried for each is less.
    all_take_hardly_more("deep", |graph, seed| blocks(graph, 64 << seed, 4, 16, 12), 3);
}

#[test]
fn perceptrons_take_hardly_more_than_the_least() {
    let widths: [&[usize]; 7] = [
        &[64, 128, 64, 10],
        &[784, 512, 256, 10],
        &[16, 32, 32, 4],
        &[300, 200, 150, 100, 50, 20, 1],
        &[784, 256, 64, 8, 64, 256, 784],
        &[2000, 2000, 1, 1000, 1000],
        &[32; 12],
    ];
    for widths in widths {
        for batch in [1, 8, 64, 128, 1000] {
            for (target, trained, clip) in TARGETS.into_iter().flat_map(|target| {
                [(true, false), (true, true), (false, false)].map(|(t, c)| (target, t, c))
            }) {
                let graph = Graph::new();
                let mut x = graph.placeholder("x", [batch, widths[0]], DType::F32);
                for (layer, &units) in widths[1..].iter().enumerate() {
                    x = graph.scope(&format!("fc{layer}")).linear(x, units).relu();
                }
                let (fetch, updates) = wanted(x, trained, clip);
                let ratio = ratio(&program(&graph, fetch, &updates, target), target);
                assert!(ratio <= MOST, "{widths:?}, batch {batch}, {trained}, {clip}: {ratio}");
            }
        }
    }
}

/// The bits of what is fetched in two runs, the first of one step and the second of two, and of all
/// variables after them.
fn bits(
    gpu: &Gpu,
    graph: &Graph,
    fetch: Tensor<'_>,
    updates: &[Update<'_>],
    target: Target,
) -> Vec<Vec<u8>> {
    let mut session = Session::new(gpu);
    let plan = session.compile_for(graph, &[fetch], updates, target).unwrap();
    session.initialize_missing(5).unwrap();
    let shape = graph.finish().unwrap().nodes[0].shape.clone();
    let random = Philox::new(1, "inputs");
    let x: Vec<f32> = (0..shape.elements() as u64)
        .map(|at| (random.word(at) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect();
    let x = TensorData::new(shape, x).unwrap();
    let feeds = [("x", (&x).into())];
    let mut bits = vec![session.run(&plan, &feeds).unwrap().tensor(fetch).unwrap().to_le_bytes()];
    let steps = session.run_unread(&plan, &Steps::repeat(2).feeds(&feeds)).unwrap();
    bits.push(steps.tensor(fetch).unwrap().to_le_bytes());
    drop(steps);
    let names: Vec<String> = session.variables().iter().map(|info| info.name().into()).collect();
    bits.extend(names.iter().map(|name| session.read(name).unwrap().to_le_bytes()));
    bits
}

/// A kernel that reads beside what it writes computes the same.
#[test]
fn values_together_have_the_same_bits() {
    let gpu = Gpu::with(&GpuOptions { tune: Some(Tune::Off), ..Default::default() }).unwrap();
    let own = Target::of(&gpu);
    // A small one of those in which there is such a kernel.
    let is_one = |&seed: &u64| {
        let graph = Graph::new();
        let program = program(&graph, attention(&graph, seed), &[], own);
        program.memory.total() < 400_000 && together(&program) > 0
    };
    let seed = (0..).find(is_one).unwrap();
    type Make = fn(&Graph, u64) -> Tensor<'_>;
    let makes: [(&str, Make, u64, bool); 5] = [
        ("narrow", |graph, _| narrow(graph), 0, false),
        ("attention", attention, seed, false),
        ("layers", layers, 779, true),
        ("layers", layers, 874, true),
        ("layers", layers, 1379, true),
    ];
    for (name, make, seed, trained) in makes {
        let mut more = 0;
        for target in [true, false].map(|is_cpu| Target { is_cpu, spare: 0, ..own }) {
            let graph = Graph::new();
            let (fetch, updates) = wanted(make(&graph, seed), trained, seed % 2 == 0);
            let found = program(&graph, fetch, &updates, target);
            check(&found);
            more += together(&found);
            let apart = Target { in_place: false, ..target };
            let [found, expected] =
                [target, apart].map(|target| bits(&gpu, &graph, fetch, &updates, target));
            assert!(found == expected, "{name}, trained: {trained}, {target:?}: other bits");
        }
        println!("{name}: {more} kernels read beside what they write");
        assert!(more > 0, "{name}: no kernel reads beside what it writes");
    }
}

/// A kernel that is bound otherwise, or writes over what it reads, has a text of its own, and to compile
/// those is most of the first step of a small model. The first two layers have one, and the last, without
/// relu; there is one for the gradients of weights, and one for those of activations; then the loss, its
/// mean, and two of the optimizer.
#[test]
fn a_small_model_has_few_kernels_to_compile() {
    let kernels = |spare: u64| {
        let gpu = Gpu::with(&GpuOptions { tune: Some(Tune::Off), ..Default::default() }).unwrap();
        let graph = Graph::new();
        let x = graph.placeholder("x", [64, 64], DType::F32);
        let labels = graph.placeholder("labels", [64], DType::I32);
        let x = graph.scope("fc1").linear(x, 128).relu();
        let x = graph.scope("fc2").linear(x, 64).relu();
        let loss = graph.scope("fc3").linear(x, 10).softmax_cross_entropy(labels);
        let update = Optimizer::adam(1e-3).minimize(loss).update;
        let target = Target { is_cpu: true, spare, ..Target::of(&gpu) };
        Session::new(&gpu).compile_for(&graph, &[loss], &[update], target).unwrap();
        let made = locked(&gpu.made().made_together);
        assert_eq!(made.len(), 1, "{made:?}");
        made[0]
    };
    assert_eq!(kernels(Target::GPU.spare), 8);
    assert!(kernels(0) > 8, "{}", kernels(0));
}

#[path = "packed_tests.rs"]
mod packed;
