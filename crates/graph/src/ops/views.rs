//! The same elements in another arrangement: reshape, transpose, broadcast, slice, pad, concat.

use crate::reference::{Value, indices};
use crate::{DType, Location, Node, Op, Problem, Shape, Tensor};

type Inferred = Result<(Shape, DType), Problem>;

pub(super) fn infer_reshape(shape: &Shape, x: &Node) -> Inferred {
    if shape.checked_elements() != x.shape.checked_elements() {
        return Err(Problem::Reshape { from: x.shape.clone(), to: shape.clone() });
    }
    Ok((shape.clone(), x.dtype))
}

pub(super) fn infer_transpose(permutation: &[usize], x: &Node) -> Inferred {
    for (position, &axis) in permutation.iter().enumerate() {
        if axis >= x.shape.rank() {
            return Err(Problem::Axis { axis, shape: x.shape.clone() });
        }
        if permutation[..position].contains(&axis) {
            return Err(Problem::AxisTwice { axis });
        }
    }
    one_for_each("permutation", permutation, &x.shape)?;
    let extents: Vec<usize> = permutation.iter().map(|&axis| x.shape[axis]).collect();
    Ok((Shape::from(extents), x.dtype))
}

pub(super) fn infer_broadcast(shape: &Shape, x: &Node) -> Inferred {
    if x.shape.broadcast(shape).as_ref() != Some(shape) {
        return Err(Problem::BroadcastTo { from: x.shape.clone(), to: shape.clone() });
    }
    Ok((shape.clone(), x.dtype))
}

pub(super) fn infer_slice(starts: &[usize], shape: &Shape, x: &Node) -> Inferred {
    fits_inside("starts", starts, shape, &x.shape)?;
    Ok((shape.clone(), x.dtype))
}

pub(super) fn infer_pad(before: &[usize], shape: &Shape, x: &Node) -> Inferred {
    if x.dtype != DType::F32 {
        return Err(Problem::DType { expected: "f32".to_owned(), found: x.dtype });
    }
    fits_inside("before", before, &x.shape, shape)?;
    Ok((shape.clone(), x.dtype))
}

/// That an argument has one entry for each dimension of a shape.
fn one_for_each(argument: &'static str, given: &[usize], shape: &Shape) -> Result<(), Problem> {
    if given.len() == shape.rank() {
        return Ok(());
    }
    Err(Problem::Entries { argument, given: given.to_vec(), shape: shape.clone() })
}

/// That a box of shape `inner` at `starts`, an argument of this name, lies within `outer`.
fn fits_inside(
    argument: &'static str,
    starts: &[usize],
    inner: &Shape,
    outer: &Shape,
) -> Result<(), Problem> {
    if inner.rank() != outer.rank() {
        let expected = format!("{} dimensions", outer.rank());
        return Err(Problem::Rank { expected, found: inner.clone() });
    }
    one_for_each(argument, starts, outer)?;
    for (axis, (&start, (&extent, &limit))) in
        starts.iter().zip(inner.iter().zip(outer.iter())).enumerate()
    {
        let end = start.saturating_add(extent);
        if end > limit {
            return Err(Problem::Slice { axis, start, end, shape: outer.clone() });
        }
    }
    Ok(())
}

pub(super) fn infer_concat(axis: usize, inputs: &[&Node]) -> Inferred {
    let Some((first, rest)) = inputs.split_first() else {
        return Err(Problem::Damaged { why: "a concat has no inputs".to_owned() });
    };
    if axis >= first.shape.rank() {
        return Err(Problem::Axis { axis, shape: first.shape.clone() });
    }
    let mut extents = first.shape.to_vec();
    for other in rest {
        if other.dtype != first.dtype {
            let expected = format!("tensors of {}", first.dtype);
            return Err(Problem::DType { expected, found: other.dtype });
        }
        let differs = |(at, (a, b)): (usize, (&usize, &usize))| at != axis && a != b;
        if other.shape.rank() != first.shape.rank()
            || first.shape.iter().zip(other.shape.iter()).enumerate().any(differs)
        {
            return Err(Problem::Shape {
                what: format!("a tensor that differs only along axis {axis}"),
                expected: first.shape.clone(),
                found: other.shape.clone(),
            });
        }
        extents[axis] = extents[axis].saturating_add(other.shape[axis]);
    }
    Ok((Shape::from(extents), first.dtype))
}

pub(super) fn transpose_gradient<'g>(permutation: &[usize], dy: Tensor<'g>) -> Tensor<'g> {
    let mut inverse = vec![0; permutation.len()];
    for (to, &from) in permutation.iter().enumerate() {
        inverse[from] = to;
    }
    dy.transpose(&inverse)
}

pub(super) fn concat_gradient<'g>(
    axis: usize,
    inputs: &[Tensor<'g>],
    dy: Tensor<'g>,
) -> Vec<Option<Tensor<'g>>> {
    let mut start = 0;
    inputs
        .iter()
        .map(|input| {
            let end = start + input.shape()[axis];
            let part = dy.slice(axis, start, end);
            start = end;
            Some(part)
        })
        .collect()
}

