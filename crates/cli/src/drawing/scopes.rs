//! Which nodes and scopes lie in which scope, and which edges concern it.

use super::shortened;
use std::collections::{HashMap, HashSet};
use warmstart_graph::GraphDef;

/// The scopes of a graph; 0 is the top, and a scope comes after the one it lies in.
pub struct Scopes {
    all: Vec<Scope>,
    /// The scope of each node.
    of_node: Vec<usize>,
    /// Edges from a variable to what reads and writes it.
    written: HashSet<(usize, usize)>,
}

struct Scope {
    /// The last part of its path, as far as it is shown.
    name: String,
    /// From the top to itself.
    chain: Vec<usize>,
    nodes: Vec<usize>,
    children: Vec<usize>,
    /// Edges of which at least one end is in it, and that do not lie within one of its children.
    edges: Vec<(usize, usize)>,
}

/// Boxes within boxes; what lies deeper is shown as one name.
const DEEPEST: usize = 16;

/// Something that has a place in a scope of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Inside {
    Node(usize),
    Scope(usize),
}

impl Scopes {
    pub fn of(graph: &GraphDef) -> Scopes {
        let mut scopes = Scopes {
            all: vec![Scope::new("", vec![0])],
            of_node: Vec::new(),
            written: HashSet::new(),
        };
        let mut known: HashMap<(usize, String), usize> = HashMap::new();
        for (at, node) in graph.nodes.iter().enumerate() {
            let mut scope = 0;
            for part in node.scope.splitn(DEEPEST, '/').filter(|part| !part.is_empty()) {
                scope = *known.entry((scope, part.to_owned())).or_insert_with(|| {
                    let new = scopes.all.len();
                    let mut chain = scopes.all[scope].chain.clone();
                    chain.push(new);
                    scopes.all[scope].children.push(new);
                    scopes.all.push(Scope::new(&shortened(part), chain));
                    new
                });
            }
            scopes.all[scope].nodes.push(at);
            scopes.of_node.push(scope);
        }
        for (to, node) in graph.nodes.iter().enumerate() {
            for input in &node.inputs {
                scopes.add_edge(input.0, to);
            }
        }
        for (to, variables) in graph.written() {
            for from in variables {
                scopes.add_edge(from.0, to.0);
                scopes.written.insert((from.0, to.0));
            }
        }
        scopes
    }

    fn add_edge(&mut self, from: usize, to: usize) {
        if from.max(to) >= self.of_node.len() {
            return;
        }
        let chain = |node: usize| self.all[self.of_node[node]].chain.clone();
        let (of_from, of_to) = (chain(from), chain(to));
        let common = of_from.iter().zip(&of_to).take_while(|(a, b)| a == b).count();
        let concerned = of_from[common - 1..].iter().chain(&of_to[common..]);
        for &scope in concerned {
            self.all[scope].edges.push((from, to));
        }
    }

    /// Whether an edge leads from a variable to what writes it, too.
    pub fn is_written(&self, edge: (usize, usize)) -> bool {
        self.written.contains(&edge)
    }

    pub fn name(&self, scope: usize) -> &str {
        &self.all[scope].name
    }

    pub fn edges(&self, scope: usize) -> &[(usize, usize)] {
        &self.all[scope].edges
    }

    /// What lies in a scope itself, by the first node that is in it.
    pub fn inside(&self, scope: usize) -> Vec<Inside> {
        let Scope { nodes, children, .. } = &self.all[scope];
        let nodes = nodes.iter().map(|&node| (node, Inside::Node(node)));
        let children = children.iter().map(|&child| (self.first(child), Inside::Scope(child)));
        let mut all: Vec<(usize, Inside)> = nodes.chain(children).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, inside)| inside).collect()
    }

    fn first(&self, scope: usize) -> usize {
        let Scope { nodes, children, .. } = &self.all[scope];
        let nodes = nodes.first().copied().into_iter();
        nodes.chain(children.iter().map(|&child| self.first(child))).min().unwrap_or(usize::MAX)
    }

    /// What a node is or lies in, seen from a scope; none if it lies outside.
    pub fn seen_from(&self, scope: usize, node: usize) -> Option<Inside> {
        let chain = &self.all[self.of_node[node]].chain;
        let depth = self.all[scope].chain.len();
        if chain.get(depth - 1) != Some(&scope) {
            return None;
        }
        Some(chain.get(depth).map_or(Inside::Node(node), |&child| Inside::Scope(child)))
    }
}

impl Scope {
    fn new(name: &str, chain: Vec<usize>) -> Scope {
        let (nodes, children, edges) = (Vec::new(), Vec::new(), Vec::new());
        Scope { name: name.to_owned(), chain, nodes, children, edges }
    }
}
