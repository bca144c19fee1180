use super::*;
use std::collections::BTreeSet;
use warmstart_graph::{DType, Graph, NodeId, Optimizer};

fn perceptron() -> GraphDef {
    let graph = Graph::new();
    let x = graph.placeholder("x <&\">", [4, 3], DType::F32);
    let hidden = graph.scope("body").scope("fc1").linear(x, 5).relu();
    let hidden = graph.scope("body").scope("fc2").linear(hidden, 5).relu();
    let labels = graph.placeholder("labels", [4], DType::I32);
    let loss = graph.scope("head").linear(hidden, 2).softmax_cross_entropy(labels);
    let _ = Optimizer::adam(0.1).clip_global_norm(1.0).minimize(loss.named("loss"));
    graph.finish().unwrap()
}

#[derive(Debug, PartialEq)]
struct Rect {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Rect {
    fn of(at: [f64; 2], (width, height): (f64, f64)) -> Rect {
        Rect { left: at[0], top: at[1], right: at[0] + width, bottom: at[1] + height }
    }

    fn overlaps(&self, other: &Rect) -> bool {
        let apart = self.right <= other.left || other.right <= self.left;
        !apart && self.top < other.bottom && other.top < self.bottom
    }

    fn holds(&self, other: &Rect) -> bool {
        self.left <= other.left
            && self.top <= other.top
            && self.right >= other.right
            && self.bottom >= other.bottom
    }
}

#[test]
fn every_node_and_scope_has_a_place_of_its_own() {
    let graph = perceptron();
    let sizes: Vec<(f64, f64)> =
        (0..graph.nodes.len()).map(|at| Label::of(&graph, at).size()).collect();
    let scopes = Scopes::of(&graph);
    let laid = levels::lay_out(&scopes, &sizes);
    let nodes: Vec<(usize, Rect)> =
        laid.nodes.iter().map(|&(at, corner)| (at, Rect::of(corner, sizes[at]))).collect();
    let all: BTreeSet<usize> = nodes.iter().map(|(at, _)| *at).collect();
    assert_eq!((all.len(), nodes.len()), (graph.nodes.len(), graph.nodes.len()));
    let whole = Rect { left: 0.0, top: 0.0, right: laid.width + 0.01, bottom: laid.height + 0.01 };
    for (at, (node, rect)) in nodes.iter().enumerate() {
        assert!(whole.holds(rect), "{node}: {rect:?} {whole:?}");
        for (other, second) in &nodes[..at] {
            assert!(!rect.overlaps(second), "{node} {rect:?}, {other} {second:?}");
        }
    }
    // Each node is in the box of its scope and in no other that does not hold that.
    let boxes: Vec<(usize, Rect)> = laid
        .boxes
        .iter()
        .map(|&(scope, corner, [width, height])| (scope, Rect::of(corner, (width, height))))
        .collect();
    assert!(boxes.len() >= 4, "{}", boxes.len());
    for (scope, rect) in &boxes {
        for (node, inner) in &nodes {
            let inside = scopes.seen_from(*scope, *node).is_some();
            assert_eq!(rect.holds(inner), inside, "{} {node}", scopes.name(*scope));
            assert_eq!(rect.overlaps(inner), inside, "{} {node}", scopes.name(*scope));
        }
    }
}

#[test]
fn lines_lead_from_each_input_to_what_is_computed_from_it() {
    let graph = perceptron();
    let sizes: Vec<(f64, f64)> =
        (0..graph.nodes.len()).map(|at| Label::of(&graph, at).size()).collect();
    let laid = levels::lay_out(&Scopes::of(&graph), &sizes);
    let near = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).abs() < 0.5 && (a[1] - b[1]).abs() < 0.5;
    let touches = |at: usize, point: [f64; 2]| {
        let (_, corner) = laid.nodes.iter().find(|(node, _)| *node == at).unwrap();
        let (width, height) = sizes[at];
        let middle = corner[0] + width / 2.0;
        near(point, [middle, corner[1]]) || near(point, [middle, corner[1] + height])
    };
    let written = graph.written();
    assert!(written.values().flatten().count() > 10, "{written:?}");
    // From a node on, over all lines that go on where one ends.
    for (to, node) in graph.nodes.iter().enumerate() {
        let variables = written.get(&NodeId(to)).into_iter().flatten();
        for from in variables.clone() {
            let back = |line: &Line| line.tail && touches(from.0, line.points[0]);
            assert!(laid.lines.iter().any(back), "%{}", from.0);
        }
        for from in node.inputs.iter().chain(variables) {
            let begins = |line: &&Line| touches(from.0, line.points[0]);
            let mut ends: Vec<[f64; 2]> = laid
                .lines
                .iter()
                .filter(begins)
                .map(|line| line.points[line.points.len() - 1])
                .collect();
            let mut seen = 0;
            while seen < ends.len() {
                let end = ends[seen];
                seen += 1;
                for line in laid.lines.iter().filter(|line| near(line.points[0], end)) {
                    let next = line.points[line.points.len() - 1];
                    if !ends.iter().any(|known| near(*known, next)) {
                        ends.push(next);
                    }
                }
            }
            assert!(ends.iter().any(|end| touches(to, *end)), "%{} to %{to}", from.0);
        }
    }
}

