//! The metrics of a run's directory: their columns, and the picture of the losses.

use crate::Training;
use crate::metrics::{Axis, LossCurve, MetricsError, MetricsTable, MetricsWriter};
use std::{fs, io};

/// A metric that is drawn beside the loss.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub metric: String,
    /// What the legend calls it.
    pub name: String,
    /// What is drawn of a value.
    pub value: fn(f64) -> f64,
}

/// Opens the metrics for the steps after `done`; rows count steps done, from 1.
pub(crate) fn open(training: &Training, done: u64) -> Result<MetricsWriter, MetricsError> {
    let mut columns = vec!["loss"];
    columns.extend(training.metrics.iter().map(String::as_str));
    MetricsWriter::open(&training.directory, &columns, done + 1)
}

/// Draws the losses of all runs in the directory, and the curves beside them.
pub(crate) fn draw(training: &Training) -> Result<(), MetricsError> {
    let file = training.directory.join("metrics.csv");
    if !file.exists() {
        return Ok(());
    }
    let table = MetricsTable::read(&file)?;
    let losses = table.series("loss");
    let drawn = training.directory.join("loss.svg");
    if losses.len() < 2 {
        // A picture that is there is of an earlier run in this directory.
        return match fs::remove_file(&drawn) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(MetricsError::io("remove", &drawn)(error))
            }
            _ => Ok(()),
        };
    }
    let curves = training.curves.iter();
    let others: Vec<_> = curves
        .map(|curve| (&curve.name, curve.value, table.series(&curve.metric)))
        .filter(|(_, _, points)| !points.is_empty())
        .collect();
    let (title, name) = match others.is_empty() {
        true => ("Training loss", "loss"),
        false => ("Loss", "training"),
    };
    let mut picture = LossCurve::new(title).axis(Axis::Logarithmic).series(name, losses);
    for (name, value, points) in others {
        let points = points.into_iter().map(|(step, metric)| (step, value(metric)));
        picture = picture.series(name, points);
    }
    picture.write_svg(&drawn)
}
