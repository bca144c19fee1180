//! Long lists made short: names that differ only by a number become one line,
//! `encoder/layer_{0..5}/weight`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

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
        if let [(name, _)] = self.members.as_slice() {
            return vec![(name.clone(), self.what)];
        }
        // What is said twice is said twice.
        let mut known = HashSet::new();
        let (once, again): (Vec<_>, Vec<_>) =
            self.members.iter().partition(|(_, numbers)| known.insert(numbers.clone()));
        let members = once.iter().map(|(_, numbers)| numbers.clone()).collect();
        let order = self.members.iter().enumerate().map(|(at, (_, numbers))| (&numbers[..], at));
        let order: HashMap<&[u64], usize> = order.collect();
        let mut blocks = blocks(members, self.template.len() - 1);
        blocks.sort_by_cached_key(|block| {
            let mut first = usize::MAX;
            each(block, &mut Vec::new(), &mut |numbers| {
                first = first.min(order.get(numbers).copied().unwrap_or(usize::MAX));
            });
            first
        });
        let blocks = blocks.iter().map(|block| self.named(block));
        let again = again.into_iter().map(|(name, _)| name.clone());
        blocks.chain(again).map(|name| (name, self.what.clone())).collect()
    }

    fn named(&self, block: &Block) -> String {
        let mut name = self.template[0].clone();
        for (set, after) in block.iter().zip(&self.template[1..]) {
            name.push_str(&numbers(set));
            name.push_str(after);
        }
        name
    }
}

/// Names that are all combinations of some numbers: those of each place.
type Block = Vec<BTreeSet<u64>>;

/// Calls for each combination.
fn each(block: &[BTreeSet<u64>], numbers: &mut Vec<u64>, call: &mut impl FnMut(&[u64])) {
    let Some((set, rest)) = block.split_first() else { return call(numbers) };
    for &number in set {
        numbers.push(number);
        each(rest, numbers, call);
        numbers.pop();
    }
}

/// Of names with more numbers, only one way to take them apart is tried.
const TRIED: usize = 3;

/// As few blocks as are easily found that together are the members, which have so many numbers each:
/// numbers of one place that occur with the same others belong together.
fn blocks(members: Vec<Vec<u64>>, places: usize) -> Vec<Block> {
    let sets: Block =
        (0..places).map(|place| members.iter().map(|numbers| numbers[place]).collect()).collect();
    let combinations = sets.iter().map(BTreeSet::len).try_fold(1usize, usize::checked_mul);
    if combinations == Some(members.len()) {
        return vec![sets];
    }
    let tried = if places > TRIED { 1 } else { places };
    let apart = |place: usize| {
        let mut others: BTreeMap<u64, Vec<Vec<u64>>> = BTreeMap::new();
        for numbers in &members {
            let mut rest = numbers.clone();
            let own = rest.remove(place);
            others.entry(own).or_default().push(rest);
        }
        let mut alike: BTreeMap<Vec<Vec<u64>>, BTreeSet<u64>> = BTreeMap::new();
        for (own, mut rest) in others {
            rest.sort_unstable();
            alike.entry(rest).or_default().insert(own);
        }
        let whole = |(rest, own): (Vec<Vec<u64>>, BTreeSet<u64>)| {
            blocks(rest, places - 1).into_iter().map(move |mut block| {
                block.insert(place, own.clone());
                block
            })
        };
        alike.into_iter().flat_map(whole).collect::<Vec<Block>>()
    };
    (0..tried).map(apart).min_by_key(Vec::len).unwrap_or_default()
}

/// Names with more numbers than this stay as they are. What joining takes grows with the square of
/// the numbers in a name, and a name may be as long as a file.
const MOST_NUMBERS: usize = 16;

