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
    // To say that this is meant is no help where the weights are in the file.
    let rule = r#".rename_scope("model", "net")"#;
    assert!(text.contains(rule) && !text.contains(".only("), "{text}");
    let meant = r#"`.only("{global_step,adam/step}")` says that this is meant"#;
    let alone = super::tests::checkpoint(&saved[2..]).plan_for(&variables, &all());
    assert!(!alone.closes() && report(&alone).contains(meant), "{alone}");
    // Who says so is heard, and so is who restores a single weight, or a frozen one.
    let only = all().only("{global_step,adam/step}");
    assert!(checkpoint.plan_for(&variables, &only).closes());
    assert!(checkpoint.plan_for(&variables, &all().ignore("net/**")).closes());
    assert!(
        checkpoint.plan_for(&variables, &all().rename("model/fc1/bias", "net/fc1/bias")).closes()
    );
    let frozen = Variable { role: Role::State, ..variable("model/fc1/weight", &[2, 3]) };
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
    let plan = checkpoint.plan_for(&wider, &all());
    assert!(!plan.closes() && !report(&plan).contains(".only("), "{plan}");
    assert!(report(&plan).contains("help: give the variables the shapes of the file"), "{plan}");
}

/// Of another model next to nothing fits, and its step is no restore.
#[test]
fn another_models_checkpoint_is_told() {
    let saved: [(&str, &[usize]); 8] = [
        ("conv1/kernel", &[3, 3, 1, 8]),
        ("conv1/offset", &[8]),
        ("conv2/kernel", &[3, 3, 8, 16]),
        ("conv2/offset", &[16]),
        ("dense/kernel", &[784, 30]),
        ("dense/offset", &[30]),
        ("global_step", &[]),
        ("adam/step", &[]),
    ];
    let [.., step, adam] = &with_counters("net")[..] else { panic!("it has counters") };
    let mut variables = vec![
        variable("embedding/table", &[100, 12]),
        variable("attention/query/weight", &[12, 13]),
        variable("attention/query/bias", &[13]),
        variable("mlp/up/weight", &[12, 48]),
        variable("mlp/up/bias", &[48]),
        step.clone(),
        adam.clone(),
    ];
    let all = RestoreOptions::new().allow_missing().allow_unexpected().allow_mismatched_shape();
    let told = |variables: &[Variable], found: &str| {
        for options in [&RestoreOptions::new(), &all] {
            let plan = checkpoint(&saved).plan_for(variables, options);
            let help = format!(
                "help: this looks like the checkpoint of another model, or of one of another size: of the \
                 {found}, by its name or by its shape. Name the checkpoint of this model, or build the \
                 model that was saved"
            );
            assert!(!plan.closes() && report(&plan).contains(&help), "{help}\n{plan}");
            assert!(!report(&plan).contains(".only("), "{plan}");
        }
    };
    told(&variables, "5 weights that are asked for, none is there");
    // A shape that coincides makes it no part of this model.
    variables.push(variable("norm/gamma", &[8]));
    told(&variables, "6 weights that are asked for, at most 1 may be there");
    // Nor are two of three weights a model of another's.
    let part = [variable("a", &[8]), variable("b", &[30]), variable("c", &[5])];
    let text = report(&checkpoint(&saved).plan_for(&part, &RestoreOptions::new()));
    assert!(!text.contains("another model"), "{text}");
    // What was taken over is most of the file, however much begins anew.
    let body = [("body/weight", &[3, 4][..]), ("body/bias", &[4])];
    let mut model = vec![variable("body/weight", &[3, 4]), variable("body/bias", &[4])];
    model.extend((0..20).map(|n| variable(&format!("head_{n}/weight"), &[4, 30 + n])));
    let text = report(&checkpoint(&body).plan_for(&model, &RestoreOptions::new()));
    assert!(!text.contains("another model"), "{text}");
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
