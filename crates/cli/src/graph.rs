//! `warmstart graph`: the model in a checkpoint; and how a graph is found, for `plan` too.

use crate::Answer;
use crate::data::listed;
use crate::drawing;
use crate::error::Failure;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, Pair, RestoreOptions, RestoreReport, Rule, TensorEntry,
};
use warmstart_graph::words::printable_path;
use warmstart_graph::{Graph, GraphDef, Variable};

/// Print the graph that was saved in a checkpoint
///
/// One line for each node with its dtype, shape and the place in the code, or in the training file,
/// where it was written; or a picture; or Graphviz's language.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart graph runs/digits
  warmstart graph runs/digits --svg > model.svg
  warmstart graph runs/digits --dot | dot -Tsvg > model.svg
  warmstart graph runs/digits --json > graph.json")]
pub struct Arguments {
    /// A checkpoint, a directory of them, or a graph as JSON
    path: PathBuf,
    /// One line for each node (this is what is printed if nothing is said)
    #[arg(long, group = "form")]
    text: bool,
    /// Graphviz's DOT language
    #[arg(long, group = "form")]
    dot: bool,
    /// A picture, with scopes as boxes and inputs above what is computed from them
    #[arg(long, group = "form")]
    svg: bool,
    /// The graph as JSON, as it is saved in checkpoints
    #[arg(long, group = "form")]
    json: bool,
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let graph = match open(&arguments.path)? {
        Model::Graph(graph) => graph,
        Model::Checkpoint(checkpoint) => {
            let file = checkpoint.file().to_owned();
            checkpoint.graph()?.finish().map_err(|error| malformed(&file, &error.to_string()))?
        }
    };
    if arguments.json {
        serde_json::to_writer(&mut *out, &graph)?;
        writeln!(out)?;
    } else if arguments.dot {
        write!(out, "{}", graph.to_dot())?;
    } else if arguments.svg {
        let nodes = graph.nodes.len();
        if nodes > drawing::MOST_NODES {
            return Err(Failure::new(format!("{nodes} nodes are too many for a picture"))
                .help("`--text` lists them; programs for large graphs read `--dot`"));
        }
        write!(out, "{}", drawing::svg(&graph))?;
    } else {
        write!(out, "{graph}")?;
    }
    Ok(Answer::Yes)
}

/// Something that says what variables there are.
pub enum Model {
    Checkpoint(Box<Checkpoint>),
    Graph(GraphDef),
}

/// Opens a checkpoint, or else a graph as JSON. Content decides, not the name.
pub fn open(path: &Path) -> Result<Model, Failure> {
    match Checkpoint::open(path) {
        Ok(checkpoint) => Ok(Model::Checkpoint(Box::new(checkpoint))),
        Err(error @ CheckpointError::Malformed { .. }) if begins_like_json(path) => {
            // Whoever meant a checkpoint learns what is wrong with it as one, too.
            let also = format!("and it is no checkpoint either: {error}");
            read_graph(path).map(Model::Graph).map_err(|failure| failure.help(also))
        }
        Err(error) => Err(error.into()),
    }
}

fn begins_like_json(path: &Path) -> bool {
    let begins = |file: File| -> io::Result<bool> {
        Ok(BufReader::with_capacity(256, file).fill_buf()?.trim_ascii_start().starts_with(b"{"))
    };
    File::open(path).and_then(begins).unwrap_or(false)
}

fn read_graph(path: &Path) -> Result<GraphDef, Failure> {
    let file = File::open(path).map_err(|error| malformed(path, &error.to_string()))?;
    let def = serde_json::from_reader(BufReader::new(file));
    let def = def.map_err(|error| malformed(path, &error.to_string()))?;
    // Going through a graph checks it.
    let graph = Graph::from_def(def).and_then(|graph| graph.finish());
    graph.map_err(|error| malformed(path, &error.to_string()))
}

fn malformed(path: &Path, problem: &str) -> Failure {
    Failure::new(format!("`{}` does not describe a graph: {problem}", printable_path(path)))
}

impl Model {
    /// The variables that it declares. A checkpoint of another program declares none, so its
    /// tensors are taken for them, as far as variables can have their dtypes.
    pub fn variables(&self) -> Result<Vec<Variable>, Failure> {
        match self {
            Model::Graph(graph) => Ok(graph.variables.clone()),
            Model::Checkpoint(checkpoint) => Ok(checkpoint.variables()?),
        }
    }

    /// Whether it says of its variables how they begin.
    pub fn declares(&self) -> Result<bool, Failure> {
        match self {
            Model::Graph(_) => Ok(true),
            Model::Checkpoint(checkpoint) => Ok(checkpoint.metadata().variables()?.is_some()),
        }
    }
}

/// Tensors of a checkpoint that no variable can be, and that are left out for that.
pub struct Strange {
    /// Their names in the checkpoint.
    pub tensors: Vec<String>,
    dtypes: BTreeSet<String>,
    /// Where they are left out, if not in the checkpoint alone.
    on: &'static str,
}

impl fmt::Display for Strange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtypes: Vec<&str> = self.dtypes.iter().map(String::as_str).collect();
        let (names, dtypes, on) = (listed(&self.tensors), dtypes.join(", "), self.on);
        write!(f, "left out{on}, since no variable can be {dtypes}: {names}.")?;
        let Some(first) = self.tensors.first() else { return Ok(()) };
        let each = if self.tensors.len() > 1 { " and so on" } else { "" };
        write!(
            f,
            " In code, a restore needs `.leave_out({first:?})`{each}, or `.allow_unexpected()`"
        )
    }
}

impl Strange {
    /// Those that belong to no variable by a report, which a model would be refused for.
    pub fn unexpected(report: &RestoreReport) -> Strange {
        let tensors = report.unexpected().iter();
        let strange: Vec<&TensorEntry> =
            tensors.filter(|tensor| tensor.dtype.variable().is_none()).collect();
        Strange {
            tensors: strange.iter().map(|tensor| tensor.name.to_string()).collect(),
            dtypes: strange.iter().map(|tensor| tensor.dtype.to_string()).collect(),
            on: "",
        }
    }

    fn none() -> Strange {
        Strange { tensors: Vec::new(), dtypes: BTreeSet::new(), on: " on both sides" }
    }

    /// Those of `checkpoint` that [`Model::strange`] finds where the model is a checkpoint.
    pub fn on_both_sides(
        checkpoint: &Checkpoint,
        model: &Checkpoint,
        rules: &[Rule],
    ) -> Result<Strange, Failure> {
        let mut strange = Strange::none();
        if model.metadata().variables()?.is_some() {
            return Ok(strange);
        }
        for Pair { first, second, .. } in checkpoint.pairs(model, rules).both {
            let alike = (first.dtype, &first.shape) == (second.dtype, &second.shape);
            if alike && second.dtype.variable().is_none() {
                strange.tensors.push(first.name.to_string());
                strange.dtypes.insert(first.dtype.to_string());
            }
        }
        Ok(strange)
    }

    /// The same options without these tensors.
    pub fn leave_out(&self, options: RestoreOptions) -> RestoreOptions {
        self.tensors.iter().fold(options, |options, name| options.leave_out(name))
    }
}

impl Model {
    /// Tensors that `checkpoint` holds, under these rules, of the names, dtypes and shapes of those
    /// that [`Model::variables`] could not take for variables.
    pub fn strange(&self, checkpoint: &Checkpoint, rules: &[Rule]) -> Result<Strange, Failure> {
        match self {
            Model::Graph(_) => Ok(Strange::none()),
            Model::Checkpoint(model) => Strange::on_both_sides(checkpoint, model, rules),
        }
    }
}