/// A name apart: what is text, and what are numbers. A number that would not come back the same,
/// such as `007`, stays text.
fn split(name: &str) -> (Vec<String>, Vec<u64>) {
    let mut template = vec![String::new()];
    let mut numbers = Vec::new();
    for run in runs(name) {
        match run.parse::<u64>() {
            Ok(number) if number.to_string() == run => {
                if numbers.len() == MOST_NUMBERS {
                    return (vec![name.to_owned()], Vec::new());
                }
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

/// How many stretches of numbers are written out.
const RANGES: usize = 8;

fn numbers(set: &BTreeSet<u64>) -> String {
    let (Some(first), Some(last)) = (set.first(), set.last()) else { return String::new() };
    if first == last {
        return first.to_string();
    }
    if last - first == set.len() as u64 - 1 {
        return format!("{{{first}..{last}}}");
    }
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for &number in set {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let text = |(first, last): &(u64, u64)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}..{last}"),
    };
    let mut shown: Vec<String> = ranges.iter().take(RANGES).map(text).collect();
    if ranges.len() > RANGES {
        shown.push(format!("… {} numbers to {last}", set.len()));
    }
    format!("{{{}}}", shown.join(","))
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
    fn gaps_are_told_in_few_short_lines() {
        let all =
            |names: Vec<String>| collapsed(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let layers = (0..96).filter(|layer| ![7, 50].contains(layer));
        let layers = layers.map(|layer| format!("l{layer}/w")).collect();
        assert_eq!(all(layers), ["l{0..6,8..49,51..95}/w"]);
        // Twelve layers of four heads, without one head.
        let heads = (0..48).filter(|at| *at != 29).map(|at| format!("l{}/h{}", at / 4, at % 4));
        assert_eq!(all(heads.collect()), ["l{0..6,8..11}/h{0..3}", "l7/h{0,2,3}"]);
        // By either number, whichever tells them in fewer lines.
        assert_eq!(collapsed(&["a0/0", "a1/0", "a1/1", "a2/1"]), ["a{0..1}/0", "a{1..2}/1"]);
        assert_eq!(collapsed(&["a0/0", "a0/1", "a1/1", "a1/2"]), ["a0/{0..1}", "a1/{1..2}"]);
        let odd = (0..5000).map(|at| format!("l{}/w", 2 * at)).collect();
        assert_eq!(all(odd), ["l{0,2,4,6,8,10,12,14,… 5000 numbers to 9998}/w"]);
        // Each name is told once, whatever is missing.
        for seed in 0..200u64 {
            let random = |at: u64| (at * 7919 + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
            let left = (0..60u64).filter(|&at| random(at) > seed % 12);
            let members: Vec<Vec<u64>> = left.map(|at| vec![at / 20, at / 4 % 5, at % 4]).collect();
            let blocks = blocks(members.clone(), 3);
            let has = |block: &Block, numbers: &[u64]| {
                block.iter().zip(numbers).all(|(set, number)| set.contains(number))
            };
            let told: usize =
                blocks.iter().map(|b| b.iter().map(BTreeSet::len).product::<usize>()).sum();
            assert_eq!(told, members.len(), "{seed}");
            for numbers in &members {
                let times = blocks.iter().filter(|block| has(block, numbers)).count();
                assert_eq!(times, 1, "{seed} {numbers:?}");
            }
        }
    }

    #[test]
    fn names_of_too_many_numbers_stay_apart() {
        let pair = |numbers: usize| {
            let begin = "1/".repeat(numbers - 1);
            [format!("{begin}1"), format!("{begin}2")]
        };
        let few = pair(MOST_NUMBERS);
        let joined = format!("{}{{1..2}}", "1/".repeat(MOST_NUMBERS - 1));
        assert_eq!(collapsed(&[&few[0], &few[1]]), [joined]);
        let many = pair(MOST_NUMBERS + 1);
        assert_eq!(collapsed(&[&many[0], &many[1]]), many);
    }

    #[test]
    fn nothing_is_claimed_that_is_not_there() {
        assert_eq!(collapsed(&["h/0/a/0", "h/0/a/1", "h/1/a/0"]), ["h/0/a/{0..1}", "h/1/a/0"]);
        assert_eq!(collapsed(&["a", "b", "a1"]), ["a", "b", "a1"]);
        assert_eq!(collapsed(&["a01", "a1", "a2"]), ["a01", "a{1..2}"]);
        assert_eq!(collapsed(&["a", "b", "a"]), ["a", "a", "b"]);
        assert_eq!(collapsed(&["a1", "a2", "a1"]), ["a{1..2}", "a1"]);
        // What stands for the numbers may not be taken for a part of the name.
        assert_eq!(collapsed(&["a1b", "a\0b"]), ["a1b", "a\0b"]);
        let large = "a99999999999999999999999";
        assert_eq!(collapsed(&[large, ""]), [large, ""]);
        let other = vec![("a1".to_owned(), "x".to_owned()), ("a2".to_owned(), "y".to_owned())];
        assert_eq!(collapse(other.clone()), other);
    }
}
