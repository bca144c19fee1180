//! Examples in host memory.

use crate::batches::shuffled;
use std::io::BufRead;

warmstart_graph::debug_as_display!(DatasetError);

/// Why a data set cannot be made, split or gathered from.
#[derive(thiserror::Error)]
pub enum DatasetError {
    /// The numbers of inputs and labels do not fit together.
    #[error(
        "{inputs} inputs are not {labels} rows of {width}, one row for each of {labels} labels; \
         give labels.len() * width inputs"
    )]
    Lengths {
        /// How many input values were given.
        inputs: usize,
        /// How many values a row has.
        width: usize,
        /// How many labels were given.
        labels: usize,
    },
    /// An index beyond the last example.
    #[error("example {index} does not exist; there are {examples}, counted from 0")]
    NoSuchExample {
        /// The index.
        index: u32,
        /// How many examples there are.
        examples: usize,
    },
    /// A split that leaves one of the two parts empty, or that is not a fraction.
    #[error(
        "a test fraction of {fraction} of {examples} examples leaves one part without examples; \
         give a fraction between 0 and 1, such as 0.2"
    )]
    Split {
        /// The fraction asked for.
        fraction: f64,
        /// How many examples there are.
        examples: usize,
    },
    /// The text could not be read.
    #[error("line {line} of the data could not be read: {source}; check that the file is whole")]
    Read {
        /// The line, from 1.
        line: usize,
        /// What the reader said.
        source: std::io::Error,
    },
    /// A line has more or fewer cells than the first.
    #[error(
        "line {line} has {found} cells where line 1 has {expected}; \
         give every line the same number of inputs and then one label"
    )]
    Cells {
        /// The line, from 1.
        line: usize,
        /// How many cells it has.
        found: usize,
        /// How many it should have; at least 2.
        expected: usize,
    },
    /// A cell is not a number of the right kind.
    #[error("line {line}, cell {cell}: `{text}` is not {wanted}; correct it")]
    Cell {
        /// The line, from 1.
        line: usize,
        /// The cell in the line, from 1.
        cell: usize,
        /// What it says.
        text: String,
        /// What should be there.
        wanted: &'static str,
    },
}

/// Labelled examples in host memory: a row of `width` inputs and a class index each.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    inputs: Vec<f32>,
    width: usize,
    labels: Vec<i32>,
}

impl Dataset {
    /// A data set of `labels.len()` examples; `inputs` holds their rows one after the other, shape
    /// `[labels.len(), width]`.
    ///
    /// # Errors
    /// If the lengths do not agree.
    pub fn new(inputs: Vec<f32>, width: usize, labels: Vec<i32>) -> Result<Dataset, DatasetError> {
        if labels.len().checked_mul(width) != Some(inputs.len()) {
            let (inputs, labels) = (inputs.len(), labels.len());
            return Err(DatasetError::Lengths { inputs, width, labels });
        }
        Ok(Dataset { inputs, width, labels })
    }

    /// Reads lines of numbers separated by commas, without a header: the inputs, then the label.
    /// Empty lines are skipped.
    ///
    /// ```
    /// # fn main() -> Result<(), warmstart::DatasetError> {
    /// let data = warmstart::Dataset::read_csv("0,0.5,1\n1,0.25,0\n".as_bytes())?;
    /// assert_eq!((data.len(), data.width(), data.labels()), (2, 2, &[1, 0][..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If a line cannot be read, has a different number of cells than the first, or has a cell that
    /// is not a number; the error names line and cell.
    pub fn read_csv(reader: impl BufRead) -> Result<Dataset, DatasetError> {
        let mut data = Dataset { inputs: Vec::new(), width: 0, labels: Vec::new() };
        for (number, text) in reader.lines().enumerate() {
            let line = number + 1;
            let text = text.map_err(|source| DatasetError::Read { line, source })?;
            if text.trim().is_empty() {
                continue;
            }
            let cells = text.split(',').count();
            if data.labels.is_empty() {
                data.width = cells.max(2) - 1;
            }
            if cells != data.width + 1 {
                let expected = data.width + 1;
                return Err(DatasetError::Cells { line, found: cells, expected });
            }
            for (place, cell) in text.split(',').map(str::trim).enumerate() {
                let wrong = |wanted| {
                    let text = cell.to_owned();
                    DatasetError::Cell { line, cell: place + 1, text, wanted }
                };
                if place < data.width {
                    data.inputs.push(cell.parse().map_err(|_| wrong("a number"))?);
                } else {
                    data.labels.push(cell.parse().map_err(|_| wrong("a whole number (a label)"))?);
                }
            }
        }
        Ok(data)
    }

