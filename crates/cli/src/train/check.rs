//! What a training file says, held against itself.

use super::settings::{Loss, OptimizerName, ScheduleKind, Settings};
use super::source::Source;
use crate::description::Output;
use crate::error::Failure;
use warmstart::graph::{Accumulation, Glob, GraphErrors, Problem};

/// Refuses numbers out of their range, and keys that contradict or do nothing.
pub fn check(source: &Source, settings: &Settings) -> Result<(), Failure> {
    let Settings { data, model, training, checkpoints, .. } = settings;
    let wrong = |keys: &[&str], message: &str| Err(source.failure(keys, message, "this value"));
    let apart = data.validation_file.is_some() || data.validation_array.is_some();
    if apart && data.validation.is_some() {
        return wrong(
            &["data", "validation"],
            "rows to validate on are given apart, so none are set aside; remove `validation`, or `validation_file` and `validation_array`",
        );
    }
    for (key, given) in [
        ("validation_labels", data.validation_labels.is_some()),
        ("validation_labels_array", data.validation_labels_array.is_some()),
    ] {
        if given && !apart {
            return wrong(
                &["data", key],
                "there are no rows that these are the labels of; give `validation_file` too",
            );
        }
    }
    if apart
        && (data.labels.is_some() || data.labels_array.is_some())
        && data.validation_labels.is_none()
        && data.validation_labels_array.is_none()
    {
        let key =
            if data.validation_file.is_some() { "validation_file" } else { "validation_array" };
        return wrong(
            &["data", key],
            "the labels to train on have a file or an array of their own, so the labels to validate on need one too; give `validation_labels` or `validation_labels_array`",
        );
    }
    if data.validation.is_some_and(|share| !(0.0..1.0).contains(&share)) {
        return wrong(
            &["data", "validation"],
            "the share of rows to validate on is at least 0 and below 1, such as 0.2",
        );
    }
    if model.hidden.contains(&0) {
        return wrong(&["model", "hidden"], "a layer needs at least 1 unit; [] is a linear model");
    }
    if !(0.0..1.0).contains(&model.dropout) {
        return wrong(&["model", "dropout"], "the share to drop is at least 0 and below 1");
    }
    if training.epochs.is_some() && training.steps.is_some() {
        return wrong(
            &["training", "steps"],
            "`epochs` and `steps` both say how long to train; remove one of the two",
        );
    }
    for (key, value) in [
        ("epochs", training.epochs),
        ("steps", training.steps),
        ("batch", training.batch.map(|batch| batch as u64)),
        ("gradient_accumulation_steps", Some(training.gradient_accumulation_steps.into())),
        ("log_every", Some(training.log_every)),
        ("validate_every", training.validate_every),
        ("memory_limit", training.memory_limit),
    ] {
        if value == Some(0) {
            return wrong(&["training", key], "give at least 1");
        }
    }
    let together = training.gradient_accumulation_steps;
    if let Err(problem) = Accumulation::check(together) {
        return wrong(&["training", "gradient_accumulation_steps"], &problem.to_string());
    }
    if !(training.huber_delta.is_finite() && training.huber_delta > 0.0) {
        return wrong(&["training", "huber_delta"], "give a number above 0");
    }
    if training.huber_delta != 1.0 && training.loss != Some(Loss::Huber) {
        return wrong(
            &["training", "huber_delta"],
            "only the loss `huber` has this key; remove `huber_delta`, or give `loss = \"huber\"`",
        );
    }
    if !(0.0..1.0).contains(&training.label_smoothing) {
        return wrong(&["training", "label_smoothing"], "give at least 0 and below 1");
    }
    if checkpoints.keep == 0
        && (checkpoints.keep_best.is_none_or(|keep| keep > 0) || checkpoints.keep_every > 0)
    {
        return wrong(
            &["checkpoints", "keep"],
            "a run goes on from its newest checkpoint, so keep at least 1; all are kept if `keep_every` and `keep_best` are 0 too",
        );
    }
    optimizer(source, settings)?;
    schedule(source, settings)
}

/// Refuses keys that do nothing for what is to be learned.
pub fn check_task(source: &Source, settings: &Settings, output: &Output) -> Result<(), Failure> {
    let wrong =
        |keys: &[&str], message: &str| Err(source.failure(keys, message, "this does nothing"));
    match output {
        Output::Values(_) if settings.training.label_smoothing != 0.0 => wrong(
            &["training", "label_smoothing"],
            "a regression has no labels to smooth; remove `label_smoothing`, or give `task = \"classification\"` under [data]",
        ),
        Output::Classes(_) if !settings.data.scale_targets => wrong(
            &["data", "scale_targets"],
            "classes are not scaled; remove `scale_targets`, or give `task = \"regression\"`",
        ),
        _ => Ok(()),
    }
}

