//! Optimizer slots that a checkpoint has for variables that are not restored from it.

use super::tests::{checkpoint, report, slot, variable};
use super::*;
use crate::checkpoint::Checkpoint;
use warmstart_graph::{DType, Role, Shape};

/// A body and a head, each with a weight and Adam's slots, and Adam's own count.
fn model() -> Vec<Variable> {
    let mut variables = vec![slot(None, "step")];
    for name in ["body/weight", "head/weight", "head/bias"] {
        variables.push(variable(name, &[2]));
        variables.extend(["m", "v"].map(|of| slot(Some(name), of)));
    }
    variables
}

fn saved(but: &[&str]) -> Checkpoint {
    let model = model();
    let kept = model.iter().map(|v| v.name.as_str()).filter(|name| !but.contains(name));
    checkpoint(&kept.map(|name| (name, &[2][..])).collect::<Vec<_>>())
}

#[track_caller]
fn assert_told(plan: &RestorePlan, groups: &str, rule: &str) {
    let text = report(plan);
    assert!(!plan.closes(), "{text}");
    let error = format!(
        "error: {groups} would be restored, though what they belong to is not. Nothing on the \
         device was changed."
    );
    assert!(text.contains(&error), "{error}\n{text}");
    let help = format!("help: `{rule}` leaves these slots out, too, so that they begin anew");
    assert!(text.contains(&help), "{help}\n{text}");
    assert!(text.contains("; `.allow_slots_alone()` restores them beside values"), "{text}");
}

