//! What a run goes on from, and whether the file still says what that checkpoint was trained by.

use super::network::{self, Network, Shape};
use super::settings::{Activation, OptimizerName, Settings};
use super::{Job, accumulated, same_model};
use crate::description::Description;
use crate::error::Failure;
use serde_json::Value;
use std::path::Path;
use warmstart::TrainingError;
use warmstart::checkpoint::{Checkpoint, CheckpointError, RestoreOptions, latest, list};
use warmstart::graph::{Graph, GraphDef};
use warmstart_graph::words::printable_path;

/// A checkpoint that a run goes on from.
#[derive(Default)]
pub struct Newest {
    /// What is to be known about it.
    pub notes: Vec<String>,
    /// How it may differ from the variables of the run.
    pub restore: RestoreOptions,
}

impl Job {
    /// What is to be known if the run goes on from a checkpoint, which must be of the same seed, data,
    /// model and optimizer.
    pub fn check_newest(&self, graph: &Graph) -> Result<Option<Newest>, Failure> {
        let directory = &self.directory;
        if !directory.is_dir() || list(directory)?.is_empty() {
            return Ok(None);
        }
        let newest = latest(directory).map_err(|error| self.begun_afresh(error.into()))?;
        let Some(newest) = newest else { return Ok(None) };
        let file = printable_path(&newest.path);
        let checkpoint = Checkpoint::open(&newest.path)?;
        if let Some(seed) = checkpoint.metadata().seed().filter(|&seed| seed != self.settings.seed)
        {
            let message = format!("`{file}` is of a run with seed {seed}; nothing was trained");
            let failure = self.source.failure(&["seed"], message, "another seed");
            let back = self.back(&["seed"], &seed.to_string());
            return Err(self.of_another_run(failure, "seed", &back, None));
        }
        let Some(before) = Description::of(&checkpoint)? else {
            return Ok(Some(Newest::default()));
        };
        let what = match (&before, &self.data.description) {
            // By their names they are found in a file that has got more columns.
            (before, now)
                if before.inputs.are(&now.inputs)
                    && (&before.output, &before.rows) == (&now.output, &now.rows) =>
            {
                self.check_model(&checkpoint)?;
                self.check_optimizer(&checkpoint)?;
                let mut notes = self.kept(&checkpoint, graph)?;
                let (restore, told) = self.tolerated(&checkpoint, graph)?;
                notes.extend(told);
                return Ok(Some(Newest { notes, restore }));
            }
            (before, now) if !before.inputs.are(&now.inputs) || before.output != now.output => {
                let inputs = (!before.inputs.are(&now.inputs))
                    .then(|| format!("other inputs ({})", before.inputs.told_apart(&now.inputs)));
                let output = (before.output != now.output).then(|| {
                    let which = before.output.told_apart(&now.output);
                    format!("other classes or targets ({which})")
                });
                [inputs, output].into_iter().flatten().collect::<Vec<_>>().join(", and on ")
            }
            _ => "other rows, or another split of them".to_owned(),
        };
        let failure = Failure::new(format!("`{file}` was trained on {what}; nothing was trained"));
        let now = &self.data.description;
        let is_renamed = before.inputs.differs(&now.inputs).is_some()
            || before.output.differs(&now.output).is_some();
        let same_numbers = before.rows == now.rows && before.inputs.count() == now.inputs.count();
        let back = match (before.inputs.are_named(), now.inputs.are_named()) {
            (false, true) if same_numbers => "remove the first line, which has the names",
            (true, false) if same_numbers => "give the first line with the names again",
            _ if same_numbers && is_renamed => {
                "only names are others: call them again what the checkpoint calls them"
            }
            _ => "give the same data again",
        };
        let begins = format!(
            "a run goes on with the data it began with: {back}, or begin another run on this data"
        );
        // Weights for other inputs fit no better than none, and what scales them would come along.
        Err(failure.help(match before.inputs.are(&now.inputs) && before.output == now.output {
            true => format!(
                "{begins} with these weights, by these lines{}",
                self.another_run(&newest.path)
            ),
            false => format!("{begins}, by this line{}", self.another_directory()),
        }))
    }

