//! Several steps in one submission are the same steps one by one, to the bit.

mod common;

use common::{bytes_of, gpu};
use half::{bf16, f16};
use warmstart_gpu::{
    Column, DeviceDataset, DeviceDatasetError, Feed, Gpu, Plan, RunError, Session, Steps,
};
use warmstart_graph::random::Philox;
use warmstart_graph::{DType, Graph, Initializer, Optimizer, Schedule, Tensor};

const EXAMPLES: usize = 29;
const WIDTH: usize = 6;
const BATCH: usize = 5;

/// An MLP with all that changes from step to step: dropout, a schedule, Adam, clipping.
fn model(graph: &Graph) -> (Tensor<'_>, Tensor<'_>, warmstart_graph::Update<'_>) {
    graph.set_seed(9);
    let x = graph.placeholder("x", [BATCH, WIDTH], DType::F32);
    let labels = graph.placeholder("labels", [BATCH], DType::I32);
    let hidden = graph.scope("fc1").linear(x, 16).relu().dropout("hidden", 0.3);
    let logits = graph.scope("fc2").linear(hidden, 3);
    let loss = logits.softmax_cross_entropy(labels);
    let schedule = Schedule::cosine(5e-2, 1e-3, 20).warm_up(4);
    let step = Optimizer::adam(schedule).clip_global_norm(0.5).minimize(loss);
    (loss, logits, step.update)
}

fn examples() -> (Vec<u8>, Vec<i32>) {
    let noise = Philox::new(1, "examples");
    let bytes = (0..(EXAMPLES * WIDTH) as u64).map(|at| noise.word(at) as u8).collect();
    let labels = (0..EXAMPLES as u64).map(|at| (noise.word(1000 + at) % 3) as i32).collect();
    (bytes, labels)
}

/// Rows of so many batches.
fn rows(steps: usize) -> Vec<u32> {
    let noise = Philox::new(2, "rows");
    (0..(steps * BATCH) as u64).map(|at| noise.word(at) % EXAMPLES as u32).collect()
}

fn session(gpu: &Gpu, graph: &Graph) -> (Session, Plan) {
    let (loss, logits, update) = model(graph);
    let mut session = Session::new(gpu);
    let plan = session.compile(graph, &[logits, loss], &[update]).unwrap();
    session.initialize_missing(3).unwrap();
    (session, plan)
}

/// The bits of all variables.
fn variables(session: &Session) -> Vec<Vec<u8>> {
    session.variables().iter().map(|info| bytes_of(session, info.name())).collect()
}

/// What stays on the device is what a run reads back, of training too: the loss is that of before the
/// update, and all updates are done.
#[test]
fn what_stays_on_the_device_is_what_is_read_back() {
    let gpu = gpu();
    let graph = Graph::new();
    let (loss, logits, update) = model(&graph);
    let [mut read, mut unread] = [Session::new(&gpu), Session::new(&gpu)];
    let plans = [&mut read, &mut unread].map(|session| {
        let plan = session.compile(&graph, &[logits, loss], &[update]).unwrap();
        session.initialize_missing(3).unwrap();
        plan
    });
    let (bytes, labels) = examples();
    let columns =
        [("x", Column::Bytes { bytes: &bytes, scale: 1.0 / 255.0 }), ("labels", (&labels).into())];
    let data = DeviceDataset::new(&gpu, EXAMPLES, &columns).unwrap();
    let rows = rows(7);
    for rows in [&rows[..BATCH], &rows[BATCH..3 * BATCH], &rows[3 * BATCH..]] {
        let steps = Steps::rows(&data, rows);
        let outputs = read.run_steps(&plans[0], &steps).unwrap();
        let stays = unread.run_unread(&plans[1], &steps).unwrap();
        stays.wait().unwrap();
        // The second time as well.
        for tensor in [logits, loss, logits] {
            assert_eq!(outputs.tensor(tensor).unwrap(), stays.tensor(tensor).unwrap());
        }
    }
    assert!(variables(&read) == variables(&unread), "variables differ");
}

