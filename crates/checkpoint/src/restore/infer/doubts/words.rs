//! The words that names are made of: `self`, `attn`, `layer` and `norm` of `self_attn_layer_norm`. Of two
//! pairs of names, those in which they differ say which is which: `attn_ln` and `mlp_ln` beside
//! `self_attn_layer_norm` and `final_layer_norm`.

use crate::restore::infer::names::{ALIKE, bare, likeness};
use crate::restore::rules::SEPARATORS;
use std::collections::BTreeSet;

/// What stands before such a word is another thing: `post_attention_layernorm` is no norm of the attention.
const BEFORE: [&str; 2] = ["post", "pre"];

/// Of synonyms, one may have a single letter.
const SYNONYMS: f64 = 0.9;

/// The words of a pair's names.
pub(super) struct Words {
    tensor: BTreeSet<String>,
    variable: BTreeSet<String>,
}

impl Words {
    pub fn of(tensor: &str, variable: &str) -> Words {
        Words { tensor: words(tensor), variable: words(variable) }
    }

    /// How many words more speak for exchanging two pairs than for leaving them as they are; fewer than none
    /// where more speak for leaving them.
    pub fn for_exchanging(&self, other: &Words) -> isize {
        let own = |a: &BTreeSet<String>, b: &BTreeSet<String>| -> Vec<String> {
            a.difference(b).cloned().collect()
        };
        let tensors = [own(&self.tensor, &other.tensor), own(&other.tensor, &self.tensor)];
        let variables =
            [own(&self.variable, &other.variable), own(&other.variable, &self.variable)];
        let common = |t: usize, v: usize| in_common(&tensors[t], &variables[v]);
        common(0, 1) + common(1, 0) - common(0, 0) - common(1, 1)
    }
}

fn in_common(some: &[String], others: &[String]) -> isize {
    let found = |some: &[String], others: &[String]| {
        some.iter().filter(|word| others.iter().any(|other| same(word, other))).count()
    };
    found(some, others).min(found(others, some)) as isize
}

/// Whether two words are one, or one stands for the other.
fn same(a: &str, b: &str) -> bool {
    a == b || likeness(a, b) >= if a.len().min(b.len()) > 1 { ALIKE } else { SYNONYMS }
}

/// The words of a name without its numbers, which count otherwise elsewhere.
fn words(name: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for part in bare(name).split(SEPARATORS) {
        let mut before = String::new();
        for word in in_order(part) {
            match BEFORE.contains(&word.as_str()) {
                true => before = word,
                false => drop(words.insert(std::mem::take(&mut before) + &word)),
            }
        }
        // `ln_post` is what `post_layernorm` is.
        words.extend(Some(before).filter(|before| !before.is_empty()));
    }
    words
}

/// The words of one part in their order, in small letters: they begin with a capital, or behind what is no letter.
pub(super) fn in_order(part: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = ' ';
    for c in part.chars() {
        let begins = !last.is_alphabetic() || (last.is_lowercase() && c.is_uppercase());
        if c.is_alphabetic() {
            match words.last_mut().filter(|_| !begins) {
                Some(word) => word.extend(c.to_lowercase()),
                None => words.push(c.to_lowercase().collect()),
            }
        }
        last = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchanging(one: [&str; 2], other: [&str; 2]) -> isize {
        let of = |[tensor, variable]: [&str; 2]| Words::of(tensor, variable);
        of(one).for_exchanging(&of(other))
    }

    #[test]
    fn words_in_which_names_differ_say_which_is_which() {
        let [attention, last] = ["x.0.self_attn_layer_norm.weight", "x.0.final_layer_norm.weight"];
        let crossed = [["b.0.mlp_ln.weight", attention], ["b.0.attn_ln.weight", last]];
        assert_eq!(exchanging(crossed[0], crossed[1]), 1);
        let straight = [["b.0.attn_ln.weight", attention], ["b.0.mlp_ln.weight", last]];
        assert_eq!(exchanging(straight[0], straight[1]), -1);
        // Capitals begin words, and words may be shortened.
        let [a, b] = [["y.attention.LayerNorm", "final_norm"], ["y.LayerNorm", "SelfAttn_norm"]];
        assert_eq!(exchanging(a, b), 1);
        // What comes after a thing is not that thing, and numbers say nothing here.
        let [a, b] = [["input_layernorm", "ln_attn"], ["post_attention_layernorm", "ln_mlp"]];
        assert_eq!(exchanging(a, b), 0);
        assert_eq!(exchanging(["fc1", "dense"], ["fc2", "dense_1"]), 0);
    }
}
