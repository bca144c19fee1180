//! How a [`RestoreReport`] is told: what happens to which variable. What is wrong and what mends it
//! is told in `advice.rs`.

use crate::printable::{first_quoted_between, printable};
use crate::restore::collapse::{Line, collapse};
use crate::restore::matching::{Change, Outcome};
use crate::restore::report::{RestoreReport, VariableOutcome};
use crate::restore::slots::{numbered_in, pytorch_optimizer};
use crate::restore::wording::{InCode, SHOWN, Wording, rule_text};
use crate::tensor::{FileDType, TensorEntry};
use foldhash::HashSet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use warmstart_graph::words::{counted, first_few, first_few_between, human_bytes, printable_path};
use warmstart_graph::{Role, Shape, Variable};

/// Lines listed per kind before the report says how many more there are.
const LISTED: usize = 20;
/// Lines of all kinds that a screen has room for, with what is said below them.
const SCREEN: usize = 30;
/// The widest column: a name may be as long as a file, and none is padded to more than 65535.
const WIDEST: usize = 200;

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

    /// The lines, with those joined that differ only by a number if these, or all, are too many otherwise.
    fn shortened(mut self, all: usize) -> Section {
        if self.lines.len() > LISTED || all > SCREEN {
            self.lines = collapse(self.lines);
        }
        self
    }
}

