//! Matching and its report, without a device.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::restore::matching::Change;
use std::fs;
use warmstart_graph::{DType, Initializer, Location, Role, Shape};

pub(super) fn variable(name: &str, shape: &[usize]) -> Variable {
    Variable {
        name: name.into(),
        shape: Shape::from(shape),
        dtype: DType::F32,
        initializer: Initializer::Zeros,
        role: Role::Trainable,
        location: Location::caller(),
    }
}

pub(super) fn slot(variable_name: Option<&str>, slot: &str) -> Variable {
    let name = format!("{}/adam/{slot}", variable_name.unwrap_or("all"));
    let role = Role::Slot {
        variable: variable_name.map(str::to_owned),
        optimizer: "adam".into(),
        slot: slot.into(),
    };
    Variable { role, ..variable(&name, &[2]) }
}

/// A checkpoint of `f32` tensors.
pub(super) fn checkpoint(tensors: &[(&str, &[usize])]) -> Checkpoint {
    of_dtype("F32", tensors)
}

pub(super) fn of_dtype(dtype: &str, tensors: &[(&str, &[usize])]) -> Checkpoint {
    let mut entries = Vec::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let begin = end;
        end += shape.iter().product::<usize>() * 4;
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    let length = (header.len() as u64).to_le_bytes();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("step-500.safetensors");
    fs::write(&file, [&length[..], header.as_bytes(), &vec![0; end]].concat()).unwrap();
    Checkpoint::open(&file).unwrap()
}

/// The report, with the file's name in place of its path.
pub(super) fn report(plan: &RestorePlan) -> String {
    plan.to_string().replace(&plan.file().display().to_string(), "step-500.safetensors")
}

