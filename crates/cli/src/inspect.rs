//! `warmstart inspect`: what is in a checkpoint.

use crate::Answer;
use crate::error::Failure;
use crate::latest::choice;
use crate::stats::Stats;
use crate::text::{self, HEADING, counted, styled};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use warmstart_checkpoint::{Checkpoint, Damaged, Format, Glob, TensorEntry, printable};
use warmstart_graph::words::printable_path;
use warmstart_graph::{Role, Variable};

/// Show what is in a checkpoint
///
/// Reads its header alone, unless statistics are asked for.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart inspect runs/digits
  warmstart inspect model.safetensors --tensor 'encoder/**' --stats
  warmstart inspect model.safetensors --json | jq '.tensors[].name'

Statistics are those of the finite elements; NaN and infinities are counted beside them.")]
pub struct Arguments {
    /// A file, or a directory, which opens its newest checkpoint that is whole by its header
    path: PathBuf,
    /// Only tensors whose names match; `*` stays within one part of a name, `**` is any number of
    /// parts
    #[arg(long, value_name = "GLOB", value_parser = Glob::new)]
    tensor: Option<Glob>,
    /// Read the values: smallest, largest, mean, standard deviation, NaN, infinities, histogram
    #[arg(long)]
    stats: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let checkpoint = Checkpoint::open(&arguments.path)?;
    let choice = choice(&arguments.path, &checkpoint, &arguments.path);
    let shown = |tensor: &&TensorEntry| match &arguments.tensor {
        Some(glob) => glob.is_match(&tensor.name),
        None => true,
    };
    let tensors: Vec<&TensorEntry> = checkpoint.tensors().iter().filter(shown).collect();
    if let (Some(glob), true) = (&arguments.tensor, tensors.is_empty()) {
        let file = printable_path(checkpoint.file());
        return Err(Failure::new(format!("no tensor of `{file}` matches `{}`", glob.as_str()))
            .help(
                "`*` stays within one part of a name, between `/` or `.`; `**` is any number of \
                 parts, as in `**/w` or `**.w`",
            ));
    }
    let variables = checkpoint.metadata().variables()?.unwrap_or_default();
    let variables: BTreeMap<&str, &Variable> =
        variables.iter().map(|variable| (variable.name.as_str(), variable)).collect();
    if arguments.json {
        let tensors: Result<Vec<Value>, Failure> = tensors
            .iter()
            .map(|tensor| {
                let stats = if arguments.stats { Stats::of(&checkpoint, tensor)? } else { None };
                Ok(json_of(&checkpoint, tensor, variables.get(tensor.name.as_str()), stats))
            })
            .collect();
        let mut value = json_of_all(&checkpoint);
        value["tensors"] = Value::Array(tensors?);
        value["choice"] = json!(choice);
        text::print_json(out, &value)?;
        return Ok(Answer::Yes);
    }
    head(out, &checkpoint, choice)?;
    let mut rows = Vec::with_capacity(tensors.len());
    for tensor in &tensors {
        let mut row = vec![
            tensor.name.to_string(),
            tensor.dtype.to_string(),
            tensor.shape.to_string(),
            tensor.bytes().to_string(),
        ];
        if arguments.stats {
            row.extend(match Stats::of(&checkpoint, tensor)? {
                Some(stats) => stats.cells(),
                None => [const { String::new() }; 7],
            });
        } else if !variables.is_empty() {
            row.push(variables.get(tensor.name.as_str()).map_or_else(String::new, |v| about(v)));
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Ok(Answer::Yes);
    }
    let mut header = vec!["name", "dtype", "shape", "bytes"];
    let mut right = vec![3];
    if arguments.stats {
        header.extend(["min", "max", "mean", "std", "NaN", "inf", "histogram"]);
        right.extend(4..10);
    } else if !variables.is_empty() {
        header.push("began as");
    }
    writeln!(out, "\n{}", text::table(&header, &right, rows))?;
    Ok(Answer::Yes)
}

/// What there is to say beside the tensors, line by line.
fn head(
    out: &mut dyn Write,
    checkpoint: &Checkpoint,
    choice: Option<String>,
) -> Result<(), Failure> {
    let metadata = checkpoint.metadata();
    writeln!(out, "{}", styled(HEADING, &printable_path(checkpoint.file())))?;
    let mut line = |label: &str, text: String| writeln!(out, "  {label:<10} {text}");
    if let Some(choice) = choice {
        line("note", choice)?;
    }
    for damaged in Damaged::first_notes(checkpoint.damaged().iter()) {
        line("note", damaged)?;
    }
    line("format", format_of(checkpoint))?;
    if let Some(step) = metadata.step() {
        line("step", step.to_string())?;
    }
    if let Some(seed) = metadata.seed() {
        line("seed", seed.to_string())?;
    }
    if let Some(time) = metadata.time().and_then(text::utc) {
        line("saved", time)?;
    }
    let metrics: Vec<String> =
        metadata.metrics().map(|(name, value)| format!("{name} {}", text::short(value))).collect();
    if !metrics.is_empty() {
        line("metrics", printable(&metrics.join(", ")).into_owned())?;
    }
    if let Some(graph) = graph_of(checkpoint) {
        line("graph", graph)?;
    }
    if let Some(optimizer) = metadata.optimizer() {
        line("optimizer", printable(&shortened(&plain(optimizer))).into_owned())?;
    }
    for (key, value) in metadata.extra() {
        let entry = format!("{key}: {}", shortened(&plain(value)));
        line("metadata", printable(&entry).into_owned())?;
    }
    let tensors = checkpoint.tensors();
    let (elements, bytes) = totals(tensors);
    let checksums = match tensors.first().and_then(|tensor| checkpoint.checksum(&tensor.name)) {
        Some(_) => ", with checksums",
        None => "",
    };
    let number = counted(tensors.len(), "tensor");
    let elements = counted(usize::try_from(elements).unwrap_or(usize::MAX), "element");
    line("holds", format!("{number}, {elements}, {}{checksums}", text::bytes(bytes)))?;
    Ok(())
}

/// What is JSON as people read it, anything else as it is.
fn plain(text: &str) -> String {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => text::readable(&value),
        _ => text.to_owned(),
    }
}

