//! In which order rules are told.

use super::names::runs;
use super::trial::Trials;
use crate::restore::rules::Rule;

impl Trials<'_> {
    /// The rules in the order in which one would write them, if they do the same in it: prefixes
    /// first, as the file has them, then the separator, then what is larger before what is smaller.
    pub fn in_usual_order(&mut self, rules: Vec<Rule>) -> Vec<Rule> {
        let separator = rules.iter().position(|rule| matches!(rule, Rule::Separator { .. }));
        let as_in_file = |(at, rule): (usize, &Rule)| match (
            rule,
            separator.map(|separator| (separator, &rules[separator])),
        ) {
            (Rule::StripPrefix(prefix), Some((separator, Rule::Separator { from, to })))
                if at > separator =>
            {
                Rule::StripPrefix(prefix.replace(*to, from.encode_utf8(&mut [0; 4])))
            }
            (
                Rule::RenameScope { from: old, to: new },
                Some((separator, Rule::Separator { from, to })),
            ) if at < separator => {
                let written = |scope: &str| scope.replace(*from, to.encode_utf8(&mut [0; 4]));
                Rule::RenameScope { from: written(old), to: written(new) }
            }
            _ => rule.clone(),
        };
        let written: Vec<Rule> = rules.iter().enumerate().map(as_in_file).collect();
        let place = |rule: &Rule| match rule {
            Rule::StripPrefix(_) => 0,
            Rule::Separator { .. } => 1,
            Rule::RenameRegex { .. } => 3,
            Rule::RenameScope { .. } => 4,
            Rule::RenameComponent { .. } => 5,
            Rule::AddPrefix(_) => 6,
            Rule::Rename { .. } => 7,
            _ => 8,
        };
        let mut sorted = written.clone();
        sorted.sort_by_cached_key(|rule| {
            let moves = matches!(rule, Rule::RenameScope { .. } | Rule::Rename { .. });
            (place(rule), moves.then(|| by_numbers(&rule.to_string())))
        });
        let mut prefixed = written;
        prefixed.sort_by_key(|rule| place(rule).min(2));
        let mut orders = vec![sorted, prefixed];
        orders.retain(|order| *order != rules);
        orders.dedup();
        if orders.is_empty() {
            return rules;
        }
        let Some(before) = self.matching(&rules) else { return rules };
        let found = orders.into_iter().find(|order| self.come_to(order, &before));
        found.unwrap_or(rules)
    }
}

/// A text as it is put in order: `layer_2` before `layer_10`.
fn by_numbers(text: &str) -> Vec<(String, usize, String)> {
    let mut parts: Vec<(String, usize, String)> = Vec::new();
    for (run, number) in runs(text) {
        match (number, parts.last_mut()) {
            // A number with more digits is larger.
            (true, Some((_, length, digits))) => {
                let run = run.trim_start_matches('0');
                (*length, *digits) = (run.len(), run.to_owned());
            }
            _ => parts.push((run.to_owned(), 0, String::new())),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::by_numbers;

    #[test]
    fn numbers_are_in_their_own_order() {
        let mut names = ["layer_10/w", "layer_2/w", "layer_1/w", "head", "layer_1/b", "layer", "2"];
        names.sort_by_cached_key(|name| by_numbers(name));
        assert_eq!(
            names,
            ["2", "head", "layer", "layer_1/b", "layer_1/w", "layer_2/w", "layer_10/w"]
        );
    }
}
