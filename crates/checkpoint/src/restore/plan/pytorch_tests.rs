//! What plans say of PyTorch's files, whose matrices lie the other way round.

use super::tests::{checkpoint, report, variable};
use super::*;
use crate::checkpoint::Checkpoint;
use std::fs;
use warmstart_graph::{Role, Variable};

fn plan(checkpoint: &Checkpoint, model: &[(&str, &[usize])]) -> RestorePlan {
    let variables: Vec<Variable> =
        model.iter().map(|(name, shape)| variable(name, shape)).collect();
    checkpoint.plan_for(&variables, &RestoreOptions::new())
}

/// The code of each alternative.
fn code(plan: &RestorePlan) -> Vec<String> {
    let code = |rules: &[crate::Rule]| rules.iter().map(ToString::to_string).collect();
    plan.suggestions().iter().map(|suggestion| code(&suggestion.rules)).collect()
}

const SQUARE: [(&str, &[usize]); 6] = [
    ("fc1/weight", &[8, 8]),
    ("fc1/bias", &[8]),
    ("fc2/weight", &[8, 8]),
    ("fc2/bias", &[8]),
    ("fc3/weight", &[8, 8]),
    ("fc3/bias", &[8]),
];

/// The same tensors under other names.
fn named(name: impl Fn(&str) -> String) -> Vec<(String, &'static [usize])> {
    SQUARE.iter().map(|(of, shape)| (name(of), *shape)).collect()
}

