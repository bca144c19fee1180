use super::*;
use crate::compile::{Place, Target};
use crate::device::GpuOptions;
use crate::session::Session;
use warmstart_graph::{DType, Graph, Optimizer};

fn gpu(tune: Tune, cache: &CacheChoice) -> Gpu {
    let (tune, cache) = (Some(tune), Some(cache.clone()));
    Gpu::with(&GpuOptions { tune, cache, ..Default::default() }).unwrap()
}

fn directory() -> (tempfile::TempDir, CacheChoice) {
    let directory = tempfile::tempdir().unwrap();
    let cache = CacheChoice::Directory(directory.path().to_owned());
    (directory, cache)
}

/// A kernel that writes `expression` of `a[i]` to `result[i]`.
fn source(expression: &str) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read> a: array<f32>;\n\
         @group(0) @binding(1) var<storage, read_write> result: array<f32>;\n\
         @compute @workgroup_size(64)\n\
         fn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n\
         let i = id.x;\nif (i < 256u) {{ result[i] = {expression}; }}\n}}\n"
    )
}

/// A dispatch of such kernels, the first of which is the usual one.
fn dispatch(sources: &[String]) -> Dispatch {
    let rungs = [Rung::Register, Rung::Subgroup { tall: true, wide: true }, Rung::Naive];
    let others = sources[1..].iter().zip(rungs).map(|(source, rung)| Alternative {
        rung,
        kernel: "other",
        source: source.clone(),
        constants: Vec::new(),
        workgroups: [4, 1, 1],
    });
    Dispatch {
        label: "a test".to_owned(),
        kernel: "usual",
        source: sources[0].clone(),
        constants: Vec::new(),
        bindings: vec![(Place::Scratch(0), Access::Read), (Place::Scratch(1), Access::Write)],
        workgroups: [4, 1, 1],
        bytes: 2048,
        operations: 256,
        alternatives: others.collect(),
    }
}

#[test]
fn the_fastest_is_taken_if_it_is_clearly_so() {
    let outcome = |micros| match micros {
        0 => Outcome::Unfit,
        micros => Outcome::Took(Duration::from_micros(micros)),
    };
    let times = |micros: &[u64]| -> Vec<Outcome> { micros.iter().copied().map(outcome).collect() };
    assert_eq!(fastest(&times(&[100, 94, 90])), Some(1));
    assert_eq!(fastest(&times(&[100, 96])), None);
    assert_eq!(fastest(&times(&[100, 0, 120, 50])), Some(2));
    assert_eq!(fastest(&times(&[100])), None);
    // Nothing is known of the usual one.
    assert_eq!(fastest(&times(&[0, 90])), None);
    assert_eq!(fastest(&[]), None);
}

#[test]
fn a_kernel_with_other_bits_is_unfit() {
    let (_directory, cache) = directory();
    let gpu = gpu(Tune::Off, &cache);
    // The third is off by one rounding, the fourth leaves the last result out.
    let sources = [
        source("a[i] * 3.0"),
        source("3.0 * a[i]"),
        source("a[i] * 3.0000002"),
        source("a[i] * 3.0").replace("256u", "255u"),
    ];
    let dispatch = dispatch(&sources);
    let bindings = [(1024, Access::Read), (1024, Access::Write)];
    let trials: Vec<Trial<'_>> = trials(&dispatch).collect();
    let outcomes = measure::measure(&gpu, &trials, &bindings, Duration::MAX).unwrap().unwrap();
    let unfit: Vec<bool> = outcomes.iter().map(|outcome| *outcome == Outcome::Unfit).collect();
    assert_eq!(unfit, [false, false, true, true]);
    // Without time nothing is known of any; of what is too large, neither.
    for left in [Duration::ZERO, Duration::from_nanos(1)] {
        assert_eq!(measure::measure(&gpu, &trials, &bindings, left).unwrap(), None);
    }
    let large = [(1 << 30, Access::Read), (1024, Access::Write)];
    assert_eq!(measure::measure(&gpu, &trials, &large, Duration::MAX).unwrap(), None);
}

#[test]
fn a_kernel_that_the_device_refuses_spoils_no_measurement() {
    let (_directory, cache) = directory();
    let gpu = gpu(Tune::Off, &cache);
    let good = source("a[i] * 3.0");
    // Two do not compile; one that does binds other buffers.
    let bad =
        [source("nothing[i]"), source("f32(missing)"), good.replace("@binding(1)", "@binding(2)")];
    let bindings = [(1024, Access::Read), (1024, Access::Write)];
    for bad in bad {
        let dispatch = dispatch(&[good.clone(), bad.clone(), good.clone()]);
        let trials: Vec<Trial<'_>> = trials(&dispatch).collect();
        let outcomes = measure::measure(&gpu, &trials, &bindings, Duration::MAX).unwrap().unwrap();
        let unfit: Vec<bool> = outcomes.iter().map(|outcome| *outcome == Outcome::Unfit).collect();
        assert_eq!(unfit, [false, true, false], "{bad}");
    }
    // If the usual one is refused, compiling the plan will say so.
    let dispatch = dispatch(&[source("nothing[i]"), good]);
    let trials: Vec<Trial<'_>> = trials(&dispatch).collect();
    assert_eq!(measure::measure(&gpu, &trials, &bindings, Duration::MAX).unwrap(), None);
    gpu.healthy().unwrap();
}