#[test]
fn many_steps_are_the_same_steps_to_the_bit() {
    const SCALE: f32 = 1.0 / 255.0;
    let gpu = gpu();
    let (bytes, labels) = examples();
    let inputs: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) * SCALE).collect();
    let rows = rows(26);

    let graph = Graph::new();
    let (loss, logits, update) = model(&graph);
    let mut single = Session::new(&gpu);
    let plan = single.compile(&graph, &[logits, loss], &[update]).unwrap();
    single.initialize_missing(3).unwrap();
    let (mut losses, mut last) = (Vec::new(), Vec::new());
    for rows in rows.chunks(BATCH) {
        let row = |&row: &u32| &inputs[row as usize * WIDTH..][..WIDTH];
        let x: Vec<f32> = rows.iter().flat_map(row).copied().collect();
        let labels: Vec<i32> = rows.iter().map(|&row| labels[row as usize]).collect();
        let feeds = [("x", Feed::from(&x)), ("labels", (&labels).into())];
        let outputs = single.run(&plan, &feeds).unwrap();
        losses.push(outputs.scalar(loss).unwrap().to_bits());
        last.push(outputs.tensor(logits).unwrap());
    }
    let expected = variables(&single);

    let elements = [("labels", (&labels).into()), ("x", (&inputs).into())];
    let as_bytes = [("x", Column::Bytes { bytes: &bytes, scale: SCALE }), elements[0]];
    for columns in [elements, as_bytes] {
        let data = DeviceDataset::new(&gpu, EXAMPLES, &columns).unwrap();
        let mut many = Session::new(&gpu);
        let plan = many.compile(&graph, &[logits, loss], &[update]).unwrap();
        many.initialize_missing(3).unwrap();
        let (mut done, mut found, mut pending) = (0, Vec::new(), Vec::new());
        // More than before, fewer, one, and with what was made for more.
        for steps in [2, 8, 1, 12, 3] {
            let rows = &rows[done * BATCH..(done + steps) * BATCH];
            let outputs = many.run_steps(&plan, &Steps::rows(&data, rows)).unwrap();
            done += steps;
            assert_eq!(outputs.steps(), steps);
            let later = outputs.scalars_later(loss).unwrap();
            assert_eq!(later.len(), steps);
            // What one step has is still there when others have been submitted.
            pending.push((later, outputs, done));
        }
        for (later, outputs, done) in pending {
            found.extend(later.read().unwrap().iter().map(|loss| loss.to_bits()));
            assert_eq!(outputs.tensor(logits).unwrap(), last[done - 1]);
        }
        assert_eq!(found, losses);
        assert!(variables(&many) == expected, "variables differ");
    }
}

#[test]
fn a_submission_may_be_mixed_with_runs_and_other_data_sets() {
    let gpu = gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 3], DType::F32);
    let factor = graph.placeholder("factor", [], DType::F32);
    let sum = graph.variable("sum", [3], Initializer::Zeros);
    let add = (sum + (x * factor).sum(&[0])).assign_to(sum);
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[], &[add]).unwrap();
    session.initialize_missing(0).unwrap();
    let data = |from: f32| {
        let rows: Vec<f32> = (0..12).map(|at| from + at as f32).collect();
        DeviceDataset::new(&gpu, 4, &[("x", (&rows).into())]).unwrap()
    };
    let (ones, tens) = (data(0.0), data(100.0));
    let feeds = [("factor", Feed::F32(&[2.0]))];
    let steps = Steps::rows(&ones, &[0, 1, 3, 3]).feeds(&feeds);
    session.run_steps(&plan, &steps).unwrap();
    session.run_steps(&plan, &Steps::rows(&tens, &[2, 2]).feeds(&feeds)).unwrap();
    let fed = [("x", Feed::F32(&[1.0; 6])), ("factor", Feed::F32(&[0.5]))];
    session.run(&plan, &fed).unwrap();
    session.run_steps(&plan, &Steps::repeat(3).feeds(&fed)).unwrap();
    drop(tens);
    session.run_steps(&plan, &steps).unwrap();
    // Rows 0, 1, 3, 3 begin with 0, 3, 9, 9; row 2 of the second with 106; four runs of 1.
    let first = 2.0 * 2.0 * 21.0 + 2.0 * 212.0 + 4.0;
    let per_row = [2.0 * 2.0 * 4.0 + 2.0 * 2.0; 3];
    let expected: Vec<f32> = (0..3).map(|at| first + per_row[at] * at as f32).collect();
    assert_eq!(session.read("sum").unwrap().as_f32(), Some(&expected[..]));
}

