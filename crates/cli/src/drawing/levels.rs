//! The layout of one scope: what lies in it, in layers, each line from above to below or back. A
//! child is a box of the size that its own layout came to, and lines enter and leave it through
//! ports on its upper and lower edge.

use super::order::Layers;
use super::scopes::{Inside, Scopes};
use std::collections::{BTreeSet, HashMap};
use std::mem;

/// Room between layers, and within a box.
const ROOM: f64 = 30.0;
const PADDING: f64 = 14.0;
/// The width of a place where a line goes by.
const LANE: f64 = 4.0;
/// How much more than a box a line wants to be straight.
const STRAIGHT: f64 = 4.0;

/// What a scope came to. Points count from its upper left corner.
#[derive(Default)]
pub struct Laid {
    pub width: f64,
    pub height: f64,
    /// Nodes with their upper left corners.
    pub nodes: Vec<(usize, [f64; 2])>,
    /// Scopes with their corners and sizes, outer before inner.
    pub boxes: Vec<(usize, [f64; 2], [f64; 2])>,
    pub lines: Vec<Line>,
    /// How far to the right the ports are.
    ports: HashMap<Port, f64>,
}

pub struct Line {
    pub points: Vec<[f64; 2]>,
    /// Whether it ends at a node.
    pub head: bool,
    /// Whether it begins at a node that is written from its other end.
    pub tail: bool,
}

/// Where the value of a node enters or leaves a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Port {
    value: usize,
    leaves: bool,
    top: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Item {
    Inside(Inside),
    Port(Port),
}

/// For each edge that crosses the border of a scope, whether it does so at the top.
type Sides = HashMap<(usize, usize), bool>;

/// Lays out a whole graph whose nodes have these sizes.
pub fn lay_out(scopes: &Scopes, sizes: &[(f64, f64)]) -> Laid {
    lay_out_scope(scopes, sizes, 0, &Sides::new())
}

/// An item's number, its line's other end, and the value on the line.
type Edge = (usize, usize, usize);

fn lay_out_scope(scopes: &Scopes, sizes: &[(f64, f64)], scope: usize, sides: &Sides) -> Laid {
    let mut items: Vec<Item> = scopes.inside(scope).into_iter().map(Item::Inside).collect();
    let own = items.len();
    let mut known: HashMap<Item, usize> =
        items.iter().enumerate().map(|(at, item)| (*item, at)).collect();
    let mut item = |item: Item| {
        *known.entry(item).or_insert_with(|| {
            items.push(item);
            items.len() - 1
        })
    };
    let mut ends = Vec::with_capacity(scopes.edges(scope).len());
    for &(from, to) in scopes.edges(scope) {
        let top = sides.get(&(from, to)).copied().unwrap_or(false);
        let port = |leaves: bool| Item::Port(Port { value: from, leaves, top });
        let source = scopes.seen_from(scope, from).map_or_else(|| port(false), Item::Inside);
        let target = scopes.seen_from(scope, to).map_or_else(|| port(true), Item::Inside);
        ends.push((item(source), item(target), (from, to)));
    }
    let edges: BTreeSet<Edge> =
        ends.iter().map(|&(source, target, (from, _))| (source, target, from)).collect();
    let written: BTreeSet<Edge> = ends
        .iter()
        .filter(|(_, _, edge)| scopes.is_written(*edge))
        .map(|&(source, target, (from, _))| (source, target, from))
        .collect();
    let ranks = ranks(&items, own, &edges);

    // Which way lines leave decides how the children are laid out.
    let mut of_children: HashMap<usize, Sides> = HashMap::new();
    for &(source, target, edge) in &ends {
        for (this, other) in [(source, target), (target, source)] {
            if let Item::Inside(Inside::Scope(child)) = items[this] {
                let top = ranks[other] < ranks[this];
                of_children.entry(child).or_default().insert(edge, top);
            }
        }
    }
    let none = Sides::new();
    let children: HashMap<usize, Laid> = items
        .iter()
        .filter_map(|item| match item {
            Item::Inside(Inside::Scope(child)) => Some(*child),
            _ => None,
        })
        .map(|child| {
            let sides = of_children.get(&child).unwrap_or(&none);
            (child, lay_out_scope(scopes, sizes, child, sides))
        })
        .collect();
    let size = |item: &Item| match item {
        Item::Inside(Inside::Node(node)) => sizes[*node],
        Item::Inside(Inside::Scope(child)) => (children[child].width, children[child].height),
        Item::Port(_) => (LANE, 0.0),
    };
    let sizes = items.iter().map(size).collect();
    Level { items, ranks, sizes, children }.draw(scope, scopes.name(scope), &edges, &written)
}

