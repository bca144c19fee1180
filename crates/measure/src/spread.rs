//! How much rounds differ.

/// The median of several rounds, and the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The one in the middle; of an even number the mean of the two there.
    pub median: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of some numbers; `None` if there are none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        let (&least, &most) = (numbers.first()?, numbers.last()?);
        let (below, above) = (numbers[(numbers.len() - 1) / 2], numbers[numbers.len() / 2]);
        Some(Spread { least, median: (below + above) / 2.0, most })
    }

    /// Of seconds: how often an amount fits into one. The rate of the median time, so that a rate
    /// and a time that are told together are of the same rounds.
    pub fn rates(&self, amount: f64) -> Spread {
        Spread {
            least: amount / self.most,
            median: amount / self.median,
            most: amount / self.least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0]), Some(Spread { least: 3.0, median: 3.0, most: 3.0 }));
        let three = Spread::of([9.0, 1.0, 2.0]).unwrap();
        assert_eq!((three.least, three.median, three.most), (1.0, 2.0, 9.0));
        let two = Spread::of([4.0, 1.0]).unwrap();
        assert_eq!((two.least, two.median, two.most), (1.0, 2.5, 4.0));
        assert_eq!(Spread::of([9.0, 1.0, 2.0, 4.0]).unwrap().median, 3.0);
    }

    #[test]
    fn rates_are_the_inverse_of_times() {
        let seconds = Spread { least: 0.1, median: 0.2, most: 0.5 };
        assert_eq!(seconds.rates(1.0), Spread { least: 2.0, median: 5.0, most: 10.0 });
        let seconds = Spread::of([1.0, 3.0]).unwrap();
        assert_eq!(seconds.rates(6.0), Spread { least: 2.0, median: 3.0, most: 6.0 });
    }
}
