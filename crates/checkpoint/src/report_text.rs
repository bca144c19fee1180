//! How a [`RestoreReport`] is told: what happens, what is wrong, and the line that mends it.

use crate::collapse::{Line, collapse};
use crate::infer::Suggestion;
use crate::matching::{Change, Outcome};
use crate::report::{RestoreReport, VariableOutcome};
use crate::rules::{Rule, RuleUse};
use crate::tensor::{FileDType, TensorEntry, human_bytes};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use warmstart_graph::{GLOBAL_STEP, Role, Shape, Variable};

/// Lines listed per kind before the report says how many more there are.
const LISTED: usize = 20;

/// A kind of outcome: label, number, and its lines.
struct Section {
    label: &'static str,
    count: usize,
    lines: Vec<Line>,
}

impl Section {
    fn new(label: &'static str, lines: Vec<Line>) -> Section {
        Section { label, count: lines.len(), lines }
    }

    /// The lines, with those joined that differ only by a number if there are too many otherwise.
    fn shortened(mut self) -> Section {
        if self.lines.len() > LISTED {
            self.lines = collapse(self.lines);
        }
        self
    }
}

impl RestoreReport {
    fn sections(&self) -> Vec<Section> {
        let rules = self.rules.iter().map(|used| {
            let touched = match &used.problem {
                Some(_) => "cannot be applied".to_owned(),
                None => counted(used.touched, "name", "names"),
            };
            (used.rule.to_string(), touched)
        });
        let missing: Vec<&Variable> = self.missing().collect();
        let ignored = self.ignored().map(|v| (v.name.clone(), format!("{} {}", v.dtype, v.shape)));
        let mut shapes = Vec::new();
        let mut dtypes = Vec::new();
        let mut ambiguous = Vec::new();
        for VariableOutcome { variable: Variable { name, dtype, shape, .. }, outcome } in
            &self.variables
        {
            let line = |file_dtype: &FileDType, file_shape: &Shape| {
                let what = format!("{dtype} {shape}, but {file_dtype} {file_shape} in the file");
                (name.clone(), what)
            };
            match outcome {
                Outcome::ShapeMismatch { shape, .. } => {
                    shapes.push(line(&FileDType::from(*dtype), shape));
                }
                Outcome::DTypeMismatch { dtype, shape, .. } => dtypes.push(line(dtype, shape)),
                Outcome::Ambiguous { tensors } => {
                    ambiguous.push((name.clone(), format!("could be {}", quoted(tensors, " or "))));
                }
                Outcome::Restored { .. } | Outcome::Ignored | Outcome::Missing { .. } => {}
            }
        }
        // Nothing is restored unless all is.
        let plain = self.closes() || self.restored().next().is_none();
        let fitting = if plain { "restored" } else { "would fit" };
        let restored = self.restored_lines();
        let missing =
            Section { label: "missing", count: missing.len(), lines: missing_lines(&missing) };
        let unexpected = Section {
            label: "unexpected",
            count: self.unexpected.len(),
            lines: self.unexpected_lines(),
        };
        let all = vec![
            Section::new("rules", rules.collect()),
            Section { label: fitting, count: self.restored().count(), lines: restored },
            Section::new("ignored", ignored.collect()),
            missing,
            Section::new("ambiguous", ambiguous),
            Section::new("shape mismatch", shapes),
            Section::new("dtype mismatch", dtypes),
            unexpected,
        ];
        let shown = |section: &Section| section.label == fitting || section.count > 0;
        all.into_iter().filter(shown).map(Section::shortened).collect()
    }

