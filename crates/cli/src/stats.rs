//! What the values of a tensor are like.

use crate::elements::Elements;
use crate::text;
use serde_json::{Value, json};
use warmstart_checkpoint::{Checkpoint, CheckpointError, TensorEntry};

/// Bars of a histogram.
const BINS: usize = 16;

/// The values of a tensor, summed up. Smallest, largest, mean and deviation are those of the finite
/// elements; there are none if no element is finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    pub finite: u64,
    pub nan: u64,
    pub infinite: u64,
    pub zeros: u64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    /// The sum of the squared distances from the mean.
    squares: f64,
    /// How many finite elements lie in each part of the way from the smallest to the largest.
    pub histogram: [u64; BINS],
}

impl Stats {
    /// Reads the tensor twice, as the histogram needs to know the smallest and the largest. `None`
    /// for dtypes whose elements are not known as numbers here.
    pub fn of(
        checkpoint: &Checkpoint,
        tensor: &TensorEntry,
    ) -> Result<Option<Stats>, CheckpointError> {
        let mut stats = Stats::default();
        let passes: [fn(&mut Stats, &[f64]); 2] = [Stats::add, Stats::sort_in];
        for pass in passes {
            let Some(mut elements) = Elements::of(checkpoint, tensor) else { return Ok(None) };
            loop {
                let piece = elements.next_piece()?;
                if piece.is_empty() {
                    break;
                }
                pass(&mut stats, &piece);
            }
        }
        Ok(Some(stats))
    }

    fn add(&mut self, piece: &[f64]) {
        let nan = piece.iter().filter(|value| value.is_nan()).count() as u64;
        let finite = || piece.iter().copied().filter(|value| value.is_finite());
        let count = finite().count() as u64;
        self.nan += nan;
        self.infinite += piece.len() as u64 - nan - count;
        if count == 0 {
            return;
        }
        self.zeros += finite().filter(|value| *value == 0.0).count() as u64;
        let (min, max) =
            (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        // Each piece has a mean of its own, and is joined to those before it: a plain sum of
        // squares would lose small deviations from a large mean.
        let n = count as f64;
        let mean = match finite().sum::<f64>() / n {
            // Only the sum is too large.
            mean if !mean.is_finite() => finite().map(|value| value / n).sum(),
            mean => mean,
        };
        let squares: f64 = finite().map(|value| (value - mean).powi(2)).sum();
        if self.finite == 0 {
            (self.min, self.max, self.mean, self.squares) = (min, max, mean, squares);
        } else {
            let before = self.finite as f64;
            let distance = mean - self.mean;
            let share = n / (before + n);
            self.min = self.min.min(min);
            self.max = self.max.max(max);
            self.mean += distance * share;
            self.squares += squares + distance * distance * before * share;
        }
        self.finite += count;
    }

    fn sort_in(&mut self, piece: &[f64]) {
        // Halves, because the whole way may be longer than the largest number.
        let way = self.max / 2.0 - self.min / 2.0;
        for value in piece.iter().filter(|value| value.is_finite()) {
            let part = if way > 0.0 { (value / 2.0 - self.min / 2.0) / way } else { 0.5 };
            self.histogram[((part * BINS as f64) as usize).min(BINS - 1)] += 1;
        }
    }

    /// The standard deviation, of all elements and not of a sample.
    pub fn deviation(&self) -> f64 {
        (self.squares / self.finite as f64).sqrt()
    }

    /// Cells of a table: min, max, mean, std, NaN, inf, histogram.
    pub fn cells(&self) -> [String; 7] {
        let number =
            |value: f64| if self.finite == 0 { "-".to_owned() } else { text::short(value) };
        [
            number(self.min),
            number(self.max),
            number(self.mean),
            number(self.deviation()),
            self.nan.to_string(),
            self.infinite.to_string(),
            self.bars(),
        ]
    }

    fn bars(&self) -> String {
        const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = self.histogram.iter().copied().max().unwrap_or(0).max(1);
        // A bar of few is low, but not none.
        let height = |&n: &u64| (n as f64 / most as f64 * 8.0).ceil() as usize;
        let bars: String = self.histogram.iter().map(|n| BARS[height(n).min(8)]).collect();
        if self.finite == 0 { String::new() } else { format!("│{bars}│") }
    }

    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "finite": self.finite,
            "nan": self.nan,
            "infinite": self.infinite,
            "zeros": self.zeros,
        });
        if self.finite > 0 {
            value["min"] = text::number(self.min);
            value["max"] = text::number(self.max);
            value["mean"] = text::number(self.mean);
            value["std"] = text::number(self.deviation());
            value["histogram"] = json!(self.histogram);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[&[f64]]) -> Stats {
        let mut stats = Stats::default();
        pieces.iter().for_each(|piece| stats.add(piece));
        pieces.iter().for_each(|piece| stats.sort_in(piece));
        stats
    }

    #[test]
    fn pieces_come_to_the_same_as_the_whole() {
        let values: Vec<f64> = (0..1000).map(|i| 1e6 + f64::from(i * 7919 % 1000)).collect();
        let whole = of(&[&values]);
        let pieces: Vec<&[f64]> = values.chunks(77).collect();
        let pieces = of(&pieces);
        assert_eq!((whole.min, whole.max, whole.finite), (1e6, 1e6 + 999.0, 1000));
        assert!((whole.mean - 1_000_499.5).abs() < 1e-6);
        // Of 0, 1, ..., n - 1 the variance is (n² - 1) / 12.
        let expected = ((1e6f64 - 1.0) / 12.0).sqrt();
        for stats in [&whole, &pieces] {
            assert!((stats.deviation() - expected).abs() < 1e-6, "{}", stats.deviation());
        }
        assert_eq!(whole.histogram, pieces.histogram);
        assert_eq!(whole.histogram.iter().sum::<u64>(), 1000);
        assert!(whole.histogram.iter().all(|n| (62..=63).contains(n)), "{:?}", whole.histogram);
    }

    #[test]
    fn what_is_not_finite_is_counted_and_kept_apart() {
        let stats = of(&[&[f64::NAN, f64::INFINITY], &[0.0, 2.0, f64::NEG_INFINITY]]);
        assert_eq!((stats.nan, stats.infinite, stats.zeros, stats.finite), (1, 2, 1, 2));
        assert_eq!((stats.min, stats.max, stats.mean, stats.deviation()), (0.0, 2.0, 1.0, 1.0));
        let nothing = of(&[&[f64::NAN]]);
        assert_eq!(nothing.cells()[..5], ["-", "-", "-", "-", "1"]);
        assert_eq!(nothing.to_json().get("mean"), None);
        let extreme = of(&[&[f64::MIN, f64::MAX]]);
        assert_eq!((extreme.histogram[0], extreme.histogram[BINS - 1]), (1, 1));
        let alike = of(&[&[3.0, 3.0]]);
        assert_eq!((alike.deviation(), alike.histogram.iter().sum::<u64>()), (0.0, 2));
    }
}
