//! Data sets of bytes: on the device and fed by the host they train to the bits of those of `f32`.

use warmstart::gpu::{DeviceDatasetError, RunError};
use warmstart::prelude::*;
use warmstart::{DatasetError, DatasetInput};

const BATCH: usize = 8;
const STEPS: u64 = 12;

/// Losses and weights of a few steps, gathered on the device or fed, and the bytes on the device.
fn trained<I: DatasetInput>(
    gpu: &Gpu,
    data: &Dataset<i32, I>,
    is_fed: bool,
) -> (Vec<u32>, Vec<u8>, u64) {
    let graph = Graph::new();
    let inputs = graph.placeholder("inputs", [BATCH, data.width()], DType::F32);
    let labels = graph.placeholder("labels", [BATCH], DType::I32);
    let logits = graph.scope("fc").linear(inputs, 5);
    let loss = logits.softmax_cross_entropy(labels).mean_all();
    let step = Optimizer::adam(0.01).minimize(loss);
    let mut session = Session::new(gpu);
    let plan = session.compile(&graph, &[loss], &[step.update]).expect("it compiles");
    session.initialize_missing(3).expect("initializers");
    let on_device = data.upload(gpu, "inputs", "labels").expect("it has room");
    let mut batches = Batches::new(data.len(), BATCH, 7).expect("examples");
    let rows = batches.indices_of(0..STEPS);
    let losses = if is_fed {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        let mut losses = Vec::new();
        for rows in rows.chunks(BATCH) {
            data.gather(rows, &mut x, &mut y).expect("rows");
            let feeds = [("inputs", (&x).into()), ("labels", (&y).into())];
            losses.push(session.run(&plan, &feeds).expect("a run").scalar(loss).expect("a loss"));
        }
        losses
    } else {
        let outputs = session.run_steps(&plan, &Steps::rows(&on_device, &rows)).expect("steps");
        outputs.scalars(loss).expect("losses")
    };
    let weights = session.read("fc/weight").expect("weights").to_le_bytes();
    (losses.iter().map(|loss| loss.to_bits()).collect(), weights, on_device.bytes())
}

#[test]
fn bytes_train_to_the_same_bits_in_a_quarter_of_the_memory() {
    let gpu = Gpu::new().expect("an adapter");
    // Rows of 12 are whole words of bytes, rows of 7 are not.
    for width in [7, 12] {
        let bytes: Vec<u8> = (0..40 * width).map(|at| (at * 97 % 256) as u8).collect();
        let labels: Vec<i32> = (0..40).map(|at| at % 5).collect();
        let floats = bytes.iter().map(|&byte| f32::from(byte)).collect();
        let floats = Dataset::new(floats, width, labels.clone()).expect("lengths that agree");
        let held = floats.clone().into_bytes().expect("whole numbers");
        assert_eq!(held, Dataset::from_bytes(bytes, width, labels).expect("lengths that agree"));
        let (floats, held) = (floats.scaled(1.0 / 255.0), held.scaled(1.0 / 255.0));
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&held.to_f32()), bits(floats.inputs()));
        let (losses, weights, all) = trained(&gpu, &floats, true);
        assert_ne!(losses.first(), losses.last(), "it trains");
        for is_fed in [true, false] {
            let (found, found_weights, less) = trained(&gpu, &held, is_fed);
            assert_eq!((&found, &found_weights), (&losses, &weights), "{width} {is_fed}");
            let labels = 40 * 4;
            assert_eq!((less - labels) * 4, all - labels);
        }
    }
}

