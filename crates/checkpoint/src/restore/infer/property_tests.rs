//! Random models under random changes of their names are mended where only one mending is
//! possible, and what is suggested for whatever else is what a plan then does.

use super::random_models::{Case, Changes, changes};
use super::tests::{code, inferred, tensor, variable};
use super::*;
use crate::restore::matching::{Matching, Outcome};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};
use warmstart_graph::Variable;

/// The models of `PROPTEST_RNG_SEED`. Without it they are the same in each build, and others, and far more
/// of them, if `WARMSTART_TEST_LONG` is set.
fn config() -> ProptestConfig {
    const CASES: u32 = 120;
    let default = ProptestConfig::default();
    let (cases, rng_seed) = match (std::env::var_os("WARMSTART_TEST_LONG"), default.rng_seed) {
        (Some(_), given) => (30 * CASES, given),
        (None, RngSeed::Random) => (CASES, RngSeed::Fixed(3)),
        (None, given) => (CASES, given),
    };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..default }
}

fn outcomes(case: &Case, rules: &[Rule]) -> Matching {
    Matching::new(&case.file, &case.model.iter().collect::<Vec<_>>(), rules)
}

/// The tensor that a variable gets.
fn given(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Restored { tensor, .. } => Some(tensor),
        _ => None,
    }
}

/// What is suggested, once it is sure that none of it makes the plan worse: what fits as it is keeps its
/// tensor, more is restored, and neither does less fit nor more be left over.
fn suggested(case: &Case) -> Vec<Suggestion> {
    let (all, passes) = inferred(&case.file, &case.model, &case.saved);
    assert!(passes <= SEARCHING + FINISHING, "{passes}");
    let before = outcomes(case, &[]);
    let misfits = |outcomes: &[Outcome]| {
        outcomes.iter().filter(|o| lacks(o) && !matches!(o, Outcome::Missing { .. })).count()
    };
    for one in &all {
        let after = outcomes(case, &one.rules);
        for (before, after) in before.outcomes.iter().zip(&after.outcomes) {
            let kept = given(before).is_none_or(|tensor| given(after) == Some(tensor));
            assert!(kept || !one.notes.is_empty(), "{}", code(one));
        }
        assert!(one.restores > 0, "{}", code(one));
        let gained = one.restores + misfits(&before.outcomes);
        assert!(gained > misfits(&after.outcomes), "{}", code(one));
        assert!(after.unexpected.len() <= before.unexpected.len(), "{}", code(one));
    }
    all
}

/// How many variables get what is theirs, of those that do not yet.
fn to_mend(case: &Case) -> usize {
    let now = outcomes(case, &[]).outcomes;
    let open = |(now, truth): &(&Outcome, &Option<String>)| truth.is_some() && given(now).is_none();
    now.iter().zip(&case.truth).filter(open).count()
}

/// What must be mended is, to the last variable, by as many rules as there were changes.
fn mended(changes: &Changes) -> Result<(), TestCaseError> {
    let case = changes.case();
    let all = suggested(&case);
    if to_mend(&case) == 0 {
        prop_assert!(all.is_empty(), "{:#?}", all);
        return Ok(());
    }
    prop_assert_eq!(all.len(), 1, "{:#?}", all);
    let rules = code(&all[0]);
    let after = outcomes(&case, &all[0].rules).outcomes;
    for ((variable, after), truth) in case.model.iter().zip(&after).zip(&case.truth) {
        prop_assert_eq!(given(after), truth.as_deref(), "{}: {}", variable.name, rules);
    }
    prop_assert!(all[0].rules.len() <= changes.rules(), "{}", rules);
    Ok(())
}

/// How many parts two names have in common, in their order, whatever stands between them.
fn in_common(a: &str, b: &str) -> usize {
    let [a, b] = [a, b].map(|name| name.split(SEPARATORS).collect::<Vec<_>>());
    let mut best = vec![0; b.len() + 1];
    for part in &a {
        let mut above = 0;
        for (at, other) in b.iter().enumerate() {
            let here = best[at + 1];
            best[at + 1] = if part == other { above + 1 } else { here.max(best[at]) };
            above = here;
        }
    }
    best[b.len()]
}

