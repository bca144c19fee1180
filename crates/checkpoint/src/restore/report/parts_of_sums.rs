//! What is told where only a part of what an optimizer has accumulated would be restored.

use crate::printable::first_quoted;
use crate::restore::report::RestoreReport;
use crate::restore::rules::{EVERYTHING, Rule};
use crate::restore::suggestion::Allowance;
use crate::restore::wording::{SHOWN, Wording, one_of};
use warmstart_graph::words::counted_as;
use warmstart_graph::{Accumulation, Glob};

/// What an optimizer has accumulated, where only a part of it would be restored.
#[derive(Clone, Debug)]
pub(crate) struct PartOfSums {
    pub optimizer: String,
    /// Of how many batches the sums are, if the file says it.
    pub batches: Option<u64>,
    /// What is wrong with that number, if it cannot be read.
    pub damage: Option<String>,
    /// The variable that this number belongs in.
    pub count: String,
    /// Variables whose sums would not be restored; none where it is the number that would not be.
    pub without: Vec<String>,
    /// The accumulators.
    pub sums: Vec<String>,
}

impl PartOfSums {
    fn what(&self) -> String {
        let optimizer = &self.optimizer;
        match (self.batches, &self.damage) {
            (Some(batches), _) => {
                let batches = counted_as(batches as usize, "batch", "batches");
                format!("the gradients of {batches} that {optimizer} has accumulated")
            }
            (None, Some(damage)) => format!(
                "the gradients that {optimizer} has accumulated (of how many batches is not known: \
                 {damage})"
            ),
            (None, None) => format!("the gradients that {optimizer} has accumulated"),
        }
    }

    fn lacking(&self) -> String {
        if self.without.is_empty() {
            return format!("the number of these batches, `{}`", self.count);
        }
        let shown = first_quoted(&self.without, SHOWN);
        format!("those of {shown}, and divided by as many batches all the same")
    }

    /// A rule that leaves out all of it, and nothing else that takes part.
    fn rule(&self, report: &RestoreReport) -> Option<Rule> {
        let (optimizer, slot) = (Glob::escape(&self.optimizer), Accumulation::SLOT);
        let count = Glob::escape(&self.count);
        let of_names = format!("{{{count},{EVERYTHING}/{optimizer}/{slot}}}");
        let all: Vec<&str> = self.sums.iter().chain([&self.count]).map(String::as_str).collect();
        let listed = (all.len() <= 2 * SHOWN).then(|| one_of(&all));
        let fits = |text: &String| {
            Glob::new(text).is_ok_and(|glob| {
                let names = report.variables.iter().map(|v| v.variable.name.as_str());
                let mut names = names.filter(|name| glob.is_match(name));
                all.iter().all(|name| glob.is_match(name)) && names.all(|name| all.contains(&name))
            })
        };
        [Some(of_names), listed].into_iter().flatten().find(fits).map(Rule::Ignore)
    }
}

impl RestoreReport {
    /// What was accumulated and would be restored in part, if it may not be.
    pub(crate) fn told_of_parts_of_sums(&self) -> Vec<String> {
        let told = |part: &PartOfSums| {
            format!("{} would be restored without {}", part.what(), part.lacking())
        };
        self.parts_of_sums.iter().filter(|_| !self.allow_slots_alone).map(told).collect()
    }

    /// The same where that is allowed.
    pub(crate) fn notes_of_parts_of_sums(&self) -> Vec<String> {
        let told =
            |part: &PartOfSums| format!("{}: restored without {}", part.what(), part.lacking());
        self.parts_of_sums.iter().map(told).collect()
    }

    /// How it is left out, or is not.
    pub(crate) fn help_with_parts_of_sums(&self, words: &dyn Wording) -> Vec<String> {
        let is_error = self.lets_owners_be();
        if self.only_counters().is_some() || (!is_error && self.may_be_mended()) {
            return Vec::new();
        }
        let allow = words.allow(&[Allowance::SlotsAlone]);
        let allow = allow
            .map(|allow| format!("`{allow}` restores them beside values that are from elsewhere"));
        let told = self.told_of_parts_of_sums();
        let helps = self.parts_of_sums.iter().zip(told).filter_map(|(part, told)| {
            let rule = part.rule(self).and_then(|rule| words.rule(&rule)).map(|rule| {
                format!(
                    "`{rule}` leaves out all of them, so that the next update begins anew, without \
                     these batches"
                )
            });
            let ways: Vec<String> = rule.into_iter().chain(allow.clone()).collect();
            let ways = Some(ways.join("; ")).filter(|ways| !ways.is_empty())?;
            Some(if is_error { ways } else { format!("{told}: {ways}") })
        });
        helps.collect()
    }
}
