//! That each allowance allows one thing, and nothing allows two candidates for one variable.

use super::tests::{checkpoint, of_dtype, report, variable};
use super::*;

/// All sixteen sets of allowances.
fn allowing(set: usize) -> RestoreOptions {
    let each: [fn(RestoreOptions) -> RestoreOptions; 4] = [
        RestoreOptions::allow_missing,
        RestoreOptions::allow_unexpected,
        RestoreOptions::allow_mismatched_shape,
        RestoreOptions::allow_slots_alone,
    ];
    let chosen = each.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
    chosen.fold(RestoreOptions::new(), |options, (_, allow)| allow(options))
}

#[test]
fn each_allowance_allows_its_own() {
    let [fits, more] = [("fits", &[2][..]), ("more", &[3][..])];
    let missing = (checkpoint(&[fits]), [variable("fits", &[2]), variable("more", &[3])]);
    let shape = (checkpoint(&[fits, more]), [variable("fits", &[2]), variable("more", &[4])]);
    let unexpected = checkpoint(&[fits, more]);
    for set in 0..16 {
        let (allows, options) = (|at: usize| set >> at & 1 == 1, allowing(set));
        let [absent, other_shape] = [&missing, &shape].map(|(file, model)| {
            let plan = file.plan_for(model, &options);
            (plan.closes(), report(&plan))
        });
        assert_eq!(absent.0, allows(0), "{set}: {}", absent.1);
        assert_eq!(other_shape.0, allows(2), "{set}: {}", other_shape.1);
        let plan = unexpected.plan_for(&[variable("fits", &[2])], &options);
        assert_eq!(plan.closes(), allows(1), "{set}: {}", report(&plan));
        // For a value of another dtype there is none.
        let halves = of_dtype("I32", &[fits]).plan_for(&[variable("fits", &[2])], &options);
        assert!(!halves.closes(), "{set}: {}", report(&halves));
    }
}

#[test]
fn two_candidates_for_one_variable_are_an_error_whatever_is_allowed() {
    let file = checkpoint(&[("a", &[2]), ("b", &[2]), ("c", &[3])]);
    let model = [variable("a", &[2]), variable("c", &[3])];
    for set in 0..16 {
        let plan = file.plan_for(&model, &allowing(set).rename("b", "a"));
        assert!(!plan.closes() && plan.ambiguous().count() == 1, "{set}: {}", report(&plan));
    }
}
