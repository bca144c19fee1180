//! `warmstart plan`: what a restore would do, without a device.

use crate::Answer;
use crate::error::Failure;
use crate::flags::{RuleFlags, Strictness, flag_of};
use crate::graph::{self, Model};
use crate::latest::choice;
use crate::rules::toml_of;
use crate::text::{self, HEADING, counted, styled};
use crate::wording::{Flags, Keys, flag_allowing};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use warmstart_checkpoint::{Checkpoint, Damaged, RuleUse, Suggestion, Wording, printable};
use warmstart_graph::DType;
use warmstart_graph::words::printable_path;

/// Say whether a checkpoint fits a model, and which rules would make it fit
///
/// Prints the report that a restore would print, and suggestions as flags for this command line.
/// In globs `*` stays within one part of a name (between `/` or `.`), `**` is any number of whole
/// parts, `{a,b}` is either. In FROM=TO a backslash before `=`, `,` or a backslash takes it as it
/// is. A file of rules has the keys that `[warm_start]` of a training file has: `rules`,
/// `allow_missing`, `allow_unexpected`, `allow_mismatched_shape`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart plan pretrained.safetensors --graph runs/mine
  warmstart plan pretrained.safetensors --graph graph.json \\
      --strip-prefix module. --separator .=/ --transpose '**/weight' --allow-unexpected
  warmstart plan pretrained.safetensors --graph runs/mine --rules rules.toml

Exit codes: 0 it fits under these rules, 1 it does not, 2 error")]
pub struct Arguments {
    /// The checkpoint to restore from
    path: PathBuf,
    /// What to restore into: a checkpoint with the same variables, or a graph as JSON
    #[arg(long, value_name = "CKPT|GRAPH.json")]
    graph: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    rules: RuleFlags,
    #[command(flatten)]
    strictness: Strictness,
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let checkpoint = Checkpoint::open(&arguments.path)?;
    let model = graph::open(&arguments.graph)?;
    let variables = model.variables()?;
    if variables.is_empty() {
        let path = printable_path(&arguments.graph);
        let why = match &model {
            Model::Checkpoint(model) if !model.tensors().is_empty() => {
                let dtypes = DType::OF_VARIABLES.map(DType::name).join(", ");
                format!("`{path}` holds no tensor of a dtype that variables have: {dtypes}")
            }
            _ => format!("`{path}` declares no variables"),
        };
        return Err(
            Failure::new(why).help("give --graph a checkpoint of the model, or its graph as JSON")
        );
    }
    let options = arguments.strictness.options(&arguments.rules)?;
    let strange = model.strange(&checkpoint, options.rules())?;
    let options = strange.leave_out(options);
    let (file, model_file) = (&arguments.path, &arguments.graph);
    let mut notes: Vec<String> = choice(file, &checkpoint, model_file).into_iter().collect();
    if let Model::Checkpoint(model) = &model {
        notes.extend(choice(model_file, model, file));
        notes.extend(Damaged::first_notes(model.damaged().iter()));
    }
    notes.dedup();
    if !strange.tensors.is_empty() {
        notes.push(strange.to_string());
    }
    let plan = checkpoint.plan_for(&variables, &options);
    let words = &Flags { declares: model.declares()? };
    if arguments.json {
        let mut value = plan.to_json_worded(words);
        value["left_out"] = json!(strange.tensors);
        // Those of the command come first, as in its text.
        let of_report = value["notes"].as_array().into_iter().flatten().cloned();
        value["notes"] = notes.into_iter().map(Value::from).chain(of_report).collect();
        for (at, suggestion) in plan.suggestions().iter().enumerate() {
            value["suggestions"][at]["flags"] = json!(flags_of(suggestion));
        }
        text::print_json(out, &value)?;
    } else {
        for note in notes {
            writeln!(out, "{} {note}", styled(HEADING, "note:"))?;
        }
        text::print_report(out, &plan.worded(words).to_string())?;
        if plan.closes() {
            let values = "values were not read: `warmstart verify` reads them, and holds them against \
                          checksums if the file has any";
            writeln!(out, "{} {values}", styled(HEADING, "note:"))?;
        }
        print_suggestions(out, words, plan.suggestions(), plan.rules())?;
    }
    Ok(plan.closes().into())
}

