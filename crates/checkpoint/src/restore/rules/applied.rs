//! Rules, applied: what they make of the names of a checkpoint, and what they allow of variables.

use super::{Rule, RuleUse, SEPARATORS};
use regex::Regex;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;
use std::collections::HashSet;
use warmstart_graph::{Glob, Variable};

/// What values of one variable may be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub transpose: bool,
    pub cast: bool,
    pub reshape: bool,
    /// The seed for rows without a value.
    pub resize_rows: Option<u64>,
    /// The variable is left out.
    pub ignored: bool,
}

/// A tensor's names: an assignment map may give it several.
pub(crate) type Names<'a> = SmallVec<[Cow<'a, str>; 1]>;

/// What rules make of the names of a checkpoint, and of the variables.
#[derive(Debug)]
pub(crate) struct Applied<'a> {
    /// Each tensor's names; none if it is left out.
    pub names: Vec<Names<'a>>,
    /// What each variable's value may be like.
    pub allowed: Vec<Allowed>,
    /// Tensors that have no name any more, each with the place of the rule that left it out.
    pub left_out: Vec<(usize, usize)>,
    /// One for each rule. Which values need a rule about them is not known here: all that it matches
    /// count.
    pub uses: Vec<RuleUse>,
    /// For each rule about values its place among the rules, and the variables that it matches.
    pub of_values: Vec<(usize, Vec<usize>)>,
}

/// Applies rules in order.
pub(crate) fn apply<'a>(
    rules: &[Rule],
    tensors: impl Iterator<Item = &'a str>,
    variables: &[&Variable],
) -> Applied<'a> {
    let mut applied = Applied {
        names: tensors.map(|name| smallvec![Cow::Borrowed(name)]).collect(),
        allowed: vec![Allowed::default(); variables.len()],
        left_out: Vec::new(),
        uses: Vec::with_capacity(rules.len()),
        of_values: Vec::new(),
    };
    let last_rename = rules.iter().rposition(Rule::is_about_names);
    for (at, rule) in rules.iter().enumerate() {
        // Until the last rename, names are not those of variables yet.
        let maps = matches!(rule, Rule::AssignmentMap(_));
        let renamed = last_rename.is_none_or(|last| last < at || (last == at && maps));
        let chosen = if renamed { variables } else { &[] };
        let (mut problem, mut idle) = (None, Vec::new());
        let touched = applied.apply(rule, variables, chosen, &mut idle).unwrap_or_else(|why| {
            problem = Some(why);
            0
        });
        if touched > 0
            && let Rule::AssignmentMap(pairs) = rule
        {
            let renamed = rules[at + 1..].iter().any(Rule::is_about_names);
            problem = idle_pair(pairs, &idle, renamed, variables);
        }
        let matched = if rule.is_about_values() { touched } else { 0 };
        applied.uses.push(RuleUse { rule: rule.clone(), touched, matched, problem });
    }
    applied
}

