//! What is suggested for which names and shapes. Every case also holds suggestions to what they
//! say: planning with their rules restores exactly as many variables.

use super::*;
use crate::restore::matching::{Matching, Outcome};
use crate::restore::saved::Saved;
use crate::tensor::FileDType;
use std::collections::BTreeMap;
use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

pub(super) fn variable(name: &str, shape: &[usize]) -> Variable {
    Variable {
        name: name.into(),
        shape: Shape::from(shape),
        dtype: DType::F32,
        initializer: Initializer::Zeros,
        role: Role::Trainable,
        location: Location::caller(),
    }
}

pub(super) fn slot(owner: &str, optimizer: &str, slot: &str, shape: &[usize]) -> Variable {
    let role =
        Role::Slot { variable: Some(owner.into()), optimizer: optimizer.into(), slot: slot.into() };
    Variable { role, ..variable(&format!("{owner}/{optimizer}/{slot}"), shape) }
}

pub(super) fn tensor(name: &str, shape: &[usize]) -> TensorEntry {
    let bytes = 4 * shape.iter().product::<usize>() as u64;
    let (name, shape) = (name.to_owned(), Shape::from(shape));
    TensorEntry::new(name, FileDType::F32, shape, 0..bytes)
}

pub(super) type Named<'a> = (&'a str, &'a [usize]);

pub(super) fn tensors(named: &[Named<'_>]) -> Vec<TensorEntry> {
    named.iter().map(|(name, shape)| tensor(name, shape)).collect()
}

pub(super) fn variables(named: &[Named<'_>]) -> Vec<Variable> {
    named.iter().map(|(name, shape)| variable(name, shape)).collect()
}

/// What is asked where there are no rules yet.
pub(super) fn asked<'a>(
    tensors: &'a [TensorEntry],
    variables: &'a [&'a Variable],
    outcomes: &'a [Outcome],
    saved: &'a BTreeMap<String, Saved>,
) -> Asked<'a> {
    Asked { tensors, variables, rules: &[], outcomes, saved, pytorch: false }
}

/// The suggestions, each tried out, and how many plans they took.
pub(super) fn inferred(
    tensors: &[TensorEntry],
    variables: &[Variable],
    saved: &BTreeMap<String, Saved>,
) -> (Vec<Suggestion>, usize) {
    let variables: Vec<&Variable> = variables.iter().collect();
    let before = Matching::new(tensors, &variables, &[]).outcomes;
    let (suggestions, passes) = infer_within(BUDGET, asked(tensors, &variables, &before, saved));
    for suggestion in &suggestions {
        let after = Matching::new(tensors, &variables, &suggestion.rules);
        let gained = |(before, after): &(&Outcome, &Outcome)| {
            lacks(before) && matches!(after, Outcome::Restored { .. })
        };
        let restored = before.iter().zip(&after.outcomes).filter(gained).count();
        assert_eq!(restored, suggestion.restores, "{suggestion:?}");
        assert_eq!(before.iter().filter(|o| lacks(o)).count(), suggestion.of);
        assert!(after.rules.iter().all(|used| used.touched > 0), "{suggestion:?}");
        for (before, after) in before.iter().zip(&after.outcomes) {
            assert!(!matches!(after, Outcome::Ambiguous { .. }), "{suggestion:?}");
            if matches!(before, Outcome::Restored { .. }) {
                assert!(matches!(after, Outcome::Restored { .. }), "{suggestion:?}");
            }
        }
    }
    (suggestions, passes)
}

pub(super) fn code(suggestion: &Suggestion) -> String {
    suggestion.rules.iter().map(ToString::to_string).collect()
}

/// The rules suggested, each alternative with `restores/of`.
pub(super) fn suggested(in_file: &[Named<'_>], in_model: &[Named<'_>]) -> Vec<String> {
    let none = BTreeMap::new();
    let (suggestions, _) = inferred(&tensors(in_file), &variables(in_model), &none);
    suggestions.iter().map(|s| format!("{} {}/{}", code(s), s.restores, s.of)).collect()
}

