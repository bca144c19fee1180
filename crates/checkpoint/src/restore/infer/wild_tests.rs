//! Names as well-known programs give them, at depths that no sample holds whole.

use super::names::likeness;
use super::tests::{asked, code, tensor, variable};
use super::values::{glob_of, is_table};
use super::*;
use crate::restore::matching::{Matching, Outcome};
use std::collections::BTreeMap;
use warmstart_graph::Variable;

/// A tensor's name and shape, and those of the variable whose value it is.
pub(super) type Meant = (String, Vec<usize>, String, Vec<usize>);

pub(super) fn meant(file: &str, from: &[usize], model: &str, to: &[usize]) -> Meant {
    (file.to_owned(), from.to_vec(), model.to_owned(), to.to_vec())
}

/// What is suggested where a file has tensors beside those that are meant, and the model variables.
pub(super) fn suggestions(all: &[Meant], file: &[Meant], model: &[Meant]) -> Vec<Suggestion> {
    let tensors: Vec<TensorEntry> =
        all.iter().chain(file).map(|(name, shape, ..)| tensor(name, shape)).collect();
    let variables: Vec<Variable> =
        all.iter().chain(model).map(|(.., name, shape)| variable(name, shape)).collect();
    let variables: Vec<&Variable> = variables.iter().collect();
    let (before, none) = (Matching::new(&tensors, &variables, &[]).outcomes, BTreeMap::new());
    let asked = Asked { pytorch: true, ..asked(&tensors, &variables, &before, &none) };
    infer_within(BUDGET, asked).0
}

/// What is suggested where a file and a model hold nothing else, none of which gives a variable another value
/// than is meant.
pub(super) fn none_is_wrong(all: &[Meant]) -> Vec<Suggestion> {
    let tensors: Vec<TensorEntry> =
        all.iter().map(|(name, shape, ..)| tensor(name, shape)).collect();
    let variables: Vec<Variable> =
        all.iter().map(|(.., name, shape)| variable(name, shape)).collect();
    let variables: Vec<&Variable> = variables.iter().collect();
    let found = suggestions(all, &[], &[]);
    for one in &found {
        let after = Matching::new(&tensors, &variables, &one.rules);
        for (outcome, (file, _, model, _)) in after.outcomes.iter().zip(all) {
            if let Outcome::Restored { tensor, .. } = outcome {
                assert_eq!(tensor.as_str(), file, "{model} {}", code(one));
            }
        }
    }
    found
}

/// The one suggestion that restores them all.
pub(super) fn all_are_mended(all: &[Meant]) -> Suggestion {
    let found = none_is_wrong(all);
    let [one] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(one.restores, all.len(), "{}", code(one));
    one.clone()
}

/// A LLaMA of llama.cpp for one of Hugging Face's names, all of whose extents are its own.
fn llama(layers: usize) -> Vec<Meant> {
    let parts: [(&str, &str, &[usize]); 9] = [
        ("attn_norm", "input_layernorm", &[8]),
        ("ffn_norm", "post_attention_layernorm", &[8]),
        ("attn_q", "self_attn.q_proj", &[8, 8]),
        ("attn_k", "self_attn.k_proj", &[4, 8]),
        ("attn_v", "self_attn.v_proj", &[4, 8]),
        ("attn_output", "self_attn.o_proj", &[8, 8]),
        ("ffn_gate", "mlp.gate_proj", &[20, 8]),
        ("ffn_up", "mlp.up_proj", &[20, 8]),
        ("ffn_down", "mlp.down_proj", &[8, 20]),
    ];
    let mut all = vec![
        meant("token_embd.weight", &[90, 8], "model.embed_tokens.weight", &[90, 8]),
        meant("output_norm.weight", &[8], "model.norm.weight", &[8]),
        meant("output.weight", &[90, 8], "lm_head.weight", &[90, 8]),
    ];
    for layer in 0..layers {
        for (file, model, shape) in parts {
            let (from, to) = (
                format!("blk.{layer}.{file}.weight"),
                format!("model.layers.{layer}.{model}.weight"),
            );
            all.push(meant(&from, shape, &to, shape));
        }
    }
    all
}

#[test]
fn llama_of_llama_cpp_at_any_depth() {
    let turned_round = |layers: usize| -> Vec<Meant> {
        llama(layers).into_iter().map(|(a, b, c, d)| (c, d, a, b)).collect()
    };
    // So few layers hold little beside what could be exchanged: not all of it is found.
    assert!(!none_is_wrong(&llama(3)).is_empty());
    none_is_wrong(&turned_round(3));
    for layers in [16, 32] {
        let one = all_are_mended(&llama(layers));
        assert!(one.rules.len() <= 13, "{layers} layers: {}", code(&one));
        assert!(one.notes.iter().any(|note| note.contains("llama.cpp")), "{:?}", one.notes);
        all_are_mended(&turned_round(layers));
    }
}

