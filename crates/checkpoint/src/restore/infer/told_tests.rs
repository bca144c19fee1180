//! What shapes do not show and names do: extents of 1, what libraries store otherwise, and halves of
//! optimizers.

use super::alike::Comparisons;
use super::doubts::{Entry, Verdict, judge};
use super::tests::{Named, code, inferred, slot, suggested, tensor, tensors, variable, variables};
use super::*;
use crate::restore::matching::Outcome;
use crate::restore::saved::Saved;
use crate::tensor::FileDType;
use std::collections::BTreeMap;
use warmstart_graph::{Shape, Variable};

#[test]
fn extents_of_one_come_and_go() {
    let file: [Named<'_>; 3] = [("w", &[1, 8, 24]), ("table", &[5, 8]), ("scale", &[1])];
    let model: [Named<'_>; 3] = [("w", &[8, 24]), ("table", &[5, 8]), ("scale", &[])];
    assert_eq!(suggested(&file, &model), [r#".reshape("{scale,w}") 2/2"#]);
    // Under other names too, and beside matrices that are turned.
    let file: [Named<'_>; 3] =
        [("vit.pos.embed", &[1, 17, 8]), ("vit.a.weight", &[8, 3]), ("vit.b.weight", &[8, 4])];
    let model: [Named<'_>; 3] =
        [("vit/pos/embed", &[17, 8]), ("vit/a/weight", &[3, 8]), ("vit/b/weight", &[4, 8])];
    let expected = r#".separator('.', '/').transpose("**/weight").reshape("**/embed") 3/3"#;
    assert_eq!(suggested(&file, &model), [expected]);
    // As many elements do not make it the same value.
    assert_eq!(suggested(&[("w", &[4, 6])], &[("w", &[3, 8])]), [""; 0]);
    assert_eq!(suggested(&[("w", &[2, 3, 4])], &[("w", &[6, 4])]), [""; 0]);
    // Nor does a rule for one value reach another.
    let file: [Named<'_>; 2] = [("a/w", &[1, 4, 6]), ("b/w", &[2, 2, 6])];
    let model: [Named<'_>; 2] = [("a/w", &[4, 6]), ("b/w", &[4, 6])];
    assert_eq!(suggested(&file, &model), [r#".reshape("a/**/w") 1/2"#]);
}

/// What is cast fits no more than it did: a kernel in another order is not to be reshaped.
#[test]
fn a_reshaping_spares_what_would_have_to_be_turned_whatever_its_dtype() {
    let file: [Named<'_>; 2] = [("proj.weight", &[64, 32, 1]), ("conv.weight", &[64, 3, 7, 7])];
    let model: [Named<'_>; 2] = [("proj.weight", &[64, 32]), ("conv.weight", &[7, 7, 3, 64])];
    assert_eq!(suggested(&file, &model), [r#".reshape("proj.**.weight") 1/2"#]);
    let half = |mut tensor: TensorEntry| {
        tensor.dtype = FileDType::Bf16;
        tensor
    };
    let file: Vec<TensorEntry> = tensors(&file).into_iter().map(half).collect();
    let (all, _) = inferred(&file, &variables(&model), &BTreeMap::new());
    let [one] = all.as_slice() else { panic!("{all:#?}") };
    assert_eq!(code(one), r#".reshape("proj.**.weight").cast("**")"#);
}

#[test]
fn abbreviations_say_which_way_a_network_runs() {
    let (mut file, mut model) = (Vec::new(), Vec::new());
    for (old, new) in [("forward_lstm", "fw"), ("backward_lstm", "bw")] {
        for (part, shape) in [("kernel", &[6, 16][..]), ("bias", &[16])] {
            file.push(tensor(&format!("bidirectional/{old}/lstm_cell/{part}"), shape));
            model.push(variable(&format!("encoder/bi/{new}/{part}"), shape));
        }
    }
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    let [one] = all.as_slice() else { panic!("{all:#?}") };
    let variables: Vec<&Variable> = model.iter().collect();
    let found = crate::restore::matching::Matching::new(&file, &variables, &one.rules).outcomes;
    for (outcome, tensor) in found.iter().zip(&file) {
        let own = Outcome::Restored { tensor: tensor.name.clone(), changes: Vec::new() };
        assert_eq!(*outcome, own, "{:?}", code(one));
    }
}

/// Whisper's last norms: `ln_post` is less like `layer_norm` than `ln` is, and still the encoder's.
#[test]
fn an_encoder_is_no_decoder() {
    let (mut file, mut model) = (Vec::new(), Vec::new());
    for (old, new) in [("ln_post", "layer_norm"), ("blocks.0.mlp.0", "layers.0.fc1")] {
        for side in ["encoder", "decoder"] {
            let old = if (old, side) == ("ln_post", "decoder") { "ln" } else { old };
            for part in ["weight", "bias"] {
                file.push(tensor(&format!("{side}.{old}.{part}"), &[8]));
                model.push(variable(&format!("model.{side}.{new}.{part}"), &[8]));
            }
        }
    }
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    assert!(!all.is_empty());
    let variables: Vec<&Variable> = model.iter().collect();
    for suggestion in &all {
        let found =
            crate::restore::matching::Matching::new(&file, &variables, &suggestion.rules).outcomes;
        for (outcome, variable) in found.iter().zip(&model) {
            let Outcome::Restored { tensor, .. } = outcome else { continue };
            let side = tensor.split('.').next().unwrap();
            assert!(
                variable.name.contains(side),
                "{tensor} {}: {:?}",
                variable.name,
                code(suggestion)
            );
        }
    }
}

/// All notes of what is suggested.
fn notes(file: &[Named<'_>], model: &[Named<'_>]) -> Vec<String> {
    let (all, _) = inferred(&tensors(file), &variables(model), &BTreeMap::new());
    assert!(!all.is_empty());
    all.into_iter().flat_map(|suggestion| suggestion.notes).collect()
}

#[test]
fn what_libraries_store_otherwise_is_told() {
    let tells = |file: &[Named<'_>], model: &[Named<'_>], words: &str| {
        notes(file, model).iter().filter(|note| note.contains(words)).count()
    };
    let torch: [Named<'_>; 2] = [("gru.weight_ih_l0", &[24, 6]), ("gru.bias_ih_l0", &[24])];
    let keras: [Named<'_>; 2] = [("gru/kernel", &[6, 24]), ("gru/bias", &[24])];
    let same: [Named<'_>; 2] = [("net/weight_ih_l0", &[24, 6]), ("net/bias_ih_l0", &[24])];
    assert_eq!(tells(&torch, &keras, "gates of recurrent cells"), 1);
    assert_eq!(tells(&torch, &same, "gates of recurrent cells"), 0);
    let meta: [Named<'_>; 2] = [("l.wq.weight", &[8, 8]), ("l.wk.weight", &[4, 8])];
    let hugging: [Named<'_>; 2] = [("m.q_proj.weight", &[8, 8]), ("m.k_proj.weight", &[4, 8])];
    let ours: [Named<'_>; 2] = [("m.query.weight", &[8, 8]), ("m.key.weight", &[4, 8])];
    assert_eq!(tells(&meta, &hugging, "rotary"), 1);
    assert_eq!(tells(&hugging, &meta, "rotary"), 1);
    assert_eq!(tells(&meta, &ours, "rotary"), 0);
    let fused: [Named<'_>; 2] = [("h.0.query_key_value.w", &[24, 8]), ("h.0.dense.w", &[8, 9])];
    let others: [Named<'_>; 2] = [("h.0.c_attn.w", &[24, 8]), ("h.0.dense.w", &[8, 9])];
    assert_eq!(tells(&fused, &others, "one head after"), 1);
    let factor: [Named<'_>; 2] = [("c.weight_v", &[3, 4]), ("c.bias", &[3])];
    let whole: [Named<'_>; 2] = [("c.weight", &[3, 4]), ("c.bias", &[3])];
    assert_eq!(tells(&factor, &whole, "normalization"), 1);
    let kernel: [Named<'_>; 2] = [("c.weight", &[3, 3, 3, 3]), ("c.bias", &[3])];
    let turned: [Named<'_>; 2] = [("c/kernel", &[3, 3, 3, 3]), ("c/bias", &[3])];
    assert_eq!(tells(&kernel, &turned, "equal extents"), 1);
}

#[test]
fn casting_codes_makes_no_weights() {
    let mut file = tensors(&[("a/w", &[3, 4]), ("a/scale", &[3])]);
    file[0].dtype = FileDType::I8;
    let model = variables(&[("a/w", &[3, 4])]);
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    assert_eq!(code(&all[0]), r#".cast("**")"#);
    assert!(all[0].notes[0].starts_with("`a/w` holds whole numbers (i8)"), "{all:#?}");
}

/// A checkpoint of TensorFlow 1 with as many variables as asked for, and a model of other names with
/// the same optimizer.
fn trained(count: usize) -> (Vec<TensorEntry>, BTreeMap<String, Saved>, Vec<Variable>) {
    let (mut file, mut saved, mut model) = (Vec::new(), BTreeMap::new(), Vec::new());
    for n in 0..count {
        let (old, new, shape) = (format!("dense_{n}/kernel"), format!("fc{n}/weight"), [n + 2, 40]);
        file.push(tensor(&old, &shape));
        model.push(variable(&new, &shape));
        for (end, name) in [("Adam", "m"), ("Adam_1", "v")] {
            let tensor = tensor(&format!("{old}/{end}"), &shape);
            let role = slot(&old, "Adam", name, &shape).role;
            saved.insert(tensor.name.to_string(), Saved { initializer: None, role });
            file.push(tensor);
            model.push(slot(&new, "adam", name, &shape));
        }
    }
    (file, saved, model)
}

#[test]
fn an_optimizers_slots_come_together() {
    for count in [1, 2, 6] {
        let (file, saved, model) = trained(count);
        let (all, _) = inferred(&file, &model, &saved);
        let [one] = all.as_slice() else { panic!("{all:#?}") };
        assert_eq!((one.restores, one.of), (3 * count, 3 * count), "{}", code(one));
        let code = code(one);
        assert!(code.contains(r#".rename_component("Adam", "adam/m")"#), "{code}");
        assert!(code.contains(r#".rename_component("Adam_1", "adam/v")"#), "{code}");
    }
}

#[test]
fn half_of_an_optimizer_is_told() {
    let (mut file, saved, model) = trained(2);
    file.retain(|tensor| !tensor.name.ends_with("Adam_1"));
    let (all, _) = inferred(&file, &model, &saved);
    let told = "`fc0/weight` gets a part of adam's slots only, m without v, which is no state that the \
                optimizer was in; so it is with 1 more";
    for one in &all {
        let slots = one.restores > 2;
        assert_eq!(one.notes.iter().any(|note| note == told), slots, "{one:#?}");
    }
    assert!(!all.is_empty());
}

/// What is suggested gives each variable the tensor at its place in the list, as far as it gives any.
#[track_caller]
fn right(named: &[(&str, &str, &[usize], &[usize])], restores: usize) {
    let file: Vec<TensorEntry> =
        named.iter().map(|(name, _, shape, _)| tensor(name, shape)).collect();
    let model: Vec<Variable> = named
        .iter()
        .filter(|(_, name, ..)| !name.is_empty())
        .map(|(_, name, _, shape)| variable(name, shape))
        .collect();
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    let [one] = all.as_slice() else { panic!("{all:#?}") };
    assert_eq!(one.restores, restores, "{}", code(one));
    let variables: Vec<&Variable> = model.iter().collect();
    let found = crate::restore::matching::Matching::new(&file, &variables, &one.rules).outcomes;
    for (variable, outcome) in model.iter().zip(&found) {
        let Outcome::Restored { tensor, .. } = outcome else { continue };
        let own = named.iter().find(|(_, name, ..)| *name == variable.name).unwrap().0;
        assert_eq!(tensor, own, "{}: {}", variable.name, code(one));
    }
}

#[test]
fn words_for_different_things_are_not_taken_for_each_other() {
    let (square, low): (&[usize], &[usize]) = (&[8, 8], &[2, 8]);
    let layers = [
        ("base.attn.q_proj.base_layer.weight", "attn.q_proj.weight", square, square),
        ("base.attn.v_proj.base_layer.weight", "attn.v_proj.weight", square, square),
        ("base.attn.k_proj.weight", "attn.k_proj.weight", square, square),
        ("base.attn.q_proj.lora_A.weight", "", low, low),
        ("base.attn.v_proj.lora_A.weight", "", low, low),
    ];
    right(&layers, 3);
}

#[test]
fn transposed_matrices_are_not_crossed_either() {
    let sizes = [32, 16, 8, 4];
    let mut named: Vec<(String, String, Vec<usize>, Vec<usize>)> = Vec::new();
    for n in 0..3 {
        let (wide, narrow) = (sizes[n], sizes[n + 1]);
        for (side, short, from, to, at) in
            [("encoder", "enc", wide, narrow, n), ("decoder", "dec", narrow, wide, 2 - n)]
        {
            let (old, new) = (format!("{side}.{}", 2 * at), format!("{short}/fc{}", at + 1));
            named.push((
                format!("{old}.weight"),
                format!("{new}/kernel"),
                vec![to, from],
                vec![from, to],
            ));
            named.push((format!("{old}.bias"), format!("{new}/bias"), vec![to], vec![to]));
        }
    }
    let named: Vec<(&str, &str, &[usize], &[usize])> =
        named.iter().map(|(a, b, from, to)| (a.as_str(), b.as_str(), &from[..], &to[..])).collect();
    right(&named, 12);
}

#[test]
fn what_is_left_and_as_like_is_told() {
    let (shape, kind) = (Shape::from([8, 8]), Kind::Weight);
    let entry = |name: &'static str| Entry { name, shape: &shape, kind: &kind };
    let pairs = [("b.0.attn.proj.w", "l.0.attn.query.w"), ("b.0.attn.proj.x", "l.0.attn.query.x")];
    let tie = |left: &[&'static str]| {
        let pairs = pairs.map(|(tensor, variable)| (entry(tensor), entry(variable)));
        let left = left.iter().map(|name| entry(name));
        let none = Comparisons::default();
        match judge(&none, pairs.into_iter(), std::iter::empty(), std::iter::empty(), left, false) {
            Verdict::For { tie, .. } => tie,
            Verdict::Against => panic!("names do not speak against it"),
        }
    };
    let told = "`b.0.attn.proj.w` is taken for `l.0.attn.query.w`, though `l.0.attn.key.w`, which is left, \
                has the same shape and is as like by its name; so it is with `l.0.attn.query.x`";
    assert_eq!(tie(&["l.0.attn.key.w", "l.0.attn.key.x"]).as_deref(), Some(told));
    // A scope is no better for a part of what is asked for.
    assert_eq!(tie(&["l.0.attn.key.w"]), None);
    assert_eq!(tie(&[]), None);
}

/// With layers left of one side, their numbers say whether the others have shifted: not those of the
/// first alone.
#[test]
fn a_shift_off_any_layer_that_is_left_is_seen() {
    let (shape, kind) = (Shape::from([8, 8]), Kind::Weight);
    fn entries<'a>(
        names: &'a [String],
        shape: &'a Shape,
        kind: &'a Kind,
    ) -> impl Iterator<Item = Entry<'a>> + Clone {
        names.iter().map(move |name| Entry { name, shape, kind })
    }
    let against = |from: &[u64], to: &[u64], left: [&[u64]; 2]| {
        let named = |word: &str, numbers: &[u64]| -> Vec<String> {
            numbers.iter().map(|n| format!("{word}{n}/w")).collect()
        };
        let [tensors, left_tensors] = [from, left[0]].map(|numbers| named("layer", numbers));
        let [variables, left_variables] = [to, left[1]].map(|numbers| named("block", numbers));
        let entries = |names| entries(names, &shape, &kind);
        let pairs = entries(&tensors).zip(entries(&variables));
        let (no_pairs, none) = (std::iter::empty(), Comparisons::default());
        let (tensors, variables) = (entries(&left_tensors), entries(&left_variables));
        judge(&none, pairs, no_pairs, tensors, variables, false) == Verdict::Against
    };
    for at in 0..2 {
        // Layer 3 is block 4's, and block 3, or layer 4, is left: as the first, the second and the last.
        for others in [[3, 8, 9], [8, 3, 9], [8, 9, 3]] {
            let others = others.map(|n| if n == 3 && at == 0 { 4 } else { n });
            let mut left: [&[u64]; 2] = [&[], &[]];
            left[at] = &others;
            assert!(against(&[3], &[4], left), "{others:?}");
            left[at] = &[7, 8, 9];
            assert!(!against(&[3], &[4], left));
        }
    }
}

/// `mlp/block_0` became `mlp/backbone` and lost its weight, and `block_0` became `mlp_2`.
#[test]
fn what_is_left_and_has_more_words_of_a_name_is_told() {
    const BOTH: [(&str, &[usize]); 2] = [("weight", &[6, 8]), ("bias", &[8])];
    let layers = |scopes: &[&str]| -> Vec<(String, &[usize])> {
        let all = scopes.iter().flat_map(|scope| BOTH.map(|(part, shape)| (scope, part, shape)));
        all.map(|(scope, part, shape)| (format!("{scope}/{part}"), shape)).collect()
    };
    let told = |left: &str| {
        let mut file = layers(&["encoder", "head", "mlp_2"]);
        file.push((left.to_owned(), &[8]));
        file.push(("ema/decay".to_owned(), &[8]));
        let model = layers(&["head", "block_0", "mlp/block_0", "encoder"]);
        let file: Vec<_> = file.iter().map(|(name, shape)| tensor(name, shape)).collect();
        let model: Vec<_> = model.iter().map(|(name, shape)| variable(name, shape)).collect();
        let (all, _) = inferred(&file, &model, &BTreeMap::new());
        let [one] = all.as_slice() else { panic!("{all:#?}") };
        assert_eq!(code(one), r#".rename_scope("mlp_2", "mlp/block_0")"#);
        one.notes.clone()
    };
    let note = "`mlp_2/bias` is taken for `mlp/block_0/bias`, though `mlp/backbone/bias`, which is left, has \
                the same shape and more words of that name";
    assert_eq!(told("mlp/backbone/bias"), [note]);
    // Nor has what is another's any of them.
    assert_eq!(told("queue/rows"), [""; 0]);
}

/// One tensor has as many words in common with either variable, and the other's may be the one that is left.
#[test]
fn tensors_that_may_all_be_moved_by_one_are_told() {
    let file = ["attention/weight", "blocks/weight", "mlp/backbone/weight"];
    let model = ["attention/weight", "head/weight", "mlp/block_0/weight", "mlp/weight"];
    let told = |file: &[&str], model: &[&str]| {
        let file: Vec<TensorEntry> = file.iter().map(|name| tensor(name, &[6, 8])).collect();
        let model: Vec<Variable> = model.iter().map(|name| variable(name, &[6, 8])).collect();
        let (all, _) = inferred(&file, &model, &BTreeMap::new());
        let [one] = all.as_slice() else { panic!("{all:#?}") };
        (one.restores, one.notes.clone())
    };
    let note = "`blocks/weight` is taken for `mlp/block_0/weight`, though by their names it may as well be \
                `head/weight`, which is left, and `mlp/backbone/weight` the value of `mlp/block_0/weight`";
    assert_eq!(told(&file, &model), (2, vec![note.to_owned()]));
    // Nothing is left that it may be.
    let model = ["attention/weight", "mlp/block_0/weight", "mlp/weight"];
    assert_eq!(told(&file, &model), (2, vec![]));
}

/// By its name, one of the two is no weight, or not all of one.
#[test]
fn factors_and_scales_are_told() {
    for (end, told) in [("weight_g", "a factor of a weight"), ("qzeros", "of a quantization")] {
        let notes = |old: &str, new: &str| {
            let file =
                [tensor(&format!("old/a/{old}"), &[8]), tensor(&format!("old/b/{old}"), &[4])];
            let model =
                [variable(&format!("new/a/{new}"), &[8]), variable(&format!("new/b/{new}"), &[4])];
            let (all, _) = inferred(&file, &model, &BTreeMap::new());
            let [one] = all.as_slice() else { panic!("{all:#?}") };
            assert_eq!(one.restores, 2);
            one.notes.concat()
        };
        for (old, new) in [(end, "weight"), ("weight", end)] {
            let told_of = notes(old, new);
            assert!(told_of.contains(&format!("`old/a/{old}` is taken for `new/a/{new}`")));
            assert!(told_of.contains(told), "{told_of}");
        }
        assert_eq!(notes(end, end), "");
        assert_eq!(notes("weight", "weight"), "");
    }
}

/// `ln` is a norm, though the letters are in `linear` too.
#[test]
fn an_abbreviated_norm_is_no_linear_layer() {
    let like = |word| super::names::likeness("ln", word);
    assert!(like("layer_norm") > like("linear") && like("layernorm") > like("linear"));
}

/// Each takes a separator, a prefix and both names; none of the four restores anything alone.
#[test]
fn one_normalization_is_enough_to_tell_four_rules() {
    for prefix in ["module.model.", "_orig_mod.module.", "x.y."] {
        let file = ["weight", "bias"].map(|part| tensor(&format!("{prefix}norm.{part}"), &[5]));
        let model = [variable("norm/gamma", &[5]), variable("norm/beta", &[5])];
        let (all, _) = inferred(&file, &model, &BTreeMap::new());
        let [one] = all.as_slice() else { panic!("{all:#?}") };
        let rules = one.rules.iter().map(Rule::to_string).collect::<Vec<_>>().join("");
        assert!(one.restores == 2 && one.rules.len() <= 4, "{rules}");
        assert!(rules.contains("gamma") && rules.contains("beta"), "{rules}");
    }
}

/// Words without their numbers are for one, the numbers for the other.
#[test]
fn where_words_and_numbers_disagree_it_is_said() {
    let file =
        ["blocks/block_0/weight", "backbone/block_1/weight"].map(|name| tensor(name, &[5, 5]));
    let model = ["attention/block_0/weight", "block_1/block_1/weight"];
    let model = model.map(|name| variable(name, &[5, 5]));
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    assert!(all.len() > 1 || all.iter().all(|one| !one.notes.is_empty()), "{all:#?}");
}

/// Whatever else is tried, a prefix that all names have goes.
#[test]
fn layers_of_one_shape_with_a_prefix_and_a_normalization() {
    let parts = [("norm", "weight", "gamma"), ("norm", "bias", "beta")];
    let layers =
        ["encoder", "head"].map(|layer| [(layer, "weight", "weight"), (layer, "bias", "bias")]);
    let parts: Vec<_> = parts.into_iter().chain(layers.into_iter().flatten()).collect();
    let shape = |layer: &str, part: &str| match (layer, part) {
        ("encoder" | "head", "weight") => vec![6, 8],
        _ => vec![8],
    };
    let file: Vec<TensorEntry> = parts
        .iter()
        .map(|(layer, part, _)| tensor(&format!("module/{layer}/{part}"), &shape(layer, part)))
        .collect();
    let model: Vec<Variable> = parts
        .iter()
        .map(|(layer, old, part)| variable(&format!("{layer}/{part}"), &shape(layer, old)))
        .collect();
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    let [one] = all.as_slice() else { panic!("{all:#?}") };
    assert_eq!((one.restores, one.rules.len()), (6, 3), "{}", code(one));
    assert!(code(one).contains("strip_prefix(\"module/\")"), "{}", code(one));
}

/// A vocabulary that has grown says by its name whose it is: it is not passed over for a rename of what
/// is left, so that the next report tells of its rows.
#[test]
fn tables_that_have_grown_speak_for_the_names_that_they_get() {
    let mut file =
        tensors(&[("m.emb.weight", &[10, 4]), ("m.fc.weight", &[4, 3]), ("m.pos.weight", &[7, 4])]);
    let mut model =
        variables(&[("emb/weight", &[12, 4]), ("fc/weight", &[4, 3]), ("pos/weight", &[9, 4])]);
    for which in ["m", "v"] {
        file.push(tensor(&format!("m.emb.weight.adam.{which}"), &[10, 4]));
        model.push(slot("emb/weight", "adam", which, &[12, 4]));
    }
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    let [one] = all.as_slice() else { panic!("{all:#?}") };
    assert_eq!(code(one), r#".strip_prefix("m.").separator('.', '/')"#);
    assert_eq!((one.restores, one.of), (1, 5));
    // Where matrices lie the other way round, it is still not turned.
    let mut turned = file.clone();
    turned[1].shape = Shape::from([3, 4]);
    let (all, _) = inferred(&turned, &model, &BTreeMap::new());
    let [one] = all.as_slice() else { panic!("{all:#?}") };
    let expected = r#".strip_prefix("m.").separator('.', '/').transpose("fc/**/weight")"#;
    assert_eq!(code(one), expected);
    // Rows of another length are another layer's.
    for tensor in file.iter_mut().filter(|tensor| tensor.name != "m.fc.weight") {
        tensor.shape = Shape::from([10, 5]);
    }
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    assert!(all.iter().all(|one| !code(one).contains("strip_prefix")), "{all:#?}");
}

/// What shares no word is taken for a variable by its shape: where others have it too, that is said.
#[test]
fn what_only_a_shape_says_is_told() {
    let told = "only its shape says that `ema.decay` is `norm/beta`, and others have it too";
    let other: Named<'_> = ("norm/gamma", &[8]);
    for (others, expected) in [(&[other][..], true), (&[("norm/gamma", &[7])], false)] {
        let file = [&[("ema.decay", &[8][..])], others].concat();
        let model = [&[("norm/beta", &[8][..])], others].concat();
        let all = inferred(&tensors(&file), &variables(&model), &BTreeMap::new()).0;
        let [one] = all.as_slice() else { panic!("{all:#?}") };
        assert_eq!(code(one), r#".rename("ema.decay", "norm/beta")"#);
        assert_eq!(one.notes.iter().any(|note| note == told), expected, "{one:#?}");
    }
}
