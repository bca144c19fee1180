//! What is subtracted from values, and what they are divided by, learned from the rows to train on.
//!
//! Both are in the graph, as variables that are not trained (`input/offset`, `input/scale`; of a
//! regression also `output/...`), so that the model takes data as it is in the file.

use super::settings::Scaling;
use warmstart::mean_and_stddev;

/// `(x − offset) / scale` for each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub offset: Vec<f32>,
    pub scale: Vec<f32>,
    /// Columns that are the same in every row: nothing can be learned from them.
    pub constant: Vec<usize>,
}

impl Scale {
    /// Learns from rows of so many columns.
    pub fn learn(values: &[f32], width: usize, scaling: Scaling) -> Scale {
        let mut ranges = vec![(f64::MAX, f64::MIN); width];
        // In the order of memory.
        for row in values.chunks(width) {
            for ((low, high), &value) in ranges.iter_mut().zip(row) {
                (*low, *high) = (low.min(value.into()), high.max(value.into()));
            }
        }
        let constant = (0..width).filter(|&at| ranges[at].0 == ranges[at].1).collect();
        let scales: Vec<(f64, f64)> = match scaling {
            Scaling::None => vec![(0.0, 1.0); width],
            Scaling::MinMax => ranges.iter().map(|(low, high)| (*low, high - low)).collect(),
            Scaling::MinMaxTogether => {
                let wider =
                    |all: (f64, f64), one: &(f64, f64)| (all.0.min(one.0), all.1.max(one.1));
                let (low, high) = ranges.iter().fold((f64::MAX, f64::MIN), wider);
                vec![(low, high - low); width]
            }
            Scaling::Standardize => {
                let (mean, stddev) = mean_and_stddev(|| values.iter().copied(), width);
                mean.into_iter().map(f64::from).zip(stddev.into_iter().map(f64::from)).collect()
            }
        };
        // A division by zero would make NaN of a column that only has nothing to say; and what
        // deviates less than an `f32` can hold is as good as constant.
        let usable =
            |scale: f64| if scale as f32 >= f32::MIN_POSITIVE { scale as f32 } else { 1.0 };
        let (offset, scale) =
            scales.into_iter().map(|(offset, scale)| (offset as f32, usable(scale))).unzip();
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