    /// How many bytes, and what is done to how many values on their way.
    fn restored_lines(&self) -> Vec<Line> {
        let mut cast: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut transposed, mut reshaped) = (0, 0);
        let mut lines = match self.restored().next() {
            None => Vec::new(),
            Some(_) => vec![(human_bytes(self.bytes()), String::new())],
        };
        let mut resized = Vec::new();
        for VariableOutcome { variable, outcome } in &self.variables {
            let Outcome::Restored { changes, .. } = outcome else { continue };
            for change in changes {
                match change {
                    Change::Cast { from } => *cast.entry(from.name()).or_default() += 1,
                    Change::Transposed { .. } => transposed += 1,
                    Change::Reshaped { .. } => reshaped += 1,
                    Change::ResizedRows { from, seed } => {
                        let rows = variable.shape.first().copied().unwrap_or(0);
                        let what = match rows.checked_sub(*from) {
                            Some(more) => format!(
                                "{from} of {rows} rows from the file, {more} initialized ({}, \
                                 seed {seed})",
                                variable.initializer
                            ),
                            None => format!("the first {rows} of {from} rows"),
                        };
                        resized.push((variable.name.clone(), what));
                    }
                }
            }
        }
        let casts = cast.iter().map(|(from, n)| format!("{n} cast from {from}"));
        let done = |n: usize, what: &str| (n > 0).then(|| format!("{n} {what}"));
        let changes: Vec<String> =
            casts.chain(done(transposed, "transposed")).chain(done(reshaped, "reshaped")).collect();
        if !changes.is_empty() {
            lines.push((changes.join(", "), String::new()));
        }
        lines.extend(resized);
        lines
    }

    /// Leftover tensors by name, and slots of an optimizer by groups.
    fn unexpected_lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut slots = Slots::default();
        for TensorEntry { name, dtype, shape, .. } in &self.unexpected {
            match self.saved.get(name).map(|saved| &saved.role) {
                Some(Role::Slot { variable, optimizer, slot }) => {
                    slots.add(optimizer, variable.as_deref(), slot);
                }
                _ => lines.push((name.clone(), format!("{dtype} {shape}"))),
            }
        }
        lines.extend(slots.lines());
        lines
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.damaged.clone();
        let mut served: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut output_suffix = false;
        let mut initializers = Vec::new();
        for VariableOutcome { variable, outcome } in &self.variables {
            let Outcome::Restored { tensor, .. } = outcome else { continue };
            served.entry(tensor).or_default().push(&variable.name);
            let bare = |name: &str| name.strip_suffix(":0").unwrap_or(name).to_owned();
            output_suffix |= *tensor != variable.name && bare(tensor) == bare(&variable.name);
            if let Some(saved) = self.saved.get(tensor)
                && saved.initializer != variable.initializer
            {
                initializers.push((&variable.name, &variable.initializer, &saved.initializer));
            }
        }
        if output_suffix {
            notes.push("names that differ only by a trailing `:0` were taken as equal".to_owned());
        }
        let shared = served.into_iter().filter(|(_, variables)| variables.len() > 1);
        notes.extend(shared.map(|(tensor, variables)| {
            let n = variables.len();
            format!("`{tensor}` is the value of {n} variables: {}", quoted(&variables, ", "))
        }));
        if let Some((name, declared, saved)) = initializers.first() {
            let more = match initializers.len() - 1 {
                0 => String::new(),
                1 => "; so is one more".to_owned(),
                n => format!("; so are {n} more"),
            };
            notes.push(format!(
                "the restored values win over other initializers: `{name}` is declared with \
                 {declared}, and began as {saved}{more}"
            ));
        }
        if self.closes() && self.missing().next().is_some() {
            notes.push(
                "missing variables keep what they have; `session.initialize_missing(seed)` fills \
                 those that have nothing"
                    .to_owned(),
            );
        }
        if self.closes() && self.mismatched().next().is_some() {
            notes.push("variables of another shape in the file keep what they have".to_owned());
        }
        if self.closes() && !self.unexpected.is_empty() {
            notes.push("unexpected tensors stay in the file".to_owned());
        }
        if self.closes() {
            notes.extend(self.suggestion_lines());
        }
        notes
    }

    fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        for RuleUse { rule, touched, problem } in &self.rules {
            match problem {
                Some(problem) => {
                    let problem = problem.replace('\n', " ");
                    errors.push(format!("`{rule}` cannot be applied: {problem}."));
                }
                None if *touched == 0 => errors.push(format!("`{rule}` touches no name.")),
                None => {}
            }
        }
        let ambiguous = self.ambiguous().count();
        if ambiguous > 0 {
            let have = counted(ambiguous, "variable has", "variables have");
            errors.push(format!("{have} several tensors in this checkpoint."));
        }
        let dtypes = |v: &&VariableOutcome| matches!(v.outcome, Outcome::DTypeMismatch { .. });
        let dtypes = self.variables.iter().filter(dtypes).count();
        let mismatched = self.mismatched().count();
        if dtypes > 0 || (mismatched > 0 && !self.allow_mismatched_shape) {
            let have = counted(mismatched, "variable has", "variables have");
            errors.push(format!("{have} another shape or dtype in this checkpoint."));
        }
        let missing = self.missing().count();
        if missing > 0 && !self.allow_missing {
            let have = counted(missing, "variable has", "variables have");
            errors.push(format!("{have} no value in this checkpoint."));
        }
        if !self.unexpected.is_empty() && !self.allow_unexpected {
            let belong = counted(self.unexpected.len(), "tensor belongs", "tensors belong");
            errors.push(format!("{belong} to no variable."));
        }
        if self.has_nothing() && (self.allow_missing || self.missing().next().is_none()) {
            let all = counted(self.variables.len(), "variable", "variables");
            errors.push(format!("this checkpoint has nothing for any of the {all}."));
        }
        if let Some(last) = errors.last_mut() {
            last.push_str(" Nothing on the device was changed.");
        }
        errors
    }

    fn helps(&self) -> Vec<String> {
        if self.closes() {
            return Vec::new();
        }
        let mut helps = self.suggestion_lines();
        if self.rules.iter().any(|used| used.touched == 0 && used.problem.is_none()) {
            helps.push(
                "rules about names are applied in order, each to the names that the one before \
                 leaves; take away what does nothing"
                    .to_owned(),
            );
        }
        if self.ambiguous().next().is_some() {
            helps.push("`.ignore(name)` before the rename leaves a tensor out".to_owned());
        }
        let dtypes = |v: &VariableOutcome| match v.outcome {
            Outcome::DTypeMismatch { dtype, .. } => Some(dtype),
            _ => None,
        };
        let quantized = |dtype: &FileDType| matches!(dtype, FileDType::Quantized(_));
        if let Some(dtype) = self.variables.iter().filter_map(dtypes).find(quantized) {
            let help = "is a quantization, which no variable takes: use a file in f32, f16 or bf16";
            helps.push(format!("{dtype} {help}"));
        }
        if self.variables.iter().filter_map(dtypes).any(|dtype| dtype.source().is_some()) {
            helps.push(
                "`.cast(\"**\")` casts whole numbers and floats to what the variables are"
                    .to_owned(),
            );
        }
        let shapes = |v: &VariableOutcome| matches!(v.outcome, Outcome::ShapeMismatch { .. });
        if self.variables.iter().any(shapes) && !self.allow_mismatched_shape {
            helps.push(
                "give the variables the shapes of the file, or train in a new directory, or leave \
                 them as they are: `.allow_mismatched_shape()`; `.resize_rows(name, seed)` takes \
                 the rows that both have"
                    .to_owned(),
            );
        }
        // Names that are merely close are of no use beside rules that were tried out.
        let close = self.variables.iter().filter_map(|v| match &v.outcome {
            // A slot of one optimizer is never another's, however close its name.
            _ if matches!(v.variable.role, Role::Slot { .. }) => None,
            Outcome::Missing { close } if !close.is_empty() => Some((&v.variable.name, close)),
            _ => None,
        });
        let wanted = self.suggestions.is_empty() && !self.allow_missing;
        for (name, close) in close.take(5).filter(|_| wanted) {
            let close = quoted(close, ", ");
            helps.push(format!("close to `{name}` in this checkpoint: {close}"));
        }
        helps.extend(self.help_with_missing());
        if self.has_nothing() && (self.allow_missing || self.missing().next().is_none()) {
            helps.push("leave the restore out if no variable is to be restored".to_owned());
        }
        if !self.unexpected.is_empty() && !self.allow_unexpected {
            helps.push("`.allow_unexpected()` leaves such tensors in the file".to_owned());
        }
        helps
    }

    fn help_with_missing(&self) -> Option<String> {
        let missing: Vec<&Variable> = self.missing().collect();
        let restored = self.restored().count();
        if missing.is_empty() || self.allow_missing || restored == 0 {
            return None;
        }
        let optimizer = |role: &Role| match role {
            Role::Slot { optimizer, .. } => Some(optimizer.clone()),
            _ => None,
        };
        let wanted: BTreeSet<String> = missing.iter().filter_map(|v| optimizer(&v.role)).collect();
        let left: BTreeSet<String> = self
            .unexpected
            .iter()
            .filter_map(|t| optimizer(&self.saved.get(&t.name)?.role))
            .collect();
        let fill = "`session.initialize_missing(seed)`";
        // Steps are counted only where there is an optimizer.
        let slot = |v: &&Variable| matches!(v.role, Role::Slot { .. }) || v.name == GLOBAL_STEP;
        if wanted.is_empty() || !missing.iter().all(slot) {
            let others = counted(restored, "variable", "variables");
            return Some(format!(
                "`.allow_missing()` restores the other {others}; then {fill} fills those without \
                 a value"
            ));
        }
        let join = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
        Some(if left.is_empty() {
            format!(
                "the checkpoint holds weights without the slots of {}, and training would restart \
                 its moments: `.allow_missing()` and then {fill} say that this is meant",
                join(wanted)
            )
        } else {
            format!(
                "the checkpoint was trained with {}, and this graph trains with {}: \
                 `.allow_missing().allow_unexpected()` and then {fill} begin with the restored \
                 weights and fresh slots",
                join(left),
                join(wanted)
            )
        })
    }

    fn suggestion_lines(&self) -> Vec<String> {
        let lines = |suggestion: &Suggestion| {
            let Suggestion { rules, restores, of, notes } = suggestion;
            let subject = match rules.as_slice() {
                [rule] => deed(rule),
                many => format!("these {} rules together", many.len()),
            };
            let verb = if rules.len() == 1 { "restores" } else { "restore" };
            let code: Vec<String> =
                rules.iter().map(|rule| format!("\n          {rule}")).collect();
            let notes: Vec<String> = notes.iter().map(|note| format!("\n      {note}")).collect();
            format!("{subject} {verb} {restores} of {of}:{}{}", code.concat(), notes.concat())
        };
        match self.suggestions.as_slice() {
            [] => Vec::new(),
            [one] => vec![lines(one)],
            many => {
                let n = many.len();
                let first = format!(
                    "there are {n} ways to restore more, and nothing says which of them is meant:"
                );
                std::iter::once(first).chain(many.iter().map(lines)).collect()
            }
        }
    }
}