/// That a plan does not close, and says all of this.
#[track_caller]
pub(super) fn assert_refused(plan: &RestorePlan, expected: &[&str]) {
    let text = report(plan);
    assert!(!plan.closes(), "{text}");
    for line in expected {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_match_closes() {
    let checkpoint = checkpoint(&[("a", &[2, 3]), ("b", &[])]);
    let variables = [variable("b", &[]), variable("a", &[2, 3])];
    let plan = checkpoint.plan_for(&variables, &RestoreOptions::new());
    assert!(plan.closes());
    assert_eq!(plan.bytes(), 28);
    assert_eq!(report(&plan), "restore step-500.safetensors → 2 variables\n  would fit   2   28 B");
}

#[test]
fn the_report_of_the_design() {
    let checkpoint = checkpoint(&[("model_scope/weight", &[10, 10]), ("model_scope/bias", &[10])]);
    let variables = [
        variable("different_model_scope/weight", &[10, 10]),
        variable("different_model_scope/bias", &[10]),
    ];
    let plan = checkpoint.plan_for(&variables, &RestoreOptions::new());
    let expected = "\
restore step-500.safetensors → 2 variables
  restored    0
  missing     2   different_model_scope/weight  f32 [10, 10]
                  different_model_scope/bias    f32 [10]
  unexpected  2   model_scope/weight            f32 [10, 10]
                  model_scope/bias              f32 [10]
error: 2 variables have no value in this checkpoint.
error: 2 tensors belong to no variable. Nothing on the device was changed.
help: renaming scope `model_scope` to `different_model_scope` restores 2 of 2:
          .rename_scope(\"model_scope\", \"different_model_scope\")";
    assert_eq!(report(&plan), expected);
}

#[test]
fn a_suggestion_says_what_else_has_to_be_allowed() {
    let strict = RestoreOptions::new;
    let variables = [variable("b/w", &[10, 3]), variable("b/bias", &[10]), variable("c/w", &[7])];
    for (more, expected) in [
        (&[("c/w", &[7][..])][..], &[][..]),
        (&[], &[Allowance::Missing]),
        (&[("c/w", &[7]), ("old", &[2])], &[Allowance::Unexpected]),
        (&[("c/w", &[8]), ("old", &[2])], &[Allowance::Unexpected, Allowance::MismatchedShape]),
    ] {
        let tensors = [&[("a/w", &[10, 3][..]), ("a/bias", &[10])], more].concat();
        let checkpoint = checkpoint(&tensors);
        let plan = checkpoint.plan_for(&variables, &strict());
        let [suggestion] = plan.suggestions() else { panic!("{plan}") };
        assert_eq!(suggestion.allow.as_deref(), Some(expected), "{plan}");
        // Which is all that it takes.
        let options = suggestion.rules.iter().cloned().fold(strict(), RestoreOptions::rule);
        assert_eq!(checkpoint.plan_for(&variables, &options).closes(), expected.is_empty());
        let allowed = expected.iter().fold(options, |options, what| match what {
            Allowance::Missing => options.allow_missing(),
            Allowance::Unexpected => options.allow_unexpected(),
            Allowance::MismatchedShape => options.allow_mismatched_shape(),
            Allowance::SlotsAlone => options.allow_slots_alone(),
        });
        assert!(checkpoint.plan_for(&variables, &allowed).closes());
        // And none is advised that would do nothing.
        let advised = report(&plan).contains("`.allow_unexpected()`");
        assert_eq!(advised, expected.contains(&Allowance::Unexpected), "{plan}");
    }
}

#[test]
fn globs_that_match_nothing_are_told_what_they_may_mean() {
    let checkpoint = checkpoint(&[("fc1/weight", &[4, 3]), ("fc1/bias", &[3])]);
    let variables = [variable("fc1/weight", &[4, 3]), variable("fc1/bias", &[3])];
    let plan = |options: RestoreOptions| report(&checkpoint.plan_for(&variables, &options));
    let text = plan(RestoreOptions::new().ignore("**/wieght"));
    let near = "help: did you mean `.ignore(\"**/weight\")` for `.ignore(\"**/wieght\")`?";
    assert!(text.contains(near), "{text}");
    assert!(!plan(RestoreOptions::new().ignore("encoder/**")).contains("did you mean"));
}

#[test]
fn missing_and_unexpected_are_allowed_apart() {
    let checkpoint = checkpoint(&[("a", &[2]), ("old", &[2])]);
    let variables = [variable("a", &[2]), variable("new", &[2])];
    let plan = |options: RestoreOptions| checkpoint.plan_for(&variables, &options);
    let strict = RestoreOptions::new;
    assert!(!plan(strict()).closes());
    assert!(!plan(strict().allow_missing()).closes());
    assert!(!plan(strict().allow_unexpected()).closes());
    let both = plan(strict().allow_missing().allow_unexpected());
    assert!(both.closes());
    let text = report(&both);
    assert!(!text.contains("error:") && !text.contains("help:"), "{text}");
    assert!(text.contains("note: missing variables keep what they have"), "{text}");
    assert!(text.contains("initialize_missing(seed)"), "{text}");
    assert!(text.contains("note: unexpected tensors stay in the file"), "{text}");
    let text = report(&plan(strict().allow_missing()));
    assert!(text.contains("error: 1 tensor belongs to no variable. Nothing"), "{text}");
    assert!(!text.contains("no value in this checkpoint"), "{text}");
}

#[test]
fn mismatches_show_both_sides_and_are_never_allowed() {
    let loose = RestoreOptions::new().allow_missing().allow_unexpected();
    let transposed = checkpoint(&[("fc1/weight", &[3, 4])]);
    let plan = transposed.plan_for(&[variable("fc1/weight", &[4, 3])], &loose);
    assert!(!plan.closes());
    let text = report(&plan);
    let line = "shape mismatch  1   fc1/weight  f32 [4, 3], but f32 [3, 4] in the file";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("error: 1 variable has another shape or dtype"), "{text}");
    assert!(text.contains("Nothing on the device was changed."), "{text}");

    let integers = of_dtype("I32", &[("n", &[2])]);
    let plan = integers.plan_for(&[variable("n", &[2])], &loose);
    let text = report(&plan);
    assert!(text.contains("dtype mismatch  1   n  f32 [2], but i32 [2] in the file"), "{text}");
    assert_eq!(plan.mismatched().count(), 1);
}

#[test]
fn output_suffixes_are_recognised_and_said() {
    let tensors = checkpoint(&[("dense/kernel:0", &[2]), ("bias", &[2])]);
    let variables = [variable("dense/kernel", &[2]), variable("bias:0", &[2])];
    let plan = tensors.plan_for(&variables, &RestoreOptions::new());
    assert!(plan.closes(), "{plan}");
    assert!(report(&plan).contains("note: names that differ only by a trailing `:0`"), "{plan}");
    let restored = Outcome::Restored { tensor: "dense/kernel:0".into(), changes: vec![] };
    assert_eq!(plan.variables()[0].outcome, restored);

    // One tensor serves one variable, and the exact name goes first.
    let variables = [variable("bias:0", &[2]), variable("bias", &[2])];
    let plan = tensors.plan_for(&variables, &RestoreOptions::new());
    let names: Vec<&str> = plan.restored().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["bias"]);
    assert_eq!(plan.unexpected()[0].name, "dense/kernel:0");
}

#[test]
fn missing_slots_are_told_as_groups() {
    let layers = ["a", "b", "c", "d", "e", "f"];
    let tensors: Vec<(&str, &[usize])> = layers.iter().map(|name| (*name, &[2][..])).collect();
    let mut variables: Vec<Variable> = layers.iter().map(|name| variable(name, &[2])).collect();
    for name in layers {
        variables.extend([slot(Some(name), "m"), slot(Some(name), "v")]);
    }
    variables.push(slot(None, "step"));
    let checkpoint = checkpoint(&tensors);
    let plan = checkpoint.plan_for(&variables, &RestoreOptions::new());
    assert!(!plan.closes());
    let text = report(&plan);
    assert!(text.contains("missing     13   adam's slots m, v for 6 variables"), "{text}");
    assert!(text.contains("adam's own slot step"), "{text}");
    assert!(text.contains("error: 13 variables have no value"), "{text}");
    assert!(
        text.contains("weights without the slots of adam, and training would restart"),
        "{text}"
    );
    assert!(checkpoint.plan_for(&variables, &RestoreOptions::new().allow_missing()).closes());

    // A weight that is missing too is not hidden among them.
    variables.push(variable("head", &[2]));
    variables.push(slot(Some("head"), "m"));
    let text = report(&checkpoint.plan_for(&variables, &RestoreOptions::new()));
    assert!(text.contains("missing     15   head  f32 [2]"), "{text}");
    assert!(text.contains("adam's slot m for head"), "{text}");
    assert!(text.contains("restores the other 6 variables"), "{text}");
}

#[test]
fn close_names_prefer_the_same_shape() {
    let tensors = [("fc1/weigth", &[2][..]), ("fc1/weight_", &[3]), ("unlike", &[2])];
    let plan =
        checkpoint(&tensors).plan_for(&[variable("fc1/weight", &[2])], &RestoreOptions::new());
    let close = vec!["fc1/weigth".to_owned(), "fc1/weight_".to_owned()];
    assert_eq!(plan.variables()[0].outcome, Outcome::Missing { close });
}

#[test]
fn rules_are_told_with_what_they_touched() {
    let checkpoint = checkpoint(&[("module.fc1.kernel", &[4, 3]), ("module.fc1.bias", &[3])]);
    let variables = [variable("fc1/weight", &[3, 4]), variable("fc1/bias", &[3])];
    let options = RestoreOptions::new()
        .strip_prefix("module.")
        .separator('.', '/')
        .rename_component("kernel", "weight")
        .transpose("**/weight");
    let plan = checkpoint.plan_for(&variables, &options);
    let expected = "\
restore step-500.safetensors → 2 variables
  rules       4   .strip_prefix(\"module.\")               2 names
                  .separator('.', '/')                   2 names
                  .rename_component(\"kernel\", \"weight\")  1 name
                  .transpose(\"**/weight\")                1 name
  would fit   2   60 B
                  1 transposed";
    assert_eq!(report(&plan), expected);
    let changes = vec![Change::Transposed { from: Shape::from([4, 3]) }];
    let restored = Outcome::Restored { tensor: "module.fc1.kernel".into(), changes };
    assert_eq!(plan.variables()[0].outcome, restored);
    let json = plan.to_json();
    assert_eq!(json["closes"], true);
    assert_eq!(json["counts"]["restored"], 2);
    assert_eq!(json["rules"][2]["touched"], 1);
    assert_eq!(json["variables"][0]["tensor"], "module.fc1.kernel");
    assert_eq!(json["variables"][0]["changes"][0]["change"], "transposed");
}

#[test]
fn a_rule_that_touches_nothing_or_is_malformed_is_an_error() {
    let checkpoint = checkpoint(&[("a", &[2])]);
    let plan = |options| checkpoint.plan_for(&[variable("a", &[2])], &options);
    let nothing = plan(RestoreOptions::new().rename_scope("b", "a"));
    assert!(!nothing.closes());
    let text = report(&nothing);
    assert!(
        text.contains("error: `.rename_scope(\"b\", \"a\")` touches no name. Nothing"),
        "{text}"
    );
    let malformed = plan(RestoreOptions::new().rename_regex("(", ""));
    assert!(!malformed.closes());
    let text = report(&malformed);
    assert!(text.contains("cannot be applied: unclosed group."), "{text}");
}

#[test]
fn two_tensors_for_one_variable_are_an_error() {
    let checkpoint = checkpoint(&[("a/w", &[2]), ("b/w", &[2])]);
    let options = RestoreOptions::new().rename_scope("b", "a");
    let plan = checkpoint.plan_for(&[variable("a/w", &[2])], &options);
    assert!(!plan.closes());
    let text = report(&plan);
    assert!(
        text.contains("ambiguous   1   a/w  ") && text.contains("could be `a/w` or `b/w`"),
        "{text}"
    );
    assert!(text.contains("error: 1 variable has several tensors"), "{text}");
    let ignored = RestoreOptions::new().ignore("a/*").rename_scope("b", "a");
    let plan = checkpoint.plan_for(&[variable("a/w", &[2])], &ignored);
    assert!(plan.closes() && plan.restored().count() == 1, "{plan}");
}

#[test]
fn what_a_value_may_be_like_is_asked_for() {
    let tensors = of_dtype("I32", &[("table", &[5, 2]), ("flat", &[6])]);
    let variables = [variable("table", &[8, 2]), variable("flat", &[2, 3])];
    let loose = RestoreOptions::new().allow_mismatched_shape();
    assert!(!tensors.plan_for(&variables, &loose).closes(), "a dtype is no shape");
    let cast = RestoreOptions::new().cast("**");
    let plan = tensors.plan_for(&variables, &cast);
    assert_eq!(plan.mismatched().count(), 2);
    let plan_of_two = plan;
    let flat = [variables[0].clone(), variable("flat", &[6])];
    assert!(tensors.plan_for(&flat, &cast.clone().allow_mismatched_shape()).closes());
    let asked = cast.reshape("flat").resize_rows("table", 7);
    let plan = tensors.plan_for(&variables, &asked);
    assert!(plan.closes(), "{plan}");
    let text = report(&plan);
    assert!(text.contains("2 cast from i32, 1 reshaped"), "{text}");
    assert!(text.contains("5 of 8 rows from the file, 3 initialized (zeros, seed 7)"), "{text}");
    // Fewer rows, and rows of another length.
    let fewer = tensors.plan_for(&[variable("table", &[3, 2])], &asked.clone().ignore("flat"));
    assert!(report(&fewer).contains("the first 3 of 5 rows"), "{fewer}");
    // Advice is for what it makes fit, each by its own rule.
    let advice = |plan: &RestorePlan| report(plan).contains("takes the rows that both have");
    let table = [variable("table", &[8, 2]), variable("flat", &[6])];
    assert!(advice(&tensors.plan_for(&table, &RestoreOptions::new().cast("**"))));
    let reshaped = "for others; `.reshape(\"flat\")` takes the same elements in their order";
    assert!(advice(&plan_of_two) && report(&plan_of_two).contains(reshaped), "{plan_of_two}");
    let wider = tensors.plan_for(&[variable("table", &[8, 3])], &asked.ignore("flat"));
    assert_eq!(wider.mismatched().count(), 1);
}

#[test]
fn a_checkpoint_that_has_nothing_is_refused_whatever_is_allowed() {
    let checkpoint = checkpoint(&[("old/a", &[2]), ("old/b", &[3])]);
    let all = || RestoreOptions::new().allow_missing().allow_unexpected().allow_mismatched_shape();
    let variables = [variable("new/a", &[2]), variable("new/b", &[3])];
    let plan = checkpoint.plan_for(&variables, &all());
    assert!(!plan.closes());
    let text = report(&plan);
    let error =
        "error: this checkpoint has nothing that fits any of the 2 variables. Nothing on the";
    assert!(text.contains(error), "{text}");
    assert!(text.contains(r#".rename_scope("old", "new")"#), "{text}");
    // To leave all out is to say so.
    assert!(checkpoint.plan_for(&variables, &all().ignore("**")).closes());
    assert!(checkpoint.plan_for(&[], &all()).closes());
}

#[test]
fn rules_know_the_output_suffix_too() {
    let checkpoint = checkpoint(&[("w", &[2]), ("step", &[])]);
    let variables = [variable("w:0", &[2]), variable("step:0", &[])];
    let restored = |options: RestoreOptions| -> Vec<String> {
        let plan = checkpoint.plan_for(&variables, &options);
        plan.restored().map(|variable| variable.name.clone()).collect()
    };
    assert_eq!(restored(RestoreOptions::new().assignment_map([("w", "w")])), ["w:0"]);
    assert_eq!(restored(RestoreOptions::new().only("w")), ["w:0"]);
    assert_eq!(restored(RestoreOptions::new().ignore("step:0")), ["w:0"]);
    let plan = checkpoint.plan_for(&variables, &RestoreOptions::new().ignore("step"));
    assert!(plan.closes() && plan.ignored().count() == 1, "{plan}");
}

#[test]
fn leaving_out_every_variable_beside_leftovers_is_no_restore() {
    let checkpoint = checkpoint(&[("encoder/w", &[2])]);
    let options = RestoreOptions::new().assignment_map([("encoder/", "modle/")]).allow_unexpected();
    let plan = checkpoint.plan_for(&[variable("model/w", &[2])], &options);
    assert!(!plan.closes(), "{plan}");
    assert!(report(&plan).contains("has nothing that fits the only variable"), "{plan}");
}

#[test]
fn what_is_left_out_is_not_unexpected() {
    let tensors = of_dtype("I32", &[("w", &[2]), ("steps", &[])]);
    let cast = RestoreOptions::new().cast("**");
    let variables = [variable("w", &[2])];
    assert_eq!(tensors.plan_for(&variables, &cast).unexpected().len(), 1);
    let plan = tensors.plan_for(&variables, &cast.clone().leave_out("steps"));
    assert!(plan.closes(), "{plan}");
    // It says nothing about variables.
    let plan = tensors.plan_for(&variables, &cast.leave_out("w").leave_out("steps"));
    assert_eq!(plan.restored().count(), 1);
}

#[test]
fn names_with_braces_are_advised_as_globs_that_match_them() {
    let checkpoint = checkpoint(&[("layers[0]/emb", &[5, 2]), ("{a}/w", &[2]), ("b/w", &[2])]);
    let variables = [variable("layers[0]/emb", &[8, 2]), variable("b/w", &[2])];
    let text = report(&checkpoint.plan_for(&variables[..1], &RestoreOptions::new()));
    assert!(text.contains(r#"`.resize_rows("layers[[]0[]]/emb", 0)`"#), "{text}");
    let resized = RestoreOptions::new().resize_rows("layers[[]0[]]/emb", 0).allow_unexpected();
    assert!(checkpoint.plan_for(&variables[..1], &resized).closes());
    let renamed = || RestoreOptions::new().rename_scope("{a}", "b").allow_unexpected();
    let text = report(&checkpoint.plan_for(&variables[1..], &renamed()));
    assert!(text.contains(r#"`.ignore("[{]a[}]/w")`"#), "{text}");
    let ignored = RestoreOptions::new().ignore("[{]a[}]/w").allow_unexpected();
    assert_eq!(checkpoint.plan_for(&variables[1..], &ignored).restored().count(), 1);
}

#[test]
fn a_name_may_be_longer_than_any_column() {
    let long = "n".repeat(70_000);
    let checkpoint = checkpoint(&[("a", &[2]), (&long, &[2])]);
    let text = checkpoint.plan_for(&[variable("a", &[2])], &RestoreOptions::new()).to_string();
    assert!(text.contains(&long));
    let options = RestoreOptions::new().rename(long.as_str(), "b");
    let plan = checkpoint.plan_for(&[variable("a", &[2]), variable("b", &[2])], &options);
    assert!(plan.to_string().contains("1 name"));
}

#[test]
fn control_characters_are_shown_as_they_are_written() {
    let name = r"x\nnote: all checksums verified \u001b[2K";
    let checkpoint = checkpoint(&[("a", &[2]), (name, &[2])]);
    let plan = checkpoint.plan_for(&[variable("a", &[2])], &RestoreOptions::new());
    let text = plan.to_string();
    assert!(text.contains(r"x\nnote: all checksums verified \u{1b}[2K  f32 [2]"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("\nnote"), "{text}");
}

#[test]
fn kernels_of_another_order_are_told() {
    let file = checkpoint(&[("conv/kernel", &[64, 3, 7, 7]), ("a/kernel", &[8, 4, 1, 1])]);
    let variables = [variable("conv/kernel", &[7, 7, 3, 64]), variable("a/kernel", &[1, 1, 4, 8])];
    let text = report(&file.plan_for(&variables, &RestoreOptions::new()));
    let told = "help: `conv/kernel` is [7, 7, 3, 64], and [64, 3, 7, 7] in the file (and so is one \
                more): the same extents in another order, which no rule mends. PyTorch's kernels are \
                out, in, height, width, TensorFlow's height, width, in, out: turn them before they are \
                saved, with `numpy.transpose(kernel, (2, 3, 1, 0))`";
    assert!(text.contains(told), "{text}");
    let allowed = RestoreOptions::new().allow_mismatched_shape();
    let text = report(&file.plan_for(&variables, &allowed));
    assert!(!text.contains("another order"), "{text}");

    // Where names differ, too.
    let file = checkpoint(&[("0.weight", &[64, 3, 7, 7])]);
    let text = report(&file.plan_for(&variables[..1], &RestoreOptions::new()));
    let told = "help: `conv/kernel` asks for [7, 7, 3, 64], and [64, 3, 7, 7] is left in the file: the \
                same extents";
    assert!(text.contains(told), "{text}");
    for (name, shape) in [("0.weight", [64, 3, 7, 8]), ("0.anchors", [64, 3, 7, 7])] {
        let file = checkpoint(&[(name, &shape)]);
        let text = report(&file.plan_for(&variables[..1], &RestoreOptions::new()));
        assert!(!text.contains("another order"), "{text}");
    }
    // In as many dimensions as they have.
    for (shape, turned, told) in [
        (&[64, 3, 7][..], &[7, 3, 64][..], "out, in, width, TensorFlow's width, in, out:"),
        (
            &[64, 3, 7, 5, 9],
            &[7, 5, 9, 3, 64],
            "out, in, depth, height, width, TensorFlow's depth, height, width, in, out:",
        ),
    ] {
        let file = checkpoint(&[("conv/kernel", shape)]);
        let plan = file.plan_for(&[variable("conv/kernel", turned)], &RestoreOptions::new());
        assert!(report(&plan).contains(told), "{plan}");
    }
}

/// Names are told in what is suggested, too, and begin no line of their own.
#[test]
fn no_name_begins_a_line_of_advice() {
    let whole = of_dtype("I32", &[(r"a\nerror: w", &[2, 3])]);
    let variables = [variable("a\nerror: w", &[2, 3])];
    let told = report(&whole.plan_for(&variables, &RestoreOptions::new()));
    assert!(told.contains(r"`a\nerror: w` holds whole numbers"), "{told}");
    assert!(!told.contains("\nerror: w"), "{told}");
    let mut moment = slot(Some("w"), "m");
    if let Role::Slot { optimizer, .. } = &mut moment.role {
        *optimizer = "adam\nerror: v".into();
    }
    let told = checkpoint(&[("w", &[2])]);
    let told = report(&told.plan_for(&[variable("w", &[2]), moment], &RestoreOptions::new()));
    assert!(told.contains(r"the slots of adam\nerror: v"), "{told}");
    assert!(!told.contains("\nerror: v"), "{told}");
}