#[test]
fn measuring_takes_no_error_that_is_anothers() {
    let (_directory, cache) = directory();
    let gpu = gpu(Tune::Force, &cache);
    let dispatch = dispatch(&[source("a[i] + 1.0"), source("1.0 + a[i]")]);
    // Outside of any error scope.
    let _ = gpu.device().create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("mistaken"),
        source: wgpu::ShaderSource::Wgsl("not a shader".into()),
    });
    gpu.tuner().choose(&gpu, &dispatch, &[1024, 1024]);
    assert!(!locked(&gpu.tuner().state).spent.is_zero());
    assert!(gpu.healthy().is_err(), "the error is gone");
}

/// What was not measured, or not to the end, is not known to the next process either.
#[test]
fn without_time_nothing_is_kept() {
    let (directory, cache) = directory();
    let dispatch = dispatch(&[source("a[i] + 1.0"), source("1.0 + a[i]")]);
    let kept = || directory.path().join("kernels").exists();
    for spent in [BUDGET, BUDGET - Duration::from_nanos(1)] {
        let gpu = gpu(Tune::On, &cache);
        locked(&gpu.tuner().state).spent = spent;
        assert!(gpu.tuner().choose(&gpu, &dispatch, &[1024, 1024]).is_none());
        assert_eq!(locked(&gpu.tuner().state).choices, Some(HashMap::new()));
        assert!(!kept(), "a choice was kept that nobody made");
    }
    let gpu = gpu(Tune::On, &cache);
    gpu.tuner().choose(&gpu, &dispatch, &[1024, 1024]);
    assert!(kept());
}

#[test]
fn a_choice_is_that_of_all_kernels_it_was_made_from() {
    let dispatch = dispatch(&[source("a[i] + 1.0"), source("1.0 + a[i]")]);
    let usual = name(&dispatch, &[1024, 1024]);
    let changed = |change: fn(&mut Alternative)| {
        let mut dispatch = dispatch.clone();
        change(&mut dispatch.alternatives[0]);
        name(&dispatch, &[1024, 1024])
    };
    let others = [
        changed(|other| other.source.push(' ')),
        changed(|other| other.constants.push(("K", 1.0))),
        changed(|other| other.workgroups = [8, 1, 1]),
        changed(|other| other.rung = Rung::Naive),
        name(&dispatch, &[1024, 1028]),
    ];
    assert!(!others.contains(&usual), "{usual} {others:?}");
    assert_eq!(changed(|_| ()), usual);
}

/// `WGPU` is a part of what choices are kept under.
#[test]
fn choices_are_those_of_this_wgpu() {
    let lock = include_str!("../../../../Cargo.lock");
    let version = lock.split_once("name = \"wgpu\"\nversion = \"").unwrap().1;
    assert_eq!(version.split_once('"').unwrap().0, WGPU, "tune/mod.rs names another wgpu");
}

#[test]
fn what_one_process_has_measured_the_next_does_not() {
    let (_directory, cache) = directory();
    let sources = [source("a[i] + 1.0"), source("1.0 + a[i]")];
    let dispatch = dispatch(&sources);
    let spent = |gpu: &Gpu| locked(&gpu.tuner().state).spent;
    let mut choices = Vec::new();
    for process in 0..3 {
        let gpu = gpu(Tune::On, &cache);
        choices.push(gpu.tuner().choose(&gpu, &dispatch, &[1024, 1024]).map(|other| other.rung));
        assert_eq!(spent(&gpu).is_zero(), process > 0, "process {process}");
        // Another size of buffers is another dispatch.
        if process == 2 {
            gpu.tuner().choose(&gpu, &dispatch, &[1024, 1028]);
            assert!(!spent(&gpu).is_zero());
        }
    }
    assert!(choices.iter().all(|choice| *choice == choices[0]), "{choices:?}");
    let forced = gpu(Tune::Force, &cache);
    let before = forced.tuner().read();
    forced.tuner().choose(&forced, &dispatch, &[1024, 1024]);
    assert!(!spent(&forced).is_zero(), "a forced measurement was read from disk");
    let after = forced.tuner().read();
    assert_eq!(before.len(), 2);
    assert!(before.keys().all(|name| after.contains_key(name)), "{before:?} {after:?}");
    // A choice that is not there any more is made anew.
    let tuner = gpu(Tune::On, &cache);
    let choice = HashMap::from([(
        name(&dispatch, &[1024, 1024]),
        Some(Rung::Tile { rows: 128, columns: 64, fours: false }),
    )]);
    tuner.tuner().write(&choice);
    tuner.tuner().choose(&tuner, &dispatch, &[1024, 1024]);
    assert!(!spent(&tuner).is_zero(), "a kernel that is not there was chosen");
}

