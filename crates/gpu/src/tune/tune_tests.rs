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
    let times = |micros: &[u64]| -> Vec<Option<Duration>> {
        micros.iter().map(|&m| (m > 0).then(|| Duration::from_micros(m))).collect()
    };
    assert_eq!(fastest(&times(&[100, 94, 90])), Some(1));
    assert_eq!(fastest(&times(&[100, 96])), None);
    assert_eq!(fastest(&times(&[100, 0, 120, 50])), Some(2));
    assert_eq!(fastest(&times(&[100])), None);
    // Nothing is known of the usual one.
    assert_eq!(fastest(&times(&[0, 90])), None);
    assert_eq!(fastest(&[]), None);
}

#[test]
fn a_kernel_with_other_bits_has_no_time() {
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
    let times = measure::measure(&gpu, &trials, &bindings, Duration::MAX).unwrap().unwrap();
    let timed: Vec<bool> = times.iter().map(Option::is_some).collect();
    assert_eq!(timed, [true, true, false, false]);
    // Without time, nothing is run; what is too large, neither.
    let times = measure::measure(&gpu, &trials, &bindings, Duration::ZERO).unwrap().unwrap();
    assert!(times.iter().all(Option::is_none));
    let large = [(1 << 30, Access::Read), (1024, Access::Write)];
    assert!(measure::measure(&gpu, &trials, &large, Duration::MAX).unwrap().is_none());
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
    forced.tuner().choose(&forced, &dispatch, &[1024, 1024]);
    assert!(!spent(&forced).is_zero(), "a forced measurement was read from disk");
    // A choice that is not there any more is made anew.
    let tuner = gpu(Tune::On, &cache);
    let choice = HashMap::from([(
        name(&dispatch, &[1024, 1024]),
        Some(Rung::Tile { rows: 128, columns: 64 }),
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
    let operand = crate::compile::matmul::Operand { row: 64, column: 1, batch: 0 };
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
        storage_buffers: 8,
        binding_bytes: 1 << 30,
        workgroups: 1 << 9,
        alternatives: true,
    };
    let usual = Rung::usual(&product, target);
    let others = Rung::others(&product, target);
    assert!(!others.contains(&usual) && !others.contains(&Rung::Naive), "{usual:?} {others:?}");
    assert!(others.contains(&Rung::Tile { rows: 128, columns: 64 }), "{others:?}");
    assert!(!others.iter().any(|rung| matches!(rung, Rung::Subgroup { .. })), "{others:?}");
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
