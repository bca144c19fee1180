//! `warmstart predict`: what the model in a checkpoint says of a file of data.

use crate::Answer;
use crate::data::{self, CsvOptions, Help, ReadOptions, Table, listed};
use crate::description::{Description, Output};
use crate::error::Failure;
use crate::inference::Inference;
use crate::latest::open_verified;
use crate::output;
use crate::text::{self, counted};
use crate::train::settings::Missing;
use crate::train::{LOGITS, PREDICTION, PROBABILITIES, largest};
use csv::Writer;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use warmstart::checkpoint::RestoreOptions;
use warmstart::gpu::{Gpu, Session};
use warmstart::graph::{Graph, Tensor};
use warmstart_checkpoint::printable;
use warmstart_graph::words::{first_few, nearest, printable_path};

/// Run the model in a checkpoint on a file of data
///
/// The model is rebuilt from the checkpoint alone. It finds its columns by their names, if it was
/// trained on a file with names; other columns are passed over. Each row gives a line of CSV: of a
/// classification the class and the probability of each, of a regression the values. With
/// `--missing skip` a line begins with that of its row in the file.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart predict runs/iris --data new.csv -o predictions.csv
  warmstart predict $(warmstart latest runs/iris --best validation/accuracy --higher) --data new.csv

Exit codes: 0 predicted, 2 error")]
pub struct Arguments {
    /// A checkpoint, or the directory of a run, of which the newest is used whose weights are whole
    checkpoint: PathBuf,
    /// Rows to predict for: CSV or IDX, also compressed, `.npy`, `.npz` or safetensors
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Which array, where the file holds several
    #[arg(long, value_name = "NAME")]
    array: Option<String>,
    /// Where the predictions go, if not to the standard output
    #[arg(short, long, value_name = "OUT.csv")]
    out: Option<PathBuf>,
    /// Replace OUT.csv even if it holds something else than predictions of such a model
    #[arg(long, requires = "out")]
    force: bool,
    /// The tensor to compute, of a model that `warmstart train` did not make
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Print JSON about what was written to OUT.csv
    #[arg(long, requires = "out")]
    json: bool,
    /// Rows without a value: refuse the file, or leave them out and say which. What is left then begins
    /// with a column `line`, or of an array `row`, that counts from 1; or `line_`, where a class or
    /// another column is called `line`
    #[arg(long, value_name = "refuse|skip", default_value = "refuse", hide_default_value = true)]
    missing: Missing,
    /// Whether the first line names the columns; looked at if not said. With `false`, columns are
    /// taken by their places even if the model knows their names, as those of an array have to be:
    /// those of the file it was trained on, or only its inputs, in the same order
    #[arg(long, value_name = "true|false")]
    header: Option<bool>,
    /// What stands between the cells of a line; looked at if not said
    #[arg(long, value_name = "CHARACTER")]
    separator: Option<char>,
}

