//! What a `Gpu` does when the time for measuring runs out. The clock is one of the tests' own.

use super::measure::TooLong;
use super::tests::{all, directory, dispatch, gpu, gpu_of, source};
use super::*;
use crate::compile::matmul::Rung;
use crate::device::gpu::GpuOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BYTES: [u64; 2] = [1024, 1024];

/// Four kernels of the same bits.
fn four() -> Dispatch {
    let sources = ["a[i] + 1.0", "1.0 + a[i]", "a[i] - -1.0", "(a[i] + 1.0)"];
    dispatch(&sources.map(source))
}

/// A process whose clock goes on by so many milliseconds each time it is looked at.
fn process_of(cache: &CacheChoice, milliseconds: u64) -> Gpu {
    process_with(cache, milliseconds, GpuOptions::default().tune_budget)
}

/// The same with so much time for measuring.
fn process_with(cache: &CacheChoice, milliseconds: u64, budget: Duration) -> Gpu {
    let gpu = gpu_of(Tune::On, cache, budget);
    let looks = AtomicU64::new(0);
    let now = move || Duration::from_millis(milliseconds * looks.fetch_add(1, Ordering::Relaxed));
    locked(&gpu.tuner().state).clock = Clock::by(now);
    gpu
}

/// What is kept of the one class of this dispatch.
fn kept(gpu: &Gpu, dispatch: &Dispatch) -> (Option<Variant>, Option<Begun>) {
    let class = class(dispatch.tuned.as_ref().unwrap(), &dispatch.alternatives);
    let known = gpu.tuner().read();
    (known.classes.get(&class).copied(), known.begun.get(&class).cloned())
}

/// Time is looked at before each kernel is compiled and run; the next process measures what is left, and
/// none is measured by two.
#[test]
fn a_class_for_which_time_ran_out_is_gone_on_with_by_the_next_process() {
    let (_directory, cache) = directory();
    let dispatch = four();
    let usual = dispatch.tuned.as_ref().unwrap().usual;
    // Two looks for each kernel, and half a second: two kernels a process, of which one is the usual.
    let mut known: Vec<Begun> = Vec::new();
    let processes = loop {
        let gpu = process_of(&cache, 90);
        gpu.tuner().choose(&gpu, &dispatch, &BYTES);
        let (chosen, begun) = kept(&gpu, &dispatch);
        let measured = gpu.measured_kernels().len();
        assert_eq!(measured, usize::from(chosen.is_some()), "a part is no line of the table");
        let Some(begun) = begun else { break known.len() + 1 };
        assert!(chosen.is_none() && begun.contains_key(&usual), "{begun:?}");
        if let Some(before) = known.last() {
            assert_eq!(begun.len(), before.len() + 1, "{begun:?}");
            let same = |(variant, outcome): (&Variant, &Outcome)| {
                *variant == usual || begun.get(variant) == Some(outcome)
            };
            assert!(before.iter().all(same), "measured again: {before:?} {begun:?}");
        } else {
            assert_eq!(begun.len(), 2, "{begun:?}");
        }
        known.push(begun);
        assert!(known.len() < 4, "it comes to no end");
    };
    assert_eq!(processes, 3);
    // All is known: no process measures any more.
    let gpu = process_of(&cache, 90);
    gpu.tuner().choose(&gpu, &dispatch, &BYTES);
    assert!(gpu.measured_kernels().is_empty());
}

