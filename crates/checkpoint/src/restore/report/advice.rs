//! What a [`RestoreReport`] says beside its lists: what to know, what is wrong, and the line that
//! mends it, in the words of whoever reads it.

use crate::error::Damaged;
use crate::printable::{first_quoted, printable, quoted};
use crate::restore::matching::Outcome;
use crate::restore::near_globs::near_name;
use crate::restore::report::nothing::is_constant;
use crate::restore::report::text::slot_groups;
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::restore::rules::{EVERYTHING, Rule, RuleUse, apply, without_output};
use crate::restore::suggestion::{Allowance, Suggestion};
use crate::restore::wording::{SHOWN, Wording, deed, rule_text};
use warmstart_graph::words::{counted_as, first_few_between};
use warmstart_graph::{Glob, Role, Variable};

impl RestoreReport {
    pub(crate) fn notes(&self, words: &dyn Wording) -> Vec<String> {
        let mut notes = Damaged::first_notes(self.damaged.iter());
        let mut output_suffix = false;
        let mut initializers = Vec::new();
        for VariableOutcome { variable, outcome } in self.variables.iter() {
            let Outcome::Restored { tensor, .. } = outcome else { continue };
            output_suffix |= *tensor != variable.name
                && without_output(tensor) == without_output(&variable.name);
            if let Some(saved) = self.saved.get(tensor).and_then(|saved| saved.initializer.as_ref())
                && *saved != variable.initializer
                && let Some(declared) = words.initializer(&variable.name, &variable.initializer)
            {
                initializers.push((variable, declared, saved));
            }
        }
        if output_suffix {
            notes.push("names that differ only by a trailing `:0` were taken as equal".to_owned());
        }
        notes.extend(self.note_of_shared());
        notes.extend(self.note_of_counting(words));
        if let Some((variable, declared, saved)) = initializers.first() {
            let name = printable(&variable.name);
            let more = match initializers.len() - 1 {
                0 => String::new(),
                1 => "; so is one more".to_owned(),
                n => format!("; so are {n} more"),
            };
            let saved = saved.to_string();
            // Values that are given are too many to show, so two sets of them read the same.
            let alike = variable.initializer.to_string() == saved;
            let began = if alike { "other values" } else { &saved };
            notes.push(format!(
                "the restored values win over other initializers: `{name}` is declared with \
                 {declared}, and began as {began}{more}"
            ));
        }
        if self.closes() && self.missing().next().is_some() {
            let fill = words
                .fill()
                .map_or_else(String::new, |fill| format!("; {fill} fills those that have nothing"));
            notes.push(format!("missing variables keep what they have{fill}"));
        }
        if self.closes() && self.mismatched().next().is_some() {
            let fits = self.what_fits_shapes(words).map(|fits| format!("; {fits}"));
            notes.push(format!(
                "variables of another shape in the file keep what they have{}",
                fits.unwrap_or_default()
            ));
            notes.extend(self.note_of_parts_of_layers(words));
        }
        if self.closes()
            && let Some(alone) = slot_groups(self.slots_alone())
        {
            notes.push(format!("{alone}: restored, though what they belong to is not"));
        }
        if self.closes() {
            notes.extend(self.note_of_slots_of_others());
        }
        if self.closes() {
            notes.extend(self.notes_of_parts_of_sums());
        }
        if self.closes() && !self.unexpected.is_empty() {
            notes.push("unexpected tensors stay in the file".to_owned());
        }
        notes.extend(self.note_of_adapters());
        if self.closes() {
            notes.extend(self.note_of_square_matrices(words));
            notes.extend(self.notes_of_slots_anew(words));
            notes.extend(self.notes_of_counts_anew(words));
            notes.extend(self.suggestion_lines(words));
        }
        notes
    }

