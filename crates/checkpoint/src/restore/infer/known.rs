//! What libraries are known to store otherwise though names and shapes agree. Nothing in a file
//! shows it, so a suggestion that pairs such names says it.
//!
//! Gates of recurrent cells, LLaMA's rows of queries and keys, queries by head, factors of
//! normalized weights and of adapters, codes of a quantization: a note wherever it could matter.

use super::doubts::pattern;
use super::names::bare;
use super::told::{SO_IT_IS, Told, together};
use super::trial::{Trial, Trials};
use crate::restore::rules::SEPARATORS;
use crate::tensor::FileDType;
use std::collections::HashSet;
use warmstart_graph::DType;

/// The notes for what a trial pairs, each told once, for the first pair that it is about. It names the others,
/// but for those that only numbers tell apart.
pub(super) fn notes(trials: &Trials<'_>, trial: &Trial) -> Vec<String> {
    let pairs = || {
        let names = |(&variable, &tensor): (&usize, &usize)| {
            let (variable, tensor) =
                (trials.asked.variables[variable], &trials.asked.tensors[tensor]);
            (tensor.name.as_str(), variable.name.as_str(), &variable.shape[..])
        };
        trial.pairs.iter().map(names)
    };
    let all = |is: &dyn Fn(&str, &str) -> bool, said: &dyn Fn(&str, &str) -> String| {
        let mut patterns = HashSet::new();
        let pairs = pairs().filter(|(from, to, _)| is(from, to) && patterns.insert(pattern(to)));
        together(pairs.map(|(from, to, _)| Told::of(to, said(from, to))), SO_IT_IS)
    };
    let differ =
        |words: &'static [&str]| move |from: &str, to: &str| has(from, words) != has(to, words);
    let are_gates = |from: &str, to: &str| {
        let (from, to) = (recurrent(from), recurrent(to));
        from != to && (from.is_some() || to.is_some())
    };
    let gates = all(&are_gates, &|from, to| {
        format!(
            "`{from}` is taken for `{to}`, but libraries have the gates of recurrent cells in another \
             order (GRU: PyTorch resets first, Keras updates; LSTM: TensorFlow 1 has the new input before \
             the forget gate, Keras and PyTorch after it), and PyTorch has two biases where others have \
             their sum: nothing here shows which it is"
        )
    });
    let are_rotated = |from: &str, to: &str| {
        let meta: &[&str] = &["wq", "wk", "attn_q", "attn_k"];
        let other: &[&str] = &["q_proj", "k_proj"];
        (has(from, meta) && has(to, other)) || (has(from, other) && has(to, meta))
    };
    let rotary = all(&are_rotated, &|from, to| {
        format!(
            "`{from}` is taken for `{to}`, but of LLaMA, Hugging Face stores the rows of queries and keys in \
             another order than Meta and llama.cpp, for its rotary embedding: unless both are of one kind, \
             convert them with the script of whoever wrote the file first"
        )
    });
    let heads = all(&differ(FUSED_BY_HEAD), &|from, to| {
        format!(
            "`{from}` is taken for `{to}`, but `query_key_value` usually has query, key and value of one \
             head after those of another, where others have all queries first: nothing here shows it"
        )
    });
    let kernel = pairs().find(|(from, to, shape)| {
        let alike =
            shape.len() > 2 && shape[0] > 1 && shape.iter().all(|extent| *extent == shape[0]);
        alike && end(from) != end(to)
    });
    let kernel = kernel.map(|(_, to, _)| {
        format!(
            "`{to}` has equal extents only: its shape cannot tell in which order its dimensions lie \
             (PyTorch's kernels have out and in first, TensorFlow's in and out last); it is left as it is"
        )
    });
    let factors = all(&differ(FACTORS), &|from, to| {
        format!(
            "`{from}` is taken for `{to}`, but one of them is by its name a factor of a weight that is \
             computed from several (PyTorch's weight or spectral normalization): remove that from the model \
             before it is saved"
        )
    });
    let adapters = all(&|from, to| is_adapter(from) != is_adapter(to), &|from, to| {
        format!(
            "`{from}` is taken for `{to}`, but one of them is by its name a factor of what an adapter (LoRA) \
             adds to a weight, and no weight: merge adapters into their model before it is saved"
        )
    });
    let prompts = all(&differ(PROMPTS), &|from, to| {
        format!(
            "`{from}` is taken for `{to}`, but one of them is by its name the prompt that was learned for a \
             model, and no part of the model"
        )
    });
    let averages = pairs().find(|(from, to, _)| has(from, AVERAGES) && !has(to, AVERAGES));
    let averages = averages.map(|(from, to, _)| {
        format!(
            "`{from}` is taken for `{to}`, but it is by its name the average of a weight over the steps of a \
             training, not the weight itself"
        )
    });
    let scales = all(&differ(SCALES), &|from, to| {
        format!(
            "`{from}` is taken for `{to}`, but one of them is by its name of a quantization, and no weight"
        )
    });
    let codes = trial.pairs.iter().find_map(|(&variable, &tensor)| {
        let (variable, tensor) = (trials.asked.variables[variable], &trials.asked.tensors[tensor]);
        let whole = matches!(tensor.dtype, FileDType::I8 | FileDType::U8 | FileDType::I32);
        (whole && variable.dtype == DType::F32 && variable.shape.rank() > 1).then(|| {
            format!(
                "`{}` holds whole numbers ({}): if they are a quantization, casting makes no weights of \
                 them, since their scales are kept apart",
                tensor.name, tensor.dtype
            )
        })
    });
    let notes = [gates, rotary, heads, kernel, factors, adapters, prompts, averages, scales, codes];
    notes.into_iter().flatten().collect()
}

/// What PyTorch keeps in place of a weight that is normalized.
const FACTORS: &[&str] = &["original0", "original1", "weight_g", "weight_orig", "weight_v"];

/// What is learned in place of a prompt, beside a model that stays as it is.
const PROMPTS: &[&str] = &["prompt_embeddings", "prompt_encoder", "soft_prompt"];

/// What averages of weights are kept under.
const AVERAGES: &[&str] =
    &["ExponentialMovingAverage", "average", "ema", "ema_model", "shadow", "shadow_params"];

/// Whether one of a name's parts is called as the factors of adapters are: `lora_A`, `lora_down`, `lora`.
pub(crate) fn is_adapter(name: &str) -> bool {
    name.split(SEPARATORS).any(|part| part == "lora" || part.starts_with("lora_"))
}

/// What goes with quantized weights.
const SCALES: &[&str] =
    &["absmax", "qzeros", "scales", "weight_scale", "zero_point", "zero_points"];

const FUSED_BY_HEAD: &[&str] = &["query_key_value"];

/// Whether one of a name's parts is one of these.
fn has(name: &str, words: &[&str]) -> bool {
    name.split(SEPARATORS).any(|part| words.contains(&part))
}

fn end(name: &str) -> Option<&str> {
    bare(name).rsplit(SEPARATORS).next()
}

/// By whom a value of a recurrent cell is called so.
fn recurrent(name: &str) -> Option<&'static str> {
    const PYTORCH: [&str; 4] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
    let mut parts = name.split(SEPARATORS).map(bare);
    parts.find_map(|part| match part {
        "recurrent_kernel" => Some("Keras"),
        "basic_lstm_cell" => Some("TensorFlow 1"),
        _ if PYTORCH.iter().any(|word| part.starts_with(word)) => Some("PyTorch"),
        _ => None,
    })
}