impl Applied<'_> {
    /// Applies one rule; returns how many names it touched, or why it cannot be applied. `chosen`
    /// are the variables of which rules about choice speak; `idle` gets the places of the pairs of an
    /// assignment map that no tensor is for.
    fn apply(
        &mut self,
        rule: &Rule,
        variables: &[&Variable],
        chosen: &[&Variable],
        idle: &mut Vec<usize>,
    ) -> Result<usize, String> {
        Ok(match rule {
            Rule::Rename { from, to } => self.rename(|name| (name == from).then(|| to.clone())),
            Rule::RenameScope { from, to } => self.rename(|name| rename_scope(name, from, to)),
            Rule::RenameComponent { from, to } => {
                self.rename(|name| rename_component(name, from, to))
            }
            Rule::RenameRegex { pattern, replacement } => {
                let regex = Regex::new(pattern).map_err(|error| why_malformed(&error))?;
                check_references(&regex, replacement)?;
                self.rename(|name| match regex.replace_all(name, replacement) {
                    Cow::Owned(name) => Some(name),
                    Cow::Borrowed(_) => None,
                })
            }
            Rule::StripPrefix(prefix) => {
                self.rename(|name| name.strip_prefix(prefix.as_str()).map(str::to_owned))
            }
            Rule::AddPrefix(prefix) => self.rename(|name| Some(format!("{prefix}{name}"))),
            Rule::Separator { from, to } => self.rename(|name| {
                name.contains(*from).then(|| name.replace(*from, to.encode_utf8(&mut [0; 4])))
            }),
            Rule::AssignmentMap(pairs) => self.assign(pairs, chosen, idle),
            Rule::Only(glob) => self.choose(glob, chosen, true)?,
            Rule::Ignore(glob) => self.choose(glob, chosen, false)?,
            Rule::Transpose(glob) => self.allow(glob, variables, |a| a.transpose = true)?,
            Rule::Cast(glob) => self.allow(glob, variables, |a| a.cast = true)?,
            Rule::Reshape(glob) => self.allow(glob, variables, |a| a.reshape = true)?,
            Rule::ResizeRows { glob, seed } => {
                self.allow(glob, variables, |a| a.resize_rows = Some(*seed))?
            }
        })
    }

    fn rename(&mut self, rename: impl Fn(&str) -> Option<String>) -> usize {
        let mut touched = 0;
        for name in self.names.iter_mut().flatten() {
            if let Some(new) = rename(name).filter(|new| *new != **name) {
                *name = Cow::Owned(new);
                touched += 1;
            }
        }
        touched
    }

    /// Changes the names of each tensor. One that has none any more is left out by this rule.
    fn change_names(&mut self, mut change: impl FnMut(&mut Names<'_>)) {
        for (index, names) in self.names.iter_mut().enumerate() {
            let had = !names.is_empty();
            change(names);
            if had && names.is_empty() {
                // The uses of the rules before it are there already.
                self.left_out.push((index, self.uses.len()));
            }
        }
    }

    /// As TensorFlow's `init_from_checkpoint`: the pairs are taken together, not one after the
    /// other, and whatever none of them speaks of is left out.
    fn assign(
        &mut self,
        pairs: &[(String, String)],
        variables: &[&Variable],
        idle: &mut Vec<usize>,
    ) -> usize {
        let mut touched = 0;
        let mut is_idle = vec![true; pairs.len()];
        self.change_names(|names| {
            let mut new = Names::new();
            for name in names.iter() {
                for (pair, idle) in pairs.iter().zip(&mut is_idle) {
                    if let Some(name) = assigned(name, pair) {
                        new.push(Cow::Owned(name));
                        *idle = false;
                    }
                }
            }
            touched += new.len();
            *names = new;
        });
        for (variable, allowed) in variables.iter().zip(&mut self.allowed) {
            allowed.ignored |= !pairs.iter().any(|pair| speaks_of(pair, &variable.name));
        }
        idle.extend((0..pairs.len()).filter(|&pair| is_idle[pair]));
        touched
    }

    fn choose(&mut self, glob: &str, variables: &[&Variable], keep: bool) -> Result<usize, String> {
        let glob = Glob::new(glob)?;
        // A tensor and the variable that it is the value of are one name to whoever reads of it.
        let mut touched = HashSet::new();
        self.change_names(|names| {
            names.retain(|name| {
                let matches = matches_name(&glob, name);
                if matches {
                    touched.insert(without_output(name).to_owned());
                }
                matches == keep
            });
        });
        for (variable, allowed) in variables.iter().zip(&mut self.allowed) {
            let matches = matches_name(&glob, &variable.name);
            if matches {
                touched.insert(without_output(&variable.name).to_owned());
            }
            allowed.ignored |= matches != keep;
        }
        Ok(touched.len())
    }

    fn allow(
        &mut self,
        glob: &str,
        variables: &[&Variable],
        allow: impl Fn(&mut Allowed),
    ) -> Result<usize, String> {
        let glob = Glob::new(glob)?;
        let mut matched = Vec::new();
        for (index, (variable, allowed)) in variables.iter().zip(&mut self.allowed).enumerate() {
            if glob.is_match(&variable.name) {
                allow(allowed);
                matched.push(index);
            }
        }
        let touched = matched.len();
        // The uses of the rules before it are there already.
        self.of_values.push((self.uses.len(), matched));
        Ok(touched)
    }
}

/// A name without the `:0` that TensorFlow adds to the first output of an operation: a variable and
/// its tensor may differ by it.
pub(crate) fn without_output(name: &str) -> &str {
    name.strip_suffix(":0").unwrap_or(name)
}

/// The same name with `:0` if it has none, and without if it has.
pub(crate) fn other_output(name: &str) -> Cow<'_, str> {
    match name.strip_suffix(":0") {
        Some(bare) => Cow::Borrowed(bare),
        None => Cow::Owned(format!("{name}:0")),
    }
}

/// Whether a glob speaks of a name, with or without its `:0`.
fn matches_name(glob: &Glob, name: &str) -> bool {
    let bare = without_output(name);
    glob.is_match(name) || glob.is_match(bare) || glob.is_match(&format!("{bare}:0"))
}