/// Blocks at the top of a model, whose matrices are turned, beside a table that is not.
#[test]
fn matrices_are_turned_however_many_blocks_there_are() {
    for blocks in [2, 4, 5, 12] {
        let mut all = vec![meant("embedding.weight", &[50, 6], "embedding/weight", &[50, 6])];
        for block in 0..blocks {
            for (part, from, to) in [("fc1", [7, 6], [6, 7]), ("fc2", [6, 7], [7, 6])] {
                let file = format!("blocks.{block}.{part}");
                let model = format!("block_{block}/{part}");
                all.push(meant(&format!("{file}.weight"), &from, &format!("{model}/weight"), &to));
                all.push(meant(
                    &format!("{file}.bias"),
                    &to[1..],
                    &format!("{model}/bias"),
                    &to[1..],
                ));
            }
        }
        let text = code(&all_are_mended(&all));
        assert!(text.contains(r#".transpose("block_*/**/weight")"#), "{text}");
    }
}

/// A student that has the upper layers of its teacher, under their numbers; and the upper experts of each.
#[test]
fn parts_of_a_model_keep_their_numbers() {
    let layer = |layer: usize, experts: std::ops::Range<usize>| -> Vec<Meant> {
        let one = |expert: usize| {
            let (file, model) = (
                format!("h.{layer}.experts.{expert}.w"),
                format!("student/h/{layer}/experts/{expert}/w"),
            );
            meant(&file, &[3, 5], &model, &[3, 5])
        };
        experts.map(one).collect()
    };
    let many = |layers: std::ops::Range<usize>, experts: std::ops::Range<usize>| -> Vec<Meant> {
        layers.flat_map(|at| layer(at, experts.clone())).collect()
    };
    for (wanted, beside) in
        [(many(6..12, 0..1), many(0..6, 0..1)), (many(0..12, 4..8), many(0..12, 0..4))]
    {
        let found = suggestions(&wanted, &beside, &[]);
        let [one] = &found[..] else { panic!("{found:#?}") };
        assert_eq!(code(one), r#".separator('.', '/').add_prefix("student/")"#);
        assert_eq!(one.restores, wanted.len());
        let told = "one that is counted before it is left in the file";
        assert!(one.notes.iter().any(|note| note.contains(told)), "{:?}", one.notes);
    }
}

/// The model counts from 1 and has fewer layers: by their numbers, each gets its neighbour's values.
#[test]
fn a_layer_that_is_left_before_the_first_is_told() {
    let layer = |file: usize, model: usize| {
        [("fc1", [6, 6]), ("fc2", [6, 9])].map(|(part, shape)| {
            let (from, to) = (format!("layers.{file}.{part}.w"), format!("layer_{model}/{part}/w"));
            meant(&from, &shape, &to, &shape)
        })
    };
    let told = "one that is counted before it is left in the ";
    let wanted: Vec<Meant> = (1..4).flat_map(|at| layer(at, at)).collect();
    let beside: Vec<Meant> = [0, 4, 5].into_iter().flat_map(|at| layer(at, at)).collect();
    for (file, model, side) in [(&beside[..], &[][..], "file"), (&[][..], &beside[..], "model")] {
        let found = suggestions(&wanted, file, model);
        let told = format!("{told}{side}");
        let says_so = |one: &Suggestion| one.notes.iter().any(|note| note.contains(&told));
        assert!(!found.is_empty() && found.iter().all(says_so), "{found:#?}");
    }
    // What is left behind the last says nothing.
    let found = suggestions(&wanted, &beside[2..], &[]);
    let silent = |one: &Suggestion| !one.notes.iter().any(|note| note.contains(told));
    assert!(!found.is_empty() && found.iter().all(silent), "{found:#?}");
}

#[test]
fn a_model_may_have_a_layer_more() {
    let parts =
        ["attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense"];
    let layer = |at: usize| -> Vec<Meant> {
        let shapes = [[6, 6], [6, 6], [24, 6], [6, 24]];
        let named = |(part, [out, into]): (&str, [usize; 2])| {
            let file = format!("bert.encoder.layer.{at}.{part}");
            let model = format!("bert/encoder/layer_{at}/{}", part.replace('.', "/"));
            [
                meant(
                    &format!("{file}.weight"),
                    &[out, into],
                    &format!("{model}/weight"),
                    &[into, out],
                ),
                meant(&format!("{file}.bias"), &[out], &format!("{model}/bias"), &[out]),
            ]
        };
        parts.into_iter().zip(shapes).flat_map(named).collect()
    };
    let wanted: Vec<Meant> = (0..3).flat_map(layer).collect();
    let found = suggestions(&wanted, &[], &layer(3));
    assert_eq!((found.len(), found[0].restores), (1, wanted.len()), "{found:#?}");
}

#[test]
fn a_table_is_known_by_what_its_tensor_is_called() {
    assert!(is_table("tokens", Some("model.embed_tokens.weight")));
    assert!(is_table("tokens", Some("embedding.weight")) && is_table("wte/weight", None));
    assert!(!is_table("tokens", Some("tokens.weight")) && !is_table("tokens", None));
    // Scopes say nothing: these are layers.
    assert!(!is_table("time/2/weight", Some("time_embed.2.weight")));
    assert!(!is_table("fc/weight", Some("embedder.encoder.fc.weight")));
    let square = |n: usize| {
        meant(&format!("net.{n}.weight"), &[6, 6], &format!("fc{}/weight", n + 1), &[6, 6])
    };
    let mut all: Vec<Meant> = (0..3).map(square).collect();
    all.push(meant("embedding.weight", &[50, 6], "tokens/weight", &[50, 6]));
    let found = suggestions(&all, &[], &[]);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(code(&found[0]).ends_with(r#".transpose("fc*/**/weight")"#), "{found:#?}");
    assert!(found.iter().all(|one| one.restores == 4), "{found:#?}");
}

/// What a matrix's siblings need, it is likely to need: but not a table.
#[test]
fn square_siblings_are_turned_along_where_a_glob_can_tell() {
    let mut all = vec![
        meant("embeddings.weight", &[6, 6], "tokens/weight", &[6, 6]),
        meant("pooler.dense.weight", &[6, 6], "pooler/dense/weight", &[6, 6]),
    ];
    for at in 0..5 {
        let (file, model) = (format!("layer.{at}.fc.weight"), format!("layer_{at}/fc/weight"));
        all.push(meant(&file, &[9, 6], &model, &[6, 9]));
    }
    let one = all_are_mended(&all);
    assert!(
        code(&one).ends_with(r#".transpose("{layer_*/**/weight,pooler/**/weight}")"#),
        "{one:#?}"
    );
    let told = "`pooler/dense/weight` is square: its shape cannot tell whether it is transposed; it is \
                transposed as its siblings are";
    assert!(one.notes.iter().any(|note| note == told), "{:?}", one.notes);
}

#[test]
fn numbers_are_left_open_where_that_takes_fewer_globs() {
    let named = |names: &[&str]| -> Vec<Variable> {
        names.iter().map(|name| variable(name, &[2, 3])).collect()
    };
    let glob = |wanted: &[&str], spared: &[&str]| {
        let (wanted, spared) = (named(wanted), named(spared));
        glob_of(&wanted.iter().collect::<Vec<_>>(), &spared.iter().collect::<Vec<_>>())
    };
    // One scope is called by its name.
    assert_eq!(glob(&["t5/w"], &["tok/w"]).unwrap(), "t5/**/w");
    assert_eq!(glob(&["h0/w", "h1/w"], &["tok/w"]).unwrap(), "h*/**/w");
    // Where any number would reach too far.
    assert_eq!(glob(&["h0/w", "h1/w"], &["h2/w"]).unwrap(), "{h0/**/w,h1/**/w}");
    // More scopes than are listed, and no number in them.
    let many: Vec<String> = (b'a'..=b'y').map(|letter| format!("{}/w", letter as char)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(glob(&many, &["z/w"]), None);
}

#[test]
fn factors_of_adapters_are_told() {
    let all = [
        meant("base.q_proj.lora_A.weight", &[4, 8], "q/weight", &[4, 8]),
        meant("base.q_proj.lora_B.weight", &[9, 4], "k/weight", &[9, 4]),
    ];
    let found = suggestions(&all, &[], &[]);
    let told = "of what an adapter (LoRA) adds to a weight";
    let says_so = |one: &Suggestion| one.notes.iter().any(|note| note.contains(told));
    assert!(found.iter().all(says_so), "{found:#?}");
    // Between adapters there is nothing to say.
    let all = [meant("a.lora_A.weight", &[4, 8], "b/lora_A/weight", &[4, 8])];
    let found = suggestions(&all, &[], &[]);
    assert!(!found.is_empty() && !found.iter().any(says_so), "{found:#?}");
}

#[test]
fn numbers_and_what_is_left_of_them_are_like_no_word() {
    assert_eq!(likeness("", "attention"), 0.0);
    assert_eq!(likeness("", ""), 1.0);
    assert_eq!((likeness("10", "block_10"), likeness("10", "10")), (0.0, 1.0));
    assert_eq!((likeness("ffn_gate", "gate_proj"), likeness("ffn_gate", "up_proj")), (0.9, 0.0));
}
