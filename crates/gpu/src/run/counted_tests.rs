//! A run is one submission, for which the host neither waits nor makes anything.

use crate::device::gpu::{Count, Gpu, GpuOptions};
use crate::plan::Plan;
use crate::run::dataset::DeviceDataset;
use crate::run::steps::Steps;
use crate::session::Session;
use crate::tune::Tune;
use warmstart_graph::{DType, Graph, Optimizer, Schedule, Tensor};

const ROWS: usize = 8;
/// How many runs may be under way before one waits for the first.
const IN_FLIGHT: usize = 3;

fn model<'g>(graph: &'g Graph, gpu: &Gpu) -> (Session, Plan, Tensor<'g>) {
    let x = graph.placeholder("x", [ROWS, 4], DType::F32);
    let labels = graph.placeholder("labels", [ROWS], DType::I32);
    let hidden = graph.scope("fc1").linear(x, 16).relu().dropout("fc1", 0.1);
    let loss = graph.scope("fc2").linear(hidden, 3).softmax_cross_entropy(labels);
    let rate = Schedule::cosine(1e-2, 0.0, 100);
    let update = Optimizer::adam(rate).clip_global_norm(1.0).minimize(loss).update;
    let mut session = Session::new(gpu);
    let plan = session.compile(graph, &[loss], &[update]).unwrap();
    session.initialize_missing(7).unwrap();
    (session, plan, loss)
}

fn gpu() -> Gpu {
    Gpu::with(&GpuOptions { tune: Some(Tune::Off), ..Default::default() }).unwrap()
}

fn inputs(rows: usize) -> (Vec<f32>, Vec<i32>) {
    let inputs = (0..rows * 4).map(|at| (at * 37 % 101) as f32 / 50.0 - 1.0).collect();
    (inputs, (0..rows as i32).map(|row| row % 3).collect())
}

/// What each of some calls asks the device for.
fn asked(gpu: &Gpu, mut call: impl FnMut(usize)) -> Vec<Count> {
    let each = |at: usize| {
        let before = gpu.count();
        call(at);
        gpu.count() - before
    };
    (0..IN_FLIGHT).map(each).collect()
}

/// The first makes what the others use again.
fn check(asked: &[Count]) {
    for (at, &Count { queue, waits, buffers, .. }) in asked.iter().enumerate() {
        assert_eq!((queue, waits), (1, 0), "{asked:?}");
        assert!(at == 0 || buffers == 0, "{asked:?}");
    }
}

#[test]
fn a_run_is_one_submission_that_the_host_does_not_wait_for() {
    let (gpu, graph) = (gpu(), Graph::new());
    let (mut session, plan, loss) = model(&graph, &gpu);
    let (x, labels) = inputs(ROWS);
    let feeds = [("x", (&x).into()), ("labels", (&labels).into())];
    check(&asked(&gpu, |_| drop(session.run(&plan, &feeds).unwrap())));

    // What is read waits once, and hands its buffer back. A fourth run waits for the first.
    let outputs = session.run(&plan, &feeds).unwrap();
    let before = gpu.count();
    outputs.scalar(loss).unwrap();
    outputs.scalar(loss).unwrap();
    drop(outputs);
    let read = gpu.count() - before;
    assert!(read.waits >= 1 && (read.queue, read.buffers) == (0, 0), "{read:?}");
    for _ in 0..5 {
        let before = gpu.count();
        drop(session.run(&plan, &feeds).unwrap());
        let asked = gpu.count() - before;
        assert!((asked.queue, asked.buffers) == (1, 0) && asked.waits <= 1, "{asked:?}");
    }
}

#[test]
fn many_steps_are_one_submission_that_the_host_does_not_wait_for() {
    const STEPS: usize = 32;
    let (gpu, graph) = (gpu(), Graph::new());
    let (mut session, plan, loss) = model(&graph, &gpu);
    let (x, labels) = inputs(ROWS);
    let feeds = [("x", (&x).into()), ("labels", (&labels).into())];
    let steps = Steps::repeat(STEPS).feeds(&feeds);
    check(&asked(&gpu, |_| drop(session.run_steps(&plan, &steps).unwrap())));

    // From a data set on the device, other rows each time, as many of them or fewer.
    let examples = 3 * ROWS;
    let (x, labels) = inputs(examples);
    let columns = [("x", (&x).into()), ("labels", (&labels).into())];
    let data = DeviceDataset::new(&gpu, examples, &columns).unwrap();
    let mut last = None;
    let gathered = asked(&gpu, |at| {
        let rows: Vec<u32> =
            (0..(STEPS - at) * ROWS).map(|row| ((row * 7 + at) % examples) as u32).collect();
        // Handed back before another one is taken.
        drop(last.take());
        last = Some(session.run_steps(&plan, &Steps::rows(&data, &rows)).unwrap());
    });
    check(&gathered);
    assert_eq!(last.unwrap().scalars(loss).unwrap().len(), STEPS - 2);
}

#[test]
fn what_stays_on_the_device_is_one_submission_too() {
    let (gpu, graph) = (gpu(), Graph::new());
    let (mut session, plan, _) = model(&graph, &gpu);
    let (x, labels) = inputs(ROWS);
    let feeds = [("x", (&x).into()), ("labels", (&labels).into())];
    let steps = Steps::repeat(4).feeds(&feeds);
    check(&asked(&gpu, |_| drop(session.run_unread(&plan, &steps).unwrap())));
}
