//! Plans that restore nothing, or next to nothing, and what is advised.

use super::slots_of_others_tests::{model, saved};
use super::tests::{assert_refused, checkpoint, report, slot, variable};
use super::*;
use warmstart_graph::{DType, Role, Shape};

#[test]
fn rules_that_leave_nothing_of_what_they_name_are_refused() {
    let both = || RestoreOptions::new().only("a/**").only("b/**");
    let plan = saved().plan_for(&model(), &both());
    assert_refused(
        &plan,
        &[
            "error: rules leave out all 6 variables, so that nothing would be restored. Nothing on the device",
            "help: of several such rules, what all of them name is left; one has several: \
             `.only(\"{a/**,b/**}\")`",
        ],
    );
    let plan = saved().plan_for(&model(), &RestoreOptions::new().only("{a/**,b/**}"));
    assert!(plan.closes() && plan.restored().count() == 6, "{plan}");
    let none = RestoreOptions::new().only("a/kernel").ignore("a/**");
    assert_refused(&saved().plan_for(&model(), &none), &["rules leave out all 6 variables"]);
    // That everything is left out can be meant.
    assert!(saved().plan_for(&model(), &RestoreOptions::new().ignore("**")).closes());
}

#[test]
fn a_cast_is_advised_only_where_there_is_one() {
    let whole = [Variable { dtype: DType::I32, ..variable("n", &[2]) }];
    let file = checkpoint(&[("n", &[2])]);
    let help = "help: floats are not cast to whole numbers: declare `n` as a float, or save it as i32 (it is f32 \
                in the file)";
    for options in [RestoreOptions::new(), RestoreOptions::new().cast("**")] {
        let plan = file.plan_for(&whole, &options);
        assert_refused(&plan, &[help]);
        assert!(!report(&plan).contains("casts whole numbers"), "{}", report(&plan));
    }
    let half = [Variable { dtype: DType::F16, ..variable("n", &[2]) }];
    let plan = file.plan_for(&half, &RestoreOptions::new());
    assert_refused(&plan, &["help: casting `**` restores 1 of 1"]);
}

#[test]
fn a_slash_that_one_pair_of_a_map_lacks_is_told() {
    let file = checkpoint(&[("encoder/w", &[2]), ("head/w", &[2])]);
    let variables = [variable("enc/w", &[2]), variable("out/w", &[2])];
    let options = RestoreOptions::new().assignment_map([("encoder/", "enc"), ("head/", "out/")]);
    let help = "a scope ends with `/` in an assignment map: ";
    assert_refused(&file.plan_for(&variables, &options), &[help]);
}

/// What scales the inputs of another model fits wherever as many are scaled.
#[test]
fn constants_alone_are_no_model() {
    let constant = |name: &str| Variable { role: Role::State, ..variable(name, &[2]) };
    let model = [constant("input/offset"), constant("input/scale"), variable("fc/weight", &[3, 2])];
    let file = checkpoint(&[("input/offset", &[2]), ("input/scale", &[2]), ("fc/weight", &[4, 2])]);
    let options = RestoreOptions::new().allow_mismatched_shape();
    let plan = file.plan_for(&model, &options);
    assert_refused(
        &plan,
        &["error: only constants would be restored, and no weight: `input/offset`, `input/scale`."],
    );
    // Unless it is all that is asked for.
    assert!(file.plan_for(&model, &options.only("input/*")).closes());
    // A frozen weight is one.
    let body = [Variable { role: Role::State, ..variable("body/weight", &[2, 2]) }];
    let model = [&body[..], &[variable("head/weight", &[2, 1])]].concat();
    let file = checkpoint(&[("body/weight", &[2, 2])]);
    assert!(file.plan_for(&model, &RestoreOptions::new().allow_missing()).closes());
}

/// By its shape the bias of another model fits, with its slots, and so does the optimizer's count.
#[test]
fn of_another_model_no_bias_is_suggested() {
    let slots =
        |owner: &str, optimizer: &str| ["m", "v"].map(|slot| format!("{owner}/{optimizer}/{slot}"));
    let mut names = vec![("adamw/step".to_owned(), vec![])];
    for (layer, [rows, columns]) in [("block_0/q", [9, 9]), ("block_0/up", [9, 5]), ("out", [9, 7])]
    {
        for (name, shape) in [("weight", vec![rows, columns]), ("bias", vec![columns])] {
            let owner = format!("{layer}/{name}");
            names.extend(slots(&owner, "adamw").map(|slot| (slot, shape.clone())));
            names.push((owner, shape));
        }
    }
    let names: Vec<(&str, &[usize])> =
        names.iter().map(|(name, shape)| (&**name, &shape[..])).collect();
    let mut model = vec![Variable { shape: Shape::from([]), ..slot(None, "step") }];
    for (layer, [rows, columns]) in [("fc1", [64, 5]), ("fc2", [5, 32]), ("fc3", [32, 10])] {
        for (name, shape) in [("weight", &[rows, columns][..]), ("bias", &[columns][..])] {
            let owner = variable(&format!("{layer}/{name}"), shape);
            model.extend(["m", "v"].map(|which| Variable {
                shape: owner.shape.clone(),
                ..slot(Some(&owner.name), which)
            }));
            model.push(owner);
        }
    }
    let plan = checkpoint(&names).plan_for(&model, &RestoreOptions::new());
    assert_refused(&plan, &["help: this looks like the checkpoint of another model"]);
    assert_eq!(plan.suggestions(), &[], "{plan}");
}
