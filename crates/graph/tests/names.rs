//! Names are taken once: each second taker is told who was first, and what to do.

mod mistakes;

use mistakes::{at, errors};
use warmstart_graph::{DType, Graph, GraphError, Initializer, Optimizer, Problem};

#[test]
fn names_are_taken_once() {
    let graph = Graph::new();
    let scope = graph.scope("fc");
    let first = line!() + 1;
    let v = scope.variable("v", [2], Initializer::Ones);
    let _ = scope.variable("v", [2], Initializer::Ones);
    let again = scope.reuse().variable("v", [2], Initializer::Zeros);
    let _ = scope.reuse().variable("v", [3], Initializer::Ones);
    let _ = scope.reuse().state_of("v", [2], DType::I32, Initializer::Zeros);
    let _ = scope.placeholder("x", [2], DType::F32);
    let _ = scope.placeholder("x", [2], DType::F32);
    let (_, _) = (v.named("name"), v.named("name"));
    let _ = again.named("name");
    let _ = (v.dropout("d", 0.5), line!());
    let _ = again.dropout("d", 0.5);
    let _ = Optimizer::sgd(0.1).momentum(0.9).minimize(v.sum_all());
    let _ = Optimizer::sgd(0.1).momentum(0.9).minimize(v.sum_all());
    let _ = Optimizer::sgd(0.1).named("second").minimize(v.sum_all());
    let [twice, shape, dtype, fed, named, dropout, optimizer] = errors(&graph);
    let here = |line: u32| warmstart_graph::Location { file: file!().into(), line };
    at(&twice, first + 1, "variable", "fc");
    let problem = Problem::DuplicateVariable { name: "fc/v".to_owned(), first: here(first) };
    assert_eq!(twice.problem, problem);
    at(&shape, first + 3, "variable", "fc");
    let Problem::Reuse { first: place, declared, shape: asked, .. } = shape.problem else {
        panic!("{shape}")
    };
    assert_eq!((place, &declared[..], &asked[..]), (here(first), &[2][..], &[3][..]));
    at(&dtype, first + 4, "variable", "fc");
    assert!(matches!(dtype.problem, Problem::Reuse { dtype: DType::I32, .. }));
    let taken = |error: &GraphError, name: &str, kind: &str, by: u32| {
        let (name, kind) = (name.to_owned(), kind.to_owned());
        assert_eq!(error.problem, Problem::DuplicateName { name, kind, first: here(by) });
    };
    at(&fed, first + 6, "placeholder", "fc");
    taken(&fed, "fc/x", "placeholder", first + 5);
    at(&named, first + 8, "named", "fc");
    taken(&named, "name", "tensor", first);
    at(&dropout, first + 10, "dropout", "fc");
    taken(&dropout, "d", "dropout", first + 9);
    at(&optimizer, first + 12, "variable", "sgd");
    let (optimizer_name, name) = ("sgd".to_owned(), "sgd/step".to_owned());
    let problem =
        Problem::DuplicateSlot { optimizer: optimizer_name, name, first: here(first + 11) };
    assert_eq!(optimizer.problem, problem);
    let text = optimizer.to_string();
    assert!(text.contains(".named(\"..\")") && !text.contains("reuse"), "{text}");
}

#[test]
fn tensors_that_are_joined_in_several_steps_are_of_the_callers_line() {
    let graph = Graph::new();
    let parts: Vec<_> =
        (0..60).map(|at| graph.placeholder(&format!("x{at}"), [2], DType::F32)).collect();
    let line = line!() + 1;
    let all = parts[0].concat(&parts[1..], 0);
    assert_eq!(all.shape().to_string(), "[120]");
    let def = graph.finish().unwrap();
    let joins: Vec<_> = def.nodes.iter().filter(|node| node.inputs.len() > 1).collect();
    assert!(joins.len() > 8 && joins.iter().all(|node| node.inputs.len() <= 7));
    for node in joins {
        assert!(node.location.file.ends_with("names.rs"), "{}", node.location);
        assert_eq!(node.location.line, line);
    }
}
