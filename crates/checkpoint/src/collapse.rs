//! Long lists made short: names that differ only by a number become one line,
//! `encoder/layer_{0..5}/weight`.

use std::collections::{BTreeSet, HashMap};

/// A name, and what is said about it.
pub(crate) type Line = (String, String);

/// Joins lines that say the same about names that differ only by numbers. Lines keep the order of
/// their first name.
pub(crate) fn collapse(lines: Vec<Line>) -> Vec<Line> {
    let mut groups: Vec<Group> = Vec::new();
    let mut known: HashMap<(Vec<String>, String), usize> = HashMap::new();
    for (name, what) in lines {
        let (template, numbers) = split(&name);
        let index = *known.entry((template.clone(), what.clone())).or_insert_with(|| {
            groups.push(Group { template, what, members: Vec::new() });
            groups.len() - 1
        });
        groups[index].members.push((name, numbers));
    }
    groups.into_iter().flat_map(Group::lines).collect()
}

struct Group {
    /// What stands before, between and after the numbers.
    template: Vec<String>,
    what: String,
    members: Vec<(String, Vec<u64>)>,
}

impl Group {
    fn lines(self) -> Vec<Line> {
        let places = self.template.len() - 1;
        let sets: Vec<BTreeSet<u64>> = (0..places)
            .map(|place| self.members.iter().map(|(_, numbers)| numbers[place]).collect())
            .collect();
        // One line stands for the group only if every combination of the numbers is there.
        let combinations = sets.iter().map(BTreeSet::len).try_fold(1usize, usize::checked_mul);
        if self.members.len() == 1 || combinations != Some(self.members.len()) {
            return self.members.into_iter().map(|(name, _)| (name, self.what.clone())).collect();
        }
        let mut name = self.template[0].clone();
        for (set, after) in sets.iter().zip(&self.template[1..]) {
            name.push_str(&numbers(set));
            name.push_str(after);
        }
        vec![(name, self.what)]
    }
}

/// A name apart: what is text, and what are numbers. A number that would not come back the same,
/// such as `007`, stays text.
fn split(name: &str) -> (Vec<String>, Vec<u64>) {
    let mut template = vec![String::new()];
    let mut numbers = Vec::new();
    for run in runs(name) {
        match run.parse::<u64>() {
            Ok(number) if number.to_string() == run => {
                numbers.push(number);
                template.push(String::new());
            }
            _ => template.last_mut().expect("it begins with one").push_str(run),
        }
    }
    (template, numbers)
}

/// Runs of digits and runs of anything else.
fn runs(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let digit = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        Some(run)
    })
}

fn numbers(set: &BTreeSet<u64>) -> String {
    let (Some(first), Some(last)) = (set.first(), set.last()) else { return String::new() };
    if first == last {
        return first.to_string();
    }
    if last - first == set.len() as u64 - 1 {
        return format!("{{{first}..{last}}}");
    }
    let all: Vec<String> = set.iter().map(u64::to_string).collect();
    format!("{{{}}}", all.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collapsed(names: &[&str]) -> Vec<String> {
        let lines = names.iter().map(|name| ((*name).to_owned(), "f32 [2]".to_owned())).collect();
        collapse(lines).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn names_that_differ_by_a_number_become_one() {
        let names = ["l_0/w", "l_0/b", "l_1/w", "l_1/b", "l_2/w", "l_2/b", "head"];
        assert_eq!(collapsed(&names), ["l_{0..2}/w", "l_{0..2}/b", "head"]);
        assert_eq!(collapsed(&["a1", "a3", "a7"]), ["a{1,3,7}"]);
        assert_eq!(collapsed(&["h/0/a/0", "h/0/a/1", "h/1/a/0", "h/1/a/1"]), ["h/{0..1}/a/{0..1}"]);
    }

    #[test]
    fn nothing_is_claimed_that_is_not_there() {
        let names = ["h/0/a/0", "h/0/a/1", "h/1/a/0"];
        assert_eq!(collapsed(&names), names);
        assert_eq!(collapsed(&["a", "b", "a1"]), ["a", "b", "a1"]);
        assert_eq!(collapsed(&["a01", "a1", "a2"]), ["a01", "a{1..2}"]);
        // What stands for the numbers may not be taken for a part of the name.
        assert_eq!(collapsed(&["a1b", "a\0b"]), ["a1b", "a\0b"]);
        let large = "a99999999999999999999999";
        assert_eq!(collapsed(&[large, ""]), [large, ""]);
        let other = vec![("a1".to_owned(), "x".to_owned()), ("a2".to_owned(), "y".to_owned())];
        assert_eq!(collapse(other.clone()), other);
    }
}
