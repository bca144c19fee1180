//! Metrics as a CSV file: one row a step, one column a metric, opened by anything.

use super::MetricsError;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Writes metrics to a CSV file with the header `step,` and the columns' names.
#[derive(Debug)]
pub struct CsvWriter {
    file: PathBuf,
    writer: BufWriter<File>,
    columns: Vec<String>,
    last: Option<u64>,
    /// One step's values by column, kept to be used again.
    row: Vec<Option<f64>>,
}

impl CsvWriter {
    /// Opens or makes the file, and its directory. Of what is already there, rows before `step`
    /// are kept and the others are dropped, atomically: killed at any instant, the file is the old
    /// or the new one. A last line that a killed run left unfinished is dropped too. Columns that the
    /// kept rows do not have come after theirs, and are empty in those rows. A file of this name that
    /// is not such a table is somebody else's: it is refused, and left as it is.
    ///
    /// # Errors
    /// As [`MetricsWriter::open`](super::MetricsWriter::open).
    pub fn open(file: &Path, columns: &[&str], step: u64) -> Result<CsvWriter, MetricsError> {
        for (place, name) in columns.iter().enumerate() {
            let unfit = |c: char| c == ',' || c == '"' || c.is_control();
            let repeated = columns[..place].contains(name) || *name == "step";
            if repeated || name.trim() != *name || name.is_empty() || name.contains(unfit) {
                return Err(MetricsError::ColumnName { name: (*name).to_owned() });
            }
        }
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).map_err(MetricsError::io("create", directory))?;
        }
        let mut columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();

        let old = match fs::read_to_string(file) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(MetricsError::io("read", file)(error)),
        };
        let mut last = None;
        let mut rows = String::new();
        if let Some(text) = &old {
            let table = MetricsTable::parse(file, text)?;
            let kept: Vec<_> = table.rows.iter().take_while(|row| row.step < step).collect();
            let mut added = 0;
            if !kept.is_empty() {
                // Columns of the kept rows stay, also those that this run does not write.
                let before = std::mem::replace(&mut columns, table.columns);
                let new: Vec<_> = before.into_iter().filter(|c| !columns.contains(c)).collect();
                added = new.len();
                columns.extend(new);
            }
            last = kept.last().map(|row| row.step);
            for row in kept {
                let line = text.get(row.place.clone()).unwrap_or_default();
                rows.push_str(line.trim_end_matches(['\r', '\n']));
                rows.extend(std::iter::repeat_n(',', added));
                rows.push('\n');
            }
        }
        let mut kept = String::from("step");
        columns.iter().for_each(|name| kept.extend([",", name]));
        kept.push('\n');
        kept.push_str(&rows);
        if old.as_ref() != Some(&kept) {
            replace(file, &kept)?;
        }
        let writer = OpenOptions::new().append(true).open(file);
        let writer = BufWriter::new(writer.map_err(MetricsError::io("open", file))?);
        let row = vec![None; columns.len()];
        Ok(CsvWriter { file: file.to_owned(), writer, columns, last, row })
    }

    /// Writes the values of a step. A value that `f32` can hold is written with as few digits as
    /// bring back that `f32`.
    ///
    /// # Errors
    /// As [`MetricsWriter::write`](super::MetricsWriter::write).
    pub fn write(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), MetricsError> {
        if let Some(last) = self.last.filter(|&last| last >= step) {
            return Err(MetricsError::StepDidNotGrow { step, last });
        }
        self.row.fill(None);
        for &(name, value) in values {
            let place = self.columns.iter().position(|column| column == name);
            match place.and_then(|place| self.row.get_mut(place)) {
                Some(cell) => *cell = Some(value),
                None => {
                    let (name, columns) = (name.to_owned(), self.columns.clone());
                    return Err(MetricsError::UnknownColumn { name, columns });
                }
            }
        }
        self.last = Some(step);
        self.write_row(step).map_err(MetricsError::io("write", &self.file))
    }

    fn write_row(&mut self, step: u64) -> std::io::Result<()> {
        write!(self.writer, "{step}")?;
        for cell in &self.row {
            match *cell {
                None => write!(self.writer, ",")?,
                Some(value) if f64::from(value as f32) == value => {
                    write!(self.writer, ",{}", value as f32)?;
                }
                Some(value) => write!(self.writer, ",{value}")?,
            }
        }
        writeln!(self.writer)
    }

    /// Hands everything written so far to the operating system, and waits until it is on the disk,
    /// where the file system knows how.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn sync(&mut self) -> Result<(), MetricsError> {
        self.flush()?;
        // Some network file systems cannot. The rows are written, and no reason to stop a training.
        let _ = self.writer.get_ref().sync_data();
        Ok(())
    }

    /// Hands everything written so far to the operating system.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> Result<(), MetricsError> {
        self.writer.flush().map_err(MetricsError::io("write", &self.file))
    }
}

