use super::*;
use crate::compile::Place;
use crate::compile::classes::Class;
use crate::compile::matmul::{Operand, Product, Rung};
use crate::device::gpu::GpuOptions;
use crate::session::Session;
use warmstart_graph::{DType, Graph, Optimizer};

pub(super) fn gpu(tune: Tune, cache: &CacheChoice) -> Gpu {
    gpu_of(tune, cache, BUDGET)
}

/// The same with so much time for measuring.
pub(super) fn gpu_of(tune: Tune, cache: &CacheChoice, tune_budget: Duration) -> Gpu {
    let (tune, cache) = (Some(tune), Some(cache.clone()));
    Gpu::with(&GpuOptions { tune, cache, tune_budget, ..Default::default() }).unwrap()
}

pub(super) fn directory() -> (tempfile::TempDir, CacheChoice) {
    let directory = tempfile::tempdir().unwrap();
    let cache = CacheChoice::Directory(directory.path().to_owned());
    (directory, cache)
}

/// A kernel that writes `expression` of `a[i]` to `result[i]`.
pub(super) fn source(expression: &str) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read> a: array<f32>;\n\
         @group(0) @binding(1) var<storage, read_write> result: array<f32>;\n\
         @compute @workgroup_size(64)\n\
         fn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n\
         let i = id.x;\nif (i < 256u) {{ result[i] = {expression}; }}\n}}\n"
    )
}

/// The class of a product of so many rows.
fn class_of(m: usize) -> Class {
    let operand = Operand { row: 64, column: 1, batch: 0, dtype: DType::F32 };
    Class::of(&Product { batch: 1, m, n: 64, k: 64, a: operand, b: operand, sliced: None })
}

/// The kernels of a dispatch.
pub(super) fn all(dispatch: &Dispatch) -> Vec<Trial<'_>> {
    trials(dispatch.tuned.as_ref().unwrap(), dispatch).collect()
}