/// Names with one shape for each, so that only one mending is possible.
fn shaped<'a>(names: &[&'a str], shapes: &'a [Vec<usize>]) -> Vec<Named<'a>> {
    names.iter().zip(shapes).map(|(name, shape)| (*name, shape.as_slice())).collect()
}

fn distinct_shapes() -> Vec<Vec<usize>> {
    (0..40).map(|n| if n % 2 == 0 { vec![n + 2, 2 * n + 5] } else { vec![n + 2] }).collect()
}

/// The rules for names of the checkpoint, each with that of its variable; every shape is unlike
/// every other.
fn mends(pairs: &[(&str, &str)]) -> String {
    let shapes = distinct_shapes();
    let (files, models): (Vec<&str>, Vec<&str>) = pairs.iter().copied().unzip();
    let all = suggested(&shaped(&files, &shapes), &shaped(&models, &shapes));
    assert_eq!(all.len(), 1, "{all:#?}");
    let n = pairs.iter().filter(|(file, model)| file != model).count();
    all[0].strip_suffix(&format!(" {n}/{n}")).unwrap_or_else(|| panic!("{all:?}")).to_owned()
}

/// What all names end with is one rule, and not one for each word that it stands behind.
#[test]
fn one_rule_takes_away_what_names_end_with() {
    let shapes = distinct_shapes();
    let words = ["kernel", "offset", "alpha", "mixture", "gate", "table"];
    for (end, other, rule) in [
        ("=,\\", "", r#".rename_regex("=,\\\\$", "")"#),
        (":part", "", r#".rename_regex(":part$", "")"#),
        ("@v1", "@v2", r#".rename_regex("@v1$", "@v2")"#),
    ] {
        for scope in ["net/first/", ""] {
            let name = |end: &str| words.map(|word| format!("{scope}{word}{end}"));
            let (old, new) = (name(end), name(other));
            let (old, new) = (old.each_ref().map(|n| &**n), new.each_ref().map(|n| &**n));
            let found = suggested(&shaped(&old, &shapes), &shaped(&new, &shapes));
            assert_eq!(found, [format!("{rule} 6/6")]);
        }
    }
}

#[test]
fn the_example_of_the_design() {
    let file: [Named<'_>; 2] = [("model_scope/weight", &[10, 10]), ("model_scope/bias", &[10])];
    let model: [Named<'_>; 2] =
        [("different_model_scope/weight", &[10, 10]), ("different_model_scope/bias", &[10])];
    let expected = r#".rename_scope("model_scope", "different_model_scope") 2/2"#;
    assert_eq!(suggested(&file, &model), [expected]);
}

#[test]
fn scopes_at_any_depth() {
    let rules = mends(&[("a/b/w", "a/c/w"), ("a/b/v", "a/c/v"), ("a/d", "a/d2")][..2]);
    assert_eq!(rules, r#".rename_component("b", "c")"#);
    let rules = mends(&[("b/a/b/w", "b/a/c/w"), ("b/a/b/v", "b/a/c/v")]);
    assert_eq!(rules, r#".rename_scope("b/a/b", "b/a/c")"#);
    let rules = mends(&[("enc/x/w", "model/enc2/x/w"), ("enc/y/w", "model/enc2/y/w")]);
    assert_eq!(rules, r#".rename_scope("enc", "model/enc2")"#);
    let rules = mends(&[("old/x/w", "fresh/x/w"), ("old/y/w", "fresh/y/w"), ("h/w", "head/w")]);
    assert_eq!(rules, r#".rename_scope("h", "head").rename_scope("old", "fresh")"#);
}

#[test]
fn components() {
    let rules = mends(&[("a/kernel", "a/weight"), ("b/kernel", "b/weight"), ("a/bias", "a/bias")]);
    assert_eq!(rules, r#".rename_component("kernel", "weight")"#);
}

#[test]
fn normalization_has_other_names_elsewhere() {
    let rules = mends(&[
        ("bn/gamma", "bn/weight"),
        ("bn/beta", "bn/bias"),
        ("bn/moving_mean", "bn/running_mean"),
        ("bn2/gamma", "bn2/weight"),
        ("bn2/beta", "bn2/bias"),
        ("bn2/moving_mean", "bn2/running_mean"),
    ]);
    for rule in [
        r#".rename_component("gamma", "weight")"#,
        r#".rename_component("beta", "bias")"#,
        r#".rename_component("moving_mean", "running_mean")"#,
    ] {
        assert!(rules.contains(rule), "{rules}");
    }
    assert_eq!(rules.matches(".rename").count(), 3, "{rules}");
}

#[test]
fn prefixes_and_separators() {
    let names = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"];
    let with = |prefix: &str| names.map(|name| format!("{prefix}{name}"));
    for prefix in ["module.", "_orig_mod.", "model.", "whatever.it.is."] {
        let file = with(prefix);
        let pairs: Vec<(&str, &str)> = file.iter().map(String::as_str).zip(names).collect();
        assert_eq!(mends(&pairs), format!(".strip_prefix({prefix:?})"));
        let turned: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
        assert_eq!(mends(&turned), format!(".add_prefix({prefix:?})"));
    }
    let slashed = names.map(|name| name.replace('.', "/"));
    let pairs: Vec<(&str, &str)> =
        names.into_iter().zip(slashed.iter().map(String::as_str)).collect();
    assert_eq!(mends(&pairs), ".separator('.', '/')");
    let turned: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
    assert_eq!(mends(&turned), ".separator('/', '.')");
}

#[test]
fn a_single_name_is_the_last_resort() {
    let pairs = [("steps", "step"), ("a/w", "a/w")];
    assert_eq!(mends(&pairs), r#".rename("steps", "step")"#);
}

#[test]
fn a_single_name_may_be_that_of_a_matrix_the_other_way_round() {
    let model: [Named<'_>; 4] = [("w1", &[4, 8]), ("w2", &[8, 3]), ("b1", &[8]), ("b2", &[3])];
    let file: [Named<'_>; 4] =
        [("weight_1", &[8, 4]), ("weight_2", &[3, 8]), ("bias_1", &[8]), ("bias_2", &[3])];
    let rules = [
        r#".rename("bias_1", "b1")"#,
        r#".rename("bias_2", "b2")"#,
        r#".rename("weight_1", "w1")"#,
        r#".rename("weight_2", "w2")"#,
        r#".transpose("{w1,w2}") 4/4"#,
    ];
    assert_eq!(suggested(&file, &model), [rules.concat()]);
    // With one that lies as it does in the model, that one only.
    let (file, model): ([Named<'_>; 2], [Named<'_>; 2]) =
        ([("weight_1", &[8, 4]), ("weight_2", &[8, 3])], [("w1", &[4, 8]), ("w2", &[8, 3])]);
    let rules =
        [r#".rename("weight_1", "w1")"#, r#".rename("weight_2", "w2")"#, r#".transpose("w1") 2/2"#];
    assert_eq!(suggested(&file, &model), [rules.concat()]);
    // A matrix that lies as a variable does is not turned for another one as well.
    let model: [Named<'_>; 3] = [("mixed", &[4, 8]), ("mixing", &[8, 4]), ("b1", &[8])];
    let file: [Named<'_>; 2] = [("mix", &[8, 4]), ("bias_1", &[8])];
    let rules = [r#".rename("bias_1", "b1")"#, r#".rename("mix", "mixing") 2/3"#];
    assert_eq!(suggested(&file, &model), [rules.concat()]);
    // The shape alone says too little if it has to be turned, and a table of rows is none of columns.
    let none: [String; 0] = [];
    assert_eq!(suggested(&[("decoder", &[8, 100])], &[("vectors", &[100, 8])]), none);
    assert_eq!(suggested(&[("token_table", &[8, 100])], &[("token_tabl", &[100, 8])]), none);
    assert_eq!(suggested(&[("token_tab", &[8, 100])], &[("token_table", &[100, 8])]), none);
}

#[test]
fn torch_state_dicts_of_distributed_training() {
    let file: [Named<'_>; 4] = [
        ("module.fc1.weight", &[16, 8]),
        ("module.fc1.bias", &[16]),
        ("module.fc2.weight", &[4, 16]),
        ("module.fc2.bias", &[4]),
    ];
    let model: [Named<'_>; 4] = [
        ("fc1/weight", &[8, 16]),
        ("fc1/bias", &[16]),
        ("fc2/weight", &[16, 4]),
        ("fc2/bias", &[4]),
    ];
    let expected = r#".strip_prefix("module.").separator('.', '/').transpose("**/weight") 4/4"#;
    assert_eq!(suggested(&file, &model), [expected]);
}

#[test]
fn keras_names() {
    let file: [Named<'_>; 4] = [
        ("dense/kernel:0", &[8, 16]),
        ("dense/bias:0", &[16]),
        ("dense_1/kernel:0", &[16, 4]),
        ("dense_1/bias:0", &[4]),
    ];
    let model: [Named<'_>; 4] = [
        ("fc1/weight", &[8, 16]),
        ("fc1/bias", &[16]),
        ("fc2/weight", &[16, 4]),
        ("fc2/bias", &[4]),
    ];
    let all = suggested(&file, &model);
    assert_eq!(all.len(), 1, "{all:?}");
    for rule in [
        r#".rename_component("kernel:0", "weight")"#,
        r#".rename_scope("dense", "fc1")"#,
        r#".rename_scope("dense_1", "fc2")"#,
        " 4/4",
    ] {
        assert!(all[0].contains(rule), "{all:?}");
    }
}

#[test]
fn every_layer_by_its_number() {
    let mut pairs = Vec::new();
    for layer in 0..12 {
        for part in ["attn/weight", "mlp/weight"] {
            pairs.push((
                format!("module.encoder.layers.{layer}.{}", part.replace('/', ".")),
                format!("encoder/layers_{layer}/{part}"),
            ));
        }
    }
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        mends(&pairs),
        r#".strip_prefix("module.").separator('.', '/').rename_regex("layers/(\\d+)/", "layers_${1}/")"#
    );
}

#[test]
fn two_scopes_that_fit_are_alternatives() {
    let file: [Named<'_>; 4] = [("a/w", &[3, 4]), ("a/b", &[3]), ("b/w", &[3, 4]), ("b/b", &[3])];
    let model: [Named<'_>; 2] = [("c/w", &[3, 4]), ("c/b", &[3])];
    let expected = [r#".rename_scope("a", "c") 2/2"#, r#".rename_scope("b", "c") 2/2"#];
    assert_eq!(suggested(&file, &model), expected);

    // One of them has the closer name.
    let file: [Named<'_>; 2] = [("model_scope/w", &[3, 4]), ("zebra/w", &[3, 4])];
    let model: [Named<'_>; 1] = [("different_model_scope/w", &[3, 4])];
    let expected = [r#".rename_scope("model_scope", "different_model_scope") 1/1"#];
    assert_eq!(suggested(&file, &model), expected);
}

#[test]
fn layers_of_one_shape_keep_their_order_and_are_told() {
    let file: [Named<'_>; 2] = [("dense/w", &[4, 4]), ("dense_1/w", &[4, 4])];
    let model: [Named<'_>; 2] = [("fc1/w", &[4, 4]), ("fc2/w", &[4, 4])];
    let (all, _) = inferred(&tensors(&file), &variables(&model), &BTreeMap::new());
    assert_eq!(all.len(), 1, "{all:#?}");
    assert!(all[0].notes[0].starts_with("only the order of their numbers says"), "{all:#?}");

    // Numbers that agree say which is which.
    let file: [Named<'_>; 2] = [("layer_1/w", &[4, 4]), ("layer_2/w", &[4, 4])];
    let all = suggested(&file, &model);
    assert_eq!(all, [r#".rename_regex("layer_(\\d+)/", "fc${1}/") 2/2"#]);
}

#[test]
fn single_renames_that_fit_equally_are_alternatives() {
    let file: [Named<'_>; 2] = [("wieght", &[3, 4]), ("weigth", &[3, 4])];
    let model: [Named<'_>; 1] = [("weight", &[3, 4])];
    let expected = [r#".rename("wieght", "weight") 1/1"#, r#".rename("weigth", "weight") 1/1"#];
    assert_eq!(suggested(&file, &model), expected);
}

#[test]
fn nonsense_is_not_suggested() {
    // Of one shape, and nothing alike in their names.
    let file: [Named<'_>; 2] = [("tokens", &[3]), ("zebra", &[3])];
    let model: [Named<'_>; 2] = [("offset", &[3]), ("velocity_limit", &[3])];
    assert_eq!(suggested(&file, &model), [""; 0]);
    // A new head is not the old one, though its bias would fit.
    let file: [Named<'_>; 2] = [("classifier/weight", &[8, 100]), ("classifier/bias", &[10])];
    let model: [Named<'_>; 2] = [("head/weight", &[8, 20]), ("head/bias", &[10])];
    assert!(!suggested(&file, &model).iter().any(|one| one.contains("scope")));
    // Another shape altogether.
    let file: [Named<'_>; 1] = [("a/w", &[3])];
    let model: [Named<'_>; 1] = [("b/w", &[4])];
    assert_eq!(suggested(&file, &model), [""; 0]);
}

#[test]
fn scopes_that_many_others_fit_as_well_are_not_suggested() {
    let name = |n: u64, factor: u64| format!("{:016x}", (n + 1).wrapping_mul(factor));
    let (mut file, mut model) = (Vec::new(), Vec::new());
    for n in 0..30 {
        let from = name(n, 0x9e37_79b9_7f4a_7c15);
        let to = name(n, 0xd1b5_4a32_d192_ed03);
        file.extend([tensor(&format!("{from}/w"), &[4, 4]), tensor(&format!("{from}/b"), &[4])]);
        model.extend([variable(&format!("{to}/w"), &[4, 4]), variable(&format!("{to}/b"), &[4])]);
    }
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    assert!(all.is_empty(), "{all:#?}");
    // Nor if a rule reaches only a part of each scope.
    let renamed = |one: Variable| Variable { name: one.name.replace("/w", "/w_of"), ..one };
    let other: Vec<Variable> = model.iter().cloned().map(renamed).collect();
    let (all, _) = inferred(&file, &other, &BTreeMap::new());
    assert!(all.is_empty(), "{all:#?}");
    // With a single scope left on each side there is no doubt.
    let (all, _) = inferred(&file[..2], &model[..2], &BTreeMap::new());
    assert_eq!(all.len(), 1, "{all:#?}");
}

#[test]
fn square_matrices_follow_their_siblings_and_are_told() {
    let file: [Named<'_>; 3] = [("fc1.weight", &[3, 4]), ("fc2.weight", &[3, 3]), ("e", &[5, 5])];
    let model: [Named<'_>; 3] = [("fc1/weight", &[4, 3]), ("fc2/weight", &[3, 3]), ("e", &[5, 5])];
    let (all, _) = inferred(&tensors(&file), &variables(&model), &BTreeMap::new());
    assert_eq!(code(&all[0]), r#".separator('.', '/').transpose("**/weight")"#);
    assert_eq!(
        all[0].notes,
        [
            "`fc2/weight` is square: its shape cannot tell whether it is transposed; it is \
             transposed as its siblings are",
            "`e` is square: its shape cannot tell whether it is transposed; it is left as it is",
        ]
    );
}

#[test]
fn transposing_spares_what_fits() {
    let file: [Named<'_>; 3] = [("a/w", &[3, 4]), ("b/w", &[3, 4]), ("c/v", &[7, 4])];
    let model: [Named<'_>; 3] = [("a/w", &[4, 3]), ("b/w", &[3, 4]), ("c/v", &[4, 7])];
    assert_eq!(suggested(&file, &model), [r#".transpose("{**/v,a/**/w}") 2/2"#]);
}

#[test]
fn globs_of_names_with_dots_reach_every_depth() {
    let file: [Named<'_>; 4] =
        [("fc.weight", &[3, 4]), ("a.b.weight", &[5, 2]), ("a.bias", &[3]), ("a.table", &[7, 4])];
    let model: [Named<'_>; 4] =
        [("fc.weight", &[4, 3]), ("a.b.weight", &[2, 5]), ("a.bias", &[3]), ("a.table", &[7, 4])];
    assert_eq!(suggested(&file, &model), [r#".transpose("**.weight") 2/2"#]);
}

#[test]
fn values_are_cast_where_they_must_be() {
    let mut file = tensors(&[("old/w", &[3]), ("old/v", &[4])]);
    file[0].dtype = FileDType::Bf16;
    let model = variables(&[("new/w", &[3]), ("new/v", &[4])]);
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    assert_eq!(code(&all[0]), r#".rename_scope("old", "new").cast("**")"#);
    assert_eq!((all.len(), all[0].restores), (1, 2));
}

#[test]
pub(super) fn slots_follow_their_variables_and_are_no_weights() {
    let file = tensors(&[
        ("old/w", &[3, 4]),
        ("old/w/adam/m", &[3, 4]),
        ("old/w/adam/v", &[3, 4]),
        ("old/b", &[4]),
        ("old/b/adam/m", &[4]),
        ("old/b/adam/v", &[4]),
    ]);
    let with = |optimizer: &str| {
        let mut model = variables(&[("new/w", &[3, 4]), ("new/b", &[4])]);
        for (owner, shape) in [("new/w", &[3, 4][..]), ("new/b", &[4])] {
            model.extend(["m", "v"].map(|name| slot(owner, optimizer, name, shape)));
        }
        model
    };
    let (all, _) = inferred(&file, &with("adam"), &BTreeMap::new());
    assert_eq!(code(&all[0]), r#".rename_scope("old", "new")"#);
    assert_eq!((all.len(), all[0].restores, all[0].of), (1, 6, 6));
    // Another optimizer's slots are not its own, unless they are the same, as AdamW's are Adam's.
    let saved: BTreeMap<String, Saved> = file
        .iter()
        .map(|tensor| {
            let role = match tensor.name.split_once("/adam/") {
                Some((owner, name)) => slot(owner, "adam", name, &[]).role,
                None => Role::Trainable,
            };
            (tensor.name.to_string(), Saved { initializer: Some(Initializer::Zeros), role })
        })
        .collect();
    let (all, _) = inferred(&file, &with("adamw"), &saved);
    let both = r#".rename_scope("old", "new").rename_component("adam", "adamw")"#;
    assert_eq!(code(&all[0]), both);
    assert_eq!((all.len(), all[0].restores, all[0].of), (1, 6, 6));
    let (all, _) = inferred(&file, &with("nadam"), &saved);
    assert_eq!(code(&all[0]), r#".rename_scope("old", "new")"#);
    assert_eq!((all.len(), all[0].restores, all[0].of), (1, 2, 6));
    // A weight that is missing does not get a slot's value.
    let slots: Vec<TensorEntry> = file[1..3].to_vec();
    let model = variables(&[("old/w/adam", &[3, 4])]);
    let saved: BTreeMap<_, _> =
        saved.into_iter().filter(|(name, _)| name.contains("adam")).collect();
    assert_eq!(inferred(&slots, &model, &saved).0, []);
}

#[test]
fn few_rules_that_cross_names_are_not_suggested() {
    // Three rules give `decoder` what `attention` was; it takes four to mend it.
    let file = [("module.attention.kernel", [5, 8]), ("module.backbone.kernel", [5, 8])];
    let file: Vec<TensorEntry> = file.iter().map(|(name, shape)| tensor(name, shape)).collect();
    let model = [variable("attention/table", &[5, 8]), variable("decoder/table", &[5, 8])];
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    for suggestion in all {
        let variables: Vec<&Variable> = model.iter().collect();
        let found =
            crate::restore::matching::Matching::new(&file, &variables, &suggestion.rules).outcomes;
        let own = Outcome::Restored { tensor: file[0].name.clone(), changes: Vec::new() };
        assert_eq!(found[0], own, "{:?}", code(&suggestion));
    }
}
