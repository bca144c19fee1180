//! Classes that are written as columns of 0 and 1, as many programs encode them: each row has a 1 in the
//! column of its class.
//!
//! Of such columns a network could only learn that what is a class in one of them is none in the others:
//! if one is the target, and the others are inputs, these give it away.

use super::one_to_one::is_no_chance;
use super::settings::DataSettings;
use crate::data::Table;
use crate::error::Failure;
use crate::text::{counted, python};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use warmstart_graph::words::first_few;

/// What one-hot columns are.
pub const HOT: &str = "each row has a 1 in the column of its class, and 0 in the others";

/// Columns that are named in one sentence.
const NAMED: usize = 5;

/// In fewer rows columns may look one-hot by chance, so that nothing is refused for it.
const FEW: usize = 10;

/// What is done about one-hot columns.
pub fn one_column(table: &Table, columns: &[usize]) -> String {
    /// More would fill the terminal.
    const SHOWN: usize = 20;
    let name = |&column: &usize| match &table.header {
        // Pandas calls columns of one name `a`, `a.1`, `a.2`.
        Some(header) => {
            match header[..column].iter().filter(|&name| *name == header[column]).count() {
                0 => python(&header[column]),
                before => python(&format!("{}.{before}", header[column])),
            }
        }
        // As pandas counts columns without names.
        None => column.to_string(),
    };
    let mut names: Vec<String> = columns.iter().take(SHOWN).map(name).collect();
    if columns.len() > SHOWN {
        names.push("...".to_owned());
    }
    let names = names.join(", ");
    // As it reads and writes the file, which would be told nothing of that by itself.
    let read = match (&table.header, table.is_array()) {
        (None, false) => {
            "; the frame is to be read with `header=None`, and written with `index=False, header=False`"
        }
        (Some(_), _) => "; the frame is to be written with `index=False`",
        (None, true) => "",
    };
    format!(
        "write the classes in one column, for example with pandas: `frame[[{names}]].idxmax(axis=1)`, and leave these columns out{read}"
    )
}

/// Whether the columns are those of classes: a 1 in one of them, and 0 in all others.
pub fn is_one_hot(table: &Table, columns: &[usize], rows: &[usize]) -> bool {
    let one_in_each = || {
        let bits = columns.iter().map(|&column| Bits::of(table, column, rows));
        let all = Bits::joined(&bits.collect::<Option<Vec<_>>>()?, rows.len())?;
        Some(all.ones == rows.len())
    };
    columns.len() > 1 && !rows.is_empty() && one_in_each().unwrap_or(false)
}

/// Which rows have a 1 in a column of 0 and 1, or in one of several such columns.
#[derive(Clone, PartialEq)]
struct Bits {
    /// 64 rows in each.
    words: Vec<u64>,
    /// How many rows have a 1.
    ones: usize,
}

impl Bits {
    /// Those of no column.
    fn none(rows: usize) -> Bits {
        Bits { words: vec![0; rows.div_ceil(64)], ones: 0 }
    }

    /// Those of a column; None if a cell is neither 0 nor 1.
    fn of(table: &Table, column: usize, rows: &[usize]) -> Option<Bits> {
        let mut bits = Bits::none(rows.len());
        for (at, &row) in rows.iter().enumerate() {
            if table.bit(row, column)? {
                bits.words[at / 64] |= 1 << (at % 64);
                bits.ones += 1;
            }
        }
        Some(bits)
    }

    /// Those of several columns; None if a row has a 1 in two of them.
    fn joined(columns: &[Bits], rows: usize) -> Option<Bits> {
        columns.iter().try_fold(Bits::none(rows), |mut all, bits| {
            (!all.meet(bits)).then(|| all.add(bits))?;
            Some(all)
        })
    }

    /// Whether a row has a 1 in both.
    fn meet(&self, other: &Bits) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// Adds those of another column, which has no row in common with these.
    fn add(&mut self, other: &Bits) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
        self.ones += other.ones;
    }

    /// Takes away those of a column that was added.
    fn remove(&mut self, other: &Bits) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
        self.ones -= other.ones;
    }
}

