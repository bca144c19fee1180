//! The memory of a plan: little more than the least, and nothing that is needed is written over.

mod common;

use warmstart_gpu::Session;
use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::words::bytes_and_limit;
use warmstart_graph::{DType, Graph, Initializer, Optimizer, Scope, Tensor, TensorData, Update};

/// Layers that narrow, so that what one layer leaves is too small for another: their values lie side
/// by side.
#[test]
fn values_side_by_side_are_not_written_over() {
    const WIDTHS: [usize; 7] = [30, 20, 15, 10, 5, 3, 1];
    const BATCH: usize = 1000;
    let graph = Graph::new();
    let mut x = graph.placeholder("x", [BATCH, WIDTHS[0]], DType::F32);
    for (layer, &units) in WIDTHS[1..].iter().enumerate() {
        x = graph.scope(&format!("fc{layer}")).linear(x, units).tanh();
    }
    let loss = x.square().mean_all();
    let update = Optimizer::sgd(0.5).clip_global_norm(0.1).minimize(loss).update;
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[loss], &[update]).unwrap();
    session.initialize_missing(5).unwrap();

    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    let value = |index: usize| ((index * 37 % 101) as f32 - 50.0) / 50.0;
    let inputs: Vec<f32> = (0..BATCH * WIDTHS[0]).map(value).collect();
    let inputs = TensorData::new([BATCH, WIDTHS[0]], inputs).unwrap();
    reference.feed("x", &inputs);
    let names: Vec<String> =
        session.variables().iter().map(|info| info.name().to_owned()).collect();
    for name in &names {
        reference.assign(name, &session.read(name).unwrap());
    }
    for step in 0..3 {
        let found = session.run(&plan, &[("x", (&inputs).into())]).unwrap().scalar(loss).unwrap();
        let expected = reference.run(&[loss.id(), update.id()]).unwrap()[0].elements[0];
        assert!(
            (f64::from(found) - expected).abs() <= 1e-5 * expected,
            "{step}: {found} {expected}"
        );
    }
    for name in &names {
        let found = session.read(name).unwrap().to_f64();
        let Value { elements, .. } = reference.variable(name).unwrap();
        for (found, expected) in found.iter().zip(elements) {
            assert!((found - expected).abs() <= 1e-5, "{name}: {found} and not {expected}");
        }
    }
    // Apart they would take 1.23 times the least.
    let memory = plan.memory();
    assert!(memory.values as f64 <= 1.1 * memory.values_least as f64, "{plan}");
    let text = plan.to_string();
    assert!(text.contains("times the least possible"), "{text}");
}

/// A plan that only updates has no values at all.
#[test]
fn a_plan_without_values_takes_the_least() {
    let graph = Graph::new();
    let a = graph.variable("a", [4], Initializer::Zeros);
    let x = graph.placeholder("x", [4], DType::F32);
    let mut session = Session::new(&common::gpu());
    let plan = session.compile(&graph, &[], &[x.assign_to(a)]).unwrap();
    assert_eq!(plan.memory().values_least, plan.memory().values);
    assert!(plan.to_string().contains("1.00 times the least possible"), "{plan}");
}

/// What is told before anything is made is what is made.
#[test]
fn the_memory_of_a_plan_is_known_beforehand() {
    // With `f16`, which kernels round to it depends on the device.
    for is_mixed in [false, true] {
        let graph = Graph::new();
        let x = graph.placeholder("x", [37, 5], DType::F32);
        let labels = graph.placeholder("labels", [37], DType::I32);
        let table: Vec<f32> = (0..5).map(|at| at as f32).collect();
        let x = x * graph.constant(TensorData::new([5], table).unwrap());
        fn layers<'g>(scope: &Scope<'g>, x: Tensor<'g>) -> Tensor<'g> {
            let hidden = scope.scope("fc1").linear(x, 1030).gelu().dropout("fc1", 0.5);
            let hidden = scope.scope("fc2").linear(hidden, 66).relu();
            scope.scope("fc3").linear(hidden, 3)
        }
        let logits = match is_mixed {
            true => graph.root().compute_f16(|scope| layers(scope, x)),
            false => layers(&graph.root(), x),
        };
        let loss = logits.softmax_cross_entropy(labels);
        let trained = Optimizer::adam(0.1).clip_global_norm(1.0).minimize(loss).update;
        let mut session = Session::new(&common::gpu());
        for (fetches, updates) in [(vec![loss], vec![trained]), (vec![logits, loss], vec![])] {
            let before = session.variables().iter().count();
            let told = session.plan_memory(&graph, &fetches, &updates).unwrap();
            assert_eq!(session.variables().iter().count(), before, "nothing is declared");
            let plan = session.compile(&graph, &fetches, &updates).unwrap();
            assert_eq!(told, plan.memory(), "{plan}");
            let all = told.peak() + told.variables;
            assert!(told.within(all).is_ok());
            let error = told.within(all - 1).unwrap_err();
            assert!(error.is_too_large());
            let text = format!("{all} B of device memory, and may take {} B;", all - 1);
            assert!(error.to_string().contains(&text), "{error}");
        }
    }
}

