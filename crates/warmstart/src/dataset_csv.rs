//! Examples as lines of numbers.

use crate::dataset_error::DatasetError;
use std::io::BufRead;
use std::str::FromStr;

/// What lines hold.
pub(crate) struct Cells<T> {
    pub inputs: Vec<f32>,
    /// Inputs of a line.
    pub width: usize,
    pub labels: Vec<T>,
}

/// Reads lines of numbers separated by commas: inputs, then so many labels, which are `what`.
pub(crate) fn read<T: FromStr>(
    reader: impl BufRead,
    each: usize,
    what: &'static str,
) -> Result<Cells<T>, DatasetError> {
    let mut all = Cells { inputs: Vec::new(), width: 0, labels: Vec::new() };
    for (number, text) in reader.lines().enumerate() {
        let line = number + 1;
        let text = text.map_err(|source| DatasetError::Read { line, source })?;
        // What some programs begin UTF-8 with.
        let text = text.strip_prefix('\u{feff}').filter(|_| line == 1).unwrap_or(&text);
        if text.trim().is_empty() {
            continue;
        }
        let cells = text.split(',').count();
        if all.labels.is_empty() {
            all.width = cells.saturating_sub(each).max(1);
        }
        if cells.checked_sub(each) != Some(all.width) {
            let expected = all.width.saturating_add(each);
            return Err(DatasetError::Cells { line, found: cells, expected });
        }
        for (place, cell) in text.split(',').map(str::trim).enumerate() {
            let wrong = |wanted| {
                let text = cell.to_owned();
                DatasetError::Cell { line, cell: place + 1, text, wanted }
            };
            // NaN and infinities would only show later, as a loss that is none.
            if cell.parse().is_ok_and(|number: f32| !number.is_finite()) {
                return Err(wrong("a finite number"));
            }
            if place < all.width {
                all.inputs.push(cell.parse().map_err(|_| wrong("a number"))?);
            } else {
                all.labels.push(cell.parse().map_err(|_| wrong(what))?);
            }
        }
    }
    Ok(all)
}
