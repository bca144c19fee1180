//! Kernels whose rows are shared by lanes: as GPUs have them, with and without subgroups, and as this
//! device has them, against the twin and against each other.

use super::product_tests::{gpu, numbers};
use super::*;
use crate::compile::{Step, Variant, compile};
use std::collections::BTreeSet;
use warmstart_graph::random::Philox;
use warmstart_graph::reference::Reference;
use warmstart_graph::{NodeId, TensorData, gradients};

/// Everything that reduces rows.
struct Rows<'g> {
    graph: &'g Graph,
    fetches: Vec<Tensor<'g>>,
    feeds: [(&'static str, TensorData); 4],
}

impl<'g> Rows<'g> {
    fn new(graph: &'g Graph, rows: usize, width: usize, seed: u64) -> Rows<'g> {
        let x = graph.placeholder("x", [rows, width], DType::F32);
        let gamma = graph.placeholder("gamma", [width], DType::F32);
        let beta = graph.placeholder("beta", [width], DType::F32);
        let labels = graph.placeholder("labels", [rows], DType::I32);
        let normal = x.layer_norm(gamma, beta, 1e-3);
        let losses = x.softmax_cross_entropy_smoothed(labels, 0.1);
        let loss = (losses * 0.5).mean_all() + normal.square().mean_all();
        let slopes = gradients(loss, &[x, gamma, beta]);
        let sums =
            [x.sum(&[1]), (x * 2.0 + 1.0).reduce_max(&[1]), x.matmul(gamma.reshape([width, 1]))];
        let rest = [x.softmax(), x.log_softmax(), normal, loss];
        let fetches = rest.into_iter().chain(sums).chain(slopes.into_iter().flatten());
        let fetches = fetches.collect();
        let floats = |shape: &[usize], of| {
            TensorData::new(shape, numbers(shape.iter().product(), seed + of)).unwrap()
        };
        let classes = Philox::new(seed, "labels");
        let label = |row| (classes.word(row as u64) as usize % width.max(1)) as i32;
        let feeds = [
            ("x", floats(&[rows, width], 0)),
            ("gamma", floats(&[width], 1)),
            ("beta", floats(&[width], 2)),
            ("labels", (0..rows).map(label).collect::<Vec<i32>>().into()),
        ];
        Rows { graph, fetches, feeds }
    }

    fn expected(&self) -> Vec<Vec<f64>> {
        let def = self.graph.finish().unwrap();
        let mut reference = Reference::new(&def);
        self.feeds.iter().for_each(|(name, data)| reference.feed(name, data));
        let ids: Vec<NodeId> = self.fetches.iter().map(|fetch| fetch.id()).collect();
        reference.run(&ids).unwrap().into_iter().map(|value| value.elements).collect()
    }

    fn run(&self, gpu: &Gpu, target: Target) -> Vec<TensorData> {
        let mut session = Session::new(gpu);
        let plan = session.compile_for(self.graph, &self.fetches, &[], target).unwrap();
        let feeds = self.feeds.each_ref().map(|(name, data)| (*name, data.into()));
        let run = |session: &mut Session| -> Vec<TensorData> {
            let outputs = session.run(&plan, &feeds).unwrap();
            self.fetches.iter().map(|fetch| outputs.tensor(*fetch).unwrap()).collect()
        };
        let found = run(&mut session);
        assert!(bits(&found) == bits(&run(&mut session)), "other bits the second time");
        found
    }
}

pub(super) fn bits(values: &[TensorData]) -> Vec<Vec<u8>> {
    values.iter().map(TensorData::to_le_bytes).collect()
}

/// This device, a GPU, and GPUs whose subgroups have two, four and eight invocations at least: those of
/// software Vulkan have eight, so that smaller ones lie in them.
pub(super) fn targets(gpu: &Gpu) -> Vec<(String, Target)> {
    let own = Target::of(gpu);
    let plain = Target { is_cpu: false, ..own };
    let mut targets = vec![("this".to_owned(), own), ("GPU".to_owned(), plain)];
    for size in [2, 4, 8] {
        if own.least_subgroup.is_some_and(|least| least % size == 0) {
            let target = Target { least_subgroup: Some(size), subgroup_rows: true, ..plain };
            targets.push((format!("subgroups of {size}"), target));
        }
    }
    targets
}

fn compare(gpu: &Gpu, rows: usize, width: usize, seed: u64) {
    let graph = Graph::new();
    let all = Rows::new(&graph, rows, width, seed);
    let expected = all.expected();
    let mut plain = None;
    for (name, target) in targets(gpu) {
        let what = format!("{rows} x {width}, {name}, seed {seed}");
        let found = all.run(gpu, target);
        for (fetch, (found, expected)) in found.iter().zip(&expected).enumerate() {
            for (at, (found, &expected)) in found.to_f64().into_iter().zip(expected).enumerate() {
                let near = (found - expected).abs() <= 2e-4 * expected.abs().max(1.0);
                let both = found == expected || (found.is_nan() && expected.is_nan());
                assert!(near || both, "{what}: {fetch}[{at}] is {found}, not {expected}");
            }
        }
        // By subgroups or not, the same numbers are added in the same order.
        if !target.is_cpu {
            let found = bits(&found);
            assert!(*plain.get_or_insert_with(|| found.clone()) == found, "{what}: other bits");
        }
    }
}

#[test]
fn rows_follow_the_twin_and_subgroups_give_the_same_bits() {
    let gpu = gpu();
    // One element, primes, one lane, each number of lanes, many rows of few lanes.
    for (rows, width) in
        [(1, 1), (3, 7), (13, 31), (7, 67), (2, 257), (1, 523), (2, 2048), (1, 5003), (16_411, 19)]
    {
        compare(&gpu, rows, width, 1);
    }
}

#[test]
fn rows_of_random_shapes_follow_the_twin() {
    let gpu = gpu();
    for seed in 0..6 {
        let noise = Philox::new(seed, "shape");
        let below = |at: u64, most: u32| (noise.word(at) % most + 1) as usize;
        let (rows, width) = match seed % 2 {
            0 => (below(0, 200), below(1, 100)),
            _ => (below(0, 9), below(1, 4000)),
        };
        compare(&gpu, rows, width, seed);
    }
}

#[test]
fn what_is_no_number_is_seen_by_whichever_lane_reads_it() {
    let gpu = gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 1031], DType::F32);
    let fetches = [x.sum(&[1]), x.reduce_max(&[1]), x.softmax().sum(&[1])];
    for (name, target) in targets(&gpu) {
        let mut session = Session::new(&gpu);
        let plan = session.compile_for(&graph, &fetches, &[], target).unwrap();
        for at in [0, 1, 500, 1024, 1030] {
            let mut elements = numbers(2 * 1031, 3);
            elements[1031 + at] = f32::NAN;
            let outputs = session.run(&plan, &[("x", (&elements).into())]).unwrap();
            for fetch in fetches {
                let found = outputs.tensor(fetch).unwrap().to_f64();
                assert_eq!((found[0].is_nan(), found[1].is_nan()), (false, true), "{name}, {at}");
            }
        }
    }
}