impl RestoreReport {
    fn sections(&self, words: &dyn Wording) -> Vec<Section> {
        let rules = self.rules.iter().map(|used| {
            let touched = match &used.problem {
                Some(_) => "cannot be applied".to_owned(),
                None => counted(used.touched, "name"),
            };
            (rule_text(words, &used.rule), touched)
        });
        let missing: Vec<&Variable> = self.missing().collect();
        let ignored: Vec<&Variable> = self.ignored().collect();
        let (mut shapes, mut slots) = (Vec::new(), Slots::default());
        let of_shape = |v: &&VariableOutcome| matches!(v.outcome, Outcome::ShapeMismatch { .. });
        let others = self.variables.iter().filter(of_shape);
        let others: HashSet<&str> = others.map(|v| v.variable.name.as_str()).collect();
        let mut dtypes = Vec::new();
        let mut ambiguous = Vec::new();
        let turned_by = self.turning();
        for VariableOutcome { variable, outcome } in self.variables.iter() {
            let Variable { name, dtype, shape, .. } = &**variable;
            let line = |file_dtype: &FileDType, file_shape: &Shape| {
                let what = format!("{dtype} {shape}, but {file_dtype} {file_shape} in the file");
                (name.clone(), what)
            };
            // Slots have the shape of what they belong to, of which it is told.
            if let (
                Outcome::ShapeMismatch { .. },
                Role::Slot { variable: Some(owner), optimizer, slot },
            ) = (outcome, &variable.role)
                && others.contains(owner.as_str())
            {
                slots.add(optimizer, Some(owner), slot);
                continue;
            }
            match outcome {
                Outcome::ShapeMismatch { shape, .. } => {
                    let (name, mut what) = line(&FileDType::from(*dtype), shape);
                    if let Some(rule) = turned_by(variable) {
                        what.push_str(&format!(", and `{}` turns it", rule_text(words, rule)));
                    }
                    shapes.push((name, what));
                }
                Outcome::DTypeMismatch { dtype, shape, .. } => dtypes.push(line(dtype, shape)),
                Outcome::Ambiguous { tensors } => {
                    let tensors = first_quoted_between(tensors, SHOWN, " or ");
                    ambiguous.push((name.clone(), format!("could be {tensors}")));
                }
                Outcome::Restored { .. } | Outcome::Ignored | Outcome::Missing { .. } => {}
            }
        }
        shapes.extend(slots.lines());
        // Nothing is restored unless all is.
        let plain = words.is_of_restore() && (self.closes() || self.restored().next().is_none());
        let fitting = if plain { "restored" } else { "would fit" };
        let restored = self.restored_lines();
        let of_variables = |label, variables: &[&Variable]| Section {
            label,
            count: variables.len(),
            lines: variable_lines(variables),
        };
        let unexpected = Section {
            label: "unexpected",
            count: self.unexpected.len(),
            lines: self.tensor_lines(&mut self.unexpected.iter()),
        };
        let all = vec![
            Section::new("rules", rules.collect()),
            Section { label: fitting, count: self.restored().count(), lines: restored },
            of_variables("ignored", &ignored),
            of_variables("missing", &missing),
            Section::new("ambiguous", ambiguous),
            Section { label: "shape mismatch", count: others.len(), lines: shapes },
            Section::new("dtype mismatch", dtypes),
            unexpected,
            self.left_out_section(words),
        ];
        let shown = |section: &Section| section.label == fitting || section.count > 0;
        // Rules are written out as long as there are few of them.
        let of_names = all.iter().filter(|section| shown(section) && section.label != "rules");
        let lines = of_names.map(|section| section.lines.len()).sum();
        let shortened = |section: Section| match section.label {
            "rules" => section.shortened(0),
            _ => section.shortened(lines),
        };
        all.into_iter().filter(shown).map(shortened).collect()
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
        for VariableOutcome { variable, outcome } in self.variables.iter() {
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

    /// Tensors that rules leave out: the rule is told with each, since two may leave out a part each.
    fn left_out_section(&self, words: &dyn Wording) -> Section {
        let mut by_rule: BTreeMap<usize, Vec<&TensorEntry>> = BTreeMap::new();
        for (tensor, rule) in &self.left_out_by_rules {
            by_rule.entry(*rule).or_default().push(tensor);
        }
        let mut lines = Vec::new();
        for (rule, tensors) in by_rule {
            let Some(used) = self.rules.get(rule) else { continue };
            let rule = shortened(&rule_text(words, &used.rule));
            let told = self.tensor_lines(&mut tensors.into_iter());
            lines.extend(told.into_iter().map(|(name, what)| match &*what {
                "" => (format!("{name}, by `{rule}`"), what),
                _ => (name, format!("{what}, by `{rule}`")),
            }));
        }
        Section { label: "left out", count: self.left_out_by_rules.len(), lines }
    }

    /// Tensors by name, and slots of an optimizer by groups.
    fn tensor_lines(&self, tensors: &mut dyn Iterator<Item = &TensorEntry>) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut slots = Slots::default();
        for TensorEntry { name, dtype, shape, .. } in tensors {
            match self.saved.get(name).map(|saved| &saved.role) {
                Some(Role::Slot { variable, optimizer, slot }) => {
                    slots.add(optimizer, variable.as_deref(), slot);
                }
                _ => lines.push((name.to_string(), format!("{dtype} {shape}"))),
            }
        }
        lines.extend(slots.lines());
        lines
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.worded(&InCode).fmt(f)
    }
}

impl RestoreReport {
    /// The report in the words of whoever reads it: those of a command, where it is no program that
    /// restores.
    ///
    /// ```
    /// # use warmstart_checkpoint::{Checkpoint, InCode, RestoreOptions};
    /// # let directory = tempfile::tempdir()?;
    /// # let file = directory.path().join("empty.safetensors");
    /// # std::fs::write(&file, *b"\x02\0\0\0\0\0\0\0{}")?;
    /// let plan = Checkpoint::open(&file)?.plan_for(&[], &RestoreOptions::new());
    /// let report: &warmstart_checkpoint::RestoreReport = &plan;
    /// assert_eq!(plan.worded(&InCode).to_string(), report.to_string());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worded<'a>(&'a self, words: &'a dyn Wording) -> impl fmt::Display + 'a {
        Worded { report: self, words }
    }
}

/// A report, and the words to tell it in.
struct Worded<'a> {
    report: &'a RestoreReport,
    words: &'a dyn Wording,
}

impl fmt::Display for Worded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Worded { report, words } = self;
        let variables = counted(report.variables.len(), "variable");
        write!(f, "restore {} → {variables}", printable_path(&report.file))?;
        let sections = report.sections(*words);
        let labels = sections.iter().map(|s| s.label.len()).max().unwrap_or(0).max(10) + 2;
        let counts = sections.iter().map(|s| s.count.to_string().len()).max().unwrap_or(1);
        // Groups of slots have no second column and may be longer than any name. Rules have columns
        // of their own, since their code may be longer too.
        let width = |of: &dyn Fn(&Section) -> bool| {
            let lines = sections.iter().filter(|s| of(s)).flat_map(|s| s.lines.iter().take(LISTED));
            let names = lines.filter(|(_, what)| !what.is_empty());
            names.map(|(name, _)| printable(name).chars().count()).max().unwrap_or(0).min(WIDEST)
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
                let (name, what) = (printable(name), printable(what));
                let head = head.take().unwrap_or_default();
                let line = match &*what {
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
        // They have lines of their own making.
        let plain = |text: &str| text.split('\n').map(printable).collect::<Vec<_>>().join("\n");
        let prefixed = |prefix: &'static str, lines: Vec<String>| {
            lines.into_iter().map(move |line| format!("\n{prefix}: {}", plain(&line)))
        };
        prefixed("note", report.notes(*words))
            .chain(prefixed("error", report.errors(*words)))
            .chain(prefixed("help", report.helps(*words)))
            .try_for_each(|line| f.write_str(&line))
    }
}

