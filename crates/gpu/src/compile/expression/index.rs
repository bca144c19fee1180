//! Which element of a tensor a generated function computes or reads.

use warmstart_graph::Shape;

/// Which element of a shape: by its row-major offset, by its coordinates, or by both.
#[derive(Clone)]
pub(crate) struct Index {
    pub shape: Shape,
    pub flat: Option<String>,
    pub coordinates: Option<Vec<String>>,
    /// How many elements that is in all invocations together, at most: fewer than the shape has where only
    /// a slice of it is read, or some rows.
    pub(super) elements: usize,
}

impl Index {
    /// The element at a row-major offset.
    pub fn flat(shape: &Shape, offset: &str) -> Index {
        let (shape, elements) = (shape.clone(), shape.elements());
        Index { shape, flat: Some(offset.to_owned()), coordinates: None, elements }
    }

    /// The element at a row-major offset whose row and column are known too, where all axes but the last
    /// are rows.
    pub fn both(shape: &Shape, offset: &str, [row, column]: [&str; 2]) -> Index {
        let rows = Shape::from(&shape[..shape.rank() - 1]);
        let split = rows.iter().zip(rows.strides()).enumerate().map(|(axis, (extent, stride))| {
            let first = if stride == 1 { row.to_owned() } else { format!("{row} / {stride}u") };
            match (axis, extent) {
                (_, 1) => "0u".to_owned(),
                (0, _) => first,
                _ => format!("({first} % {extent}u)"),
            }
        });
        let coordinates = split.chain([column.to_owned()]).collect();
        Index { coordinates: Some(coordinates), ..Index::flat(shape, offset) }
    }

    /// The element at coordinates.
    pub fn at(shape: &Shape, coordinates: Vec<String>) -> Index {
        let (shape, elements) = (shape.clone(), shape.elements());
        Index { shape, flat: None, coordinates: Some(coordinates), elements }
    }

    /// The same where it is computed from this many elements of something else.
    pub(super) fn of(self, elements: usize) -> Index {
        Index { elements: elements.min(self.elements), ..self }
    }

    pub(super) fn key(&self) -> String {
        match (&self.flat, &self.coordinates) {
            (Some(flat), _) => format!("{flat} of {}", self.shape),
            (None, coordinates) => format!("{coordinates:?}"),
        }
    }
}
