//! What a training file says: its tables and keys, with what holds where nothing is said.
//!
//! Epochs are counted in rows: `steps` is epochs × rows / batch, rounded up (to whole updates,
//! where several batches make one), as batches leave no epoch's remainder a step of its own. Tests
//! hold the defaults of `example.toml` against those of the code, and try each key that has none.

use crate::data::ColumnChoice;
use crate::rules::RuleSetting;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A whole file.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where checkpoints and metrics go; `runs/` and the file's name if not said.
    pub directory: Option<PathBuf>,
    #[serde(default)]
    pub seed: u64,
    pub data: DataSettings,
    #[serde(default)]
    pub model: ModelSettings,
    #[serde(default)]
    pub training: TrainingSettings,
    #[serde(default)]
    pub optimizer: OptimizerSettings,
    #[serde(default)]
    pub schedule: ScheduleSettings,
    #[serde(default)]
    pub checkpoints: CheckpointSettings,
    pub warm_start: Option<WarmStart>,
}

/// `[data]`
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    pub file: PathBuf,
    pub array: Option<String>,
    pub labels: Option<PathBuf>,
    pub labels_array: Option<String>,
    pub task: Option<Task>,
    pub target: Option<Targets>,
    #[serde(default)]
    pub ignore: Vec<ColumnChoice>,
    pub header: Option<bool>,
    pub separator: Option<char>,
    #[serde(default)]
    pub missing: Missing,
    pub validation: Option<f64>,
    pub validation_file: Option<PathBuf>,
    pub validation_array: Option<String>,
    pub validation_labels: Option<PathBuf>,
    pub validation_labels_array: Option<String>,
    pub scaling: Option<Scaling>,
    #[serde(default = "yes")]
    pub scale_targets: bool,
}

/// One column or several.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "a column's name in quotes, its number (1 is the first, -1 the last), or a list of these"
)]
pub enum Targets {
    One(ColumnChoice),
    Several(Vec<ColumnChoice>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    Classification,
    Regression,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    #[default]
    Refuse,
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Each input to mean 0 and standard deviation 1.
    Standardize,
    /// Each input to 0 to 1.
    MinMax,
    /// All inputs together to 0 to 1.
    MinMaxTogether,
    None,
}

/// `[model]`
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    pub hidden: Vec<usize>,
    pub activation: Activation,
    pub dropout: f32,
    pub initializer: WeightInitializer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    Relu,
    LeakyRelu,
    Gelu,
    Silu,
    Tanh,
    Sigmoid,
    Softplus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightInitializer {
    GlorotUniform,
    GlorotNormal,
    HeUniform,
    HeNormal,
    Orthogonal,
}

/// `[training]`
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingSettings {
    pub epochs: Option<u64>,
    pub steps: Option<u64>,
    pub batch: Option<usize>,
    /// Of how many batches an update is made.
    pub gradient_accumulation_steps: u32,
    pub loss: Option<Loss>,
    pub huber_delta: f32,
    pub label_smoothing: f32,
    pub log_every: u64,
    pub validate_every: Option<u64>,
    pub compute_f16: bool,
    pub keep_f16: bool,
    pub recompute: bool,
    /// What a training step may take, in MiB.
    pub memory_limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    CrossEntropy,
    MeanSquaredError,
    Huber,
}

/// `[optimizer]`
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSettings {
    pub name: OptimizerName,
    pub learning_rate: f32,
    pub momentum: Option<f32>,
    pub nesterov: Option<bool>,
    pub betas: Option<[f64; 2]>,
    pub epsilon: Option<f32>,
    pub weight_decay: Option<f32>,
    pub no_decay: Vec<String>,
    pub clip_global_norm: Option<f32>,
    /// As `compute_f16` under [training], if not said.
    pub loss_scaling: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerName {
    Adam,
    Adamw,
    Sgd,
}

/// `[schedule]`
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSettings {
    pub kind: ScheduleKind,
    pub warm_up: u32,
    pub steps: Option<u32>,
    pub last: Option<f32>,
    pub every: Option<u32>,
    pub factor: Option<f32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    #[default]
    Constant,
    Cosine,
    Step,
    Exponential,
}

/// `[checkpoints]`
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSettings {
    pub save_every: Option<u64>,
    pub keep: usize,
    pub keep_every: u64,
    pub keep_best: Option<usize>,
    pub background: bool,
}

/// `[warm_start]`
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmStart {
    pub checkpoint: PathBuf,
    #[serde(default)]
    pub rules: Vec<RuleSetting>,
    #[serde(default)]
    pub allow_missing: bool,
    #[serde(default)]
    pub allow_unexpected: bool,
    #[serde(default)]
    pub allow_mismatched_shape: bool,
}

impl Activation {
    /// All of them, with the words that choose them.
    pub const ALL: [(Activation, &str); 7] = [
        (Activation::Relu, "relu"),
        (Activation::LeakyRelu, "leaky_relu"),
        (Activation::Gelu, "gelu"),
        (Activation::Silu, "silu"),
        (Activation::Tanh, "tanh"),
        (Activation::Sigmoid, "sigmoid"),
        (Activation::Softplus, "softplus"),
    ];
}

impl OptimizerName {
    /// The word that chooses it.
    pub fn text(self) -> &'static str {
        match self {
            OptimizerName::Adam => "adam",
            OptimizerName::Adamw => "adamw",
            OptimizerName::Sgd => "sgd",
        }
    }
}

fn yes() -> bool {
    true
}

impl Default for ModelSettings {
    fn default() -> ModelSettings {
        ModelSettings {
            hidden: vec![64, 64],
            activation: Activation::Relu,
            dropout: 0.0,
            initializer: WeightInitializer::GlorotUniform,
        }
    }
}

impl Default for TrainingSettings {
    fn default() -> TrainingSettings {
        TrainingSettings {
            epochs: None,
            steps: None,
            batch: None,
            gradient_accumulation_steps: 1,
            loss: None,
            huber_delta: 1.0,
            label_smoothing: 0.0,
            log_every: 10,
            validate_every: None,
            compute_f16: false,
            keep_f16: false,
            recompute: false,
            memory_limit: None,
        }
    }
}

impl Default for OptimizerSettings {
    fn default() -> OptimizerSettings {
        OptimizerSettings {
            name: OptimizerName::Adam,
            learning_rate: 1e-3,
            momentum: None,
            nesterov: None,
            betas: None,
            epsilon: None,
            weight_decay: None,
            no_decay: Vec::new(),
            clip_global_norm: None,
            loss_scaling: None,
        }
    }
}

impl Default for CheckpointSettings {
    fn default() -> CheckpointSettings {
        CheckpointSettings {
            save_every: None,
            keep: 3,
            keep_every: 0,
            keep_best: None,
            background: false,
        }
    }
}