/// A rule as it is told beside each of many names: all of a long one is told where rules are.
fn shortened(rule: &str) -> String {
    const LONGEST: usize = 48;
    if rule.chars().count() <= LONGEST {
        return rule.to_owned();
    }
    // Code or a flag.
    match rule.find(['(', ' ']) {
        Some(at) if rule[at..].starts_with('(') => format!("{}(…)", &rule[..at]),
        Some(at) => format!("{} …", &rule[..at]),
        None => rule.chars().take(LONGEST).chain(['…']).collect(),
    }
}

/// Variables by name, and slots by groups.
fn variable_lines(variables: &[&Variable]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut slots = Slots::default();
    for variable in variables {
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

/// Slots, told by groups in one line; nothing if there are none.
pub(crate) fn slot_groups<'a>(slots: impl Iterator<Item = &'a Variable>) -> Option<String> {
    let mut groups = Slots::default();
    for slot in slots {
        if let Role::Slot { variable, optimizer, slot } = &slot.role {
            groups.add(optimizer, variable.as_deref(), slot);
        }
    }
    let groups: Vec<String> = groups.lines().map(|(text, _)| text).collect();
    (!groups.is_empty()).then(|| first_few_between(groups.iter(), SHOWN, "; "))
}

/// Slots, told by groups: an optimizer's slots are there together or not at all, and a hundred
/// lines would hide the one weight that is missing too.
#[derive(Default)]
struct Slots<'a> {
    by_variable: BTreeMap<(&'a str, Option<&'a str>), BTreeSet<&'a str>>,
    /// The slots of each of PyTorch's states, and their owners, which are numbers.
    numbered: BTreeMap<&'a str, (BTreeSet<&'a str>, BTreeSet<&'a str>)>,
}

impl<'a> Slots<'a> {
    fn add(&mut self, optimizer: &'a str, variable: Option<&'a str>, slot: &'a str) {
        match variable.and_then(|owner| Some((owner, numbered_in(owner, slot)?))) {
            Some((owner, state)) => {
                let (slots, owners) = self.numbered.entry(state).or_default();
                slots.insert(slot);
                owners.insert(owner);
            }
            None => {
                self.by_variable.entry((optimizer, variable)).or_default().insert(slot);
            }
        }
    }

    fn lines(self) -> impl Iterator<Item = Line> {
        let mut groups: BTreeMap<(&str, BTreeSet<&str>, bool), Vec<&str>> = BTreeMap::new();
        for ((optimizer, variable), slots) in self.by_variable {
            let group = groups.entry((optimizer, slots, variable.is_some())).or_default();
            group.extend(variable);
        }
        let numbered = self.numbered.into_iter().map(|(state, (slots, owners))| {
            let kept_by = pytorch_optimizer(slots.iter().copied());
            let kept_by = kept_by.map_or_else(String::new, |kept_by| format!("of {kept_by}: "));
            let slots = first_few(slots.iter(), SHOWN);
            let text = format!(
                "{state}: PyTorch optimizer state ({kept_by}{slots}) for {}, by number and \
                 not by name",
                counted(owners.len(), "parameter")
            );
            (text, String::new())
        });
        let named = groups.into_iter().map(|((optimizer, slots, _), variables)| {
            let word = if slots.len() == 1 { "slot" } else { "slots" };
            let slots = first_few(slots.iter(), SHOWN);
            let text = match variables.as_slice() {
                [] => format!("{optimizer}'s own {word} {slots}"),
                [one] => format!("{optimizer}'s {word} {slots} for {one}"),
                many => format!("{optimizer}'s {word} {slots} for {} variables", many.len()),
            };
            (text, String::new())
        });
        named.chain(numbered)
    }
}