#[test]
fn repeated_steps_are_the_same_steps_to_the_bit() {
    let gpu = gpu();
    let graph = Graph::new();
    let (loss, logits, update) = model(&graph);
    let (bytes, labels) = examples();
    let x: Vec<f32> = bytes[..BATCH * WIDTH].iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let feeds = [("x", Feed::F32(&x)), ("labels", Feed::I32(&labels[..BATCH]))];
    let started = || {
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[logits, loss], &[update]).unwrap();
        session.initialize_missing(3).unwrap();
        (session, plan)
    };
    let (mut single, plan) = started();
    let expected: Vec<u32> = (0..14)
        .map(|_| single.run(&plan, &feeds).unwrap().scalar(loss).unwrap().to_bits())
        .collect();
    assert!(expected.windows(2).all(|two| two[0] != two[1]), "{expected:?}");

    let (mut many, plan) = started();
    // The second needs more room than the first has made.
    let outputs =
        [5, 9].map(|steps| many.run_steps(&plan, &Steps::repeat(steps).feeds(&feeds)).unwrap());
    let found = outputs.iter().flat_map(|outputs| outputs.scalars(loss).unwrap());
    assert_eq!(found.map(f32::to_bits).collect::<Vec<_>>(), expected);
    assert!(variables(&many) == variables(&single), "variables differ");
}

#[test]
fn an_evaluation_takes_the_columns_that_it_reads() {
    let gpu = gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 1], DType::F32);
    let y = graph.placeholder("y", [2, 1], DType::F32);
    let predicted = (x * 3.0).sum_all();
    let loss = (x - y).square().sum_all();
    let mut session = Session::new(&gpu);
    let train = session.compile(&graph, &[loss], &[]).unwrap();
    let evaluate = session.compile(&graph, &[predicted], &[]).unwrap();
    let columns =
        [("y", (&[0.0f32, 0.0, 1.0, 1.0]).into()), ("x", (&[0.0f32, 1.0, 2.0, 3.0]).into())];
    let data = DeviceDataset::new(&gpu, 4, &columns).unwrap();
    let rows = [0, 1, 2, 3];
    let outputs = session.run_steps(&train, &Steps::rows(&data, &rows)).unwrap();
    assert_eq!(outputs.scalars(loss).unwrap(), [1.0, 5.0]);
    let outputs = session.run_steps(&evaluate, &Steps::rows(&data, &rows)).unwrap();
    assert_eq!(outputs.scalars(predicted).unwrap(), [3.0, 15.0]);
    // What is fed is the caller's word, and no column's.
    let fed = [("y", Feed::F32(&[0.0; 2]))];
    let steps = Steps::rows(&data, &rows).feeds(&fed);
    let error = session.run_steps(&evaluate, &steps).map(|_| ()).unwrap_err();
    assert!(matches!(error, RunError::UnknownFeed { .. }), "{error}");
}

#[test]
fn rows_of_every_dtype_and_width_are_gathered() {
    let gpu = gpu();
    const ROWS: usize = 9;
    let picked = [8u32, 0, 3, 3, 7];
    for width in [1, 3, 4, 8, 13] {
        let count = ROWS * width;
        let graph = Graph::new();
        let shape = [picked.len(), width];
        let a = graph.placeholder("a", shape, DType::F16).cast(DType::F32);
        let b = graph.placeholder("b", shape, DType::I32).cast(DType::F32);
        let c = graph.placeholder("c", shape, DType::U32).cast(DType::F32);
        let d = graph.placeholder("d", shape, DType::F32) * 1.5;
        let e = graph.placeholder("e", shape, DType::F32) * 2.0;
        let f = graph.placeholder("f", shape, DType::Bf16).cast(DType::F32);
        let g = graph.placeholder("g", shape, DType::U8).cast(DType::F32) * 0.5;
        let h = graph.placeholder("h", shape, DType::U8).cast(DType::F32) * 0.5;
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[a, b, c, d, e, f, g, h], &[]).unwrap();
        let shorts: Vec<bf16> = (0..count).map(|at| bf16::from_f32(at as f32 - 9.5)).collect();
        let halves: Vec<f16> = (0..count).map(|at| f16::from_f32(at as f32 - 7.5)).collect();
        let signed: Vec<i32> = (0..count as i32).map(|at| 50 - at).collect();
        let unsigned: Vec<u32> = (0..count as u32).collect();
        let floats: Vec<f32> = (0..count).map(|at| at as f32 * 0.1).collect();
        let bytes: Vec<u8> = (0..count).map(|at| (at * 37 % 256) as u8).collect();
        let columns = [
            ("a", (&halves).into()),
            ("b", (&signed).into()),
            ("c", (&unsigned).into()),
            ("d", (&floats).into()),
            ("e", Column::Bytes { bytes: &bytes, scale: 0.25 }),
            ("f", (&shorts).into()),
            ("g", Column::Bytes { bytes: &bytes, scale: 1.0 }),
            ("h", (&bytes).into()),
        ];
        let data = DeviceDataset::new(&gpu, ROWS, &columns).unwrap();
        let outputs = session.run_steps(&plan, &Steps::rows(&data, &picked)).unwrap();
        let values = |at: &dyn Fn(usize) -> f32| -> Vec<f32> {
            let row = |&row: &u32| (0..width).map(move |column| row as usize * width + column);
            picked.iter().flat_map(row).map(at).collect()
        };
        let holds = |tensor, expected: Vec<f32>| {
            let found = outputs.tensor(tensor).unwrap();
            assert_eq!(found.as_f32(), Some(&expected[..]), "{tensor} of width {width}");
        };
        holds(a, values(&|at| halves[at].to_f32()));
        holds(f, values(&|at| shorts[at].to_f32()));
        holds(b, values(&|at| signed[at] as f32));
        holds(c, values(&|at| unsigned[at] as f32));
        holds(d, values(&|at| floats[at] * 1.5));
        holds(e, values(&|at| f32::from(bytes[at]) * 0.25 * 2.0));
        holds(g, values(&|at| f32::from(bytes[at]) * 0.5));
        holds(h, values(&|at| f32::from(bytes[at]) * 0.5));
    }
}