/// Feeds that are larger than a binding are refused before variables get memory.
#[test]
fn feeds_that_no_binding_holds_are_refused_first() {
    let gpu = common::gpu();
    const WIDTH: usize = 1 << 14;
    let rows = gpu.limits().max_storage_buffer_binding_size as usize / 4 / WIDTH + 1;
    let graph = Graph::new();
    let (x, line) = (graph.placeholder("x", [rows, WIDTH], DType::F32), line!());
    let sum = graph.scope("fc").linear(x, 1).sum_all();
    let mut session = Session::new(&gpu);
    let limit = gpu.limits().max_storage_buffer_binding_size;
    let [bytes, limit] = bytes_and_limit((rows * WIDTH * 4) as u64, limit);
    let told = format!(
        "placeholder `x` (declared at {}:{line}) takes {bytes}, and one binding of this device holds at most {limit}",
        file!()
    );
    for error in [
        session.plan_memory(&graph, &[sum], &[]).unwrap_err(),
        session.compile(&graph, &[sum], &[]).err().unwrap(),
    ] {
        assert!(error.is_too_large());
        assert_eq!(error.to_string().split_once("; ").unwrap().0, told);
    }
    assert_eq!(session.variables().iter().count(), 0);
    let wrong = session.compile(&graph, &[sum + graph.constant(TensorData::from(1i32))], &[]);
    assert!(!wrong.err().unwrap().is_too_large());
}

/// A variable that no binding holds is refused alike by what only plans and by what compiles.
#[test]
fn variables_that_no_binding_holds_are_refused_beforehand() {
    let gpu = common::gpu();
    const WIDTH: usize = 1 << 14;
    let limits = gpu.limits();
    let limit = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    let rows = limit as usize / 4 / WIDTH + 1;
    let graph = Graph::new();
    let table = graph.variable("table", [rows, WIDTH], Initializer::Zeros);
    let row = graph.placeholder("row", [1], DType::I32);
    let embedded = table.gather_rows(row);
    let mut session = Session::new(&gpu);
    // Its gradient is as large; what is named is the variable.
    let trained = Optimizer::sgd(0.1).minimize(embedded.square().mean_all()).update;
    for updates in [&[][..], &[trained]] {
        let told = session.plan_memory(&graph, &[embedded], updates).unwrap_err();
        let made = session.compile(&graph, &[embedded], updates).err().unwrap();
        assert_eq!(told.to_string(), made.to_string());
        assert!(told.is_too_large() && made.is_too_large(), "{told}");
        assert!(told.to_string().starts_with("variable `table` "), "{told}");
    }
    assert!(session.variables().is_empty());
}

/// Layers that are trained on batches of so many rows.
fn layers(graph: &Graph, batch: usize) -> (Tensor<'_>, Update<'_>) {
    const WIDTH: usize = 512;
    let x = graph.placeholder("x", [batch, WIDTH], DType::F32);
    let layer = |x, at| graph.scope(&format!("fc{at}")).linear(x, WIDTH).tanh();
    let loss = (0..8).fold(x, layer).square().mean_all();
    (loss, Optimizer::sgd(0.1).minimize(loss).update)
}

#[cfg(target_os = "linux")]
const OF_ITS_OWN: &str = "this adapter may have memory of its own";

