//! What a report offers in the first place, and what it says of what is left behind.

use super::tests::{checkpoint, report, slot, variable};
use super::*;
use warmstart_graph::Shape;

fn options() -> RestoreOptions {
    RestoreOptions::new()
}

/// The only suggestion, and the plan under its rules and with what it says is to be allowed.
#[track_caller]
fn followed(plan: &RestorePlan, declared: &[Variable], file: &crate::Checkpoint) -> RestorePlan {
    let [one] = plan.suggestions() else { panic!("{plan}") };
    assert_eq!(one.allow, Some(Vec::new()), "{plan}");
    let rules = one.rules.iter().cloned();
    file.plan_for(declared, &rules.fold(options(), RestoreOptions::rule))
}

#[test]
fn a_table_with_other_rows_is_resized_by_the_first_suggestion() {
    let file = checkpoint(&[("embed.weight", &[10, 4]), ("fc.weight", &[3, 4]), ("fc.bias", &[3])]);
    for (rows, what) in [
        (14, "these are taken, and seed 0 for the others"),
        (7, "the first 7 are taken, and the others stay in the file"),
    ] {
        let declared = [
            variable("embed/weight", &[rows, 4]),
            variable("fc/weight", &[4, 3]),
            variable("fc/bias", &[3]),
        ];
        let plan = file.plan_for(&declared, &options());
        let text = report(&plan);
        let told = "\n          .resize_rows(\"embed/weight\", 0)\n";
        assert!(text.contains("restore 3 of 3:") && text.contains(told), "{text}");
        let note = format!("`embed/weight` has {rows} rows, and 10 in the file: {what}");
        assert!(text.contains(&note), "{text}");
        assert!(followed(&plan, &declared, &file).closes());
    }
}

/// The slots of a table go with it; a head with another number of classes begins anew, as before.
#[test]
fn slots_of_tables_are_resized_and_heads_are_not() {
    let shaped =
        |variable: Variable, shape: [usize; 2]| Variable { shape: Shape::from(shape), ..variable };
    let file = checkpoint(&[
        ("m.embed.weight", &[10, 4]),
        ("m.embed.weight.adam.m", &[10, 4]),
        ("m.fc.w", &[4, 5]),
        ("m.head.w", &[3, 5]),
    ]);
    let table = variable("embed/weight", &[14, 4]);
    let declared = [table, variable("fc/w", &[4, 5]), variable("head/w", &[6, 5])];
    let plan = file.plan_for(&declared, &options());
    let [one] = plan.suggestions() else { panic!("{plan}") };
    let resize = |glob: &str| Rule::ResizeRows { glob: glob.to_owned(), seed: 0 };
    assert!(one.rules.contains(&resize("embed/weight")), "{plan}");
    assert!(!one.rules.iter().any(|rule| rule.to_string().contains("head")), "{plan}");
    assert!(one.allow.as_ref().is_some_and(|a| a.contains(&Allowance::MismatchedShape)), "{plan}");
    // By their roles.
    let saved = checkpoint(&[("embed/weight", &[10, 4]), ("embed/weight/adam/m", &[10, 4])]);
    let m = shaped(slot(Some("embed/weight"), "m"), [14, 4]);
    let declared = [variable("embed/weight", &[14, 4]), m];
    let plan = saved.plan_for(&declared, &options().add_prefix("x/").strip_prefix("x/"));
    let (rules, note) = plan.report.rules_for_tables().unwrap();
    assert_eq!(rules, [resize("embed/weight"), resize("embed/weight/adam/m")]);
    assert!(note.ends_with("seed 0 for the others; one more is resized"), "{note}");
}