/// Inputs that give targets away.
#[derive(Debug, PartialEq)]
pub struct GivenAway {
    /// The inputs that do.
    pub inputs: Vec<usize>,
    how: How,
    /// In how many rows.
    rows: usize,
    /// Whether there are other inputs.
    others: bool,
    /// Whether it is no chance.
    certain: bool,
}

/// How columns give targets away.
#[derive(Debug, PartialEq)]
enum How {
    /// Together with the targets they are one-hot.
    OneHot {
        /// Targets, inputs, and what is ignored, in order.
        columns: Vec<usize>,
        /// Those of them that are neither targets nor inputs.
        ignored: Vec<usize>,
        /// Whether all of them stand side by side, as the columns of one encoded column do.
        neighbours: bool,
    },
    /// Each is 1 where a target is.
    Same,
}

/// What is known of the columns that targets are compared with.
struct Compared<'a> {
    targets: &'a [usize],
    /// Of each column of the table, whether it is an input.
    is_input: Vec<bool>,
    /// The columns that have a 1, and none in a row where a target has one.
    apart: Vec<(usize, Bits)>,
    /// The columns that are 0 in each row, in order.
    zeros: Vec<usize>,
    /// The inputs that are 1 where a target is, and nowhere else.
    same: Vec<usize>,
    /// How many rows have a 1 in the target that those are the same as; of several, the least rare.
    ones: usize,
    /// How many rows have no 1 in a target.
    left: usize,
    rows: usize,
}

impl GivenAway {
    /// Looks for inputs that together with the targets are one-hot, or that are the same as a target. Of
    /// several one-hot groups it takes one of neighbours, if there is one, and the smallest.
    pub fn find(
        table: &Table,
        targets: &[usize],
        inputs: &[usize],
        rows: &[usize],
    ) -> Option<GivenAway> {
        let compared = Compared::new(table, targets, inputs, rows)?;
        let found = compared.side_by_side().or_else(|| compared.scattered());
        let (inputs, how) = match found {
            Some((columns, neighbours)) => {
                let inputs = columns.iter().copied().filter(|&column| compared.is_input[column]);
                let ignored = |column: &usize| {
                    !compared.is_input[*column]
                        && !targets.contains(column)
                        && compared.zeros.binary_search(column).is_err()
                };
                let ignored = columns.iter().copied().filter(ignored).collect();
                (inputs.collect(), How::OneHot { columns, ignored, neighbours })
            }
            None if compared.same.is_empty() => return None,
            None => (compared.same.clone(), How::Same),
        };
        let all = compared.is_input.iter().filter(|&&is| is).count();
        let others = all > inputs.len();
        let rows = compared.rows;
        let certain = match how {
            How::OneHot { .. } => rows >= FEW,
            How::Same => is_no_chance(&[compared.ones, rows - compared.ones], all),
        };
        Some(GivenAway { inputs, how, rows, others, certain })
    }

    /// Refuses a target that nobody named, and that is taken for being the last column.
    pub fn refuse(&self, table: &Table, target: usize, says_task: bool) -> Result<(), Failure> {
        let How::OneHot { columns, neighbours: true, .. } = &self.how else { return Ok(()) };
        // Who leaves out one of them has looked at them.
        if self.inputs.len() + 1 < columns.len() || self.rows < FEW {
            return Ok(());
        }
        let (file, name) = (table.name(), table.column_name(target));
        let (names, choice) = (names(table, &self.inputs), table.choice(target));
        let task = match says_task {
            true => "",
            false => ", with `task = \"classification\"` or `task = \"regression\"`",
        };
        let holds = if table.is_truth(target) { "`True` and `False`" } else { "0 and 1" };
        Err(Failure::new(format!(
            "{file}, {name}, the target since it is the last, holds {holds}, and looks one-hot together with the columns before it ({names}): as inputs, those columns would give the target away"
        ))
        .help(format!(
            "if these columns are the classes of one thing, {}; if {name} is the target all the same, say so: `target = {choice}`{task} under [data]",
            one_column(table, columns)
        )))
    }

