//! What many renames do, done by the fewest rules.

use super::aside_tests::{mended, mended_with_slots};
use super::fewest::{Pairs, moves};
use super::tests::code;
use crate::restore::rules::Rule;

/// The next scope's name is free only once the search went on from some of what is in it.
#[test]
fn scopes_that_each_have_the_name_of_the_next_take_their_slots_along() {
    let one = mended_with_slots(
        &[
            ("attention/weight", "head/weight", &[2, 60]),
            ("attention/bias", "head/bias", &[3]),
            ("backbone/encoder/table", "attention/encoder/table", &[4, 62]),
            ("backbone/weight", "attention/weight", &[5, 63]),
        ],
        false,
    );
    let expected = r#".rename_scope("attention", "head").rename_scope("backbone", "attention")"#;
    assert_eq!(code(&one), expected);
}

/// As long as weights are kernels, nothing has another one's name.
#[test]
fn what_one_rule_does_to_all_is_not_done_to_each() {
    let names: [(&str, &str, &[usize]); 8] = [
        ("decoder/table", "decoder/table", &[2, 60]),
        ("block_0/kernel", "block_0/weight", &[3, 61]),
        ("block_0/bais", "block_0/bias", &[4]),
        ("backbone/kernel", "attention/weight", &[5, 63]),
        ("head/kernel", "head/weight", &[6, 64]),
        ("head/bias", "head/bias", &[7]),
        ("attention/kernel", "block_1/weight", &[8, 66]),
        ("block_2/table", "block_2/table", &[9, 67]),
    ];
    for turned in [false, true] {
        let one = mended_with_slots(&names, turned);
        let found = code(&one);
        assert!(found.contains(r#".rename_component("kernel", "weight")"#), "{found}");
        assert!(found.contains(r#".rename_scope("backbone", "attention")"#), "{found}");
        // One for each of the two scopes and the weights, and at most two for the bias.
        assert!(one.rules.len() <= 5 + usize::from(turned), "{found}");
    }
}

#[test]
fn two_exchanged_scopes_of_which_one_holds_another_name_take_four_rules() {
    let one = mended(&[
        ("head/weight", "head/weight", &[2, 60]),
        ("encoder/weight", "block_2/weight", &[4, 62]),
        ("encoder/bias", "block_2/bias", &[5]),
        ("encoder/norm/weight", "block_2/norm/gamma", &[6]),
        ("encoder/norm/beta", "block_2/norm/beta", &[7]),
        ("block_2/norm/weight", "encoder/norm/gamma", &[8]),
        ("block_2/norm/beta", "encoder/norm/beta", &[9]),
        ("block_2/table", "encoder/table", &[10, 68]),
    ]);
    assert_eq!(one.rules.len(), 4, "{}", code(&one));
}

/// Of an optimizer that is called otherwise a note speaks, which goes by its rule.
#[test]
fn a_rule_that_stays_is_not_left_out_though_fewer_would_do() {
    let names = [("w", "emb"), ("w/adam/m", "emb/adamw/m"), ("w/adam/v", "emb/adamw/v")];
    let rule = Rule::RenameComponent { from: "adam".into(), to: "adamw".into() };
    let fewest = |stays: bool| {
        let mut pairs = Pairs {
            names: names.iter().map(|(name, new)| (name.to_string(), Some(*new))).collect(),
            variables: names.iter().map(|(_, new)| *new).collect(),
            left: 1_000,
        };
        let (rules, moves) = pairs.fewest(vec![rule.clone()], |_| stays).unwrap();
        (rules, moves.len())
    };
    assert_eq!(fewest(false), (Vec::new(), 2));
    assert_eq!(fewest(true), (vec![rule.clone()], 2));
}

/// What is moved, each as if it were the only one.
fn moved(pairs: &[(&str, &str)]) -> Option<Vec<String>> {
    let moves = moves(pairs.iter().copied())?;
    Some(moves.iter().map(|one| one.rule().to_string()).collect())
}

#[test]
fn scopes_go_where_most_of_what_they_hold_goes() {
    let all =
        [("a/v", "x/v"), ("a/w", "x/w"), ("a/b/w", "x/c/w"), ("a/b/v", "x/c/v"), ("a/t", "y/t")];
    let found = moved(&all).unwrap();
    let expected = [
        r#".rename_scope("a", "x")"#,
        r#".rename_scope("a/b", "x/c")"#,
        r#".rename("a/t", "y/t")"#,
    ];
    assert_eq!(found, expected);
    // What none holds but other scopes goes along with them.
    let all =
        [("a/b/w", "x/b/w"), ("a/c/w", "x/c/w"), ("a.d.w", "x.d.w"), ("e:0", "e"), ("f:0", "g")];
    let found = moved(&all).unwrap();
    let expected = [r#".rename_scope("a", "x")"#, r#".rename("f:0", "g")"#];
    assert_eq!(found, expected);
}

#[test]
fn what_cannot_be_told_by_renames_is_not() {
    // Two of one name.
    assert_eq!(moved(&[("a/w", "b/w"), ("a/w:0", "c/w")]), None);
    // One that stays where most goes.
    assert_eq!(moved(&[("a/v", "x/v"), ("a/w", "x/w"), ("a/t", "a/t")]), None);
    // More parts than are looked at.
    let deep = "a/".repeat(30);
    assert_eq!(moved(&[(&format!("{deep}w"), &format!("{deep}v"))]), None);
    assert_eq!(moved(&[]), Some(vec![]));
}