/// Nothing to reduce is no reason to wait for anybody.
#[test]
fn rows_of_nothing_are_empty_sums() {
    let gpu = gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [5, 0], DType::F32);
    let none = graph.placeholder("none", [0, 40], DType::F32);
    let fetches = [x.sum(&[1]), none.softmax(), none.sum(&[1])];
    for (name, target) in targets(&gpu) {
        let mut session = Session::new(&gpu);
        let plan = session.compile_for(&graph, &fetches, &[], target).unwrap();
        let nothing: [f32; 0] = [];
        let feeds = [("x", (&nothing).into()), ("none", (&nothing).into())];
        let outputs = session.run(&plan, &feeds).unwrap();
        let found = fetches.map(|fetch| outputs.tensor(fetch).unwrap().to_f64());
        assert_eq!(found, [vec![0.0; 5], vec![], vec![]], "{name}");
    }
}

/// Each kernel whose rows have several lanes has one by subgroups to be measured beside it, that of
/// labels too; and where there are no subgroups none has.
#[test]
fn rows_by_subgroups_are_measured_where_there_are_subgroups() {
    let graph = Graph::new();
    let all = Rows::new(&graph, 64, 256, 1);
    let def = graph.finish().unwrap();
    let ids: Vec<NodeId> = all.fetches.iter().map(|fetch| fetch.id()).collect();
    for (least, expected) in [(Some(8), true), (Some(32), true), (Some(1), false), (None, false)] {
        let target = Target { least_subgroup: least, alternatives: true, ..Target::GPU };
        let program = compile(&def, &ids, &[], target).unwrap();
        let mut families = BTreeSet::new();
        for step in &program.steps {
            let Step::Dispatch(dispatch) = step else { continue };
            let lanes = dispatch.constants.iter().find(|(name, _)| *name == "LANES");
            if !lanes.is_some_and(|&(_, lanes)| lanes > 1.0) {
                continue;
            }
            let found: Vec<Variant> =
                dispatch.alternatives.iter().map(|other| other.variant).collect();
            let wanted = if expected { vec![Variant::SubgroupRows] } else { Vec::new() };
            assert_eq!(found, wanted, "{}", dispatch.label);
            let usual = dispatch.tuned.as_ref().map(|tuned| tuned.usual);
            assert_eq!(usual, expected.then_some(Variant::Rows), "{}", dispatch.label);
            families.insert(dispatch.kernel);
        }
        let some = ["cross_entropy", "layer_norm", "layer_norm_gradient", "reduce", "softmax"];
        assert_eq!(families, BTreeSet::from(some));
    }
}
