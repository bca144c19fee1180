//! Losses between a prediction and a target compare element with element, or refuse.

use warmstart_graph::reference::Reference;
use warmstart_graph::{DType, Graph, Problem, Shape, Tensor, gradients};

/// A loss by its name.
type Loss = (&'static str, for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>);

const LOSSES: [Loss; 3] = [
    ("mean_squared_error", |x, t| x.mean_squared_error(t)),
    ("huber", |x, t| x.huber(t, 1.0)),
    ("binary_cross_entropy_with_logits", |x, t| x.binary_cross_entropy_with_logits(t)),
];

/// All of these broadcast, to more elements than either has or to those of the larger.
#[test]
fn targets_of_another_shape_are_refused() {
    let pairs: [(&[usize], &[usize]); 6] = [
        (&[8], &[8, 1]),
        (&[8, 1], &[8]),
        (&[8, 3], &[3]),
        (&[8, 3], &[1, 3]),
        (&[8], &[1]),
        (&[], &[8]),
    ];
    for (name, loss) in LOSSES {
        for (prediction, target) in pairs {
            let graph = Graph::new();
            let x = graph.scope("model").placeholder("x", prediction, DType::F32);
            let t = graph.placeholder("t", target, DType::F32);
            let _ = loss(x, t).sqrt();
            let errors = graph.finish().unwrap_err().0;
            assert_eq!(errors.len(), 1, "{errors:#?}");
            let (prediction, target) = (Shape::from(prediction), Shape::from(target));
            assert_eq!(errors[0].location.file, file!());
            assert_eq!((errors[0].operation.as_str(), errors[0].scope.as_str()), (name, "model"));
            let text = errors[0].to_string();
            let advice = format!("`.reshape({prediction})`");
            assert!(text.contains(&advice) && text.contains(&target.to_string()), "{text}");
            assert_eq!(errors[0].problem, Problem::LossShapes { prediction, target });
        }
    }
}

#[test]
fn the_refusal_is_at_the_line_of_the_loss() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [8], DType::F32);
    let t = graph.placeholder("t", [8, 1], DType::F32);
    let line = line!();
    let _ = x.mean_squared_error(t);
    let _ = x.huber(t, 1.0);
    let _ = x.binary_cross_entropy_with_logits(t);
    let errors = graph.finish().unwrap_err().0;
    let lines: Vec<u32> = errors.iter().map(|error| error.location.line).collect();
    assert_eq!(lines, [line + 1, line + 2, line + 3]);
}

#[test]
fn equal_shapes_and_scalar_targets_are_taken() {
    for (name, loss) in LOSSES {
        let graph = Graph::new();
        let x = graph.placeholder("x", [4, 2], DType::F32);
        let t = graph.placeholder("t", [4, 2], DType::F32);
        let all = [loss(x, t), loss(x, x.number(1.0)), loss(x.sum_all(), t.sum_all())];
        assert!(all.iter().all(|loss| loss.shape() == Shape::scalar()), "{name}");
        assert!(graph.finish().is_ok(), "{name}");
    }
}

/// As `torch.nn.functional.cross_entropy` with `ignore_index`, by hand: rows whose label is ignored count
/// for nothing, whatever their logits are, as long as those are finite.
#[test]
fn ignored_rows_count_for_nothing() {
    let logits = vec![0.0f32, 0.0, 9.0, -9.0, 1.0, 0.0];
    let mean = |labels: [i32; 3], ignored| {
        let graph = Graph::new();
        let x = graph.constant(logits.clone()).reshape([3, 2]);
        let loss = x.softmax_cross_entropy_ignoring(graph.constant(labels.to_vec()), ignored);
        let slope = gradients(loss, &[x])[0].unwrap();
        let def = graph.finish().unwrap();
        let found = Reference::new(&def).run(&[loss.id(), slope.id()]).unwrap();
        (found[0].elements[0], found[1].elements.clone())
    };
    // ln 2, and ln (1 + e) of the row whose logit is one less.
    let expected = (2.0f64.ln() + 1.0f64.exp().ln_1p()) / 2.0;
    for ignored in [-100, -1, 7] {
        let (loss, slope) = mean([0, ignored, 1], ignored);
        assert!((loss - expected).abs() < 1e-6, "{loss}, not {expected}");
        let share = 0.5 * 1.0f64.exp() / (1.0 + 1.0f64.exp());
        let expected = [-0.25, 0.25, 0.0, 0.0, share, -share];
        for (at, (found, expected)) in slope.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() < 1e-6, "[{at}] is {found}, not {expected}");
        }
    }
    // None counts; and another label that is no class is no number.
    assert!(mean([-1, -1, -1], -1).0.is_nan());
    assert!(mean([0, -1, -2], -1).0.is_nan());
}

/// The loss does without an ignored row that has no softmax, and the row's own gradient is no number.
#[test]
fn an_ignored_row_without_a_softmax_has_no_gradient() {
    for (logit, is_number) in
        [(f32::NAN, false), (f32::INFINITY, false), (f32::NEG_INFINITY, true), (-9.0, true)]
    {
        let graph = Graph::new();
        let x = graph.constant(vec![0.0f32, 0.0, 9.0, logit]).reshape([2, 2]);
        let loss = x.softmax_cross_entropy_ignoring(graph.constant(vec![0i32, -1]), -1);
        let slope = gradients(loss, &[x])[0].unwrap();
        let found = Reference::new(&graph.finish().unwrap()).run(&[loss.id(), slope.id()]).unwrap();
        let (loss, slope) = (found[0].elements[0], &found[1].elements);
        assert!((loss - 2.0f64.ln()).abs() < 1e-6, "{logit}: {loss}");
        assert_eq!(slope[..2], [-0.5, 0.5], "{logit}");
        let expected = if is_number { [true; 2] } else { [false; 2] };
        assert_eq!([slope[2] == 0.0, slope[3] == 0.0], expected, "{logit}: {slope:?}");
        assert_eq!([!slope[2].is_nan(), !slope[3].is_nan()], expected, "{logit}: {slope:?}");
    }
}
