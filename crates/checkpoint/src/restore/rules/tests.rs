//! What each rule does to names, and to what values may be like.

use super::*;
use crate::restore::options::RestoreOptions;
use std::collections::HashSet;
use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

fn variable(name: &str) -> Variable {
    Variable {
        name: name.into(),
        shape: Shape::from([2]),
        dtype: DType::F32,
        initializer: Initializer::Zeros,
        role: Role::Trainable,
        location: Location::caller(),
    }
}

/// The names that rules make of `tensors` (several joined by `+`, none as `-`), and how many each
/// rule touched.
fn renamed(options: RestoreOptions, tensors: &[&str]) -> (Vec<String>, Vec<usize>) {
    let applied = apply(options.rules(), tensors.iter().copied(), &[]);
    let names = applied.names.iter().map(|names| match names.as_slice() {
        [] => "-".to_owned(),
        names => names.join("+"),
    });
    (names.collect(), applied.uses.iter().map(|used| used.touched).collect())
}

/// One rule on one name.
fn one(options: RestoreOptions, tensor: &str) -> String {
    let (names, touched) = renamed(options, &[tensor]);
    assert_eq!(touched[0] > 0, names[0] != tensor, "{names:?} {touched:?}");
    names[0].clone()
}

fn options() -> RestoreOptions {
    RestoreOptions::new()
}

#[test]
fn a_scope_is_whole_parts_of_the_path() {
    let rename = |name| one(options().rename_scope("a/b", "c"), name);
    assert_eq!(rename("a/b/w"), "c/w");
    assert_eq!(rename("a/b.w"), "c.w");
    for other in ["a/bc/w", "a/b", "x/a/b/w", "a"] {
        assert_eq!(rename(other), other);
    }
    assert_eq!(one(options().rename_scope("a", ""), "a/w"), "w");
    assert_eq!(one(options().rename_scope("", "m"), "a.w"), "m.a.w");
    assert_eq!(one(options().rename_scope("", "m/n"), "w"), "m/n/w");
    assert_eq!(one(options().rename_scope("", "m"), "w"), "m/w");
}

#[test]
fn a_component_is_renamed_wherever_it_is() {
    let rename = |name| one(options().rename_component("kernel", "weight"), name);
    assert_eq!(rename("fc1/kernel"), "fc1/weight");
    assert_eq!(rename("fc1.kernel.adam.m"), "fc1.weight.adam.m");
    assert_eq!(rename("kernel/kernel"), "weight/weight");
    assert_eq!(rename("kernels/my_kernel/w"), "kernels/my_kernel/w");
    assert_eq!(one(options().rename_component("", "x"), "a//b"), "a//b");
}

#[test]
fn letters_separators_and_expressions() {
    assert_eq!(one(options().strip_prefix("module."), "module.fc1.weight"), "fc1.weight");
    assert_eq!(one(options().strip_prefix("module."), "my.module.w"), "my.module.w");
    assert_eq!(one(options().add_prefix("model/"), "w"), "model/w");
    assert_eq!(one(options().separator('.', '/'), "a.b.c"), "a/b/c");
    let layers = options().rename_regex(r"layers\.(\d+)\.", "layer_$1/");
    assert_eq!(one(layers, "layers.12.w"), "layer_12/w");
    let named = options().rename_regex("^(?<scope>[a-z]+)_", "${scope}/");
    assert_eq!(one(named, "fc_w"), "fc/w");
}

#[test]
fn a_replacement_that_names_no_group_is_a_problem() {
    let problem = |pattern: &str, replacement: &str| {
        let options = options().rename_regex(pattern, replacement);
        apply(options.rules(), ["layer_1"].into_iter(), &[]).uses.remove(0).problem
    };
    let told = problem(r"layer_(\d+)", "$1_block").unwrap();
    assert!(told.contains("no group `1_block`") && told.contains("`${1}_block`"), "{told}");
    let told = problem(r"(?<n>\d+)", "${m}").unwrap();
    assert!(told.contains("no group `m`") && told.contains("`$$`"), "{told}");
    let told = problem(r"(?<né>\d+)", "$2é").unwrap();
    assert!(told.contains("no group `2`"), "{told}");
    for right in ["${1}_block", "$1", "$0-$n", "$$1_block", "a$", "$ $.", "${1"] {
        assert_eq!(problem(r"layer_(?<n>\d+)", right), None, "{right}");
    }
    let one = one(options().rename_regex(r"layer_(\d+)", "${1}_block"), "layer_12");
    assert_eq!(one, "12_block");
}

#[test]
fn rules_are_applied_in_order_and_counted() {
    let options = options()
        .strip_prefix("module.")
        .separator('.', '/')
        .rename_component("kernel", "weight")
        .rename("fc2/weight", "head/weight")
        .rename("fc2/weight", "never");
    let (names, touched) = renamed(options, &["module.fc1.kernel", "module.fc2.kernel", "step"]);
    assert_eq!(names, ["fc1/weight", "head/weight", "step"]);
    assert_eq!(touched, [2, 2, 2, 1, 0]);
}

#[test]
fn an_assignment_map_is_taken_all_at_once() {
    let map = [("a/", "b/"), ("b/", "a/"), ("a/", "copy/a/"), ("step", "count"), ("b/", "x")];
    let (names, touched) = renamed(options().assignment_map(map), &["a/w", "b/w", "step", "other"]);
    assert_eq!(names, ["b/w+copy/a/w", "a/w", "count", "-"]);
    assert_eq!(touched, [4]);
    let (names, _) = renamed(options().assignment_map([("/", "model/")]), &["w", "a/w"]);
    assert_eq!(names, ["model/w", "model/a/w"]);
}

