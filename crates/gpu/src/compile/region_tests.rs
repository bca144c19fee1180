//! Gradients that one binding does not hold: they lie in several regions.

use super::*;

/// A training, and devices of which a binding holds all of it, or ever less, down to its largest value.
fn limits(graph: &Graph, fetch: Tensor<'_>, updates: &[Update<'_>], target: Target) -> Vec<u64> {
    let Program { memory, .. } = program(graph, fetch, updates, target);
    let is_value = |place: &Place| !matches!(place, Place::Packed(_));
    let values = memory.places.iter().filter(|(place, _)| is_value(place));
    let largest = values.map(|(_, &(.., bytes))| padded(bytes)).max().unwrap();
    let Some(&(.., all)) = memory.places.get(&Place::Packed(0)) else { return Vec::new() };
    assert!(!memory.places.contains_key(&Place::Packed(1)));
    let limits: BTreeSet<u64> = [1, 2, 3, 6].map(|parts| padded(all / parts).max(largest)).into();
    limits.into_iter().collect()
}

/// Looks at where the gradients of a program lie, and tells how many regions there are.
fn regions(program: &Program, limit: u64) -> usize {
    let count = program.gradients.regions();
    let mut before = limit;
    for region in 0..count {
        let mut end = 0;
        for (at, (_, part)) in program.gradients.parts(region).enumerate() {
            assert_eq!(part.offset, end, "{part:?}");
            end += padded(part.bytes);
            assert!(at > 0 || before + end > limit, "{part:?} has room in the region before");
        }
        assert!(0 < end && end <= limit, "region {region} of {count}: {end} bytes");
        assert!(program.memory.places[&Place::Packed(region)].2 <= end);
        before = end;
    }
    assert!(program.memory.buffers.iter().all(|&bytes| bytes <= limit));
    // Each sum of squares has a place of its own, and all of them are added up.
    let constant = |constants: &[(&str, f64)], name: &str| {
        constants.iter().find(|(other, _)| *other == name).map(|&(_, value)| value as usize)
    };
    let squares = program.steps.iter().filter_map(|step| match step {
        Step::Dispatch(dispatch) if dispatch.kernel == "squares" => Some(&dispatch.constants),
        _ => None,
    });
    let places = ["FIRST", "SUMS"];
    let squares = squares.map(|constants| places.map(|name| constant(constants, name).unwrap()));
    let squares: Vec<[usize; 2]> = squares.collect();
    assert!(squares.windows(2).all(|two| two[0][0] + two[0][1] == two[1][0]), "{squares:?}");
    let sums: usize = squares.iter().map(|[_, sums]| sums).sum();
    for step in &program.steps {
        if let Step::Optimizer(step) = step {
            assert_eq!(constant(&step.constants, "SUMS"), Some(sums));
            assert!(squares.is_empty() || squares.len() == count);
        }
    }
    count
}

