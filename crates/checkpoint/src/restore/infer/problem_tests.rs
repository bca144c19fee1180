//! How good rules are for a problem.

use super::super::tests::{tensor, variable};
use super::*;
use crate::restore::matching::Matching;
use crate::restore::rules::apply;

/// What comes of each set of rules where the model has these variables: how many are restored and
/// mismatched, or nothing where the rules are out of the question.
fn evaluated(
    file: &[(&str, &[usize])],
    model: &[(&str, &[usize])],
    kinds: Kinds,
    sets: &[Vec<Rule>],
) -> Vec<Option<(usize, usize)>> {
    let tensors: Vec<TensorEntry> = file.iter().map(|(name, shape)| tensor(name, shape)).collect();
    let declared: Vec<Variable> = model.iter().map(|(name, shape)| variable(name, shape)).collect();
    let variables: Vec<&Variable> = declared.iter().collect();
    let applied = apply(&[], tensors.iter().map(|tensor| tensor.name.as_str()), &variables);
    let matching = Matching::of(&tensors, &variables, &applied);
    let given = Given {
        tensors: &tensors,
        variables: &variables,
        outcomes: &matching.outcomes,
        allowed: &applied.allowed,
        names: applied.names.iter().map(|names| &names[..]).collect(),
        unexpected: &matching.unexpected,
        kinds: &kinds,
    };
    let problem = Problem::new(&given);
    let state = |rules: &Vec<Rule>| problem.with_some(rules);
    sets.iter().map(|rules| state(rules).map(|state| (state.restored, state.mismatched))).collect()
}

fn weights(tensors: usize, variables: usize) -> Kinds {
    Kinds { tensors: vec![Kind::Weight; tensors], variables: vec![Kind::Weight; variables] }
}

fn rename(from: &str, to: &str) -> Rule {
    Rule::Rename { from: from.to_owned(), to: to.to_owned() }
}

#[test]
fn a_variable_that_has_its_value_keeps_it_and_takes_no_other() {
    let file: [(&str, &[usize]); 2] = [("a", &[2]), ("b", &[2])];
    let model: [(&str, &[usize]); 2] = [("a", &[2]), ("c", &[2])];
    let found = evaluated(
        &file,
        &model,
        weights(2, 2),
        &[
            vec![rename("b", "c")],
            // Its value goes elsewhere; two would have its name; another takes its place.
            vec![rename("a", "c")],
            vec![rename("b", "a")],
            vec![rename("a", "x"), rename("b", "a")],
        ],
    );
    assert_eq!(found, [Some((1, 0)), None, None, None]);
}

#[test]
fn two_tensors_are_never_one_missing_variables() {
    let file: [(&str, &[usize]); 2] = [("a", &[2]), ("b", &[2])];
    let both = vec![rename("a", "c"), rename("b", "c")];
    let found = evaluated(&file, &[("c", &[2])], weights(2, 1), &[both[..1].to_vec(), both]);
    assert_eq!(found, [Some((1, 0)), None]);
}

#[test]
fn a_slot_is_no_weights_value() {
    let slot = || Kind::Slot("adam".to_owned(), "m".to_owned(), true);
    for (of_tensor, of_variable, expected) in [
        (Kind::Weight, Kind::Weight, Some((1, 0))),
        (slot(), slot(), Some((1, 0))),
        (slot(), Kind::Weight, None),
        (Kind::Weight, slot(), None),
    ] {
        let kinds = Kinds { tensors: vec![of_tensor], variables: vec![of_variable] };
        let set = vec![rename("a", "c")];
        assert_eq!(evaluated(&[("a", &[2])], &[("c", &[2])], kinds, &[set]), [expected]);
    }
}

/// A matrix that a variable would have once it is transposed is not taken away for nothing.
#[test]
fn what_would_fit_transposed_is_lost_where_it_is_taken_away_or_replaced() {
    let file: [(&str, &[usize]); 2] = [("a", &[2, 3]), ("b", &[2, 3])];
    let model: [(&str, &[usize]); 2] = [("a", &[3, 2]), ("c", &[3, 2])];
    let found = evaluated(
        &file,
        &model,
        weights(2, 2),
        &[
            vec![rename("b", "c")],
            vec![rename("a", "c")],
            vec![rename("a", "x"), rename("b", "a")],
            vec![rename("a", "c"), rename("b", "a")],
        ],
    );
    assert_eq!(found, [Some((1, 0)), Some((1, 1)), Some((0, 1)), Some((1, 1))]);
}

/// What a rule gives a missing variable and does not fit speaks against the rule.
#[test]
fn a_value_that_does_not_fit_speaks_against_a_rename() {
    let file: [(&str, &[usize]); 2] = [("a", &[2]), ("b", &[5])];
    let model: [(&str, &[usize]); 2] = [("c", &[2]), ("d", &[7])];
    let found = evaluated(
        &file,
        &model,
        weights(2, 2),
        &[vec![rename("a", "c")], vec![rename("a", "c"), rename("b", "d")], vec![rename("b", "c")]],
    );
    assert_eq!(found, [Some((1, 0)), Some((1, 1)), Some((0, 1))]);
}

/// How near rules are to more: what is restored counts for them, what does not fit against them, and names
/// that are left with parts of a variable's for them.
#[test]
fn rules_promise_more_by_what_is_restored_and_by_what_is_left() {
    let tensors = [tensor("x/fc/weight", &[2]), tensor("y/out/bias", &[5])];
    let declared = [variable("fc/weight", &[2]), variable("out/bias", &[5])];
    let variables: Vec<&Variable> = declared.iter().collect();
    let applied = apply(&[], tensors.iter().map(|tensor| tensor.name.as_str()), &variables);
    let matching = Matching::of(&tensors, &variables, &applied);
    let kinds = weights(2, 2);
    let given = Given {
        tensors: &tensors,
        variables: &variables,
        outcomes: &matching.outcomes,
        allowed: &applied.allowed,
        names: applied.names.iter().map(|names| &names[..]).collect(),
        unexpected: &matching.unexpected,
        kinds: &kinds,
    };
    let problem = Problem::new(&given);
    let promise = |rules: &[Rule]| problem.with_some(rules).map(|state| state.promise).unwrap();
    let none = promise(&[]);
    assert!(none > 0.0, "{none}");
    assert!(promise(&[rename("x/fc/weight", "fc/weight")]) > none);
    // Another word in what is left, and what does not fit.
    assert!(promise(&[rename("y/out/bias", "y/z/zebra")]) < none);
    assert!(promise(&[rename("y/out/bias", "fc/weight")]) < 0.0);
}