/// What is suggested without a doubt crosses no variables of which names say that it does.
fn picked(changes: &Changes) -> Result<(), TestCaseError> {
    let case = changes.case();
    let all = suggested(&case);
    prop_assert!(to_mend(&case) > 0 || case.truth.iter().any(Option::is_none) || all.is_empty());
    let [one] = all.as_slice() else { return Ok(()) };
    if !one.notes.is_empty() {
        return Ok(());
    }
    let after = outcomes(&case, &one.rules).outcomes;
    for ((variable, after), truth) in case.model.iter().zip(&after).zip(&case.truth) {
        let (Some(tensor), Some(truth)) = (given(after), truth) else { continue };
        let owner = case.truth.iter().position(|other| other.as_deref() == Some(tensor));
        let owner = owner.map(|at| case.model[at].name.as_str());
        let (as_it_was, as_given) = (
            in_common(&variable.name, truth) + owner.map_or(0, |o| in_common(o, tensor)),
            in_common(&variable.name, tensor) + owner.map_or(0, |o| in_common(o, truth)),
        );
        prop_assert!(
            tensor == truth || as_it_was <= as_given,
            "{} is given {}: {}",
            variable.name,
            tensor,
            code(one)
        );
    }
    Ok(())
}

/// The weight alone would be mended by a rename, and what its optimizer keeps for it lost.
#[test]
fn a_variable_that_is_renamed_takes_its_slots_along() {
    let changes = Changes {
        layers: vec![(vec!["head"], 0), (vec!["norm"], 1)],
        slots: true,
        scopes: vec![],
        parts: [false, false, true],
        slip: None,
        separator: false,
        prefix: Some("module."),
        transposed: None,
        extra: 0,
        missing: BTreeSet::new(),
        repeats: true,
    };
    mended(&changes).unwrap();
}

proptest! {
    #![proptest_config(config())]

    /// Every shape is unlike every other, turned or not.
    #[test]
    fn what_has_one_mending_is_mended(changes in changes(false)) {
        mended(&changes)?;
    }

    /// Shapes repeat, but scopes and single names are as they were: names tell what belongs together.
    #[test]
    fn names_alone_are_enough(changes in changes(true)) {
        let extra = 0;
        let changes =
            Changes { scopes: vec![], slip: None, missing: BTreeSet::new(), extra, ..changes };
        mended(&changes)?;
    }

    /// What is suggested without a doubt crosses no variables of which names say that it does.
    #[test]
    fn what_is_picked_is_what_was_meant(changes in changes(true)) {
        picked(&changes)?;
    }

    /// Few names and few shapes, so that much fits by accident; `inferred` holds what is suggested
    /// to what it says.
    #[test]
    fn whatever_is_suggested_is_what_a_plan_does(
        file in prop::collection::btree_map("[ab](/[ab]){0,2}(/w|\\.w|:0)?", 0..4usize, 0..10),
        model in prop::collection::btree_map("[bc](/[ab]){0,2}(/w|\\.w)?", 0..4usize, 0..10),
    ) {
        const SHAPES: [&[usize]; 4] = [&[2, 3], &[3, 2], &[2, 2], &[2]];
        let file: Vec<TensorEntry> = file.iter().map(|(n, s)| tensor(n, SHAPES[*s])).collect();
        let model: Vec<Variable> = model.iter().map(|(n, s)| variable(n, SHAPES[*s])).collect();
        let (all, _) = inferred(&file, &model, &BTreeMap::new());
        prop_assert!(all.len() <= 4);
        let rules: BTreeSet<String> = all.iter().map(code).collect();
        prop_assert_eq!(rules.len(), all.len());
    }
}