/// Of a class that was begun the best so far is taken, in this process and in the next, which may have no
/// time at all.
#[test]
fn the_best_so_far_is_taken_where_time_ran_out() {
    let (_directory, cache) = directory();
    let dispatch = four();
    let register = Variant::Product(Rung::Register);
    let tuned = dispatch.tuned.as_ref().unwrap();
    let name = name(&dispatch, &dispatch.alternatives[0], &BYTES);
    let times = [(tuned.usual, 100), (register, 50)];
    let begun =
        times.map(|(variant, micros)| (variant, Outcome::Took(Duration::from_micros(micros))));
    let mut known = Known { bits: [(name, Bits::Same)].into(), ..Known::default() };
    known.begun.insert(class(tuned, &dispatch.alternatives), begun.into());
    gpu(Tune::On, &cache).tuner().write(&known);
    let late = gpu(Tune::On, &cache);
    locked(&late.tuner().state).spent = BUDGET;
    for _ in 0..2 {
        let chosen = late.tuner().choose(&late, &dispatch, &BYTES).map(|other| other.variant);
        assert_eq!(chosen, Some(register));
    }
    assert_eq!(late.tuner().read(), known, "without time nothing changes");
}

/// No kernel takes the time of each process: what a whole budget is too short for is tried twice, and then
/// left.
#[test]
fn what_all_the_time_is_too_short_for_is_left_after_a_second_try() {
    let (_directory, cache) = directory();
    let dispatch = four();
    let usual = dispatch.tuned.as_ref().unwrap().usual;
    // Each process has time for the usual one alone; there are three more, of two tries each.
    for process in 1..=7 {
        let gpu = process_of(&cache, 120);
        assert!(gpu.tuner().choose(&gpu, &dispatch, &BYTES).is_none());
        let (chosen, begun) = kept(&gpu, &dispatch);
        let begun = begun.expect("a longer budget may come to other results");
        let tries: u32 = begun.values().filter_map(|outcome| tries_of(*outcome)).sum();
        assert_eq!((chosen, tries), (None, process.min(6)), "{begun:?}");
        assert!(begun[&usual].took().is_some(), "{begun:?}");
        // All are tried once before one is for the second time.
        assert_eq!(begun.len() as u32, 1 + process.min(3), "{begun:?}");
        // What is told is told when nothing more is tried, once.
        let told = gpu.measured_kernels();
        assert_eq!(told.len(), usize::from(process == 6), "{told:?}");
        if let [told] = &told[..] {
            let known: Vec<bool> = told.seconds.iter().map(|(_, time)| time.is_some()).collect();
            assert_eq!((told.chosen, &known[..]), (usual.name(), &[true, false, false, false][..]));
        }
        // The last one has not even run the usual kernel.
        assert_eq!(locked(&gpu.made().made_together).is_empty(), process == 7);
    }
    // Whoever asks for everything anew gets it, and so do those who come after.
    let forced = gpu(Tune::Force, &cache);
    forced.tuner().choose(&forced, &dispatch, &BYTES);
    assert_eq!(forced.measured_kernels()[0].seconds.iter().flat_map(|(_, time)| time).count(), 4);
    let (chosen, begun) = kept(&forced, &dispatch);
    assert!(chosen.is_some() && begun.is_none(), "{chosen:?} {begun:?}");
}

/// How often a kernel took too long, if it did.
fn tries_of(outcome: Outcome) -> Option<u32> {
    match outcome {
        Outcome::TooLong(TooLong { tries, .. }) => Some(tries),
        Outcome::Took(_) | Outcome::Unfit => None,
    }
}

