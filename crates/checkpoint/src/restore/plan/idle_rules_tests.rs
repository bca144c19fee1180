//! Rules that do nothing: one line for every kind, and for every way to do nothing.

use super::tests::{checkpoint, report, variable};
use super::*;
use serde_json::json;

fn options() -> RestoreOptions {
    RestoreOptions::new()
}

/// A matrix and a vector, in the file as in the model.
fn plan(options: &RestoreOptions) -> RestorePlan {
    let variables = [variable("a/w", &[2, 2]), variable("a/b", &[2])];
    checkpoint(&[("a/w", &[2, 2]), ("a/b", &[2])]).plan_for(&variables, options)
}

/// Beside the error that says that a map cannot be applied, it is not told what it leaves out.
#[test]
fn a_map_with_an_idle_pair_leaves_nothing_out() {
    let told = |options: RestoreOptions| {
        let plan = plan(&options);
        let label = plan.to_string().contains("\n  left out ");
        let listed = plan.to_json()["left_out_by_rules"].as_array().map(Vec::len);
        (label, listed, plan.left_out_by_rules().count())
    };
    let map = options().assignment_map([("a/w", "a/w")]);
    assert_eq!(told(map), (true, Some(1), 1));
    let idle = options().assignment_map([("a/w", "a/w"), ("zz/", "q/")]);
    assert_eq!(told(idle.clone()), (false, Some(0), 0));
    // Another rule still is.
    assert_eq!(told(idle.ignore("a/w")), (true, Some(1), 1));
}

