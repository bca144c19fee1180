//! Why a data set cannot be made, split or gathered from.

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
    /// The number of targets does not fit: it is no multiple of the targets of one example.
    #[error(
        "{targets} targets are not whole rows of {width}; give as many for each example, at least 1"
    )]
    Targets {
        /// How many targets were given.
        targets: usize,
        /// How many an example has.
        width: usize,
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
        "cells of line {line}: {found}, and not {expected}; \
         give every line the same number of inputs, at least one, and then its labels"
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
    #[error("line {line}, cell {cell}{}", of_cell(*.line, .text, .wanted))]
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
    /// An input or target that is NaN or infinite.
    #[error(
        "{what} {place} of example {example} is {value}, which would make the loss and then all \
         weights NaN; leave the example out, or give a number in its place"
    )]
    NotFinite {
        /// `input` or `target`.
        what: &'static str,
        /// The example, from 0.
        example: usize,
        /// Which of the example's, from 0.
        place: usize,
        /// What it is.
        value: f32,
    },
    /// An input that no byte is.
    #[error(
        "input {input} of example {example} is {value}, and bytes are whole numbers from 0 to 255; \
         leave the inputs as they are, or scale them after this"
    )]
    NotAByte {
        /// The example, from 0.
        example: usize,
        /// The input of the example, from 0.
        input: usize,
        /// What it is.
        value: f32,
    },
}

/// What is wrong with a cell, and what to do.
fn of_cell(line: usize, text: &str, wanted: &str) -> String {
    let what = match text.parse() {
        _ if text.is_empty() => Some("empty".to_owned()),
        Ok(number) if f32::is_nan(number) => Some(format!("`{text}`, which is no value")),
        _ => None,
    };
    if let Some(what) = what {
        return format!(" is {what}, and not {wanted}; fill it in, or leave the line out");
    }
    let as_number = |c: char| c.is_ascii_digit() || "+-.".contains(c);
    let names = line == 1 && text.parse::<f32>().is_err() && !text.starts_with(as_number);
    let header = match names {
        true => ", or leave the line out if it names the columns: no header is read here",
        false => "",
    };
    format!(": `{text}` is not {wanted}; correct it{header}")
}