/// What a budget was too short for, a longer one may not be.
#[test]
fn what_took_too_long_is_tried_again_under_a_longer_budget() {
    let dispatch = four();
    let tuned = dispatch.tuned.as_ref().unwrap();
    for (budget, is_tried) in [(BUDGET / 2, true), (BUDGET, false), (BUDGET * 2, false)] {
        let (_directory, cache) = directory();
        let too_long = Outcome::TooLong(TooLong { budget, tries: 2 });
        let mut begun: Begun = [(tuned.usual, Outcome::Took(Duration::from_micros(9)))].into();
        begun.extend(dispatch.alternatives.iter().map(|other| (other.variant, too_long)));
        let mut known = Known::default();
        known.begun.insert(class(tuned, &dispatch.alternatives), begun);
        gpu(Tune::On, &cache).tuner().write(&known);
        // The clock stands still.
        let gpu = process_of(&cache, 0);
        gpu.tuner().choose(&gpu, &dispatch, &BYTES);
        let (chosen, begun) = kept(&gpu, &dispatch);
        assert_eq!((chosen.is_some(), begun.is_none()), (is_tried, is_tried), "{budget:?}");
        assert_eq!(gpu.measured_kernels().len(), usize::from(is_tried), "{budget:?}");
        // Too short once more, it is the first try of this budget.
        gpu.tuner().folder.as_ref().unwrap().write(&gpu.tuner().key, known.to_string().as_bytes());
        let gpu = process_of(&cache, 120);
        gpu.tuner().choose(&gpu, &dispatch, &BYTES);
        let begun = kept(&gpu, &dispatch).1.unwrap();
        let first = begun[&dispatch.alternatives[0].variant];
        let expected = TooLong { budget: budget.max(BUDGET), tries: if is_tried { 1 } else { 2 } };
        assert_eq!(first, Outcome::TooLong(expected), "{budget:?}");
    }
}

/// Nor do bits that cannot be compared in time take that of each process.
#[test]
fn bits_that_take_too_long_are_compared_again_once() {
    let (_directory, cache) = directory();
    let dispatch = four();
    let (tuned, naive) = (dispatch.tuned.as_ref().unwrap(), dispatch.alternatives[2].variant);
    let classes = [(class(tuned, &dispatch.alternatives), naive)].into();
    gpu(Tune::On, &cache).tuner().write(&Known { classes, ..Known::default() });
    let bits = |milliseconds| {
        let gpu = process_of(&cache, milliseconds);
        let chosen = gpu.tuner().choose(&gpu, &dispatch, &BYTES).map(|other| other.variant);
        let known = gpu.tuner().read().bits;
        assert_eq!(known.len(), 1);
        (chosen, *known.values().next().unwrap(), locked(&gpu.made().made_together).len())
    };
    let too_long = |tries| Bits::TooLong(TooLong { budget: BUDGET, tries });
    // Both kernels are compiled, the second until time is up.
    assert_eq!(bits(110), (None, too_long(1), 2));
    let stored = gpu(Tune::On, &cache).tuner().read().to_string();
    assert_eq!(bits(110), (None, too_long(2), 2));
    assert_eq!(bits(0), (None, too_long(2), 0));
    // What the second process finds in time is as good as if the first had.
    let tuner = gpu(Tune::On, &cache);
    let Tuner { folder, key, .. } = tuner.tuner();
    folder.as_ref().unwrap().write(key, stored.as_bytes());
    assert_eq!(bits(0), (Some(naive), Bits::Same, 2));
}

/// Where other classes have taken of the time, it is not the kernel's fault.
#[test]
fn only_a_whole_budget_says_that_a_kernel_takes_too_long() {
    let (_directory, cache) = directory();
    let dispatch = four();
    let gpu = process_of(&cache, 120);
    locked(&gpu.tuner().state).spent = BUDGET / 10;
    gpu.tuner().choose(&gpu, &dispatch, &BYTES);
    let (_, begun) = kept(&gpu, &dispatch);
    assert_eq!(begun.map(|begun| begun.len()), Some(1), "the usual one alone");
    // Of the shorter budget of rows, too, a tenth may be spent.
    assert_eq!(whole(of_rows(BUDGET), of_rows(BUDGET) / 11), Some(of_rows(BUDGET)));
    assert_eq!(whole(of_rows(BUDGET), of_rows(BUDGET) / 10), None);
}

