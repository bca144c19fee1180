//! What a conversion changes, and what it has done.

use crate::restore::rules::Rule;
use crate::tensor::FloatDType;
use std::path::PathBuf;

/// What [`Checkpoint::convert`](crate::Checkpoint::convert) changes on the way; nothing if nothing is said.
///
/// ```
/// use warmstart_checkpoint::{ConvertOptions, FloatDType, Rule};
/// let options = ConvertOptions::new()
///     .rule(Rule::Separator { from: '.', to: '/' })
///     .rule(Rule::Transpose("**/weight".into()))
///     .floats(FloatDType::Bf16)
///     .max_shard_bytes(2 << 30);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConvertOptions {
    pub(super) rules: Vec<Rule>,
    pub(super) floats: Option<FloatDType>,
    pub(super) max_shard_bytes: u64,
    pub(super) keep_existing: bool,
    pub(super) allow_infinite: bool,
}

impl ConvertOptions {
    /// Everything as it is, in one file.
    pub fn new() -> ConvertOptions {
        ConvertOptions::default()
    }

    /// A rule about names, about which tensors take part, or [`Rule::Transpose`], which exchanges
    /// rows and columns of the matrices whose new names match. Globs match new names, if they come
    /// after the rules that rename.
    pub fn rule(mut self, rule: Rule) -> ConvertOptions {
        self.rules.push(rule);
        self
    }

    /// The dtype of all floats that [`FloatDType`] speaks of.
    pub fn floats(mut self, floats: FloatDType) -> ConvertOptions {
        self.floats = Some(floats);
        self
    }

    /// Writes several files, `model-00001-of-00003.safetensors` and so on, if the tensors have more
    /// bytes than this: each file as many tensors as have at most so many together, or one that has
    /// more alone. 0 takes it back. More than 256 files are refused.
    pub fn max_shard_bytes(mut self, bytes: u64) -> ConvertOptions {
        self.max_shard_bytes = bytes;
        self
    }

    /// Lets numbers that the new dtype does not reach become infinite, and counts them
    /// ([`Converted::overflowed`]).
    pub fn allow_infinite(mut self) -> ConvertOptions {
        self.allow_infinite = true;
        self
    }

    /// Refuses to replace or remove a file.
    pub fn keep_existing(mut self) -> ConvertOptions {
        self.keep_existing = true;
        self
    }
}

/// Elements of a tensor that the new dtype does not reach: they were finite and became infinities, or
/// were not zero and became zeros.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OutOfRange {
    /// The tensor, as it is called now.
    pub tensor: String,
    /// How many elements of it.
    pub elements: u64,
    /// Where the first is, in the shape that was written: an index for each dimension.
    pub first: Vec<usize>,
    /// What the first was.
    pub value: f64,
}

/// What [`Checkpoint::convert`](crate::Checkpoint::convert) wrote.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Converted {
    /// The files that hold the tensors.
    pub files: Vec<PathBuf>,
    /// What names them, if there are several.
    pub index: Option<PathBuf>,
    /// Files of an earlier checkpoint in several files of the same name that are not of this one:
    /// nobody needs them any more.
    pub left_behind: Vec<PathBuf>,
    /// What a folder would have been opened by in place of what was written, and was removed: the
    /// single file of the name where several were written, or the index of several where one was.
    pub removed: Vec<PathBuf>,
    /// Tensors that were written.
    pub tensors: usize,
    /// Bytes they have.
    pub bytes: u64,
    /// How many of them were cast.
    pub cast: usize,
    /// Elements that were finite and became infinities, since the new dtype ends before them and that was
    /// allowed.
    pub overflowed: u64,
    /// The tensors that these elements are in.
    pub overflows: Vec<OutOfRange>,
    /// Elements that were not zero and became zeros, since they are nearer to zero than to the smallest
    /// number of the new dtype.
    pub underflowed: u64,
    /// The tensors that these elements are in.
    pub underflows: Vec<OutOfRange>,
    /// How many of them were transposed.
    pub transposed: usize,
    /// Tensors that rules left out.
    pub left_out: usize,
    /// Whether graph, optimizer and description of the variables were left out, since they no
    /// longer say what the file holds.
    pub description_left_out: bool,
}