fn stored(tensors: &[(String, &'static [usize])]) -> Checkpoint {
    let tensors: Vec<(&str, &[usize])> =
        tensors.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
    checkpoint(&tensors)
}

#[test]
fn square_matrices_of_pytorch_may_lie_the_other_way_round() {
    let dotted = |before: &'static str| move |of: &str| format!("{before}{}", of.replace('/', "."));
    let numbered = |of: &str| {
        let (layer, end) = of.split_once('/').unwrap();
        format!("net.{}.{end}", 2 * (layer[2..].parse::<usize>().unwrap() - 1))
    };
    for file in [named(dotted("")), named(dotted("module.")), named(numbered)] {
        let plan = plan(&stored(&file), &SQUARE);
        let [turned, left] = &code(&plan)[..] else { panic!("{plan}") };
        assert_eq!(*turned, format!(r#"{left}.transpose("**/weight")"#), "{plan}");
        let notes = |at: usize| plan.suggestions()[at].notes.concat();
        let begin = "`fc1/weight` and 2 more are square: their shapes cannot tell whether they are \
                     transposed; they are ";
        assert!(notes(0).contains(&format!("{begin}transposed, since PyTorch")), "{plan}");
        assert!(notes(1).contains(&format!("{begin}left as they are")), "{plan}");
        assert!(plan.to_string().contains("there are 2 ways to restore more"), "{plan}");
    }
}

#[test]
fn only_what_is_open_is_asked_about_square_matrices() {
    let dotted = |of: &str| of.replace('/', ".");
    // A matrix that is not square tells, one way or the other; a table of rows does not.
    let with = |name: &str, shape: &'static [usize], variable: &[usize]| {
        let file = [&named(dotted)[..], &[(dotted(name), shape)]].concat();
        code(&plan(&stored(&file), &[&SQUARE[..], &[(name, variable)]].concat()))
    };
    let separator = ".separator('.', '/')";
    assert_eq!(
        with("fc4/weight", &[3, 8], &[8, 3]),
        [format!("{separator}.transpose(\"**/weight\")")]
    );
    assert_eq!(with("fc4/weight", &[8, 3], &[8, 3]), [separator]);
    let [turned, left] = &with("embedding/weight", &[9, 8], &[9, 8])[..] else { panic!() };
    assert!(left == separator && *turned == format!(r#"{separator}.transpose("fc*/**/weight")"#));
    // Other programs have our order, and so have we.
    let others = named(|of| of.replace('/', ".").replace("weight", "w"));
    let model: Vec<(String, &[usize])> = named(|of| of.replace("weight", "w"));
    let model: Vec<(&str, &[usize])> = model.iter().map(|(n, s)| (n.as_str(), *s)).collect();
    assert_eq!(code(&plan(&stored(&others), &model)), [separator]);
    for (key, value, ways) in [("format", "pt", 2), ("warmstart.step", "1", 1)] {
        let entries = named(dotted).into_iter().enumerate().map(|(at, (name, shape))| {
            // All share their values; only names and shapes are looked at.
            let bytes = 4 * shape.iter().product::<usize>();
            let before: usize =
                SQUARE[..at].iter().map(|(_, s)| 4 * s.iter().product::<usize>()).sum();
            let end = before + bytes;
            format!(
                r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{before},{end}]}}"#
            )
        });
        let entries: Vec<String> = entries.collect();
        let header = format!(r#"{{"__metadata__":{{"{key}":"{value}"}},{}}}"#, entries.join(","));
        let length = (header.len() as u64).to_le_bytes();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.safetensors");
        let values = vec![0; 3 * (8 * 8 + 8) * 4];
        fs::write(&file, [&length[..], header.as_bytes(), &values].concat()).unwrap();
        let plan = plan(&Checkpoint::open(&file).unwrap(), &SQUARE);
        assert_eq!(code(&plan).len(), ways, "{plan}");
    }
}

#[test]
fn what_lies_the_other_way_round_has_not_the_same_shape() {
    let layers = |names: [&str; 3]| -> Vec<(String, &'static [usize])> {
        let shapes: [(&[usize], &[usize]); 3] = [(&[3, 8], &[8]), (&[8, 8], &[8]), (&[8, 3], &[3])];
        let both = |(name, (weight, bias))| {
            [(format!("model/{name}/weight"), weight), (format!("model/{name}/bias"), bias)]
        };
        names.into_iter().zip(shapes).flat_map(both).collect()
    };
    let model = layers(["a", "b", "c"]);
    let model: Vec<(&str, &[usize])> = model.iter().map(|(n, s)| (n.as_str(), *s)).collect();
    let plan = plan(&stored(&layers(["fc1", "fc2", "head"])), &model);
    assert!(!code(&plan).is_empty());
    let text = report(&plan);
    assert!(!text.contains("`model/fc1/weight` and `model/head/weight`"), "{text}");
    // Where matrices are transposed, they might be exchanged, and what is said of them is true; unless
    // biases beside them fit nowhere else.
    let shapes: [&[usize]; 6] = [&[5, 3], &[8, 3], &[3, 8], &[5], &[8], &[3]];
    let ends = ["fc1.weight", "fc2.weight", "head.weight", "fc1.bias", "fc2.bias", "head.bias"];
    let file: Vec<(&str, &[usize])> = ends.into_iter().zip(shapes).collect();
    let model: [(&str, &[usize]); 6] = [
        ("a/weight", &[3, 5]),
        ("b/weight", &[3, 8]),
        ("c/weight", &[8, 3]),
        ("a/bias", &[5]),
        ("b/bias", &[8]),
        ("c/bias", &[3]),
    ];
    let told = "`fc2.weight` and `head.weight` have the same shape when transposed, and nothing";
    for (count, is_told) in [(3, true), (6, false)] {
        let plan = super::pytorch_tests::plan(&checkpoint(&file[..count]), &model[..count]);
        let text = report(&plan);
        assert!(!code(&plan).is_empty() && text.contains(told) == is_told, "{text}");
    }
}

fn fixture(name: &str) -> Checkpoint {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch");
    Checkpoint::open(fixtures.join(name)).unwrap()
}

/// A file of `fc1` and `fc2`, from 4 to 3 to 2.
fn small() -> Checkpoint {
    fixture("pt_mlp/mlp.pt")
}

#[test]
fn one_shape_that_coincides_is_no_reason_to_pair_other_layers() {
    let larger: Vec<(&str, &[usize])> = vec![
        ("fc1/weight", &[4, 32]),
        ("fc1/bias", &[32]),
        ("fc2/weight", &[32, 16]),
        ("fc2/bias", &[16]),
        ("fc3/weight", &[16, 3]),
        ("fc3/bias", &[3]),
    ];
    let within = named_in("model.");
    let file = checkpoint(&within.iter().map(|(n, s)| (n.as_str(), *s)).collect::<Vec<_>>());
    for file in [small(), file] {
        let plan = plan(&file, &larger);
        assert!(code(&plan).is_empty(), "{plan}");
    }
}

fn named_in(before: &str) -> Vec<(String, &'static [usize])> {
    let all: [(&str, &[usize]); 4] =
        [("fc1.weight", &[3, 4]), ("fc1.bias", &[3]), ("fc2.weight", &[2, 3]), ("fc2.bias", &[2])];
    all.iter().map(|(name, shape)| (format!("{before}{name}"), *shape)).collect()
}

#[test]
fn a_head_of_another_size_does_not_hide_what_the_rest_needs() {
    let model: [(&str, &[usize]); 4] =
        [("fc1/weight", &[4, 3]), ("fc1/bias", &[3]), ("fc2/weight", &[3, 3]), ("fc2/bias", &[3])];
    let plan = plan(&small(), &model);
    assert_eq!(code(&plan), [r#".separator('.', '/').transpose("**/weight")"#], "{plan}");
    assert_eq!(plan.suggestions()[0].restores, 2);
}

/// Names that agree once a rule has written them otherwise, and shapes that say nothing.
#[test]
fn square_matrices_that_rules_map_are_told() {
    let dotted = |of: &str| of.replace('/', ".");
    let model = |more: &[(&str, &[usize])]| -> Vec<Variable> {
        let all = SQUARE.iter().chain(more).map(|(name, shape)| variable(name, shape));
        all.collect()
    };
    let separated = || RestoreOptions::new().separator('.', '/');
    let told = "note: `fc1/weight` and 2 more are square, come from names such as `fc1.weight` and are \
                taken as they lie: their shapes cannot tell whether they are transposed. PyTorch has \
                `[out, in]` where most models here have `[in, out]`: if the values come from there, add \
                `.transpose(\"**/weight\")`";
    let plan = stored(&named(dotted)).plan_for(&model(&[]), &separated());
    assert!(plan.closes() && report(&plan).contains(told), "{plan}");
    let turned = separated().transpose("**/weight");
    let plan = stored(&named(dotted)).plan_for(&model(&[]), &turned);
    assert!(plan.closes() && !report(&plan).contains("are square"), "{plan}");
    // A table lies the same way everywhere and is not turned; a matrix that fits shows how others lie.
    let few = r#"add `.transpose("fc*/**/weight")`"#;
    for (name, is_told) in [("embed/weight", true), ("out/weight", false)] {
        let mut file = named(dotted);
        file.push((dotted(name), &[9, 4]));
        let plan = stored(&file).plan_for(&model(&[(name, &[9, 4])]), &separated());
        assert!(plan.closes(), "{plan}");
        assert_eq!(report(&plan).contains(few), is_told, "{plan}");
        assert_eq!(report(&plan).contains("are square"), is_told, "{plan}");
    }
    // Under PyTorch's own names a model is likely to have them as PyTorch does.
    let file = named(dotted);
    let same: Vec<Variable> = file.iter().map(|(name, shape)| variable(name, shape)).collect();
    let plan = stored(&file).plan_for(&same, &RestoreOptions::new());
    assert!(plan.closes() && !report(&plan).contains("square"), "{plan}");
}

/// Slots that the graph asks for, beside a state of PyTorch's that no name matches.
#[test]
fn an_optimizers_state_is_named_as_what_it_is() {
    let checkpoint = fixture("pt_train/train.pt");
    let layers = [("fc1", [3, 4]), ("fc2", [2, 3])];
    let mut variables: Vec<Variable> = Vec::new();
    for (layer, shape) in layers {
        variables.push(variable(&format!("model.{layer}.weight"), &shape));
        variables.push(variable(&format!("model.{layer}.bias"), &shape[..1]));
    }
    let plan = checkpoint.plan_for(&variables, &RestoreOptions::new()).to_string();
    let state = "PyTorch optimizer state (of Adam, AdamW or RAdam: exp_avg, exp_avg_sq, step) for 4 \
                 parameters, by number and not by name";
    assert!(plan.contains(&format!("unexpected  12   optimizer.state: {state}")), "{plan}");
    for owner in variables.clone() {
        for slot in ["m", "v"] {
            let name = format!("{}/adam/{slot}", owner.name);
            let (variable, optimizer) = (Some(owner.name.clone()), "adam".to_owned());
            let role = Role::Slot { variable, optimizer, slot: slot.to_owned() };
            variables.push(Variable { name, role, ..owner.clone() });
        }
    }
    let plan = checkpoint.plan_for(&variables, &RestoreOptions::new()).to_string();
    let help = "help: the checkpoint has the state of a PyTorch optimizer (of Adam, AdamW or RAdam), which \
                numbers its parameters, so that no name says whose it is, and this graph trains with \
                adam: `.allow_missing().allow_unexpected()`";
    assert!(plan.contains(help), "{plan}");
}
