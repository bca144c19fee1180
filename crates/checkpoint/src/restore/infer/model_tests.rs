//! Whole models with the names that other frameworks give them, and files of any size.

use super::tests::{Named, asked, code, inferred, suggested, tensor, tensors, variable, variables};
use super::*;
use crate::restore::matching::Outcome;
use std::collections::BTreeMap;
use warmstart_graph::Variable;

/// The tensors of a file and the variables of a model, from names in both.
fn both(named: &[(String, String, &[usize])]) -> (Vec<TensorEntry>, Vec<Variable>) {
    let one = |(file, model, shape): &(String, String, &[usize])| {
        (tensor(file, shape), variable(model, shape))
    };
    named.iter().map(one).unzip()
}

#[test]
fn a_transformer_of_torch_names() {
    let parts: [(&str, &str, &[usize]); 12] = [
        ("ln_1.weight", "ln_1/gamma", &[64]),
        ("ln_1.bias", "ln_1/beta", &[64]),
        ("attn.c_attn.weight", "attention/qkv/weight", &[64, 192]),
        ("attn.c_attn.bias", "attention/qkv/bias", &[192]),
        ("attn.c_proj.weight", "attention/out/weight", &[64, 64]),
        ("attn.c_proj.bias", "attention/out/bias", &[64]),
        ("ln_2.weight", "ln_2/gamma", &[64]),
        ("ln_2.bias", "ln_2/beta", &[64]),
        ("mlp.c_fc.weight", "mlp/fc/weight", &[64, 256]),
        ("mlp.c_fc.bias", "mlp/fc/bias", &[256]),
        ("mlp.c_proj.weight", "mlp/proj/weight", &[256, 64]),
        ("mlp.c_proj.bias", "mlp/proj/bias", &[64]),
    ];
    let layers = (0..4).flat_map(|layer| {
        parts.map(|(file, model, shape)| {
            (
                format!("transformer.h.{layer}.{file}"),
                format!("decoder/layer_{layer}/{model}"),
                shape,
            )
        })
    });
    let mut named: Vec<(String, String, &[usize])> = layers.collect();
    named.push(("transformer.wte.weight".into(), "embed/table".into(), &[500, 64]));
    named.push(("transformer.wpe.weight".into(), "embed/positions".into(), &[128, 64]));
    let (file, model) = both(&named);
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!((all[0].restores, all[0].of), (50, 50), "{all:#?}");
    assert!(all[0].rules.len() <= 9, "{all:#?}");
    let layers = r#".rename_regex("transformer\\.h\\.(\\d+)\\.", "decoder/layer_${1}/")"#;
    assert!(code(&all[0]).starts_with(layers), "{all:#?}");
}

#[test]
fn a_residual_network_with_another_head() {
    let parts: [(&str, &str); 4] = [
        ("weight", "gamma"),
        ("bias", "beta"),
        ("running_mean", "moving_mean"),
        ("running_var", "moving_variance"),
    ];
    let mut named: Vec<(String, String, &[usize])> =
        vec![("conv1.weight".into(), "net/conv1/weight".into(), &[64, 3, 7, 7])];
    let shapes: [(&[usize], &[usize]); 2] =
        [(&[128, 128, 3, 3], &[128]), (&[256, 256, 3, 3], &[256])];
    for (stage, (kernel, channels)) in shapes.into_iter().enumerate() {
        for block in 0..2 {
            let (dotted, slashed) =
                (format!("layer{stage}.{block}."), format!("net/layer{stage}/{block}/"));
            named.push((format!("{dotted}conv1.weight"), format!("{slashed}conv1/weight"), kernel));
            for (torch, ours) in parts {
                named.push((
                    format!("{dotted}bn1.{torch}"),
                    format!("{slashed}bn1/{ours}"),
                    channels,
                ));
            }
        }
    }
    let (mut file, mut model) = both(&named);
    file.extend((0..4).map(|n| tensor(&format!("layer{n}.bn1.num_batches_tracked"), &[])));
    file.extend(tensors(&[("fc.weight", &[1000, 512]), ("fc.bias", &[1000])]));
    model.extend(variables(&[("head/weight", &[512, 10]), ("head/bias", &[10])]));
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    let expected = r#".separator('.', '/').rename_regex("bn(\\d+)/weight$", "bn${1}/gamma").rename_component("bias", "beta").rename_component("running_mean", "moving_mean").rename_component("running_var", "moving_variance").add_prefix("net/")"#;
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!((all[0].restores, all[0].of), (named.len(), named.len() + 2));
    assert_eq!(code(&all[0]), expected);
}

