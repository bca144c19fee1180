//! Loss scaling: the rule of PyTorch's `GradScaler`, and training that does not notice it.

use std::collections::BTreeMap;
use warmstart_graph::reference::{Reference, Value};
use warmstart_graph::{
    DType, Graph, GraphDef, Initializer, LossScaling, Op, Optimizer, TensorData, VariableId,
};

const INTERVAL: u32 = 3;

fn optimizer() -> Optimizer {
    Optimizer::adam(0.05).clip_global_norm(0.5)
}

fn scaling() -> LossScaling {
    LossScaling::new().initial_scale(8.0).growth_interval(INTERVAL)
}

/// A line through points, with the nodes to fetch.
fn line(optimizer: &Optimizer) -> (GraphDef, Vec<warmstart_graph::NodeId>) {
    let graph = Graph::new();
    let x = graph.placeholder("x", [4, 2], DType::F32);
    let y = graph.placeholder("y", [4, 1], DType::F32);
    let loss = graph.scope("fc").linear(x, 1).mean_squared_error(y);
    let step = optimizer.minimize(loss);
    let mut fetches = vec![loss.id(), step.gradient_norm.id(), step.gradients[0].1.id()];
    fetches.push(step.update.id());
    (graph.finish().unwrap(), fetches)
}

/// Runs steps, at some of which an infinity is fed. Gives after each step the fetches and all
/// variables.
fn run(optimizer: &Optimizer, steps: &[bool]) -> Vec<(Vec<Value>, BTreeMap<String, Value>)> {
    let (def, fetches) = line(optimizer);
    let mut reference = Reference::new(&def);
    for variable in &def.variables {
        let value = match &variable.initializer {
            Initializer::Constant(value) => *value,
            _ => 0.25 * f64::from(u8::from(variable.name.ends_with("weight"))),
        };
        let elements = vec![value; variable.shape.elements()];
        reference.assign(&variable.name, Value { shape: variable.shape.clone(), elements });
    }
    let finished = steps.iter().enumerate().map(|(step, &finite)| {
        let mut x: Vec<f32> = (0..8).map(|i| ((i + 3 * step) as f32).sin()).collect();
        if !finite {
            x[5] = f32::INFINITY;
        }
        reference.feed("x", &TensorData::new([4, 2], x).unwrap());
        reference.feed("y", &TensorData::new([4, 1], [1.0f32, 0.0, -1.0, 2.0]).unwrap());
        let values = reference.run(&fetches).unwrap();
        let names = def.variables.iter().map(|variable| variable.name.clone());
        let variables = names.map(|name| {
            let value = reference.variable(&name).unwrap().clone();
            (name, value)
        });
        (values, variables.collect())
    });
    finished.collect()
}

/// `_amp_update_scale_` of PyTorch, as `AmpKernels.cu` has it.
fn amp_update_scale(scale: &mut f32, growth_tracker: &mut u32, found_inf: bool) {
    if found_inf {
        *scale *= 0.5;
        *growth_tracker = 0;
    } else {
        let successful = *growth_tracker + 1;
        if successful == INTERVAL {
            let new_scale = *scale * 2.0;
            if new_scale.is_finite() {
                *scale = new_scale;
            }
            *growth_tracker = 0;
        } else {
            *growth_tracker = successful;
        }
    }
}

#[test]
fn the_scale_follows_pytorchs_rule_and_steps_without_finite_gradients_are_left_out() {
    let finite: Vec<bool> = (0..20).map(|step| ![6, 7, 15].contains(&step)).collect();
    let scaled = run(&optimizer().loss_scaling(scaling()), &finite);
    let plain = run(&optimizer(), &[true; 20]);
    let (mut scale, mut tracker) = (8.0, 0);
    let mut before: Option<&BTreeMap<String, Value>> = None;
    let (mut applied, mut largest) = (0.0, scale);
    for (step, (values, variables)) in scaled.iter().enumerate() {
        amp_update_scale(&mut scale, &mut tracker, !finite[step]);
        largest = scale.max(largest);
        let of = |name: &str| variables[name].elements[0];
        assert_eq!(of("adam/loss_scale"), f64::from(scale), "step {step}");
        assert_eq!(of("adam/good_steps"), f64::from(tracker), "step {step}");
        assert_eq!(of("global_step"), (step + 1) as f64);
        applied += f64::from(u8::from(finite[step]));
        assert_eq!(of("adam/step"), applied, "step {step}");
        assert_eq!(values[1].elements[0].is_finite(), finite[step]);
        if let Some(before) = before.filter(|_| !finite[step]) {
            for name in ["fc/weight", "fc/bias", "fc/weight/adam/m", "fc/bias/adam/v"] {
                assert_eq!(variables[name], before[name], "{name} after step {step}");
            }
        }
        before = Some(variables);
    }
    assert!(largest > 8.0, "it grows");
    // Up to the first step that is left out nothing differs: powers of two round nothing.
    for (scaled, plain) in scaled.iter().zip(&plain).take(6) {
        assert_eq!(scaled.0[..3], plain.0[..3]);
        for (name, value) in &plain.1 {
            assert_eq!(&scaled.1[name], value, "{name}");
        }
    }
}