/// As many kernels are measured as the options leave time for, by a clock that goes on by a tenth of a second
/// each time it is looked at: twice as time begins, and twice for each kernel.
#[test]
fn the_budget_is_what_the_options_say() {
    for (tenths, measured) in [(1, 0), (3, 0), (4, 1), (6, 2), (8, 3), (10, 4), (40, 4)] {
        let (_directory, cache) = directory();
        let dispatch = four();
        let gpu = process_with(&cache, 100, Duration::from_millis(100 * tenths));
        gpu.tuner().choose(&gpu, &dispatch, &BYTES);
        let took = |begun: Begun| begun.values().filter(|outcome| outcome.took().is_some()).count();
        let known = match kept(&gpu, &dispatch) {
            (Some(_), _) => 4,
            (None, begun) => begun.map_or(0, took),
        };
        assert_eq!(known, measured, "{tenths} tenths of a second");
    }
}

/// Without any time nothing is compiled, run or kept; what is on disk is followed all the same.
#[test]
fn a_budget_of_nothing_measures_nothing() {
    let (directory, cache) = directory();
    let dispatch = four();
    let none = || process_with(&cache, 0, Duration::ZERO);
    let gpu = none();
    assert!(gpu.tuner().choose(&gpu, &dispatch, &BYTES).is_none());
    assert!(locked(&gpu.made().made_together).is_empty() && gpu.measured_kernels().is_empty());
    assert!(!directory.path().join("kernels").exists(), "a choice was kept that nobody made");
    let naive = &dispatch.alternatives[2];
    let class = class(dispatch.tuned.as_ref().unwrap(), &dispatch.alternatives);
    let known = Known {
        classes: [(class, naive.variant)].into(),
        bits: [(name(&dispatch, naive, &BYTES), Bits::Same)].into(),
        ..Known::default()
    };
    gpu.tuner().write(&known);
    let gpu = none();
    let chosen = gpu.tuner().choose(&gpu, &dispatch, &BYTES).map(|other| other.variant);
    assert_eq!(chosen, Some(naive.variant));
    assert!(locked(&gpu.made().made_together).is_empty());
}

/// No kernel is compiled, or run, after the time is up.
#[test]
fn nothing_is_begun_when_time_is_up() {
    let (_directory, cache) = directory();
    let gpu = gpu(Tune::Off, &cache);
    let dispatch = four();
    let trials = all(&dispatch);
    let bindings = BYTES.map(|bytes| (bytes, Access::Write));
    let looks = Arc::new(AtomicU64::new(0));
    let counted = looks.clone();
    let clock = Clock::by(move || Duration::from_secs(counted.fetch_add(1, Ordering::Relaxed)));
    // One look as time begins, one more here, two for each kernel.
    for (seconds, known) in [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 2), (8, 3), (10, 4)] {
        let mut outcomes = vec![None; 4];
        let time = clock.time(Duration::from_secs(seconds), None);
        let _ = measure::measure(&gpu, &trials, &bindings, &mut outcomes, &time).unwrap();
        assert_eq!(outcomes.iter().flatten().count(), known, "{seconds}");
        // Those that ran, and the one that was compiled as time ran out.
        let compiled = locked(&gpu.made().made_together);
        assert!(compiled.iter().all(|together| *together == 1), "{compiled:?}");
        assert_eq!(compiled.len() as u64, (seconds - 1) / 2, "{seconds}");
    }
}

/// What was not measured, or not to the end, is not known to the next process either.
#[test]
fn without_time_nothing_is_kept() {
    let (directory, cache) = directory();
    let dispatch = dispatch(&[source("a[i] + 1.0"), source("1.0 + a[i]")]);
    let kept = || directory.path().join("kernels").exists();
    for spent in [BUDGET, BUDGET - Duration::from_nanos(1)] {
        let gpu = gpu(Tune::On, &cache);
        locked(&gpu.tuner().state).spent = spent;
        assert!(gpu.tuner().choose(&gpu, &dispatch, &[1024, 1024]).is_none());
        assert_eq!(locked(&gpu.tuner().state).known, Some(Known::default()));
        assert!(!kept(), "a choice was kept that nobody made");
    }
    let gpu = gpu(Tune::On, &cache);
    gpu.tuner().choose(&gpu, &dispatch, &[1024, 1024]);
    assert!(kept());
}
