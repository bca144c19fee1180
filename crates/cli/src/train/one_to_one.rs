//! Inputs that say the target in other words: its classes as numbers or as columns of 0 and 1, a copy of its
//! values, or what rises and falls with it. A network learns to read them off, and is of no use where they
//! are not known.
//!
//! Of classes an input is told only if it has one value in all rows of a class: one that has another value in
//! each row, as names and measurements have, never is.

use super::one_hot::{NO_OTHER, by_ignore, joined, leave_out, left_out, under_data};
use super::settings::DataSettings;
use crate::data::Table;
use crate::error::Failure;
use crate::text::counted;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use warmstart_graph::words::first_few;

/// Columns that are named in one sentence.
const NAMED: usize = 5;

/// Of fewer rows it is also told what may be so by chance; of more it is not, as it would be wrong too often.
const FEW: usize = 20;

/// The logarithm of how likely it may be that columns are so by chance. It is one in a thousand.
const CHANCE: f64 = -6.9;

/// So often an input has to rise with a target until that is no chance.
const RISES: usize = 10;

/// Inputs that say a target.
#[derive(Debug, PartialEq)]
pub struct Told {
    /// The inputs that do.
    pub inputs: Vec<usize>,
    /// The target that they say.
    target: usize,
    how: How,
    rows: usize,
    /// Whether there are other inputs.
    others: bool,
    /// Whether it is no chance.
    certain: bool,
}

/// How inputs say a target.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// Of each, each class has one value, which no other class has.
    Each,
    /// Each has one value in all rows of a class, and together they tell the classes apart.
    Together,
    /// Each has the value of the target.
    Equal,
    /// Sorted by one of them, or against it, rows are sorted by the target.
    Sorted,
}

