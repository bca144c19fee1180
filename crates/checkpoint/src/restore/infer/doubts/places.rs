//! Where in a layer a norm stands: before the attention, behind it, before what comes after, behind that. Of two
//! norms of one layer, that says which is which: `norm1` and `norm2` beside `self_attn_layer_norm` and
//! `final_layer_norm`, `sa_layer_norm` and `output_layer_norm` beside `attention.output.LayerNorm` and
//! `output.LayerNorm`.

use super::groups::Pair;
use super::words::in_order;
use crate::restore::infer::names::bare;
use crate::restore::rules::SEPARATORS;
use std::cmp::Ordering;

/// What attention is called, and attention to something else.
const ATTENTION: [&str; 4] = ["attention", "attn", "sa", "self"];
const CROSS: [&str; 3] = ["cross", "crossattention", "encoder"];
/// What comes after the attention.
const AFTER: [&str; 6] = ["feedforward", "ff", "ffn", "ffw", "fc", "mlp"];

/// A place that a norm's name tells.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// By words, in their order.
    Words(u8),
    /// By a number.
    Number(u64),
    /// Not at all.
    Untold,
}

/// How many more speak for exchanging two pairs than for leaving them: 1 or -1 where names say in which order both
/// tensors and both variables stand in one layer, and 0 where they do not.
pub(super) fn for_exchanging(one: &Pair<'_>, other: &Pair<'_>) -> isize {
    of_names([one.tensor.name, one.variable.name], [other.tensor.name, other.variable.name])
}

/// The same of a tensor's and a variable's name each.
pub(super) fn of_names(one: [&str; 2], other: [&str; 2]) -> isize {
    match (order(one[0], other[0]), order(one[1], other[1])) {
        (Some(tensors), Some(variables)) if tensors == variables => -1,
        (Some(_), Some(_)) => 1,
        _ => 0,
    }
}

/// In which order two norms of one layer stand.
fn order(one: &str, other: &str) -> Option<Ordering> {
    let split = |name| -> Vec<&str> { bare(name).split(SEPARATORS).collect() };
    let (one, other) = (split(one), split(other));
    let common = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let is_numbered = |part: &&str| part.ends_with(|c: char| c.is_ascii_digit());
    let in_one_layer = one[..common].iter().any(is_numbered);
    if !in_one_layer || common >= one.len().min(other.len()) || one.last() != other.last() {
        return None;
    }
    let order = match (place(&one[common..])?, place(&other[common..])?) {
        (Place::Words(one), Place::Words(other)) => one.cmp(&other),
        (Place::Number(one), Place::Number(other)) => one.cmp(&other),
        // Beside the norm of the attention, the other one is that of the layer.
        (Place::Words(0), Place::Untold) => Ordering::Less,
        (Place::Untold, Place::Words(0)) => Ordering::Greater,
        _ => return None,
    };
    Some(order).filter(|order| order.is_ne())
}

/// Where a norm stands, by the parts of its name within the layer.
fn place(parts: &[&str]) -> Option<Place> {
    let words: Vec<String> = parts.iter().flat_map(|part| in_order(part)).collect();
    let has = |all: &[&str]| words.iter().any(|word| all.contains(&word.as_str()));
    if !words.iter().any(|word| word == "ln" || word.ends_with("norm")) {
        return None;
    }
    let behind = u8::from(has(&["post"]));
    let number = || {
        let number = parts.iter().find_map(|part| {
            let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
            part[word.len()..].parse().ok()
        });
        number.map_or(Place::Untold, Place::Number)
    };
    Some(if has(&CROSS) {
        Place::Words(2)
    } else if has(&ATTENTION) {
        Place::Words(behind)
    } else if has(&AFTER) {
        Place::Words(3 + behind)
    } else if has(&["before", "input", "pre"]) {
        Place::Words(0)
    } else if has(&["after", "final", "output"]) {
        Place::Words(3)
    } else {
        number()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_of_one_layer_stand_in_one_order() {
        for (first, second) in [
            ("h.0.ln_1.bias", "h.0.ln_2.bias"),
            ("block_3/norm1/w", "block_3/norm2/w"),
            ("l.0.self_attn_layer_norm.w", "l.0.final_layer_norm.w"),
            ("l.0.self_attn_layer_norm.w", "l.0.encoder_attn_layer_norm.w"),
            ("l.0.encoder_attn_layer_norm.w", "l.0.final_layer_norm.w"),
            ("l.0.attention.output.LayerNorm.w", "l.0.output.LayerNorm.w"),
            ("l.0.attention.LayerNorm.w", "l.0.LayerNorm.w"),
            ("l.0.sa_layer_norm.w", "l.0.output_layer_norm.w"),
            ("l.0.layernorm_before.w", "l.0.layernorm_after.w"),
            ("l.0.input_layernorm.w", "l.0.post_attention_layernorm.w"),
            ("l.0.post_attention_layernorm.w", "l.0.pre_feedforward_layernorm.w"),
            ("blk.0.ffn_norm.w", "blk.0.post_ffw_norm.w"),
            ("b.0.attn_ln.w", "b.0.mlp_ln.w"),
        ] {
            assert_eq!(order(first, second), Some(Ordering::Less), "{first} {second}");
            assert_eq!(order(second, first), Some(Ordering::Greater), "{first} {second}");
        }
        for (one, other) in [
            // Other layers, no layer, other ends, no norms, and one word beside a number.
            ("h.0.ln_1.bias", "h.1.ln_2.bias"),
            ("ln_1.bias", "ln_2.bias"),
            ("h.0.ln_1.bias", "h.0.ln_2.weight"),
            ("h.0.attn.bias", "h.0.mlp.bias"),
            ("h.0.ln_1.bias", "h.0.mlp_ln.bias"),
            ("h.0.attn.q_norm.w", "h.0.attn.k_norm.w"),
            ("h.0.norm.w", "h.0.mlp_norm.w"),
        ] {
            assert_eq!(order(one, other), None, "{one} {other}");
        }
    }
}
