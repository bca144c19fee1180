//! The program of an arm.

use crate::{Answer, Model, Outcome, Peer, Row, SMALL, Timed, peak_bytes};
use crate::{LinearLayer as _, TrainedMlp};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Reads the row from the command line, does its work and prints the answer.
pub fn main<P: Peer>() -> ExitCode {
    match request().and_then(|request| answer::<P>(&request)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", P::NAME);
            ExitCode::FAILURE
        }
    }
}

struct Request {
    row: Row,
    samples: usize,
    limit: Duration,
}

fn request() -> Outcome<Request> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [row, samples, seconds] = arguments.as_slice() else {
        return Err("usage: arm ROW SAMPLES SECONDS".into());
    };
    let row = Row::named(row).ok_or_else(|| format!("there is no row `{row}`"))?;
    let limit = Duration::try_from_secs_f64(seconds.parse()?)?;
    Ok(Request { row, samples: samples.parse()?, limit })
}

fn answer<P: Peer>(request: &Request) -> Outcome<String> {
    let peer = P::open()?;
    let (check, seconds) = match request.row {
        Row::Linear { size } => linear(&peer, size, request)?,
        Row::Train { model, read } => train(&peer, &model, read, request)?,
        Row::Together { steps, timed } => together(&peer, steps, timed, request)?,
        Row::LinearTogether { size, runs } => linear_together(&peer, size, runs, request)?,
        Row::FirstStep => (first_step(&peer)?, Vec::new()),
    };
    Ok(serde_json::to_string(&Answer {
        arm: P::NAME.to_owned(),
        row: request.row.name(),
        adapter: peer.adapter(),
        seconds,
        check,
        peak_bytes: peak_bytes(),
    })?)
}

/// The results that are compared, and the seconds of each sample.
type Measured = (Vec<f64>, Vec<f64>);

fn linear<P: Peer>(peer: &P, size: usize, request: &Request) -> Outcome<Measured> {
    let mut layer = peer.linear(&crate::linear(size))?;
    layer.run()?;
    let check = looked_at(&layer.read()?, size)?;
    let seconds = samples(request, timed(|| layer.run()))?;
    Ok((check, seconds))
}

/// What is compared of a layer's result: its mean and four elements.
fn looked_at(result: &[f32], size: usize) -> Outcome<Vec<f64>> {
    if result.len() != size * size {
        return Err(format!("{} results, not {size} x {size}", result.len()).into());
    }
    let sum: f64 = result.iter().copied().map(f64::from).sum();
    let mut check = vec![sum / result.len() as f64];
    let last = result.len() - 1;
    check.extend([0, last / 3, last / 3 * 2, last].map(|index| f64::from(result[index])));
    Ok(check)
}

/// Runs of a layer in one sample of [`Row::LinearTogether`], or a few more.
const RUNS: usize = 3;

fn linear_together<P: Peer>(
    peer: &P,
    size: usize,
    runs: usize,
    request: &Request,
) -> Outcome<Measured> {
    let mut layer = peer.linear(&crate::linear(size))?;
    layer.run()?;
    let check = looked_at(&layer.read()?, size)?;
    let submissions = RUNS.div_ceil(runs);
    let mut seconds = samples(request, timed(|| layer.run_together(submissions, runs)))?;
    seconds.iter_mut().for_each(|seconds| *seconds /= (submissions * runs) as f64);
    Ok((check, seconds))
}

/// The steps whose losses are compared, counted from zero.
const CHECKED: [usize; 3] = [0, 1, 10];

fn train<P: Peer>(peer: &P, model: &Model, read: bool, request: &Request) -> Outcome<Measured> {
    let mut training = peer.training(model, &crate::batch(model))?;
    let check = checked(&first_losses(&mut training)?);
    let block = || {
        for _ in 0..model.steps {
            training.step()?;
            if read {
                training.loss()?;
            }
        }
        training.wait()
    };
    let mut seconds = samples(request, timed(block))?;
    seconds.iter_mut().for_each(|seconds| *seconds /= model.steps as f64);
    Ok((check, seconds))
}

/// The losses of the first steps, fed one by one.
fn first_losses(training: &mut impl TrainedMlp) -> Outcome<Vec<f32>> {
    let mut loss = |_| {
        training.step()?;
        training.loss()
    };
    (0..=CHECKED[CHECKED.len() - 1]).map(&mut loss).collect()
}

fn checked(losses: &[f32]) -> Vec<f64> {
    CHECKED.iter().map(|step| f64::from(losses[*step])).collect()
}

/// Steps in one sample of [`Row::Together`], or a few more.
const STEPS: usize = 64;

fn together<P: Peer>(peer: &P, steps: usize, part: Timed, request: &Request) -> Outcome<Measured> {
    let batch = crate::batch(&SMALL);
    let mut training = peer.training(&SMALL, &batch)?;
    let mut losses = Vec::new();
    while losses.len() <= CHECKED[CHECKED.len() - 1] {
        training.submit(steps)?;
        losses.extend(training.losses()?);
    }
    let one_by_one = first_losses(&mut peer.training(&SMALL, &batch)?)?;
    if losses[..one_by_one.len()] != one_by_one {
        return Err(format!("together {losses:?}, one by one {one_by_one:?}").into());
    }
    let submissions = STEPS.div_ceil(steps);
    let block = || {
        let start = Instant::now();
        let mut host = Duration::ZERO;
        for _ in 0..submissions {
            let submitted = Instant::now();
            training.submit(steps)?;
            host += submitted.elapsed();
            if part == Timed::Host {
                training.wait()?;
            }
        }
        training.wait()?;
        Ok(if part == Timed::Host { host } else { start.elapsed() })
    };
    let mut seconds = samples(request, block)?;
    seconds.iter_mut().for_each(|seconds| *seconds /= (submissions * steps) as f64);
    Ok((checked(&losses), seconds))
}

fn first_step<P: Peer>(peer: &P) -> Outcome<Vec<f64>> {
    let mut training = peer.training(&SMALL, &crate::batch(&SMALL))?;
    training.step()?;
    Ok(vec![f64::from(training.loss()?)])
}

/// How long a block takes.
fn timed(mut block: impl FnMut() -> Outcome<()>) -> impl FnMut() -> Outcome<Duration> {
    move || {
        let start = Instant::now();
        block()?;
        Ok(start.elapsed())
    }
}

/// Runs `block`, which tells what of it counts, once for warmth, and then as often as asked for, but begins no
/// new sample once the time is up.
fn samples(request: &Request, mut block: impl FnMut() -> Outcome<Duration>) -> Outcome<Vec<f64>> {
    block()?;
    let begun = Instant::now();
    let mut seconds = Vec::with_capacity(request.samples);
    while seconds.is_empty() || (seconds.len() < request.samples && begun.elapsed() < request.limit)
    {
        seconds.push(block()?.as_secs_f64());
    }
    Ok(seconds)
}