/// How to say more about the rows.
const HELP: Help = Help {
    header: ["`--header true`", "`--header false`"],
    by_place: Some("`--header false`"),
    array: "`--array`",
    missing: "fill in the cell, or leave out the rows without a value with `--missing skip`: the model takes a number here",
    no_number: "correct the cell, or leave the row out: the model takes a number here",
    too_large: "correct the cell, or leave the row out",
    finite: "the model takes finite numbers",
};

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    if let Some(file) = &arguments.out {
        output::check(file)?;
        output::refuse_input(file, &arguments.data)?;
    }
    let checkpoint = open_verified(&arguments.checkpoint)?;
    if let Some(file) = &arguments.out {
        let inputs = checkpoint.files().chain([checkpoint.file()]);
        inputs.into_iter().try_for_each(|input| output::refuse_input(file, input))?;
    }
    let description = Description::of(&checkpoint)?;
    let graph = checkpoint.graph()?;
    let output = find_output(arguments, &graph)?;
    let csv = CsvOptions { header: arguments.header, separator: arguments.separator };
    let array = arguments.array.clone();
    let table = data::read(&arguments.data, &ReadOptions { csv, array, help: &HELP })?;

    let mut session = Session::new(&Gpu::new()?);
    let inference = Inference::compile(&mut session, &graph, output)?;
    let output = description
        .as_ref()
        .map(|description| &description.output)
        .filter(|_| arguments.output.is_none());
    if let Some(names) = output.map(Output::names)
        && names.len() != inference.outputs
    {
        let (file, named) = (printable_path(checkpoint.file()), names.len());
        let found = inference.outputs;
        return Err(Failure::new(format!(
            "the model in `{file}` gives {found} values for each row, and {named} are named"
        ))
        .help("use a checkpoint that `warmstart train` saved, or name a tensor with --output"));
    }
    let of = description.as_ref().map_or(&[][..], |description| description.output.names());
    let width = inference.outputs;
    let asked = arguments.output.as_deref();
    let counts = (arguments.missing == Missing::Skip).then(|| table.counts());
    let lines = Lines { output, asked, of, width, counts };
    if let Some(file) = arguments.out.as_ref().filter(|_| !arguments.force) {
        let mut first = Vec::new();
        lines.write(&[], &[], &mut first)?;
        output::refuse_other(file, &String::from_utf8_lossy(&first))?;
    }
    let by_place = arguments.header == Some(false);
    let columns = columns(&table, description.as_ref(), by_place, inference.inputs())?;
    let rows = rows(&table, &columns, arguments.missing)?;
    let left_out: Vec<u64> = left_out(&table, &rows).map(|row| table.row_number(row)).collect();
    if !left_out.is_empty() {
        let (file, all, counts) = (printable_path(&table.file), table.rows(), table.counts());
        let (have, were, s) =
            if left_out.len() == 1 { ("has", "was", "") } else { ("have", "were", "s") };
        text::say(format_args!(
            "note: {} of {all} rows of {file} {have} no value somewhere and {were} left out: {counts}{s} {}",
            left_out.len(),
            first_few(left_out.iter(), 20)
        ));
    }
    let inputs = inputs(&table, &columns, &rows, inference.takes_bytes())?;
    if let Some(note) = description.as_ref().and_then(|found| found.inputs.unknown_names(&table)) {
        text::say(format_args!("note: {note}"));
    }
    // The rest is of the training.
    let options = RestoreOptions::new().allow_unexpected();
    checkpoint.plan(&session, &options).restore(&mut session)?;
    let values = inference.run(&mut session, &inputs)?;
    if output.is_some() {
        refuse_no_numbers(&table, &rows, &values, inference.outputs)?;
    }
    let numbers: Vec<u64> = rows.iter().map(|&row| table.row_number(row)).collect();

    match &arguments.out {
        None => lines.write(&numbers, &values, out)?,
        Some(file) => {
            let mut text = Vec::new();
            lines.write(&numbers, &values, &mut text)?;
            output::replace(file, &text).map_err(|error| Failure::file("write", file, &error))?;
            let (from, to) = (printable_path(checkpoint.file()), printable_path(file));
            if arguments.json {
                let value = json!({
                    "rows": rows.len(),
                    "left_out": left_out,
                    "checkpoint": checkpoint.file().to_string_lossy(),
                    "step": checkpoint.step(),
                    "file": file.to_string_lossy(),
                    "columns": lines.header(),
                });
                text::print_json(out, &value)?;
            } else {
                writeln!(out, "{} predicted by {from}: {to}", counted(rows.len(), "row"))?;
            }
        }
    }
    Ok(Answer::Yes)
}

