//! Names apart: their parts, how like two parts are, and what would have to be renamed to make one
//! name of another.

pub(super) use crate::restore::rules::without_output as bare;
use crate::restore::rules::{Rule, SEPARATORS};
use std::ops::Range;

/// Names with more parts or longer ones than this are not compared: comparing takes the product.
const MOST_PARTS: usize = 24;
const LONGEST: usize = 512;

/// Words that frameworks and libraries use for one thing: weights, the parameters of a normalization, and
/// the parts of transformers. Those of the first [`APART`] lines are never each other, however like.
const SYNONYMS: [&[&str]; 23] = [
    &["weight", "kernel", "gamma", "scale", "w", "g", "weights", "embedding", "embeddings"],
    &["bias", "beta", "b", "biases", "offset"],
    &["running_mean", "moving_mean", "mean"],
    &["running_var", "moving_variance", "var", "variance"],
    &["q", "wq", "query", "q_proj", "q_lin", "to_q", "query_proj", "attn_q"],
    &["k", "wk", "key", "k_proj", "k_lin", "to_k", "key_proj", "attn_k"],
    &["v", "wv", "value", "v_proj", "v_lin", "to_v", "value_proj", "attn_v"],
    &["o", "wo", "o_proj", "out_proj", "out_lin", "to_out", "c_proj", "attn_output"],
    &["w1", "gate_proj", "gate", "ffn_gate"],
    &["w2", "down_proj", "down", "ffn_down"],
    &["w3", "up_proj", "up", "ffn_up"],
    &[
        "attention_norm",
        "input_layernorm",
        "layernorm_before",
        "ln_1",
        "norm1",
        "attn_norm",
        "ln1",
        "sa_layer_norm",
        "self_attn_layer_norm",
        "attn_ln",
        "ln_attn",
    ],
    &[
        "ffn_norm",
        "post_attention_layernorm",
        "layernorm_after",
        "ln_2",
        "norm2",
        "ln2",
        "output_layer_norm",
        "final_layer_norm",
        "mlp_ln",
        "ln_mlp",
    ],
    &["norm2", "encoder_attn_layer_norm", "cross_attn_ln"],
    &["norm3", "final_layer_norm", "mlp_ln"],
    &["encoder"],
    &["decoder"],
    &["tok_embeddings", "embed_tokens", "wte", "word_embeddings", "token_embedding", "token_embd"],
    &["wpe", "embed_positions", "position_embeddings", "position_embedding", "position_embd"],
    &["lm_head", "output", "decoder"],
    &["ln_f", "final_layer_norm", "norm", "output_norm", "final_norm"],
    &["ln", "layer_norm", "layernorm"],
    &["layers", "layer", "h", "blocks", "block", "blk"],
];

/// How many lines of words never stand for each other: `q_proj` is not `v_proj`.
const APART: usize = 17;

/// By how much of a part names must be more alike to be clearly meant, or to speak against another.
pub(super) const CLEARLY: f64 = 0.3;

/// Names less alike than this are unlike.
pub(super) const ALIKE: f64 = 0.6;

/// A name and where its parts lie.
#[derive(Debug)]
pub(super) struct Name {
    pub text: String,
    parts: Vec<(usize, usize)>,
    /// Hashes of what the name has in common with names like it, in ascending order.
    pub features: Vec<u64>,
}

impl Name {
    pub fn new(text: String) -> Name {
        let mut parts = Vec::new();
        let mut begin = 0;
        if text.len() <= LONGEST {
            for (at, c) in text.char_indices().filter(|(_, c)| SEPARATORS.contains(c)) {
                parts.push((begin, at));
                begin = at + c.len_utf8();
            }
            parts.push((begin, text.len()));
        }
        if parts.len() > MOST_PARTS {
            parts.clear();
        }
        let mut name = Name { text, parts, features: Vec::new() };
        name.features = name.hashes();
        name
    }

    /// Whether it is short enough to be compared.
    pub fn comparable(&self) -> bool {
        !self.parts.is_empty()
    }

    pub fn len(&self) -> usize {
        self.parts.len()
    }

    pub fn part(&self, index: usize) -> &str {
        let (begin, end) = self.parts[index];
        &self.text[begin..end]
    }

