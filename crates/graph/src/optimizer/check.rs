//! What is wrong with an optimizer's settings: by themselves, and for the variables of a graph.

use super::Optimizer;
use crate::ops::Rule;
use crate::{Accumulation, Glob, Problem, SEPARATORS, Variable, VariableId};
use std::cmp::Reverse;

impl Optimizer {
    /// What is wrong with the settings by themselves.
    pub(super) fn unsuitable(&self) -> impl Iterator<Item = Problem> {
        let limit = self.clip_global_norm.filter(|&limit| !limit.is_finite() || limit <= 0.0);
        let limit = limit.map(|limit| Problem::Range {
            what: "the limit of the global norm".to_owned(),
            value: limit.into(),
            range: "finite and above 0".to_owned(),
        });
        let scaling = self.loss_scaling.and_then(|scaling| scaling.check().err());
        // As PyTorch: without momentum it would be plain SGD, which was hardly meant.
        let plain = matches!(self.rule, Rule::Sgd { momentum: 0.0, nesterov: true, .. });
        let plain = plain.then(|| Problem::Range {
            what: "the momentum of Nesterov's variant".to_owned(),
            value: 0.0,
            range: "above 0".to_owned(),
        });
        let steps = self.gradient_accumulation_steps;
        let steps = steps.and_then(|steps| Accumulation::check(steps).err());
        let foreign = self.foreign.iter().map(|setting| Problem::OptimizerSetting {
            setting: setting.clone(),
            optimizer: self.rule.name(),
            others: match self.rule {
                Rule::Sgd { .. } => "`Optimizer::adam` or `Optimizer::adamw`",
                Rule::Adam { .. } => "`Optimizer::sgd`",
            },
        });
        let globs = self.no_decay.iter().filter_map(|glob| {
            let why = Glob::new(glob).err()?;
            Some(Problem::Glob { what: "no_decay", glob: glob.clone(), why })
        });
        let numbers = [self.rule.check().err(), plain, limit, scaling, steps];
        numbers.into_iter().flatten().chain(foreign).chain(globs)
    }

    /// Globs of `no_decay` that match none of these variables. A glob that is none is not among them.
    pub(super) fn unmatched(&self, trainable: &[(VariableId, Variable)]) -> Vec<Problem> {
        let names: Vec<&str> = trainable.iter().map(|(_, variable)| &*variable.name).collect();
        let globs = self.no_decay.iter().filter_map(|glob| Glob::new(glob).ok());
        let unmatched = globs.filter(|glob| !names.iter().any(|name| excepts(glob, name)));
        let problem = |glob: Glob| Problem::UnmatchedGlob {
            what: "no_decay",
            nearest: nearest(glob.as_str(), &names),
            glob: glob.as_str().to_owned(),
        };
        unmatched.map(problem).collect()
    }
}

/// What of a name a glob may match: all of it, or what follows the last `/`; and the last part, if the
/// glob has one part only.
fn ends_of<'a>(name: &'a str, glob: &str) -> impl Iterator<Item = &'a str> {
    let after = |separators: &[char]| name.rsplit(separators).next().unwrap_or_default();
    let part = (!glob.contains(SEPARATORS)).then(|| after(&SEPARATORS));
    [name, after(&['/'])].into_iter().chain(part)
}

/// Whether a glob excepts a variable of this name from weight decay.
pub(super) fn excepts(glob: &Glob, name: &str) -> bool {
    ends_of(name, glob.as_str()).any(|end| glob.is_match(end))
}

/// The names that are most like a glob, the nearest first.
fn nearest(glob: &str, names: &[&str]) -> Vec<String> {
    const SHOWN: usize = 3;
    let likeness = |name: &str| {
        let ends = ends_of(name, glob);
        let of = |end: &str| (1e6 * strsim::normalized_damerau_levenshtein(glob, end)) as u64;
        ends.map(of).max()
    };
    let mut names = names.to_vec();
    names.sort_by_cached_key(|name| Reverse(likeness(name)));
    names.into_iter().take(SHOWN).map(str::to_owned).collect()
}