/// The tensor that is asked for, or what `warmstart train` gives models.
fn find_output<'g>(arguments: &Arguments, graph: &'g Graph) -> Result<Tensor<'g>, Failure> {
    let names: Vec<String> = graph.finish()?.names.into_keys().collect();
    let file = printable_path(&arguments.checkpoint);
    if let Some(name) = &arguments.output {
        return graph.named(name).ok_or_else(|| {
            let near = nearest(name, names.iter().map(String::as_str));
            let help = match near {
                Some(near) => format!("did you mean `{}`?", printable(near)),
                None if names.is_empty() => {
                    "it has no named tensors; `.named(\"...\")` gives one a name".to_owned()
                }
                None => format!("there are {}", listed(&names)),
            };
            Failure::new(format!("the graph in `{file}` has no tensor named `{}`", printable(name)))
                .help(help)
        });
    }
    [PROBABILITIES, PREDICTION].iter().find_map(|name| graph.named(name)).ok_or_else(|| {
        let help = match names.is_empty() {
            true => "give the tensor to predict a name with `.named(\"...\")` before training, and here --output".to_owned(),
            false => format!("say with --output which of its tensors to compute: {}", listed(&names)),
        };
        Failure::new(format!("`{file}` does not say which tensor of its model predicts")).help(help)
    })
}

/// The columns that the model takes.
fn columns(
    table: &Table,
    description: Option<&Description>,
    by_place: bool,
    width: usize,
) -> Result<Vec<usize>, Failure> {
    let columns = match description {
        // Whoever says that there are no names says that places are meant.
        Some(description) if by_place => description.inputs.locate_by_place(table)?,
        Some(description) => description.inputs.locate(table)?,
        None => (0..table.width).collect(),
    };
    if columns.len() != width {
        let (file, found) = (printable_path(&table.file), counted(columns.len(), "column"));
        let help = match columns.len() == width + 1 {
            true => {
                "leave one column out: of rows to train on, that of the label or target, which the model does not take"
            }
            false => "give a file with the columns that the model was trained on",
        };
        return Err(
            Failure::new(format!("`{file}` has {found}, and the model takes {width}")).help(help)
        );
    }
    Ok(columns)
}

/// The rows that are predicted for.
fn rows(table: &Table, columns: &[usize], missing: Missing) -> Result<Vec<usize>, Failure> {
    let whole = |&row: &usize| !columns.iter().any(|&column| table.is_missing(row, column));
    let all = 0..table.rows();
    let rows: Vec<usize> =
        if missing == Missing::Skip { all.filter(whole).collect() } else { all.collect() };
    if rows.is_empty() {
        let file = printable_path(&table.file);
        return Err(Failure::new(format!(
            "every row of `{file}` has a cell without a value that the model takes"
        ))
        .help("give rows with values"));
    }
    Ok(rows)
}

/// The rows that are not among these, which are in order.
fn left_out<'a>(table: &Table, rows: &'a [usize]) -> impl Iterator<Item = usize> + use<'a> {
    (0..table.rows()).filter(|row| rows.binary_search(row).is_err())
}

/// What the model is fed: bytes, if it takes only those.
fn inputs(
    table: &Table,
    columns: &[usize],
    rows: &[usize],
    bytes: bool,
) -> Result<Vec<f32>, Failure> {
    let mut inputs = Vec::with_capacity(rows.len() * columns.len());
    for &row in rows {
        for &column in columns {
            let number = table.number(row, column)?;
            if bytes && f32::from(number as u8) != number {
                return Err(table.no_byte(row, column));
            }
            inputs.push(number);
        }
    }
    Ok(inputs)
}

/// Refuses what is no prediction: numbers so large that the model computed with infinities, as a
/// cell does that stands for no value.
fn refuse_no_numbers(
    table: &Table,
    rows: &[usize],
    values: &[f32],
    width: usize,
) -> Result<(), Failure> {
    let finite = |row: &[f32]| row.iter().all(|value| value.is_finite());
    let place = values.chunks(width).position(|row| !finite(row));
    let Some(row) = place.and_then(|place| rows.get(place).copied()) else { return Ok(()) };
    let (file, place) = (printable_path(&table.file), table.row_name(row));
    Err(if values.chunks(width).any(finite) {
        Failure::new(format!("the model gives no finite number for {place} of `{file}`")).help(
            "a value there is too far from those that the model was trained on: leave the row out, or train on rows that reach as far",
        )
    } else {
        Failure::new(format!("the model gives no finite number for any row of `{file}`"))
            .help("`warmstart inspect --stats` shows whether its weights are finite")
    })
}

