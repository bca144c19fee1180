//! Globs and names in rules that match nothing, and what they were probably meant to be.

use crate::restore::rules::{Rule, RuleUse, SEPARATORS};
use std::collections::HashSet;
use warmstart_graph::Glob;
use warmstart_graph::words::nearest;

/// Pairs of characters to compare: a file with a million long names must not make an error message
/// take minutes.
const BUDGET: usize = 20_000_000;

/// Longer names are compared with nothing.
const LONGEST: usize = 512;

impl RuleUse {
    /// The rule at a place with the glob that its own was probably meant to be, of those that match one
    /// of a file's names. `None` after rules that rewrite names, but for rules about values: those match
    /// the names of variables, which no rule rewrites.
    pub fn near(uses: &[RuleUse], at: usize, names: &[&str]) -> Option<Rule> {
        let mut rule = uses.get(at)?.rule.clone();
        let rewritten = || uses.iter().take(at).any(|before| before.rule.is_about_names());
        if !rule.is_about_values() && rewritten() {
            return None;
        }
        let glob = rule.glob_mut()?;
        *glob = near_glob(glob, names)?;
        Some(rule)
    }
}

/// What a rule that touches none of these names was probably meant to be: the same with the nearest of what it
/// could speak of, a name, a scope or a part of one. Of those that may have been meant as they are written,
/// and of globs, nothing is said here.
pub(crate) fn near_name(rule: &Rule, names: &[&str]) -> Option<Rule> {
    let scopes = |with_separator: usize| {
        names.iter().flat_map(move |name| {
            let ends = name.match_indices(SEPARATORS).map(move |(at, _)| at + with_separator);
            ends.map(|end| &name[..end])
        })
    };
    // Another number is another layer, and no slip.
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let near = |text: &str, among: &mut dyn Iterator<Item = &str>| -> Option<String> {
        let (mut seen, mut numbered) = (HashSet::new(), Vec::new());
        let (mut room, own) = (BUDGET, digits(text));
        // Many tensors lie in one scope, and a long name in many.
        for other in among.filter(|other| other.len() <= LONGEST) {
            if !seen.insert(other.to_owned()) {
                continue;
            }
            room = room.checked_sub(other.len() * text.len().max(1))?;
            if digits(other) == own {
                numbered.push(other.to_owned());
            }
        }
        nearest(text, numbered.iter().map(String::as_str)).map(str::to_owned)
    };
    Some(match rule {
        Rule::Rename { from, to } => {
            let from = near(from, &mut names.iter().copied())?;
            // What has the name already needs no rule.
            if from == *to {
                return None;
            }
            Rule::Rename { from, to: to.clone() }
        }
        Rule::RenameScope { from, to } => {
            Rule::RenameScope { from: near(from, &mut scopes(0))?, to: to.clone() }
        }
        Rule::RenameComponent { from, to } => {
            let mut parts = names.iter().flat_map(|name| name.split(SEPARATORS));
            Rule::RenameComponent { from: near(from, &mut parts)?, to: to.clone() }
        }
        Rule::StripPrefix(prefix) => Rule::StripPrefix(near(prefix, &mut scopes(1))?),
        _ => return None,
    })
}

