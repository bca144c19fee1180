//! Counters and slots without weights.

use super::tests::{checkpoint, report, slot, variable};
use super::*;
use warmstart_graph::{DType, Role, Shape};

/// An Adam model's variables in a scope, and what does not stand in it.
fn with_counters(scope: &str) -> Vec<Variable> {
    let step = Variable { role: Role::State, dtype: DType::F32, ..variable("global_step", &[]) };
    let role = Role::Slot { variable: None, optimizer: "adam".to_owned(), slot: "step".to_owned() };
    let adam = Variable { role, ..variable("adam/step", &[]) };
    let [weight, bias] = [("fc1/weight", &[2, 3][..]), ("fc1/bias", &[3])]
        .map(|(name, shape)| variable(&format!("{scope}/{name}"), shape));
    vec![weight, bias, step, adam]
}

#[test]
fn counters_without_weights_are_no_restore() {
    let saved: [(&str, &[usize]); 4] = [
        ("model/fc1/weight", &[2, 3]),
        ("model/fc1/bias", &[3]),
        ("global_step", &[]),
        ("adam/step", &[]),
    ];
    let checkpoint = checkpoint(&saved);
    let variables = with_counters("net");
    // Nothing is advised that would restore only counters, beside what restores all.
    let text = report(&checkpoint.plan_for(&variables, &RestoreOptions::new()));
    assert!(text.contains(r#".rename_scope("model", "net")"#), "{text}");
    assert!(!text.contains("allow_"), "{text}");
    let all = || RestoreOptions::new().allow_missing().allow_unexpected().allow_mismatched_shape();
    let plan = checkpoint.plan_for(&variables, &all());
    assert!(!plan.closes() && plan.restored().count() == 2);
    let text = report(&plan);
    let error = "error: only counters would be restored, and no weight: `global_step`, `adam/step`. \
                 Nothing on the device was changed.";
    assert!(text.contains(error), "{text}");
    let meant = r#"`.only("{global_step,adam/step}")` says that this is meant"#;
    assert!(text.contains(meant), "{text}");
    // Who says so is heard, and so is who restores a single weight, or a state worth as much.
    let only = all().only("{global_step,adam/step}");
    assert!(checkpoint.plan_for(&variables, &only).closes());
    assert!(checkpoint.plan_for(&variables, &all().ignore("net/**")).closes());
    assert!(
        checkpoint.plan_for(&variables, &all().rename("model/fc1/bias", "net/fc1/bias")).closes()
    );
    let frozen = Variable { role: Role::State, ..variable("model/fc1/bias", &[3]) };
    let frozen = [&variables[..], &[frozen]].concat();
    assert!(checkpoint.plan_for(&frozen, &all()).closes());
    // A session of nothing but counters, or of nothing that is trained, has no weights to want.
    assert!(checkpoint.plan_for(&variables[2..], &all()).closes());
    let state = |v: &Variable| Variable { role: Role::State, ..v.clone() };
    let states: Vec<Variable> = variables.iter().map(state).collect();
    assert!(checkpoint.plan_for(&states, &all()).closes());
    // Shapes that do not fit restore as little.
    let mut wider = with_counters("model");
    (wider[0].shape, wider[1].shape) = (Shape::from([2, 4]), Shape::from([4]));
    assert!(!checkpoint.plan_for(&wider, &all()).closes());
}

#[test]
fn slots_without_their_weights_are_no_restore_either() {
    let checkpoint = checkpoint(&[("a/adam/m", &[2]), ("b", &[2])]);
    let variables = [variable("a", &[2]), slot(Some("a"), "m")];
    let all = RestoreOptions::new().allow_missing().allow_unexpected();
    let plan = checkpoint.plan_for(&variables, &all);
    assert!(!plan.closes());
    let error = "error: only counters and slots would be restored, and no weight: `a/adam/m`.";
    assert!(report(&plan).contains(error), "{plan}");
}
