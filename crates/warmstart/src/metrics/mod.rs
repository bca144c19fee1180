//! What a training run reports about itself: numbers by step, as CSV, as TensorBoard event files,
//! and drawn as a curve. What a terminal shows meanwhile is in [`Progress`](crate::Progress).

mod csv;
mod curve;
mod error;
mod events;

pub use csv::{CsvWriter, MetricsTable};
pub use curve::{Axis, LossCurve};
pub use error::MetricsError;
pub use events::EventWriter;

use std::path::Path;

/// Writes the metrics of a run to a directory: `metrics.csv` and a TensorBoard event file.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// use warmstart::metrics::{MetricsTable, MetricsWriter};
/// let mut metrics = MetricsWriter::open(directory, &["loss", "test/accuracy"], 0)?;
/// metrics.write(0, &[("loss", 2.3)])?;
/// metrics.write(1, &[("loss", 1.9), ("test/accuracy", 0.5)])?;
/// metrics.flush()?;
///
/// let table = MetricsTable::read(&directory.join("metrics.csv"))?;
/// assert_eq!(table.series("loss"), [(0, 2.3), (1, 1.9)]);
/// assert_eq!(table.series("test/accuracy"), [(1, 0.5)]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MetricsWriter {
    csv: CsvWriter,
    events: EventWriter,
}

impl MetricsWriter {
    /// Opens the metrics of a run, making the directory if need be. `columns` are all the names
    /// that will be written; TensorBoard groups them by what stands before a `/`.
    ///
    /// `step` is the first step that will be written: 0 for a new run, the step to go on with for a
    /// resumed one. What an earlier run wrote for this step or a later one is dropped, so that no
    /// step appears twice. Columns of what is kept stay, and new ones come after them.
    ///
    /// # Errors
    /// If a column's name is unfit, if the rows to keep are damaged, or if a file cannot be read or
    /// written. Then `metrics.csv` is as it was.
    pub fn open(
        directory: &Path,
        columns: &[&str],
        step: u64,
    ) -> Result<MetricsWriter, MetricsError> {
        let csv = CsvWriter::open(&directory.join("metrics.csv"), columns, step)?;
        let events = EventWriter::create(directory, step)?;
        Ok(MetricsWriter { csv, events })
    }

    /// Writes values of a step, in any order; a column that is not given stays empty. Steps must
    /// grow, so all values of a step are given in one call. Values are buffered: see
    /// [`flush`](MetricsWriter::flush).
    ///
    /// # Errors
    /// If a name is not one of the columns, if the step does not grow, or if a file cannot be
    /// written.
    pub fn write(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), MetricsError> {
        self.csv.write(step, values)?;
        values.iter().try_for_each(|&(tag, value)| self.events.scalar(tag, step, value))
    }

    /// Hands everything written so far to the operating system. Call it now and then (say, with
    /// each checkpoint); dropping the writer does it too, but cannot report a failure.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn flush(&mut self) -> Result<(), MetricsError> {
        self.csv.flush()?;
        self.events.flush()
    }

    /// As [`flush`](MetricsWriter::flush), and waits until `metrics.csv` is on the disk: a run that
    /// goes on from a checkpoint does not write the rows before it again.
    ///
    /// # Errors
    /// As [`flush`](MetricsWriter::flush).
    pub fn sync(&mut self) -> Result<(), MetricsError> {
        self.csv.sync()?;
        self.events.flush()
    }
}
