//! The program of an arm.

use crate::{Answer, Model, Outcome, Peer, Row, SMALL, peak_bytes};
use crate::{LinearLayer as _, TrainedMlp as _};
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
    let result = layer.read()?;
    if result.len() != size * size {
        return Err(format!("{} results, not {size} x {size}", result.len()).into());
    }
    let seconds = samples(request, || layer.run())?;
    let sum: f64 = result.iter().copied().map(f64::from).sum();
    let mut check = vec![sum / result.len() as f64];
    let last = result.len() - 1;
    check.extend([0, last / 3, last / 3 * 2, last].map(|index| f64::from(result[index])));
    Ok((check, seconds))
}

/// The steps whose losses are compared, counted from zero.
const CHECKED: [usize; 3] = [0, 1, 10];

fn train<P: Peer>(peer: &P, model: &Model, read: bool, request: &Request) -> Outcome<Measured> {
    let mut training = peer.training(model, &crate::batch(model))?;
    let mut check = Vec::new();
    for step in 0..=CHECKED[CHECKED.len() - 1] {
        training.step()?;
        let loss = training.loss()?;
        if CHECKED.contains(&step) {
            check.push(f64::from(loss));
        }
    }
    let block = || {
        for _ in 0..model.steps {
            training.step()?;
            if read {
                training.loss()?;
            }
        }
        training.wait()
    };
    let mut seconds = samples(request, block)?;
    seconds.iter_mut().for_each(|seconds| *seconds /= model.steps as f64);
    Ok((check, seconds))
}

fn first_step<P: Peer>(peer: &P) -> Outcome<Vec<f64>> {
    let mut training = peer.training(&SMALL, &crate::batch(&SMALL))?;
    training.step()?;
    Ok(vec![f64::from(training.loss()?)])
}

/// Runs `block` once for warmth, then times it: as often as asked for, but begins no new sample
/// once the time is up.
fn samples(request: &Request, mut block: impl FnMut() -> Outcome<()>) -> Outcome<Vec<f64>> {
    block()?;
    let begun = Instant::now();
    let mut seconds = Vec::with_capacity(request.samples);
    while seconds.is_empty() || (seconds.len() < request.samples && begun.elapsed() < request.limit)
    {
        let start = Instant::now();
        block()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(seconds)
}