/// The layer of each item: below all that it is computed from, as far as there is no circle, and
/// what is computed from nothing right above where it is used. Ports are at the edges.
fn ranks(items: &[Item], own: usize, edges: &BTreeSet<Edge>) -> Vec<usize> {
    let mut near: Vec<Vec<usize>> = vec![Vec::new(); own];
    let mut inputs: Vec<usize> = vec![0; own];
    let mut outputs: Vec<Vec<usize>> = vec![Vec::new(); own];
    for &(source, target, _) in edges {
        if source < own && target < own {
            inputs[target] += 1;
            outputs[source].push(target);
            near[source].push(target);
            near[target].push(source);
        }
    }
    // One after the other; of a circle the first goes first.
    let mut ready: BTreeSet<usize> = (0..own).filter(|&at| inputs[at] == 0).collect();
    let mut waiting: BTreeSet<usize> = (0..own).collect();
    let mut ranks = vec![0; items.len()];
    while let Some(&first) = ready.first().or(waiting.first()) {
        ready.remove(&first);
        waiting.remove(&first);
        let before = near[first].iter().map(|&other| ranks[other]).max().unwrap_or(0);
        ranks[first] = before + 1;
        for &next in &outputs[first] {
            inputs[next] -= 1;
            if inputs[next] == 0 && waiting.contains(&next) {
                ready.insert(next);
            }
        }
    }
    for at in 0..own {
        let below = near[at].iter().map(|&other| ranks[other]).min();
        if let Some(below) = below.filter(|&below| below > ranks[at]) {
            ranks[at] = below - 1;
        }
    }
    // What has no lines has room wherever there is some.
    let mut lined = vec![false; items.len()];
    edges.iter().for_each(|&(source, target, _)| (lined[source], lined[target]) = (true, true));
    let alone: Vec<usize> = (0..own).filter(|&at| !lined[at]).collect();
    let layers = (0..own).filter(|&at| lined[at]).map(|at| ranks[at]).max().unwrap_or(0);
    let rows = layers.max((alone.len() as f64 / 2.0).sqrt().ceil() as usize).max(1);
    for (place, &at) in alone.iter().enumerate() {
        ranks[at] = 1 + place / alone.len().div_ceil(rows);
    }
    let last = ranks.iter().max().copied().unwrap_or(0) + 1;
    for (item, rank) in items.iter().zip(&mut ranks) {
        if let Item::Port(port) = item {
            *rank = if port.top { 0 } else { last };
        }
    }
    ranks
}

/// The items of a scope in layers.
struct Level {
    items: Vec<Item>,
    ranks: Vec<usize>,
    sizes: Vec<(f64, f64)>,
    children: HashMap<usize, Laid>,
}

impl Level {
    /// How far from an item's middle a line leaves it.
    fn offset(&self, item: usize, value: usize, leaves: bool, top: bool) -> f64 {
        let Item::Inside(Inside::Scope(child)) = self.items[item] else { return 0.0 };
        let child = &self.children[&child];
        let port = Port { value, leaves, top };
        child.ports.get(&port).map_or(0.0, |place| place - child.width / 2.0)
    }

