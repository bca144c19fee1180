//! Timing work that can be repeated, several kinds in turn.

use crate::error::MeasureError;
use crate::spread::Spread;
use std::time::{Duration, Instant};

/// Work that can be repeated.
pub struct Repeated<'a> {
    /// Does it so many times, and waits for the last.
    work: Box<dyn FnMut(usize) -> Result<(), MeasureError> + 'a>,
    /// How often it is done in a round.
    times: usize,
    /// What is done each time consists of so many alike.
    parts: usize,
    spent: f64,
    samples: Vec<f64>,
}

impl<'a> Repeated<'a> {
    /// Work as a function that does it so many times and waits for the last.
    pub fn new(work: impl FnMut(usize) -> Result<(), MeasureError> + 'a) -> Repeated<'a> {
        Repeated { work: Box::new(work), times: 1, parts: 1, spent: 0.0, samples: Vec::new() }
    }

    /// The same, of which each time does so many alike: [`Repeated::seconds`] are those of one.
    #[must_use]
    pub fn in_parts(self, parts: usize) -> Repeated<'a> {
        Repeated { parts: parts.max(1), ..self }
    }

    /// How many rounds there were.
    pub fn rounds(&self) -> usize {
        self.samples.len()
    }

    /// Seconds for doing it once, or for one of its parts. None before it was timed.
    pub fn seconds(&self) -> Option<Spread> {
        Spread::of(self.samples.iter().map(|seconds| seconds / self.parts as f64))
    }

    /// Seconds for doing it so many times.
    fn time(&mut self, times: usize) -> Result<f64, MeasureError> {
        let start = Instant::now();
        (self.work)(times)?;
        Ok(start.elapsed().as_secs_f64().max(1e-9))
    }

    /// Finds out how often it can be done in some seconds. What is done here does not count.
    fn prepare(&mut self, within: f64) -> Result<(), MeasureError> {
        // Caches, and what drivers only do when a kernel first runs.
        let mut once = self.time(1)?;
        // Of what is short, a few times say more.
        let mut times = 1;
        while once < within / 4.0 && times < MOST {
            times = ((within / 2.0 / once) as usize).clamp(2 * times, 16 * times).min(MOST);
            once = self.time(times)? / times as f64;
            if once * times as f64 >= within / 4.0 {
                break;
            }
        }
        self.times = ((within / once) as usize).clamp(1, MOST);
        Ok(())
    }
}

/// How often something is done in a round at most.
const MOST: usize = 100_000;

/// How many rounds there are of what is short.
pub const ROUNDS: usize = 5;

/// How far a measurement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which round it is, from 1; none while it is found out how long things take.
    pub round: Option<usize>,
    /// Which kind of work is next, from 0.
    pub at: usize,
}

impl Step {
    /// It in words, of so many kinds of work.
    pub fn of(&self, kinds: usize) -> String {
        let (at, kinds) = (self.at + 1, kinds.max(1));
        match self.round {
            Some(round) => format!("round {round} of {ROUNDS}: {at} of {kinds}"),
            None => format!("making ready: {at} of {kinds}"),
        }
    }
}

/// Times several kinds of work, for about `each` all rounds of one together, in turn, so that what
/// else the machine does hits all of them alike. What takes long is done three times, and what takes
/// very long once.
///
/// # Errors
/// The first of any work.
pub fn time_in_turn(
    work: &mut [&mut Repeated<'_>],
    each: Duration,
    progress: &mut dyn FnMut(Step),
) -> Result<(), MeasureError> {
    let each = each.as_secs_f64();
    for (at, one) in work.iter_mut().enumerate() {
        progress(Step { round: None, at });
        one.prepare(each / ROUNDS as f64)?;
    }
    for round in 0..ROUNDS {
        for (at, one) in work.iter_mut().enumerate() {
            let enough = match round {
                0 => false,
                1 | 2 => one.spent > 5.0 * each,
                _ => one.spent > each,
            };
            if enough {
                continue;
            }
            progress(Step { round: Some(round + 1), at });
            let times = one.times;
            let seconds = one.time(times)?;
            one.spent += seconds;
            one.samples.push(seconds / times as f64);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn all_work_is_timed_in_turn_and_errors_end_it() {
        let (done, calls) = (Cell::new(0), Cell::new(0));
        let mut one = Repeated::new(|times| {
            done.set(done.get() + times);
            Ok(())
        });
        let mut other = Repeated::new(|_| {
            calls.set(calls.get() + 1);
            Ok(())
        });
        let each = Duration::from_micros(10);
        let mut begun = Vec::new();
        time_in_turn(&mut [&mut one, &mut other], each, &mut |step| begun.push(step)).unwrap();
        let first = [(None, 0), (None, 1), (Some(1), 0), (Some(1), 1)];
        assert_eq!(begun[..4], first.map(|(round, at)| Step { round, at }));
        assert_eq!(begun[3].of(2), "round 1 of 5: 2 of 2");
        let seconds = one.seconds().unwrap();
        assert!(seconds.least > 0.0 && seconds.least <= seconds.most);
        assert!((1..=ROUNDS).contains(&one.rounds()) && one.rounds() <= done.get());
        assert!(calls.get() > other.rounds());

        let mut wrong = Repeated::new(|_| Err(MeasureError::NoCold));
        assert!(time_in_turn(&mut [&mut wrong], each, &mut |_| {}).is_err());
    }

    #[test]
    fn seconds_are_those_of_a_part() {
        let mut whole = Repeated::new(|_| Ok(()));
        whole.samples = vec![8.0, 4.0];
        assert_eq!(whole.seconds().unwrap().median, 6.0);
        let seconds = whole.in_parts(4).seconds().unwrap();
        assert_eq!((seconds.least, seconds.median, seconds.most), (1.0, 1.5, 2.0));
    }
}