    /// A failure that does not keep another run from beginning, unless it is of something else than
    /// the checkpoints that are there.
    pub fn begun_afresh(&self, error: TrainingError) -> Failure {
        let afresh = matches!(
            error,
            TrainingError::AlreadyRunning(_)
                | TrainingError::Checkpoint(CheckpointError::AllDamaged { .. })
        );
        let failure = Failure::from(error);
        match afresh {
            true => {
                failure.or(&format!("begin another run, by this line{}", self.another_directory()))
            }
            false => failure,
        }
    }

    /// A failure of a key that a run keeps for good: both ways out, with the weights of a checkpoint
    /// where they are of use to another run.
    fn of_another_run(
        &self,
        failure: Failure,
        what: &str,
        back: &str,
        weights: Option<&Path>,
    ) -> Failure {
        let other = match weights {
            Some(checkpoint) => {
                format!("with these weights, by these lines{}", self.another_run(checkpoint))
            }
            None => format!("by this line{}", self.another_directory()),
        };
        failure.help(format!(
            "a run goes on with the {what} it began with: {back}, or begin another run {other}"
        ))
    }

    /// How a key gets the value again that it had.
    pub fn back(&self, keys: &[&str], value: &str) -> String {
        let key = keys.last().copied().unwrap_or_default();
        match (self.source.says(keys), keys) {
            (true, _) => format!("say `{key} = {value}` again"),
            (false, [table, _]) => format!("say `{key} = {value}` under [{table}]"),
            (false, _) => format!("say `{key} = {value}` at the top"),
        }
    }

    /// Notes of what only a new run would do otherwise.
    fn kept(&self, checkpoint: &Checkpoint, graph: &Graph) -> Result<Vec<String>, Failure> {
        let before = checkpoint.metadata().variables()?.unwrap_or_default();
        let kept = same_model::kept(&before, &graph.finish()?.variables);
        let note = |(key, what): (&str, &str)| {
            format!(
                "`{key}` is not what the run began with and changes nothing: {what}; another `directory` begins a new run"
            )
        };
        Ok(kept.into_iter().map(note).collect())
    }

    /// How the checkpoint may differ, and notes if it does: loss scaling and gradient accumulation come
    /// and go with a key, and what they keep is nothing that a model would miss.
    fn tolerated(
        &self,
        checkpoint: &Checkpoint,
        graph: &Graph,
    ) -> Result<(RestoreOptions, Vec<String>), Failure> {
        let (strict, now) = (RestoreOptions::new(), graph.finish()?);
        let before = checkpoint.graph().ok().and_then(|graph| graph.finish().ok());
        let Some(before) = before else { return Ok((strict, Vec::new())) };
        let plan = checkpoint.plan_for(&now.variables, &strict);
        let missing: Vec<&str> = plan.missing().map(|variable| &*variable.name).collect();
        let unexpected: Vec<&str> = plan.unexpected().iter().map(|tensor| &*tensor.name).collect();
        let key = match self.settings.optimizer.loss_scaling {
            Some(_) => "optimizer.loss_scaling",
            None => "training.compute_f16",
        };
        let scaling = (same_model::loss_scaling(&now), same_model::loss_scaling(&before));
        let sums = (same_model::accumulation(&now), same_model::accumulation(&before));
        let parts = [
            ("loss scaling", key, scaling),
            ("gradient accumulation", "training.gradient_accumulation_steps", sums),
        ];
        let comes = |name: &&str| parts.iter().any(|(_, _, (now, _))| now.contains(name));
        let goes = |name: &&str| parts.iter().any(|(_, _, (_, before))| before.contains(name));
        if !missing.iter().all(comes) || !unexpected.iter().all(goes) {
            return Ok((strict, Vec::new()));
        }
        let named = |names: &[&str]| match names.len() {
            0..=2 => format!("`{}`", names.join("` and `")),
            count => format!("the {count} variables that it keeps"),
        };
        let mut notes = Vec::new();
        for (what, key, (now, before)) in &parts {
            for (names, kept, is, how) in [
                (&missing, now, "on", "begin at their initial values"),
                (&unexpected, before, "off", "of the checkpoint are left out"),
            ] {
                let names: Vec<&str> =
                    names.iter().copied().filter(|name| kept.contains(name)).collect();
                if !names.is_empty() {
                    let names = named(&names);
                    notes.push(format!("{what} is {is} since `{key}` changed: {names} {how}"));
                }
            }
        }
        let (_, _, (_, sums_before)) = &parts[1];
        let goes = unexpected.iter().any(|name| sums_before.contains(name));
        notes.extend(goes.then(|| accumulated::lost(checkpoint)).flatten());
        let restore = if missing.is_empty() { strict } else { strict.allow_missing() };
        let restore = if unexpected.is_empty() { restore } else { restore.allow_unexpected() };
        Ok((restore, notes))
    }