/// The reason alone: the parser shows the expression with a mark below it, on lines of their own, and whoever
/// tells of the rule shows the expression anyway.
fn why_malformed(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

/// Refuses a replacement that names a group which the expression lacks: nothing would stand there; and one that
/// names groups as Python does: `\\1` would stand there as it is.
fn check_references(regex: &Regex, replacement: &str) -> Result<(), String> {
    let of_python =
        (1..regex.captures_len()).find(|group| replacement.contains(&format!("\\{group}")));
    if let Some(group) = of_python {
        return Err(format!(
            "`\\{group}` is no group here: write `${{{group}}}` for group `{group}`"
        ));
    }
    let mut rest = replacement;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let letters = |rest: &str| {
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
        };
        let (group, after) = braced.unwrap_or_else(|| rest.split_at(letters(rest)));
        // A dollar sign alone stands for itself.
        if braced.is_none() && group.is_empty() {
            continue;
        }
        rest = after;
        let is_there = match group.parse::<usize>() {
            Ok(number) => number < regex.captures_len(),
            Err(_) => regex.capture_names().flatten().any(|name| name == group),
        };
        if is_there {
            continue;
        }
        let missing = format!("the expression has no group `{group}`, which the replacement names");
        // What stands behind a group is taken for a part of its name.
        let meant = (1..group.len()).rev().filter(|&at| group.is_char_boundary(at)).find(|&at| {
            let group = &group[..at];
            let number = group.parse::<usize>().is_ok_and(|n| n < regex.captures_len());
            number || regex.capture_names().flatten().any(|name| name == group)
        });
        return Err(match meant.filter(|_| braced.is_none()) {
            Some(at) => {
                let (group, behind) = group.split_at(at);
                format!(
                    "{missing}: write `${{{group}}}{behind}` for group `{group}` before `{behind}`"
                )
            }
            None => format!("{missing}: write `$$` for a dollar sign"),
        });
    }
    Ok(())
}

pub(crate) fn rename_scope(name: &str, from: &str, to: &str) -> Option<String> {
    let (separator, rest) = if from.is_empty() {
        // The separator that the new scope is written with, or else the name's own.
        let of = |text: &str| text.chars().find(|c| SEPARATORS.contains(c));
        (of(to).or(of(name)).unwrap_or(SEPARATORS[0]), name)
    } else {
        let rest = name.strip_prefix(from)?;
        let separator = rest.chars().next().filter(|c| SEPARATORS.contains(c))?;
        (separator, &rest[separator.len_utf8()..])
    };
    Some(if to.is_empty() { rest.to_owned() } else { format!("{to}{separator}{rest}") })
}

pub(crate) fn rename_component(name: &str, from: &str, to: &str) -> Option<String> {
    if from.is_empty() || !name.contains(from) {
        return None;
    }
    let mut new = String::with_capacity(name.len() + to.len());
    for part in name.split_inclusive(SEPARATORS) {
        let bare = part.strip_suffix(SEPARATORS).unwrap_or(part);
        if bare == from {
            new.push_str(to);
            new.push_str(&part[bare.len()..]);
        } else {
            new.push_str(part);
        }
    }
    Some(new)
}

/// A name under one pair of an assignment map. As in TensorFlow, a scope ends with `/`, and `/`
/// alone is the top; or with `.`, where names are of PyTorch.
fn assigned(name: &str, (from, to): &(String, String)) -> Option<String> {
    match (scope_of(from), scope_of(to)) {
        (Some(from), Some(to)) => Some(format!("{to}{}", name.strip_prefix(from)?)),
        (None, None) => (name == from).then(|| to.clone()),
        // A scope has no value to give to one variable.
        _ => None,
    }
}

/// Whether a pair speaks of a variable of this name.
fn speaks_of((_, to): &(String, String), variable: &str) -> bool {
    match scope_of(to) {
        Some(scope) => variable.starts_with(scope),
        None => without_output(variable) == without_output(to),
    }
}

/// Why a map cannot be applied that has a pair which does nothing, such as a mistyped one: whatever no pair
/// speaks of is left out, and so would be what this one means. Where renames follow, no variable is left out,
/// and one without a value is told; and what is converted has no variables.
fn idle_pair(
    pairs: &[(String, String)],
    idle: &[usize],
    renamed: bool,
    variables: &[&Variable],
) -> Option<String> {
    let speaks = |pair: &(String, String)| {
        renamed || variables.iter().any(|variable| speaks_of(pair, &variable.name))
    };
    let nobodys = |(place, pair): (usize, &(String, String))| {
        let has_tensor = idle.binary_search(&place).is_err();
        let none = match has_tensor {
            false => "no tensor is",
            true if variables.is_empty() || speaks(pair) => return None,
            true => "no variable is",
        };
        let (from, to) = pair;
        Some(format!("{none} what its pair ({from:?}, {to:?}) speaks of"))
    };
    pairs.iter().enumerate().find_map(nobodys)
}

fn scope_of(entry: &str) -> Option<&str> {
    if entry == "/" { Some("") } else { entry.ends_with(SEPARATORS).then_some(entry) }
}
