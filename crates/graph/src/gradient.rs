//! Gradients, graph to graph: what comes out is more nodes of the same graph, so everything after
//! (fusion, memory planning, printing) sees one graph.

use crate::ops::rounded_addends;
use crate::recompute::Recomputed;
use crate::{DType, GraphDef, NodeId, Op, Problem, Tensor};
use std::collections::HashMap;

/// The gradients of a scalar with respect to tensors, by reverse accumulation. `None` where the
/// loss does not depend on one. Values within [`Scope::recompute`](crate::Scope::recompute) are read
/// as copies that are computed again.
///
/// Mistakes are recorded in the graph, like all others: a loss that is not a scalar, an operation
/// without a gradient.
///
/// ```
/// use warmstart_graph::{DType, Graph, gradients};
/// let graph = Graph::new();
/// let x = graph.placeholder("x", [3], DType::F32);
/// let loss = x.square().sum_all();
/// let dx = gradients(loss, &[x])[0].unwrap();
/// assert_eq!(dx.shape().to_string(), "[3]");
/// ```
#[track_caller]
pub fn gradients<'g>(loss: Tensor<'g>, with_respect_to: &[Tensor<'g>]) -> Vec<Option<Tensor<'g>>> {
    let graph = loss.graph();
    let problem = if loss.is_invalid() {
        return vec![None; with_respect_to.len()];
    } else if with_respect_to.iter().any(|tensor| !std::ptr::eq(graph, tensor.graph())) {
        Some(Problem::ForeignTensor)
    } else if loss.shape().rank() != 0 {
        Some(Problem::LossNotScalar { shape: loss.shape() })
    } else if loss.dtype() != DType::F32 {
        Some(Problem::DType { expected: "a loss of f32".to_owned(), found: loss.dtype() })
    } else {
        None
    };
    if let Some(problem) = problem {
        graph.record("gradients", &loss.scope(), problem);
        return vec![None; with_respect_to.len()];
    }
    // A variable may be read by several nodes; they are one value.
    let readers = graph.with_def(first_readers);
    let key = |tensor: Tensor<'g>| readers.get(&tensor.id()).copied().unwrap_or(tensor.id());
    let mut wanted: HashMap<NodeId, Option<Tensor<'g>>> =
        with_respect_to.iter().map(|&tensor| (key(tensor), None)).collect();

    // Only nodes between the loss and what is asked for need a gradient.
    let last = loss.id().0;
    let mut depends = vec![false; last + 1];
    graph.with_def(|def| {
        for (at, node) in def.nodes[..=last].iter().enumerate() {
            depends[at] = wanted.contains_key(&key(Tensor::new(graph, NodeId(at))))
                || node.inputs.iter().any(|input| depends[input.0]);
        }
    });

    let mut recomputed = Recomputed::new(loss);
    let mut accumulated: HashMap<NodeId, Tensor<'g>> = HashMap::new();
    accumulated.insert(loss.id(), graph.on_behalf_of(loss.id(), || loss.number(1.0)));
    for at in (0..=last).rev() {
        let id = NodeId(at);
        let Some(gradient) = accumulated.remove(&id).filter(|_| depends[at]) else { continue };
        let output = Tensor::new(graph, id);
        if let Some(sum) = wanted.get_mut(&key(output)) {
            let total = |sum: Tensor<'g>| graph.on_behalf_of(id, || sum + gradient);
            *sum = Some(sum.map_or(gradient, total));
        }
        let (op, inputs) = graph.with(id, |node| (node.op.clone(), node.inputs.clone()));
        if !inputs.iter().any(|input| depends[input.0]) {
            continue;
        }
        recomputed.enter(id, gradient);
        let output = recomputed.value(id, output, gradient);
        let mut value = |id_of| recomputed.value(id, Tensor::new(graph, id_of), gradient);
        let tensors = inputs.iter().map(|&input| value(input));
        let tensors: Vec<_> = tensors.collect();
        let is_asked = |input: NodeId| depends[input.0];
        let rounded = graph.with_def(|def| rounded_addends(def, &op, &inputs, is_asked));
        let parts = graph.on_behalf_of(id, || op.gradient(output, &tensors, gradient, rounded));
        let parts = match parts {
            Ok(parts) => parts,
            Err(problem) => {
                graph.on_behalf_of(id, || graph.record("gradients", "", problem));
                continue;
            }
        };
        for (input, part) in inputs.into_iter().zip(parts) {
            let Some(part) = part.filter(|_| depends[input.0]) else { continue };
            let total = match accumulated.get(&input) {
                Some(&sum) => graph.on_behalf_of(id, || sum + part),
                None => part,
            };
            accumulated.insert(input, total);
        }
    }
    with_respect_to.iter().map(|&tensor| wanted[&key(tensor)]).collect()
}

/// For each node that reads a variable, the first node that reads the same one.
fn first_readers(def: &GraphDef) -> HashMap<NodeId, NodeId> {
    let mut first = HashMap::new();
    let variables = def.nodes.iter().enumerate().filter_map(|(at, node)| match node.op {
        Op::Variable(variable) => Some((NodeId(at), variable)),
        _ => None,
    });
    variables.map(|(id, variable)| (id, *first.entry(variable).or_insert(id))).collect()
}
