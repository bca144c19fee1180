//! What is subtracted from values, and what they are divided by, learned from the rows to train on.

use super::settings::Scaling;

/// `(x − offset) / scale` for each column.
#[derive(Debug, PartialEq)]
pub struct Scale {
    pub offset: Vec<f32>,
    pub scale: Vec<f32>,
    /// Columns that are the same in every row: nothing can be learned from them.
    pub constant: Vec<usize>,
}

impl Scale {
    /// Learns from rows of so many columns.
    pub fn learn(values: &[f32], width: usize, scaling: Scaling) -> Scale {
        let count = (values.len() / width).max(1) as f64;
        let column = |at: usize| values.iter().skip(at).step_by(width).map(|&x| f64::from(x));
        let range = |at: usize| {
            column(at).fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)))
        };
        let ranges: Vec<(f64, f64)> = (0..width).map(range).collect();
        let together = ranges
            .iter()
            .fold((f64::MAX, f64::MIN), |all, one| (all.0.min(one.0), all.1.max(one.1)));
        let learned = ranges.iter().enumerate().map(|(at, &(low, high))| match scaling {
            Scaling::None => (0.0, 1.0),
            Scaling::MinMax => (low, high - low),
            Scaling::MinMaxTogether => (together.0, together.1 - together.0),
            // What the mean of equal numbers is off by must not count as a deviation.
            Scaling::Standardize if low == high => (low, 0.0),
            Scaling::Standardize => {
                let mean = column(at).sum::<f64>() / count;
                let variance = column(at).map(|x| (x - mean).powi(2)).sum::<f64>() / count;
                (mean, variance.sqrt())
            }
        });
        // A division by zero would make NaN of a column that only has nothing to say; and what
        // deviates less than an `f32` can hold is as good as constant.
        let usable =
            |scale: f64| if scale as f32 >= f32::MIN_POSITIVE { scale as f32 } else { 1.0 };
        let (offset, scale) = learned.map(|(offset, scale)| (offset as f32, usable(scale))).unzip();
        let constant = (0..width).filter(|&at| ranges[at].0 == ranges[at].1).collect();
        Scale { offset, scale, constant }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_scaled_and_constant_ones_are_told() {
        let rows = [1.0, 7.0, 0.0, 3.0, 7.0, 10.0];
        let scale = |scaling| Scale::learn(&rows, 3, scaling);
        let standardized = scale(Scaling::Standardize);
        assert_eq!(standardized.offset, [2.0, 7.0, 5.0]);
        assert_eq!(standardized.scale, [1.0, 1.0, 5.0]);
        assert_eq!(standardized.constant, [1]);
        assert_eq!(scale(Scaling::MinMax).scale, [2.0, 1.0, 10.0]);
        assert_eq!(scale(Scaling::MinMax).offset, [1.0, 7.0, 0.0]);
        assert_eq!(scale(Scaling::MinMaxTogether).scale, [10.0; 3]);
        assert_eq!(scale(Scaling::MinMaxTogether).offset, [0.0; 3]);
        assert_eq!(scale(Scaling::None).scale, [1.0; 3]);
    }

    #[test]
    fn what_has_no_width_is_never_divided_by() {
        for scaling in [Scaling::Standardize, Scaling::MinMax, Scaling::MinMaxTogether] {
            assert_eq!(Scale::learn(&[0.1; 7], 1, scaling).scale, [1.0], "{scaling:?}");
            assert_eq!(Scale::learn(&[0.1], 1, scaling).scale, [1.0], "{scaling:?}");
            let tiny = Scale::learn(&[0.0, 1e-45], 1, scaling);
            assert_eq!(tiny.scale, [1.0], "{scaling:?}");
        }
    }
}