/// What comes of measuring kernels, if all is known of them then.
fn measured(
    gpu: &Gpu,
    trials: &[Trial<'_>],
    bindings: &[(u64, Access)],
    left: Duration,
) -> Option<Vec<Outcome>> {
    let mut outcomes = vec![None; trials.len()];
    let time = Clock::default();
    measure::measure(gpu, trials, bindings, &mut outcomes, &time.time(left, None)).unwrap();
    outcomes.into_iter().collect()
}

/// A dispatch of such kernels, the first of which is the usual one.
pub(super) fn dispatch(sources: &[String]) -> Dispatch {
    let rungs = [Rung::Register, Rung::Subgroup { tall: true, wide: true }, Rung::Naive];
    let others = sources[1..].iter().zip(rungs).map(|(source, rung)| Alternative {
        variant: Variant::Product(rung),
        kernel: "other",
        source: source.clone(),
        constants: Vec::new(),
        workgroups: [4, 1, 1],
    });
    let usual = Variant::Product(Rung::Tile { rows: 64, columns: 64, fours: true });
    Dispatch {
        tuned: Some(Tuned { class: class_of(64), fused: "plain", usual }),
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
    let trials = all(&dispatch);
    let outcomes = measured(&gpu, &trials, &bindings, Duration::MAX).unwrap();
    let unfit: Vec<bool> = outcomes.iter().map(|outcome| *outcome == Outcome::Unfit).collect();
    assert_eq!(unfit, [false, false, true, true]);
    // Without time nothing is known of any; of what is too large, neither.
    for left in [Duration::ZERO, Duration::from_nanos(1)] {
        assert_eq!(measured(&gpu, &trials, &bindings, left), None);
    }
    let large = [(1 << 30, Access::Read), (1024, Access::Write)];
    assert_eq!(measured(&gpu, &trials, &large, Duration::MAX), None);
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
        let trials = all(&dispatch);
        let outcomes = measured(&gpu, &trials, &bindings, Duration::MAX).unwrap();
        let unfit: Vec<bool> = outcomes.iter().map(|outcome| *outcome == Outcome::Unfit).collect();
        assert_eq!(unfit, [false, true, false], "{bad}");
    }
    // If the usual one is refused, compiling the plan will say so.
    let dispatch = dispatch(&[source("nothing[i]"), good]);
    let trials = all(&dispatch);
    assert_eq!(measured(&gpu, &trials, &bindings, Duration::MAX), None);
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

#[test]
fn bits_are_those_of_two_kernels_and_their_buffers() {
    let dispatch = dispatch(&[source("a[i] + 1.0"), source("1.0 + a[i]")]);
    let name_of = |dispatch: &Dispatch| name(dispatch, &dispatch.alternatives[0], &[1024, 1024]);
    let changed = |change: fn(&mut Dispatch)| {
        let mut dispatch = dispatch.clone();
        change(&mut dispatch);
        name_of(&dispatch)
    };
    let others = [
        changed(|dispatch| dispatch.source.push(' ')),
        changed(|dispatch| dispatch.constants.push(("K", 1.0))),
        changed(|dispatch| dispatch.workgroups = [8, 1, 1]),
        changed(|dispatch| dispatch.alternatives[0].source.push(' ')),
        changed(|dispatch| dispatch.alternatives[0].constants.push(("K", 1.0))),
        changed(|dispatch| dispatch.alternatives[0].workgroups = [8, 1, 1]),
        name(&dispatch, &dispatch.alternatives[0], &[1024, 1028]),
    ];
    let usual = name_of(&dispatch);
    assert!(!others.contains(&usual), "{usual} {others:?}");
    assert_eq!(changed(|_| ()), usual);
}

#[test]
fn a_choice_is_that_of_the_kernels_there_are() {
    let sources = [source("a[i] + 1.0"), source("1.0 + a[i]"), source("a[i] - -1.0")];
    let dispatch = dispatch(&sources);
    let class = |change: fn(&mut Tuned, &mut Vec<Alternative>)| {
        let (mut tuned, mut others) =
            (dispatch.tuned.clone().unwrap(), dispatch.alternatives.clone());
        change(&mut tuned, &mut others);
        super::class(&tuned, &others)
    };
    let usual = class(|_, _| ());
    // Which of them is the usual one, and what is written in them, is no other class.
    assert_eq!(
        class(|tuned, others| std::mem::swap(&mut tuned.usual, &mut others[0].variant)),
        usual
    );
    assert_eq!(class(|_, others| others[0].source.push(' ')), usual);
    assert_ne!(class(|_, others| drop(others.pop())), usual);
    assert_ne!(class(|_, others| others[0].variant = Variant::Product(Rung::Naive)), usual);
    assert_ne!(class(|tuned, _| tuned.fused = "sums"), usual);
    assert_ne!(class(|tuned, _| tuned.class = class_of(65)), usual);
    assert_eq!(class(|tuned, _| tuned.class = class_of(60)), usual);
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
    let usual = dispatch(&[source("a[i] + 1.0"), source("1.0 + a[i]")]);
    let of = |rows| {
        let mut dispatch = usual.clone();
        dispatch.tuned.as_mut().unwrap().class = class_of(rows);
        dispatch
    };
    let mut choices = Vec::new();
    // Rows, buffers, and how many classes are measured.
    for (rows, bytes, expected) in [
        (64, 1024, 1),
        (64, 1024, 0),
        (60, 1024, 0),
        // Another size of buffers: the choice holds, its bits are compared anew.
        (60, 1028, 0),
        (65, 1024, 1),
        (60, 1024, 0),
    ] {
        let gpu = gpu(Tune::On, &cache);
        let dispatch = of(rows);
        let choice =
            gpu.tuner().choose(&gpu, &dispatch, &[bytes, bytes]).map(|other| other.variant);
        choices.extend((rows != 65).then_some(choice));
        assert_eq!(gpu.measured_kernels().len(), expected, "{rows} {bytes}");
    }
    assert!(choices.iter().all(|choice| *choice == choices[0]), "{choices:?}");

    let forced = gpu(Tune::Force, &cache);
    let before = forced.tuner().read();
    for rows in [64, 60] {
        forced.tuner().choose(&forced, &of(rows), &[1024, 1024]);
    }
    assert_eq!(forced.measured_kernels().len(), 1, "it was read from disk, or measured twice");
    let after = forced.tuner().read();
    assert_eq!(before.classes.len(), 2);
    assert!(before.classes.keys().all(|class| after.classes.contains_key(class)));
    // A choice that is not there any more is made anew.
    let gpu = gpu(Tune::On, &cache);
    let tuned = usual.tuned.as_ref().unwrap();
    let class = class(tuned, &usual.alternatives);
    gpu.tuner().write(&Known {
        classes: [(class, Variant::Product(Rung::Naive))].into(),
        ..Known::default()
    });
    gpu.tuner().choose(&gpu, &usual, &[1024, 1024]);
    assert_eq!(gpu.measured_kernels().len(), 1, "a kernel that is not there was chosen");
}

/// A class's choice is no promise about the bits of all its products.
#[test]
fn a_choice_is_followed_only_where_its_bits_are_the_same() {
    let (_directory, cache) = directory();
    for (other, expected) in
        [("3.0 * a[i]", Bits::Same), ("a[i] * 3.0000002", Bits::Other), ("nothing[i]", Bits::Other)]
    {
        let dispatch = dispatch(&[source("a[i] * 3.0"), source(other)]);
        let key = class(dispatch.tuned.as_ref().unwrap(), &dispatch.alternatives);
        let known =
            Known { classes: [(key, Variant::Product(Rung::Register))].into(), ..Known::default() };
        gpu(Tune::On, &cache).tuner().write(&known);
        let name = name(&dispatch, &dispatch.alternatives[0], &[1024, 1024]);
        let choose = |gpu: &Gpu| gpu.tuner().choose(gpu, &dispatch, &[1024, 1024]).is_some();
        // Without time, nothing is compared, and nothing kept.
        let late = gpu(Tune::On, &cache);
        locked(&late.tuner().state).spent = BUDGET;
        assert!(!choose(&late) && !late.tuner().read().bits.contains_key(&name), "{other}");
        for process in 0..2 {
            let gpu = gpu(Tune::On, &cache);
            assert_eq!(choose(&gpu), expected == Bits::Same, "{other}");
            assert_eq!(locked(&gpu.tuner().state).spent.is_zero(), process > 0, "{other}");
            assert_eq!(gpu.tuner().read().bits.get(&name).copied(), Some(expected), "{other}");
            assert!(gpu.measured_kernels().is_empty());
        }
    }
    // Without the usual kernel there is nothing to compare with.
    let gpu = gpu(Tune::Off, &cache);
    let dispatch = dispatch(&[source("nothing[i]"), source("a[i]")]);
    let [usual, other] = all(&dispatch).try_into().ok().unwrap();
    let bindings = [(1024, Access::Read), (1024, Access::Write)];
    let clock = Clock::default();
    let time = clock.time(Duration::MAX, None);
    let compared = measure::are_alike(&gpu, &[usual, other], &bindings, None, &time);
    assert_eq!(compared.unwrap(), None);
}

/// Before there were classes a choice was kept as JSON, by a hash of all kernels.
#[test]
fn what_earlier_releases_have_kept_is_ignored() {
    let (directory, cache) = directory();
    let dispatch = dispatch(&[source("a[i] + 1.0"), source("1.0 + a[i]")]);
    let files = || directory.path().join("kernels").read_dir().unwrap().count();
    let old = br#"{"000102030405060708090a0b0c0d0e0f":"register","f0":null}"#;
    let before = gpu(Tune::On, &cache);
    let Tuner { folder, key, .. } = before.tuner();
    let (earlier, _) = key.rsplit_once('\n').unwrap();
    for key in [earlier, key] {
        folder.as_ref().unwrap().write(key, old);
    }
    assert_eq!(before.tuner().read(), Known::default());
    before.tuner().choose(&before, &dispatch, &[1024, 1024]);
    assert_eq!(before.measured_kernels().len(), 1);
    assert_eq!((before.tuner().read().classes.len(), files()), (1, 2));
    let after = gpu(Tune::On, &cache);
    after.tuner().choose(&after, &dispatch, &[1024, 1024]);
    assert!(after.measured_kernels().is_empty());
}

/// A change of the batch size measures nothing, unless it is another number of tiles; and results
/// are those without measuring.
#[test]
fn products_of_one_class_are_measured_once() {
    let (_directory, cache) = directory();
    let [measuring, off] = [Tune::Force, Tune::Off].map(|tune| gpu(tune, &cache));
    for (rows, expected) in [(64, 1), (60, 1), (33, 1), (70, 2), (64, 2)] {
        let results = [&measuring, &off].map(|gpu| {
            let graph = Graph::new();
            let x = graph.placeholder("x", [rows, 80], DType::F32);
            let y = graph.scope("fc").linear(x, 72).relu();
            let mut session = Session::new(gpu);
            let plan = session.compile(&graph, &[y], &[]).unwrap();
            session.initialize_missing(7).unwrap();
            let inputs: Vec<f32> = (0..rows * 80).map(|i| (i % 13) as f32 / 13.0 - 0.5).collect();
            let outputs = session.run(&plan, &[("x", (&inputs).into())]).unwrap();
            outputs.tensor(y).unwrap().to_le_bytes()
        });
        assert!(results[0] == results[1], "{rows} rows: other bits");
        assert_eq!(measuring.measured_kernels().len(), expected, "{rows} rows");
    }
    assert!(off.measured_kernels().is_empty());
}

#[test]
fn what_was_measured_is_a_line_of_the_table() {
    let kernel = MeasuredKernel {
        adapter: "amd",
        class: "1 64 64 64 f32n4 f32n4".to_owned(),
        fused: "plain",
        chosen: "register",
        seconds: vec![("tile32x32", Some(0.002)), ("register", Some(0.0015)), ("naive", None)],
        device: "a GPU, its driver 1.2".to_owned(),
    };
    let expected = "amd 1 64 64 64 f32n4 f32n4 register  1.500 ms, tile32x32 2.000 ms, plain, \
                    a GPU, its driver 1.2";
    assert_eq!(kernel.to_string(), expected);
    let usual = MeasuredKernel { chosen: "tile32x32", ..kernel };
    let expected = "amd 1 64 64 64 f32n4 f32n4 tile32x32  2.000 ms, plain, a GPU, its driver 1.2";
    assert_eq!(usual.to_string(), expected);
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
        sliced: None,
    };
    let target = Target {
        is_cpu: false,
        ends_no_loops: false,
        maker: "other",
        subgroup_size: Some(8),
        least_subgroup: Some(8),
        has_int64: true,
        has_f16: true,
        cooperative: None,
        storage_buffers: 8,
        binding_bytes: 1 << 30,
        workgroups: 1 << 6,
        shipped: crate::compile::classes::release_table,
        alternatives: true,
        subgroup_rows: false,
        in_place: true,
        spare: 0,
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

/// An operand that is read as pairs or fours by the product, and one by one by what is fused into it, is
/// bound once, whatever it is stored as: so what is fused takes no kernel from the choice.
#[test]
fn alternatives_bind_what_the_dispatch_binds() {
    let (_directory, cache) = directory();
    let target = Target {
        is_cpu: true,
        subgroup_size: Some(8),
        has_int64: true,
        has_f16: true,
        alternatives: true,
        ..Target::of(&gpu(Tune::Off, &cache))
    };
    let counts = |dtype| {
        let graph = Graph::new();
        let x = graph.placeholder("x", [64, 64], dtype).cast(DType::F32);
        let weight = graph.variable("weight", [64, 64], warmstart_graph::Initializer::Zeros);
        let product = x.matmul(weight);
        let sum = product + x;
        let def = graph.finish().unwrap();
        [product, sum].map(|fetch| {
            let program = crate::compile::compile(&def, &[fetch.id()], &[], target).unwrap();
            let [crate::compile::Step::Dispatch(dispatch)] = &program.steps[..] else {
                panic!("{} steps", program.steps.len())
            };
            assert_eq!(dispatch.bindings.len(), 3);
            for other in &dispatch.alternatives {
                let declared = other.source.matches("@group(0) @binding(").count();
                assert_eq!(declared, dispatch.bindings.len(), "{:?}", other.variant);
            }
            dispatch.alternatives.len()
        })
    };
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        let [product, sum] = counts(dtype);
        assert!(0 < sum && sum == product, "{dtype}: {sum} of {product}");
    }
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