    fn draw(
        mut self,
        scope: usize,
        name: &str,
        edges: &BTreeSet<Edge>,
        written: &BTreeSet<Edge>,
    ) -> Laid {
        let count = self.ranks.iter().max().map_or(0, |last| last + 1);
        let mut layers = Layers { layers: vec![Vec::new(); count], ..Layers::default() };
        for ((item, &(width, _)), &rank) in self.items.iter().zip(&self.sizes).zip(&self.ranks) {
            let weight = if matches!(item, Item::Port(_)) { STRAIGHT } else { 1.0 };
            layers.add(rank, width, weight);
        }
        // Each line as the cells that it goes through, and where it leaves the first and the last.
        let mut ways = Vec::with_capacity(edges.len());
        for &(source, target, value) in edges {
            let down = self.ranks[source] < self.ranks[target];
            let (above, below) = if down { (source, target) } else { (target, source) };
            let leaves = self.offset(above, value, down, false);
            let enters = self.offset(below, value, !down, true);
            let mut way = vec![above];
            for rank in self.ranks[above] + 1..self.ranks[below] {
                way.push(layers.add(rank, LANE, STRAIGHT));
            }
            way.push(below);
            for (at, pair) in way.windows(2).enumerate() {
                let from = if at == 0 { leaves } else { 0.0 };
                let to = if at + 2 == way.len() { enters } else { 0.0 };
                layers.links.push([(pair[0], from), (pair[1], to)]);
            }
            let is_node = |item: usize| matches!(self.items[item], Item::Inside(Inside::Node(_)));
            let back = written.contains(&(source, target, value)) && is_node(source);
            ways.push((way, leaves, enters, down, (is_node(target), back)));
        }
        let (middles, inner) = layers.place();
        let title = if scope == 0 { 0.0 } else { 16.0 + 7.5 * name.chars().count() as f64 };
        let (padding, width) = match scope {
            0 => (0.0, inner),
            _ => (PADDING, (inner + 2.0 * PADDING).max(title)),
        };
        let left = (width - inner) / 2.0;
        let x = |cell: usize| middles[cell] + left;

        // Where each layer begins and ends.
        let mut heights = vec![0.0f64; count];
        for (&rank, &(_, height)) in self.ranks.iter().zip(&self.sizes) {
            heights[rank] = heights[rank].max(height);
        }
        let mut tops = Vec::with_capacity(count);
        let mut y = 0.0;
        for (rank, height) in heights.iter().enumerate() {
            tops.push(y);
            // No port leads out of the whole.
            let last = rank + 1 == count || (scope == 0 && rank == 0);
            y += height + if last { 0.0 } else { ROOM };
        }
        // A layer of ports is the edge itself.
        let ends_in_ports = heights.last().is_some_and(|height| *height == 0.0);
        let height = y + if ends_in_ports { 0.0 } else { padding };

        let mut laid = Laid { width, height, ..Laid::default() };
        let mut children = mem::take(&mut self.children);
        let top_of = |item: usize| {
            let rank = self.ranks[item];
            tops[rank] + (heights[rank] - self.sizes[item].1) / 2.0
        };
        for (way, leaves, enters, down, (head, tail)) in ways {
            let (above, below) = (way[0], way[way.len() - 1]);
            let mut points = vec![[x(above) + leaves, top_of(above) + self.sizes[above].1]];
            for &cell in &way[1..way.len() - 1] {
                let rank = self.ranks[above] + points.len().div_ceil(2);
                points.push([x(cell), tops[rank]]);
                points.push([x(cell), tops[rank] + heights[rank]]);
            }
            points.push([x(below) + enters, top_of(below)]);
            if !down {
                points.reverse();
            }
            laid.lines.push(Line { points, head, tail });
        }
        for (at, item) in self.items.iter().enumerate() {
            let corner = [x(at) - self.sizes[at].0 / 2.0, top_of(at)];
            match item {
                Item::Inside(Inside::Node(node)) => laid.nodes.push((*node, corner)),
                Item::Port(port) => {
                    laid.ports.insert(*port, x(at));
                }
                Item::Inside(Inside::Scope(child)) => {
                    let Some(inner) = children.remove(child) else { continue };
                    let [right, down] = corner;
                    let moved = |[x, y]: [f64; 2]| [x + right, y + down];
                    laid.boxes.push((*child, corner, [inner.width, inner.height]));
                    let boxes = inner.boxes.into_iter();
                    laid.boxes.extend(boxes.map(|(scope, at, size)| (scope, moved(at), size)));
                    let nodes = inner.nodes.into_iter();
                    laid.nodes.extend(nodes.map(|(node, at)| (node, moved(at))));
                    laid.lines.extend(inner.lines.into_iter().map(|line| {
                        let points = line.points.into_iter().map(moved).collect();
                        Line { points, ..line }
                    }));
                }
            }
        }
        laid
    }
}