    /// What is not to be overlooked where somebody did name the targets; `also` is left out as well.
    pub fn note(
        &self,
        table: &Table,
        targets: &[usize],
        data: &DataSettings,
        also: &[usize],
    ) -> String {
        let (target, is) = match targets {
            [target] => (format!("{}, the target,", table.column_name(*target)), "is"),
            targets => (format!("{}, the targets,", names(table, targets)), "are"),
        };
        let inputs = names(table, &self.inputs);
        let chance = match self.certain {
            true => "",
            false if self.rows < FEW => ", which in so few rows may be chance",
            false => ", which with so few of a kind may be chance",
        };
        let rows = format!("in these {}", counted(self.rows, "row"));
        let leave_out = leave_out(table, data, &joined(&self.inputs, also), self.others);
        match &self.how {
            How::Same => {
                let equals = if self.inputs.len() == 1 { "equals" } else { "equal" };
                let may = if self.certain { is } else { "may be" };
                let it = if targets.len() == 1 { "the target" } else { "one of the targets" };
                format!(
                    "{target} {may} given away by {inputs}, which {equals} {it} {rows}{chance}. {leave_out}"
                )
            }
            How::OneHot { columns, ignored, .. } => {
                let (partly, together) = match ignored.is_empty() {
                    true => ("", "together".to_owned()),
                    false => ("partly ", format!("together with {}", names(table, ignored))),
                };
                let joins = if self.others { "; or" } else { ", and" };
                format!(
                    "{target} {is} {partly}given away by {inputs}: {rows} {together} they look one-hot ({HOT}){chance}. {leave_out}{joins} {}",
                    one_column(table, columns)
                )
            }
        }
    }
}

/// What is said where a run has no inputs but those that it is to be without.
pub const NO_OTHER: &str = "There is no other input: add columns to learn from";

/// What is done about inputs that give a target away, where there are others.
pub fn leave_out(table: &Table, data: &DataSettings, inputs: &[usize], others: bool) -> String {
    match others {
        true => format!(
            "Leave out of the inputs what is not known when the model is used, {}",
            by_ignore(table, data, inputs)
        ),
        // A run without inputs would be refused.
        false => NO_OTHER.to_owned(),
    }
}

/// How columns are left out by a run that begins with them.
pub fn by_ignore(table: &Table, data: &DataSettings, inputs: &[usize]) -> String {
    let (all, under) = (left_out(table, data, inputs), under_data(data));
    format!(
        "with `ignore = [{all}]` {under}, and with another `directory` at the top if a run has begun, as it cannot go on with other inputs"
    )
}

/// Where an `ignore` belongs that holds what `left_out` says: a second one would be refused.
pub fn under_data(data: &DataSettings) -> &'static str {
    match data.ignore.is_empty() {
        true => "under [data]",
        false => "in place of `ignore` under [data]",
    }
}

/// These columns and others, in order.
pub fn joined(columns: &[usize], others: &[usize]) -> Vec<usize> {
    let all: BTreeSet<usize> = columns.iter().chain(others).copied().collect();
    all.into_iter().collect()
}

/// What `ignore` holds that leaves out these columns too.
pub fn left_out(table: &Table, data: &DataSettings, columns: &[usize]) -> String {
    let choices = columns.iter().map(|&column| table.choice(column));
    let choices = data.ignore.iter().cloned().chain(choices).map(|choice| choice.to_string());
    choices.collect::<Vec<_>>().join(", ")
}

fn names(table: &Table, columns: &[usize]) -> String {
    first_few(columns.iter().map(|&column| table.column_name(column)), NAMED)
}

