//! Reports of large models: they are read on a screen, whatever there is to say.

use super::tests::{checkpoint, of_dtype, report, variable};
use super::*;
use crate::checkpoint::Checkpoint;
use std::fs;

/// Names without numbers, which would be collapsed.
fn names(scope: &str, n: usize) -> Vec<String> {
    let letter = |at: usize| char::from(b'a' + (at % 26) as u8);
    let name = |at| [at / 676, at / 26, at].map(letter).iter().collect::<String>();
    (0..n).map(|at| format!("{scope}/{}", name(at))).collect()
}

fn tensors(names: &[String]) -> Checkpoint {
    let tensors: Vec<(&str, &[usize])> = names.iter().map(|name| (&**name, &[1][..])).collect();
    checkpoint(&tensors)
}

#[track_caller]
fn assert_short(text: &str, lines: usize) {
    assert!(text.lines().count() < lines, "{} lines: {text}", text.lines().count());
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest < Some(400), "{text}");
}

#[test]
fn what_a_large_model_shares_and_leaves_out_is_told_in_few_lines() {
    let file = tensors(&[names("source", 5000), names("other", 5000)].concat());
    let both: Vec<Variable> = [names("left", 5000), names("right", 5000)]
        .concat()
        .iter()
        .map(|name| variable(name, &[1]))
        .collect();
    let map = [("source/", "left/"), ("source/", "right/")];
    let plan = file.plan_for(&both, &RestoreOptions::new().assignment_map(map));
    assert!(plan.closes(), "{plan}");
    let text = report(&plan);
    assert_short(&text, 60);
    let shared = "\nnote: 5000 tensors are the values of several variables each: `source/aaa` of \
                  `left/aaa`, `right/aaa`; `source/aab` of ";
    assert!(text.contains(shared) && text.contains(" and 4995 more"), "{text}");
    assert!(
        text.contains("\n  left out    5000    other/aaa  f32 [1], by `.assignment_map(…)`"),
        "{text}"
    );
    assert!(text.contains("… and 4980 more"), "{text}");
    let json = plan.to_json();
    for key in ["shared", "left_out_by_rules"] {
        assert_eq!(json[key].as_array().map(Vec::len), Some(5000), "{key}");
    }
}

#[test]
fn many_candidates_are_told_in_a_line() {
    let options = RestoreOptions::new().rename_regex("^.*/...$", "w");
    let plan = tensors(&names("source", 5000)).plan_for(&[variable("w", &[1])], &options);
    let text = report(&plan);
    assert_short(&text, 60);
    let told = "could be `source/aaa` or `source/aab` or `source/aac` or `source/aad` or \
                `source/aae` and 4995 more";
    assert!(text.contains(told), "{text}");
    let [one] = plan.variables() else { panic!("{plan}") };
    assert!(matches!(&one.outcome, Outcome::Ambiguous { tensors } if tensors.len() == 5000));
}

#[test]
fn many_damaged_checkpoints_are_told_in_few_lines() {
    let directory = tempfile::tempdir().unwrap();
    let whole = checkpoint(&[("w", &[1])]);
    let told = |damaged: u64| {
        let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let length = (header.len() as u64).to_le_bytes();
        let bytes = [&length[..], header, &[0; 4]].concat();
        fs::write(directory.path().join("step-1.safetensors"), bytes).unwrap();
        for step in 2..2 + damaged {
            fs::write(directory.path().join(format!("step-{step}.safetensors")), b"no").unwrap();
        }
        let checkpoint = Checkpoint::open(directory.path()).unwrap();
        assert_eq!(checkpoint.damaged().len() as u64, damaged);
        let plan = checkpoint.plan_for(&[variable("w", &[1])], &RestoreOptions::new());
        assert_eq!(plan.to_json()["damaged"].as_array().map(Vec::len), Some(damaged as usize));
        plan.to_string()
    };
    assert!(!whole.plan_for(&[], &RestoreOptions::new()).to_string().contains("damaged"));
    assert!(!told(5).contains("more"), "{}", told(5));
    assert!(told(6).ends_with("\nnote: 1 more checkpoint is damaged"), "{}", told(6));
    let text = told(40);
    assert_eq!(text.matches("a newer checkpoint is damaged").count(), 5, "{text}");
    assert!(text.ends_with("\nnote: 35 more checkpoints are damaged"), "{text}");
}

