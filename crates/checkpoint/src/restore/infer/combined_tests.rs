//! Several ordinary changes at once: a scope renamed, layers added, a vocabulary grown, an optimizer of
//! another name.

use super::alike::Comparisons;
use super::doubts::{Entry, Verdict, judge};
use super::tests::{Named, code, inferred, slot, suggested, tensor, tensors, variable, variables};
use super::*;
use crate::restore::matching::Outcome;
use crate::restore::saved::Saved;
use std::collections::BTreeMap;
use warmstart_graph::{Role, Shape, Variable};

/// The weights of a model of so many blocks within a scope.
fn blocks(scope: &str, count: usize) -> Vec<(String, Vec<usize>)> {
    let parts: [Named<'_>; 3] =
        [("q/weight", &[16, 16]), ("q/bias", &[16]), ("norm/weight", &[16])];
    let block = |at: usize| {
        parts.map(|(part, shape)| (format!("{scope}/block_{at}/{part}"), shape.to_vec()))
    };
    (0..count).flat_map(block).collect()
}

fn named(all: &[(String, Vec<usize>)]) -> Vec<Named<'_>> {
    all.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect()
}

#[test]
fn a_scope_with_a_block_more_and_a_table_of_another_size_is_renamed() {
    let net = |scope: &str, count: usize, rows: usize| {
        let mut all = blocks(scope, count);
        all.push((format!("{scope}/emb/weight"), vec![rows, 16]));
        all
    };
    let scope = |restores: &str| [format!(r#".rename_scope("net", "body") {restores}"#)];
    for (before, after, restores) in [(2, 3, "6/10"), (3, 2, "6/7"), (2, 2, "6/7")] {
        let (file, model) = (net("net", before, 20), net("body", after, 24));
        assert_eq!(suggested(&named(&file), &named(&model)), scope(restores));
    }
    let (file, model) = (net("net", 2, 20), net("body", 3, 20));
    assert_eq!(suggested(&named(&file), &named(&model)), scope("7/10"));
}

/// A block never gets the values of another one where its own number is there, whatever else is.
#[test]
fn blocks_that_have_their_number_are_not_shifted() {
    for (before, after) in [(2, 3), (3, 4), (3, 2), (4, 2), (1, 2), (2, 1)] {
        // Nothing else of the scopes belongs together.
        let (mut file, mut model) = (blocks("net", before), blocks("body", after));
        file.push(("net/first/table".to_owned(), vec![9, 5, 3]));
        model.push(("body/last/weight".to_owned(), vec![7, 5]));
        let (file, model) = (tensors(&named(&file)), variables(&named(&model)));
        let (all, _) = inferred(&file, &model, &BTreeMap::new());
        let references: Vec<&Variable> = model.iter().collect();
        for one in &all {
            let after =
                crate::restore::matching::Matching::new(&file, &references, &one.rules).outcomes;
            for (variable, outcome) in model.iter().zip(&after) {
                if let Outcome::Restored { tensor, .. } = outcome {
                    assert_eq!(tensor.replace("net/", "body/"), variable.name, "{}", code(one));
                }
            }
        }
        assert!(!all.is_empty());
    }
}

/// Order says which layer is which only where there are as many.
#[test]
fn a_shift_is_against_names_where_a_layer_is_left() {
    let (shape, kind) = (Shape::from([8]), Kind::Weight);
    let entry = |name: &'static str| Entry { name, shape: &shape, kind: &kind };
    let verdict = |tensor: Option<&'static str>, variable: Option<&'static str>| {
        let pairs = [("net/b_1/w", "body/b_2/w"), ("net/b_2/w", "body/b_3/w")];
        let pairs = pairs.map(|(from, to)| (entry(from), entry(to))).into_iter();
        let (tensors, variables) = (tensor.map(entry).into_iter(), variable.map(entry).into_iter());
        let none = Comparisons::default();
        judge(&none, pairs, std::iter::empty(), tensors, variables, false)
    };
    assert_eq!(verdict(None, Some("body/b_1/w")), Verdict::Against);
    assert_eq!(verdict(Some("net/b_3/w"), None), Verdict::Against);
    // Where none is left, a note says it.
    let Verdict::For { notes, .. } = verdict(None, None) else { panic!("nothing is against it") };
    assert!(notes.concat().contains("only the order of their numbers"), "{notes:?}");
}

/// Other words in names do not make a table that has grown speak against them.
#[test]
fn a_scope_and_another_word_take_two_rules_though_a_table_has_grown() {
    let net = |scope: &str, rows: usize| {
        let mut all = blocks(scope, 2);
        all.push((format!("{scope}/emb/weight"), vec![rows, 16]));
        all
    };
    let (file, mut model) = (net("net", 20), net("body", 24));
    model.iter_mut().for_each(|(name, _)| *name = name.replace("weight", "kernel"));
    let (all, _) = inferred(&tensors(&named(&file)), &variables(&named(&model)), &BTreeMap::new());
    let [one] = all.as_slice() else { panic!("{all:#?}") };
    assert_eq!((one.rules.len(), one.restores, one.of), (2, 6, 7), "{}", code(one));
}

#[test]
fn a_table_that_has_grown_leaves_the_scope_renamed() {
    let file: [Named<'_>; 3] =
        [("net/emb/w", &[20, 16]), ("net/b_0/w", &[16, 16]), ("net/b_1/w", &[16, 16])];
    let model: [Named<'_>; 3] =
        [("body/emb/w", &[24, 16]), ("body/b_0/w", &[16, 16]), ("body/b_1/w", &[16, 16])];
    assert_eq!(suggested(&file, &model), [r#".rename_scope("net", "body") 2/3"#]);
}

/// A small transformer with its optimizer's slots: a file, what it says of its slots, and as variables.
fn trained(
    scope: &str,
    vocabulary: usize,
    optimizer: &str,
) -> (Vec<TensorEntry>, BTreeMap<String, Saved>, Vec<Variable>) {
    let mut weights: Vec<(String, Vec<usize>)> = vec![
        (format!("{scope}/emb/weight"), vec![vocabulary, 16]),
        (format!("{scope}/final/weight"), vec![16]),
        (format!("{scope}/final/bias"), vec![16]),
        (format!("{scope}/head/weight"), vec![16, vocabulary]),
        (format!("{scope}/head/bias"), vec![vocabulary]),
    ];
    for block in 0..2 {
        let block = format!("{scope}/block_{block}");
        for part in ["query", "key", "value", "out"] {
            weights.push((format!("{block}/{part}/weight"), vec![16, 16]));
            weights.push((format!("{block}/{part}/bias"), vec![16]));
        }
        weights.push((format!("{block}/norm/weight"), vec![16]));
        weights.push((format!("{block}/norm/bias"), vec![16]));
    }
    let mut model = Vec::new();
    for (name, shape) in &weights {
        model.push(variable(name, shape));
        model.extend(["m", "v"].map(|which| slot(name, optimizer, which, shape)));
    }
    let step = Role::Slot { variable: None, optimizer: optimizer.into(), slot: "step".into() };
    model.push(Variable { role: step, ..variable(&format!("{optimizer}/step"), &[]) });
    let file = model.iter().map(|v| tensor(&v.name, &v.shape)).collect();
    let saved = model.iter().map(|v| {
        let role = v.role.clone();
        (v.name.clone(), Saved { initializer: None, role })
    });
    (file, saved.collect(), model)
}

#[test]
fn a_model_with_its_optimizer_and_a_grown_vocabulary_takes_one_rule() {
    let (file, saved, _) = trained("net", 20, "adam");
    let (_, _, model) = trained("body", 24, "adam");
    let (all, _) = inferred(&file, &model, &saved);
    let [one] = all.as_slice() else { panic!("{all:#?}") };
    assert_eq!(code(one), r#".rename_scope("net", "body")"#);
    // All but the table and the head, and their slots.
    assert_eq!((one.restores, one.of), (model.len() - 10, model.len() - 1));
    assert_eq!(one.notes, [""; 0]);
}

#[test]
fn an_optimizer_of_another_name_keeps_its_slots() {
    let rules = |before: (&str, usize, &str), after: (&str, usize, &str)| {
        let (file, saved, _) = trained(before.0, before.1, before.2);
        let (_, _, model) = trained(after.0, after.1, after.2);
        let (mut all, _) = inferred(&file, &model, &saved);
        assert_eq!(all.len(), 1, "{all:#?}");
        let one = all.remove(0);
        (code(&one), one.restores, one.of, one.notes.join("\n"))
    };
    let (found, restores, of, notes) = rules(("net", 20, "adam"), ("net", 20, "fresh"));
    assert_eq!(found, r#".rename_component("adam", "fresh")"#);
    assert!(restores == of && notes.contains("they have the same names"), "{notes}");
    let (found, restores, of, notes) = rules(("net", 20, "adam"), ("net", 20, "adamw"));
    assert_eq!(found, r#".rename_component("adam", "adamw")"#);
    assert!(restores == of && notes.contains("both keep the same moments"), "{notes}");
    // With a scope, and a vocabulary.
    let (found, restores, of, _) = rules(("net", 20, "adam"), ("body", 24, "adamw"));
    assert_eq!(found, r#".rename_scope("net", "body").rename_component("adam", "adamw")"#);
    assert_eq!(restores + 9, of);
    // Slots of another kind are others, whatever they are called.
    let (file, saved, _) = trained("net", 20, "adam");
    let (_, _, model) = trained("net", 20, "nadam");
    assert_eq!(inferred(&file, &model, &saved).0, []);
}
