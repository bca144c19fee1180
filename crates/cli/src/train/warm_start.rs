//! Weights of another checkpoint to begin with, under the rules of the training file.
//!
//! They are restored before the optimizer's slots are declared, so that only the model's variables
//! ask for values. A scaling in the checkpoint comes along, as the weights were learned on what it
//! makes of data. Slots, steps and scalings that one of the two has and the other lacks are no
//! reason to refuse, nor are tensors of a dtype that no variable can have; a note names them.
//! Weights go by place, so that columns or classes of other names at the same places are told.

use super::network::Shape;
use super::scaling::Scale;
use super::settings::WarmStart;
use super::source::Source;
use crate::description::Description;
use crate::error::Failure;
use crate::graph::Strange;
use crate::rules::{RulesFile, toml_of};
use crate::text::{self, HEADING, counted, styled};
use crate::wording::Keys;
use std::io::Write;
use warmstart::checkpoint::{
    Allowance, Checkpoint, RestoreOptions, RestorePlan, RestoreReport, Rule, Suggestion, Wording,
};
use warmstart::gpu::Session;
use warmstart::graph::Role;
use warmstart_graph::words::printable_path;

/// Restores what the checkpoint holds for the variables of a session, which are those of the model
/// alone, `last` the scope of its last layer. Prints the report, and gives what is to be known beside
/// it.
pub fn warm_start(
    source: &Source,
    settings: &WarmStart,
    session: &mut Session,
    (description, last): (&Description, &str),
    shape: &Shape,
    out: &mut dyn Write,
) -> Result<Vec<String>, Failure> {
    let path = source.path(&settings.checkpoint);
    let checkpoint = Checkpoint::open_verified(&path)?;
    let Planned { plan, strange, .. } = planned(&checkpoint, settings, &[], session)?;
    let mut notes = Vec::new();
    if !strange.tensors.is_empty() {
        notes.push(strange.to_string());
    }
    if plan.closes() {
        let report = plan.restore(session)?;
        text::print_report(out, &report.worded(&Keys::default()).to_string())?;
        let file = printable_path(checkpoint.file());
        let restored = |scope: &str| {
            let name = format!("{scope}/weight");
            report.restored().any(|variable| variable.name == name)
        };
        let scales = [
            ("input", "inputs", Some(&shape.scale)),
            ("output", "targets", shape.target_scale.as_ref()),
        ];
        for (scope, what, scale) in scales {
            if scale.is_some_and(|scale| has_other_scale(session, scope, scale)) {
                notes.push(format!(
                    "{what} are scaled as in `{file}`, by what its weights were trained with, and not by the rows to train on here"
                ));
            }
        }
        if let Some(before) = Description::of(&checkpoint)? {
            let inputs = before.inputs.differs(&description.inputs).filter(|_| restored("fc1"));
            notes.extend(inputs.map(|differs| {
                format!("input {differs}: the weights of `{file}` are taken by place, not by name")
            }));
            let outputs = before.output.differs(&description.output).filter(|_| restored(last));
            notes.extend(outputs.map(|differs| {
                format!("{differs}: the weights of `{file}` are taken by place, not by name")
            }));
            let same =
                (&before.inputs, &before.output) == (&description.inputs, &description.output);
            if same && before.rows != description.rows && description.rows.validation > 0 {
                notes.push(format!(
                    "`{file}` was trained on other rows, or another split of them: as far as rows to validate on are among those, the scores are too good"
                ));
            }
        }
        return Ok(notes);
    }
    for note in notes {
        writeln!(out, "{} {note}", styled(HEADING, "note:"))?;
    }
    let beside = plan.suggestions().iter().map(|suggestion| {
        let asked = asked(&checkpoint, settings, suggestion, session)?;
        Ok((suggestion.rules.clone(), asked))
    });
    let words = Keys { beside: beside.collect::<Result<_, Failure>>()? };
    text::print_report(out, &plan.worded(&words).to_string())?;
    for (suggestion, (_, asked)) in plan.suggestions().iter().zip(&words.beside) {
        let of = counted(suggestion.of, "variable");
        let place = if settings.rules.is_empty() { "" } else { ", in place of its `rules`" };
        let heading = format!("Under [warm_start]{place}, for {} of {of}:", suggestion.restores);
        writeln!(out, "\n{}\n  rules = [", styled(HEADING, &heading))?;
        let given = settings.rules.iter().cloned().map(Rule::from);
        for rule in given.chain(suggestion.rules.iter().cloned()) {
            writeln!(out, "      {},", toml_of(&rule))?;
        }
        writeln!(out, "  ]")?;
        // Each on a line of its own.
        for what in asked {
            if let Some(key) = words.allow(&[*what]) {
                writeln!(out, "  {key}")?;
            }
        }
    }
    let message = "the checkpoint does not fit the model; nothing was trained";
    Err(source.failure(&["warm_start", "checkpoint"], message, "this checkpoint").help(
        "the report says what does not fit; add `rules` under [warm_start], or `allow_missing`, `allow_unexpected` or `allow_mismatched_shape`",
    ))
}