    /// Tensors that are the value of several variables: a map to two scopes makes all of them so.
    fn note_of_shared(&self) -> Option<String> {
        let shared: Vec<(&str, Vec<&str>)> = self.shared().into_iter().collect();
        Some(match shared.as_slice() {
            [] => return None,
            [(tensor, variables)] => {
                let (tensor, n) = (printable(tensor), variables.len());
                let variables = first_quoted(variables, SHOWN);
                format!("`{tensor}` is the value of {n} variables: {variables}")
            }
            many => {
                let one = |(tensor, variables): &(&str, Vec<&str>)| {
                    format!("`{}` of {}", printable(tensor), first_quoted(variables, SHOWN))
                };
                let some = first_few_between(many.iter().map(one), SHOWN, "; ");
                format!("{} tensors are the values of several variables each: {some}", many.len())
            }
        })
    }

    pub(crate) fn errors(&self, words: &dyn Wording) -> Vec<String> {
        let mut errors = Vec::new();
        for used in &self.rules {
            let rule = rule_text(words, &used.rule);
            match &used.problem {
                Some(problem) => {
                    let problem = problem.replace('\n', " ");
                    errors.push(format!("`{rule}` cannot be applied: {problem}."));
                }
                None if used.does_nothing() => errors.push(match self.needless(used) {
                    Some(why) => format!("`{rule}` changes nothing: {why}."),
                    None => format!("`{rule}` touches no name."),
                }),
                None => {}
            }
        }
        let ambiguous = self.ambiguous().count();
        if ambiguous > 0 {
            let have = counted_as(ambiguous, "variable has", "variables have");
            errors.push(format!("{have} several tensors in this checkpoint."));
        }
        if self.refuses_mismatches() {
            let have = counted_as(self.mismatched().count(), "variable has", "variables have");
            errors.push(format!("{have} another shape or dtype in this checkpoint."));
        }
        let missing = self.missing().count();
        if missing > 0 && !self.allow_missing {
            let have = counted_as(missing, "variable has", "variables have");
            errors.push(format!("{have} no value in this checkpoint."));
        }
        if !self.unexpected.is_empty() && !self.allow_unexpected {
            let belong = counted_as(self.unexpected.len(), "tensor belongs", "tensors belong");
            errors.push(format!("{belong} to no variable."));
        }
        if self.lets_nothing_be_restored() {
            errors.push(match self.variables.len() {
                1 if self.leaves_nothing() => {
                    "rules leave out the only variable, so that nothing would be restored."
                        .to_owned()
                }
                n if self.leaves_nothing() => {
                    format!("rules leave out all {n} variables, so that nothing would be restored.")
                }
                1 => "this checkpoint has nothing that fits the only variable.".to_owned(),
                n => format!("this checkpoint has nothing that fits any of the {n} variables."),
            });
        }
        if let Some(counters) = self.only_counters().filter(|_| self.lets_values_be_missing()) {
            let slots =
                counters.iter().any(|v| matches!(v.role, Role::Slot { variable: Some(_), .. }));
            let constants = counters.iter().any(|v| is_constant(v));
            let kind = match (constants, slots) {
                (true, true) => "constants, counters and slots",
                (true, false) if counters.iter().all(|v| is_constant(v)) => "constants",
                (true, false) => "constants and counters",
                (false, true) => "counters and slots",
                (false, false) => "counters",
            };
            let some: Vec<&String> = counters.iter().map(|v| &v.name).collect();
            let some = first_quoted(&some, SHOWN);
            errors.push(format!("only {kind} would be restored, and no weight: {some}."));
        } else if self.lets_owners_be() {
            let of_sums = self.told_of_parts_of_sums();
            let of_slots = [self.told_of_slots_alone(), self.told_of_slots_of_others()];
            let told = of_slots.into_iter().flatten().chain(of_sums);
            errors.extend(told.map(|told| format!("{told}.")));
        }
        if let Some(last) = errors.last_mut().filter(|_| words.is_of_restore()) {
            last.push_str(" Nothing on the device was changed.");
        }
        errors
    }

