use super::*;
use crate::tune::clock::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What was done with which kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Compiled(usize),
    Ran(usize),
}
use Done::{Compiled, Ran};

/// A device on which compiling and running a kernel takes so many milliseconds.
struct Slow {
    now: Arc<AtomicU64>,
    takes: Vec<[u64; 2]>,
    done: Vec<Done>,
}

impl Bench for Slow {
    fn compile(&mut self, at: usize) -> Result<bool, GpuError> {
        self.done.push(Compiled(at));
        self.now.fetch_add(self.takes[at][0], Ordering::Relaxed);
        Ok(true)
    }

    fn run(&mut self, at: usize, _: Duration) -> Result<Outcome, GpuError> {
        self.done.push(Ran(at));
        self.now.fetch_add(self.takes[at][1], Ordering::Relaxed);
        Ok(Outcome::Took(Duration::from_millis(self.takes[at][1])))
    }
}

/// What was done in so many milliseconds, and what is known then.
fn tried(
    takes: &[[u64; 2]],
    so_far: &[Option<Outcome>],
    left: u64,
    is_whole: bool,
) -> (Vec<Done>, Vec<Option<Outcome>>) {
    let now = Arc::new(AtomicU64::new(0));
    let shown = now.clone();
    let clock = Clock::by(move || Duration::from_millis(shown.load(Ordering::Relaxed)));
    let mut slow = Slow { now, takes: takes.to_vec(), done: Vec::new() };
    let mut outcomes = so_far.to_vec();
    let left = Duration::from_millis(left);
    in_turn(&mut slow, &mut outcomes, &clock.time(left, is_whole.then_some(left))).unwrap();
    (slow.done, outcomes)
}

fn took(milliseconds: u64) -> Option<Outcome> {
    Some(Outcome::Took(Duration::from_millis(milliseconds)))
}

#[test]
fn a_kernel_is_compiled_only_while_there_is_time_and_run_only_if_some_is_left() {
    let takes = [[10, 5], [400, 6], [300, 7], [1, 8]];
    // The third is compiled within the half second, which ends meanwhile.
    let (done, known) = tried(&takes, &[None; 4], 500, true);
    assert_eq!(done, [Compiled(0), Ran(0), Compiled(1), Ran(1), Compiled(2)]);
    assert_eq!(known, [took(5), took(6), None, None]);
    // The next process goes on with it; the first is there to compare with.
    let (done, known) = tried(&takes, &known, 500, true);
    assert_eq!(done, [Compiled(0), Ran(0), Compiled(2), Ran(2), Compiled(3), Ran(3)]);
    assert_eq!(known, [took(5), took(6), took(7), took(8)]);
    // A budget that ends with a run begins nothing more.
    let (done, _) = tried(&takes, &[None; 4], 15, true);
    assert_eq!(done, [Compiled(0), Ran(0)]);
    // Without end all is tried.
    let (done, known) = tried(&takes, &[None; 4], 1 << 40, true);
    assert_eq!((done.len(), known.iter().flatten().count()), (8, 4));
}

fn too_long(tries: u32) -> Option<Outcome> {
    Some(Outcome::TooLong(TooLong { budget: Duration::from_millis(500), tries }))
}

#[test]
fn what_a_whole_budget_is_too_short_for_is_tried_again_after_all_others() {
    let takes = [[10, 5], [600, 6], [1, 7]];
    let (_, known) = tried(&takes, &[None; 3], 500, true);
    assert_eq!(known, [took(5), too_long(1), None]);
    let (done, known) = tried(&takes, &known, 500, true);
    assert_eq!(done, [Compiled(0), Ran(0), Compiled(2), Ran(2), Compiled(1)]);
    // Another kernel has taken of the time.
    assert_eq!(known, [took(5), too_long(1), took(7)]);
    let (done, known) = tried(&takes, &known, 500, true);
    assert_eq!(done, [Compiled(0), Ran(0), Compiled(1)]);
    assert_eq!(known, [took(5), too_long(2), took(7)]);
    // Twice is enough, and a part of the time is too little.
    assert_eq!(tried(&takes, &known, 500, true), (vec![Compiled(0), Ran(0)], known.clone()));
    let once = [took(5), too_long(1), took(7)];
    assert_eq!(tried(&takes, &once, 500, false).0, [Compiled(0), Ran(0)]);
    // The driver knew it by then.
    let (_, after) = tried(&[[10, 5], [1, 6], [1, 7]], &once, 500, true);
    assert_eq!(after, [took(5), took(6), took(7)]);
    // A longer budget begins to count anew.
    let longer = TooLong { budget: Duration::from_millis(510), tries: 1 };
    let (_, known) = tried(&takes, &known, 510, true);
    assert_eq!(known, [took(5), Some(Outcome::TooLong(longer)), took(7)]);
    // Not where others have taken of it, in other classes or in this one.
    assert_eq!(tried(&takes, &[None; 3], 499, false).1, [took(5), None, None]);
    let takes = [[10, 5], [1, 6], [600, 7]];
    assert_eq!(tried(&takes, &[None; 3], 500, true).1, [took(5), took(6), None]);
}

#[test]
fn of_the_usual_kernel_the_better_time_counts() {
    let takes = [[1, 9], [1, 4]];
    assert_eq!(tried(&takes, &[took(5), None], 500, true).1, [took(5), took(4)]);
    assert_eq!(tried(&takes, &[took(12), None], 500, true).1, [took(9), took(4)]);
}
