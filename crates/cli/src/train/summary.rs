//! What is said before and after a run.

use super::best::BestCheckpoint;
use super::{Job, Outcome, score};
use crate::description::{Description, Output};
use crate::error::Failure;
use crate::text::{self, HEADING, counted, styled};
use crate::wording::Nothing;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;
use warmstart::Begun;
use warmstart_checkpoint::printable;
use warmstart_graph::words::printable_path;

impl Job {
    /// Says what will be trained on what.
    pub fn describe(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let Description { inputs, output, rows } = &self.data.description;
        let row = |name: &str| styled(HEADING, &format!("{name:<8}"));
        let what = match output {
            Output::Classes(classes) => {
                format!("{} classes: {}", classes.len(), text_of(classes))
            }
            // What has no name of its own is told by that of its array.
            Output::Values(names) => match &self.settings.data.labels_array {
                Some(array) if names.len() == 1 => format!("to predict `{}`", printable(array)),
                _ => format!("to predict {}", text_of(names)),
            },
        };
        let file = self.source.path(&self.settings.data.file);
        let count = counted(inputs.count(), "input");
        writeln!(out, "{} {}: {count}, {what}", row("data"), printable_path(file))?;
        let (training, seed) = (counted(rows.training, "row"), self.settings.seed);
        writeln!(
            out,
            "{} {training} to train on, {} to validate on, seed {seed}",
            row("rows"),
            rows.validation
        )?;
        let model = &self.settings.model;
        let layers: Vec<String> = [inputs.count()]
            .iter()
            .chain(&model.hidden)
            .chain([&self.shape.outputs])
            .map(usize::to_string)
            .collect();
        writeln!(out, "{} {}", row("model"), layers.join(" → "))?;
        let (batch, every) = (self.shape.batch, self.every.validate);
        let validated = match rows.validation {
            0 => String::new(),
            _ if every >= self.steps => ", validated at the end".to_owned(),
            _ => format!(", validated every {every}"),
        };
        let together = match self.settings.training.gradient_accumulation_steps {
            1 => String::new(),
            together => format!(", {together} to an update"),
        };
        writeln!(out, "{} {} of {batch} rows{together}{validated}", row("steps"), self.steps)?;
        for note in &self.data.notes {
            writeln!(out, "{} {note}", styled(HEADING, "note:"))?;
        }
        match self.shape.scale.constant.len() {
            0 => {}
            count => writeln!(
                out,
                "{} {} the same in all rows to train on",
                styled(HEADING, "note:"),
                if count == 1 { "1 input is".to_owned() } else { format!("{count} inputs are") }
            )?,
        }
        Ok(())
    }

    /// The line that gives a run a directory of its own.
    pub fn another_directory(&self) -> String {
        let name = self.directory.file_name().unwrap_or("run".as_ref()).to_string_lossy();
        // The next number, if it ends with one.
        let name = match name.rsplit_once('-') {
            Some((name, number)) if number.parse::<u32>().is_ok() => name,
            _ => &name,
        };
        let free = (2..).map(|n| self.directory.with_file_name(format!("{name}-{n}")));
        // There is no end to names; whoever has taken a hundred thinks of another.
        let free = free.take(100).find(|directory| !directory.exists());
        let directory = free.unwrap_or_else(|| self.directory.with_file_name("another"));
        let directory = self.source.written(&directory);
        let top = match &self.settings.directory {
            Some(_) => "in place of `directory`",
            None => "at the top",
        };
        format!(":\n{top}\n    directory = {directory}")
    }

    /// The lines that begin another run with these weights.
    pub fn another_run(&self, checkpoint: &Path) -> String {
        let table = match &self.settings.warm_start {
            Some(_) => "under [warm_start], in place of `checkpoint`",
            None => "at the end",
        };
        let heading = if self.settings.warm_start.is_some() { "" } else { "\n    [warm_start]" };
        let checkpoint = self.source.written(checkpoint);
        let directory = self.another_directory();
        format!("{directory}\n{table}{heading}\n    checkpoint = {checkpoint}")
    }

    /// What came of it, in two lines, or more where an earlier checkpoint is better.
    pub fn print(&self, out: &mut dyn Write, outcome: &Outcome) -> Result<(), Failure> {
        if !outcome.scores.is_empty() {
            let scores = score::described(&outcome.scores);
            writeln!(out, "{} {scores}", styled(text::GOOD, "validation"))?;
        }
        let losses = match &outcome.curve {
            Some(curve) => format!(", losses {}", printable_path(curve)),
            None => String::new(),
        };
        writeln!(out, "newest checkpoint {}{losses}", printable_path(&outcome.checkpoint))?;
        if let Some(better) = self.better(outcome) {
            writeln!(out, "{} {better}", styled(HEADING, "best:"))?;
        }
        if let Some(ruined) = &outcome.ruined {
            writeln!(out, "{} {ruined}", styled(text::BAD, "warning:"))?;
        }
        Ok(())
    }

    /// What came of it, as JSON.
    pub fn json(&self, outcome: &Outcome) -> Value {
        let metrics: Map<String, Value> = outcome
            .scores
            .iter()
            .map(|&(name, value)| (name.to_owned(), text::number(value)))
            .collect();
        let mut notes = [&self.data.notes[..], &outcome.notes].concat();
        notes.extend(outcome.ruined.clone());
        json!({
            "directory": self.directory.to_string_lossy(),
            "checkpoint": outcome.checkpoint.to_string_lossy(),
            "losses": outcome.curve.as_ref().map(|curve| curve.to_string_lossy()),
            "step": outcome.step,
            "best": outcome.best.as_ref().map(BestCheckpoint::json),
            "seed": self.settings.seed,
            "resumed": outcome.restored,
            "data": self.data.description,
            "metrics": metrics,
            "notes": notes,
        })
    }
}

/// What a run begins with, a warm start if its first weights came from another.
pub fn begun(out: &mut dyn Write, begun: &Begun, is_warm: bool) -> Result<(), Failure> {
    let note = styled(HEADING, "note:");
    match begun {
        Begun::Initialized { variables, seed, passed_over } => {
            let count = counted(variables.len(), "variable");
            match is_warm {
                true => writeln!(
                    out,
                    "a new run with these weights: {count} initialized beside them, seed {seed}"
                )?,
                false => writeln!(out, "a new run: {count} initialized, seed {seed}")?,
            }
            for file in passed_over {
                writeln!(
                    out,
                    "{note} {} was left alone, since a run goes on from files named `step-<n>.safetensors` only; to begin with its weights, name it as `checkpoint` under [warm_start]",
                    printable_path(file)
                )?;
            }
        }
        // What has changed is told by the keys of the file.
        Begun::Restored { report, initialized, seed, .. } => {
            text::print_report(out, &report.worded(&Nothing).to_string())?;
            if !initialized.is_empty() {
                let count = counted(initialized.len(), "variable");
                writeln!(out, "{count} initialized, seed {seed}")?;
            }
        }
        other => text::print_report(out, &other.to_string())?,
    }
    Ok(())
}

/// Names as a line shows them: in quotes where it would not tell where one ends.
fn text_of(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let quoted = names.iter().any(|name| name.contains(','));
    let shown = |name: &String| if quoted { format!("`{name}`") } else { name.clone() };
    let first = names.iter().take(SHOWN).map(shown).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{first}, …") } else { first }
}