    pub(crate) fn helps(&self, words: &dyn Wording) -> Vec<String> {
        if self.closes() {
            return Vec::new();
        }
        let mut helps = self.suggestion_lines(words);
        let mut idle = self.rules.iter().filter(|used| used.does_nothing());
        helps.extend(self.help_with_maps(words));
        if idle.clone().any(|used| used.matched == 0) {
            helps.push(
                "rules about names are applied in order, each to the names that the one before \
                 leaves; take away what does nothing"
                    .to_owned(),
            );
            helps.extend(self.help_with_globs(words));
        }
        if let Some(RuleUse { rule, .. }) = idle.find(|used| used.matched > 0) {
            let cast = Rule::Cast(EVERYTHING.to_owned());
            let wherever = words.rule(&cast).filter(|_| matches!(rule, Rule::Cast(_)));
            helps.push(match wherever {
                Some(wherever) => format!(
                    "take away what changes nothing; `{wherever}` casts wherever it must, and may \
                     find nothing to cast"
                ),
                None => "take away what changes nothing".to_owned(),
            });
        }
        let ambiguous = |v: &VariableOutcome| match &v.outcome {
            Outcome::Ambiguous { tensors } => tensors.first().cloned(),
            _ => None,
        };
        if let Some(name) = self.variables.iter().find_map(ambiguous)
            && let Some(rule) = words.rule(&Rule::Ignore(Glob::escape(&name)))
        {
            helps.push(format!("`{rule}` before the rename leaves a tensor out"));
        }
        helps.extend(self.help_with_quantized());
        // What is suggested may mend all of it.
        let mends = |one: &Suggestion| {
            one.restores == one.of && one.rules.iter().all(|rule| words.rule(rule).is_some())
        };
        let mended = self.suggestions.iter().any(mends);
        if !mended {
            helps.extend(self.helps_with_dtypes(words));
        }
        helps.extend(self.help_with_shapes(words).filter(|_| !mended));
        helps.extend(self.help_with_order());
        // Names that are merely close are of no use beside rules that were tried out.
        let close = self.variables.iter().filter_map(|v| match &v.outcome {
            // A slot of one optimizer is never another's, however close its name.
            _ if matches!(v.variable.role, Role::Slot { .. }) => None,
            Outcome::Missing { close } if !close.is_empty() => Some((&*v.variable, close)),
            _ => None,
        });
        let another_model = self.help_with_another_model();
        let wanted =
            self.suggestions.is_empty() && !self.may_lack_some() && self.corrected.is_none();
        for (Variable { name, shape, .. }, close) in close.take(5).filter(|_| wanted) {
            // Those of its shape are the first.
            let first = self.unexpected.iter().find(|tensor| tensor.name == close[0]);
            let other = match first {
                Some(tensor) if tensor.shape != *shape => ", of another shape",
                _ => "",
            };
            let (name, close) = (printable(name), quoted(close, ", "));
            helps.push(format!("close to `{name}` in this checkpoint: {close}{other}"));
        }
        helps.extend(another_model.or_else(|| self.help_with_strangers(words)));
        helps.extend(self.help_with_slots_alone(words));
        helps.extend(self.help_with_slots_of_others(words));
        helps.extend(self.help_with_parts_of_sums(words));
        let (missing, allowed) = self.help_with_missing(words).unzip();
        // Where it is said together with the other, it need not be said alone.
        let says_unexpected = allowed.is_some_and(|all| all.contains(&Allowance::Unexpected));
        helps.extend(missing);
        if self.lets_nothing_be_restored() {
            helps.extend(self.what_fits_shapes(words));
            helps.extend(self.help_with_only(words));
            helps.push("leave the restore out if no variable is to be restored".to_owned());
        }
        let counters = self.only_counters();
        if let Some(counters) = counters.as_deref().filter(|_| self.lets_values_be_missing()) {
            helps.extend(self.help_with_counters(counters, words));
        }
        // Where nothing else is mended, to leave them is no help.
        let nothing = self.lets_nothing_be_restored()
            || (self.restored().next().is_none()
                && !self.lets_values_be_missing()
                && self.suggestions.is_empty());
        // What is left holds the weights.
        if self.asks_to_leave_tensors()
            && counters.is_none()
            && !nothing
            && !says_unexpected
            && !self.suggestions_take_all(words)
            && let Some(allow) = words.allow(&[Allowance::Unexpected])
        {
            helps.push(format!("`{allow}` leaves such tensors in the file"));
        }
        helps
    }

