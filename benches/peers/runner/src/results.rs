//! What was measured, and whether all arms computed the same.

use peers_common::{Answer, Row};
use std::collections::BTreeMap;
use std::fmt;

/// What a sample is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A row whose time the arm takes.
    Steady(Row),
    /// The first step with empty caches.
    Cold,
    /// The first step with the caches of another first step.
    Warm,
}

impl Key {
    /// The row that an arm is asked for.
    pub fn row(self) -> Row {
        match self {
            Key::Steady(row) => row,
            Key::Cold | Key::Warm => Row::FirstStep,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Steady(row) => f.write_str(&row.name()),
            Key::Cold => f.write_str("first-step cold"),
            Key::Warm => f.write_str("first-step warm"),
        }
    }
}

/// All samples of one arm for one key.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Seconds of one run or step.
    pub seconds: Vec<f64>,
    /// The most memory that was resident in any process.
    pub peak_bytes: Option<u64>,
    /// Why there are no samples, or why they do not count.
    pub failure: Option<String>,
    checks: Vec<Vec<f64>>,
}

impl Cell {
    /// The median, if the cell counts.
    pub fn median(&self) -> Option<f64> {
        if self.failure.is_some() || self.seconds.is_empty() {
            return None;
        }
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let below = sorted[(sorted.len() - 1) / 2];
        Some(f64::midpoint(below, sorted[middle]))
    }

    /// The shortest and the longest sample.
    pub fn spread(&self) -> (f64, f64) {
        let shortest = self.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let longest = self.seconds.iter().copied().fold(0.0, f64::max);
        (shortest, longest)
    }
}

/// The largest difference of a result from the first arm's that still counts as the same.
pub const TOLERANCE: f64 = 1e-3;

/// All that was measured.
#[derive(Debug, Default)]
pub struct Results {
    /// By the key's name and the arm's index.
    cells: BTreeMap<(String, usize), Cell>,
    /// Where each arm ran.
    pub adapters: BTreeMap<usize, String>,
    /// The largest difference that was found among those that count as the same.
    pub difference: f64,
}

impl Results {
    /// What an arm gave for a key, if it was asked.
    pub fn cell(&self, key: Key, arm: usize) -> Option<&Cell> {
        self.cells.get(&(key.to_string(), arm))
    }

    /// Whether any arm was asked for a key.
    pub fn has(&self, key: Key) -> bool {
        let key = key.to_string();
        self.cells.keys().any(|(name, _)| *name == key)
    }

    /// Whether an arm failed at a key.
    pub fn failed(&self, key: Key, arm: usize) -> bool {
        self.cell(key, arm).is_some_and(|cell| cell.failure.is_some())
    }

    /// How many times as fast the first arm is as this one, by medians.
    pub fn ratio(&self, key: Key, arm: usize) -> Option<f64> {
        Some(self.cell(key, arm)?.median()? / self.cell(key, 0)?.median()?)
    }

    /// Every failure: key, arm, reason.
    pub fn failures(&self) -> impl Iterator<Item = (&str, usize, &str)> {
        self.cells.iter().filter_map(|((key, arm), cell)| {
            cell.failure.as_deref().map(|failure| (key.as_str(), *arm, failure))
        })
    }

    /// Adds what one process found.
    pub fn add(&mut self, key: Key, arm: usize, seconds: Vec<f64>, answer: &Answer) {
        self.adapters.insert(arm, answer.adapter.clone());
        let cell = self.cells.entry((key.to_string(), arm)).or_default();
        cell.seconds.extend(seconds);
        cell.checks.push(answer.check.clone());
        cell.peak_bytes = cell.peak_bytes.max(answer.peak_bytes);
    }

    /// Notes that an arm could not do it.
    pub fn fail(&mut self, key: Key, arm: usize, failure: String) {
        self.cells.entry((key.to_string(), arm)).or_default().failure = Some(failure);
    }

    /// Fails the cells whose results are not those of the first arm, which has this name.
    pub fn compare(&mut self, name: &str) {
        let first = |cells: &BTreeMap<(String, usize), Cell>, key: &String| {
            cells.get(&(key.clone(), 0)).and_then(|cell| cell.checks.first().cloned())
        };
        let references: BTreeMap<String, Vec<f64>> = (self.cells.keys())
            .filter_map(|(key, _)| Some((key.clone(), first(&self.cells, key)?)))
            .collect();
        for ((key, _), cell) in &mut self.cells {
            let Some(reference) = references.get(key) else { continue };
            let farthest = cell.checks.iter().map(|check| distance(check, reference));
            let farthest = farthest.fold(0.0, f64::max);
            if farthest <= TOLERANCE {
                self.difference = self.difference.max(farthest);
            } else if cell.failure.is_none() {
                let failure = format!("its results differ from those of {name} by {farthest:.2e}");
                cell.failure = Some(failure);
            }
        }
    }
}

/// The largest difference of two elements; infinite if any is not a number, or one is missing.
fn distance(left: &[f64], right: &[f64]) -> f64 {
    if left.len() != right.len() {
        return f64::INFINITY;
    }
    let differences = left.iter().zip(right).map(|(left, right)| (left - right).abs());
    differences
        .fold(0.0, |farthest, next| if next.is_nan() { f64::INFINITY } else { farthest.max(next) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        let cell = Cell { seconds: vec![4.0, 1.0, 2.0, 9.0], ..Cell::default() };
        assert_eq!(cell.median(), Some(3.0));
        assert_eq!(cell.spread(), (1.0, 9.0));
    }

    fn answer(check: f64) -> Answer {
        let (arm, row, adapter) = (String::new(), String::new(), String::new());
        Answer { arm, row, adapter, seconds: vec![1.0], check: vec![check], peak_bytes: None }
    }

    #[test]
    fn an_arm_that_computes_something_else_is_not_compared() {
        let mut results = Results::default();
        for (arm, check) in [2.0, 2.0005, 2.1].into_iter().enumerate() {
            results.add(Key::Warm, arm, vec![1.0], &answer(check));
        }
        results.compare("first");
        assert_eq!(results.ratio(Key::Warm, 1), Some(1.0));
        assert!((results.difference - 0.0005).abs() < 1e-9, "{}", results.difference);
        assert_eq!(results.ratio(Key::Warm, 2), None);
        let failures: Vec<_> = results.failures().map(|(_, arm, failure)| (arm, failure)).collect();
        assert_eq!(failures, [(2, "its results differ from those of first by 1.00e-1")]);
    }

    #[test]
    fn what_is_not_a_number_is_far_from_everything() {
        assert_eq!(distance(&[1.0, f64::NAN], &[1.0, 1.0]), f64::INFINITY);
        assert_eq!(distance(&[f64::NAN, 1.0], &[1.0, 1.0]), f64::INFINITY);
        assert_eq!(distance(&[1.0], &[1.0, 1.0]), f64::INFINITY);
        assert_eq!(distance(&[1.0, 2.5], &[1.0, 2.0]), 0.5);
    }
}