/// A scale that was passed over without a word would be another model.
#[test]
fn bytes_that_are_to_be_scaled_are_refused_by_a_placeholder_of_bytes() {
    let gpu = gpu();
    let graph = Graph::new();
    let sum = graph.placeholder("x", [2, 3], DType::U8).cast(DType::F32).sum_all();
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[sum], &[]).unwrap();
    let of = |scale| {
        let column = Column::Bytes { bytes: &[1, 2, 3, 4, 5, 6, 7, 8, 255], scale };
        DeviceDataset::new(&gpu, 3, &[("x", column)]).unwrap()
    };
    let scaled = of(1.0 / 255.0);
    let error = session.run_steps(&plan, &Steps::rows(&scaled, &[0, 1])).map(|_| ()).unwrap_err();
    assert!(matches!(error, RunError::ColumnScale { .. }), "{error}");
    assert!(error.to_string().contains("`.cast(DType::F32) * 0.003921569`"), "{error}");
    let outputs = session.run_steps(&plan, &Steps::rows(&of(1.0), &[2, 0])).unwrap();
    assert_eq!(outputs.scalars(sum).unwrap(), [276.0]);
}

#[test]
fn steps_that_cannot_be_are_refused_and_nothing_is_run() {
    let gpu = gpu();
    let graph = Graph::new();
    let (mut session, plan) = session(&gpu, &graph);
    let before = variables(&session);
    let (bytes, labels) = examples();
    let column = Column::Bytes { bytes: &bytes, scale: 1.0 };
    let whole = [("x", column), ("labels", (&labels).into())];
    let data = DeviceDataset::new(&gpu, EXAMPLES, &whole).unwrap();
    let refused = |session: &mut Session, steps: Steps<'_>, part: &str| {
        let error = session.run_steps(&plan, &steps).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
        error
    };
    let error = refused(&mut session, Steps::rows(&data, &[]), "0 row indices");
    assert!(matches!(error, RunError::Rows { rows: 0, batch: BATCH }), "{error}");
    let error = refused(&mut session, Steps::rows(&data, &[1; 7]), "whole batches of 5");
    assert!(matches!(error, RunError::Rows { rows: 7, .. }), "{error}");
    let error = refused(&mut session, Steps::rows(&data, &[0, 1, 2, 3, 29]), "example 29");
    assert!(matches!(error, RunError::NoSuchRow { row: 29, examples: 29 }), "{error}");
    let x = [0.0f32; BATCH * WIDTH];
    let fed = [("x", Feed::F32(&x)), ("labels", Feed::I32(&[0; BATCH]))];
    for steps in [0, 1 << 20] {
        let error = refused(&mut session, Steps::repeat(steps).feeds(&fed), "1 to 65536 steps");
        assert!(matches!(error, RunError::StepCount { .. }), "{error}");
    }
    let error = refused(&mut session, Steps::repeat(2), "was not fed");
    assert!(matches!(error, RunError::NotFed { .. }), "{error}");
    let twice = Steps::rows(&data, &[0; BATCH]).feeds(&fed);
    assert!(matches!(refused(&mut session, twice, "`x`"), RunError::FedTwice { .. }));

    let rows = [0; BATCH];
    let set = |columns: &[(&str, Column<'_>)]| DeviceDataset::new(&gpu, EXAMPLES, columns).unwrap();
    let unknown = set(&[("pixels", column), ("names", column)]);
    let error = refused(&mut session, Steps::rows(&unknown, &rows), "`pixels`");
    assert!(matches!(error, RunError::UnknownFeed { .. }), "{error}");
    let only = set(&[whole[0]]);
    let error = refused(&mut session, Steps::rows(&only, &rows), "`labels`");
    assert!(matches!(error, RunError::NotFed { .. }), "{error}");
    let wide = set(&[("x", (&[0.0f32; EXAMPLES * 2]).into()), whole[1]]);
    let error = refused(&mut session, Steps::rows(&wide, &rows), "2 elements of f32");
    assert!(matches!(error, RunError::Column { width: 2, .. }), "{error}");
    let integers = vec![1i32; bytes.len()];
    let other = set(&[("x", (&integers).into()), whole[1]]);
    let error = refused(&mut session, Steps::rows(&other, &rows), "6 elements of i32");
    assert!(matches!(error, RunError::Column { .. }), "{error}");
    let elsewhere = DeviceDataset::new(&common::gpu(), EXAMPLES, &whole).unwrap();
    let error = refused(&mut session, Steps::rows(&elsewhere, &rows), "another device");
    assert!(matches!(error, RunError::OtherDevice), "{error}");
    assert!(variables(&session) == before, "something was run");

    let mut stranger = Session::new(&gpu);
    let error = stranger.run_steps(&plan, &Steps::rows(&data, &rows)).map(|_| ()).unwrap_err();
    assert!(matches!(error, RunError::OtherSession), "{error}");
}

#[test]
fn batches_of_two_sizes_and_what_is_no_scalar_are_refused() {
    let gpu = gpu();
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 1], DType::F32);
    let y = graph.placeholder("y", [3, 1], DType::F32);
    let both = x.sum_all() + y.sum_all();
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[both], &[]).unwrap();
    let column = (&[1.0f32; 6]).into();
    let data = DeviceDataset::new(&gpu, 6, &[("x", column), ("y", column)]).unwrap();
    let error = session.run_steps(&plan, &Steps::rows(&data, &[0; 6])).map(|_| ()).unwrap_err();
    assert!(matches!(error, RunError::BatchSizes { batch: 2, other_batch: 3, .. }), "{error}");

    let doubled = x * 2.0;
    let plan = session.compile(&graph, &[doubled], &[]).unwrap();
    let data = DeviceDataset::new(&gpu, 6, &[("x", column)]).unwrap();
    let outputs = session.run_steps(&plan, &Steps::rows(&data, &[0; 6])).unwrap();
    let error = outputs.scalars(doubled).unwrap_err();
    assert!(matches!(error, RunError::FetchedAs { .. }), "{error}");
    let error = outputs.scalars(both).unwrap_err();
    assert!(matches!(error, RunError::NotFetched { .. }), "{error}");
    assert_eq!(outputs.tensor(doubled).unwrap().as_f32(), Some(&[2.0, 2.0][..]));
    let other = Graph::new();
    let error = outputs.tensor(other.placeholder("x", [2, 1], DType::F32)).unwrap_err();
    assert!(matches!(error, RunError::OtherGraph { .. }), "{error}");
}

#[test]
fn data_sets_that_cannot_be() {
    let gpu = gpu();
    let of = |examples, columns: &[(&str, Column<'_>)]| {
        DeviceDataset::new(&gpu, examples, columns).map(|_| ()).unwrap_err()
    };
    let six = [1.0f32; 6];
    assert!(matches!(of(0, &[("x", (&six).into())]), DeviceDatasetError::Empty { .. }));
    assert!(matches!(of(3, &[]), DeviceDatasetError::Empty { .. }));
    let error = of(4, &[("x", (&six).into())]);
    assert!(matches!(error, DeviceDatasetError::Elements { elements: 6, .. }), "{error}");
    let none: [f32; 0] = [];
    let error = of(4, &[("x", (&none).into())]);
    assert!(matches!(error, DeviceDatasetError::Elements { elements: 0, .. }), "{error}");
    let error = of(6, &[("x", (&six).into()), ("x", (&six).into())]);
    assert!(matches!(error, DeviceDatasetError::Twice { .. }), "{error}");
    let error = of(1, &[("x", Column::Bytes { bytes: &[1], scale: f32::NAN })]);
    assert!(matches!(error, DeviceDatasetError::Scale { .. }), "{error}");
}