#[test]
fn both_ways_are_told_where_nothing_says_which_tower_is_which() {
    let tower = |scope: &'static str, ends: [&'static str; 2], turned: bool| {
        ends.into_iter().flat_map(move |end| {
            let matrix: &[usize] = if turned { &[6, 8] } else { &[8, 6] };
            let bias: &[usize] = &[6];
            [(format!("{scope}{end}weight"), matrix), (format!("{scope}{end}bias"), bias)]
        })
    };
    let file: Vec<_> =
        tower("policy.", ["0.", "2."], true).chain(tower("value.", ["0.", "2."], true)).collect();
    let model =
        tower("actor/", ["fc1/", "fc2/"], false).chain(tower("critic/", ["fc1/", "fc2/"], false));
    let file: Vec<(&str, &[usize])> = file.iter().map(|(name, shape)| (&**name, *shape)).collect();
    let declared: Vec<Variable> = model.map(|(name, shape)| variable(&name, shape)).collect();
    let file = checkpoint(&file);
    let plan = file.plan_for(&declared, &options());
    let taken = |suggestion: &crate::Suggestion| {
        let rules = suggestion.rules.iter().cloned();
        let plan = file.plan_for(&declared, &rules.fold(options(), RestoreOptions::rule));
        assert!(plan.closes(), "{plan}");
        plan.variables()[1].outcome.tensor().map(str::to_owned)
    };
    let mut ways: Vec<Option<String>> = plan.suggestions().iter().map(taken).collect();
    ways.sort();
    let expected = ["policy.0.bias", "value.0.bias"].map(|name| Some(name.to_owned()));
    assert_eq!(ways, expected, "{plan}");
    // What is said of both is said once.
    let text = report(&plan);
    assert!(text.contains("nothing says which of them is meant"), "{text}");
}

#[test]
fn adapters_that_stay_in_the_file_are_told() {
    let names: Vec<String> = ["q", "v"]
        .iter()
        .flat_map(|part| {
            ["base_layer", "lora_A", "lora_B"].map(|end| format!("{part}/{end}/weight"))
        })
        .collect();
    let shapes: [&[usize]; 6] = [&[8, 6], &[2, 6], &[8, 2], &[8, 6], &[2, 6], &[8, 2]];
    let tensors: Vec<(&str, &[usize])> = names.iter().map(String::as_str).zip(shapes).collect();
    let file = checkpoint(&tensors);
    let note = "`q/lora_A/weight` and 3 more are by their names factors of what an adapter (LoRA) adds to \
                weights, and without them the weights are those from before the fine-tuning: merge adapters \
                into their model before it is saved";
    let of_file =
        [variable("q/base_layer/weight", &[8, 6]), variable("v/base_layer/weight", &[8, 6])];
    let plan = file.plan_for(&of_file, &options().allow_unexpected());
    assert!(plan.closes() && report(&plan).contains(&format!("\nnote: {note}")), "{plan}");
    // Under other names, the rules for them say it.
    let plan =
        file.plan_for(&[variable("q/weight", &[8, 6]), variable("v/weight", &[8, 6])], &options());
    let text = report(&plan);
    assert!(text.contains(&format!("\n      {note}")), "{text}");
    assert_eq!(text.matches("before the fine-tuning").count(), 1, "{text}");
    // Nothing is left behind where the model has them, and nothing is restored without weights.
    let with_adapters: Vec<Variable> =
        tensors.iter().map(|(name, shape)| variable(name, shape)).collect();
    let plan = file.plan_for(&with_adapters[..5], &options().allow_unexpected());
    assert!(plan.closes() && !report(&plan).contains("fine-tuning"), "{plan}");
    let plan = file.plan_for(&[variable("zebra", &[5, 5])], &options());
    assert!(!report(&plan).contains("fine-tuning"), "{plan}");
}

