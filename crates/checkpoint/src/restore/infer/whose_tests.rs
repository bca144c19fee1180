//! Whose a value is where shapes leave it open: words within parts of names, heads and tables, what is apart from
//! its like, and what a second search adds.

use super::alike::Comparisons;
use super::doubts::{Entry, Verdict, judge};
use super::tests::{Named, code, inferred, suggested, tensors, variables};
use super::wild_tests::{Meant, all_are_mended, meant, suggestions};
use super::*;
use std::collections::BTreeMap;
use warmstart_graph::Shape;

/// Whether one of the notes says this.
fn says(one: &Suggestion, told: &str) -> bool {
    one.notes.iter().any(|note| note.contains(told))
}

fn rule(old: &str, new: &str) -> String {
    format!(r#"("{old}", "{new}")"#)
}

/// An encoder of Whisper for one of Hugging Face's names: both norms of a layer have one shape.
#[test]
fn words_within_parts_say_which_norm_is_which() {
    let mut all = vec![meant("ln_f.weight", &[8], "norm_f.weight", &[8])];
    all.push(meant("word_embeddings_layernorm.weight", &[8], "emb_norm.weight", &[8]));
    for layer in 0..4 {
        for (old, new) in [("attn_ln", "self_attn_layer_norm"), ("mlp_ln", "final_layer_norm")] {
            let (file, model) =
                (format!("blocks.{layer}.{old}.bias"), format!("layers.{layer}.{new}.bias"));
            all.push(meant(&file, &[8], &model, &[8]));
        }
        let (file, model) = (format!("blocks.{layer}.fc.w"), format!("layers.{layer}.fc.w"));
        all.push(meant(&file, &[8, 9], &model, &[8, 9]));
    }
    let one = all_are_mended(&all);
    assert!(!says(&one, "may have to be exchanged"), "{one:#?}");
}

/// Gemma of Hugging Face for llama.cpp: norms that other models have where one of them stands.
#[test]
fn words_of_what_is_left_are_told() {
    let (shape, kind) = (Shape::from([8]), Kind::Weight);
    let entry = |name: &'static str| Entry { name, shape: &shape, kind: &kind };
    let pair = (entry("h.0.post_attention_layernorm.w"), entry("blk.0.ffn_norm.w"));
    let notes = |tensor: &'static str, variable: &'static str| {
        let (known, compared) = (std::iter::empty(), Comparisons::default());
        let [tensors, variables] = [tensor, variable].map(|name| [entry(name)].into_iter());
        match judge(&compared, [pair].into_iter(), known, tensors, variables, false) {
            Verdict::For { notes, .. } => notes,
            Verdict::Against => panic!("against"),
        }
    };
    let [tensor, variable] = ["h.0.pre_feedforward_layernorm.w", "blk.0.post_attention_norm.w"];
    let told = format!(
        "`{}` is taken for `{}`, though by the words in their names it may be `{variable}`, and `{1}` get \
         `{tensor}`, which are left",
        pair.0.name, pair.1.name
    );
    assert!(notes(tensor, variable).contains(&told), "{:?}", notes(tensor, variable));
    assert!(!notes(tensor, "blk.0.attn_q_norm.w").contains(&told));
}

/// The table and the last layer of a language model, of one shape.
fn tied() -> (Meant, Meant, Vec<Meant>) {
    let table = meant("model.wte.weight", &[48, 8], "embedding/weight", &[48, 8]);
    let head = meant("model.lm_head.weight", &[48, 8], "head/weight", &[48, 8]);
    let all = (0..3).map(|layer| {
        let (file, model) = (format!("model.h.{layer}.fc.weight"), format!("h/{layer}/fc/weight"));
        meant(&file, &[9, 8], &model, &[9, 8])
    });
    (table, head, all.collect())
}

#[test]
fn a_table_is_no_head_where_the_one_that_is_meant_is_left() {
    let (table, head, layers) = tied();
    let with_table = [&layers[..], std::slice::from_ref(&table)].concat();
    let wrong = [rule("wte", "head"), rule("lm_head", "embedding")];
    for (file, model) in [(vec![], vec![head.clone()]), (vec![head.clone()], vec![])] {
        let found = suggestions(&with_table, &file, &model);
        let [one] = &found[..] else { panic!("{found:#?}") };
        assert_eq!(one.restores, 4, "{}", code(one));
        assert!(!wrong.iter().any(|wrong| code(one).contains(wrong)), "{}", code(one));
        assert!(!says(one, "tied"), "{one:#?}");
    }
    // Where nothing else is left, it is said.
    let found = suggestions(&layers, &[head], &[table]);
    let [one] = &found[..] else { panic!("{found:#?}") };
    assert!(says(one, "only where the model was trained with both tied"), "{one:#?}");
}

/// What is called as its like goes where they go, if that is left: no layer's `proj` is another one's `key`.
#[test]
fn none_is_taken_for_another_where_its_own_is_left() {
    let (shape, kind) = (Shape::from([8, 8]), Kind::Weight);
    let entry = |name: &'static str| Entry { name, shape: &shape, kind: &kind };
    let file = ["blocks.0.proj", "blocks.1.proj", "blocks.2.proj"];
    let model = ["layer.0.out", "layer.1.out", "layer.0.key"];
    let against = |from: [&'static str; 3], to: [&'static str; 3], left: [&[&'static str]; 2]| {
        let pairs = from.into_iter().zip(to).map(|(from, to)| (entry(from), entry(to)));
        let [tensors, variables] = left.map(|left| left.iter().map(|name| entry(name)));
        let (known, compared) = (std::iter::empty(), Comparisons::default());
        judge(&compared, pairs, known, tensors, variables, false) == Verdict::Against
    };
    assert!(against(file, model, [&[], &["layer.2.out"]]));
    assert!(!against(file, model, [&[], &["layer.9.out"]]));
    // So it is with what is left in the file.
    assert!(against(model, file, [&["layer.2.out"], &[]]));
    assert!(!against(model, file, [&["layer.9.out"], &[]]));
}

#[test]
fn prompts_and_averages_are_told() {
    let told = |file: &str, model: &str| {
        let found = suggestions(&[meant(file, &[7, 5], model, &[7, 5])], &[], &[]);
        assert!(!found.is_empty(), "{file}");
        found[0].notes.clone()
    };
    let notes = told("prompt_embeddings", "model.embed_tokens.weight");
    assert!(notes.iter().any(|note| note.contains("the prompt that was learned")), "{notes:?}");
    let notes = told("fc/kernel/ExponentialMovingAverage", "fc/kernel");
    assert!(notes.iter().any(|note| note.contains("the average of a weight")), "{notes:?}");
    let notes = told("ema/fc/kernel", "ema/fc/weight");
    assert!(!notes.iter().any(|note| note.contains("the average of a weight")), "{notes:?}");
}

/// Biases of one size go where the weights beside them go.
#[test]
fn what_stands_beside_what_fits_nowhere_else_is_no_doubt() {
    let shapes: [&[usize]; 5] = [&[2, 16], &[16], &[16, 16], &[16], &[16, 3]];
    let names = ["fc1/weight", "fc1/bias", "fc2/weight", "fc2/bias", "head/weight"];
    let file: Vec<Named<'_>> = names.into_iter().zip(shapes).collect();
    let names = ["enc/in/weight", "enc/in/bias", "enc/mid/weight", "enc/mid/bias", "head/weight"];
    let model: Vec<Named<'_>> = names.into_iter().zip(shapes).collect();
    let (all, _) = inferred(&tensors(&file), &variables(&model), &BTreeMap::new());
    let notes: Vec<&String> = all.iter().flat_map(|one| &one.notes).collect();
    assert!(all.len() == 1 && notes.is_empty(), "{all:#?}");
}

/// That a letter of `fc2` is `c` does not make it that.
#[test]
fn a_letter_in_common_says_nothing() {
    let shapes: [&[usize]; 6] = [&[2, 16], &[16], &[16, 16], &[16], &[16, 16], &[16]];
    let file = ["fc1/weight", "fc1/bias", "fc2/weight", "fc2/bias"];
    let file: Vec<Named<'_>> = file.into_iter().zip(shapes).collect();
    let model = ["a/weight", "a/bias", "b/weight", "b/bias", "c/weight", "c/bias"];
    let model: Vec<Named<'_>> = model.into_iter().zip(shapes).collect();
    let found = suggested(&file, &model);
    assert_eq!(found.len(), 2, "{found:#?}");
}

/// Up and down of a perceptron lie the other way round in PyTorch's files, where each fits the other's variable.
#[test]
fn matrices_that_fit_exchanged_when_transposed_are_told_and_no_layer_is_torn() {
    let all = |file: &[Named<'_>], model: &[Named<'_>]| {
        inferred(&tensors(file), &variables(model), &BTreeMap::new()).0
    };
    let file: [Named<'_>; 2] = [("up.weight", &[16, 8]), ("down.weight", &[8, 16])];
    let model: [Named<'_>; 2] = [("fc_in/kernel", &[8, 16]), ("fc_out/kernel", &[16, 8])];
    for one in all(&file, &model) {
        let turned = code(&one).contains("transpose");
        assert!(turned || says(&one, "fit as they lie, and exchanged when transposed"), "{one:#?}");
    }
    assert!(!all(&file, &model).is_empty());
    let (file, model) = (
        [&file[..], &[("up.bias", &[16]), ("down.bias", &[8])]].concat(),
        [&model[..], &[("fc_in/bias", &[16]), ("fc_out/bias", &[8])]].concat(),
    );
    for one in all(&file, &model) {
        let torn = code(&one).contains(r#""down.bias", "fc_out/bias""#)
            && code(&one).contains(r#""down.weight", "fc_in/kernel""#);
        assert!(!torn, "{one:#?}");
    }
}

/// With one matrix for both in the file, the table is what is called a table.
#[test]
fn a_table_is_not_taken_for_the_last_layer_while_a_table_is_left() {
    let file: [Named<'_>; 2] = [("embed.weight", &[10, 4]), ("norm.weight", &[4])];
    let model: [Named<'_>; 3] =
        [("wte/table", &[10, 4]), ("output/weight", &[10, 4]), ("norm/weight", &[4])];
    let found = suggested(&file, &model);
    assert!(found.iter().all(|one| !one.contains("output")), "{found:#?}");
    assert!(!found.is_empty());
}
