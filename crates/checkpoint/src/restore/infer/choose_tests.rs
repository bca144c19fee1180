//! Which of several trials is suggested, by trials that are made up.

use super::super::asked::Asked;
use super::super::roles::{Kind, Kinds};
use super::super::tests::{tensor, variable};
use super::super::trial::Limits;
use super::*;
use crate::restore::matching::Outcome;
use std::collections::BTreeMap;

/// A trial with so many rules and doubts that gives the first variable this tensor.
fn trial(rules: usize, doubts: usize, tensor: usize) -> Trial {
    let rule = |at: usize| Rule::StripPrefix(format!("p{at}"));
    Trial {
        rules: (0..rules).map(rule).collect(),
        name_rules: Vec::new(),
        restored: 1,
        mismatched: 0,
        grown: 0,
        pairs: BTreeMap::from([(0, tensor)]),
        notes: Vec::new(),
        tie: None,
        turning: None,
        doubts,
        exchangeable: false,
        misplaced: false,
        by_shape: 0,
    }
}

/// The tensors that the chosen trials give, where the variable is `model/scale`.
fn chosen(names: &[&str], trials: Vec<Trial>) -> Vec<usize> {
    let tensors: Vec<_> = names.iter().map(|name| tensor(name, &[3])).collect();
    let variable = variable("model/scale", &[3]);
    let (variables, saved) = ([&variable], BTreeMap::new());
    let outcomes = [Outcome::Missing { close: Vec::new() }];
    let asked = Asked {
        tensors: &tensors,
        variables: &variables,
        rules: &[],
        outcomes: &outcomes,
        saved: &saved,
        pytorch: false,
    };
    let kinds = Kinds { tensors: vec![Kind::Weight; names.len()], variables: vec![Kind::Weight] };
    let limits = Limits { names: 0, weaker: 0, passes: 0, most: 0, ended: false };
    let all = choose(&Trials::new(asked, &kinds, limits), trials);
    all.iter().map(|trial| trial.pairs[&0]).collect()
}

/// Names that are clearly more alike are worth two more rules, and no third.
#[test]
fn names_that_are_more_alike_are_worth_some_rules() {
    let names = ["zebra/offset", "other/scale"];
    assert_eq!(chosen(&names, vec![trial(1, 0, 0), trial(1, 0, 1)]), [1]);
    assert_eq!(chosen(&names, vec![trial(1, 0, 0), trial(1 + MORE_RULES, 0, 1)]), [1]);
    assert_eq!(chosen(&names, vec![trial(1, 0, 0), trial(2 + MORE_RULES, 0, 1)]), [0]);
}

/// Of those whose names are as much alike, only those of the fewest rules are alternatives.
#[test]
fn more_rules_are_no_alternative_where_names_are_as_much_alike() {
    let names = ["first/scale", "other/scale"];
    assert_eq!(chosen(&names, vec![trial(1, 0, 0), trial(1, 0, 1)]), [0, 1]);
    assert_eq!(chosen(&names, vec![trial(2, 0, 0), trial(1, 0, 1)]), [1]);
}

/// What less speaks against comes first.
#[test]
fn alternatives_come_in_the_order_of_their_doubts() {
    let names = ["first/scale", "other/scale"];
    assert_eq!(chosen(&names, vec![trial(1, 2, 0), trial(1, 0, 1)]), [1, 0]);
    assert_eq!(chosen(&names, vec![trial(1, 0, 0), trial(1, 2, 1)]), [0, 1]);
}

/// What places in a layer speak against is suggested where there is nothing else, however much it restores.
#[test]
fn what_is_misplaced_comes_last() {
    let names = ["first/scale", "other/scale"];
    let misplaced = |tensor| Trial { misplaced: true, restored: 2, ..trial(1, 0, tensor) };
    assert_eq!(chosen(&names, vec![misplaced(0), trial(1, 0, 1)]), [1]);
    assert_eq!(chosen(&names, vec![misplaced(0)]), [0]);
}

#[test]
fn targets_of_two_renames_of_one_kind_are_exchanged() {
    let scope = |from: &str, to: &str| Rule::RenameScope { from: from.into(), to: to.into() };
    let rules = [scope("a", "x"), Rule::StripPrefix("p".into()), scope("b", "y")];
    let expected = vec![scope("a", "y"), rules[1].clone(), scope("b", "x")];
    assert_eq!(exchanged(&rules, 0, 2), Some(expected));
    assert_eq!(exchanged(&rules, 0, 1), None);
    let other = [scope("a", "x"), Rule::Rename { from: "b".into(), to: "y".into() }];
    assert_eq!(exchanged(&other, 0, 1), None);
}
