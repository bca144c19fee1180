//! Layers whose names agree, though the file may count them from another number than the model.

use super::tests::{checkpoint, report, slot, variable};
use super::*;
use crate::Checkpoint;
use warmstart_graph::{Role, Shape};

const ENDS: [(&str, &[usize]); 2] = [("weight", &[4, 4]), ("bias", &[4])];

/// Names of layers and of what is outside them.
fn names(scope: &str, numbers: std::ops::Range<usize>) -> Vec<(String, &'static [usize])> {
    let layer = |number: usize| ENDS.map(|(end, shape)| (format!("{scope}{number}/{end}"), shape));
    let outside: (String, &[usize]) = ("head/weight".to_owned(), &[4, 2]);
    numbers.flat_map(layer).chain([outside]).collect()
}

fn file(names: &[(String, &'static [usize])]) -> Checkpoint {
    let all: Vec<(&str, &[usize])> = names.iter().map(|(name, shape)| (&**name, *shape)).collect();
    checkpoint(&all)
}

fn model(names: &[(String, &'static [usize])]) -> Vec<Variable> {
    names.iter().map(|(name, shape)| variable(name, shape)).collect()
}

fn anything() -> RestoreOptions {
    RestoreOptions::new().allow_missing().allow_unexpected()
}

/// Which tensor each variable of the first name gets.
fn taken(plan: &RestorePlan, end: &str) -> Vec<(String, String)> {
    let taken = plan.variables().iter().filter_map(|v| {
        Some((v.variable.name.strip_suffix(end)?.to_owned(), v.outcome.tensor()?.to_owned()))
    });
    taken.collect()
}

/// The code of the rules in a note, as the rules that they are.
fn rules_of(note: &str) -> Vec<Rule> {
    let rule = |line: &str| {
        let (from, to) = line.trim().strip_prefix(".rename_scope(\"")?.split_once("\", \"")?;
        let to = to.strip_suffix("\")")?;
        Some(Rule::RenameScope { from: from.to_owned(), to: to.to_owned() })
    };
    note.lines().filter_map(rule).collect()
}

#[test]
fn a_file_from_0_and_a_model_from_1_may_be_one_apart() {
    let (file, model) = (file(&names("layers/", 0..6)), model(&names("layers/", 1..5)));
    let plan = file.plan_for(&model, &anything());
    assert!(plan.closes(), "{plan}");
    let note = "\nnote: by their numbers, `layers/1` of the model gets `layers/1` of the file, and `layers/0` is \
                in the file and not in the model. If the model counts the same layers from 1 that the file \
                counts from 0, each gets its neighbour's values, and these 5 rules together give it its own:\n          \
                .rename_scope(\"layers/4\", \"layers/5\")\n          \
                .rename_scope(\"layers/3\", \"layers/4\")\n          \
                .rename_scope(\"layers/2\", \"layers/3\")\n          \
                .rename_scope(\"layers/1\", \"layers/2\")\n          \
                .rename_scope(\"layers/0\", \"layers/1\")\n";
    assert!(report(&plan).contains(note), "{plan}");
    // Also where it is not allowed yet.
    let strict = file.plan_for(&model, &RestoreOptions::new());
    assert!(!strict.closes() && report(&strict).contains(note), "{strict}");
    // What the rules promise.
    let options = rules_of(note).into_iter().fold(anything(), RestoreOptions::rule);
    let moved = file.plan_for(&model, &options);
    assert!(moved.closes() && !report(&moved).contains("counts the same"), "{moved}");
    let neighbours = (1..5).map(|n| (format!("layers/{n}"), format!("layers/{}/bias", n - 1)));
    assert_eq!(taken(&moved, "/bias"), neighbours.collect::<Vec<_>>(), "{moved}");
}

#[test]
fn a_file_from_1_and_a_model_from_0_may_be_one_apart() {
    let (file, model) = (file(&names("block_", 1..5)), model(&names("block_", 0..4)));
    let plan = file.plan_for(&model, &anything());
    let text = report(&plan);
    let note = "`block_1` of the model gets `block_1` of the file, and `block_0` is in the model and not in the \
                file. If the model counts the same layers from 0 that the file counts from 1, each gets";
    assert!(plan.closes() && text.contains(note), "{text}");
    let note = text.split("\nnote: ").find(|note| note.contains("counts the same")).unwrap();
    let options = rules_of(note).into_iter().fold(anything(), RestoreOptions::rule);
    let moved = file.plan_for(&model, &options);
    assert!(moved.closes() && moved.unexpected().is_empty(), "{moved}");
    let neighbours = (0..4).map(|n| (format!("block_{n}"), format!("block_{}/bias", n + 1)));
    assert_eq!(taken(&moved, "/bias"), neighbours.collect::<Vec<_>>(), "{moved}");
}

/// Where a suggestion is that reading, it is not told twice.
#[test]
fn what_is_suggested_is_no_note() {
    let (file, model) = (file(&names("layer_", 0..3)), model(&names("layer_", 1..4)));
    let text = report(&file.plan_for(&model, &RestoreOptions::new()));
    assert!(text.contains("help: these 3 rules together restore the 2 that are left"), "{text}");
    assert!(!text.contains("counts the same"), "{text}");
}

/// As Keras counts: the first has no number.
#[test]
fn a_first_layer_may_have_no_number() {
    let mut saved = names("dense_", 1..3);
    saved.extend(ENDS.map(|(end, shape)| (format!("dense/{end}"), shape)));
    let plan = file(&saved).plan_for(&model(&names("dense_", 1..3)), &anything());
    let text = report(&plan);
    assert!(text.contains("and `dense` is in the file and not in the model"), "{text}");
    assert!(text.contains("\n          .rename_scope(\"dense\", \"dense_1\")"), "{text}");
}

/// Rules that were given make names agree, and slots go with their variables.
#[test]
fn names_under_rules_count_and_slots_do_not() {
    let dotted = |(name, shape): (String, &'static [usize])| (name.replace('/', "."), shape);
    let saved: Vec<_> = names("net/h/", 0..3).into_iter().map(dotted).collect();
    let model = model(&names("net/h/", 1..3));
    let plan = file(&saved).plan_for(&model, &anything().separator('.', '/'));
    assert!(report(&plan).contains("`net/h/0` is in the file and not in the model"), "{plan}");
    let slots = |number| Variable {
        shape: Shape::from([4]),
        role: Role::Slot {
            variable: Some(format!("h/{number}/w")),
            optimizer: "adam".into(),
            slot: "m".into(),
        },
        ..slot(Some(&format!("h/{number}/w")), "m")
    };
    let saved = checkpoint(&[("w", &[4]), ("h/0/w/adam/m", &[4]), ("h/1/w/adam/m", &[4])]);
    let plan = saved.plan_for(&[variable("w", &[4]), slots(1)], &anything().allow_slots_alone());
    assert!(plan.closes() && !report(&plan).contains("counts the same"), "{plan}");
}

/// One of another size is no neighbour; and who leaves a layer out by a rule has said what is meant.
#[test]
fn layers_that_are_no_neighbours_are_not_told() {
    let said = |saved: &[(&str, &[usize])], declared: &[(&str, &[usize])], options| {
        let model: Vec<Variable> =
            declared.iter().map(|(name, shape)| variable(name, shape)).collect();
        let text = report(&checkpoint(saved).plan_for(&model, &options));
        assert!(text.contains("would fit"), "{text}");
        text.contains("counts the same")
    };
    let all: [(&str, &[usize]); 3] = [("h/0/w", &[4, 4]), ("h/1/w", &[4, 4]), ("h/2/w", &[4, 4])];
    assert!(said(&all, &all[1..], anything()));
    assert!(!said(&all, &all, anything()) && !said(&all, &all[..2], anything()));
    assert!(!said(&all, &all[2..], anything()));
    assert!(!said(&all, &all[1..], anything().ignore("h/0/w")));
    let other: [(&str, &[usize]); 2] = [("h/0/w", &[4, 5]), ("h/1/w", &[4, 4])];
    assert!(!said(&other, &other[1..], anything()));
    let other: [(&str, &[usize]); 2] = [("h/0/v", &[4, 4]), ("h/1/w", &[4, 4])];
    assert!(!said(&other, &other[1..], anything()));
    // Where a name ends with its number, no scope can be renamed.
    let flat: [(&str, &[usize]); 2] = [("w0", &[4, 4]), ("w1", &[4, 4])];
    assert!(said(&flat, &flat[1..], anything()));
}

/// Many layers are told without their rules, and several scopes in one note.
#[test]
fn many_layers_and_several_scopes_are_one_note() {
    let plan = file(&names("h/", 0..30)).plan_for(&model(&names("h/", 1..30)), &anything());
    let end = "each gets its neighbour's values, and has to be renamed by one to get its own\n";
    assert!(report(&plan).contains(end), "{plan}");
    let both = |range: std::ops::Range<usize>| {
        let mut all = names("encoder/", range.clone());
        all.pop();
        all.extend(names("decoder/", range));
        all
    };
    let plan = file(&both(0..3)).plan_for(&model(&both(1..3)), &anything());
    let text = report(&plan);
    assert!(text.contains("(so it is with one more scope)"), "{text}");
    assert!(text.contains("these 6 rules together give"), "{text}");
}

/// One that does not fit lies in the way of the others all the same.
#[test]
fn rules_that_are_listed_make_nothing_ambiguous() {
    let layers = |last: usize| -> Vec<String> { (0..=last).map(|n| format!("l.{n}.w")).collect() };
    let (names, shape) = (layers(4), &[4usize, 4][..]);
    let tensors: Vec<(&str, &[usize])> = names.iter().map(|name| (&**name, shape)).collect();
    let file = checkpoint(&tensors);
    let mut declared: Vec<Variable> =
        names[1..4].iter().map(|name| variable(name, shape)).collect();
    declared.push(variable("l.4.w", &[4, 6]));
    let allowed = || RestoreOptions::new().allow_unexpected().allow_mismatched_shape();
    let text = report(&file.plan_for(&declared, &allowed()));
    let listed: Vec<[String; 2]> =
        (0..5).rev().map(|n| [format!("l.{n}"), format!("l.{}", n + 1)]).collect();
    let mut options = allowed();
    for [from, to] in &listed {
        assert!(text.contains(&format!(".rename_scope(\"{from}\", \"{to}\")")), "{text}");
        options = options.rename_scope(from, to);
    }
    let plan = file.plan_for(&declared, &options);
    assert_eq!((plan.ambiguous().count(), plan.restored().count()), (0, 3), "{plan}");
}

/// Of thousands of scopes no rules are listed, and none is held against all others.
#[test]
fn many_scopes_are_told_in_one_note() {
    let name = |scope: usize, layer: usize| format!("a{scope}x.{layer}.w");
    let names: Vec<String> = (0..4000).flat_map(|scope| [name(scope, 0), name(scope, 1)]).collect();
    let shape = &[2usize][..];
    let tensors: Vec<(&str, &[usize])> = names.iter().map(|name| (&**name, shape)).collect();
    let declared: Vec<Variable> = (0..4000).map(|scope| variable(&name(scope, 1), shape)).collect();
    let plan = checkpoint(&tensors).plan_for(&declared, &RestoreOptions::new().allow_unexpected());
    let text = report(&plan);
    assert!(plan.closes() && text.contains("(so it is with 3999 more scopes)"), "{}", text.len());
    assert!(text.contains("has to be renamed by one to get its own"));
}