    /// The first parts, without the separator after them.
    fn head(&self, count: usize) -> &str {
        if count == 0 { "" } else { &self.text[..self.parts[count - 1].1] }
    }

    /// The first parts with the separator after them.
    fn prefix(&self, count: usize) -> &str {
        if count >= self.len() { &self.text } else { &self.text[..self.parts[count].0] }
    }

    /// Beginnings, ends and parts, hashed: what names that are alike have in common.
    fn hashes(&self) -> Vec<u64> {
        let (text, bytes) = (bare(&self.text).len(), self.text.as_bytes());
        let mut hashes = Vec::with_capacity(3 * self.len());
        let mut from_begin = fnv(FNV, b"beginning");
        let mut from_end = fnv(FNV, b"end");
        let mut at = 0;
        for &(begin, end) in &self.parts {
            hashes.push(fnv(FNV, &bytes[begin..end.min(text)]));
            from_begin = fnv(from_begin, &bytes[at..end]);
            hashes.push(from_begin);
            at = end;
        }
        let mut at = text;
        for &(begin, _) in self.parts.iter().rev() {
            for byte in bytes[begin..at].iter().rev() {
                from_end = fnv(from_end, std::slice::from_ref(byte));
            }
            hashes.push(from_end);
            at = begin;
        }
        hashes.sort_unstable();
        hashes
    }

    /// How many features the two share.
    pub fn shared(&self, other: &Name) -> usize {
        let (mut a, mut b) = (self.features.iter().peekable(), other.features.iter().peekable());
        let mut shared = 0;
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            let (x, y) = (**x, **y);
            shared += usize::from(x == y);
            if x <= y {
                a.next();
            }
            if y <= x {
                b.next();
            }
        }
        shared
    }
}

/// The start of a hash.
const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: names are hashed often, and nothing but a worse suggestion comes of a collision.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The numbers in a text.
pub(super) fn digits(text: &str) -> Vec<&str> {
    bare(text).split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).collect()
}

/// How like two parts of names are: from 0 to 1.
pub(super) fn likeness(a: &str, b: &str) -> f64 {
    let (a, b) = (bare(a), bare(b));
    if a == b {
        return 1.0;
    }
    // What is left of a number abbreviates nothing, and a number is no word that ends with it.
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if a.is_empty() || b.is_empty() || is_number(a) != is_number(b) {
        return 0.0;
    }
    if SYNONYMS.iter().any(|words| words.contains(&a) && words.contains(&b)) {
        return 0.9;
    }
    let apart = |word: &str| SYNONYMS[..APART].iter().any(|words| words.contains(&word));
    if apart(a) && apart(b) {
        return 0.0;
    }
    if a.len().max(b.len()) > 64 {
        return 0.0;
    }
    let distance = strsim::normalized_levenshtein(a, b);
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    if short.len() >= 4 && long.contains(short) {
        distance.max(0.8)
    } else if long.starts_with(short) {
        // An abbreviation: `q` of `query`, `enc` of `encoder`.
        distance.max(0.65)
    } else if abbreviates(short, long) {
        distance.max(0.6)
    } else if short.len() < 3 && short.chars().next() != long.chars().next() {
        // Half of `fc` is `c`, and it says nothing.
        distance.min(0.4)
    } else {
        distance
    }
}

/// Whether one is the other with letters left out: `fw` of `forward`, `attn` of `attention`.
fn abbreviates(short: &str, long: &str) -> bool {
    let mut letters = long.chars();
    short.len() >= 2
        && short.chars().next() == long.chars().next()
        && short.chars().all(|letter| letters.any(|other| other == letter))
}

/// One step from a name to another.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Same,
    Other,
    Gone,
    New,
}