#[test]
fn numbers_that_do_not_agree_decide_nothing() {
    let file: [Named<'_>; 4] =
        [("0.weight", &[16, 8]), ("0.bias", &[16]), ("2.weight", &[4, 16]), ("2.bias", &[4])];
    let model: [Named<'_>; 4] = [
        ("fc1/weight", &[8, 16]),
        ("fc1/bias", &[16]),
        ("fc2/weight", &[16, 4]),
        ("fc2/bias", &[4]),
    ];
    let expected = ".separator('.', '/').rename_scope(\"0\", \"fc1\").rename_scope(\"2\", \"fc2\")\
                    .transpose(\"**/weight\") 4/4";
    assert_eq!(suggested(&file, &model), [expected]);

    // `dense_1` is not `fc1`: only their order says which is which.
    let file = ["dense/w", "dense_1/w", "dense_2/w"].map(|name| (name, &[4, 4][..]));
    let model = ["fc1/w", "fc2/w", "fc3/w"].map(|name| (name, &[4, 4][..]));
    let (all, _) = inferred(&tensors(&file), &variables(&model), &BTreeMap::new());
    let [one] = all.as_slice() else { panic!("{all:#?}") };
    assert_eq!(one.restores, 3);
    let (file, model) = (tensors(&file), variables(&model));
    let model: Vec<&Variable> = model.iter().collect();
    let outcomes = crate::restore::matching::Matching::new(&file, &model, &one.rules).outcomes;
    for (outcome, tensor) in outcomes.iter().zip(&file) {
        assert!(matches!(outcome, Outcome::Restored { tensor: from, .. } if *from == tensor.name));
    }
    let order = "only the order of their numbers says that `dense/w` is `fc1/w`, and `dense_1/w` is \
                 `fc2/w`";
    assert_eq!(one.notes[0], order);
}

#[test]
fn layers_never_come_out_of_order() {
    // Counted from 0 on one side, and from 1 on the other: equal numbers are other layers.
    let file = ["layers.0.w", "layers.1.w", "layers.2.w"].map(|name| (name, &[4, 5][..]));
    let model = ["layer1/w", "layer2/w", "layer3/w"].map(|name| (name, &[4, 5][..]));
    let (all, _) = inferred(&tensors(&file), &variables(&model), &BTreeMap::new());
    let (file, model) = (tensors(&file), variables(&model));
    let model: Vec<&Variable> = model.iter().collect();
    for suggestion in all {
        let found =
            crate::restore::matching::Matching::new(&file, &model, &suggestion.rules).outcomes;
        for (outcome, tensor) in found.iter().zip(&file) {
            if let Outcome::Restored { tensor: from, .. } = outcome {
                assert_eq!(*from, tensor.name, "{:?}", code(&suggestion));
            }
        }
    }
    // A layer more in the file, and no variable that waits for it.
    let all = suggested(
        &[("layers.0.w", &[4, 5]), ("layers.1.w", &[4, 5]), ("layers.2.w", &[4, 5])],
        &[("layer0/w", &[4, 5]), ("layer1/w", &[4, 5])],
    );
    assert!(all.len() == 1 && all[0].ends_with(" 2/2"), "{all:#?}");
}

#[test]
fn what_names_do_not_tell_apart_is_said() {
    // Words that libraries use for one thing tell.
    let file = ["b.q_lin.w", "b.k_lin.w", "b.v_lin.w"].map(|name| (name, &[4, 4][..]));
    let model = ["b/query/w", "b/key/w", "b/value/w"].map(|name| (name, &[4, 4][..]));
    let (all, _) = inferred(&tensors(&file), &variables(&model), &BTreeMap::new());
    let [one] = all.as_slice() else { panic!("{all:#?}") };
    let (file, model) = (tensors(&file), variables(&model));
    let model: Vec<&Variable> = model.iter().collect();
    let found = crate::restore::matching::Matching::new(&file, &model, &one.rules).outcomes;
    for (outcome, tensor) in found.iter().zip(&file) {
        assert!(matches!(outcome, Outcome::Restored { tensor: from, .. } if *from == tensor.name));
    }
    // Words that are not alike do not.
    let file = ["b.mul.w", "b.xor.w"].map(|name| (name, &[4, 4][..]));
    let model = ["b/east/w", "b/funny/w"].map(|name| (name, &[4, 4][..]));
    let (all, _) = inferred(&tensors(&file), &variables(&model), &BTreeMap::new());
    for one in &all {
        assert!(one.notes.iter().any(|note| note.contains("nothing in their names")), "{one:?}");
    }
    // Nor is a tensor passed over that is clearly meant.
    let file = [("cls.relation.w", &[2, 8][..]), ("bert.token_types.table", &[2, 8])];
    let model = [("net.token_types.w", &[2, 8][..])];
    let all = suggested(&file, &model);
    assert!(!all.iter().any(|one| one.contains("cls")), "{all:#?}");
}

#[test]
fn files_that_are_too_large_get_no_suggestion() {
    let (file, model) = layers(400, |layer, part| format!("old/{layer}/{part}"));
    let variables: Vec<&Variable> = model.iter().collect();
    let outcomes = crate::restore::matching::Matching::new(&file, &variables, &[]).outcomes;
    let none = BTreeMap::new();
    let within = |budget| infer_within(budget, asked(&file, &variables, &outcomes, &none));
    assert_eq!(within(1_000), (vec![], 0));
    let (suggestions, passes) = within(BUDGET);
    assert_eq!(suggestions.len(), 1);
    // As many plans as the budget pays, and no more.
    let pass: usize = file.iter().map(|t| t.name.len() + EACH).sum::<usize>()
        + model.iter().map(|v| v.name.len() + EACH).sum::<usize>();
    for plans in 4..passes {
        assert!(within(plans * pass).1 <= plans);
    }
}

/// Five tensors fit each of four variables, so that many sets of rules restore as much and something speaks
/// against each of them: not all of them are tried without each of their rules.
#[test]
fn sets_that_differ_by_little_take_few_plans() {
    let file: [Named<'_>; 6] = [
        ("ema.decay", &[8]),
        ("mlp.weight", &[8, 6]),
        ("net.block_0.encoder.norm.wight", &[8]),
        ("net.norm.bias", &[8]),
        ("net.norm.weight", &[8]),
        ("queue.rows", &[8]),
    ];
    let model: [Named<'_>; 5] = [
        ("block_1/norm/gamma", &[8]),
        ("block_1/norm/beta", &[8]),
        ("mlp/weight", &[6, 8]),
        ("block_1/block_0/encoder/norm/gamma", &[8]),
        ("block_1/block_0/encoder/norm/beta", &[8]),
    ];
    let (file, model, none) = (tensors(&file), variables(&model), BTreeMap::new());
    let (all, passes) = inferred(&file, &model, &none);
    let ended = |one: &Suggestion| one.notes.iter().any(|note| note == ENDED);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert!(all[0].restores == 3 && ended(&all[0]), "{all:#?}");
    assert!(passes < 200, "{passes}");
    // So it is said where plans are what there is too little of.
    let names = file.iter().map(|tensor| tensor.name.len());
    let names = names.chain(model.iter().map(|variable| variable.name.len()));
    let pass: usize = names.map(|length| length + EACH).sum();
    let variables: Vec<&Variable> = model.iter().collect();
    let outcomes = crate::restore::matching::Matching::new(&file, &variables, &[]).outcomes;
    for plans in 4..passes {
        let (all, passes) = infer_within(plans * pass, asked(&file, &variables, &outcomes, &none));
        assert!(passes <= plans && all.iter().all(ended), "{plans}: {all:#?}");
    }
}

#[test]
fn long_names_are_not_compared() {
    let long = |n: usize| format!("{}{n}", "a/".repeat(50_000));
    let wide = |n: usize| format!("{}/{n}", "b".repeat(100_000));
    let file: Vec<TensorEntry> =
        (0..20).flat_map(|n| [tensor(&long(n), &[n]), tensor(&wide(n), &[n])]).collect();
    let model: Vec<Variable> = (0..20)
        .flat_map(|n| [variable(&long(n + 100), &[n]), variable(&wide(n + 100), &[n])])
        .collect();
    let (all, _) = inferred(&file, &model, &BTreeMap::new());
    assert_eq!(all, []);
}

/// As many variables as asked for, four a layer, and their names in the file.
fn layers(count: usize, file: impl Fn(usize, &str) -> String) -> (Vec<TensorEntry>, Vec<Variable>) {
    let parts: [Named<'_>; 4] = [
        ("attn/weight", &[8, 24]),
        ("attn/bias", &[24]),
        ("mlp/weight", &[8, 32]),
        ("ln/bias", &[8]),
    ];
    let all = (0..count / 4).flat_map(|layer| parts.map(|(part, shape)| (layer, part, shape)));
    all.map(|(layer, part, shape)| {
        let model = format!("decoder/block_{layer}/{part}");
        (tensor(&file(layer, part), shape), variable(&model, shape))
    })
    .unzip()
}

#[test]
fn ten_thousand_variables_take_few_plans() {
    let none = BTreeMap::new();
    let dotted = |layer: usize, part: &str| {
        format!("module.h.{layer}.{}", part.replace('/', ".").replace("weight", "kernel"))
    };
    let (file, model) = layers(10_000, dotted);
    let (all, passes) = inferred(&file, &model, &none);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!((all[0].restores, all[0].of), (10_000, 10_000), "{all:#?}");
    assert!(all[0].rules.len() <= 4, "{all:#?}");
    assert!(passes < 24, "{passes}");

    // Nothing in common at all: it gives up.
    let (file, model) = layers(10_000, |layer, part| format!("{:x}{part}", layer * 7919 + 77));
    let (_, passes) = inferred(&file, &model, &none);
    assert!(passes < 24, "{passes}");
}