/// What a glob that matches none of these names was probably meant to be: the same with each part that
/// no name has replaced by the nearest one, or with the separator that names have, or all that is below it, if
/// that matches a name.
pub(crate) fn near_glob(glob: &str, names: &[&str]) -> Option<String> {
    let is_plain = |part: &&str| !part.contains(['*', '?', '[', ']', '{', '}', ',', '\\']);
    let parts: Vec<&str> = names.iter().flat_map(|name| name.split(SEPARATORS)).collect();
    let length = |parts: &[&str]| parts.iter().map(|part| part.len()).sum::<usize>();
    if length(&parts).saturating_mul(glob.len()) > BUDGET {
        return None;
    }
    let mut near = String::with_capacity(glob.len());
    for part in glob.split_inclusive(SEPARATORS) {
        let plain = part.trim_end_matches(SEPARATORS);
        let stays = !is_plain(&plain) || parts.contains(&plain);
        let plain_parts = || parts.iter().copied().filter(is_plain);
        near.push_str(if stays { plain } else { nearest(plain, plain_parts())? });
        near.push_str(&part[plain.len()..]);
    }
    let matches = |text: &String| {
        Glob::new(text).is_ok_and(|glob| names.iter().any(|name| glob.is_match(name)))
    };
    let [slash, dot] = SEPARATORS;
    let with = |from: char, to: char| near.replace(from, to.encode_utf8(&mut [0; 4]));
    let others = [near.clone(), with(slash, dot), with(dot, slash)];
    if matches(&near) {
        return Some(near).filter(|near| near != glob);
    }
    let below = others.iter().flat_map(|text| {
        let scope = text.strip_suffix("/*").or_else(|| text.strip_suffix(".*")).unwrap_or(text);
        SEPARATORS.map(|separator| format!("{scope}{separator}**"))
    });
    others.iter().cloned().chain(below).find(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_part_is_replaced_by_the_nearest() {
        let names = ["fc1/weight", "fc1/bias", "head.2.weight"];
        for (glob, near) in [
            ("**/wieght", Some("**/weight")),
            ("fc2/**", Some("fc1/**")),
            ("fc2/wieght", Some("fc1/weight")),
            ("haed.*.weight", Some("head.*.weight")),
            ("FC1/**", Some("fc1/**")),
            // Names have another separator.
            ("head/*/weight", Some("head.*.weight")),
            ("fc1.*", Some("fc1/*")),
            ("head/2/wieght", Some("head.2.weight")),
            // All that is below.
            ("head.*", Some("head.**")),
            ("fc1", Some("fc1/**")),
            ("head/2", Some("head.2.**")),
            // Nothing is near, nothing is wrong with a part, or what is near matches nothing.
            ("encoder/**", None),
            ("fc1/*_norm", None),
            ("head/wieght", None),
        ] {
            assert_eq!(near_glob(glob, &names).as_deref(), near, "{glob}");
        }
    }

    #[test]
    fn a_mistyped_name_is_replaced_by_the_nearest_that_the_rule_could_speak_of() {
        let names = ["module.encoder.fc1.weight", "module.encoder.fc1.bias", "module.head.weight"];
        let (text, to) = (str::to_owned, "x".to_owned());
        let rename = |from| Rule::Rename { from: text(from), to: to.clone() };
        let scope = |from| Rule::RenameScope { from: text(from), to: to.clone() };
        let part = |from| Rule::RenameComponent { from: text(from), to: to.clone() };
        let strip = |prefix| Rule::StripPrefix(text(prefix));
        for (rule, near) in [
            (rename("module.head.wieght"), Some(rename("module.head.weight"))),
            (rename("module/head/weight"), Some(rename("module.head.weight"))),
            (scope("module.encodr"), Some(scope("module.encoder"))),
            (part("haed"), Some(part("head"))),
            (strip("modul."), Some(strip("module."))),
            (rename("zebra"), None),
            (
                Rule::Rename { from: text("module.head.wieght"), to: text("module.head.weight") },
                None,
            ),
            (scope("zebra"), None),
            (strip("zebra/"), None),
            (part("fc2"), None),
            (Rule::AddPrefix(text("modul")), None),
        ] {
            assert_eq!(near_name(&rule, &names), near, "{rule}");
        }
    }

    #[test]
    fn names_that_were_rewritten_before_are_nobodys() {
        let uses = |rules: &[Rule]| -> Vec<RuleUse> {
            let used =
                |rule: &Rule| RuleUse { rule: rule.clone(), touched: 0, matched: 0, problem: None };
            rules.iter().map(used).collect()
        };
        let (names, only) = (["m.fc1/weight"], Rule::Only("m.fc1/wieght".to_owned()));
        let near = Rule::Only("m.fc1/weight".to_owned());
        let ignore = Rule::Ignore("nothing".to_owned());
        assert_eq!(RuleUse::near(&uses(&[ignore, only.clone()]), 1, &names), Some(near));
        let strip = Rule::StripPrefix("m.".to_owned());
        assert_eq!(RuleUse::near(&uses(&[strip, only]), 1, &names), None);
    }
}