impl Compared<'_> {
    /// Reads each column once, and of one that is not of 0 and 1 no more than its first other cell. None if
    /// the targets are not of 0 and 1 with no row in common, or have no 1, or have one in each row.
    fn new<'a>(
        table: &Table,
        targets: &'a [usize],
        inputs: &[usize],
        rows: &[usize],
    ) -> Option<Compared<'a>> {
        let whole = |&row: &usize| targets.iter().all(|&target| !table.is_missing(row, target));
        let rows: Vec<usize> = rows.iter().copied().filter(whole).collect();
        let own = targets.iter().map(|&target| Bits::of(table, target, &rows));
        let own: Vec<Bits> = own.collect::<Option<_>>()?;
        let all = Bits::joined(&own, rows.len())?;
        let left = rows.len() - all.ones;
        if left == 0 || all.ones == 0 {
            return None;
        }
        let mut is_target = vec![false; table.width];
        targets.iter().for_each(|&column| is_target[column] = true);
        let mut is_input = vec![false; table.width];
        inputs.iter().for_each(|&column| is_input[column] = !is_target[column]);
        let (mut apart, mut zeros, mut same) = (Vec::new(), Vec::new(), Vec::new());
        let mut ones = 0;
        for column in (0..table.width).filter(|&column| !is_target[column]) {
            let Some(bits) = Bits::of(table, column, &rows) else { continue };
            if bits.ones == 0 {
                zeros.push(column);
            } else if !all.meet(&bits) {
                apart.push((column, bits));
            } else if is_input[column] && own.contains(&bits) {
                same.push(column);
                ones = ones.max(bits.ones);
            }
        }
        Some(Compared { targets, is_input, apart, zeros, same, ones, left, rows: rows.len() })
    }

    /// The columns that follow each other among those that are apart from the targets, and with them are
    /// one-hot, in order; and whether nothing stands between any of them.
    fn side_by_side(&self) -> Option<(Vec<usize>, bool)> {
        let (mut joined, mut first, mut found) = (Bits::none(self.rows), 0, None);
        for (last, (_, bits)) in self.apart.iter().enumerate() {
            // What is left has no row in two columns. Of all that ends here it has the most ones, and so it
            // alone may have all.
            while joined.meet(bits) {
                joined.remove(&self.apart[first].1);
                first += 1;
            }
            joined.add(bits);
            let group = &self.apart[first..=last];
            if joined.ones < self.left || !group.iter().any(|(column, _)| self.is_input[*column]) {
                continue;
            }
            let neighbours = self.between(group).is_some();
            let rank = (!neighbours, group.len());
            if found.is_none_or(|(best, _)| rank < best) {
                found = Some((rank, group));
            }
        }
        let (_, group) = found?;
        let columns = group.iter().map(|(column, _)| *column).chain(self.targets.iter().copied());
        let mut columns: Vec<usize> = columns.collect();
        let between = self.between(group);
        columns.extend(between.unwrap_or_default());
        columns.sort_unstable();
        Some((columns, between.is_some()))
    }

    /// The columns of zeros that stand among these and the targets, if nothing else does: such are classes
    /// that no row is of.
    fn between(&self, group: &[(usize, Bits)]) -> Option<&[usize]> {
        let ends = [group.first()?.0, group.last()?.0];
        let ends = || ends.iter().chain(self.targets);
        let (&first, &last) = (ends().min()?, ends().max()?);
        let from = self.zeros.partition_point(|&column| column < first);
        let zeros = &self.zeros[from..self.zeros.partition_point(|&column| column <= last)];
        let all = last - first + 1 == group.len() + self.targets.len() + zeros.len();
        all.then_some(zeros)
    }

    /// Inputs anywhere that with the targets are one-hot, if they are found by taking those with the most
    /// ones first: to try all would take too long.
    fn scattered(&self) -> Option<(Vec<usize>, bool)> {
        let mut inputs: Vec<&(usize, Bits)> =
            self.apart.iter().filter(|(column, _)| self.is_input[*column]).collect();
        inputs.sort_by_key(|(_, bits)| Reverse(bits.ones));
        let (mut joined, mut columns) = (Bits::none(self.rows), self.targets.to_vec());
        for (column, bits) in inputs {
            if !joined.meet(bits) {
                joined.add(bits);
                columns.push(*column);
            }
        }
        columns.sort_unstable();
        (joined.ones == self.left).then_some((columns, false))
    }
}

#[cfg(test)]
#[path = "one_hot_tests.rs"]
mod tests;
