//! Slots that do not go with the value that their variable gets. The files have no metadata: what belongs
//! together is told by names.

use super::tests::{assert_refused, checkpoint, report, slot, variable};
use super::*;
use crate::checkpoint::Checkpoint;
use warmstart_graph::Shape;

/// Two square layers, each with Adam's slots.
pub(super) fn model() -> Vec<Variable> {
    let square = |variable: Variable| Variable { shape: Shape::from([2, 2]), ..variable };
    let layer = |name: &str| {
        [variable(name, &[2, 2]), square(slot(Some(name), "m")), square(slot(Some(name), "v"))]
    };
    ["a/kernel", "b/kernel"].iter().flat_map(|name| layer(name)).collect()
}

pub(super) fn saved() -> Checkpoint {
    let model = model();
    checkpoint(&model.iter().map(|v| (v.name.as_str(), &[2, 2][..])).collect::<Vec<_>>())
}

/// By single names weights are exchanged, and slots are not.
fn exchanged() -> RestoreOptions {
    let options = RestoreOptions::new().rename("a/kernel", "aside").rename("b/kernel", "a/kernel");
    options.rename("aside", "b/kernel")
}

#[test]
fn weights_that_change_places_without_their_slots_are_an_error() {
    let plan = saved().plan_for(&model(), &exchanged());
    assert_refused(
        &plan,
        &[
            "error: adam's slots m, v for 2 variables would not go with the values of their variables: `a/kernel` \
             gets `b/kernel`, and `a/kernel/adam/m` gets `a/kernel/adam/m`, which goes with `a/kernel`. \
             Nothing on the device was changed.",
            "help: rename slots as what they belong to: a rule that renames a scope moves both; `.ignore(\"{a/kernel/adam/m,a/kernel/adam/v,b/kernel/adam/m,\
             b/kernel/adam/v}\")` leaves them out, so that they begin anew; `.allow_slots_alone()` restores \
             them all the same",
        ],
    );
    let slots: Vec<&str> = plan.slots_of_others().map(|slot| slot.name.as_str()).collect();
    let expected = ["a/kernel/adam/m", "a/kernel/adam/v", "b/kernel/adam/m", "b/kernel/adam/v"];
    assert_eq!(slots, expected);
    assert_eq!(plan.to_json()["slots_of_others"], serde_json::json!(expected));

    // What is advised mends it.
    let ignored = exchanged().ignore("{a,b}/kernel/adam/*");
    assert!(saved().plan_for(&model(), &ignored).closes());
    let moved = RestoreOptions::new().rename_scope("a", "aside").rename_scope("b", "a");
    let plan = saved().plan_for(&model(), &moved.rename_scope("aside", "b"));
    assert!(plan.closes() && plan.slots_of_others().next().is_none(), "{plan}");
    // Whoever means it can say so, and is told what was done.
    let plan = saved().plan_for(&model(), &exchanged().allow_slots_alone());
    let note =
        "note: adam's slots m, v for 2 variables would not go with the values of their variables";
    let text = report(&plan);
    assert!(
        plan.closes() && text.contains(note) && text.contains("; restored all the same"),
        "{text}"
    );
}

/// A slot whose variable the file does not have goes with no other tensor's value either: which one a rename
/// makes its variable's is for whoever wrote the rule to say.
#[test]
fn a_slot_of_what_the_file_does_not_have_is_nobody_elses() {
    let square = |variable: Variable| Variable { shape: Shape::from([2, 2]), ..variable };
    let of_a = square(slot(Some("a/kernel"), "m"));
    let declared = [variable("a/kernel", &[2, 2]), of_a.clone()];
    for (others, apart) in [(&["a/kernel"][..], true), (&[], false)] {
        let names = ["b/kernel", "a/kernel/adam/m"].iter().chain(others);
        let tensors: Vec<(&str, &[usize])> = names.map(|name| (*name, &[2, 2][..])).collect();
        let file = described(&tensors, std::slice::from_ref(&of_a));
        let options =
            RestoreOptions::new().rename("a/kernel", "aside").rename("b/kernel", "a/kernel");
        let plan = file.plan_for(&declared, &options.allow_unexpected());
        assert_eq!(plan.slots_of_others().next().is_some(), apart, "{plan}");
    }
}

/// A checkpoint that says of these variables what they are.
fn described(tensors: &[(&str, &[usize])], variables: &[Variable]) -> Checkpoint {
    let text = serde_json::to_string(variables).unwrap();
    let metadata = serde_json::json!({ "warmstart.variables": text });
    let mut header = serde_json::json!({ "__metadata__": metadata });
    let mut end = 0;
    for (name, shape) in tensors {
        let begin = end;
        end += 4 * shape.iter().product::<usize>();
        header[*name] =
            serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] });
    }
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("step-500.safetensors");
    std::fs::write(&file, [&length[..], header.as_bytes(), &vec![0; end]].concat()).unwrap();
    Checkpoint::open(&file).unwrap()
}