#[test]
fn tensors_that_rules_leave_out_are_told_with_the_rule() {
    let file = of_dtype(
        "F32",
        &[("old/body/w", &[2]), ("old/head/w", &[3]), ("old/head/b", &[1]), ("ema/w", &[2])],
    );
    let variables = [variable("body/w", &[2]), variable("head/w", &[5])];
    let left = |plan: &RestorePlan| -> Vec<(String, String)> {
        let left = plan.left_out_by_rules();
        left.map(|(tensor, rule)| (tensor.name.to_string(), rule.to_string())).collect()
    };
    let options = RestoreOptions::new().only("old/**").strip_prefix("old/").ignore("head/**");
    let plan = file.plan_for(&variables, &options);
    assert!(plan.closes(), "{plan}");
    let by = |tensor: &str, rule: &str| (tensor.to_owned(), rule.to_owned());
    let head = r#".ignore("head/**")"#;
    let expected =
        [by("old/head/w", head), by("old/head/b", head), by("ema/w", r#".only("old/**")"#)];
    assert_eq!(left(&plan), expected);
    let text = report(&plan);
    let told = "\
  left out    3   ema/w                f32 [2], by `.only(\"old/**\")`
                  old/head/w           f32 [3], by `.ignore(\"head/**\")`
                  old/head/b           f32 [1], by `.ignore(\"head/**\")`";
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(squeezed(&text).contains(&squeezed(told)), "{text}");
    let json = plan.to_json();
    assert_eq!(json["counts"]["left_out_by_rules"], 3);
    assert_eq!(json["left_out_by_rules"][0]["name"], "old/head/w");
    assert_eq!(json["left_out_by_rules"][0]["rule"], head);
    // What takes part is left out by none, whatever becomes of it.
    let plan = file.plan_for(&variables, &RestoreOptions::new());
    assert_eq!(left(&plan), []);
    assert!(!plan.to_string().contains("left out"), "{plan}");
}

#[test]
fn long_lists_are_short() {
    let names: Vec<String> = (0..50).map(|i| format!("layer_{i}/weight")).collect();
    let mut tensors: Vec<(&str, &[usize])> = names.iter().map(|n| (n.as_str(), &[1][..])).collect();
    let text = report(&checkpoint(&tensors).plan_for(&[], &RestoreOptions::new()));
    assert!(text.contains("unexpected  50   layer_{0..49}/weight  f32 [1]\n"), "{text}");
    let letters: Vec<String> = ('a'..='z').map(String::from).collect();
    tensors.extend(letters.iter().map(|n| (n.as_str(), &[1][..])));
    let text = report(&checkpoint(&tensors).plan_for(&[], &RestoreOptions::new()));
    assert!(text.contains("unexpected  76   layer_{0..49}/weight"), "{text}");
    assert!(text.contains("… and 7 more") && !text.contains(" t  "), "{text}");
    // Several that are not long may be together.
    for (layers, joined) in [(5, false), (6, true)] {
        let named = |parts: [&str; 3]| -> Vec<String> {
            let of = |layer: usize| parts.map(|part| format!("layer_{layer}/{part}"));
            (0..layers).flat_map(of).collect()
        };
        let [file, model] = [named(["q", "k", "v"]), named(["query", "key", "value"])];
        let tensors: Vec<_> = file.iter().map(|name| (name.as_str(), &[2, 2][..])).collect();
        let model: Vec<Variable> = model.iter().map(|name| variable(name, &[2, 2])).collect();
        let text = report(&checkpoint(&tensors).plan_for(&model, &RestoreOptions::new()));
        let told = |name: &str| text.contains(&format!(" {name} "));
        assert_eq!(told("layer_{0..5}/key") && told("layer_{0..5}/k"), joined, "{text}");
        assert_eq!(told("layer_4/key") && told("layer_4/k"), !joined, "{text}");
    }
}
