//! Random numbers as a function of (seed, stream, step, element), and dropout on top of them.

use crate::random::Philox;
use crate::reference::Value;
use crate::{DType, Node, Op, Problem, Shape, Tensor};

pub(super) fn infer(shape: &Shape, step: &Node) -> Result<(Shape, DType), Problem> {
    if step.dtype != DType::U32 {
        return Err(Problem::DType { expected: "a u32 step".to_owned(), found: step.dtype });
    }
    if step.shape.rank() != 0 {
        let expected = "a scalar step".to_owned();
        return Err(Problem::Rank { expected, found: step.shape.clone() });
    }
    Ok((shape.clone(), DType::F32))
}

/// The upper 24 bits of each word, over 2²⁴: exactly representable, so equal in bits everywhere.
pub(super) fn evaluate(seed: u64, stream: &str, step: &Value, shape: &Shape) -> Vec<f64> {
    let philox = Philox::new(seed, stream);
    // Streams of initializers are at 0, so steps are counted from 1 here.
    let round = (step.elements[0] as u32).wrapping_add(1);
    (0..shape.elements() as u32)
        .map(|element| {
            let words = philox.block(element / 4, round);
            f64::from(words[element as usize % 4] >> 8) / f64::from(1 << 24)
        })
        .collect()
}

impl<'g> Tensor<'g> {
    /// Sets a share `rate` of the elements to 0 and scales the others by 1 / (1 − rate)
    /// (Srivastava et al. 2014, inverted), for training.
    ///
    /// The mask is a function of the graph's seed ([`crate::Graph::set_seed`]), `name`, the global
    /// step and the element's index: the same on every machine, and continued exactly when
    /// training is resumed. Two dropouts in a graph need two names. A rate of 0 is the tensor as it
    /// is: one function builds a model to train, and with that rate one to use.
    #[track_caller]
    #[must_use]
    pub fn dropout(self, name: &str, rate: f32) -> Tensor<'g> {
        let graph = self.graph();
        if !(0.0..1.0).contains(&rate) {
            return graph.refuse(
                "dropout",
                &self.scope(),
                Problem::Range {
                    what: "the rate of dropout".to_owned(),
                    value: rate.into(),
                    range: "at least 0 and below 1".to_owned(),
                },
            );
        }
        if rate == 0.0 {
            return self;
        }
        let stream = format!("dropout/{name}");
        let taken = graph.with_def(|def| {
            def.nodes.iter().find_map(|node| match &node.op {
                Op::RandomUniform { stream: other, .. } if *other == stream => {
                    Some(node.location.clone())
                }
                _ => None,
            })
        });
        if let Some(first) = taken {
            let (name, kind) = (name.to_owned(), "dropout".to_owned());
            let problem = Problem::DuplicateName { name, kind, first };
            return graph.refuse("dropout", &self.scope(), problem);
        }
        let op = Op::RandomUniform { seed: graph.seed(), stream, shape: self.shape() };
        let uniform = graph.global_step().apply(op, &[]);
        let dropped = uniform.number(rate).greater(uniform);
        self * ((1.0 - dropped) * (1.0 / (1.0 - rate)))
    }
}

#[cfg(test)]
mod tests {
    use crate::{DType, Graph};

    #[test]
    fn a_dropout_of_nothing_adds_nothing() {
        let graph = Graph::new();
        let x = graph.placeholder("x", [3], DType::F32);
        let same = x.dropout("hidden", 0.0);
        assert_eq!(same.id(), x.id());
        // Nor does it take the name.
        assert_ne!(same.dropout("hidden", 0.5).id(), x.id());
        assert!(graph.finish().is_ok());
    }
}