/// Predictions as CSV.
struct Lines<'a> {
    output: Option<&'a Output>,
    /// The tensor that was asked for.
    asked: Option<&'a str>,
    /// What the model tells apart or predicts.
    of: &'a [String],
    width: usize,
    /// What lines begin with the numbers of, if they do.
    counts: Option<&'static str>,
}

impl Lines<'_> {
    fn header(&self) -> Vec<String> {
        let names = match self.output {
            Some(Output::Classes(classes)) => [&["class".to_owned()], &classes[..]].concat(),
            Some(Output::Values(names)) => names.clone(),
            None => self.columns(self.asked.unwrap_or("output")),
        };
        let counts = self.counts.map(|counts| no_other(counts, &names));
        counts.into_iter().chain(names).collect()
    }

    /// The columns of a tensor, by what they are about, or else by their numbers.
    fn columns(&self, tensor: &str) -> Vec<String> {
        let ours = [LOGITS, PROBABILITIES, PREDICTION].contains(&tensor);
        if ours && self.of.len() == self.width {
            return self.of.iter().map(|name| format!("{tensor} {name}")).collect();
        }
        match self.width {
            1 => vec![tensor.to_owned()],
            width => (1..=width).map(|at| format!("{tensor} {at}")).collect(),
        }
    }

    fn write(&self, numbers: &[u64], values: &[f32], out: &mut dyn Write) -> Result<(), Failure> {
        let mut lines = Writer::from_writer(out);
        lines.write_record(self.header()).map_err(cannot_write)?;
        for (number, row) in numbers.iter().zip(values.chunks(self.width)) {
            if self.counts.is_some() {
                lines.write_field(number.to_string()).map_err(cannot_write)?;
            }
            if let Some(Output::Classes(classes)) = self.output {
                lines.write_field(&classes[largest(row)]).map_err(cannot_write)?;
            }
            lines.write_record(row.iter().map(|&value| text_of(value))).map_err(cannot_write)?;
        }
        Ok(lines.flush()?)
    }
}

/// A name that none of the others is.
fn no_other(name: &str, others: &[String]) -> String {
    let mut name = name.to_owned();
    while others.contains(&name) {
        name.push('_');
    }
    name
}

/// As few digits as make the same number when they are read.
fn text_of(value: f32) -> String {
    match value.abs() {
        size if size == 0.0 || (1e-4..1e7).contains(&size) || !size.is_finite() => {
            value.to_string()
        }
        _ => format!("{value:e}"),
    }
}

/// Nothing but writing can fail: all lines have as many cells.
fn cannot_write(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        kind => Failure::new(format!("cannot write the predictions: {kind:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_of_lines_is_called_as_no_other() {
        let header = |classes: &[&str], counts| {
            let classes = classes.iter().map(|&class| class.to_owned()).collect();
            let output = Some(&Output::Classes(classes));
            Lines { output, asked: None, of: &[], width: 2, counts }.header()
        };
        assert_eq!(header(&["circle", "line"], None), ["class", "circle", "line"]);
        assert_eq!(header(&["a", "b"], Some("line")), ["line", "class", "a", "b"]);
        assert_eq!(header(&["circle", "line"], Some("line")), ["line_", "class", "circle", "line"]);
        assert_eq!(header(&["line", "line_"], Some("line"))[0], "line__");
    }

    #[test]
    fn numbers_are_short_and_read_back() {
        for (value, text) in [
            (0.25, "0.25"),
            (0.0, "0"),
            (1.3672733e-12, "1.3672733e-12"),
            (-2.5e-5, "-2.5e-5"),
            (123456.5, "123456.5"),
            (3e20, "3e20"),
        ] {
            assert_eq!(text_of(value), text);
            assert_eq!(text.parse::<f32>(), Ok(value));
        }
        assert!(text_of(f32::NAN).parse::<f32>().unwrap().is_nan());
    }
}