/// Whether a session scales otherwise than was learned.
fn has_other_scale(session: &Session, scope: &str, learned: &Scale) -> bool {
    let other = |name: &str, learned: &[f32]| {
        // Without a value yet, it will have what was learned.
        let value = session.read(&format!("{scope}/{name}")).ok();
        value.is_some_and(|value| value.as_f32().is_some_and(|value| value != learned))
    };
    other("offset", &learned.offset) || other("scale", &learned.scale)
}

/// What becomes of weights under the rules of the training file and some more.
struct Planned {
    plan: RestorePlan,
    strange: Strange,
    /// What is allowed, by the file or because it goes without saying.
    allowed: RulesFile,
}

fn planned(
    checkpoint: &Checkpoint,
    settings: &WarmStart,
    more: &[Rule],
    session: &Session,
) -> Result<Planned, Failure> {
    let rules = settings.rules.iter().cloned().map(Rule::from).chain(more.iter().cloned());
    let rules = rules.fold(RestoreOptions::new(), RestoreOptions::rule);
    let mut allowed = RulesFile {
        allow_missing: settings.allow_missing,
        allow_unexpected: settings.allow_unexpected,
        allow_mismatched_shape: settings.allow_mismatched_shape,
        ..RulesFile::default()
    };
    let options = allowed.apply(rules.clone());
    let strange = Strange::unexpected(&checkpoint.plan(session, &options));
    let strict = checkpoint.plan(session, &strange.leave_out(options));
    // What weights do not come with is no reason to refuse them: a scaling that only models trained
    // here have, and the slots and the step that a new run begins anew.
    allowed.allow_missing |= strict.missing().all(|variable| variable.role == Role::State);
    allowed.allow_unexpected |= only_of_training(checkpoint, &strict)?;
    let plan = checkpoint.plan(session, &strange.leave_out(allowed.apply(rules)));
    Ok(Planned { plan, strange, allowed })
}

/// What the training file has to allow beside the rules of a suggestion: less than a program, for which
/// nothing goes without saying.
fn asked(
    checkpoint: &Checkpoint,
    settings: &WarmStart,
    suggestion: &Suggestion,
    session: &Session,
) -> Result<Vec<Allowance>, Failure> {
    let mut asked = suggestion.allow.clone().unwrap_or_default();
    if !asked.is_empty() {
        let Planned { allowed, .. } = planned(checkpoint, settings, &suggestion.rules, session)?;
        asked.retain(|what| match what {
            Allowance::Missing => !allowed.allow_missing,
            Allowance::Unexpected => !allowed.allow_unexpected,
            _ => true,
        });
    }
    Ok(asked)
}

/// Whether all that no variable takes are slots and steps of a training.
fn only_of_training(checkpoint: &Checkpoint, report: &RestoreReport) -> Result<bool, Failure> {
    let variables = checkpoint.metadata().variables()?.unwrap_or_default();
    Ok(report.unexpected().iter().all(|tensor| {
        let saved = variables.iter().find(|variable| variable.name == tensor.name);
        saved.is_some_and(|variable| variable.role != Role::Trainable)
    }))
}
