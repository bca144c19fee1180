//! Static shapes and NumPy broadcasting.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::fmt;
use std::ops::Deref;

/// The extents of a tensor, outermost first. `[]` is a scalar; an extent of 0 is legal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape(
    /// Graphs and checkpoints have thousands of shapes, most of at most two dimensions: as many as have
    /// room where a `Vec` has its pointer.
    SmallVec<[usize; 2]>,
);

impl Shape {
    /// The shape of a scalar.
    pub fn scalar() -> Shape {
        Shape::default()
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The number of elements, or `None` if it does not fit a `usize`.
    pub fn checked_elements(&self) -> Option<usize> {
        // A zero anywhere makes the product zero, however large the rest.
        if self.0.contains(&0) {
            return Some(0);
        }
        self.0.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))
    }

    /// The number of elements, `usize::MAX` if it does not fit.
    pub fn elements(&self) -> usize {
        self.checked_elements().unwrap_or(usize::MAX)
    }

    /// Whether an index of 32 bits reaches every element and every extent. An extent counts even
    /// where another of 0 leaves no elements: devices are told all of them.
    pub(crate) fn fits_index(&self) -> bool {
        let fits = |count: usize| u32::try_from(count).is_ok();
        self.checked_elements().is_some_and(fits) && self.iter().all(|&extent| fits(extent))
    }

    /// Row-major strides, in elements.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1usize; self.rank()];
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(self.0[axis]);
        }
        strides
    }

    /// The shape that two operands have after NumPy broadcasting, or `None` if they do not fit.
    ///
    /// Extents are aligned at the last dimension; an extent of 1 is repeated
    /// (<https://numpy.org/doc/stable/user/basics.broadcasting.html>).
    ///
    /// ```
    /// use warmstart_graph::Shape;
    /// let (a, b) = (Shape::from([8, 1, 3]), Shape::from([5, 3]));
    /// assert_eq!(a.broadcast(&b), Some(Shape::from([8, 5, 3])));
    /// assert_eq!(a.broadcast(&Shape::from([2])), None);
    /// ```
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let extent = |shape: &Shape, axis: usize| {
            (axis + shape.rank()).checked_sub(rank).map_or(1, |axis| shape.0[axis])
        };
        (0..rank)
            .map(|axis| match (extent(self, axis), extent(other, axis)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<SmallVec<_>>>()
            .map(Shape)
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for Shape {
    fn from(extents: Vec<usize>) -> Shape {
        Shape(extents.into())
    }
}

impl From<&[usize]> for Shape {
    fn from(extents: &[usize]) -> Shape {
        Shape(SmallVec::from_slice(extents))
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Shape {
        Shape(SmallVec::from_slice(&extents))
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Shape {
        shape.clone()
    }
}

impl<const N: usize> From<&[usize; N]> for Shape {
    fn from(extents: &[usize; N]) -> Shape {
        Shape::from(&extents[..])
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extents: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.pad(&format!("[{}]", extents.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_do_not_overflow() {
        assert_eq!(Shape::from([usize::MAX, 2]).checked_elements(), None);
        assert_eq!(Shape::from([usize::MAX, 2, 0]).checked_elements(), Some(0));
        assert_eq!(Shape::scalar().elements(), 1);
    }

    #[test]
    fn strides_are_row_major() {
        assert_eq!(Shape::from([2, 3, 4]).strides(), [12, 4, 1]);
        assert!(Shape::scalar().strides().is_empty());
    }

    #[test]
    fn broadcasting_follows_numpy() {
        let fits = |a: &[usize], b: &[usize]| Shape::from(a).broadcast(&Shape::from(b));
        assert_eq!(fits(&[], &[2, 3]), Some(Shape::from([2, 3])));
        assert_eq!(fits(&[1, 0], &[4, 1]), Some(Shape::from([4, 0])));
        assert_eq!(fits(&[3], &[4]), None);
        assert_eq!(Shape::from([2, 3]).to_string(), "[2, 3]");
    }
}