pub(super) fn evaluate_transpose(permutation: &[usize], x: &Value, shape: &Shape) -> Vec<f64> {
    indices(shape)
        .map(|index| {
            let mut from = vec![0; index.len()];
            for (to, &axis) in permutation.iter().enumerate() {
                from[axis] = index[to];
            }
            x.broadcast_at(&from)
        })
        .collect()
}

pub(super) fn evaluate_slice(starts: &[usize], x: &Value, shape: &Shape) -> Vec<f64> {
    indices(shape)
        .map(|index| x.at(&index.iter().zip(starts).map(|(i, s)| i + s).collect::<Vec<_>>()))
        .collect()
}

pub(super) fn evaluate_pad(before: &[usize], x: &Value, shape: &Shape) -> Vec<f64> {
    indices(shape)
        .map(|index| {
            let inside: Option<Vec<usize>> = index
                .iter()
                .zip(before)
                .zip(x.shape.iter())
                .map(|((i, start), extent)| i.checked_sub(*start).filter(|i| i < extent))
                .collect();
            inside.map_or(0.0, |index| x.at(&index))
        })
        .collect()
}

pub(super) fn evaluate_concat(axis: usize, inputs: &[&Value], shape: &Shape) -> Vec<f64> {
    indices(shape)
        .map(|mut index| {
            for input in inputs {
                if index[axis] < input.shape[axis] {
                    return input.at(&index);
                }
                index[axis] -= input.shape[axis];
            }
            f64::NAN
        })
        .collect()
}

impl<'g> Tensor<'g> {
    /// The same elements, row-major, under another shape with as many elements.
    #[track_caller]
    #[must_use]
    pub fn reshape(self, shape: impl Into<Shape>) -> Tensor<'g> {
        let shape = shape.into();
        if self.shape() == shape { self } else { self.apply(Op::Reshape(shape), &[]) }
    }

    /// The axes in another order: axis `i` of the result is axis `permutation[i]` of this tensor.
    #[track_caller]
    #[must_use]
    pub fn transpose(self, permutation: &[usize]) -> Tensor<'g> {
        self.apply(Op::Transpose(permutation.to_vec()), &[])
    }

    /// Repeated along new dimensions and dimensions of extent 1, by NumPy's rules.
    #[track_caller]
    #[must_use]
    pub fn broadcast_to(self, shape: impl Into<Shape>) -> Tensor<'g> {
        let shape = shape.into();
        if self.shape() == shape { self } else { self.apply(Op::BroadcastTo(shape), &[]) }
    }

    /// Elements `start..end` along one axis.
    #[track_caller]
    #[must_use]
    pub fn slice(self, axis: usize, start: usize, end: usize) -> Tensor<'g> {
        let from = self.shape();
        if self.is_invalid() {
            return self;
        }
        if axis >= from.rank() {
            let problem = Problem::Axis { axis, shape: from };
            return self.graph().refuse("slice", &self.scope(), problem);
        }
        if start > end {
            let problem = Problem::Slice { axis, start, end, shape: from };
            return self.graph().refuse("slice", &self.scope(), problem);
        }
        let mut starts = vec![0; from.rank()];
        let mut extents = from.to_vec();
        starts[axis] = start;
        extents[axis] = end - start;
        self.slice_box(&starts, extents)
    }

    /// The box of the given shape that begins at `starts`.
    #[track_caller]
    #[must_use]
    pub fn slice_box(self, starts: &[usize], shape: impl Into<Shape>) -> Tensor<'g> {
        let shape = shape.into();
        self.apply(Op::Slice { starts: starts.to_vec(), shape }, &[])
    }

    /// This tensor at `before` within zeros of the given shape.
    #[track_caller]
    #[must_use]
    pub fn pad(self, before: &[usize], shape: impl Into<Shape>) -> Tensor<'g> {
        self.apply(Op::Pad { before: before.to_vec(), shape: shape.into() }, &[])
    }

    /// This tensor and the others, one after the other along an axis. Of more than seven, the graph has
    /// several such operations, each of seven at most: that is what every device can read at once.
    #[track_caller]
    #[must_use]
    pub fn concat(self, others: &[Tensor<'g>], axis: usize) -> Tensor<'g> {
        const AT_ONCE: usize = 7;
        let (shape, dtype) = (self.shape(), self.dtype());
        // What does not fit together is refused once, below.
        let fits = |other: &Tensor<'g>| {
            let theirs = other.shape();
            let extents = shape.iter().zip(theirs.iter()).enumerate();
            std::ptr::eq(self.graph(), other.graph())
                && other.dtype() == dtype
                && theirs.rank() == shape.rank()
                && extents.into_iter().all(|(at, (a, b))| at == axis || a == b)
        };
        let mut parts = [&[self], others].concat();
        // All of them are of the caller's line.
        self.graph().at_line(Location::caller(), || {
            while parts.len() > AT_ONCE && axis < shape.rank() && others.iter().all(fits) {
                let joined = |parts: &[Tensor<'g>]| match parts {
                    [first, others @ ..] if !others.is_empty() => {
                        Some(first.apply(Op::Concat { axis }, others))
                    }
                    parts => parts.first().copied(),
                };
                parts = parts.chunks(AT_ONCE).filter_map(joined).collect();
            }
        });
        let [first, others @ ..] = parts.as_slice() else { return self };
        first.apply(Op::Concat { axis }, others)
    }
}
