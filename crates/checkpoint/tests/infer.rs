//! Suggestions of a plan, as a user meets them: in the report, in JSON, and added to the rules.

mod common;

use common::{bytes, session, variable};
use proptest::prelude::*;
use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use warmstart_checkpoint::{Checkpoint, RestoreOptions, RestorePlan, SaveOptions, save};
use warmstart_graph::Variable;

/// A file of `f32` tensors.
fn file(tensors: &[(&str, &[usize])]) -> Checkpoint {
    let data: Vec<Vec<u8>> =
        tensors.iter().map(|(_, shape)| vec![0; 4 * shape.iter().product::<usize>()]).collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap())
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    fs::write(&path, serialize(views, None).unwrap()).unwrap();
    Checkpoint::open(&path).unwrap()
}

fn variables(named: &[(&str, &[usize])]) -> Vec<Variable> {
    named.iter().map(|(name, shape)| variable(name, *shape)).collect()
}

/// The lines of a report from the first help or note on.
fn advice(plan: &RestorePlan) -> String {
    let text = plan.to_string();
    let begin = text.find("help:").or_else(|| text.find("note:")).unwrap_or(text.len());
    text[begin..].to_owned()
}

#[test]
fn several_rules_and_what_they_take_for_granted() {
    let checkpoint = file(&[
        ("module.fc1.weight", &[16, 8]),
        ("module.fc1.bias", &[16]),
        ("module.fc2.weight", &[16, 16]),
        ("module.fc2.bias", &[16]),
    ]);
    let variables = variables(&[
        ("fc1/weight", &[8, 16]),
        ("fc1/bias", &[16]),
        ("fc2/weight", &[16, 16]),
        ("fc2/bias", &[16]),
    ]);
    let plan = checkpoint.plan_for(&variables, &RestoreOptions::new());
    let expected = "\
help: these 3 rules together restore 4 of 4:
          .strip_prefix(\"module.\")
          .separator('.', '/')
          .transpose(\"**/weight\")
      `fc2/weight` is square: its shape cannot tell whether it is transposed; it is transposed as \
its siblings are";
    assert_eq!(advice(&plan), expected);
    let json = plan.to_json();
    let suggestion = &json["suggestions"][0];
    assert_eq!(suggestion["rules"][0], ".strip_prefix(\"module.\")");
    assert_eq!((&suggestion["restores"], &suggestion["of"]), (&4.into(), &4.into()));
    assert_eq!(suggestion["notes"].as_array().unwrap().len(), 1);

    let rules = plan.suggestions()[0].rules.iter().cloned();
    let mended = rules.fold(RestoreOptions::new(), RestoreOptions::rule);
    let plan = checkpoint.plan_for(&variables, &mended);
    assert!(plan.closes() && plan.suggestions().is_empty(), "{plan}");
}

#[test]
fn alternatives_are_told_as_such() {
    let checkpoint = file(&[("a/w", &[3, 4]), ("b/w", &[3, 4])]);
    let plan = checkpoint.plan_for(&variables(&[("c/w", &[3, 4])]), &RestoreOptions::new());
    let expected = "\
help: there are 2 ways to restore more, and nothing says which of them is meant:
help: renaming scope `a` to `c` restores 1 of 1:
          .rename_scope(\"a\", \"c\")
      `a/w` is taken for `c/w`, though `b/w`, which is left, has the same shape and is as like by its name
help: renaming scope `b` to `c` restores 1 of 1:
          .rename_scope(\"b\", \"c\")
      `b/w` is taken for `c/w`, though `a/w`, which is left, has the same shape and is as like by its name
";
    assert!(advice(&plan).starts_with(expected), "{plan}");
}

#[test]
fn alternatives_that_are_not_told_are_said_to_be_there() {
    let scopes = ["a", "b", "c", "d", "e", "f"].map(|scope| format!("branch_{scope}/w"));
    let told = |n: usize| {
        let tensors: Vec<(&str, &[usize])> =
            scopes[..n].iter().map(|name| (&**name, &[3, 4][..])).collect();
        let variables = variables(&[("branch_x/w", &[3, 4])]);
        let plan = file(&tensors).plan_for(&variables, &RestoreOptions::new());
        let first = advice(&plan).lines().next().unwrap_or_default().to_owned();
        // So does the JSON.
        let more = &plan.to_json()["suggestions"][0]["may_be_more"];
        assert_eq!(*more, first.contains("at least"), "{plan}");
        (plan.suggestions().len(), first)
    };
    let first = |ways: &str| {
        format!(
            "help: there are {ways} ways to restore more, and nothing says which of them is meant:"
        )
    };
    assert_eq!(told(3), (3, first("3")));
    assert_eq!(told(6), (4, first("at least 4")));
}

#[test]
fn a_suggestion_for_a_part_says_how_the_rest_is_left() {
    let checkpoint = file(&[("old/w", &[3, 4]), ("old/b", &[4]), ("other", &[9])]);
    let variables = variables(&[("new/w", &[3, 4]), ("new/b", &[4]), ("head/w", &[5])]);
    let plan = checkpoint.plan_for(&variables, &RestoreOptions::new());
    let expected = "\
help: renaming scope `old` to `new` restores 2 of 3:
          .rename_scope(\"old\", \"new\")
      and to leave the rest as it is: `.allow_missing().allow_unexpected()`
";
    assert!(advice(&plan).starts_with(expected), "{plan}");
    // It does.
    let options = RestoreOptions::new().rename_scope("old", "new");
    assert!(checkpoint.plan_for(&variables, &options.allow_missing().allow_unexpected()).closes());
}

#[test]
fn suggestions_come_after_the_rules_there_are() {
    let checkpoint = file(&[("module.old.w", &[3]), ("module.kept.w", &[4])]);
    let variables = variables(&[("new/w", &[3]), ("kept/w", &[4])]);
    let options = RestoreOptions::new().strip_prefix("module.").separator('.', '/');
    let plan = checkpoint.plan_for(&variables, &options);
    let rules = &plan.suggestions()[0].rules;
    assert_eq!(rules.len(), 1, "{plan}");
    assert_eq!(rules[0].to_string(), ".rename_scope(\"old\", \"new\")");
    let mended = options.clone().rule(rules[0].clone());
    assert!(checkpoint.plan_for(&variables, &mended).closes());
    // Where they are allowed to be missing, it is no more than a note.
    let plan = checkpoint.plan_for(&variables, &options.allow_missing().allow_unexpected());
    assert!(plan.closes());
    assert!(
        advice(&plan)
            .contains("note: renaming scope `old` to `new` restores the one that is left:"),
        "{plan}"
    );
}

#[test]
fn what_was_suggested_restores_the_bits() {
    let saved_variables = variables(&[("a/x/w", &[3, 5]), ("a/y/w", &[5, 2])]);
    let mut saved = session(&saved_variables);
    saved.initialize_missing(3).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("saved.safetensors");
    save(&saved, &path, &SaveOptions::new()).unwrap();
    let mut restored = session(&variables(&[("net/b/x/w", &[3, 5]), ("net/b/y/w", &[5, 2])]));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let plan = checkpoint.plan(&restored, &RestoreOptions::new());
    let [suggestion] = plan.suggestions() else { panic!("{plan}") };
    let options =
        suggestion.rules.iter().cloned().fold(RestoreOptions::new(), RestoreOptions::rule);
    checkpoint.plan(&restored, &options).restore(&mut restored).unwrap();
    for (old, new) in [("a/x/w", "net/b/x/w"), ("a/y/w", "net/b/y/w")] {
        assert_eq!(bytes(&restored, new), bytes(&saved, old));
    }
}

/// Rules of a user, some of which do nothing or harm.
fn options() -> impl Strategy<Value = RestoreOptions> {
    let rule = prop_oneof![
        Just(RestoreOptions::new()),
        "[ab]/".prop_map(|prefix| RestoreOptions::new().strip_prefix(prefix)),
        "[ab]".prop_map(|scope| RestoreOptions::new().rename_scope(scope, "c")),
        "[ab]".prop_map(|part| RestoreOptions::new().rename_component(part, "b")),
        "[abc]".prop_map(|scope| RestoreOptions::new().ignore(format!("{scope}/**"))),
        Just(RestoreOptions::new().assignment_map([("a/", "b/"), ("a/", "c/")])),
        Just(RestoreOptions::new().transpose("**/w")),
        Just(RestoreOptions::new().reshape("**")),
        Just(RestoreOptions::new().resize_rows("**", 7)),
    ];
    prop::collection::vec(rule, 0..3).prop_map(|all| {
        let rules = all.iter().flat_map(|options| options.rules().to_vec());
        rules.fold(RestoreOptions::new(), RestoreOptions::rule)
    })
}

/// How many cases there are.
fn cases() -> u32 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 30_000 } else { 300 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..Default::default() })]

    /// Whatever the rules there are, and however little fits: what a suggestion says is what the
    /// plan with it does, and nothing that was restored is lost or comes from elsewhere.
    #[test]
    fn a_suggestion_does_what_it_says(
        tensors in prop::collection::btree_map("[ab](/[ab]){0,2}(/w|\\.w)?", 0..4usize, 0..8),
        wanted in prop::collection::btree_map("[bc](/[ab]){0,2}(/w|\\.w)?", 0..4usize, 0..8),
        options in options(),
    ) {
        const SHAPES: [&[usize]; 4] = [&[2, 3], &[3, 2], &[2, 2], &[2]];
        let tensors: Vec<(&str, &[usize])> =
            tensors.iter().map(|(name, shape)| (name.as_str(), SHAPES[*shape])).collect();
        let checkpoint = file(&tensors);
        let wanted: Vec<Variable> =
            wanted.iter().map(|(name, shape)| variable(name, SHAPES[*shape])).collect();
        let before = checkpoint.plan_for(&wanted, &options);
        let lacking = before.missing().count() + before.mismatched().count();
        prop_assert!(lacking > 0 || before.suggestions().is_empty());
        for suggestion in before.suggestions() {
            prop_assert_eq!(suggestion.of, lacking);
            prop_assert!(suggestion.restores > 0);
            let more = suggestion.rules.iter().cloned().fold(options.clone(), RestoreOptions::rule);
            let after = checkpoint.plan_for(&wanted, &more);
            let restored = before.restored().count() + suggestion.restores;
            prop_assert_eq!(after.restored().count(), restored, "{}\n{}", before, after);
            prop_assert_eq!(after.ambiguous().count(), before.ambiguous().count());
            for variable in before.restored() {
                prop_assert!(after.restored().any(|other| other.name == variable.name));
            }
        }
    }
}
