//! Where barriers are, by `wgpu`'s rule, and what the order of steps does to their number.

use super::super::{Part, Program, Target, compile};
use super::*;
use warmstart_graph::{DType, Graph, Optimizer, Role, Tensor};

use Access::{Read, Write};
use Start::{Joins, Pass, Waits};

#[test]
fn barriers_are_where_wgpu_puts_them() {
    let chain = [vec![('x', Read), ('a', Write)], vec![('a', Read), ('b', Write)]];
    assert_eq!(starts(&chain, true), [Waits, Waits]);
    let apart = [vec![('x', Read), ('a', Write)], vec![('x', Read), ('b', Write)]];
    assert_eq!(starts(&apart, true), [Waits, Joins]);
    // Whichever parts of a buffer two dispatches write, the second waits.
    let one = [vec![('x', Read), ('a', Write)], vec![('x', Read), ('a', Write)]];
    assert_eq!(starts(&one, true), [Waits, Waits]);
    // Both are the first to read a value that was written before: one pass, one barrier.
    let both = [
        vec![('x', Read), ('a', Write)],
        vec![('x', Read), ('b', Write)],
        vec![('a', Read), ('c', Write)],
        vec![('b', Read), ('d', Write)],
    ];
    assert_eq!(starts(&both, true), [Waits, Joins, Pass, Joins]);
    // In one pass the second reader has a barrier of its own.
    assert_eq!(starts(&both, false), [Waits, Joins, Waits, Waits]);
    // What the first reader has waited for, the second need not.
    let shared = [
        vec![('x', Read), ('a', Write)],
        vec![('a', Read), ('c', Write)],
        vec![('a', Read), ('d', Write)],
    ];
    assert_eq!(starts(&shared, true), [Waits, Waits, Joins]);
    // The second time `d` was used before.
    let again = starts(&[&shared[..], &shared[..]].concat(), true);
    assert_eq!(again[3..], [Waits, Pass, Joins]);
    assert_eq!(groups(&again), 4);
    assert_eq!(groups(&starts::<char>(&[], true)), 0);
}

const TARGET: Target = Target::GPU;

/// What a training step's program is, and its dispatches in groups: `matmul, sum | ...`.
fn program(graph: &Graph, loss: Tensor<'_>) -> (Program, Vec<Vec<String>>) {
    let step = Optimizer::adam(1e-3).clip_global_norm(1.0).minimize(loss);
    let def = graph.finish().unwrap();
    let program = compile(&def, &[loss.id()], &[step.update.id()], TARGET).unwrap();
    let mut together: Vec<Vec<String>> = Vec::new();
    let bound = buffers(&program.steps, &program.memory);
    for (step, start) in program.steps.iter().zip(starts(&bound, true)) {
        let name = match step {
            Step::Dispatch(dispatch) => dispatch.label.clone(),
            Step::Optimizer(_) => "optimizer".to_owned(),
        };
        match together.last_mut() {
            Some(group) if start == Joins => group.push(name),
            _ => together.push(vec![name]),
        }
    }
    (program, together)
}

#[test]
fn a_perceptrons_gradients_run_beside_each_other() {
    let graph = Graph::new();
    let mut x = graph.placeholder("x", [64, 64], DType::F32);
    let labels = graph.placeholder("labels", [64], DType::I32);
    for (layer, units) in [128, 64].into_iter().enumerate() {
        x = graph.scope(&format!("fc{layer}")).linear(x, units).relu();
    }
    let logits = graph.scope("out").linear(x, 10);
    let loss = logits.softmax_cross_entropy(labels).mean_all();
    let (_, together) = program(&graph, loss);
    assert_eq!(together.concat().len(), 12, "{together:#?}");
    assert_eq!(together.len(), 10, "{together:#?}");
    let beside = ["matmul, sum", "matmul+greater+mul"];
    assert_eq!(together.iter().filter(|group| group[..] == beside).count(), 2, "{together:#?}");
}

#[test]
fn branches_run_beside_each_other() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [64, 32], DType::F32);
    let towers: Vec<Tensor<'_>> = (0..3)
        .map(|tower| {
            (0..3).fold(x, |x, layer| {
                graph.scope(&format!("tower{tower}/fc{layer}")).linear(x, 32).tanh()
            })
        })
        .collect();
    let loss = (towers[0] * towers[1] + towers[2]).square().mean_all();
    let (program, together) = program(&graph, loss);
    // In the order of the nodes each tower would be computed by itself. The last layer of one of them is
    // computed with what is made of all three.
    let layers = ["matmul+add+tanh"; 8];
    assert!(together[..3].concat() == layers, "{together:#?}");
    assert_eq!(together[..3].iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 2], "{together:#?}");
    assert_eq!((together.concat().len(), together.len()), (30, 16), "{together:#?}");
    assert!(program.memory.total() <= program.memory.least + TARGET.spare);
    // Each gradient of a weight writes the packed buffer.
    let packed = |group: &Vec<String>| group.iter().filter(|name| *name == "matmul, sum").count();
    assert!(together.iter().all(|group| packed(group) <= 1), "{together:#?}");
}

