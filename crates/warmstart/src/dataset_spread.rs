//! What the inputs of a data set are like, before anything is trained on them.

use crate::{Dataset, DatasetInput};

impl<T: Copy, I: DatasetInput> Dataset<T, I> {
    /// The mean and the standard deviation of each input over all examples, shape `[width]` each, with
    /// which a model brings inputs of different units to one scale: `(x − mean) / stddev`. An input
    /// that is the same in all examples has a deviation of 1 here, so that it can be divided by.
    ///
    /// They belong to the weights that are trained with them: as variables that are not trained, they
    /// are in the same checkpoint.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use warmstart::prelude::*;
    ///
    /// // °C and hPa.
    /// let data = Dataset::new(vec![10.0, 990.0, 20.0, 1010.0], 2, vec![0, 1])?;
    /// let (mean, stddev) = data.mean_and_stddev();
    /// assert_eq!((&mean[..], &stddev[..]), (&[15.0, 1000.0][..], &[5.0, 10.0][..]));
    ///
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [2, 2], DType::F32);
    /// let scope = graph.scope("inputs").frozen();
    /// let mean = scope.variable("mean", [2], Initializer::Values(mean));
    /// let stddev = scope.variable("stddev", [2], Initializer::Values(stddev));
    /// let logits = graph.scope("fc").linear((x - mean) / stddev, 2);
    /// # let _ = logits;
    /// # graph.finish()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn mean_and_stddev(&self) -> (Vec<f32>, Vec<f32>) {
        mean_and_stddev(|| self.numbers(), self.width())
    }
}

/// The same of any rows of so many numbers.
#[doc(hidden)]
pub fn mean_and_stddev<N: Iterator<Item = f32>>(
    numbers: impl Fn() -> N,
    width: usize,
) -> (Vec<f32>, Vec<f32>) {
    // Differences from the first row: they are 0 where a column never changes, to the bit.
    let mut first: Vec<f64> = numbers().take(width).map(f64::from).collect();
    // Of no rows, 0.
    first.resize(width, 0.0);
    let mean = over_rows(numbers(), &first, |_, difference| difference);
    let squares = |column: usize, difference: f64| (difference - mean[column]).powi(2);
    let variance = over_rows(numbers(), &first, squares);
    let means = first.iter().zip(&mean).map(|(first, mean)| (first + mean) as f32);
    // What deviates by less than an `f32` can hold is as good as constant.
    let usable = |stddev: f32| if stddev >= f32::MIN_POSITIVE { stddev } else { 1.0 };
    (means.collect(), variance.iter().map(|variance| usable(variance.sqrt() as f32)).collect())
}

/// The mean over all rows, for each column, of what is made of its difference from the first row.
fn over_rows(
    numbers: impl Iterator<Item = f32>,
    first: &[f64],
    of: impl Fn(usize, f64) -> f64,
) -> Vec<f64> {
    let mut sums = vec![0.0; first.len()];
    let (mut rows, mut column) = (0u64, 0);
    for number in numbers {
        sums[column] += of(column, f64::from(number) - first[column]);
        column += 1;
        if column == first.len() {
            (rows, column) = (rows + 1, 0);
        }
    }
    sums.iter_mut().for_each(|sum| *sum /= rows.max(1) as f64);
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_input_has_its_own() {
        let rows = vec![1.0, 0.1, 1e6, 3.0, 0.1, 1e6 + 4.0, 5.0, 0.1, 1e6 - 4.0];
        let data = Dataset::new(rows, 3, vec![0; 3]).unwrap();
        let third = (32.0f64 / 3.0).sqrt() as f32;
        let expected = (vec![3.0, 0.1, 1e6], vec![(8.0f64 / 3.0).sqrt() as f32, 1.0, third]);
        assert_eq!(data.mean_and_stddev(), expected);
        assert_eq!(data.scaled(2.0).mean_and_stddev().0, [6.0, 0.2, 2e6]);
    }

    #[test]
    fn an_input_that_never_changes_is_divided_by_one() {
        for examples in [1, 3, 7, 1000] {
            let data = Dataset::new(vec![0.1; examples], 1, vec![0; examples]).unwrap();
            assert_eq!(data.mean_and_stddev(), (vec![0.1], vec![1.0]), "{examples}");
        }
        let tiny = Dataset::new(vec![0.0, 1e-45], 1, vec![0; 2]).unwrap();
        assert_eq!(tiny.mean_and_stddev().1, [1.0]);
        let none = Dataset::new(Vec::new(), 2, Vec::new()).unwrap();
        assert_eq!(none.mean_and_stddev(), (vec![0.0; 2], vec![1.0; 2]));
        let no_inputs = Dataset::new(Vec::new(), 0, vec![1]).unwrap();
        assert_eq!(no_inputs.mean_and_stddev(), (Vec::new(), Vec::new()));
    }

    #[test]
    fn bytes_are_taken_as_a_model_takes_them() {
        let bytes = Dataset::from_bytes(vec![0, 7, 255, 7], 2, vec![0, 1]).unwrap();
        let (mean, stddev) = bytes.clone().scaled(1.0 / 255.0).mean_and_stddev();
        assert_eq!((mean[0], stddev), (0.5, vec![0.5, 1.0]));
        assert_eq!(bytes.mean_and_stddev(), (vec![127.5, 7.0], vec![127.5, 1.0]));
    }
}
