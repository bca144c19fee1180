//! Layers that are counted otherwise on the two sides.

use super::tests::{Named, code, inferred, slot, tensor, variable};
use super::*;
use crate::restore::matching::{Matching, Outcome};
use crate::restore::saved::Saved;
use std::collections::BTreeMap;
use warmstart_graph::{Role, Variable};

/// Weights of layers: the names of a layer on both sides, and what each layer has.
fn layers(names: &[(String, String)], parts: &[Named<'_>]) -> (Vec<TensorEntry>, Vec<Variable>) {
    let each = names.iter().flat_map(|(file, model)| {
        parts.iter().map(move |(part, shape)| {
            let separator = if file.contains('.') { "." } else { "/" };
            let part_in_file = part.replace('/', separator);
            (
                tensor(&format!("{file}{separator}{part_in_file}"), shape),
                variable(&format!("{model}/{part}"), shape),
            )
        })
    });
    each.unzip()
}

const DENSE: [Named<'_>; 2] = [("weight", &[8, 8]), ("bias", &[8])];

/// What is suggested, each tensor being the value of the variable at its place, in the order of the
/// layers.
#[track_caller]
fn in_order(file: &[TensorEntry], model: &[Variable]) -> Suggestion {
    let (mut all, _) = inferred(file, model, &BTreeMap::new());
    assert_eq!(all.len(), 1, "{all:#?}");
    let one = all.remove(0);
    assert_eq!(one.restores, one.of, "{one:#?}");
    let variables: Vec<&Variable> = model.iter().collect();
    let found = Matching::new(file, &variables, &one.rules).outcomes;
    for ((outcome, tensor), variable) in found.iter().zip(file).zip(model) {
        let Outcome::Restored { tensor: from, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(*from, tensor.name, "{}: {:?}", variable.name, code(&one));
    }
    let order = |note: &String| note.starts_with("only the order of their numbers says");
    assert!(one.notes.iter().any(order), "{one:#?}");
    one
}

#[test]
fn counting_begins_elsewhere() {
    for (first, count) in [(1, 6), (1, 12), (7, 3)] {
        let names: Vec<_> = (0..count)
            .map(|n| (format!("enc/layer_{}", n + first), format!("enc/layer_{n}")))
            .collect();
        let (file, model) = layers(&names, &DENSE);
        assert_eq!(in_order(&file, &model).rules.len(), count);
        // And the other way round, where each rule must come after that of the next layer.
        let names: Vec<_> = names.into_iter().map(|(file, model)| (model, file)).collect();
        let (file, model) = layers(&names, &DENSE);
        assert_eq!(in_order(&file, &model).rules.len(), count);
    }
}

#[test]
fn variables_that_would_lose_a_tensor_of_their_name_are_told() {
    let names = [1, 2, 3].map(|n| (format!("layer_{n}"), format!("layer_{}", n - 1)));
    let (file, model) = layers(&names, &DENSE);
    let one = in_order(&file, &model);
    let told = "`layer_1/weight`, which would fit as it is, gets `layer_2/weight` in place of \
                `layer_1/weight`; so it is with 3 more";
    assert!(one.notes.iter().any(|note| note == told), "{one:#?}");
    let expected = r#".rename_scope("layer_1", "layer_0").rename_scope("layer_2", "layer_1").rename_scope("layer_3", "layer_2")"#;
    assert_eq!((code(&one).as_str(), one.restores), (expected, 2));
}

#[test]
fn counting_goes_in_other_steps() {
    let names = [(0, 1), (2, 2), (4, 3)].map(|(a, b)| (format!("layers.{a}"), format!("fc{b}")));
    let (file, model) = layers(&names, &DENSE);
    let one = in_order(&file, &model);
    let expected = r#".separator('.', '/').rename_scope("layers/0", "fc1").rename_scope("layers/2", "fc2").rename_scope("layers/4", "fc3")"#;
    assert_eq!(code(&one), expected);

    // What else differs is found too.
    let mut file = file;
    file.iter_mut()
        .for_each(|t| t.name = format!("module.{}", t.name.replace("weight", "kernel")).into());
    in_order(&file, &model);
}

#[test]
fn layers_within_layers() {
    let mut names = Vec::new();
    for block in 0..3 {
        for layer in 0..2 {
            names.push((
                format!("net.block.{}.fc.{}", block + 1, layer + 1),
                format!("net/block_{block}/fc_{layer}"),
            ));
        }
    }
    let (file, model) = layers(&names, &DENSE);
    in_order(&file, &model);
}

/// Variables whose own names are counted, from 1 in the file and from 0 in the model, with what an
/// optimizer keeps for them under names that are made of theirs.
fn counted_with_slots(
    name: impl Fn(&str, &str) -> String,
) -> (Vec<TensorEntry>, Vec<Variable>, BTreeMap<String, Saved>) {
    let (mut file, mut model, mut saved) = (Vec::new(), Vec::new(), BTreeMap::new());
    for n in 0..3 {
        let (old, new) = (format!("w_{}", n + 1), format!("w_{n}"));
        file.push(tensor(&old, &[8, 8]));
        model.push(variable(&new, &[8, 8]));
        for which in ["m", "v"] {
            let role = slot(&old, "adam", which, &[8, 8]).role;
            file.push(tensor(&name(&old, which), &[8, 8]));
            saved.insert(name(&old, which), Saved { initializer: None, role });
            let own = Variable { name: name(&new, which), ..slot(&new, "adam", which, &[8, 8]) };
            model.push(own);
        }
    }
    (file, model, saved)
}

/// What each variable gets under a suggestion.
fn given(file: &[TensorEntry], model: &[Variable], one: &Suggestion) -> Vec<Option<String>> {
    let variables: Vec<&Variable> = model.iter().collect();
    let found = Matching::new(file, &variables, &one.rules).outcomes.into_iter();
    found
        .map(|outcome| match outcome {
            Outcome::Restored { tensor, .. } => Some(tensor.to_string()),
            _ => None,
        })
        .collect()
}

/// What an optimizer keeps goes where its variables go, though some of it would fit as it is.
#[test]
fn slots_go_with_variables_that_are_counted_otherwise() {
    let (file, model, saved) = counted_with_slots(|owner, which| format!("{owner}/adam/{which}"));
    let (all, _) = inferred(&file, &model, &saved);
    let [one] = &all[..] else { panic!("{all:#?}") };
    let names: Vec<Option<String>> =
        file.iter().map(|tensor| Some(tensor.name.to_string())).collect();
    assert_eq!(given(&file, &model, one), names, "{}", code(one));
    assert_eq!(one.rules.len(), 6, "{}", code(one));
}

/// Where its names do not go along, variables are not moved away from it.
#[test]
fn slots_are_not_left_to_other_variables() {
    let (file, model, saved) =
        counted_with_slots(|owner, which| format!("adam/{which}/of/{owner}"));
    let (all, _) = inferred(&file, &model, &saved);
    for one in &all {
        let given = given(&file, &model, one);
        let of: BTreeMap<&String, &Option<String>> =
            model.iter().map(|variable| &variable.name).zip(&given).collect();
        for (variable, tensor) in model.iter().zip(&given) {
            let role = tensor.as_ref().and_then(|tensor| Some(&saved.get(tensor)?.role));
            let (Role::Slot { variable: Some(owner), .. }, Some(Role::Slot { variable, .. })) =
                (&variable.role, role)
            else {
                continue;
            };
            assert!(of[owner].is_none() || of[owner] == variable, "{owner}: {}", code(one));
        }
    }
}

#[test]
fn keras_begins_without_a_number() {
    let name = |n: usize| if n == 0 { "dense".to_owned() } else { format!("dense_{n}") };
    let names: Vec<_> = (0..5).map(|n| (name(n), name(n + 5))).collect();
    let (file, model) = layers(&names, &DENSE);
    in_order(&file, &model);
}

#[test]
fn what_does_not_agree_wholly_is_not_renumbered() {
    let none = |file: &[TensorEntry], model: &[Variable]| {
        let (all, _) = inferred(file, model, &BTreeMap::new());
        assert_eq!(all, [], "{:?}", all.iter().map(code).collect::<Vec<_>>());
    };
    // A layer fewer.
    let names: Vec<_> =
        (0..4).map(|n| (format!("layer_{}", n + 1), format!("layer_{n}"))).collect();
    let (file, model) = layers(&names, &DENSE);
    none(&file[2..], &model);
    none(&file, &model[2..]);
    // One of another shape in the middle, and elsewhere.
    let (mut file, mut model) = layers(&names, &DENSE);
    file[2].shape = [8, 9].into();
    model[4].shape = [8, 9].into();
    none(&file, &model);
    // Two families that either could be.
    let (mut file, mut model) = (Vec::new(), Vec::new());
    for (old, new) in [("left", "north"), ("right", "south")] {
        let names: Vec<_> =
            (0..3).map(|n| (format!("{old}_{}", n + 1), format!("{new}_{n}"))).collect();
        let (tensors, variables) = layers(&names, &DENSE);
        file.extend(tensors);
        model.extend(variables);
    }
    none(&file, &model);
}