/// Metadata of other programs may be long.
fn shortened(text: &str) -> String {
    const MOST: usize = 300;
    let line = text.replace(['\n', '\r'], " ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… ({} characters)", &line[..end], text.chars().count()),
        None => line,
    }
}

fn format_of(checkpoint: &Checkpoint) -> String {
    let format = checkpoint.format();
    let files = checkpoint.files().count();
    match (format, checkpoint.metadata().get("warmstart.version")) {
        (Format::Safetensors, Some(version)) => {
            format!("{format}, saved by warmstart (format {version})")
        }
        (Format::TensorFlow, _) => format!("{format}, {}", counted(files, "data file")),
        (Format::SafetensorsShards, _) => format!("safetensors in {}", counted(files, "file")),
        _ => format.to_string(),
    }
}

fn graph_of(checkpoint: &Checkpoint) -> Option<String> {
    checkpoint.metadata().graph()?;
    Some(match checkpoint.graph().map(|graph| graph.finish()) {
        Ok(Ok(graph)) => {
            let (nodes, variables) = (graph.nodes.len(), graph.variables.len());
            format!("{}, {}", counted(nodes, "node"), counted(variables, "variable"))
        }
        Ok(Err(error)) => format!("malformed: {error}"),
        Err(error) => error.to_string(),
    })
}

fn totals(tensors: &[TensorEntry]) -> (u64, u64) {
    let elements = tensors.iter().filter_map(|t| t.shape.checked_elements());
    let elements = elements.fold(0u64, |sum, n| sum.saturating_add(n as u64));
    (elements, tensors.iter().map(TensorEntry::bytes).fold(0, u64::saturating_add))
}

/// The initializer of a weight, or what a slot is.
fn about(variable: &Variable) -> String {
    match &variable.role {
        Role::Slot { optimizer, slot, .. } => format!("{optimizer}'s {slot}"),
        Role::Trainable => variable.initializer.to_string(),
        Role::State => format!("{} (not trained)", variable.initializer),
    }
}

fn json_of_all(checkpoint: &Checkpoint) -> Value {
    let metadata = checkpoint.metadata();
    let metrics: Map<String, Value> =
        metadata.metrics().map(|(name, value)| (name.to_owned(), text::number(value))).collect();
    let extra: Map<String, Value> =
        metadata.extra().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    let (elements, bytes) = totals(checkpoint.tensors());
    let damaged = checkpoint.damaged().iter().map(|damaged| {
        json!({ "file": damaged.path.to_string_lossy(), "problem": damaged.error.to_string() })
    });
    // As a value where it is JSON, which ours is.
    let optimizer =
        metadata.optimizer().map(|text| serde_json::from_str(text).unwrap_or_else(|_| json!(text)));
    json!({
        "file": checkpoint.file().to_string_lossy(),
        "format": format_of(checkpoint),
        "step": metadata.step(),
        "seed": metadata.seed(),
        "time": metadata.time().and_then(text::utc),
        "metrics": metrics,
        "graph": graph_of(checkpoint),
        "optimizer": optimizer,
        "metadata": extra,
        "totals": { "tensors": checkpoint.tensors().len(), "elements": elements, "bytes": bytes },
        "passed_over": damaged.collect::<Vec<_>>(),
    })
}

fn json_of(
    checkpoint: &Checkpoint,
    tensor: &TensorEntry,
    variable: Option<&&Variable>,
    stats: Option<Stats>,
) -> Value {
    let mut value = json!({
        "name": tensor.name,
        "dtype": tensor.dtype.name(),
        "shape": tensor.shape,
        "bytes": tensor.bytes(),
        "offset": tensor.range.start,
        "checksum": checkpoint.checksum(&tensor.name).map(|sum| sum.to_string()),
    });
    if let Some(variable) = variable {
        value["initializer"] = json!(variable.initializer.to_string());
        value["role"] = json!(variable.role);
    }
    if let Some(stats) = stats {
        value["stats"] = stats.to_json();
    }
    value
}