/// How the parts of one name become those of another, at least cost: parts stay, change into ones
/// as like as can be, go, or come.
fn align(from: &Name, to: &Name) -> (f64, Vec<Step>) {
    let (rows, columns) = (from.len() + 1, to.len() + 1);
    let mut best = vec![(0.0_f64, Step::Same); rows * columns];
    // At the beginning, whole scopes come and go.
    let gap = |at_edge: bool| if at_edge { 0.7 } else { 0.95 };
    for i in 0..rows {
        for j in 0..columns {
            if i == 0 && j == 0 {
                continue;
            }
            let mut here = (f64::INFINITY, Step::Same);
            let mut offer = |cost: f64, step| {
                if cost < here.0 {
                    here = (cost, step);
                }
            };
            if i > 0 && j > 0 {
                let like = likeness(from.part(i - 1), to.part(j - 1));
                let step = if like == 1.0 { Step::Same } else { Step::Other };
                let cost = if like == 1.0 { 0.0 } else { 1.1 - 0.6 * like };
                offer(best[(i - 1) * columns + j - 1].0 + cost, step);
            }
            if i > 0 {
                offer(best[(i - 1) * columns + j].0 + gap(j == 0), Step::Gone);
            }
            if j > 0 {
                offer(best[i * columns + j - 1].0 + gap(i == 0), Step::New);
            }
            best[i * columns + j] = here;
        }
    }
    let (mut i, mut j) = (rows - 1, columns - 1);
    let cost = best[i * columns + j].0;
    let mut steps = Vec::with_capacity(i.max(j));
    while i > 0 || j > 0 {
        let step = best[i * columns + j].1;
        steps.push(step);
        i -= usize::from(step != Step::New);
        j -= usize::from(step != Step::Gone);
    }
    steps.reverse();
    (cost, steps)
}

/// How like two names are, part by part: from 0 to 1.
pub(super) fn name_likeness(from: &Name, to: &Name) -> f64 {
    parts_alike(from, to) / from.len().max(to.len()).max(1) as f64
}

/// How many parts two names have in common; parts that are like count as less than one.
pub(super) fn parts_alike(from: &Name, to: &Name) -> f64 {
    let (mut i, mut j, mut like) = (0, 0, 0.0);
    for step in align(from, to).1 {
        if matches!(step, Step::Same | Step::Other) {
            // Words that are not alike have letters in common by accident.
            like += Some(likeness(from.part(i), to.part(j))).filter(|l| *l >= 0.5).unwrap_or(0.0);
        }
        i += usize::from(step != Step::New);
        j += usize::from(step != Step::Gone);
    }
    like
}

/// How many parts two names have in common, in the same order.
pub(super) fn parts_same(from: &Name, to: &Name) -> usize {
    align(from, to).1.iter().filter(|step| **step == Step::Same).count()
}

/// Rules that take a step from one name towards another, and how far the names are apart.
pub(super) fn edits(from: &Name, to: &Name) -> (f64, Vec<Rule>) {
    let (cost, steps) = align(from, to);
    let mut rules: Vec<Rule> = Vec::new();
    if steps.last() == Some(&Step::Other) {
        ending(&mut rules, from.part(from.len() - 1), to.part(to.len() - 1));
    }
    if from.len() == 1 && to.len() == 1 {
        // Nothing but one name for another, which is the last resort.
        return (cost, rules);
    }
    let (mut i, mut j) = (0, 0);
    let mut at = 0;
    while at < steps.len() {
        if steps[at] == Step::Same {
            (i, j, at) = (i + 1, j + 1, at + 1);
            continue;
        }
        // Neighbouring changes are one block, of parts `i..next_i` and `j..next_j`.
        let (mut next_i, mut next_j) = (i, j);
        while at < steps.len() && steps[at] != Step::Same {
            if steps[at] == Step::Other {
                component(&mut rules, from.part(next_i), to.part(next_j));
            }
            next_i += usize::from(steps[at] != Step::New);
            next_j += usize::from(steps[at] != Step::Gone);
            at += 1;
            let at_end = next_i == from.len() && next_j == to.len();
            if at_end && next_i == i + 1 && next_j > j + 1 {
                // `Adam_1` to `adam/v`, behind any name.
                component(&mut rules, from.part(i), &to.text[to.parts[j].0..]);
            }
            scope(&mut rules, from, next_i, to, next_j);
            if next_j == j && i > 0 && next_i < from.len() {
                gone(&mut rules, &from.text[from.parts[i].0..from.prefix(next_i).len()]);
            }
            pattern(&mut rules, from, i..next_i, to, j..next_j);
        }
        // The same only below what stands before it.
        if i > 0 && j > 0 && next_i > i && next_j > j {
            pattern(&mut rules, from, i - 1..next_i, to, j - 1..next_j);
        }
        (i, j) = (next_i, next_j);
    }
    (cost, rules)
}

