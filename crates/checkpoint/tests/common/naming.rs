//! Random ways in which the names in a file differ from those of the variables, with the rules that make
//! the one of the other.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use warmstart_checkpoint::{RestoreOptions, Rule};

/// One rule, as what it takes back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    StripPrefix,
    Separator,
    InnerScope,
    Regex,
    Component,
    Rename,
    AddPrefix,
    Scope,
    Map,
    /// Each tensor is the value of two variables.
    MapToTwo,
}

/// The rules, in the order in which they are applied.
#[derive(Clone, Debug)]
pub struct Naming(Vec<Step>);

/// Names of variables begin with `layers/`, of which the last rule may make something.
pub fn namings() -> impl Strategy<Value = Naming> {
    use Step::*;
    let anywhere = vec![StripPrefix, Separator, InnerScope, Regex, Component, Rename];
    let count = 0..=anywhere.len();
    let last = select(vec![None, Some(AddPrefix), Some(Scope), Some(Map), Some(MapToTwo)]);
    (subsequence(anywhere, count).prop_shuffle(), last).prop_map(|(mut steps, last)| {
        steps.extend(last);
        Naming(steps)
    })
}

impl Naming {
    /// The scopes that have each variable.
    pub fn scopes(&self) -> &'static [&'static str] {
        if self.0.contains(&Step::MapToTwo) { &["layers", "copies"] } else { &["layers"] }
    }

    /// The names in the file of what variables in `layers` are to be called so, and the rules.
    pub fn undone(&self, mut names: Vec<String>) -> (Vec<String>, RestoreOptions) {
        let mut rules = Vec::new();
        for step in self.0.iter().rev() {
            let (before, rule) = step.undone(&names);
            // A rule that touches no name is an error.
            if before != names {
                rules.push(rule);
                names = before;
            }
        }
        (names, rules.into_iter().rev().fold(RestoreOptions::new(), RestoreOptions::rule))
    }
}

impl Step {
    /// The names before a rule that makes these of them, and the rule.
    fn undone(self, names: &[String]) -> (Vec<String>, Rule) {
        let each = |undo: &dyn Fn(&str) -> String| names.iter().map(|name| undo(name)).collect();
        // What is in the scope of all variables.
        let inside = |name: &str| name.strip_prefix("layers/").unwrap().to_owned();
        let map = |scopes: &[&str]| {
            let pair = |to: &&str| ("net/".to_owned(), format!("{to}/"));
            Rule::AssignmentMap(scopes.iter().map(pair).collect())
        };
        let text = str::to_owned;
        match self {
            Step::StripPrefix => {
                (each(&|name| format!("module_{name}")), Rule::StripPrefix(text("module_")))
            }
            Step::Separator => {
                (each(&|name| name.replace('/', ".")), Rule::Separator { from: '.', to: '/' })
            }
            Step::InnerScope => {
                let rule = Rule::RenameScope { from: text("outer"), to: String::new() };
                (each(&|name| format!("outer/{name}")), rule)
            }
            Step::Regex => {
                let (pattern, replacement) = (text(r"n(\d+)"), text("$1"));
                (each(&before_numbers), Rule::RenameRegex { pattern, replacement })
            }
            Step::Component => {
                let rule = Rule::RenameComponent { from: text("kernel"), to: text("weight") };
                (each(&|name| name.replace("weight", "kernel")), rule)
            }
            Step::Rename => {
                let (from, to) = (text("single"), names[0].clone());
                let names = [from.clone()].into_iter().chain(names[1..].iter().cloned()).collect();
                (names, Rule::Rename { from, to })
            }
            Step::AddPrefix => (each(&inside), Rule::AddPrefix(text("layers/"))),
            Step::Scope => {
                let rule = Rule::RenameScope { from: text("blocks"), to: text("layers") };
                (each(&|name| format!("blocks/{}", inside(name))), rule)
            }
            Step::Map => (each(&|name| format!("net/{}", inside(name))), map(&["layers"])),
            Step::MapToTwo => {
                (each(&|name| format!("net/{}", inside(name))), map(&["layers", "copies"]))
            }
        }
    }
}

/// With an `n` before each number.
fn before_numbers(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_digit() && !text.ends_with(|c: char| c.is_ascii_digit()) {
            text.push('n');
        }
        text.push(letter);
    }
    text
}