#[test]
fn the_picture_is_xml_with_every_node() {
    let graph = perceptron();
    let text = svg(&graph);
    let document = roxmltree::Document::parse(&text).unwrap();
    for at in 0..graph.nodes.len() {
        let id = format!("n{at}");
        let node = document.descendants().find(|node| node.attribute("id") == Some(&id)).unwrap();
        assert!(
            node.children()
                .any(|child| child.has_tag_name(("http://www.w3.org/2000/svg", "title")))
        );
    }
    let texts: Vec<&str> = document.descendants().filter_map(|node| node.text()).collect();
    for text in ["placeholder x <&\">", "body/fc1/weight", "f32 [4, 3]", "fc1", "head", "adam"] {
        assert!(texts.contains(&text), "{text}");
    }
}

#[test]
fn long_names_are_shortened_but_where_they_are_pointed_at() {
    let wide = |scope: &str| {
        let graph = Graph::new();
        let x = graph.placeholder("x", [4, 3], DType::F32);
        let _ = graph.scope(scope).linear(x, 5);
        svg(&graph.finish().unwrap())
    };
    let long = "very_".repeat(100) + "long";
    let width = |text: &str| -> f64 {
        let document = roxmltree::Document::parse(text).unwrap();
        document.root_element().attribute("width").unwrap().parse().unwrap()
    };
    let (short, text) = (wide("fc1"), wide(&long));
    assert!(width(&text) < width(&short) + 4.0 * LETTER * LONGEST as f64, "{}", width(&text));
    assert!(text.contains(">very_very_very_very_very…y_very_very_long/weight<"), "{text}");
    let document = roxmltree::Document::parse(&text).unwrap();
    let titles = document.descendants().filter(|node| node.has_tag_name("title"));
    let titles: Vec<&str> = titles.filter_map(|node| node.text()).collect();
    assert!(titles.iter().any(|title| title.contains(&format!("{long}/weight"))), "{titles:?}");
}

#[test]
fn any_graph_has_a_picture() {
    // Nothing, one node, scopes that need each other, and scopes deeper than anyone draws.
    let empty = Graph::new().finish().unwrap();
    assert!(roxmltree::Document::parse(&svg(&empty)).is_ok());
    let graph = Graph::new();
    let x = graph.placeholder("x", [2], DType::F32);
    let mut value = x;
    for _ in 0..3 {
        value = value + 1.0;
        value = value * x.relu();
    }
    let _ = value;
    let mut def = graph.finish().unwrap();
    for (at, node) in def.nodes.iter_mut().enumerate() {
        node.scope = ["a", "b", "a/b", ""][at % 4].to_owned();
    }
    // Graphs that are drawn were checked, but text is escaped all the same.
    def.nodes[2].scope = "\u{1}<&\">".to_owned();
    let deep = def.nodes.len() - 1;
    def.nodes[deep].scope = "s/".repeat(5000);
    assert!(roxmltree::Document::parse(&svg(&def)).is_ok());
}