fn push(rules: &mut Vec<Rule>, rule: Rule) {
    if !rules.contains(&rule) {
        rules.push(rule);
    }
}

fn component(rules: &mut Vec<Rule>, from: &str, to: &str) {
    if !from.is_empty() && !to.is_empty() {
        push(rules, Rule::RenameComponent { from: from.to_owned(), to: to.to_owned() });
    }
}

/// What names end with goes, or becomes something else, whatever stands before it: `:x` of
/// `fc1/weight:x`. It does not begin within a word, and where words are joined, the word is another.
fn ending(rules: &mut Vec<Rule>, from: &str, to: &str) {
    let common = from.char_indices().zip(to.chars()).find(|((_, a), b)| a != b);
    let common = common.map_or(from.len().min(to.len()), |((at, _), _)| at);
    let joins = |c: char| c.is_alphanumeric() || "_-".contains(c);
    let cut = |at: usize| from[at..].starts_with(joins) || to[at..].starts_with(joins);
    // `@v1` and `@v2` have more in common than the word before them.
    let begin = if cut(common) { from[..common].rfind(|c| !joins(c)) } else { Some(common) };
    let Some(begin) = begin.filter(|&begin| begin > 0) else { return };
    let (old, new) = (&from[begin..], &to[begin..]);
    if !old.is_empty() {
        let pattern = format!("{}$", regex::escape(old));
        push(rules, Rule::RenameRegex { pattern, replacement: new.replace('$', "$$") });
    }
}

/// The first parts of one name become those of another; something must come after them.
fn scope(rules: &mut Vec<Rule>, from: &Name, i: usize, to: &Name, j: usize) {
    if i >= from.len() || j >= to.len() || from.head(i) == to.head(j) {
        return;
    }
    push(
        rules,
        match (i, j) {
            (_, 0) => Rule::StripPrefix(from.prefix(i).to_owned()),
            (0, _) => Rule::AddPrefix(to.prefix(j).to_owned()),
            _ => Rule::RenameScope { from: from.head(i).to_owned(), to: to.head(j).to_owned() },
        },
    );
}

/// Parts within a name go, wherever they stand: `base_layer.` of `q_proj.base_layer.weight`.
fn gone(rules: &mut Vec<Rule>, parts: &str) {
    if digits(parts).is_empty() && parts.starts_with(|c: char| c.is_alphanumeric()) {
        let pattern = format!(r"\b{}", regex::escape(parts));
        push(rules, Rule::RenameRegex { pattern, replacement: String::new() });
    }
}

/// The same change for every number: `layers/0/` to `layer_0/`, `layers/1/` to `layer_1/`. Without
/// numbers, a change only of parts that stand next to one another: `norm/weight` to `norm/gamma`.
fn pattern(rules: &mut Vec<Rule>, from: &Name, i: Range<usize>, to: &Name, j: Range<usize>) {
    let at_end = i.end == from.len();
    let whole = at_end && i.start == 0;
    if i.is_empty() || j.is_empty() || at_end != (j.end == to.len()) {
        return;
    }
    let old = &from.text[from.parts[i.start].0..from.prefix(i.end).len()];
    let new = &to.text[to.parts[j.start].0..to.prefix(j.end).len()];
    let numbers = digits(old);
    let short = i.len().min(j.len()) < 2;
    if numbers != digits(new) || (numbers.is_empty() && (short || whole)) {
        return;
    }
    let mut pattern = String::from(if whole { "^" } else { "" });
    for (run, number) in runs(old) {
        if number { pattern.push_str(NUMBER) } else { pattern.push_str(&regex::escape(run)) }
    }
    if at_end {
        pattern.push('$');
    }
    let mut replacement = String::new();
    let mut captures = 0;
    for (run, number) in runs(new) {
        if number {
            captures += 1;
            replacement.push_str(&format!("${{{captures}}}"));
        } else {
            replacement.push_str(&run.replace('$', "$$"));
        }
    }
    push(rules, Rule::RenameRegex { pattern, replacement });
}

/// How a pattern says that any number may stand there.
pub(super) const NUMBER: &str = r"(\d+)";

/// A text apart: runs of digits, and runs of anything else.
pub(super) fn runs(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let digit = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        Some((run, digit))
    })
}