/// Suggestions, to be pasted: as flags, or as a file where a rule has no flag. Of several, the report has those
/// already that are one line.
fn print_suggestions(
    out: &mut dyn Write,
    words: &Flags,
    suggestions: &[Suggestion],
    given: &[RuleUse],
) -> Result<(), Failure> {
    let is_told =
        |suggestion: &Suggestion| suggestions.len() > 1 && words.in_one_line(suggestion).is_some();
    if let Some(place) = place_of(given).filter(|_| suggestions.iter().any(is_told)) {
        writeln!(out, "\n{} the flags of each way come {place}", styled(HEADING, "note:"))?;
    }
    for (way, suggestion) in (1..).zip(suggestions).filter(|(_, one)| !is_told(one)) {
        let promise = promise(suggestion, way, suggestions, given);
        if !print_flags(out, suggestion, &promise)? && is_printable(suggestion) {
            print_file(out, suggestion, &format!(", {promise}"))?;
            // The report tells them only with rules that it can write.
            print_notes(out, suggestion)?;
        }
    }
    Ok(())
}

/// What one of so many suggestions does, and that it comes after the rules that were given, if there are any;
/// but for those of them that are mistakes, with which nothing fits.
pub fn promise(
    suggestion: &Suggestion,
    way: usize,
    ways: &[Suggestion],
    given: &[RuleUse],
) -> String {
    let Suggestion { restores, of, allow, .. } = suggestion;
    let least = if Suggestion::may_be_more(ways) { "at least " } else { "" };
    let which = match ways.len() {
        1 => String::new(),
        ways => format!(" (way {way} of {least}{ways}; nothing says which is meant)"),
    };
    let then = match allow {
        // Nothing that can be allowed makes up for the rest.
        None => "; with these alone it does not fit yet, and `warmstart plan` with them says why",
        Some(allow) if allow.is_empty() => "",
        Some(_) => ", and to leave the rest as it is",
    };
    let after = place_of(given).map_or_else(String::new, |place| format!("{place}, "));
    format!("{after}for {restores} of {}{which}{then}", counted(*of, "variable"))
}

/// Where the rules of a suggestion belong: after those that were given, if there are any, but for those of them
/// that are mistakes.
fn place_of(given: &[RuleUse]) -> Option<&'static str> {
    // A rule with a problem may do something nevertheless, as a map of which one pair is idle.
    let is_mistaken =
        |used: &&RuleUse| used.does_nothing() || (used.problem.is_some() && used.touched == 0);
    match (given.len(), given.iter().filter(is_mistaken).count()) {
        (0, _) => None,
        (_, 0) => Some("after the rules that were given"),
        (all, mistaken) if all == mistaken => Some("in place of the rules that were given"),
        _ => Some("after the rules that were given and do something"),
    }
}

/// A suggestion as flags, if it has some.
pub fn print_flags(
    out: &mut dyn Write,
    suggestion: &Suggestion,
    promise: &str,
) -> Result<bool, Failure> {
    let flags = flags_of(suggestion).join(" ");
    if !flags.is_empty() {
        let heading = format!("As flags, {promise}:");
        writeln!(out, "\n{}\n  {flags}", styled(HEADING, &heading))?;
    }
    Ok(!flags.is_empty())
}

/// A suggestion as the text of a file for --rules, with what is to be allowed.
pub fn print_file(
    out: &mut dyn Write,
    suggestion: &Suggestion,
    promise: &str,
) -> Result<(), Failure> {
    let heading = format!("As a file for --rules{promise}:");
    writeln!(out, "\n{}", styled(HEADING, &heading))?;
    let allowed = suggestion.allow.iter().flatten();
    for key in allowed.filter_map(|&what| Keys::default().allow(&[what])) {
        writeln!(out, "  {key}")?;
    }
    writeln!(out, "  rules = [")?;
    for rule in suggestion.rules.iter().map(toml_of) {
        writeln!(out, "      {rule},")?;
    }
    Ok(writeln!(out, "  ]")?)
}

/// What a suggestion takes for granted.
pub fn print_notes(out: &mut dyn Write, suggestion: &Suggestion) -> Result<(), Failure> {
    for note in &suggestion.notes {
        writeln!(out, "  note: {}", printable(note))?;
    }
    Ok(())
}

/// Whether all rules can be shown as they are: pasted otherwise, they would be others.
fn is_printable(suggestion: &Suggestion) -> bool {
    let mut rules = suggestion.rules.iter().map(toml_of);
    rules.all(|rule| printable(&rule) == rule.as_str())
}

/// The rules, and what is to be allowed beside them. Nothing if one of them has none: the others would
/// not do what is promised.
pub fn flags_of(suggestion: &Suggestion) -> Vec<String> {
    let rules = suggestion.rules.iter().map(flag_of).collect::<Option<Vec<_>>>();
    let allow = suggestion.allow.iter().flatten().map(flag_allowing);
    rules.map_or_else(Vec::new, |rules| rules.into_iter().chain(allow).collect())
}