#[test]
fn a_square_weight_that_is_turned_without_its_slots_is_an_error() {
    let options = || RestoreOptions::new().transpose("a/kernel");
    assert_refused(
        &saved().plan_for(&model(), &options()),
        &[
            "error: adam's slots m, v for a/kernel would not go with the values of their variables: `a/kernel` is \
             transposed, and `a/kernel/adam/m` is not.",
            "help: `.transpose(\"{a/kernel/adam/m,a/kernel/adam/v}\")` turns them, too; ",
        ],
    );
    let mended = options().transpose("{a/kernel/adam/m,a/kernel/adam/v}");
    assert!(saved().plan_for(&model(), &mended).closes());
    let slots = RestoreOptions::new().transpose("a/kernel/adam/m");
    assert_refused(
        &saved().plan_for(&model(), &slots),
        &[
            "adam's slot m for a/kernel would not go",
            "`a/kernel/adam/m` is transposed, and `a/kernel` is not",
        ],
    );
}

#[test]
fn where_values_are_missing_it_is_told_as_well() {
    let mut variables = model();
    variables.push(variable("c/kernel", &[3]));
    let plan = saved().plan_for(&variables, &exchanged());
    assert_refused(
        &plan,
        &[
            "help: adam's slots m, v for 2 variables would not go with the values of their variables: ",
        ],
    );
}

#[test]
fn slots_that_go_with_their_values_are_none_of_these() {
    // A value under another name, with its slots.
    let names = ["body/w", "body/w/adam/m", "ema/body/w"];
    let file = checkpoint(&names.map(|name| (name, &[2][..])));
    let variables = [variable("net/w", &[2]), slot(Some("net/w"), "m")];
    let options = || RestoreOptions::new().allow_unexpected();
    let plan = file.plan_for(&variables, &options().rename_scope("body", "net"));
    assert!(plan.closes() && plan.slots_of_others().next().is_none(), "{plan}");
    // The averaged value, with the slots of the other.
    let averaged = options().rename("ema/body/w", "net/w").rename("body/w/adam/m", "net/w/adam/m");
    assert_refused(
        &file.plan_for(&variables, &averaged),
        &[
            "`net/w` gets `ema/body/w`, and `net/w/adam/m` gets `body/w/adam/m`, which goes with `body/w`",
        ],
    );
    // TensorFlow's names of slots.
    let names = ["dense/kernel", "dense/kernel/Adam", "dense/kernel/Adam_1"];
    let file = checkpoint(&names.map(|name| (name, &[2][..])));
    let owner = "fc/kernel";
    let variables = [variable(owner, &[2]), slot(Some(owner), "m"), slot(Some(owner), "v")];
    let options = RestoreOptions::new().rename_scope("dense", "fc");
    let options = options.rename_component("Adam", "adam/m").rename_component("Adam_1", "adam/v");
    let plan = file.plan_for(&variables, &options);
    assert!(plan.closes() && plan.slots_of_others().next().is_none(), "{plan}");
    // Slots alone may have been turned before: but for square ones their shape says so.
    let file = checkpoint(&[("w", &[3, 2]), ("w/adam/m", &[2, 3])]);
    let wide = |variable: Variable| Variable { shape: Shape::from([3, 2]), ..variable };
    let variables = [wide(variable("w", &[2])), wide(slot(Some("w"), "m"))];
    let plan = file.plan_for(&variables, &RestoreOptions::new().transpose("w/adam/m"));
    assert!(plan.closes(), "{plan}");
    // Of a row nothing is turned but its shape.
    let file = checkpoint(&[("w", &[1, 2]), ("w/adam/m", &[2, 1])]);
    let column = |variable: Variable| Variable { shape: Shape::from([2, 1]), ..variable };
    let variables = [column(variable("w", &[2])), column(slot(Some("w"), "m"))];
    let plan = file.plan_for(&variables, &RestoreOptions::new().transpose("w"));
    assert!(plan.closes(), "{plan}");
}

/// What is advised for many is what begins all of them anew.
#[test]
fn very_many_such_slots_are_left_out_together() {
    let mut variables = vec![slot(None, "step")];
    for at in 0..6 {
        let name = format!("layer_{at}/kernel");
        let square = |variable: Variable| Variable { shape: Shape::from([2, 2]), ..variable };
        variables.push(square(variable(&name, &[2])));
        variables.extend(["m", "v"].map(|which| square(slot(Some(&name), which))));
    }
    let all: Vec<(&str, &[usize])> =
        variables.iter().map(|v| (v.name.as_str(), &v.shape[..])).collect();
    let options = RestoreOptions::new().transpose("**/kernel");
    let plan = checkpoint(&all).plan_for(&variables, &options);
    let rule = "`.ignore(\"**/adam/*\")` leaves them out";
    assert_refused(&plan, &["m, v for 6 variables would not go with", rule]);
    assert!(checkpoint(&all).plan_for(&variables, &options.ignore("**/adam/*")).closes());
}
