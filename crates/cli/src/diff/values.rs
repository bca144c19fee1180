//! How the values of two tensors differ.

use crate::elements::Elements;
use crate::text;
use serde_json::{Value, json};
use warmstart_checkpoint::{Checkpoint, CheckpointError, Compared, TensorEntry};

/// How the values of two tensors differ.
pub enum Difference {
    /// The elements are not known as numbers here. Bytes tell whether they are equal, if both have
    /// the same dtype.
    Bytes {
        equal: bool,
    },
    Numbers(Numbers),
}

#[derive(Default)]
pub struct Numbers {
    elements: u64,
    unequal: u64,
    /// Elements of which one is NaN and the other is not: no difference can be told.
    one_nan: u64,
    absolute: f64,
    relative: f64,
}

/// Compares the elements of two tensors.
pub fn compare(
    (a, of_a): (&Checkpoint, &TensorEntry),
    (b, of_b): (&Checkpoint, &TensorEntry),
    how: Compared,
) -> Result<Difference, CheckpointError> {
    let elements_of_a = match how {
        Compared::Transposed => Elements::transposed(a, of_a),
        _ => Elements::of(a, of_a),
    };
    let (Some(mut a), Some(mut b)) = (elements_of_a, Elements::of(b, of_b)) else {
        let in_order = how == Compared::InOrder && of_a.dtype == of_b.dtype;
        let equal = in_order && equal_bytes((a, of_a), (b, of_b))?;
        return Ok(Difference::Bytes { equal });
    };
    let whole_numbers = a.dtype() == b.dtype() && !a.dtype().is_float();
    let mut found = Numbers::default();
    loop {
        let (of_a, of_b) = (a.next_piece()?, b.next_piece()?);
        // Of two tables of rows, one may have fewer.
        if of_a.is_empty() || of_b.is_empty() {
            return Ok(Difference::Numbers(found));
        }
        for (at, (&x, &y)) in of_a.iter().zip(&of_b).enumerate() {
            // Whole numbers of 64 bits may be too large to tell apart as floats.
            let told_apart = whole_numbers && a.whole_number(at) != b.whole_number(at);
            found.add(x, y, told_apart);
        }
    }
}

/// Whether two tensors of one dtype and shape have the same bytes.
fn equal_bytes(
    (a, of_a): (&Checkpoint, &TensorEntry),
    (b, of_b): (&Checkpoint, &TensorEntry),
) -> Result<bool, CheckpointError> {
    let (Some(mut a), Some(mut b)) = (a.reader(&of_a.name), b.reader(&of_b.name)) else {
        return Ok(false);
    };
    let (mut from_a, mut from_b) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let (n, m) = (a.read(&mut from_a)?, b.read(&mut from_b)?);
        if from_a[..n] != from_b[..m] || n == 0 {
            return Ok(n == m && n == 0);
        }
    }
}

impl Numbers {
    fn add(&mut self, a: f64, b: f64, told_apart: bool) {
        self.elements += 1;
        if !told_apart && (a == b || (a.is_nan() && b.is_nan())) {
            return;
        }
        self.unequal += 1;
        let difference = (a - b).abs();
        if difference.is_nan() {
            self.one_nan += 1;
            return;
        }
        self.absolute = self.absolute.max(difference);
        // Of an infinity and a number the quotient would be NaN.
        let larger = a.abs().max(b.abs());
        let relative = if larger.is_infinite() { f64::INFINITY } else { difference / larger };
        self.relative = self.relative.max(relative);
    }
}

impl Difference {
    pub fn is_none(&self) -> bool {
        match self {
            Difference::Bytes { equal } => *equal,
            Difference::Numbers(numbers) => numbers.unequal == 0,
        }
    }

    pub fn row(&self, name: &str) -> Vec<String> {
        let cells = match self {
            Difference::Bytes { .. } => ["other bytes", "", "", ""].map(str::to_owned),
            Difference::Numbers(n) => {
                let nan =
                    if n.one_nan > 0 { format!(" ({} NaN)", n.one_nan) } else { String::new() };
                let unequal = format!("{}{nan}", n.unequal);
                [unequal, n.elements.to_string(), text::short(n.absolute), text::short(n.relative)]
            }
        };
        [name.to_owned()].into_iter().chain(cells).collect()
    }

    pub fn to_json(&self, name: &str) -> Value {
        match self {
            Difference::Bytes { equal } => json!({ "name": name, "equal": equal }),
            Difference::Numbers(n) => json!({
                "name": name,
                "equal": n.unequal == 0,
                "elements": n.elements,
                "unequal": n.unequal,
                "one_nan": n.one_nan,
                "absolute": text::number(n.absolute),
                "relative": text::number(n.relative),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_what_is_not_finite_are_told() {
        let (nan, infinity) = (f64::NAN, f64::INFINITY);
        let mut found = Numbers::default();
        found.add(nan, nan, false);
        found.add(infinity, infinity, false);
        found.add(0.0, -0.0, false);
        assert_eq!((found.elements, found.unequal), (3, 0));
        found.add(nan, 1.0, false);
        found.add(2.0, 1.0, false);
        assert_eq!(
            (found.unequal, found.one_nan, found.absolute, found.relative),
            (2, 1, 1.0, 0.5)
        );
        found.add(infinity, 1.0, false);
        assert_eq!((found.absolute, found.relative), (infinity, infinity));
        // Two whole numbers that are one as floats.
        let mut found = Numbers::default();
        found.add(0.0, 0.0, true);
        assert_eq!(found.unequal, 1);
    }
}