/// What a rule does, as the subject of a sentence.
fn deed(rule: &Rule) -> String {
    match rule {
        Rule::Rename { from, to } => format!("renaming `{from}` to `{to}`"),
        Rule::RenameScope { from, to } if from.is_empty() => format!("adding scope `{to}`"),
        Rule::RenameScope { from, to } if to.is_empty() => format!("taking away scope `{from}`"),
        Rule::RenameScope { from, to } => format!("renaming scope `{from}` to `{to}`"),
        Rule::RenameComponent { from, to } => format!("renaming `{from}` to `{to}` everywhere"),
        Rule::StripPrefix(prefix) => format!("taking away the prefix `{prefix}`"),
        Rule::AddPrefix(prefix) => format!("adding the prefix `{prefix}`"),
        Rule::Separator { from, to } => format!("writing `{to}` for `{from}`"),
        Rule::Transpose(glob) => format!("transposing `{glob}`"),
        Rule::Cast(glob) => format!("casting `{glob}`"),
        _ => "this rule".to_owned(),
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = counted(self.variables.len(), "variable", "variables");
        write!(f, "restore {} → {variables}", self.file.display())?;
        let sections = self.sections();
        let labels = sections.iter().map(|s| s.label.len()).max().unwrap_or(0).max(10) + 2;
        let counts = sections.iter().map(|s| s.count.to_string().len()).max().unwrap_or(1);
        // Groups of slots have no second column and may be longer than any name. Rules have columns
        // of their own, since their code may be longer too.
        let width = |of: &dyn Fn(&Section) -> bool| {
            let lines = sections.iter().filter(|s| of(s)).flat_map(|s| s.lines.iter().take(LISTED));
            let names = lines.filter(|(_, what)| !what.is_empty());
            names.map(|(name, _)| name.chars().count()).max().unwrap_or(0)
        };
        let is_rules = |section: &Section| section.label == "rules";
        let (of_rules, of_names) = (width(&is_rules), width(&|section| !is_rules(section)));
        for section in &sections {
            let Section { label, count, lines } = section;
            let width = if is_rules(section) { of_rules } else { of_names };
            let head = format!("  {label:<labels$}{count:<counts$}");
            let indent = head.chars().count();
            let mut head = Some(head);
            for (name, what) in lines.iter().take(LISTED) {
                let head = head.take().unwrap_or_default();
                let line = match what.as_str() {
                    "" => format!("{head:<indent$}   {name}"),
                    _ => format!("{head:<indent$}   {name:<width$}  {what}"),
                };
                write!(f, "\n{line}")?;
            }
            if let Some(head) = head {
                write!(f, "\n{}", head.trim_end())?;
            }
            if lines.len() > LISTED {
                write!(f, "\n{:indent$}   … and {} more", "", lines.len() - LISTED)?;
            }
        }
        let prefixed = |prefix: &'static str, lines: Vec<String>| {
            lines.into_iter().map(move |line| format!("\n{prefix}: {line}"))
        };
        prefixed("note", self.notes())
            .chain(prefixed("error", self.errors()))
            .chain(prefixed("help", self.helps()))
            .try_for_each(|line| f.write_str(&line))
    }
}