#[test]
fn a_scale_never_becomes_infinite() {
    let scaling = scaling().initial_scale(2.0f32.powi(126)).growth_interval(1);
    let scaled = run(&Optimizer::sgd(0.0).loss_scaling(scaling), &[true; 3]);
    let scale = |step: usize| scaled[step].1["sgd/loss_scale"].elements[0];
    assert_eq!([scale(0), scale(1), scale(2)], [2.0f64.powi(127); 3]);
}

/// Steps whose gradients are no numbers, however many, leave a scale that one can divide by.
#[test]
fn a_scale_never_becomes_zero() {
    let steps: Vec<bool> = (0..240).map(|step| step >= 200).collect();
    let scaling = LossScaling::new().growth_interval(1);
    let scaled = run(&Optimizer::sgd(0.0).loss_scaling(scaling), &steps);
    let scale = |step: usize| scaled[step].1["sgd/loss_scale"].elements[0];
    assert_eq!(scale(140), 2.0f64.powi(16 - 141));
    assert_eq!([scale(142), scale(199)], [2.0f64.powi(-126); 2]);
    assert_eq!(scale(239), 2.0f64.powi(40 - 126));
    assert!(scaled[200..].iter().all(|(values, _)| values[1].elements[0] > 0.0));
}

#[test]
fn numbers_without_meaning_are_refused_at_the_callers_line() {
    let cases = [
        (scaling().initial_scale(0.0), "initial scale is 0, and must be a normal number above 0"),
        (scaling().initial_scale(1e-40), "must be a normal number above 0"),
        (scaling().initial_scale(f32::NAN), "loss scaling's initial scale is NaN"),
        (scaling().growth_factor(1.0), "growth factor is 1, and must be finite and above 1"),
        (scaling().backoff_factor(1.0), "backoff factor is 1, and must be between 0 and 1"),
        (scaling().growth_interval(0), "growth interval is 0, and must be at least 1"),
    ];
    for (scaling, expected) in cases {
        let graph = Graph::new();
        let loss = graph.variable("a", [2], Initializer::Ones).square().sum_all();
        let _ = Optimizer::sgd(0.1).loss_scaling(scaling).minimize(loss);
        let errors = graph.finish().unwrap_err();
        assert!(errors.to_string().contains(expected), "{errors}");
        assert!(errors.to_string().contains("loss_scaling.rs:"), "{errors}");
    }
    // A name that is taken is said once.
    let graph = Graph::new();
    let loss = graph.variable("a", [2], Initializer::Ones).square().sum_all();
    let optimizer = Optimizer::sgd(0.1).loss_scaling(scaling());
    let _ = optimizer.minimize(loss);
    let _ = optimizer.minimize(loss);
    assert_eq!(graph.finish().unwrap_err().0.len(), 1);
}

#[test]
fn settings_are_stored_and_damage_is_noticed() {
    let optimizer = optimizer().loss_scaling(scaling());
    let text = serde_json::to_string(&optimizer).unwrap();
    assert_eq!(serde_json::from_str::<Optimizer>(&text).unwrap(), optimizer);
    // As an earlier version stored it.
    let mut old = serde_json::to_value(self::optimizer()).unwrap();
    old.as_object_mut().unwrap().remove("loss_scaling");
    assert_eq!(serde_json::from_value::<Optimizer>(old).unwrap(), self::optimizer());

    let (def, _) = line(&optimizer);
    let back: GraphDef = serde_json::from_str(&serde_json::to_string(&def).unwrap()).unwrap();
    assert_eq!(back, def);
    let damaged = |damage: &dyn Fn(&mut warmstart_graph::ops::OptimizerUpdate)| {
        let mut def = def.clone();
        for node in &mut def.nodes {
            if let Op::OptimizerUpdate(update) = &mut node.op {
                damage(update);
            }
        }
        def.validate()
    };
    assert!(damaged(&|_| {}).is_ok());
    let scale = |update: &mut warmstart_graph::ops::OptimizerUpdate, to: VariableId| {
        update.loss_scale.as_mut().unwrap().scale = to;
    };
    let error = damaged(&|update| scale(update, VariableId(0))).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
    assert!(damaged(&|update| scale(update, VariableId(99))).is_err());
    assert!(damaged(&|update| update.loss_scale = None).is_err());
    let other = damaged(&|update| {
        let loss_scale = update.loss_scale.as_mut().unwrap();
        std::mem::swap(&mut loss_scale.scale, &mut loss_scale.good_steps);
    });
    assert!(other.unwrap_err().to_string().contains("must be a f32 scalar"));
}
