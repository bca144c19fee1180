//! Classes that are written as columns of 0 and 1, as many programs encode them: each row has a 1 in the
//! column of its class.
//!
//! Of such columns a network could only learn that what is a class in one of them is none in the others:
//! if one is the target, and the others are inputs, these give it away.

use super::settings::DataSettings;
use crate::data::{ColumnChoice, Table};
use crate::error::Failure;
use crate::text::python;
use warmstart_graph::words::first_few;

/// What one-hot columns are.
pub const HOT: &str = "each row has a 1 in the column of its class, and 0 in the others";

/// Columns that are named in one sentence.
const NAMED: usize = 5;

/// What is done about one-hot columns.
pub fn one_column(table: &Table, columns: &[usize]) -> String {
    /// More would fill the terminal.
    const SHOWN: usize = 20;
    let name = |&column: &usize| match table.choice(column) {
        ColumnChoice::Name(name) => python(&name),
        // As pandas counts columns without names.
        ColumnChoice::Number(_) => column.to_string(),
    };
    let mut names: Vec<String> = columns.iter().take(SHOWN).map(name).collect();
    if columns.len() > SHOWN {
        names.push("...".to_owned());
    }
    let names = names.join(", ");
    format!(
        "write the classes in one column, for example with pandas: `frame[[{names}]].idxmax(axis=1)`, and leave these out"
    )
}

/// Whether the columns are those of classes: a 1 in one of them, and 0 in all others.
pub fn is_one_hot(table: &Table, columns: &[usize], rows: &[usize]) -> bool {
    let ones = ones(table, columns, rows);
    columns.len() > 1 && !rows.is_empty() && ones.is_some_and(|ones| ones.iter().all(|&one| one))
}

/// Which rows have a 1 in these columns, if none has two of them, and all other cells are 0.
fn ones(table: &Table, columns: &[usize], rows: &[usize]) -> Option<Vec<bool>> {
    let mut ones = vec![false; rows.len()];
    columns.iter().try_for_each(|&column| add(&mut ones, table, column, rows))?;
    Some(ones)
}

/// Adds the ones of another column.
fn add(ones: &mut [bool], table: &Table, column: usize, rows: &[usize]) -> Option<()> {
    for (one, &row) in ones.iter_mut().zip(rows) {
        let bit = bit(table, row, column)?;
        if *one && bit {
            return None;
        }
        *one |= bit;
    }
    Some(())
}

/// A cell that is 0 or 1.
fn bit(table: &Table, row: usize, column: usize) -> Option<bool> {
    match table.word(row, column).parse::<f64>() {
        Ok(0.0) => Some(false),
        Ok(1.0) => Some(true),
        _ => None,
    }
}

/// Columns that are one-hot together: some targets, and others that give them away.
#[derive(Debug, PartialEq)]
pub struct GivenAway {
    /// All of them, in order.
    columns: Vec<usize>,
    /// Those of them that are inputs.
    inputs: Vec<usize>,
    /// Whether they are neighbours, as the columns of one encoded column are.
    neighbours: bool,
}

impl GivenAway {
    /// Looks for columns that together with the targets are one-hot, and of which some are inputs: of the
    /// neighbours of the targets, and else for one that is 1 where they are 0.
    pub fn find(
        table: &Table,
        targets: &[usize],
        inputs: &[usize],
        rows: &[usize],
    ) -> Option<GivenAway> {
        let whole = |&row: &usize| targets.iter().all(|&target| !table.is_missing(row, target));
        let rows: Vec<usize> = rows.iter().copied().filter(whole).collect();
        let own = ones(table, targets, &rows)?;
        // Without another column they are all of it, or have no ones.
        if own.iter().all(|&one| one) || !own.contains(&true) {
            return None;
        }
        let of = |columns: Vec<usize>, neighbours| {
            let is_other = |column: &usize| inputs.contains(column) && !targets.contains(column);
            let inputs: Vec<usize> = columns.iter().copied().filter(is_other).collect();
            (!inputs.is_empty()).then_some(GivenAway { columns, inputs, neighbours })
        };
        let neighbours = neighbours(table, targets, &rows);
        neighbours.and_then(|columns| of(columns, true)).or_else(|| {
            let complement = inputs.iter().copied().find(|&column| {
                let bits = rows.iter().zip(&own);
                bits.clone().all(|(&row, &one)| bit(table, row, column) == Some(!one))
            })?;
            let mut columns = [targets, &[complement]].concat();
            columns.sort_unstable();
            of(columns, false)
        })
    }

