//! Which variables each optimizer of a session trains.
//!
//! The first declaration of a name holds, but a variable that a graph had frozen counts as
//! trainable once a plan trains it. A plan is refused that would have one count of steps be Adam's
//! for two models.

use crate::plan_error::CompileError;
use std::collections::{BTreeSet, HashMap};
use warmstart_graph::ops::{OptimizerUpdate, Rule};
use warmstart_graph::{GraphDef, Node, Op, Update, Variable};

/// By the name of the variable that counts an optimizer's steps, the variables that the plans of a
/// session train by it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trainers(HashMap<String, BTreeSet<String>>);

impl Trainers {
    /// The same with a plan of these updates. Adam corrects its moments by the number of steps, which
    /// is one number in the session: for two models it would be right for neither.
    ///
    /// # Errors
    /// [`CompileError::SharedStep`] if the updates train by such a count what has nothing to do with
    /// what is trained by it already. Plans that have some of it in common are of one model: another
    /// batch size, or one with a part that is not frozen any more. (That part's moments begin at 0
    /// under a count that does not, so its first steps are larger than they should be, as in PyTorch
    /// where parameters share a state.)
    pub fn with(&self, def: &GraphDef, updates: &[Update<'_>]) -> Result<Trainers, CompileError> {
        let mut trainers = self.clone();
        for (node, update) in optimizers(def, updates) {
            if !matches!(update.rule, Rule::Adam { .. }) {
                continue;
            }
            let step = def.variables[update.step.0].name.clone();
            let now: BTreeSet<String> =
                parameters(def, update).map(|variable| variable.name.clone()).collect();
            let before = trainers.0.entry(step.clone()).or_default();
            if !before.is_empty() && before.is_disjoint(&now) {
                return Err(CompileError::SharedStep {
                    location: node.location.clone(),
                    step,
                    before: before.iter().cloned().collect(),
                    now: now.into_iter().collect(),
                });
            }
            before.extend(now);
        }
        Ok(trainers)
    }
}

/// The variables that optimizers train by these updates.
pub(crate) fn trained_by<'a>(def: &'a GraphDef, updates: &[Update<'_>]) -> Vec<&'a Variable> {
    optimizers(def, updates).flat_map(|(_, update)| parameters(def, update)).collect()
}

fn optimizers<'a>(
    def: &'a GraphDef,
    updates: &[Update<'_>],
) -> impl Iterator<Item = (&'a Node, &'a OptimizerUpdate)> {
    updates.iter().map(|update| &def.nodes[update.id().0]).filter_map(|node| match &node.op {
        Op::OptimizerUpdate(update) => Some((node, update)),
        _ => None,
    })
}

fn parameters<'a>(
    def: &'a GraphDef,
    update: &'a OptimizerUpdate,
) -> impl Iterator<Item = &'a Variable> {
    update.parameters.iter().map(|parameter| &def.variables[parameter.variable.0])
}
