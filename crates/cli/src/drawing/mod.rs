//! A graph as a picture: `scopes.rs` says what is in which box, `levels.rs` lays out each box on its
//! own, from the inside out, `order.rs` finds places within it, and here it is written as SVG.
//!
//! No crate was found that draws boxes within boxes: `layout-rs` knows none, and `rust-sugiyama`
//! does not say where edges go.
//!
//! Lines with two heads are no inputs: what an update reads and writes (`GraphDef::written`).

mod levels;
mod order;
mod scopes;

use levels::{Laid, Line};
use scopes::Scopes;
use std::fmt::Write as _;
use warmstart_graph::{GraphDef, Op};

/// A graph with more nodes is no picture any more.
pub const MOST_NODES: usize = 5000;

/// Room around everything.
const MARGIN: f64 = 12.0;
const LINE_HEIGHT: f64 = 15.0;
/// Of a letter, about; viewers have fonts of their own.
const LETTER: f64 = 6.8;

/// The longest line of a box, in letters: with some more, one name would be as wide as the rest of the
/// picture. What is pointed at says all of it.
const LONGEST: usize = 48;

/// A text that is no longer than the longest line: the middle goes, as names mostly differ at their ends.
fn shortened(text: &str) -> String {
    let letters = text.chars().count();
    if letters <= LONGEST {
        return text.to_owned();
    }
    let side = LONGEST / 2;
    let (first, last) = (text.chars().take(side), text.chars().skip(letters + 1 - side));
    first.chain(['…']).chain(last).collect()
}

/// What a node's box says: two lines.
struct Label {
    title: String,
    kind: String,
}

impl Label {
    fn of(graph: &GraphDef, at: usize) -> Label {
        let node = &graph.nodes[at];
        let title = match &node.op {
            Op::Placeholder { name, .. } => format!("placeholder {name}"),
            Op::Variable(id) => {
                graph.variables.get(id.0).map_or_else(String::new, |variable| variable.name.clone())
            }
            op => op.name().to_owned(),
        };
        let kind = format!("{} {}", node.dtype, node.shape);
        Label { title: shortened(&title), kind: shortened(&kind) }
    }

    fn size(&self) -> (f64, f64) {
        let letters = self.title.chars().count().max(self.kind.chars().count());
        (16.0 + LETTER * letters as f64, 10.0 + 2.0 * LINE_HEIGHT)
    }
}

/// The graph as SVG. Inputs are above what is computed from them, scopes are boxes, lines with two
/// heads lead to what reads a variable and writes it, and each box says its node's number,
/// expression and line when it is pointed at.
pub fn svg(graph: &GraphDef) -> String {
    let labels: Vec<Label> = (0..graph.nodes.len()).map(|at| Label::of(graph, at)).collect();
    let sizes: Vec<(f64, f64)> = labels.iter().map(Label::size).collect();
    let scopes = Scopes::of(graph);
    let laid = levels::lay_out(&scopes, &sizes);
    let (width, height) = (laid.width + 2.0 * MARGIN, laid.height + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto-start-reverse\"><path d=\"M0 0L8 4L0 8z\" fill=\"#555\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<g transform=\"translate({MARGIN} {MARGIN})\">\n"
    );
    boxes(&mut svg, &scopes, &laid);
    for line in &laid.lines {
        path(&mut svg, line);
    }
    for &(at, [x, y]) in &laid.nodes {
        node(&mut svg, graph, at, &labels[at], (x, y), sizes[at]);
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn boxes(svg: &mut String, scopes: &Scopes, laid: &Laid) {
    for &(scope, [x, y], [width, height]) in &laid.boxes {
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\" \
             fill=\"#777\" fill-opacity=\"0.06\" stroke=\"#aaa\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#666\" font-weight=\"bold\">{}</text>",
            x + 8.0,
            y + 15.0,
            escaped(scopes.name(scope))
        );
    }
}

/// A line through its points, round where it bends.
fn path(svg: &mut String, line: &Line) {
    let mut points = line.points.iter();
    let Some([x, y]) = points.next() else { return };
    let mut way = format!("M{x:.1} {y:.1}");
    let (mut from_x, mut from_y) = (*x, *y);
    for &[x, y] in points {
        if (x - from_x).abs() < 0.05 {
            let _ = write!(way, "V{y:.1}");
        } else {
            let middle = (from_y + y) / 2.0;
            let _ = write!(way, "C{from_x:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}");
        }
        (from_x, from_y) = (x, y);
    }
    let head = if line.head { " marker-end=\"url(#head)\"" } else { "" };
    let tail = if line.tail { " marker-start=\"url(#head)\"" } else { "" };
    let _ = writeln!(svg, "<path d=\"{way}\" fill=\"none\" stroke=\"#555\"{tail}{head}/>");
}

fn node(
    svg: &mut String,
    graph: &GraphDef,
    at: usize,
    label: &Label,
    (x, y): (f64, f64),
    (width, height): (f64, f64),
) {
    let op = &graph.nodes[at].op;
    let fill = match op {
        Op::Variable(_) => "#dbe9f6",
        Op::Placeholder { .. } => "#e5f2dc",
        op if op.is_update() => "#f8e0d8",
        _ => "#fff",
    };
    let names = graph.names.iter().filter(|(_, id)| id.0 == at).map(|(name, _)| name.as_str());
    let names: Vec<&str> = names.collect();
    let stroke = if names.is_empty() { "#888" } else { "#111" };
    let described = graph.describe(warmstart_graph::NodeId(at));
    let middle = x + width / 2.0;
    let _ = writeln!(
        svg,
        "<g id=\"n{at}\"><title>%{at}: {}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" \
         width=\"{width:.1}\" height=\"{height:.1}\" rx=\"5\" fill=\"{fill}\" stroke=\"{stroke}\"/>\
         <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{}</text></g>",
        escaped(&described),
        y + 17.0,
        escaped(&label.title),
        y + 17.0 + LINE_HEIGHT,
        escaped(&label.kind)
    );
}

/// Text as XML takes it. Characters that no XML may hold become the replacement character.
fn escaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '"' => plain.push_str("&quot;"),
            '\t' | '\n' | '\r' => plain.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => plain.push('\u{fffd}'),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
#[path = "../drawing_tests.rs"]
mod tests;