/// Writes beside the file, then renames over it.
fn replace(file: &Path, text: &str) -> Result<(), MetricsError> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    let mut new = File::create(&beside).map_err(MetricsError::io("create", &beside))?;
    new.write_all(text.as_bytes())
        .and_then(|()| new.sync_all())
        .map_err(MetricsError::io("write", &beside))?;
    // Windows renames no open file.
    drop(new);
    fs::rename(&beside, file).map_err(MetricsError::io("replace", file))
}

/// Metrics read back from a CSV file.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsTable {
    columns: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    step: u64,
    cells: Vec<Option<f64>>,
    /// Where the line, with its end, is in the text.
    place: std::ops::Range<usize>,
}

impl MetricsTable {
    /// Reads a file that a [`CsvWriter`] wrote.
    ///
    /// # Errors
    /// If the file cannot be read, or a whole line of it is not as written.
    pub fn read(file: &Path) -> Result<MetricsTable, MetricsError> {
        let text = fs::read_to_string(file).map_err(MetricsError::io("read", file))?;
        MetricsTable::parse(file, &text)
    }

    /// The names of the columns after `step`.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The steps and values of a column, without the rows where it is empty; nothing if there is
    /// no such column.
    pub fn series(&self, column: &str) -> Vec<(u64, f64)> {
        let Some(place) = self.columns.iter().position(|name| name == column) else {
            return Vec::new();
        };
        self.rows.iter().filter_map(|row| Some((row.step, (*row.cells.get(place)?)?))).collect()
    }

    fn parse(file: &Path, text: &str) -> Result<MetricsTable, MetricsError> {
        let mut table = MetricsTable { columns: Vec::new(), rows: Vec::new() };
        let mut start = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let place = start..start + line.len();
            start = place.end;
            let malformed =
                |what| MetricsError::Malformed { file: file.to_owned(), line: number + 1, what };
            // A run was killed while it wrote this.
            let Some(line) = line.strip_suffix('\n') else { break };
            let mut cells = line.trim_end_matches('\r').split(',');
            let first = cells.next().unwrap_or_default();
            if number == 0 {
                if first != "step" {
                    return Err(malformed(format!("the header begins with `{first}`, not `step`")));
                }
                table.columns = cells.map(str::to_owned).collect();
                continue;
            }
            let step = first
                .parse()
                .map_err(|_| malformed(format!("`{first}` is not a step's number")))?;
            if let Some(last) = table.rows.last().filter(|last| last.step >= step) {
                return Err(malformed(format!("step {step} comes after step {}", last.step)));
            }
            let cells: Vec<Option<f64>> = cells
                .map(|cell| match cell {
                    "" => Ok(None),
                    _ => cell.parse().map(Some).map_err(|_| format!("`{cell}` is not a number")),
                })
                .collect::<Result<_, _>>()
                .map_err(malformed)?;
            if cells.len() != table.columns.len() {
                let (found, columns) = (cells.len(), table.columns.len());
                return Err(malformed(format!("{found} values for {columns} columns")));
            }
            table.rows.push(Row { step, cells, place });
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: &Path) -> String {
        fs::read_to_string(file).unwrap()
    }