#[test]
fn every_kind_of_rule_that_does_nothing_is_an_error() {
    let none = "touches no name.";
    let cases: [(RestoreOptions, &str); 38] = [
        (options().rename("zz", "a/w"), none),
        (options().rename("a/w", "a/w"), none),
        (options().rename_scope("zz", "a"), none),
        (options().rename_scope("a", "a"), none),
        (options().rename_component("zz", "y"), none),
        (options().rename_regex("^zz(.*)$", "$1"), none),
        (options().strip_prefix("zz."), none),
        (options().add_prefix(""), none),
        (options().separator('.', '/'), none),
        (options().assignment_map([("zz/", "q/")]), none),
        (
            options().assignment_map([("a/", "a/"), ("zz/", "q/")]),
            r#"cannot be applied: no tensor is what its pair ("zz/", "q/") speaks of."#,
        ),
        (
            options().assignment_map([("zz", "q"), ("a/", "a/")]),
            r#"no tensor is what its pair ("zz", "q") speaks of."#,
        ),
        // A variable of it would be missing, which may be allowed.
        (
            options().assignment_map([("a/w", "a/w"), ("zz", "a/b")]).allow_missing(),
            r#"no tensor is what its pair ("zz", "a/b") speaks of."#,
        ),
        // Its tensors go elsewhere too, or may be left over, and its variables are left out.
        (
            options().assignment_map([("a/", "a/"), ("a/", "aa/")]),
            r#"cannot be applied: no variable is what its pair ("a/", "aa/") speaks of."#,
        ),
        (
            options().assignment_map([("a/w", "a/w"), ("a/b", "a/bb")]).allow_unexpected(),
            r#"no variable is what its pair ("a/b", "a/bb") speaks of."#,
        ),
        // Whatever rules follow.
        (
            options().assignment_map([("a/", "m/"), ("zz/", "q/")]).rename_scope("m", "a"),
            r#"cannot be applied: no tensor is what its pair ("zz/", "q/") speaks of."#,
        ),
        (
            options().assignment_map([("a/", "m/"), ("zz", "q")]).rename_scope("m", "a"),
            r#"no tensor is what its pair ("zz", "q") speaks of."#,
        ),
        (
            options().assignment_map([("a/", "a/"), ("zz/", "q/")]).ignore("a/b"),
            r#"no tensor is what its pair ("zz/", "q/") speaks of."#,
        ),
        (options().only("zz/**"), none),
        (options().ignore("zz/**"), none),
        (options().transpose("zz/**"), none),
        (options().transpose("a/b"), "changes nothing: `a/b` is no matrix."),
        (options().transpose("*/b*"), "changes nothing: `a/b` is no matrix."),
        (options().cast("zz"), none),
        (options().cast("a/b"), "changes nothing: `a/b` has its dtype in the file already."),
        (
            options().cast("a/**"),
            "changes nothing: none of the 2 variables that it matches has another dtype in the file.",
        ),
        (options().reshape("zz"), none),
        (options().reshape("a/b"), "changes nothing: `a/b` needs no other shape."),
        (options().resize_rows("zz", 1), none),
        (options().resize_rows("a/b", 1), "changes nothing: `a/b` needs no other number of rows."),
        (
            options().ignore("a/b").transpose("a/b"),
            r#"`.transpose("a/b")` changes nothing: `a/b` is left out."#,
        ),
        (
            options().only("zz/**").ignore("a/*").cast("a/*"),
            "changes nothing: all 2 variables that it matches are left out.",
        ),
        (
            options().ignore("a/w").transpose("a/*"),
            "changes nothing: `a/b` is no matrix, and one more is left out.",
        ),
        (
            options().ignore("a/b").cast("*/*"),
            "changes nothing: `a/w` has its dtype in the file already, and one more is left out.",
        ),
        (options().ignore("["), "cannot be applied: a `[` is not closed"),
        (options().rename_regex("(", "x"), "cannot be applied: unclosed group."),
        (options().rename_regex("^a/(.*)$", "$2"), "has no group `2`"),
        (options().rename_regex("^a/(.*)$", r"b/\1"), r"`\1` is no group here: write `${1}`"),
    ];
    for (options, expected) in cases {
        let plan = plan(&options);
        let text = report(&plan);
        assert!(!plan.closes(), "{text}");
        let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error: `.")).collect();
        assert!(errors.iter().any(|error| error.contains(expected)), "not {expected}: {text}");
    }
}

/// Of what is left out, nothing else is said: not that it has its dtype, nor that it is no matrix.
#[test]
fn what_is_left_out_is_not_said_to_need_nothing() {
    let tensors: [(&str, &[usize]); 4] = [("a", &[2]), ("b", &[2]), ("c", &[2, 2]), ("d", &[2, 2])];
    let variables = tensors.map(|(name, shape)| variable(name, shape));
    for (options, expected) in [
        (
            options().ignore("{c,d}").transpose("[a-d]"),
            "of what it matches, none of 2 variables is a matrix, and 2 more are left out.",
        ),
        (
            options().ignore("a").cast("[a-d]"),
            "of what it matches, none of 3 variables has another dtype in the file, and one more is left out.",
        ),
    ] {
        let text = report(&checkpoint(&tensors).plan_for(&variables, &options));
        assert!(text.contains(&format!("changes nothing: {expected}")), "{text}");
    }
}

#[test]
fn rules_that_do_something_for_some_are_none() {
    for (options, touched) in [
        // A square matrix turns where it is asked for.
        (options().transpose("a/w"), 1),
        (options().transpose("a/*"), 1),
        // All there is, wherever it must be: a program may restore files that differ.
        (options().cast("**"), 0),
        (options().transpose("**").ignore("a/w"), 0),
        (options().reshape("**"), 0),
        (options().resize_rows("**", 1), 0),
        (options().assignment_map([("a/w", "a/w"), ("a/b", "a/b")]), 2),
        // Of which the variables are there once the rules that follow are applied; scopes of PyTorch's.
        (options().assignment_map([("a/w", "m/w"), ("a/b", "m/b")]).rename_scope("m", "a"), 2),
        (
            options()
                .separator('/', '.')
                .assignment_map([("a.", "m.")])
                .rename_scope("m", "a")
                .separator('.', '/'),
            2,
        ),
    ] {
        let plan = plan(&options);
        assert!(plan.closes(), "{plan}");
        assert_eq!(plan.rules()[0].touched, touched, "{plan}");
        assert!(!plan.rules()[0].does_nothing(), "{plan}");
    }
    // Nothing at all is still nothing.
    let of_none = checkpoint(&[]).plan_for(&[], &options().cast("**"));
    assert!(of_none.rules()[0].does_nothing(), "{of_none}");
}

#[test]
fn what_needs_a_rule_is_counted_and_nothing_else() {
    let saved: [(&str, &[usize]); 4] =
        [("turned", &[3, 2]), ("flat", &[6]), ("table", &[4, 2]), ("same", &[2])];
    let variables = [
        variable("turned", &[2, 3]),
        variable("flat", &[2, 3]),
        variable("table", &[9, 2]),
        variable("same", &[2]),
        variable("absent", &[2, 2]),
    ];
    let options = options()
        .transpose("{turned,same,absent}")
        .reshape("{flat,same}")
        .resize_rows("{same,table}", 7)
        .allow_missing();
    let plan = checkpoint(&saved).plan_for(&variables, &options);
    assert!(plan.closes(), "{plan}");
    // What the file does not hold may need it.
    assert_eq!(plan.rules().iter().map(|used| used.touched).collect::<Vec<_>>(), [2, 1, 1]);
    assert_eq!(plan.rules().iter().map(|used| used.matched).collect::<Vec<_>>(), [3, 2, 2]);
    // What is for whatever needs it was not written for that.
    let wherever = RestoreOptions::new().transpose("**").allow_missing().allow_unexpected();
    let plan =
        checkpoint(&saved).plan_for(&[variables[0].clone(), variables[4].clone()], &wherever);
    assert_eq!((plan.closes(), plan.rules()[0].touched), (true, 1), "{plan}");
    // A shape that no rule mends is no rule's fault.
    let wrong = [variable("flat", &[7])];
    let reshaped = RestoreOptions::new().reshape("flat").allow_unexpected();
    let plan = checkpoint(&saved).plan_for(&wrong, &reshaped);
    assert_eq!((plan.closes(), plan.rules()[0].touched), (false, 1), "{plan}");
    assert!(!plan.to_string().contains("changes nothing"), "{plan}");
}

#[test]
fn a_cast_that_changes_nothing_is_told_how_it_may() {
    let text = report(&plan(&options().cast("a/b")));
    let help = "help: take away what changes nothing; `.cast(\"**\")` casts wherever it must, and \
                may find nothing to cast";
    assert!(text.contains(help), "{text}");
    assert!(!text.contains("rules about names"), "{text}");
    let text = report(&plan(&options().reshape("a/b")));
    assert!(text.ends_with("help: take away what changes nothing"), "{text}");
}

#[test]
fn the_json_of_a_plan_says_what_its_text_says() {
    let saved = checkpoint(&[("m/w", &[2, 3]), ("m/b", &[3]), ("step", &[])]);
    let variables = [variable("w", &[2, 3]), variable("b", &[3]), variable("head", &[3])];
    let plan = saved.plan_for(&variables, &options());
    let value = plan.to_json();
    let allow = json!(["allow_missing", "allow_unexpected"]);
    assert_eq!(value["suggestions"][0]["allow"], allow, "{plan}");
    let text = plan.to_string();
    for (key, prefix) in [("notes", "note: "), ("errors", "error: "), ("helps", "help: ")] {
        let told: Vec<&str> =
            value[key].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let shown = text.split('\n').filter(|line| line.starts_with(prefix)).count();
        assert_eq!(told.len(), shown, "{key}: {told:?}");
        assert!(told.iter().all(|line| text.contains(&format!("{prefix}{line}"))), "{told:?}");
    }
    assert!(value["errors"].as_array().is_some_and(|errors| errors.len() == 2), "{value}");
    // Where even what may be allowed would not do, there is nothing to allow.
    let mut wide = variables.clone();
    wide[2] = variable("step", &[]);
    wide[2].dtype = warmstart_graph::DType::I32;
    let plan = saved.plan_for(&wide, &options());
    assert_eq!(plan.to_json()["suggestions"][0]["allow"], json!(null), "{plan}");
}