    /// The same examples with every input multiplied by `factor`, such as 1/16 to bring 0 to 16
    /// to 0 to 1.
    pub fn scaled(mut self, factor: f32) -> Dataset {
        self.inputs.iter_mut().for_each(|input| *input *= factor);
        self
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The number of inputs of an example.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All inputs, shape `[len, width]`.
    pub fn inputs(&self) -> &[f32] {
        &self.inputs
    }

    /// All labels, shape `[len]`.
    pub fn labels(&self) -> &[i32] {
        &self.labels
    }

    /// Copies the given examples into a batch's buffers, replacing what they hold but keeping their
    /// memory: `inputs` becomes `[indices.len(), width]`, `labels` `[indices.len()]`.
    ///
    /// # Errors
    /// If an index is beyond the last example; the buffers then hold the examples before it.
    pub fn gather(
        &self,
        indices: &[u32],
        inputs: &mut Vec<f32>,
        labels: &mut Vec<i32>,
    ) -> Result<(), DatasetError> {
        inputs.clear();
        labels.clear();
        for &index in indices {
            let place = index as usize;
            let Some(&label) = self.labels.get(place) else {
                return Err(DatasetError::NoSuchExample { index, examples: self.len() });
            };
            inputs.extend_from_slice(&self.inputs[place * self.width..(place + 1) * self.width]);
            labels.push(label);
        }
        Ok(())
    }

    /// Splits into a training and a test part. The test part has `test_fraction` of the examples,
    /// rounded to a whole number. Which ones is a function of the seed and the number of examples.
    ///
    /// # Errors
    /// If either part would be empty.
    pub fn split(&self, test_fraction: f64, seed: u64) -> Result<(Dataset, Dataset), DatasetError> {
        let examples = self.len();
        let refuse = DatasetError::Split { fraction: test_fraction, examples };
        let test = (examples as f64 * test_fraction).round();
        // Written so that a fraction that is not a number is refused too.
        if !(test >= 1.0 && test < examples as f64) {
            return Err(refuse);
        }
        let count = u32::try_from(examples).map_err(|_| refuse)?;
        let order = shuffled(count, seed, "training and test part");
        let (test, training) = order.split_at(test as usize);
        Ok((self.selected(training)?, self.selected(test)?))
    }

    fn selected(&self, indices: &[u32]) -> Result<Dataset, DatasetError> {
        let mut inputs = Vec::with_capacity(indices.len() * self.width);
        let mut labels = Vec::with_capacity(indices.len());
        self.gather(indices, &mut inputs, &mut labels)?;
        Ok(Dataset { inputs, width: self.width, labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Example `i` has the inputs `[i, i + 0.5]` and the label `i`.
    fn numbered(examples: i32) -> Dataset {
        let inputs = (0..examples).flat_map(|i| [i as f32, i as f32 + 0.5]).collect();
        Dataset::new(inputs, 2, (0..examples).collect()).unwrap()
    }

    #[test]
    fn a_batch_is_gathered_row_by_row() {
        let (mut inputs, mut labels) = (vec![9.0; 7], vec![9; 3]);
        numbered(5).gather(&[3, 0, 3], &mut inputs, &mut labels).unwrap();
        assert_eq!(inputs, [3.0, 3.5, 0.0, 0.5, 3.0, 3.5]);
        assert_eq!(labels, [3, 0, 3]);
        let error = numbered(5).gather(&[1, 5], &mut inputs, &mut labels).unwrap_err();
        assert_eq!(error.to_string(), "example 5 does not exist; there are 5, counted from 0");
    }

    #[test]
    fn a_split_is_reproducible_and_loses_nothing() {
        let (training, test) = numbered(1797).split(0.2, 5).unwrap();
        assert_eq!((training.len(), test.len()), (1438, 359));
        assert_eq!(numbered(1797).split(0.2, 5).unwrap(), (training.clone(), test.clone()));
        assert_ne!(numbered(1797).split(0.2, 6).unwrap().1, test);
        let mut all: Vec<i32> = [training.labels(), test.labels()].concat();
        all.sort_unstable();
        assert_eq!(all, numbered(1797).labels());
        for part in [training, test] {
            for (row, &label) in part.inputs().chunks(2).zip(part.labels()) {
                assert_eq!(row, [label as f32, label as f32 + 0.5]);
            }
        }
    }

    #[test]
    fn a_split_without_two_parts_is_refused() {
        for fraction in [0.0, 0.01, 0.99, 1.0, -1.0, 7.0, f64::NAN, f64::INFINITY] {
            let error = numbered(10).split(fraction, 0).unwrap_err();
            assert!(matches!(error, DatasetError::Split { examples: 10, .. }), "{fraction}");
        }
    }

    #[test]
    fn lengths_must_agree() {
        let error = Dataset::new(vec![0.0; 7], 2, vec![0; 3]).unwrap_err();
        assert!(error.to_string().starts_with("7 inputs are not 3 rows of 2"));
        assert!(Dataset::new(Vec::new(), usize::MAX, vec![0; 3]).is_err());
    }

    #[test]
    fn csv_errors_name_line_and_cell() {
        let said = |text: &str| Dataset::read_csv(text.as_bytes()).unwrap_err().to_string();
        assert!(said("1,2,3\n\n1,2\n").starts_with("line 3 has 2 cells where line 1 has 3"));
        assert!(said("1,x,3\n").starts_with("line 1, cell 2: `x` is not a number"));
        assert!(said("1,2,3\n1,2,0.5").starts_with("line 2, cell 3: `0.5` is not a whole number"));
        assert!(said("5\n").starts_with("line 1 has 1 cells"));
        assert!(Dataset::read_csv(&b"1,\xff,3"[..]).is_err());
        assert!(Dataset::read_csv(&b""[..]).unwrap().is_empty());
        let data = Dataset::read_csv(&b" 4, 16 ,2\r\n"[..]).unwrap().scaled(0.25);
        assert_eq!((data.inputs(), data.labels()), (&[1.0, 4.0][..], &[2][..]));
    }
}
