//! What a layer's norms say of each other, what stands apart from its like, and what is named of all that is in
//! doubt.

use super::alike::Comparisons;
use super::doubts::{Entry, Verdict, judge};
use super::tests::{Named, suggested};
use super::wild_tests::{all_are_mended, meant, suggestions};
use super::*;
use warmstart_graph::Shape;

/// What is said of pairs of names of one shape, with these left.
fn verdict(pairs: &[[&str; 2]], tensors: &[&str], variables: &[&str]) -> Verdict {
    let (shape, kind) = (Shape::from([8]), Kind::Weight);
    let all = [tensors, variables].concat();
    let all: Vec<&str> = pairs.iter().flatten().copied().chain(all).collect();
    let entry = |name: &str| {
        let name: &str = all.iter().find(|other| **other == name).unwrap();
        Entry { name, shape: &shape, kind: &kind }
    };
    let pairs = pairs.iter().map(|[tensor, variable]| (entry(tensor), entry(variable)));
    let left = [tensors, variables].map(|names| names.iter().map(|name| entry(name)));
    let [tensors, variables] = left;
    judge(&Comparisons::default(), pairs, std::iter::empty(), tensors, variables, false)
}

fn notes(verdict: Verdict) -> Vec<String> {
    match verdict {
        Verdict::For { notes, .. } => notes,
        Verdict::Against => panic!("nothing is against it"),
    }
}

/// An OPT for names that count a layer's norms.
#[test]
fn norms_are_told_apart_by_their_place_in_a_layer() {
    let mut all = vec![meant("model.embed.weight", &[30, 8], "embed.weight", &[30, 8])];
    for layer in 0..3 {
        for (old, new) in [("self_attn_layer_norm", "norm1"), ("final_layer_norm", "norm2")] {
            for end in ["weight", "bias"] {
                let file = format!("model.layers.{layer}.{old}.{end}");
                let model = format!("block_{layer}.{new}.{end}");
                all.push(meant(&file, &[8], &model, &[8]));
            }
        }
        let (file, model) =
            (format!("model.layers.{layer}.fc.weight"), format!("block_{layer}.fc.weight"));
        all.push(meant(&file, &[9, 8], &model, &[9, 8]));
    }
    let one = all_are_mended(&all);
    assert!(!one.notes.iter().any(|note| note.contains("exchanged")), "{one:#?}");
}

#[test]
fn norms_of_a_layer_are_not_exchanged() {
    let [first, second] = ["l.0.self_attn_layer_norm.w", "l.0.final_layer_norm.w"];
    let [one, two] = ["b.0.norm1.w", "b.0.norm2.w"];
    assert_eq!(verdict(&[[second, one], [first, two]], &[], &[]), Verdict::Against);
    assert_eq!(notes(verdict(&[[first, one], [second, two]], &[], &[])), [""; 0]);
}

/// What is left of both would rather be exchanged with it: it is suggested where there is nothing else.
#[test]
fn a_norm_that_is_not_in_its_place_comes_last() {
    let [before, after] = ["l.0.attention.output.LayerNorm.w", "l.0.output.LayerNorm.w"];
    let [one, two] = ["b.0.norm_1.w", "b.0.norm_2.w"];
    let judged = |tensor, left| match verdict(&[[tensor, one]], &[left], &[two]) {
        Verdict::For { misplaced, notes, .. } => (misplaced, notes.into_iter().next()),
        Verdict::Against => panic!("nothing is against it"),
    };
    let told = "`l.0.output.LayerNorm.w` is taken for `b.0.norm_1.w`, though by their places in the layer it may \
                be `b.0.norm_2.w`, and `b.0.norm_1.w` get `l.0.attention.output.LayerNorm.w`, which are left";
    assert_eq!(judged(after, before), (true, Some(told.to_owned())));
    assert!(!judged(before, after).0);
}

/// The last norm of a LLaMA with fewer layers than its model has.
#[test]
fn what_stands_apart_from_its_like_is_told_or_left() {
    let like = [0, 1, 2].map(|layer| {
        [format!("model.layers.{layer}.input_layernorm.w"), format!("blk.{layer}.attn_norm.w")]
    });
    let mut pairs: Vec<[&str; 2]> = like.iter().map(|[old, new]| [&**old, &**new]).collect();
    pairs.push(["model.norm.w", "blk.3.attn_norm.w"]);
    assert_eq!(verdict(&pairs, &[], &["output_norm.w"]), Verdict::Against);
    let told = "`model.norm.w` is taken for `blk.3.attn_norm.w`, unlike its like: \
                `model.layers.0.input_layernorm.w` is taken for `blk.0.attn_norm.w`";
    let said = notes(verdict(&pairs, &[], &[]));
    assert!(said.iter().any(|note| note == told), "{said:?}");
    pairs.pop();
    assert_eq!(notes(verdict(&pairs, &[], &[])), [""; 0]);
}