#[test]
fn on_leaves_software_adapters_alone_and_off_everything() {
    let (_directory, cache) = directory();
    for (tune, expected) in
        [(Tune::Off, [false, false]), (Tune::On, [false, true]), (Tune::Force, [true, true])]
    {
        let gpu = gpu(tune, &cache);
        assert_eq!([true, false].map(|is_cpu| gpu.tuner().wants_alternatives(is_cpu)), expected);
    }
}

#[test]
fn alternatives_are_those_that_the_device_can_run() {
    let operand =
        crate::compile::matmul::Operand { row: 64, column: 1, batch: 0, dtype: DType::F32 };
    let product = crate::compile::matmul::Product {
        batch: 1,
        m: 1 << 14,
        n: 64,
        k: 64,
        a: operand,
        b: operand,
    };
    let target = Target {
        is_cpu: false,
        subgroup_size: Some(8),
        has_int64: true,
        has_f16: true,
        cooperative: None,
        storage_buffers: 8,
        binding_bytes: 1 << 30,
        workgroups: 1 << 9,
        alternatives: true,
        in_place: true,
        keeps: true,
    };
    let usual = Rung::usual(&product, target);
    let others = Rung::others(&product, target);
    assert!(!others.contains(&usual) && !others.contains(&Rung::Naive), "{usual:?} {others:?}");
    let tile = |rows, columns, fours| Rung::Tile { rows, columns, fours };
    assert_eq!(usual, tile(64, 64, true));
    let tiles = [tile(32, 32, true), tile(64, 64, false), tile(128, 64, true)];
    assert_eq!(others[..3], tiles, "{others:?}");
    assert!(!others.iter().any(|rung| matches!(rung, Rung::Subgroup { .. })), "{others:?}");
}

/// An operand that is read as pairs by the product, and one by one by what is fused into it, is bound
/// twice: kernels that bind it once are no alternatives.
#[test]
fn alternatives_bind_what_the_dispatch_binds() {
    let (_directory, cache) = directory();
    let target = Target {
        is_cpu: true,
        subgroup_size: Some(8),
        has_int64: true,
        alternatives: true,
        ..Target::of(&gpu(Tune::Off, &cache))
    };
    let graph = Graph::new();
    let x = graph.placeholder("x", [64, 64], DType::F32);
    let weight = graph.variable("weight", [64, 64], warmstart_graph::Initializer::Zeros);
    let product = x.matmul(weight);
    let sum = product + x;
    let def = graph.finish().unwrap();
    let mut counts = Vec::new();
    for (fetch, operands) in [(product, 2), (sum, 3)] {
        let program = crate::compile::compile(&def, &[fetch.id()], &[], target).unwrap();
        let [crate::compile::Step::Dispatch(dispatch)] = &program.steps[..] else {
            panic!("{} steps", program.steps.len())
        };
        assert_eq!(dispatch.bindings.len(), operands + 1);
        for other in &dispatch.alternatives {
            let declared = other.source.matches("@group(0) @binding(").count();
            assert_eq!(declared, dispatch.bindings.len(), "{:?}", other.rung);
        }
        counts.push(dispatch.alternatives.len());
    }
    assert!(0 < counts[1] && counts[1] < counts[0], "{counts:?}");
}

/// A step of training gives the same bits whether kernels are measured or not.
#[test]
fn measuring_changes_no_bits() {
    let (_directory, cache) = directory();
    let mut trained = Vec::new();
    for tune in [Tune::Off, Tune::Force] {
        let gpu = gpu(tune, &cache);
        let graph = Graph::new();
        let x = graph.placeholder("x", [96, 80], DType::F32);
        let loss = graph.scope("fc").linear(x, 72).relu().square().mean_all();
        let step = Optimizer::sgd(0.1).minimize(loss);
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
        let measured = !locked(&gpu.tuner().state).spent.is_zero();
        assert_eq!(measured, tune == Tune::Force);
        session.initialize_missing(7).unwrap();
        let inputs: Vec<f32> = (0..96 * 80).map(|i| (i % 13) as f32 / 13.0).collect();
        let outputs = session.run(&plan, &[("x", (&inputs).into())]).unwrap();
        let loss = outputs.scalar(loss).unwrap().to_bits();
        trained.push((loss, session.read("fc/weight").unwrap().to_le_bytes()));
    }
    assert!(trained[0] == trained[1], "other kernels gave other bits");
}