#[test]
fn slots_of_what_a_rule_leaves_out_are_an_error() {
    let checkpoint = saved(&[]);
    let options = RestoreOptions::new().ignore("head/*");
    let plan = checkpoint.plan_for(&model(), &options);
    let groups = "adam's slots m, v for 2 variables";
    assert_told(&plan, groups, r#".ignore("head/**")"#);
    let names: Vec<&str> = plan.slots_alone().map(|slot| slot.name.as_str()).collect();
    let expected =
        ["head/weight/adam/m", "head/weight/adam/v", "head/bias/adam/m", "head/bias/adam/v"];
    assert_eq!(names, expected);
    assert_eq!(plan.to_json()["slots_alone"], serde_json::json!(expected));
    // What is advised mends it, beside the rule or in its place.
    for mended in [options.clone().ignore("head/**"), RestoreOptions::new().ignore("head/**")] {
        let plan = checkpoint.plan_for(&model(), &mended);
        assert!(plan.closes() && plan.slots_alone().next().is_none(), "{plan}");
        assert_eq!(plan.ignored().count(), 6);
    }
    // Whoever means it can say so, and is told what was done.
    let plan = checkpoint.plan_for(&model(), &options.allow_slots_alone());
    assert!(plan.closes(), "{plan}");
    let note = format!("note: {groups}: restored, though what they belong to is not");
    assert!(plan.to_string().contains(&note), "{plan}");
    assert_eq!(plan.to_json()["allow_slots_alone"], true);
}

/// Slots go with what they belong to, and would be twice as many lines as that.
#[test]
fn slots_that_a_rule_leaves_out_are_told_by_groups() {
    let names: Vec<String> = (0..30).map(|at| format!("encoder/layer_{at}/weight")).collect();
    let mut variables = vec![slot(None, "step"), variable("head/weight", &[2])];
    for name in &names {
        variables.push(variable(name, &[2]));
        variables.extend(["m", "v"].map(|of| slot(Some(name), of)));
    }
    let file: Vec<(&str, &[usize])> =
        variables.iter().map(|variable| (variable.name.as_str(), &[2][..])).collect();
    let plan = checkpoint(&file).plan_for(&variables, &RestoreOptions::new().ignore("encoder/**"));
    let text = report(&plan);
    assert!(plan.closes() && plan.ignored().count() == 90, "{text}");
    let layers = "encoder/layer_{0..29}/weight";
    let rule = "by `.ignore(\"encoder/**\")`";
    let groups = "adam's slots m, v for 30 variables";
    let lines = text.lines().filter(|line| !line.starts_with("note: ")).map(str::trim);
    let lines: Vec<&str> = lines.collect();
    let told = [
        format!("ignored     90   {layers}  f32 [2]"),
        groups.to_owned(),
        format!("left out    90   {layers}  f32 [2], {rule}"),
        format!("{groups}, {rule}"),
    ];
    assert_eq!(lines[3..], told, "{text}");
}

#[test]
fn only_one_of_a_scope_is_named_more_narrowly() {
    let checkpoint = saved(&[]);
    let plan = checkpoint.plan_for(&model(), &RestoreOptions::new().ignore("head/bias"));
    assert_told(&plan, "adam's slots m, v for head/bias", r#".ignore("head/bias/**")"#);
    let only = RestoreOptions::new().only("{body/**,adam/**,**/adam/*,head/bias}");
    let plan = checkpoint.plan_for(&model(), &only);
    assert_told(&plan, "adam's slots m, v for head/weight", r#".ignore("head/weight/**")"#);
    assert!(checkpoint.plan_for(&model(), &only.ignore("head/weight/**")).closes());
}

#[test]
fn slots_of_what_the_file_lacks_are_an_error() {
    let checkpoint = saved(&["head/weight"]);
    let options = RestoreOptions::new().allow_missing();
    let plan = checkpoint.plan_for(&model(), &options);
    let rule = r#".ignore("head/weight/**")"#;
    assert_told(&plan, "adam's slots m, v for head/weight", rule);
    assert!(checkpoint.plan_for(&model(), &options.ignore("head/weight/**")).closes());
    // Where it may not be missing, that is the error, and all that mends it is told at once.
    let text = report(&checkpoint.plan_for(&model(), &RestoreOptions::new()));
    assert!(!text.contains("error: adam's"), "{text}");
    let help = "help: adam's slots m, v for head/weight would be restored, though what they belong \
                to is not: `.ignore(\"head/weight/**\")` leaves them out, too";
    assert!(text.contains(help), "{text}");
    assert!(text.contains("`.allow_missing()` restores the other 7 variables"), "{text}");
}

#[test]
fn slots_of_what_has_another_shape_are_an_error() {
    let mut variables = model();
    let wider = variables.iter_mut().find(|v| v.name == "head/bias").unwrap();
    wider.shape = Shape::from([3]);
    let options = RestoreOptions::new().allow_mismatched_shape();
    let plan = saved(&[]).plan_for(&variables, &options);
    let rule = r#".ignore("head/bias/**")"#;
    assert_told(&plan, "adam's slots m, v for head/bias", rule);
    assert!(saved(&[]).plan_for(&variables, &options.ignore("head/bias/**")).closes());
}

#[test]
fn counters_and_slots_of_nothing_else_are_not_meant() {
    // A count of the optimizer's own goes on, whatever is left out.
    let options = RestoreOptions::new().ignore("head/**").ignore("body/weight/**");
    assert!(saved(&[]).plan_for(&model(), &options).closes());
    // A slot whose variable is not in the session is no error: nothing begins anew.
    let slots: Vec<Variable> = model().into_iter().filter(|v| v.role != Role::Trainable).collect();
    let plan = saved(&[]).plan_for(&slots, &RestoreOptions::new().allow_unexpected());
    assert!(plan.closes(), "{plan}");
    // A weight of another dtype is told by itself; a cast restores it.
    let mut halves = model();
    for variable in halves.iter_mut().filter(|v| v.role == Role::Trainable) {
        variable.dtype = DType::F16;
    }
    let text = report(&saved(&[]).plan_for(&halves, &RestoreOptions::new()));
    assert!(text.contains(".cast(\"**\")") && !text.contains("belong to is not"), "{text}");
}

#[test]
fn slots_from_a_file_of_their_own_are_restored_where_that_is_said() {
    let names = ["body/weight", "head/weight", "head/bias"];
    let checkpoint = saved(&names);
    let all = RestoreOptions::new().allow_missing();
    let text = report(&checkpoint.plan_for(&model(), &all));
    // Nine names are more than are shown; nothing is advised that would not do.
    assert!(text.contains("only counters and slots would be restored"), "{text}");
    assert!(!text.contains("belong to is not"), "{text}");
    let said = RestoreOptions::new().only("**/adam/*").allow_slots_alone();
    let plan = checkpoint.plan_for(&model(), &said);
    assert!(plan.closes() && plan.restored().count() == 7, "{plan}");
    // Few are named, with both that are to be said.
    let two = [variable("a", &[2]), slot(Some("a"), "m")];
    let text = report(&super::tests::checkpoint(&[("a/adam/m", &[2])]).plan_for(&two, &all));
    let help = r#"`.only("a/adam/m")` and `.allow_slots_alone()` say that this is meant"#;
    assert!(text.contains(help), "{text}");
    let said = RestoreOptions::new().only("a/adam/m").allow_slots_alone();
    assert!(super::tests::checkpoint(&[("a/adam/m", &[2])]).plan_for(&two, &said).closes());
}

/// The weights may come from anywhere, but Adam corrects averages by its own count.
#[test]
fn slots_that_begin_anew_beside_an_old_count_are_told() {
    let checkpoint = saved(&[]);
    let note = |options: &RestoreOptions| {
        let plan = checkpoint.plan_for(&model(), options);
        assert!(plan.closes(), "{plan}");
        let text = plan.to_string();
        text.lines().find(|line| line.contains("as old as that")).map(str::to_owned)
    };
    let options = RestoreOptions::new().ignore("head/**");
    assert_eq!(
        note(&options).as_deref(),
        Some(
            "note: adam's slots m, v for 2 variables are not restored, and `all/adam/step` is: Adam takes \
             them for as old as that, so that where they begin anew its next updates are several \
             times as long as the learning rate says; `.ignore(\"**/adam/*\")` begins all slots of \
             adam anew"
        )
    );
    // What is advised mends it.
    assert_eq!(note(&options.clone().ignore("**/adam/*")), None);
    assert_eq!(note(&RestoreOptions::new()), None);
    // Weights without their slots, but with the count.
    let weights = RestoreOptions::new().only("{*/weight,*/bias,all/adam/step}");
    assert!(note(&weights).is_some_and(|note| note.contains("m, v for 3 variables are not")));
    // Where neither the slots nor their count are restored, all is new.
    let only = RestoreOptions::new().only("{*/weight,*/bias}");
    assert_eq!(note(&only), None);

    let lacking = saved(&["head/weight", "head/weight/adam/m", "head/weight/adam/v"]);
    let missing = lacking.plan_for(&model(), &RestoreOptions::new().allow_missing());
    assert!(missing.closes() && missing.to_string().contains("m, v for head/weight are not"));
}

/// Old averages, that are taken for those of the first update.
#[test]
fn slots_that_go_on_beside_a_new_count_are_told() {
    let text = |options: &RestoreOptions| {
        let plan = saved(&[]).plan_for(&model(), options);
        assert!(plan.closes(), "{plan}");
        plan.to_string()
    };
    let anew = RestoreOptions::new().ignore("all/adam/step");
    let note = "note: adam's slots m, v for 3 variables are restored, and `all/adam/step` is not: where that \
                begins anew, Adam takes them for new ones, and its next updates are several times \
                shorter than the learning rate says; `.ignore(\"**/adam/*\")` begins all slots of adam anew";
    assert!(text(&anew).contains(note), "{}", text(&anew));
    for whole in [RestoreOptions::new(), anew.ignore("**/adam/*")] {
        assert!(!text(&whole).contains("for new ones"), "{}", text(&whole));
    }
}

/// Rows that are new have averages of nothing.
#[test]
fn rows_of_slots_that_begin_anew_are_told() {
    let owner = "emb/weight";
    let names = [owner, "emb/weight/adam/m", "emb/weight/adam/v"];
    let mut tensors: Vec<(&str, &[usize])> =
        names.iter().map(|name| (*name, &[4, 2][..])).collect();
    tensors.push(("all/adam/step", &[2]));
    let checkpoint = super::tests::checkpoint(&tensors);
    let variables = |rows| {
        let mut all = vec![variable(owner, &[rows, 2])];
        for which in ["m", "v"] {
            let slot = slot(Some(owner), which);
            all.push(Variable { shape: Shape::from([rows, 2]), ..slot });
        }
        all.push(slot(None, "step"));
        all
    };
    let text = |rows, options: &RestoreOptions| {
        let plan = checkpoint.plan_for(&variables(rows), options);
        assert!(plan.closes(), "{plan}");
        plan.to_string()
    };
    let resized = RestoreOptions::new().resize_rows("emb/**", 0);
    let note = "note: adam's slots m, v for emb/weight get new rows, and `all/adam/step` is restored: Adam takes \
                these rows for as old as that, so that their next updates are several times as long as \
                the learning rate says; `.ignore(\"**/adam/*\")` begins all slots of adam anew";
    assert!(text(6, &resized).contains(note), "{}", text(6, &resized));
    // Rows that are no more, and slots that are all new.
    for (rows, options) in [(3, resized.clone()), (6, resized.ignore("**/adam/*"))] {
        let text = text(rows, &options);
        assert!(!text.contains("get new rows"), "{text}");
    }
}