#[test]
fn all_that_a_note_is_about_is_named() {
    // Factors of adapters, and both biases of a cell of PyTorch's.
    let all: Vec<_> = ["q", "v", "o"]
        .iter()
        .flat_map(|part| [0, 1].map(|layer| (layer, part)))
        .map(|(layer, part)| {
            let file = format!("l.{layer}.{part}_proj.lora_A.weight");
            meant(&file, &[4, 8], &format!("l.{layer}.{part}_proj.weight"), &[4, 8])
        })
        .collect();
    let found = suggestions(&all, &[], &[]);
    assert!(!found.is_empty());
    for one in &found {
        let told = one.notes.iter().find(|note| note.contains("an adapter (LoRA)"));
        let told = told.unwrap_or_else(|| panic!("{one:#?}"));
        for part in ["q", "v", "o"] {
            assert!(told.contains(&format!("`l.0.{part}_proj.weight`")), "{told}");
        }
    }
    let all = [
        meant("lstm.weight_ih_l0", &[32, 6], "lstm/kernel", &[6, 32]),
        meant("lstm.weight_hh_l0", &[32, 8], "lstm/recurrent_kernel", &[8, 32]),
        meant("lstm.bias_ih_l0", &[32], "lstm/bias", &[32]),
    ];
    let found = suggestions(&all, &[meant("lstm.bias_hh_l0", &[32], "", &[])], &[]);
    assert!(!found.is_empty());
    for one in found.iter().filter(|one| one.restores == 3) {
        let told = |note: &&String| note.contains("gates of recurrent cells");
        let told = one.notes.iter().find(told).unwrap_or_else(|| panic!("{one:#?}"));
        assert!(told.contains("`lstm/{recurrent_kernel,bias}`"), "{told}");
    }
}

/// A square matrix of flat names turns as its siblings do, those that differ by a number.
#[test]
fn square_matrices_of_numbered_names_turn_with_their_siblings() {
    let mut file: Vec<Named<'_>> = vec![("net.fc1.weight", &[16, 4]), ("net.fc1.bias", &[16])];
    file.extend([("net.fc2.weight", &[16, 16][..]), ("net.fc2.bias", &[16])]);
    file.extend([("net.fc3.weight", &[3, 16][..]), ("net.fc3.bias", &[3])]);
    let names = ["fc1_w", "fc1_b", "fc2_w", "fc2_b", "fc3_w", "fc3_b"];
    let shapes: [&[usize]; 6] = [&[4, 16], &[16], &[16, 16], &[16], &[16, 3], &[3]];
    let model: Vec<Named<'_>> = names.into_iter().zip(shapes).collect();
    let found = suggested(&file, &model);
    let [one] = &found[..] else { panic!("{found:#?}") };
    assert!(one.ends_with(r#".transpose("{fc1_w,fc2_w,fc3_w}") 6/6"#), "{one}");
    // One that lies as it is leaves it open.
    file[4] = ("net.fc3.weight", &[16, 3]);
    let found = suggested(&file, &model);
    assert!(found.iter().all(|one| !one.contains("fc2_w,")), "{found:#?}");
}

/// Layers that are counted from another number under flat names: the last is the only one of its shape, turned
/// as all others are.
#[test]
fn the_only_matrix_that_fits_turned_is_taken_where_all_others_are_turned() {
    let sizes = [4, 16, 8, 3];
    let mut all = Vec::new();
    for layer in 0..3 {
        let (rows, columns) = (sizes[layer], sizes[layer + 1]);
        let old = format!("module.layers.{}", layer + 1);
        all.push(meant(
            &format!("{old}.weight"),
            &[columns, rows],
            &format!("w{layer}"),
            &[rows, columns],
        ));
        all.push(meant(&format!("{old}.bias"), &[columns], &format!("b{layer}"), &[columns]));
    }
    let one = all_are_mended(&all);
    assert!(one.rules.iter().any(|rule| matches!(rule, Rule::Transpose(_))), "{one:#?}");
}
