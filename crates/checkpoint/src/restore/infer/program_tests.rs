//! What is suggested between the checkpoints of different programs, of which names alone say what
//! belongs to an optimizer.

use super::tests::{Named, code, inferred, slot, tensors, variables};
use super::*;
use crate::restore::matching::{Matching, Outcome};
use crate::restore::saved::Saved;
use crate::restore::slots::roles_by_name;
use crate::tensor::FileDType;
use std::collections::BTreeMap;
use warmstart_graph::{Shape, Variable};

/// What the names of a checkpoint of another program say.
fn by_name(named: &[Named<'_>]) -> (BTreeMap<String, Saved>, Vec<Variable>) {
    let shapes: Vec<Shape> = named.iter().map(|(_, shape)| Shape::from(*shape)).collect();
    let roles = roles_by_name(named.iter().zip(&shapes).map(|((name, _), shape)| (*name, shape)));
    let (mut saved, mut variables) = (BTreeMap::new(), variables(named));
    for (variable, role) in variables.iter_mut().zip(roles) {
        if let Some(role) = role {
            variable.role = role.clone();
            saved.insert(variable.name.clone(), Saved { initializer: None, role });
        }
    }
    (saved, variables)
}

const KERAS_2: [Named<'_>; 13] = [
    ("learning_rate", &[]),
    ("fc1/kernel", &[4, 3]),
    ("fc1/bias", &[3]),
    ("fc2/kernel", &[3, 2]),
    ("fc2/bias", &[2]),
    ("Adam/m/fc1/kernel", &[4, 3]),
    ("Adam/v/fc1/kernel", &[4, 3]),
    ("Adam/m/fc1/bias", &[3]),
    ("Adam/v/fc1/bias", &[3]),
    ("Adam/m/fc2/kernel", &[3, 2]),
    ("Adam/v/fc2/kernel", &[3, 2]),
    ("Adam/m/fc2/bias", &[2]),
    ("Adam/v/fc2/bias", &[2]),
];

const KERAS_3: [Named<'_>; 14] = [
    ("save_counter", &[]),
    ("adam/learning_rate", &[]),
    ("adam/sequential_fc1_kernel_momentum", &[4, 3]),
    ("adam/sequential_fc1_kernel_velocity", &[4, 3]),
    ("adam/sequential_fc1_bias_momentum", &[3]),
    ("adam/sequential_fc1_bias_velocity", &[3]),
    ("adam/sequential_fc2_kernel_momentum", &[3, 2]),
    ("adam/sequential_fc2_kernel_velocity", &[3, 2]),
    ("adam/sequential_fc2_bias_momentum", &[2]),
    ("adam/sequential_fc2_bias_velocity", &[2]),
    ("sequential/fc1/kernel", &[4, 3]),
    ("sequential/fc1/bias", &[3]),
    ("sequential/fc2/kernel", &[3, 2]),
    ("sequential/fc2/bias", &[2]),
];

const PYTORCH: [Named<'_>; 10] = [
    ("model.fc1.weight", &[3, 4]),
    ("model.fc1.bias", &[3]),
    ("model.fc2.weight", &[2, 3]),
    ("model.fc2.bias", &[2]),
    ("optimizer.state.0.step", &[]),
    ("optimizer.state.0.exp_avg", &[3, 4]),
    ("optimizer.state.0.exp_avg_sq", &[3, 4]),
    ("optimizer.state.1.step", &[]),
    ("optimizer.state.1.exp_avg", &[3]),
    ("optimizer.state.1.exp_avg_sq", &[3]),
];

const TENSORFLOW_1: [Named<'_>; 9] = [
    ("beta1_power", &[]),
    ("beta2_power", &[]),
    ("dense/bias", &[3]),
    ("dense/bias/Adam", &[3]),
    ("dense/bias/Adam_1", &[3]),
    ("dense/kernel", &[4, 3]),
    ("dense/kernel/Adam", &[4, 3]),
    ("dense/kernel/Adam_1", &[4, 3]),
    ("global_step", &[]),
];

/// The one suggestion, and which tensor each variable gets under it.
fn one_suggestion(file: &[Named<'_>], model: &[Variable]) -> (String, Vec<(String, String)>) {
    let (saved, _) = by_name(file);
    let file = tensors(file);
    let (all, _) = inferred(&file, model, &saved);
    let [one] = all.as_slice() else { panic!("{all:#?}") };
    let references: Vec<&Variable> = model.iter().collect();
    let outcomes = Matching::new(&file, &references, &one.rules).outcomes;
    let pairs = model.iter().zip(outcomes).filter_map(|(variable, outcome)| match outcome {
        Outcome::Restored { tensor, .. } => Some((variable.name.clone(), tensor.to_string())),
        _ => None,
    });
    (code(one), pairs.collect())
}

#[test]
fn weights_get_weights_and_slots_their_own_between_programs() {
    let (_, keras_2) = by_name(&KERAS_2);
    let (_, keras_3) = by_name(&KERAS_3);
    let (rules, pairs) = one_suggestion(&PYTORCH, &keras_2);
    let expected = r#".strip_prefix("model.").separator('.', '/').rename_component("weight", "kernel").transpose("**/kernel")"#;
    assert_eq!((rules.as_str(), pairs.len()), (expected, 4));

    let (rules, pairs) = one_suggestion(&TENSORFLOW_1, &keras_2);
    assert_eq!((rules.as_str(), pairs.len()), (r#".rename_scope("dense", "fc1")"#, 2));

    // Which of Keras 3 belongs to which of Keras 2, and the other way round.
    let old_of = |new: &str| match new.strip_prefix("adam/") {
        None => new.trim_start_matches("sequential/").to_owned(),
        Some("learning_rate") => "learning_rate".to_owned(),
        Some(slot) => {
            let slot = slot.trim_start_matches("sequential_").replace('_', "/");
            let slot = slot.replace("/momentum", "").replace("/velocity", "");
            let which = if new.ends_with("momentum") { "m" } else { "v" };
            format!("Adam/{which}/{slot}")
        }
    };
    let (rules, pairs) = one_suggestion(&KERAS_3, &keras_2);
    assert!(pairs.iter().all(|(old, new)| old_of(new) == *old), "{rules}\n{pairs:#?}");
    assert_eq!(pairs.len(), 13, "{rules}\n{pairs:#?}");
    let (rules, pairs) = one_suggestion(&KERAS_2, &keras_3);
    assert!(pairs.iter().all(|(new, old)| old_of(new) == *old), "{rules}\n{pairs:#?}");
    assert_eq!(pairs.len(), 12, "{rules}\n{pairs:#?}");
}

/// Keras 2 has its slots in scopes in front of what they belong to, and ours are behind.
#[test]
fn keras_2_goes_on_as_ours() {
    let model = |names: [&'static str; 4]| {
        let shapes: [&[usize]; 4] = [&[4, 3], &[3], &[3, 2], &[2]];
        let weights: Vec<Named<'_>> = names.into_iter().zip(shapes).collect();
        let mut model = variables(&weights);
        for (owner, shape) in weights {
            model.extend(["m", "v"].map(|which| slot(owner, "adam", which, shape)));
        }
        model
    };
    let turned = r#".rename_regex("^Adam/(m|v)/(.+)$", "${2}/adam/${1}")"#;
    let (rules, pairs) =
        one_suggestion(&KERAS_2, &model(["fc1/kernel", "fc1/bias", "fc2/kernel", "fc2/bias"]));
    assert_eq!((rules.as_str(), pairs.len()), (turned, 12));
    let (rules, pairs) =
        one_suggestion(&KERAS_2, &model(["fc1/weight", "fc1/bias", "fc2/weight", "fc2/bias"]));
    let expected = format!(r#"{turned}.rename_component("kernel", "weight")"#);
    assert_eq!((rules.as_str(), pairs.len()), (expected.as_str(), 12));
    for (new, old) in &pairs {
        let (owner, slot) = new.split_once("/adam/").unwrap_or((new, ""));
        let owner = owner.replace("weight", "kernel");
        let expected = if slot.is_empty() { owner } else { format!("Adam/{slot}/{owner}") };
        assert_eq!(*old, expected);
    }
    // Of slots with other words, nothing says which is which.
    let mut other = model(["fc1/kernel", "fc1/bias", "fc2/kernel", "fc2/bias"]);
    for variable in &mut other {
        variable.name = variable.name.replace("/adam/m", "/adam/first");
    }
    let (saved, _) = by_name(&KERAS_2);
    let (all, _) = inferred(&tensors(&KERAS_2), &other, &saved);
    assert!(all.iter().all(|one| !code(one).contains("rename_regex(\"^Adam")), "{all:#?}");
}

/// A model of ours that goes on from Keras 3: no rule moves it all below one variable's name because that
/// has slots.
#[test]
fn keras_3_goes_on_as_ours() {
    let weights: [Named<'_>; 4] =
        [("fc1/weight", &[4, 3]), ("fc1/bias", &[3]), ("fc2/weight", &[3, 2]), ("fc2/bias", &[2])];
    let mut model = variables(&weights);
    for (owner, shape) in weights {
        model.extend(["m", "v"].map(|which| slot(owner, "adam", which, shape)));
    }
    let (rules, pairs) = one_suggestion(&KERAS_3, &model);
    let names = r#".strip_prefix("sequential/").rename_component("kernel", "weight")"#;
    assert!(rules.starts_with(names) || rules.ends_with(names), "{rules}");
    assert!(!rules.contains("add_prefix"), "{rules}");
    let old = |new: &str| {
        let (owner, slot) = new.split_once("/adam/").unwrap_or((new, ""));
        let owner = format!("sequential/{}", owner.replace("weight", "kernel"));
        let flat = owner.replace('/', "_");
        match slot {
            "m" => format!("adam/{flat}_momentum"),
            "v" => format!("adam/{flat}_velocity"),
            _ => owner,
        }
    };
    assert!(pairs.iter().all(|(new, from)| old(new) == *from), "{rules}\n{pairs:#?}");
    assert!(pairs.len() == 4 || pairs.len() == 12, "{rules}\n{pairs:#?}");
}

#[test]
fn tensorflows_slots_become_ours() {
    let mut model = variables(&[("dense/kernel", &[4, 3]), ("dense/bias", &[3])]);
    for (owner, shape) in [("dense/kernel", &[4, 3][..]), ("dense/bias", &[3])] {
        model.extend(["m", "v"].map(|name| slot(owner, "adam", name, shape)));
    }
    let (rules, pairs) = one_suggestion(&TENSORFLOW_1, &model);
    assert_eq!(pairs.len(), 6, "{rules}");
    for (variable, tensor) in &pairs[2..] {
        let slot = tensor.replace("/Adam_1", "/adam/v").replace("/Adam", "/adam/m");
        assert_eq!(*variable, slot, "{rules}");
    }
}

#[test]
fn a_number_does_not_fit_for_being_one() {
    let with = |dtype, name| {
        let mut file = tensors(&[("w", &[3]), (name, &[])]);
        file[1].dtype = dtype;
        file
    };
    let model = variables(&[("w", &[3]), ("learning_rate", &[])]);
    for (dtype, name) in [(FileDType::I64, "save_counter"), (FileDType::F32, "a/temperature")] {
        let (all, _) = inferred(&with(dtype, name), &model, &BTreeMap::new());
        assert_eq!(all, [], "{name}");
    }
    let (all, _) = inferred(&with(FileDType::F32, "learning_rates"), &model, &BTreeMap::new());
    assert_eq!(code(&all[0]), r#".rename("learning_rates", "learning_rate")"#);
}

#[test]
fn square_matrices_of_another_program_are_told_although_nothing_is_transposed() {
    let file = tensors(&[("fc1.weight", &[8, 8]), ("fc1.bias", &[8])]);
    let model = variables(&[("fc1/kernel", &[8, 8]), ("fc1/bias", &[8])]);
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    assert!(all[0].notes[0].starts_with("`fc1/kernel` is square"), "{all:#?}");
    // A matrix that is not square shows how they lie.
    let file = tensors(&[("fc1.weight", &[8, 8]), ("fc2.weight", &[8, 3])]);
    let model = variables(&[("fc1/kernel", &[8, 8]), ("fc2/kernel", &[8, 3])]);
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    assert_eq!((all.len(), &all[0].notes[..]), (1, &[][..]), "{all:#?}");
}

#[test]
fn any_characters_may_stand_in_names() {
    let odd = ["a#b/w", "a1b/w", "#/w", "1_/w", "_1/w", "18446744073709551616/w", "é2/w", "/w"];
    let file: Vec<Named<'_>> = odd.iter().map(|name| (*name, &[4, 4][..])).collect();
    let model: Vec<String> = odd.iter().map(|name| name.replace("/w", "_x/kernel")).collect();
    let model: Vec<Named<'_>> = model.iter().map(|name| (name.as_str(), &[4, 4][..])).collect();
    // Whatever is suggested does what it says, as `inferred` makes sure.
    inferred(&tensors(&file), &variables(&model), &BTreeMap::new());
}

#[test]
fn models_that_have_little_in_common_get_no_rules() {
    let mut file: Vec<(String, Vec<usize>)> = Vec::new();
    let mut model = Vec::new();
    for layer in 0..6 {
        for (at, part) in ["query", "key", "value", "LayerNorm", "dense"].into_iter().enumerate() {
            file.push((format!("bert.layer.{layer}.{part}.weight"), vec![8 + at, 64 + layer]));
            model.push((format!("resnet/stage{layer}/conv_{at}/kernel"), vec![3, 3, 8, 8 + at]));
        }
    }
    // A few shapes are the same all the same.
    file.push(("pooler.weight".to_owned(), vec![7]));
    model.push(("resnet/head/gamma".to_owned(), vec![7]));
    let named = |all: &[(String, Vec<usize>)], of: fn(&str, &[usize]) -> TensorEntry| {
        all.iter().map(|(name, shape)| of(name, shape)).collect::<Vec<_>>()
    };
    let file = named(&file, super::tests::tensor);
    let model: Vec<Variable> =
        model.iter().map(|(name, shape)| super::tests::variable(name, shape)).collect();
    for suggestion in inferred(&file, &model, &BTreeMap::new()).0 {
        assert!(suggestion.rules.len() < 4, "{suggestion:?}");
    }
}