/// Whatever the order, each step comes after those that it needs, and no value takes more.
#[test]
fn an_order_keeps_what_depends_on_each_other() {
    for towers in 1..6 {
        let graph = Graph::new();
        let x = graph.placeholder("x", [16, 8], DType::F32);
        let all = (0..towers).map(|tower| {
            let scope = graph.scope(&format!("tower{tower}"));
            let hidden = scope.scope("a").linear(x, 8 + tower).relu().dropout(scope.path(), 0.5);
            scope.scope("b").linear(hidden, 5)
        });
        let sum = all.reduce(|sum, x| sum + x).unwrap();
        let (program, _) = program(&graph, sum.square().mean_all());
        let mut written = BTreeSet::new();
        for step in &program.steps {
            for (place, access) in step.uses() {
                let Place::Value(id) = place else { continue };
                if access == Write {
                    written.insert(id);
                }
                assert!(written.contains(&id), "{towers}: {id} is read before it is written");
            }
        }
        assert!(program.memory.total() <= program.memory.least + TARGET.spare, "{towers}");
    }
}

/// Nothing replaces a weight before all its readers, and nothing reads the packed gradients, of which
/// there is one buffer, before all are there.
#[test]
fn updates_come_after_what_they_need() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [16, 8], DType::F32);
    let towers: Vec<Tensor<'_>> = (0..3)
        .map(|tower| {
            let scope = graph.scope(&format!("tower{tower}"));
            scope.scope("b").linear(scope.scope("a").linear(x, 8).tanh(), 8).tanh()
        })
        .collect();
    let loss = (towers[0] * towers[1] + towers[2]).square().mean_all();
    let first = |name: &str| name.starts_with("tower0");
    // Without clipping an update reads no gradient by itself.
    let one = Optimizer::adam(1e-3).minimize_where(loss, |v| first(&v.name));
    let other = Optimizer::sgd(0.1).named("other");
    let other = other.minimize_where(loss, |v| !first(&v.name));
    let def = graph.finish().unwrap();
    let updates = [one.update.id(), other.update.id()];
    let program = compile(&def, &[loss.id()], &updates, TARGET).unwrap();

    let is_weight = |place: &Place| match place {
        Place::Variable(id) => def.variable(*id).role == Role::Trainable,
        _ => false,
    };
    let optimizers = program.steps.iter().filter_map(|step| match step {
        Step::Optimizer(step) => Some(&step.gradients),
        Step::Dispatch(_) => None,
    });
    let parts: Vec<&Part> = optimizers.flatten().collect();
    let all = program.gradients.0.iter().filter(|(_, part)| parts.contains(part));
    let all: HashSet<Place> = all.map(|(&id, _)| Place::Value(id)).collect();
    let (mut replaced, mut gradients, mut readers) = (HashSet::new(), 0, 0);
    for step in &program.steps {
        let is_update = matches!(step, Step::Optimizer(_));
        // Those of this update and of all before it.
        let updated = step
            .uses()
            .iter()
            .filter(|(place, access)| *access == Write && is_weight(place))
            .count();
        let wanted = if is_update { replaced.len() + updated } else { 1 };
        for (place, access) in step.uses() {
            match (place, access) {
                (place, Write) if is_weight(&place) => drop(replaced.insert(place)),
                (place, Read) if is_weight(&place) && !is_update => {
                    assert!(!replaced.contains(&place), "{place:?} is read after its update");
                }
                (Place::Packed(_), Write) => panic!("gradients are written one by one"),
                (Place::Packed(_), Read) => {
                    readers += 1;
                    assert!(gradients >= wanted, "{gradients} of {wanted} gradients are there");
                }
                (place, Write) if all.contains(&place) => gradients += 1,
                _ => {}
            }
        }
    }
    assert_eq!((replaced.len(), gradients), (12, 12));
    assert!(readers >= 2, "each optimizer reads them");
}

#[test]
fn what_a_step_needs_is_all_that_touches_its_places() {
    let weight = Place::Variable(warmstart_graph::VariableId(0));
    let uses = [
        vec![(weight, Read), (Place::Value(1), Write)],
        vec![(Place::Feed(9), Read), (Place::Value(2), Write)],
        vec![(Place::Value(1), Read), (Place::Value(3), Write)],
        vec![(Place::Packed(0), Read), (weight, Write)],
        vec![(weight, Read), (Place::Value(1), Write)],
        vec![(Place::Packed(1), Read)],
        vec![(Place::Value(5), Write)],
    ];
    let part = |region, offset| Part { region, offset, bytes: 4 };
    let packed = Gradients([(1, part(0, 0)), (2, part(0, 4)), (5, part(1, 0))].into());
    let expected: [&[usize]; 7] = [&[], &[], &[0], &[0, 1], &[0, 2, 3], &[], &[5]];
    let found = needed(&uses, &packed);
    assert_eq!(found, expected.map(|of| of.iter().copied().collect::<BTreeSet<usize>>()));
}