    /// Refuses a target that nobody named, and that is taken for being the last column.
    pub fn refuse(&self, table: &Table, target: usize, says_task: bool) -> Result<(), Failure> {
        // Who leaves out one of them has looked at them.
        let all = self.neighbours && self.inputs.len() + 1 == self.columns.len();
        if !all {
            return Ok(());
        }
        let (file, name) = (table.name(), table.column_name(target));
        let (names, choice) = (names(table, &self.columns), table.choice(target));
        let task = match says_task {
            true => "",
            false => ", with `task = \"classification\"` or `task = \"regression\"`",
        };
        Err(Failure::new(format!(
            "{file}, {name}, the target since it is the last, holds 0 and 1, and with the columns before it looks one-hot ({names}): as inputs, these would give it away"
        ))
        .help(format!(
            "if they are, {}; if it is the target all the same, say so: `target = {choice}`{task} under [data]",
            one_column(table, &self.columns)
        )))
    }

    /// What is not to be overlooked where somebody did name the targets.
    pub fn note(&self, table: &Table, targets: &[usize], data: &DataSettings) -> String {
        let ignored = data.ignore.iter().cloned();
        let left_out = ignored.chain(self.inputs.iter().map(|&column| table.choice(column)));
        let left_out: Vec<String> = left_out.map(|choice| choice.to_string()).collect();
        let (target, is) = match targets {
            [target] => (format!("{}, the target,", table.column_name(*target)), "is"),
            targets => (format!("{}, the targets,", names(table, targets)), "are"),
        };
        format!(
            "{target} {is} given away by {}: together they look one-hot ({HOT}). Leave out of the inputs what is not known when the model is used, with `ignore = [{}]` under [data]; or {}",
            names(table, &self.inputs),
            left_out.join(", "),
            one_column(table, &self.columns)
        )
    }
}

fn names(table: &Table, columns: &[usize]) -> String {
    first_few(columns.iter().map(|&column| table.column_name(column)), NAMED)
}

/// The fewest columns side by side that have the targets among them and are one-hot.
fn neighbours(table: &Table, targets: &[usize], rows: &[usize]) -> Option<Vec<usize>> {
    let (&first, &last) = (targets.iter().min()?, targets.iter().max()?);
    let between: Vec<usize> = (first..=last).collect();
    let mut from_left = ones(table, &between, rows)?;
    for left in (0..=first).rev() {
        if left < first {
            add(&mut from_left, table, left, rows)?;
        }
        let mut all = from_left.clone();
        for right in last..table.width {
            if right > last && add(&mut all, table, right, rows).is_none() {
                break;
            }
            if all.iter().all(|&one| one) {
                return Some((left..=right).collect());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::part::DATA_HELP;
    use super::*;
    use crate::data::Cells;

    fn table(rows: &[&[f32]]) -> Table {
        let cells = Cells::Numbers { values: rows.concat(), bytes: false };
        let (width, file) = (rows[0].len(), "a.npy".into());
        Table { file, array: None, header: None, width, cells, help: &DATA_HELP }
    }

    #[test]
    fn columns_that_give_a_target_away_are_found() {
        // A number, three classes, a flag, and what is 1 where the second class is not.
        let rows: [&[f32]; 4] = [
            &[0.5, 1.0, 0.0, 0.0, 1.0, 1.0],
            &[0.1, 0.0, 1.0, 0.0, 0.0, 0.0],
            &[0.2, 0.0, 0.0, 1.0, 1.0, 1.0],
            &[0.7, 0.0, 1.0, 0.0, 1.0, 0.0],
        ];
        let (table, all) = (table(&rows), [0, 1, 2, 3]);
        let find = |targets: &[usize], inputs: &[usize]| {
            let found = GivenAway::find(&table, targets, inputs, &all)?;
            Some((found.columns, found.inputs, found.neighbours))
        };
        let classes = || vec![1, 2, 3];
        assert_eq!(find(&[1], &[0, 2, 3, 4]), Some((classes(), vec![2, 3], true)));
        assert_eq!(find(&[3], &[0, 1, 4]), Some((classes(), vec![1], true)));
        assert_eq!(find(&[3, 1], &[0, 2, 4]), Some((classes(), vec![2], true)));
        // What is left out of the inputs gives nothing away; nor is a flag a class, or a number.
        assert_eq!(find(&[1], &[0, 4, 5]), None);
        assert_eq!(find(&[4], &[0, 1, 2, 3, 5]), None);
        assert_eq!(find(&[0], &[1, 2, 3, 4, 5]), None);
        // All of them as targets.
        assert_eq!(find(&[1, 2, 3], &[0, 4, 5]), None);
        // The other of two, wherever it is.
        assert_eq!(find(&[2], &[0, 5]), Some((vec![2, 5], vec![5], false)));
        assert_eq!(find(&[5], &[0, 2]), Some((vec![2, 5], vec![2], false)));
    }

    /// A column of one value says nothing, and one-hot columns have no other column between them.
    #[test]
    fn constants_give_nothing_away() {
        let table = table(&[&[1.0, 0.0, 0.0], &[1.0, 0.0, 1.0]]);
        assert_eq!(GivenAway::find(&table, &[1], &[0, 2], &[0, 1]), None);
        assert_eq!(GivenAway::find(&table, &[0], &[1, 2], &[0, 1]), None);
    }
}