#[test]
fn choice_leaves_out_tensors_and_variables() {
    let (encoder, head) = (variable("encoder/l_0/w"), variable("head/w"));
    let names = ["encoder/l_0/w", "head/w"];
    let apply = |options: RestoreOptions| {
        let applied = apply(options.rules(), names.into_iter(), &[&encoder, &head]);
        let left = applied.names.iter().map(|names| !names.is_empty()).collect::<Vec<_>>();
        let ignored = applied.allowed.iter().map(|allowed| allowed.ignored).collect::<Vec<_>>();
        (left, ignored, applied.uses[0].touched)
    };
    assert_eq!(apply(options().only("encoder/**")), (vec![true, false], vec![false, true], 1));
    assert_eq!(apply(options().ignore("encoder/**")), (vec![false, true], vec![true, false], 1));
    assert_eq!(apply(options().only("{encoder,head}/**")).2, 2);
    // One star stays within a part, whatever stands between parts.
    assert_eq!(apply(options().ignore("encoder/l_0*")), (vec![true; 2], vec![false; 2], 0));
    assert_eq!(apply(options().ignore("encoder/*")), (vec![true; 2], vec![false; 2], 0));
    // Before a rename, names are the file's.
    let early = options().ignore("encoder/**").rename("encoder/x", "encoder/y");
    assert_eq!(apply(early), (vec![false, true], vec![false, false], 1));
    // Where a rename follows the map, it does not speak of variables.
    let later = options().assignment_map([("encoder/", "x/")]).rename_scope("x", "encoder");
    assert_eq!(apply(later), (vec![true, false], vec![false, false], 1));
    // Variables that the map does not speak of are left out.
    let map = options().assignment_map([("encoder/", "encoder/")]);
    assert_eq!(apply(map), (vec![true, false], vec![false, true], 1));
}

#[test]
fn values_may_change_where_asked_for() {
    let (a, b) = (variable("a/w"), variable("b/w"));
    let rules = options().transpose("a/*").cast("**").reshape("b/w").resize_rows("a/?", 7);
    let applied = apply(rules.rules(), [].into_iter(), &[&a, &b]);
    let allowed = |transpose, reshape, resize_rows| Allowed {
        transpose,
        cast: true,
        reshape,
        resize_rows,
        ignored: false,
    };
    assert_eq!(applied.allowed, [allowed(true, false, Some(7)), allowed(false, true, None)]);
    assert_eq!(applied.uses.iter().map(|used| used.touched).collect::<Vec<_>>(), [1, 2, 1, 1]);
}

#[test]
fn malformed_rules_are_problems_not_panics() {
    let rules = options().rename_regex("(", "").only("[").transpose("**kernel").rename("a", "b");
    let applied = apply(rules.rules(), ["a"].into_iter(), &[]);
    let problems: Vec<bool> = applied.uses.iter().map(|used| used.problem.is_some()).collect();
    assert_eq!(problems, [true, true, true, false]);
    assert_eq!(applied.names[0].as_slice(), ["b"]);
    assert_eq!(applied.names.len(), 1);
}

/// A rule as it was compiled, and the code that was.
macro_rules! compiled {
    ($(.$method:ident($($arguments:tt)*))*) => {
        [$((
            options().$method($($arguments)*).rules()[0].clone(),
            concat!(".", stringify!($method), "(", stringify!($($arguments)*), ")"),
        )),*]
    };
}

/// What is printed is pasted, so it has to be the code that makes this very rule.
#[test]
fn rules_print_as_the_code_that_asks_for_them() {
    let rules = compiled! {
        .rename("a", "b")
        .rename_scope("a", "")
        .rename_component("a", "b")
        .rename_regex("(\\d)", "$1")
        .strip_prefix("p")
        .add_prefix("p")
        .separator('.', '/')
        .separator('\'', '\\')
        .assignment_map([("a/", "b/"), ("a \"quoted\" scope/", "c/")])
        .only("*")
        .ignore("*")
        .transpose("*")
        .cast("**")
        .reshape("*")
        .resize_rows("e", 7)
    };
    for (rule, code) in &rules {
        assert_eq!(rule.to_string(), *code);
    }
    // Each kind of rule is there: a new one does not compile until it is in this match, and is to be added
    // to the rules above and to the count below.
    let kind = |rule: &Rule| match rule {
        Rule::Rename { .. } => 0,
        Rule::RenameScope { .. } => 1,
        Rule::RenameComponent { .. } => 2,
        Rule::RenameRegex { .. } => 3,
        Rule::StripPrefix(_) => 4,
        Rule::AddPrefix(_) => 5,
        Rule::Separator { .. } => 6,
        Rule::AssignmentMap(_) => 7,
        Rule::Only(_) => 8,
        Rule::Ignore(_) => 9,
        Rule::Transpose(_) => 10,
        Rule::Cast(_) => 11,
        Rule::Reshape(_) => 12,
        Rule::ResizeRows { .. } => 13,
    };
    let kinds: HashSet<usize> = rules.iter().map(|(rule, _)| kind(rule)).collect();
    assert_eq!(kinds.len(), 14);
}
