//! Training with products in `f16`, weights in `f32` and dynamic loss scaling: as good as in `f32`.

mod common;

use warmstart_gpu::{Gpu, Session};
use warmstart_graph::random::Philox;
use warmstart_graph::{DType, Graph, LossScaling, Optimizer, Scope, Tensor, TensorData};

const INPUTS: usize = 8;
const CLASSES: usize = 4;
const TRAINED: usize = 512;
const ALL: usize = 1024;

/// Points, and which of four regions with curved borders each lies in.
fn examples() -> (Vec<f32>, Vec<i32>) {
    let random = Philox::new(1, "examples");
    let number = |at: usize| (random.word(at as u64) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let points: Vec<f32> = (0..ALL * INPUTS).map(number).collect();
    let label = |point: &[f32]| {
        let first = point[0] + point[1] * point[2] > 0.0;
        let second = point[3] - point[4].abs() + 0.4 > 0.0;
        i32::from(first) + 2 * i32::from(second)
    };
    let labels = points.chunks(INPUTS).map(label).collect();
    (points, labels)
}

fn network<'g>(scope: &Scope<'g>, x: Tensor<'g>) -> Tensor<'g> {
    let hidden = scope.scope("fc1").linear(x, 64).relu();
    let hidden = scope.scope("fc2").linear(hidden, 64).relu();
    scope.scope("fc3").linear(hidden, CLASSES)
}

/// The share of points, not trained with, whose class is found, and the last loss.
fn train(gpu: &Gpu, mixed: bool, factor: f32, scaling: Option<LossScaling>) -> (f64, f32) {
    let graph = Graph::new();
    let x = graph.placeholder("x", [ALL, INPUTS], DType::F32);
    let labels = graph.placeholder("labels", [ALL], DType::I32);
    let logits = match mixed {
        true => graph.root().compute_f16(|scope| network(scope, x)),
        false => network(&graph.root(), x),
    };
    let own = logits.slice(0, 0, TRAINED);
    let loss = own.softmax_cross_entropy(labels.slice(0, 0, TRAINED)).mean_all() * factor;
    let mut optimizer = Optimizer::sgd(0.2 / factor).momentum(0.9);
    if let Some(scaling) = scaling {
        optimizer = optimizer.loss_scaling(scaling);
    }
    let step = optimizer.minimize(loss);
    let found = logits.argmax();
    let mut session = Session::new(gpu);
    let training = session.compile(&graph, &[loss], &[step.update]).unwrap();
    let asking = session.compile(&graph, &[found], &[]).unwrap();
    session.initialize_missing(5).unwrap();
    let (points, classes) = examples();
    let points = TensorData::new([ALL, INPUTS], points).unwrap();
    let feeds = [("x", (&points).into()), ("labels", (&classes).into())];
    let mut last = f32::NAN;
    for at in 0..300 {
        let outputs = session.run(&training, &feeds).unwrap();
        if at == 299 {
            last = outputs.scalar(loss).unwrap() / factor;
        }
    }
    let found = session.run(&asking, &feeds[..1]).unwrap().tensor(found).unwrap().to_f64();
    let right = (TRAINED..ALL).filter(|&at| found[at] == f64::from(classes[at])).count();
    (right as f64 / (ALL - TRAINED) as f64, last)
}

#[test]
fn mixed_precision_trains_as_well_as_f32() {
    let gpu = common::gpu();
    let (plain, plain_loss) = train(&gpu, false, 1.0, None);
    let (mixed, mixed_loss) = train(&gpu, true, 1.0, Some(LossScaling::new()));
    assert!(plain > 0.9, "{plain}");
    assert!(mixed > plain - 0.02, "{mixed}, and {plain} in f32");
    assert!(mixed_loss < plain_loss + 0.02, "{mixed_loss}, and {plain_loss} in f32");
    assert_ne!(mixed_loss.to_bits(), plain_loss.to_bits(), "nothing was rounded");
}

/// Gradients below what `f16` knows are nothing, unless the loss is scaled.
#[test]
fn small_gradients_survive_with_loss_scaling_only() {
    let gpu = common::gpu();
    let factor = 2f32.powi(-22);
    let (scaled, loss) = train(&gpu, true, factor, Some(LossScaling::new().growth_interval(2)));
    let (lost, lost_loss) = train(&gpu, true, factor, None);
    assert!(scaled > 0.9 && lost < 0.7, "{scaled} {lost}");
    assert!(loss < 0.25 && lost_loss > 0.5, "{loss} {lost_loss}");
}
