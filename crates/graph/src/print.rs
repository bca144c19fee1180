//! Graphs as text and as Graphviz DOT.

use crate::ops::Op;
use crate::words::printable;
use crate::{Elements, GraphDef, Node, NodeId, VariableId};
use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

impl fmt::Display for GraphDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.nodes.first().map(|node| &node.location);
        // What is the same everywhere is said once.
        let place = first.filter(|place| self.nodes.iter().all(|node| node.location == **place));
        let of = place.map_or_else(String::new, |place| format!(", all built at {place}"));
        writeln!(f, "{} nodes, {} variables{of}", self.nodes.len(), self.variables.len())?;
        let written = self.written();
        for (at, node) in self.nodes.iter().enumerate() {
            let writes = match node.op {
                // What an assignment writes it says.
                Op::OptimizerUpdate(_) => written.get(&NodeId(at)).map(|nodes| ranges(nodes)),
                _ => None,
            };
            let expression = self.expression(node);
            let result = format!("%{at} = {expression}{}", writes.unwrap_or_default());
            let kind = format!("{} {}", node.dtype, node.shape);
            let scope = if node.scope.is_empty() { "-".into() } else { printable(&node.scope) };
            match place {
                Some(_) => writeln!(f, "  {result:<44} {kind:<20} {scope}")?,
                None => writeln!(f, "  {result:<44} {kind:<20} {scope:<16} {}", node.location)?,
            }
        }
        for (name, id) in &self.names {
            writeln!(f, "  {} is %{}", printable(name), id.0)?;
        }
        for (value, rounded) in &self.kept_f16 {
            writeln!(f, "  %{} is kept for the gradient as %{}", value.0, rounded.0)?;
        }
        self.recomputed.iter().try_for_each(|(first, last)| {
            writeln!(f, "  %{} to %{} are computed again for the gradient", first.0, last.0)
        })
    }
}

impl GraphDef {
    /// A node as its author knows it: its [name](crate::Tensor::named) if it has one, what it
    /// computes, its scope, and the line that built it.
    pub fn describe(&self, id: NodeId) -> String {
        let Some(node) = self.nodes.get(id.0) else { return format!("node {}", id.0) };
        let mut text = String::new();
        if let Some((name, _)) = self.names.iter().find(|(_, named)| **named == id) {
            let _ = write!(text, "`{}`, ", printable(name));
        }
        match &node.op {
            Op::Placeholder { name, .. } => {
                let _ = write!(text, "placeholder `{}`", printable(name));
            }
            Op::Variable(id) => {
                let _ = write!(text, "variable `{}`", self.variable_name(*id));
            }
            op => {
                let _ = write!(text, "`{}`", op.name());
                if !node.scope.is_empty() {
                    let _ = write!(text, " in scope `{}`", printable(&node.scope));
                }
            }
        }
        let _ = write!(text, " at {}", node.location);
        text
    }

    /// A node as an expression: `matmul(%0, %1)`.
    fn expression(&self, node: &Node) -> String {
        let inputs: Vec<String> = node.inputs.iter().map(|id| format!("%{}", id.0)).collect();
        let mut text = format!("{}({})", node.op.name(), inputs.join(", "));
        match &node.op {
            Op::Placeholder { name, .. } => text = format!("placeholder {}", printable(name)),
            Op::Variable(id) => text = format!("variable {}", self.variable_name(*id)),
            Op::Assign(id) => text = format!("{} <- {}", self.variable_name(*id), inputs.join("")),
            Op::Constant(data) if data.elements().len() == 1 => {
                text = match data.elements() {
                    // As few digits as tell it from its neighbours.
                    Elements::F32(values) => format!("constant {}", values[0]),
                    _ => format!("constant {}", data.to_f64()[0]),
                };
            }
            Op::Constant(_) => text = "constant".to_owned(),
            Op::Reduce { axes, .. } => {
                let _ = write!(text, " over {axes:?}");
            }
            Op::Transpose(permutation) => {
                let _ = write!(text, " by {permutation:?}");
            }
            Op::MatMul { transpose_a, transpose_b } => {
                let mark = |transposed: &bool| if *transposed { "ᵀ" } else { "" };
                let marks = [mark(transpose_a), mark(transpose_b)];
                let operands =
                    inputs.iter().zip(marks).map(|(input, mark)| format!("{input}{mark}"));
                text = format!("matmul({})", operands.collect::<Vec<_>>().join(", "));
            }
            _ => {}
        }
        text
    }

    /// A variable's name; a graph that was not validated may lack the variable, and prints too.
    fn variable_name(&self, id: VariableId) -> Cow<'_, str> {
        self.variables.get(id.0).map_or("(missing)".into(), |variable| printable(&variable.name))
    }

    /// The graph in Graphviz's DOT language: `dot -Tsvg`.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from(
            "digraph {\n  rankdir=TB;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n",
        );
        let written = self.written();
        for (at, node) in self.nodes.iter().enumerate() {
            let title = match &node.op {
                Op::Placeholder { name, .. } => format!("placeholder {}", printable(name)),
                Op::Variable(id) => self.variable_name(*id).into_owned(),
                op => op.name().to_owned(),
            };
            let style = match node.op {
                Op::Variable(_) => ", style=\"rounded,filled\", fillcolor=\"#dbe9f6\"",
                Op::Placeholder { .. } => ", style=\"rounded,filled\", fillcolor=\"#e5f2dc\"",
                _ if node.op.is_update() => ", style=\"rounded,filled\", fillcolor=\"#f8e0d8\"",
                _ => "",
            };
            let title = title.replace('\\', "\\\\").replace('"', "\\\"");
            let kind = format!("{} {}", node.dtype, node.shape);
            let _ = writeln!(dot, "  n{at} [label=\"{title}\\n{kind}\"{style}];");
            for input in &node.inputs {
                let _ = writeln!(dot, "  n{} -> n{at};", input.0);
            }
            for variable in written.get(&NodeId(at)).into_iter().flatten() {
                let _ = writeln!(dot, "  n{} -> n{at} [dir=both];", variable.0);
            }
        }
        dot.push_str("}\n");
        dot
    }
}

/// What a node writes, as the end of its expression: ` writing %1, %4 to %7`.
fn ranges(nodes: &[NodeId]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for node in nodes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == node.0 => *last = node.0,
            _ => ranges.push((node.0, node.0)),
        }
    }
    let one = |&(first, last): &(usize, usize)| match last - first {
        0 => format!("%{first}"),
        1 => format!("%{first}, %{last}"),
        _ => format!("%{first} to %{last}"),
    };
    match ranges.iter().map(one).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => none,
        some => format!(" writing {some}"),
    }
}