fn optimizer(source: &Source, settings: &Settings) -> Result<(), Failure> {
    let optimizer = &settings.optimizer;
    let wrong =
        |key: &str, message: &str| Err(source.failure(&["optimizer", key], message, "this value"));
    let sgd = optimizer.name == OptimizerName::Sgd;
    for (key, given, of_sgd) in [
        ("momentum", optimizer.momentum.is_some(), true),
        ("nesterov", optimizer.nesterov.is_some(), true),
        ("betas", optimizer.betas.is_some(), false),
        ("epsilon", optimizer.epsilon.is_some(), false),
    ] {
        if given && sgd != of_sgd {
            let whose = if of_sgd { "sgd" } else { "adam and adamw" };
            return wrong(
                key,
                &format!("only {whose} has this key; remove `{key}`, or change `name`"),
            );
        }
    }
    let positive = |value: f32| value.is_finite() && value > 0.0;
    if !positive(optimizer.learning_rate) {
        return wrong("learning_rate", "give a number above 0, such as 0.001");
    }
    if optimizer.clip_global_norm.is_some_and(|limit| !positive(limit)) {
        return wrong("clip_global_norm", "give a number above 0, such as 1.0");
    }
    if optimizer.epsilon.is_some_and(|epsilon| !positive(epsilon)) {
        return wrong("epsilon", "give a number above 0, such as 1e-8");
    }
    if optimizer.weight_decay.is_some_and(|decay| !(decay.is_finite() && decay >= 0.0)) {
        return wrong("weight_decay", "give a number of at least 0, such as 0.01");
    }
    let of_adamw = optimizer.name == OptimizerName::Adamw;
    let decays = optimizer.weight_decay.map_or(of_adamw, |decay| decay > 0.0);
    if !optimizer.no_decay.is_empty() && !decays {
        return wrong(
            "no_decay",
            "there is no weight decay to except these from; remove `no_decay`, or give `weight_decay`, such as 0.01",
        );
    }
    for (at, glob) in optimizer.no_decay.iter().enumerate() {
        if let Err(why) = Glob::new(glob) {
            let (key, message) = (at.to_string(), format!("{glob:?} is no glob of names: {why}"));
            let keys = ["optimizer", "no_decay", &key];
            return Err(source.failure(&keys, message, "this value"));
        }
    }
    if optimizer.momentum.is_some_and(|momentum| !(0.0..1.0).contains(&momentum)) {
        return wrong("momentum", "give at least 0 and below 1, such as 0.9");
    }
    if optimizer.nesterov == Some(true) && optimizer.momentum.is_none_or(|momentum| momentum == 0.0)
    {
        return wrong(
            "nesterov",
            "Nesterov's method is a variant of momentum; give `momentum` too, such as 0.9",
        );
    }
    if optimizer.betas.is_some_and(|betas| betas.iter().any(|beta| !(0.0..1.0).contains(beta))) {
        return wrong("betas", "give two numbers of at least 0 and below 1, such as [0.9, 0.999]");
    }
    Ok(())
}

/// A glob of `no_decay` that matches no variable, which is known once there is a graph.
pub fn unmatched(source: &Source, settings: &Settings, errors: &GraphErrors) -> Option<Failure> {
    let (glob, nearest) = errors.0.iter().find_map(|error| match &error.problem {
        Problem::UnmatchedGlob { glob, nearest, .. } => Some((glob, nearest)),
        _ => None,
    })?;
    let at = settings.optimizer.no_decay.iter().position(|given| given == glob)?.to_string();
    let message = format!("{glob:?} matches no variable that is trained");
    let failure = source.failure(&["optimizer", "no_decay", &at], message, "this value");
    Some(failure.help(format!(
        "{}correct the pattern, or take it out of `no_decay`",
        told_of_nearest(nearest)
    )))
}

fn told_of_nearest(names: &[String]) -> String {
    let listed: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match listed.as_slice() {
        [] => String::new(),
        [one] => format!("the nearest is {one}; "),
        several => format!("the nearest are {}; ", several.join(", ")),
    }
}

fn schedule(source: &Source, settings: &Settings) -> Result<(), Failure> {
    let schedule = &settings.schedule;
    let wrong =
        |key: &str, message: &str| Err(source.failure(&["schedule", key], message, "this value"));
    let cosine = schedule.kind == ScheduleKind::Cosine;
    let decays = matches!(schedule.kind, ScheduleKind::Step | ScheduleKind::Exponential);
    for (key, given, fits, whose) in [
        ("steps", schedule.steps.is_some(), cosine, "cosine"),
        ("last", schedule.last.is_some(), cosine, "cosine"),
        ("every", schedule.every.is_some(), decays, "step and exponential"),
        ("factor", schedule.factor.is_some(), decays, "step and exponential"),
    ] {
        if given && !fits {
            return wrong(
                key,
                &format!("only {whose} has this key; remove `{key}`, or change `kind`"),
            );
        }
        if decays && fits && !given {
            return wrong(
                "kind",
                "such a schedule needs `every`, a number of steps, and `factor`, what each so many steps multiply the learning rate by",
            );
        }
    }
    if schedule.steps == Some(0) {
        return wrong("steps", "give at least 1");
    }
    if schedule.every == Some(0) {
        return wrong("every", "give at least 1");
    }
    if schedule.last.is_some_and(|last| !(last.is_finite() && last >= 0.0)) {
        return wrong("last", "give a number of at least 0");
    }
    if schedule.factor.is_some_and(|factor| !(factor.is_finite() && factor > 0.0)) {
        return wrong("factor", "give a number above 0, such as 0.5");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::told_of_nearest;

    #[test]
    fn the_nearest_are_as_many_as_there_are() {
        let told = |names: &[&str]| {
            told_of_nearest(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(told(&[]), "");
        assert_eq!(told(&["a"]), "the nearest is `a`; ");
        assert_eq!(told(&["a", "b"]), "the nearest are `a`, `b`; ");
    }
}