impl Told {
    /// Looks for inputs that say the class, in one pass over each.
    pub fn classes(table: &Table, target: usize, inputs: &[usize], rows: &[usize]) -> Option<Told> {
        let (class_of, firsts, sizes) = classes(table, target, rows);
        let count = firsts.len();
        // Classes of one row have one value of everything.
        if count < 2 || 2 * count > rows.len() {
            return None;
        }
        // Row by row, as rows lie in memory: the columns that have one value in each class as yet.
        let mut left = inputs.to_vec();
        for (&row, &class) in rows.iter().zip(&class_of) {
            left.retain(|&column| table.same(firsts[class], row, column));
        }
        // The place of each class's value among those of a column, if there are several.
        let values = |column: usize| -> Option<Vec<usize>> {
            let mut places = HashMap::new();
            let place = |&row: &usize| {
                let next = places.len();
                let number = table.exact_number(row, column);
                let value =
                    number.map_or_else(|| table.word(row, column), |x| (x + 0.0).to_string());
                *places.entry(value).or_insert(next)
            };
            let places_of: Vec<usize> = firsts.iter().map(place).collect();
            (places.len() > 1).then_some(places_of)
        };
        let found: Vec<(usize, Vec<usize>)> =
            left.into_iter().filter_map(|column| Some((column, values(column)?))).collect();
        let is_alone = |values: &[usize]| values.iter().collect::<BTreeSet<_>>().len() == count;
        let (alone, parts): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, v)| is_alone(v));
        let together = {
            let all = |class: usize| parts.iter().map(|(_, v)| v[class]).collect::<Vec<usize>>();
            (0..count).map(all).collect::<BTreeSet<_>>().len() == count
        };
        let (how, told) = match (alone.is_empty(), together) {
            (false, false) => (How::Each, alone),
            (_, true) => (How::Together, [alone, parts].concat()),
            (true, false) => return None,
        };
        let factorials = factorials(rows.len());
        let ways = told.iter().map(|(_, values)| {
            let mut joined = vec![0; count];
            values.iter().zip(&sizes).for_each(|(&value, size)| joined[value] += size);
            chance(&factorials, &joined)
        });
        let chance = ways.fold(0.0, f64::min) + (inputs.len() as f64).ln();
        let mut told: Vec<usize> = told.into_iter().map(|(column, _)| column).collect();
        told.sort_unstable();
        Told::new((target, &told, how), inputs, rows.len(), chance < CHANCE)
    }

    /// Looks for inputs that are the same as a target of values, or sorted as it is.
    pub fn values(
        table: &Table,
        targets: &[usize],
        inputs: &[usize],
        rows: &[usize],
    ) -> Option<Told> {
        targets.iter().find_map(|&target| Told::value(table, target, inputs, rows))
    }

    fn value(table: &Table, target: usize, inputs: &[usize], rows: &[usize]) -> Option<Told> {
        let number = |row: usize, column: usize| table.exact_number(row, column);
        let mut sorted: Vec<(f64, usize)> =
            rows.iter().map(|&row| Some((number(row, target)?, row))).collect::<Option<_>>()?;
        let equal =
            |column: &usize| sorted.iter().all(|&(value, row)| number(row, *column) == Some(value));
        let equal: Vec<usize> = inputs.iter().copied().filter(equal).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let sizes: Vec<usize> = sorted.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).collect();
        if sizes.len() < 2 {
            return None;
        }
        if !equal.is_empty() {
            let certain = is_no_chance(&sizes, inputs.len());
            return Told::new((target, &equal, How::Equal), inputs, rows.len(), certain);
        }
        let alike = |column: &usize| is_sorted_alike(table, &sorted, *column);
        let alike: Vec<usize> = inputs.iter().copied().filter(alike).collect();
        // What rises with all that there is to learn from is what is to be learned.
        let told = !alike.is_empty() && alike.len() < inputs.len();
        told.then(|| Told::new((target, &alike, How::Sorted), inputs, rows.len(), true)).flatten()
    }

    /// None if it may well be chance, in rows that are not few.
    fn new(
        (target, told, how): (usize, &[usize], How),
        inputs: &[usize],
        rows: usize,
        certain: bool,
    ) -> Option<Told> {
        let others = told.len() < inputs.len();
        let told = Told { inputs: told.to_vec(), target, how, rows, others, certain };
        (certain || rows < FEW).then_some(told)
    }

    /// Refuses a target that nobody named, where there is more to learn from. What only rises with the target
    /// may be the time, for one.
    pub fn refuse(&self, table: &Table, data: &DataSettings) -> Result<(), Failure> {
        if !self.certain || !self.others || self.how == How::Sorted {
            return Ok(());
        }
        let (file, target) = (table.name(), table.choice(self.target));
        let (name, told) = (table.column_name(self.target), self.told(table));
        let named = format!("target = {target}");
        let help = format!(
            "leave out of the inputs what is not known when the model is used, by these lines {}, with another `directory` at the top if a run has begun:\n    {named}\n    ignore = [{}]\nor, if these columns are known then, keep them, and name the target alone, by `{named}`",
            under_data(data),
            left_out(table, data, &self.inputs)
        );
        Err(Failure::new(format!(
            "{file}, {name}, the target since it is the last, is given away by {told}"
        ))
        .help(help))
    }

    /// What is not to be overlooked where somebody did name the target; `also` is left out as well.
    pub fn note(&self, table: &Table, data: &DataSettings, also: &[usize]) -> String {
        let (name, told) = (table.column_name(self.target), self.told(table));
        let all = joined(&self.inputs, also);
        if self.how == How::Sorted {
            let leave_out = match self.others {
                true => {
                    let it = if self.inputs.len() == 1 { "it" } else { "them" };
                    format!("If so, leave {it} out of the inputs, {}", by_ignore(table, data, &all))
                }
                false => NO_OTHER.to_owned(),
            };
            return format!("{name}, the target, {told}. {leave_out}");
        }
        let leave_out = leave_out(table, data, &all, self.others);
        match self.certain {
            true => format!("{name}, the target, is given away by {told}. {leave_out}"),
            false => format!(
                "{name}, the target, may be given away by {told}; in so few rows that may be chance. {leave_out}"
            ),
        }
    }

    /// The inputs, and what they are to the target.
    fn told(&self, table: &Table) -> String {
        let names = first_few(self.inputs.iter().map(|&column| table.column_name(column)), NAMED);
        let count = counted(self.rows, "row");
        let rows = format!("in these {count}");
        let one = self.inputs.len() == 1;
        match (self.how, one) {
            (How::Each, true) => format!("{names}: {rows} each class has a value of its own there"),
            (How::Each, false) => {
                format!("{names}: {rows} each class has a value of its own in each of them")
            }
            (How::Together, _) => format!(
                "{names}: {rows} each of them has one value in all rows of a class, and together they tell all classes apart"
            ),
            (How::Equal, true) => format!("{names}, which equals it {rows}"),
            (How::Equal, false) => format!("{names}, which equal it {rows}"),
            // The time rises with much that is not computed from it.
            (How::Sorted, _) => {
                let each = if one { "" } else { "each of " };
                format!(
                    "rises or falls with {each}{names} in all these {count}, as where one of the two is computed from the other"
                )
            }
        }
    }
}