/// Runs in a process of its own, whose address space ends here: a software adapter's memory is that of the
/// process. Where the driver gives memory that there is not, nothing is refused; `src/plan/room_tests.rs` has
/// devices that refuse it, whatever the driver.
#[cfg(target_os = "linux")]
#[test]
fn where_memory_runs_out_it_is_told_how_much_there_is() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::fs;
    use warmstart_gpu::CompileError;

    if common::ran_in_a_child("where_memory_runs_out_it_is_told_how_much_there_is") {
        return;
    }
    let gpu = common::gpu();
    if !gpu.is_cpu() {
        return common::left_out("a driver's memory that runs out", OF_ITS_OWN);
    }
    // Small enough to be there in any case, and the variables with it.
    let mut session = Session::new(&gpu);
    let small = Graph::new();
    let (loss, update) = layers(&small, 1);
    session.compile(&small, &[loss], &[update]).unwrap();
    let pages: u64 = fs::read_to_string("/proc/self/statm")
        .unwrap()
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .unwrap();
    let unlimited = getrlimit(Resource::As);
    let end = Some(pages * 4096 + (400 << 20));
    setrlimit(Resource::As, Rlimit { current: end, ..unlimited }).unwrap();
    const BATCH: usize = 1 << 16;
    let compile = |session: &mut Session, batch| {
        let graph = Graph::new();
        let (loss, update) = layers(&graph, batch);
        session.compile(&graph, &[loss], &[update]).map(|plan| plan.memory())
    };
    let refused = compile(&mut session, BATCH);
    let planned = |batch| {
        let graph = Graph::new();
        let (loss, update) = layers(&graph, batch);
        session.plan_memory(&graph, &[loss], &[update]).unwrap()
    };
    let memory = planned(BATCH);
    // Mesa since 25 or before gives memory that there is not, and crashes when it is used.
    let Err(error) = refused else {
        let why = "this one gives memory that there is not";
        return common::left_out("a driver's memory that runs out", why);
    };
    let CompileError::NoRoom { bytes, room } = error else { panic!("{error}") };
    assert_eq!(bytes, memory.peak() + memory.variables);
    // What is asked for comes in pieces, uploads have a part of it, and so has the process.
    assert!((100 << 20..600 << 20).contains(&room), "{room} of {bytes}");
    assert!(error.is_too_large());
    let text = error.to_string();
    let [taken, left] = bytes_and_limit(bytes, room);
    let says = format!("take {taken} of device memory, and this device has room for {left}; ");
    assert!(text.contains(&says) && text.contains("`largest_batch("), "{text}");
    // A batch that fits by what was told does, if that leaves some memory to others.
    let fits = (0..)
        .map(|halved| BATCH >> halved)
        .find(|&batch| planned(batch).within(room / 4 * 3).is_ok());
    let fits = fits.unwrap();
    assert!((1..BATCH).contains(&fits), "{fits}");
    let made = compile(&mut session, fits);
    setrlimit(Resource::As, unlimited).unwrap();
    made.unwrap();
}

/// More than a machine has is refused on a software adapter before it is taken: Linux would give it, and end
/// the process that uses it.
#[cfg(target_os = "linux")]
#[test]
fn more_than_the_machine_has_is_refused_beforehand() {
    use warmstart_gpu::CompileError;

    let gpu = common::gpu();
    if !gpu.is_cpu() {
        return common::left_out("more memory than the machine has", OF_ITS_OWN);
    }
    const BYTES: u64 = 1 << 27;
    let list = std::fs::read_to_string("/proc/meminfo").unwrap();
    let of = |name: &str| {
        let line = list.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.map_or(0, |kib| kib.parse::<u64>().unwrap() << 10)
    };
    let machine = of("MemTotal:") + of("SwapTotal:");
    let graph = Graph::new();
    let first = |at: u64| {
        let values = Initializer::Zeros;
        graph.variable(&format!("v{at}"), [BYTES as usize / 4], values).slice(0, 0, 1)
    };
    let sum = (0..=machine / BYTES).map(first).reduce(|sum, x| sum + x).unwrap();
    let mut session = Session::new(&gpu);
    for error in [
        session.plan_memory(&graph, &[sum], &[]).unwrap_err(),
        session.compile(&graph, &[sum], &[]).err().unwrap(),
    ] {
        let CompileError::NoRoom { bytes, room } = error else { panic!("{error}") };
        assert!(bytes > machine && room <= machine && error.is_too_large(), "{error}");
    }
    assert!(session.variables().is_empty(), "nothing is declared");
}