/// Looks at programs for devices of all limits; gives the regions and the ratios.
fn looked_at(
    graph: &Graph,
    fetch: Tensor<'_>,
    updates: &[Update<'_>],
    target: Target,
) -> Vec<(usize, f64)> {
    let all = limits(graph, fetch, updates, target).into_iter().map(|limit| {
        let found = program(graph, fetch, updates, Target { binding_bytes: limit, ..target });
        (regions(&found, limit), ratio(&found, target))
    });
    all.collect()
}

#[test]
fn gradients_of_any_number_of_regions_have_their_room() {
    type Make = fn(&Graph, u64) -> Tensor<'_>;
    let makes: [Make; 4] = [layers, joined, autoencoder, branches];
    for target in TARGETS {
        let mut found = Vec::new();
        for seed in 0..cases(12) {
            for make in makes {
                let graph = Graph::new();
                let (fetch, updates) = wanted(make(&graph, seed), true, seed % 2 == 0);
                found.extend(looked_at(&graph, fetch, &updates, target));
            }
            for how in ALL {
                let mut below = dice(seed, "regions");
                let widths: Vec<usize> = (0..3 + below(9)).map(|_| 1 + below(300)).collect();
                let graph = Graph::new();
                let (loss, updates) = perceptron(&graph, 1 + below(300), &widths, how);
                found.extend(looked_at(&graph, loss, &updates, target));
            }
        }
        let several = found.iter().filter(|(regions, _)| *regions > 1);
        let mut ratios: Vec<f64> = several.map(|&(_, ratio)| ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let most = found.iter().map(|&(regions, _)| regions).max().unwrap();
        println!(
            "software: {}: {} of {} in several regions, up to {most}; median {:.3}, most {:.3}",
            target.is_cpu,
            ratios.len(),
            found.len(),
            ratios[ratios.len() / 2],
            ratios[ratios.len() - 1]
        );
        assert!(ratios.len() * 3 > found.len() && most >= 5);
        // Some have buffers no larger than their largest value.
        assert!(ratios[ratios.len() - 1] <= 1.3);
    }
}

/// A norm that is fetched, of gradients by which nothing is updated.
#[test]
fn a_norm_alone_reads_regions_too() {
    for target in TARGETS {
        let graph = Graph::new();
        let (loss, _) = perceptron(&graph, 16, &[100; 5], How::Plainly);
        let norm = Optimizer::adam(1e-3).named("norm").minimize(loss).gradient_norm;
        for fetch in [norm, norm + loss] {
            let found = looked_at(&graph, fetch, &[], target);
            let found: Vec<usize> = found.into_iter().map(|(regions, _)| regions).collect();
            assert_eq!(found, [8, 4, 2, 1]);
        }
    }
}

/// Mesa's software driver ends a kernel's loops after 65,535 rounds, and the sums would lack the rest.
#[test]
fn software_adapters_sum_up_squares_in_few_rounds() {
    for parameters in [100, 4096 << 10, 16384 << 10, 32000 << 10] {
        let graph = Graph::new();
        let x = graph.variable("x", [parameters], warmstart_graph::Initializer::Zeros);
        let clipped = Optimizer::sgd(0.1).clip_global_norm(1.0);
        let updates = [clipped.minimize(x.square().sum_all()).update];
        let program = program(&graph, x.sum_all(), &updates, TARGETS[0]);
        let squares = program.steps.iter().find_map(|step| match step {
            Step::Dispatch(dispatch) if dispatch.kernel == "squares" => Some(dispatch),
            _ => None,
        });
        let constants: HashMap<&str, f64> = squares.unwrap().constants.iter().copied().collect();
        // Of each block 64 rounds, of eight lanes with two elements, and one of the loop over blocks.
        let rounds = (constants["BLOCKS"] / constants["SUMS"]).ceil() * 66.0;
        assert!(rounds < 65_535.0 && constants["SUMS"] <= 64.0, "{parameters}: {constants:?}");
    }
}

/// Two optimizers read regions of which each has gradients of both, and of one alone.
#[test]
fn optimizers_share_regions() {
    for target in TARGETS {
        let graph = Graph::new();
        let (loss, _) = perceptron(&graph, 16, &[100; 7], How::Plainly);
        let is_odd =
            |name: &str| ["1", "3", "5"].iter().any(|odd| name.contains(&format!("fc{odd}")));
        let clipped = Optimizer::adam(1e-3).named("first").clip_global_norm(1.0);
        let one = clipped.minimize_where(loss, |v| is_odd(&v.name)).update;
        let other = Optimizer::sgd(0.1).named("second");
        let other = other.minimize_where(loss, |v| !is_odd(&v.name)).update;
        let limits = limits(&graph, loss, &[one, other], target);
        assert!(limits.len() > 2);
        for binding_bytes in limits {
            let target = Target { binding_bytes, ..target };
            check(&program(&graph, loss, &[one, other], target));
        }
    }
}

#[test]
fn a_gradient_that_no_binding_holds_is_refused() {
    let graph = Graph::new();
    let (loss, updates) = perceptron(&graph, 1, &[100, 100, 10], How::Plainly);
    let def = graph.finish().unwrap();
    let target = Target { binding_bytes: 100 * 100 * 4 - 1, ..Target::GPU };
    let error = compile(&def, &[loss.id()], &[updates[0].id()], target).err().unwrap();
    assert!(error.is_too_large());
    let text = error.to_string();
    let says = " takes 40000 B, and one binding of this device holds at most 39999 B";
    assert!(text.starts_with("the result of matmul at ") && text.contains(says), "{text}");
}