/// Missing variables by name, and missing slots by groups.
fn missing_lines(missing: &[&Variable]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut slots = Slots::default();
    for variable in missing {
        if let Role::Slot { variable, optimizer, slot } = &variable.role {
            slots.add(optimizer, variable.as_deref(), slot);
        } else {
            let what = format!("{} {}", variable.dtype, variable.shape);
            lines.push((variable.name.clone(), what));
        }
    }
    lines.extend(slots.lines());
    lines
}

/// Slots, told by groups: an optimizer's slots are there together or not at all, and a hundred
/// lines would hide the one weight that is missing too.
#[derive(Default)]
struct Slots<'a> {
    by_variable: BTreeMap<(&'a str, Option<&'a str>), BTreeSet<&'a str>>,
}

impl<'a> Slots<'a> {
    fn add(&mut self, optimizer: &'a str, variable: Option<&'a str>, slot: &'a str) {
        self.by_variable.entry((optimizer, variable)).or_default().insert(slot);
    }

    fn lines(self) -> impl Iterator<Item = Line> {
        let mut groups: BTreeMap<(&str, BTreeSet<&str>, bool), Vec<&str>> = BTreeMap::new();
        for ((optimizer, variable), slots) in self.by_variable {
            let group = groups.entry((optimizer, slots, variable.is_some())).or_default();
            group.extend(variable);
        }
        groups.into_iter().map(|((optimizer, slots, _), variables)| {
            let word = if slots.len() == 1 { "slot" } else { "slots" };
            let slots = slots.into_iter().collect::<Vec<_>>().join(", ");
            let text = match variables.as_slice() {
                [] => format!("{optimizer}'s own {word} {slots}"),
                [one] => format!("{optimizer}'s {word} {slots} for {one}"),
                many => format!("{optimizer}'s {word} {slots} for {} variables", many.len()),
            };
            (text, String::new())
        })
    }
}

fn quoted(names: &[impl AsRef<str>], between: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    names.join(between)
}

pub(crate) fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