/// Of each row its class; of each class its first row, and how many rows it has.
fn classes(table: &Table, target: usize, rows: &[usize]) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    let (mut places, mut firsts, mut sizes) = (HashMap::new(), Vec::new(), Vec::new());
    let class = |&row: &usize| {
        let class = *places.entry(table.word(row, target)).or_insert(firsts.len());
        if class == firsts.len() {
            firsts.push(row);
            sizes.push(0);
        }
        sizes[class] += 1;
        class
    };
    (rows.iter().map(class).collect(), firsts, sizes)
}

/// The logarithm of how likely rows, put in any order, fall into groups of these sizes as they do.
fn chance(factorials: &[f64], sizes: &[usize]) -> f64 {
    let all: usize = sizes.iter().sum();
    sizes.iter().map(|&size| factorials[size]).sum::<f64>() - factorials[all]
}

/// Whether it is no chance that one of so many inputs falls into the groups of these sizes.
pub fn is_no_chance(sizes: &[usize], inputs: usize) -> bool {
    let factorials = factorials(sizes.iter().sum());
    chance(&factorials, sizes) + (inputs as f64).ln() < CHANCE
}

/// The logarithms of the factorials of 0 up to a number.
fn factorials(last: usize) -> Vec<f64> {
    let next = |sum: &mut f64, number: usize| {
        *sum += (number.max(1) as f64).ln();
        Some(*sum)
    };
    (0..=last).scan(0.0, next).collect()
}

/// Whether a column never falls where the target rises, or never rises there, in rows that are sorted by the
/// target; and tells its values apart about as finely, as what was rounded does.
fn is_sorted_alike(table: &Table, sorted: &[(f64, usize)], column: usize) -> bool {
    // What the groups of equal targets have, from the least to the most.
    let mut groups: Vec<(f64, f64)> = Vec::new();
    let (mut order, mut changes, mut inside) = (Ordering::Equal, 0, 0);
    for group in sorted.chunk_by(|a, b| a.0 == b.0) {
        let mut range = (f64::INFINITY, f64::NEG_INFINITY);
        for &(_, row) in group {
            let Some(value) = table.exact_number(row, column) else { return false };
            range = (range.0.min(value), range.1.max(value));
        }
        inside += usize::from(range.0 < range.1);
        if let Some(&(least, most)) = groups.last() {
            let now = match (range.0 >= most, range.1 <= least) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => return false,
            };
            if now != Ordering::Equal {
                if order == now.reverse() {
                    return false;
                }
                order = now;
                changes += 1;
            }
        }
        groups.push(range);
    }
    changes >= RISES && 2 * changes + 1 >= groups.len() && 2 * inside <= groups.len()
}

#[cfg(test)]
#[path = "one_to_one_tests.rs"]
mod tests;