    /// Refuses a model that predicts otherwise than the checkpoint's: its scores would be of no
    /// checkpoint. What only trains may change.
    fn check_model(&self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let before = checkpoint.graph().ok().and_then(|graph| graph.finish().ok());
        let Some(before) = before else { return Ok(()) };
        let now = self.model_like(&before, &self.settings)?;
        let Some(difference) = same_model::difference(&before, &now) else { return Ok(()) };
        let file = printable_path(checkpoint.file());
        let keys = ["model", difference.key()];
        let value = match difference {
            same_model::Difference::Hidden => Some(format!("{:?}", same_model::hidden(&before))),
            same_model::Difference::Activation => {
                self.activation_of(&before)?.map(|name| format!("\"{name}\""))
            }
        };
        let (had, back) = match value {
            Some(value) => {
                (format!(", `{} = {value}`", difference.key()), self.back(&keys, &value))
            }
            // Of another version, which built it otherwise.
            None => (String::new(), "use the former model again".to_owned()),
        };
        let what = difference.described();
        let message = format!("`{file}` is of a model with {what}{had}; nothing was trained");
        let failure = self.source.failure(&keys, message, "another model");
        Err(self.of_another_run(failure, "model", &back, None))
    }

    /// The model of these settings, which takes as many rows at once as the one of the checkpoint: it
    /// may have been trained on another device.
    fn model_like(&self, before: &GraphDef, settings: &Settings) -> Result<GraphDef, Failure> {
        let rows_at_once = same_model::rows_at_once(before).unwrap_or(self.shape.rows_at_once);
        let shape = Shape { rows_at_once, ..self.shape.clone() };
        let graph = Graph::new();
        let optimizer = network::optimizer(settings, self.updates.by(self.steps));
        let line = |table: &str| self.source.line(table);
        Network::build(&graph, settings, &optimizer, &shape, &line);
        Ok(graph.finish()?)
    }

    /// The activation by which a model of these settings is the one of the checkpoint.
    fn activation_of(&self, before: &GraphDef) -> Result<Option<&'static str>, Failure> {
        let mut settings = self.source.settings()?;
        for (activation, name) in Activation::ALL {
            settings.model.activation = activation;
            let now = self.model_like(before, &settings)?;
            if same_model::difference(before, &now).is_none() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Refuses an optimizer whose slots are not those of the checkpoint's. Its settings may change.
    fn check_optimizer(&self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let text = checkpoint.metadata().optimizer();
        let before = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let Some(before) = before else { return Ok(()) };
        let optimizer = &self.settings.optimizer;
        let now = optimizer.name.text();
        let newest = checkpoint.file();
        let refused = |key: &str, had: String, label: &str, back: &str| {
            let file = printable_path(newest);
            let message = format!("`{file}` was trained {had}; nothing was trained");
            let failure = self.source.failure(&["optimizer", key], message, label);
            Err(self.of_another_run(failure, "optimizer", back, Some(newest)))
        };
        let Some(name) = before["name"].as_str() else { return Ok(()) };
        if name != now {
            let back = self.back(&["optimizer", "name"], &format!("\"{name}\""));
            return refused("name", format!("with {name}"), "another optimizer", &back);
        }
        let had = before["rule"]["sgd"]["momentum"].as_f64().filter(|&momentum| momentum != 0.0);
        let has = optimizer.momentum.filter(|&momentum| momentum != 0.0);
        match (optimizer.name, had, has) {
            (OptimizerName::Sgd, Some(momentum), None) => {
                let back = self.back(&["optimizer", "momentum"], &momentum.to_string());
                refused("momentum", format!("with a momentum of {momentum}"), "none", &back)
            }
            (OptimizerName::Sgd, None, Some(_)) => {
                let had = "without momentum".to_owned();
                refused("momentum", had, "a momentum", "leave `momentum` out")
            }
            _ => Ok(()),
        }
    }
}