    /// Globs that match something, for those that were probably mistyped.
    fn help_with_globs(&self, words: &dyn Wording) -> Vec<String> {
        let tensors = self.variables.iter().filter_map(|v| match &v.outcome {
            Outcome::Restored { tensor, .. } => Some(tensor.as_str()),
            _ => None,
        });
        let variables: Vec<&str> =
            self.variables.iter().map(|v| v.variable.name.as_str()).collect();
        let names: Vec<&str> = tensors
            .chain(variables.iter().copied())
            .chain(self.unexpected.iter().map(|tensor| tensor.name.as_str()))
            .collect();
        let uses = self.rules.iter().enumerate();
        let idle = uses.filter(|(_, used)| used.does_nothing() && used.matched == 0);
        idle.filter_map(|(at, used)| {
            let names = if used.rule.is_about_values() { &variables } else { &names };
            let near = RuleUse::near(&self.rules, at, names).or_else(|| self.near_rename(at))?;
            let (old, new) = (words.rule(&used.rule)?, words.rule(&near)?);
            Some(format!("did you mean `{new}` for `{old}`?"))
        })
        .collect()
    }

    /// What a rule about names that touches none was probably meant to be.
    fn near_rename(&self, at: usize) -> Option<Rule> {
        let (used, near) = (self.rules.get(at)?, self.corrected.as_ref()?.get(at)?);
        (used.rule != *near).then(|| near.clone())
    }

    /// The rules with those that touch no name as they were probably meant, if there are such: by the names that
    /// the rules before them leave, corrected where they are.
    pub(crate) fn corrected_rules(&self) -> Option<Vec<Rule>> {
        // Each takes all rules before it, and all names.
        const LOOKED_AT: usize = 8;
        let idle = |used: &RuleUse| used.rule.is_about_names() && used.does_nothing();
        let (mut corrected, mut looked_at) = (Vec::with_capacity(self.rules.len()), 0);
        for used in &self.rules {
            let rule = &used.rule;
            let near = (idle(used) && looked_at < LOOKED_AT).then(|| {
                looked_at += 1;
                let tensors = self.saved.tensors().iter().map(|tensor| tensor.name.as_str());
                let names = apply(&corrected, tensors, &[]).names;
                let names: Vec<&str> = names.iter().flatten().map(AsRef::as_ref).collect();
                let alone = apply(std::slice::from_ref(rule), names.iter().copied(), &[]);
                // One that was mended before it may be what it waited for.
                let waits = alone.uses.iter().any(|used| used.touched > 0);
                (!waits).then(|| near_name(rule, &names)).flatten()
            });
            corrected.push(near.flatten().unwrap_or_else(|| rule.clone()));
        }
        let own = self.rules.iter().map(|used| &used.rule);
        (!own.eq(corrected.iter())).then_some(corrected)
    }

    /// Why a rule about values has nothing to do for any of the variables that it matches; nothing if
    /// it matches none.
    fn needless(&self, used: &RuleUse) -> Option<String> {
        let glob = Glob::new(used.rule.glob_of_values()?).ok()?;
        let matched = self.variables.iter().filter(|v| glob.is_match(&v.variable.name));
        let (out, wanted): (Vec<_>, Vec<_>) = matched.partition(|v| v.outcome == Outcome::Ignored);
        let name = |v: &VariableOutcome| printable(&v.variable.name).into_owned();
        let (one, many) = match &used.rule {
            Rule::Transpose(_) => ("is no matrix", "is a matrix"),
            Rule::Cast(_) => ("has its dtype in the file already", "has another dtype in the file"),
            Rule::Reshape(_) => ("needs no other shape", "needs another shape"),
            _ => ("needs no other number of rows", "needs another number of rows"),
        };
        let left_out = match out.len() {
            0 => String::new(),
            1 => ", and one more is left out".to_owned(),
            n => format!(", and {n} more are left out"),
        };
        Some(match (wanted.as_slice(), out.as_slice()) {
            ([], []) => return None,
            ([], [one]) => format!("`{}` is left out", name(one)),
            ([], all) => format!("all {} variables that it matches are left out", all.len()),
            ([v], _) => format!("`{}` {one}{left_out}", name(v)),
            (all, []) => format!("none of the {} variables that it matches {many}", all.len()),
            (some, _) => {
                format!("of what it matches, none of {} variables {many}{left_out}", some.len())
            }
        })
    }