/// Rows of 7 are no whole words. What is fed is what is gathered, to the bit.
#[test]
fn a_placeholder_of_bytes_takes_those_of_a_data_set() {
    let gpu = Gpu::new().expect("an adapter");
    for width in [7, 12] {
        let graph = Graph::new();
        let inputs = graph.placeholder("inputs", [BATCH, width], DType::U8);
        let labels = graph.placeholder("labels", [BATCH], DType::I32);
        let logits = graph.scope("fc").linear(inputs.cast(DType::F32) / 255.0, 5);
        let loss = logits.softmax_cross_entropy(labels);
        let step = Optimizer::adam(0.01).minimize(loss);

        let bytes: Vec<u8> = (0..40 * width).map(|at| (at * 97 % 256) as u8).collect();
        let labels: Vec<i32> = (0..40).map(|at| at % 5).collect();
        let data = Dataset::from_bytes(bytes, width, labels).expect("lengths that agree");
        let rows = Batches::new(40, BATCH, 7).expect("examples").indices_of(0..STEPS);
        let weights = |is_fed: bool| {
            let mut session = Session::new(&gpu);
            let plan = session.compile(&graph, &[loss], &[step.update]).expect("it compiles");
            session.initialize_missing(3).expect("initializers");
            if is_fed {
                for rows in rows.chunks(BATCH) {
                    let batch = data.select(rows).expect("rows");
                    let feeds =
                        [("inputs", batch.inputs().into()), ("labels", batch.labels().into())];
                    session.run(&plan, &feeds).expect("a run");
                }
            } else {
                let on_device = data.upload(&gpu, "inputs", "labels").expect("it has room");
                assert_eq!(on_device.bytes(), 40 * width as u64 + 40 * 4);
                session.run_steps(&plan, &Steps::rows(&on_device, &rows)).expect("steps");
            }
            session.read("fc/weight").expect("weights")
        };
        assert_eq!(weights(true), weights(false), "{width}");
        // The same model, which is told of the bytes by another way.
        let floats = data.clone().scaled(1.0 / 255.0);
        let expected = trained(&gpu, &floats, true).1;
        let expected =
            expected.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        for (found, expected) in weights(false).to_f64().iter().zip(expected) {
            assert!((found - f64::from(expected)).abs() < 1e-4, "{found} is not {expected}");
        }
        // A scale would be lost.
        let on_device = floats.upload(&gpu, "inputs", "labels").expect("it has room");
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[loss], &[step.update]).expect("it compiles");
        session.initialize_missing(3).expect("initializers");
        let error = session.run_steps(&plan, &Steps::rows(&on_device, &rows)).map(|_| ());
        let error = error.expect_err("a scale");
        assert!(matches!(error, RunError::ColumnScale { .. }), "{error}");
    }
}

#[test]
fn what_is_no_number_is_told() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let told = |error: DatasetError| {
            let text = error.to_string();
            let DatasetError::NotFinite { what, example, place, .. } = error else {
                panic!("{text}")
            };
            assert!(text.starts_with(&format!("{what} {place} of example {example} is {value}")));
            (what, example, place)
        };
        let inputs = vec![0.0, 1.0, 2.0, 3.0, 4.0, value];
        let error = Dataset::new(inputs.clone(), 2, vec![0; 3]).expect_err("an input");
        assert_eq!(told(error), ("input", 2, 1));
        let error = Dataset::with_targets(inputs.clone(), 3, vec![0.0; 2], 1);
        assert_eq!(told(error.expect_err("an input")), ("input", 1, 2));
        let error = Dataset::with_targets(vec![0.0; 2], 1, inputs.clone(), 3);
        assert_eq!(told(error.expect_err("a target")), ("target", 1, 2));
        let error = Dataset::from_bytes_with_targets(vec![1; 3], 1, inputs, 2);
        assert_eq!(told(error.expect_err("a target")), ("target", 2, 1));
    }
}

#[test]
fn what_is_no_byte_is_told() {
    let said = |value: f32| {
        let data = Dataset::with_targets(vec![0.0, 255.0, 1.0, value], 2, vec![0.0; 2], 1);
        data.expect("lengths that agree").into_bytes().expect_err("it is no byte")
    };
    for value in [-1.0, -0.0, 0.5, 256.0, 1e30] {
        let error = said(value);
        assert!(matches!(error, DatasetError::NotAByte { example: 1, input: 1, .. }), "{error}");
    }
    assert!(said(0.5).to_string().starts_with("input 1 of example 1 is 0.5, and bytes are whole"));
    let error = Dataset::from_bytes(vec![1; 5], 2, vec![0; 2]).expect_err("half an example");
    assert!(matches!(error, DatasetError::Lengths { inputs: 5, .. }), "{error}");
    let error = Dataset::from_bytes_with_targets(vec![1; 4], 2, vec![0.0; 3], 2);
    assert!(matches!(error, Err(DatasetError::Targets { targets: 3, width: 2 })));
    let scaled = Dataset::from_bytes(vec![1; 4], 2, vec![0; 2]).expect("lengths that agree");
    let gpu = Gpu::new().expect("an adapter");
    let error = scaled.scaled(f32::INFINITY).upload(&gpu, "x", "y").expect_err("no number");
    assert!(matches!(error, DeviceDatasetError::Scale { .. }), "{error}");
}

#[test]
fn parts_of_bytes_are_bytes_and_keep_their_scale() {
    let data = Dataset::from_bytes_with_targets((0..20).collect(), 2, vec![0.5; 10], 1);
    let data = data.expect("lengths that agree").scaled(0.5).scaled(0.5);
    let (training, test) = data.split(0.3, 1).expect("two parts");
    assert_eq!((training.len(), test.len(), test.target_width()), (7, 3, 1));
    for part in [training, test] {
        for (row, numbers) in part.inputs().chunks(2).zip(part.to_f32().chunks(2)) {
            assert_eq!(row[1], row[0] + 1);
            assert_eq!(numbers, [f32::from(row[0]) / 4.0, f32::from(row[1]) / 4.0]);
        }
    }
}
