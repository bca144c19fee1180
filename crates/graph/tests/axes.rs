//! Messages about axes and about arguments with an entry for each dimension.

mod mistakes;

use mistakes::{at, errors};
use warmstart_graph::{DType, Graph, Problem, Shape, Tensor};

/// What is said of one mistake of this operation on a matrix of 2 by 3.
fn told(operation: &str, build: impl for<'g> Fn(Tensor<'g>) -> Tensor<'g>) -> (Problem, String) {
    let graph = Graph::new();
    let _ = build(graph.placeholder("x", [2, 3], DType::F32));
    let [error] = errors(&graph);
    at(&error, error.location.line, operation, "");
    let text = error.problem.to_string();
    (error.problem, text)
}

#[test]
fn an_argument_with_too_few_entries_is_said_to_be_wrong() {
    let (problem, text) = told("pad", |x| x.pad(&[0], [9, 9]));
    assert!(matches!(problem, Problem::Entries { .. }), "{problem}");
    assert_eq!(text, "`before` [0] has 1 entry for 2 dimensions; give one for each of [9, 9]");
    let (_, text) = told("slice", |x| x.slice_box(&[0], [1, 1]));
    assert_eq!(text, "`starts` [0] has 1 entry for 2 dimensions; give one for each of [2, 3]");
    let (_, text) = told("transpose", |x| x.transpose(&[1]));
    assert_eq!(text, "`permutation` [1] has 1 entry for 2 dimensions; give one for each of [2, 3]");
    let (_, text) = told("slice", |x| x.slice_box(&[], [1, 1]));
    assert_eq!(text, "`starts` [] has 0 entries for 2 dimensions; give one for each of [2, 3]");
    // Here it is the tensor that has another rank than the shape it is to lie in.
    let (problem, text) = told("pad", |x| x.pad(&[0, 0, 0], [9, 9, 9]));
    assert!(matches!(problem, Problem::Rank { .. }), "{problem}");
    assert_eq!(text, "needs 3 dimensions, was given [2, 3]; reshape it first");
}

#[test]
fn a_causal_mask_is_of_as_many_columns_as_rows() {
    let (problem, text) = told("causal_mask", |x| x.causal_mask());
    assert!(matches!(problem, Problem::Rank { .. }), "{problem}");
    let expected = "needs [.., places, places], as many columns as rows, was given [2, 3]";
    assert!(text.starts_with(expected), "{text}");
    let (_, text) = told("causal_mask", |x| x.sum_all().causal_mask());
    assert!(text.contains("was given []"), "{text}");
}

#[test]
fn an_axis_given_twice_is_said_to_be() {
    let (problem, text) = told("transpose", |x| x.transpose(&[0, 0]));
    assert_eq!(problem, Problem::AxisTwice { axis: 0 });
    assert_eq!(text, "axis 0 is given twice; give each at most once");
    let (problem, _) = told("sum", |x| x.sum(&[1, 1]));
    assert_eq!(problem, Problem::AxisTwice { axis: 1 });
    let (problem, _) = told("sum", |x| x.mean(&[0, 1, 0]));
    assert_eq!(problem, Problem::AxisTwice { axis: 0 });
    // What is not there at all is not there, however often it is given.
    let (problem, text) = told("reduce_max", |x| x.reduce_max(&[5]));
    assert!(matches!(problem, Problem::Axis { axis: 5, .. }), "{problem}");
    assert_eq!(text, "there is no axis 5 in shape [2, 3]; use 0 to rank - 1, each at most once");
}

#[test]
fn shapes_and_constants_are_made_of_what_is_at_hand() {
    assert_eq!(Shape::from(&[2, 3]), Shape::from([2, 3]));
    let graph = Graph::new();
    let list = graph.constant(vec![1.0f32, 2.0, 4.0, 8.0]);
    assert_eq!((list.shape(), list.dtype()), (Shape::from([4]), DType::F32));
    assert_eq!(graph.constant(Vec::<i32>::new()).shape(), Shape::from([0]));
    assert!(graph.finish().is_ok());
}