    /// Whether there are tensors that no variable takes, and that nobody has said may be.
    pub(super) fn asks_to_leave_tensors(&self) -> bool {
        !self.unexpected.is_empty() && !self.allow_unexpected
    }

    /// Whether any of the suggestions leaves no tensor without a variable.
    fn suggestions_take_all(&self, words: &dyn Wording) -> bool {
        let takes_all = |suggestion: &Suggestion| {
            let allowed = suggestion.allow.as_ref();
            allowed.is_some_and(|allow| !allow.contains(&Allowance::Unexpected))
                && suggestion.rules.iter().all(|rule| words.rule(rule).is_some())
        };
        !self.suggestions.is_empty() && self.suggestions.iter().all(takes_all)
    }

    fn suggestion_lines(&self, words: &dyn Wording) -> Vec<String> {
        // What cannot be written is no suggestion.
        let known = |suggestion: &&Suggestion| {
            suggestion.rules.iter().all(|rule| words.rule(rule).is_some())
        };
        let suggestions: Vec<&Suggestion> = self.suggestions.iter().filter(known).collect();
        let several = suggestions.len() > 1;
        // What all of several say is said once.
        let of_all =
            |note: &&String| several && suggestions.iter().all(|other| other.notes.contains(note));
        let lines_of = |notes: &mut dyn Iterator<Item = &String>| -> String {
            notes.map(|note| format!("\n      {}", printable(note))).collect()
        };
        let lines = |suggestion: &Suggestion| {
            let Suggestion { rules, restores, of, notes, .. } = suggestion;
            // Others may be restored as it is.
            let which = match (self.restored().next().is_some(), restores == of, of) {
                (false, ..) => format!("{restores} of {of}"),
                (true, true, 1) => "the one that is left".to_owned(),
                (true, true, all) => format!("the {all} that are left"),
                (true, false, all) => format!("{restores} of the {all} that are left"),
            };
            let subject = match rules.as_slice() {
                [rule] => deed(rule),
                many => format!("these {} rules together", many.len()),
            };
            let verb = if rules.len() == 1 { "restores" } else { "restore" };
            let code: Vec<String> = rules
                .iter()
                .map(|rule| format!("\n          {}", printable(&rule_text(words, rule))))
                .collect();
            let notes = lines_of(&mut notes.iter().filter(|note| !of_all(note)));
            if let Some(line) = words.in_one_line(suggestion).filter(|_| several) {
                return format!("{subject} {verb} {which}:\n          {}{notes}", printable(&line));
            }
            // Of tensors alone that are left another help speaks; and whoever asks for a plan looks at what
            // is left first.
            let is_part = restores < of && words.is_of_restore();
            let allow = is_part.then(|| words.allow_beside(suggestion)).flatten();
            let rest = allow.map_or_else(String::new, |allow| {
                format!("\n      and to leave the rest as it is: `{allow}`")
            });
            format!("{subject} {verb} {which}:{}{notes}{rest}", code.concat())
        };
        match suggestions.as_slice() {
            [] => Vec::new(),
            [one] => vec![lines(one)],
            many => {
                let n = many.len();
                let more = Suggestion::may_be_more(&self.suggestions);
                let least = if more { "at least " } else { "" };
                let shared = lines_of(&mut many[0].notes.iter().filter(of_all));
                let first = format!(
                    "there are {least}{n} ways to restore more, and nothing says which of them is \
                     meant{}{shared}",
                    if shared.is_empty() { ":" } else { ". Of each:" }
                );
                std::iter::once(first).chain(many.iter().copied().map(lines)).collect()
            }
        }
    }
}
