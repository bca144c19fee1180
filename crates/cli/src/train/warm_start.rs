//! Weights of another checkpoint to begin with, under the rules of the training file.

use super::settings::WarmStart;
use super::source::Source;
use crate::error::Failure;
use crate::text::{self, HEADING, counted, styled};
use std::io::Write;
use warmstart::checkpoint::{Checkpoint, RestoreOptions, RestorePlan, RestoreReport, Rule};
use warmstart::gpu::Session;
use warmstart::graph::Role;

/// Restores what the checkpoint holds for the variables of a session, which are those of the model
/// alone. Prints the report.
pub fn warm_start(
    source: &Source,
    settings: &WarmStart,
    session: &mut Session,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let path = source.path(&settings.checkpoint);
    let checkpoint = Checkpoint::open(&path)?;
    let plan = plan(&checkpoint, settings, session)?;
    if plan.closes() {
        let report = plan.restore(session)?;
        return Ok(text::print_report(out, &report.to_string())?);
    }
    text::print_report(out, &plan.to_string())?;
    for suggestion in plan.suggestions() {
        let of = counted(suggestion.of, "variable");
        let heading = format!("Under [warm_start], for {} of {of}:", suggestion.restores);
        writeln!(out, "\n{}\n  rules = [", styled(HEADING, &heading))?;
        for rule in suggestion.rules.iter().filter_map(toml_of) {
            writeln!(out, "      {rule},")?;
        }
        writeln!(out, "  ]")?;
    }
    let message = "the checkpoint does not fit the model; nothing was trained";
    Err(source.failure(&["warm_start", "checkpoint"], message, "this checkpoint").help(
        "the report says what does not fit; add `rules` under [warm_start], or `allow_missing`, `allow_unexpected` or `allow_mismatched_shape`",
    ))
}

fn plan(
    checkpoint: &Checkpoint,
    settings: &WarmStart,
    session: &Session,
) -> Result<RestorePlan, Failure> {
    let mut options = settings
        .rules
        .iter()
        .cloned()
        .map(Rule::from)
        .fold(RestoreOptions::new(), RestoreOptions::rule);
    if settings.allow_missing {
        options = options.allow_missing();
    }
    if settings.allow_unexpected {
        options = options.allow_unexpected();
    }
    if settings.allow_mismatched_shape {
        options = options.allow_mismatched_shape();
    }
    let strict = checkpoint.plan(session, &options);
    // What weights do not come with is no reason to refuse them: a scaling that only models trained
    // here have, and the slots and the step that a new run begins anew.
    if strict.missing().all(|variable| variable.role == Role::State) {
        options = options.allow_missing();
    }
    if only_of_training(checkpoint, &strict)? {
        options = options.allow_unexpected();
    }
    Ok(checkpoint.plan(session, &options))
}

/// Whether all that no variable takes are slots and steps of a training.
fn only_of_training(checkpoint: &Checkpoint, report: &RestoreReport) -> Result<bool, Failure> {
    let variables = checkpoint.metadata().variables()?.unwrap_or_default();
    Ok(report.unexpected().iter().all(|tensor| {
        let saved = variables.iter().find(|variable| variable.name == tensor.name);
        saved.is_some_and(|variable| variable.role != Role::Trainable)
    }))
}

/// A rule as it is written in a training file.
fn toml_of(rule: &Rule) -> Option<String> {
    let text = |text: &str| toml::Value::from(text).to_string();
    let pair =
        |key: &str, from: &str, to: &str| format!("{{ {key} = [{}, {}] }}", text(from), text(to));
    let one = |key: &str, value: &str| format!("{{ {key} = {} }}", text(value));
    Some(match rule {
        Rule::Rename { from, to } => pair("rename", from, to),
        Rule::RenameScope { from, to } => pair("rename_scope", from, to),
        Rule::RenameComponent { from, to } => pair("rename_component", from, to),
        Rule::RenameRegex { pattern, replacement } => pair("rename_regex", pattern, replacement),
        Rule::StripPrefix(prefix) => one("strip_prefix", prefix),
        Rule::AddPrefix(prefix) => one("add_prefix", prefix),
        Rule::Separator { from, to } => pair("separator", &from.to_string(), &to.to_string()),
        Rule::AssignmentMap(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(from, to)| format!("[{}, {}]", text(from), text(to))).collect();
            format!("{{ assignment_map = [{}] }}", pairs.join(", "))
        }
        Rule::Only(glob) => one("only", glob),
        Rule::Ignore(glob) => one("ignore", glob),
        Rule::Transpose(glob) => one("transpose", glob),
        Rule::Cast(glob) => one("cast", glob),
        Rule::Reshape(glob) => one("reshape", glob),
        Rule::ResizeRows { glob, seed } => format!("{{ resize_rows = [{}, {seed}] }}", text(glob)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::settings::RuleSetting;

    #[derive(serde::Deserialize)]
    struct Written {
        rules: Vec<RuleSetting>,
    }

    /// What a report suggests can be pasted, whatever is in the names.
    #[test]
    fn every_rule_comes_back_from_a_file() {
        let odd = || "a \"b\"\\ ä\t'c'".to_owned();
        let plain = || "fc1/**".to_owned();
        let rules = vec![
            Rule::Rename { from: odd(), to: plain() },
            Rule::RenameScope { from: String::new(), to: odd() },
            Rule::RenameComponent { from: plain(), to: odd() },
            Rule::RenameRegex { pattern: r"^(\w+)\.\d".to_owned(), replacement: "$1".to_owned() },
            Rule::StripPrefix(odd()),
            Rule::AddPrefix(odd()),
            Rule::Separator { from: '.', to: '\\' },
            Rule::AssignmentMap(vec![(odd(), plain()), (plain(), odd())]),
            Rule::Only(odd()),
            Rule::Ignore(plain()),
            Rule::Transpose(odd()),
            Rule::Cast(plain()),
            Rule::Reshape(odd()),
            Rule::ResizeRows { glob: odd(), seed: 7 },
        ];
        let lines: Vec<String> = rules.iter().map(|rule| toml_of(rule).unwrap()).collect();
        let text = format!("rules = [\n{}\n]\n", lines.join(",\n"));
        let written: Written =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{error}{text}"));
        let back: Vec<Rule> = written.rules.into_iter().map(Rule::from).collect();
        assert_eq!(back, rules, "{text}");
    }
}