    #[test]
    fn a_resumed_run_writes_no_step_twice() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("runs/a/metrics.csv");
        let mut csv = CsvWriter::open(&file, &["loss", "accuracy"], 0).unwrap();
        for step in 0..5 {
            csv.write(step, &[("accuracy", 0.1), ("loss", f64::from(step as f32 + 0.1))]).unwrap();
        }
        drop(csv);
        let mut csv = CsvWriter::open(&file, &["loss", "accuracy"], 3).unwrap();
        csv.write(3, &[("loss", f64::NAN)]).unwrap();
        csv.write(7, &[]).unwrap();
        csv.write(8, &[("accuracy", f64::INFINITY)]).unwrap();
        csv.flush().unwrap();
        assert_eq!(
            text(&file),
            "step,loss,accuracy\n0,0.1,0.1\n1,1.1,0.1\n2,2.1,0.1\n3,NaN,\n7,,\n8,,inf\n"
        );
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        let table = MetricsTable::read(&file).unwrap();
        assert_eq!(table.columns(), ["loss", "accuracy"]);
        assert_eq!(table.series("accuracy")[2..], [(2, 0.1), (8, f64::INFINITY)]);
        assert_eq!(table.series("missing"), []);
        drop(csv);
        CsvWriter::open(&file, &["new"], 0).unwrap();
        assert_eq!(text(&file), "step,new\n");
    }

    #[test]
    fn what_a_killed_run_left_unfinished_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("metrics.csv");
        fs::write(&file, "step,loss\n0,1.5\n1,0.25\n2,0.1").unwrap();
        let mut csv = CsvWriter::open(&file, &["loss"], 9).unwrap();
        csv.write(9, &[("loss", 0.0)]).unwrap();
        drop(csv);
        assert_eq!(text(&file), "step,loss\n0,1.5\n1,0.25\n9,0\n");
        fs::write(&file, "step,lo").unwrap();
        drop(CsvWriter::open(&file, &["loss"], 9).unwrap());
        assert_eq!(text(&file), "step,loss\n");
    }

    #[test]
    fn columns_that_change_lose_no_value() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("metrics.csv");
        fs::write(&file, "step,loss,lr\r\n0,1.5,0.1\r\n1,0.25,\r\n2,0.1,9\r\n").unwrap();
        let mut csv = CsvWriter::open(&file, &["accuracy", "loss"], 2).unwrap();
        csv.write(2, &[("accuracy", 0.5), ("loss", 0.125)]).unwrap();
        drop(csv);
        assert_eq!(text(&file), "step,loss,lr,accuracy\n0,1.5,0.1,\n1,0.25,,\n2,0.125,,0.5\n");
        // No row is kept, so neither are its columns.
        drop(CsvWriter::open(&file, &["loss"], 0).unwrap());
        assert_eq!(text(&file), "step,loss\n");
    }

    #[test]
    fn refusals_leave_the_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("metrics.csv");
        for (old, said) in [
            ("time,loss\n", "line 1: the header begins with `time`"),
            ("step,loss\n0,1\nx,2\n", "line 3: `x` is not a step's number"),
            ("step,loss\n4,1\n4,2\n", "line 3: step 4 comes after step 4"),
            ("step,loss\n0,one\n", "line 2: `one` is not a number"),
            ("step,loss\n0,1,2\n", "line 2: 2 values for 1 columns"),
        ] {
            // Also from the start, where no row would be kept.
            for step in [5, 0] {
                fs::write(&file, old).unwrap();
                let error = CsvWriter::open(&file, &["loss"], step).unwrap_err().to_string();
                assert!(error.contains(said), "{error}");
                assert_eq!(text(&file), old);
            }
        }
        for columns in [&["a", "a"][..], &[""], &["step"], &["a,b"], &["a\n"], &[" a"]] {
            let error = CsvWriter::open(&file, columns, 0).unwrap_err();
            assert!(matches!(error, MetricsError::ColumnName { .. }), "{columns:?}");
        }
    }

    #[test]
    fn unknown_columns_and_steps_out_of_order_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("metrics.csv");
        let mut csv = CsvWriter::open(&file, &["loss", "rate"], 0).unwrap();
        csv.write(4, &[("loss", 0.1)]).unwrap();
        let error = csv.write(4, &[("rate", 0.1)]).unwrap_err().to_string();
        assert!(error.starts_with("step 4 was written after step 4"), "{error}");
        let error = csv.write(5, &[("lose", 0.1)]).unwrap_err().to_string();
        assert!(error.starts_with("there is no column `lose` among loss, rate"), "{error}");
        csv.write(5, &[("loss", 1.0 / 3.0)]).unwrap();
        drop(csv);
        assert_eq!(text(&file), "step,loss,rate\n4,0.1,\n5,0.3333333333333333,\n");
    }
}