#[test]
fn a_mistyped_rename_is_corrected_in_its_place() {
    let file = checkpoint(&[("encoder/fc1/weight", &[3, 4]), ("encoder/fc1/bias", &[4])]);
    let declared = [variable("tower/fc1/weight", &[3, 4]), variable("tower/fc1/bias", &[4])];
    let plan = file.plan_for(&declared, &options().rename_scope("encodr", "tower"));
    let text = report(&plan);
    let near = "help: did you mean `.rename_scope(\"encoder\", \"tower\")` for `.rename_scope(\"encodr\", \
                \"tower\")`?";
    assert!(text.contains(near) && plan.suggestions().is_empty(), "{text}");
    assert!(!text.contains("close to"), "{text}");
    // Nor is anything renamed one by one that the correction gives its name.
    let dotted = checkpoint(&[("module.fc1.weight", &[4, 3]), ("module.fc1.bias", &[4])]);
    let flat = [variable("fc1/weight", &[3, 4]), variable("fc1/bias", &[4])];
    let mistyped = options().strip_prefix("modul.").separator('.', '/').transpose("**/weight");
    let text = report(&dotted.plan_for(&flat, &mistyped));
    assert!(text.contains("did you mean `.strip_prefix(\"module.\")`"), "{text}");
    assert!(!text.contains("no name is like another"), "{text}");
    // A rule that only waits for one before it is right as it is, and none is corrected for the worse.
    let file_of_mm = checkpoint(&[("mm.encoder.w", &[4]), ("mm.head.w", &[3])]);
    let declared_of_mm = [variable("enc.w", &[4]), variable("head.w", &[3])];
    let mistyped = options().strip_prefix("mn.").rename_scope("encoder", "enc");
    let text = report(&file_of_mm.plan_for(&declared_of_mm, &mistyped));
    assert!(text.contains("did you mean `.strip_prefix(\"mm.\")`"), "{text}");
    assert_eq!(text.matches("did you mean").count(), 1, "{text}");
    let both = checkpoint(&[("m.encoder.fc", &[4]), ("m.decoder.fc", &[4])]);
    let declared_of_both = [variable("enc.fc", &[4]), variable("dec.fc", &[4])];
    let second = options().rename_scope("m.encoder", "enc").rename("enc.fd", "dec.fc");
    let text = report(&both.plan_for(&declared_of_both, &second));
    assert!(!text.contains("did you mean"), "{text}");
    // After rules, by the names that they leave.
    let moved = options().rename_scope("encoder", "model/encoder");
    let plan = file.plan_for(&declared, &moved.rename_scope("model/encodr", "tower"));
    let near = "did you mean `.rename_scope(\"model/encoder\", \"tower\")`";
    assert!(report(&plan).contains(near), "{plan}");
    // Where the correction restores less, rules are suggested beside it.
    let more = [variable("tower/fc1/weight", &[3, 4]), variable("tower/fc1/offset", &[4])];
    let plan = file.plan_for(&more, &options().rename("encoder/fc1/wieght", "tower/fc1/weight"));
    let near = "did you mean `.rename(\"encoder/fc1/weight\", \"tower/fc1/weight\")`";
    assert!(report(&plan).contains(near), "{plan}");
}

/// What is suggested in place of rules that are mistakes fits without them, and says so.
#[test]
fn what_is_to_be_allowed_is_known_beside_rules_that_are_mistakes() {
    let file = checkpoint(&[("a/w", &[3, 4]), ("a/b", &[4]), ("n", &[5])]);
    let declared = [variable("c/w", &[3, 4]), variable("c/b", &[4])];
    for mistaken in [options().rename("x", "y"), options().rename_regex("(", "y"), options()] {
        let plan = file.plan_for(&declared, &mistaken);
        let [one] = plan.suggestions() else { panic!("{plan}") };
        assert_eq!(one.allow, Some(vec![Allowance::Unexpected]), "{plan}");
    }
}

#[test]
fn a_malformed_expression_is_told_by_its_reason() {
    let plan = checkpoint(&[("a", &[1])]).plan_for(&[], &options().rename_regex("fc(1", "b"));
    let told = "error: `.rename_regex(\"fc(1\", \"b\")` cannot be applied: unclosed group.";
    assert!(report(&plan).contains(told), "{plan}");
}

/// What `{:?}` gives is short, and has nothing of the file's text in it.
#[test]
fn a_report_is_debugged_in_short() {
    let plan = checkpoint(&[("a", &[1]), ("b", &[2])]).plan_for(&[variable("a", &[1])], &options());
    let text = format!("{plan:?}");
    assert!(text.starts_with("RestorePlan { report: RestoreReport { file: "), "{text}");
    assert!(text.contains("closes: false, restored: 1, ignored: 0, missing: 0"), "{text}");
    assert!(text.contains("unexpected: 1") && !text.contains("data_offsets"), "{text}");
    assert!(text.len() < 500, "{text}");
}
