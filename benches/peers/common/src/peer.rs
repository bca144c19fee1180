//! What a peer has to be able to do.

use crate::{Batch, Linear, Model};
use std::error::Error;

/// What may fail for reasons that are printed.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A training runtime.
pub trait Peer: Sized {
    /// The arm's name.
    const NAME: &'static str;

    /// Its dense layer.
    type Linear: LinearLayer;

    /// Its model in training.
    type Mlp: TrainedMlp;

    /// Opens the adapter that the peer chooses by itself.
    ///
    /// # Errors
    /// What opening reports.
    fn open() -> Outcome<Self>;

    /// The adapter and its driver, as far as the peer tells.
    fn adapter(&self) -> String;

    /// A dense layer with ReLU, with its input on the device.
    ///
    /// # Errors
    /// What building reports.
    fn linear(&self, inputs: &Linear) -> Outcome<Self::Linear>;

    /// A model, ready to be trained from its [first weights](crate::layers).
    ///
    /// # Errors
    /// What building reports.
    fn training(&self, model: &Model, batch: &Batch) -> Outcome<Self::Mlp>;
}

/// A dense layer with ReLU.
pub trait LinearLayer {
    /// Computes the result and waits for the device. The result stays there.
    ///
    /// # Errors
    /// What running reports.
    fn run(&mut self) -> Outcome<()>;

    /// The result of the last run.
    ///
    /// # Errors
    /// What reading reports.
    fn read(&mut self) -> Outcome<Vec<f32>>;

    /// Computes the result in so many submissions, so many times in each, and then waits for the device.
    ///
    /// # Errors
    /// What running reports, and that the peer has no such thing.
    fn run_together(&mut self, _submissions: usize, _runs: usize) -> Outcome<()> {
        Err(ONE_BY_ONE.into())
    }
}

/// Why a row is not for a peer.
const ONE_BY_ONE: &str = "it takes one step at a time";

/// A model in training.
pub trait TrainedMlp {
    /// One step of Adam, with the batch given when it was built sent to the device anew.
    ///
    /// # Errors
    /// What running reports.
    fn step(&mut self) -> Outcome<()>;

    /// The loss of the last step, before its update.
    ///
    /// # Errors
    /// What reading reports.
    fn loss(&mut self) -> Outcome<f32>;

    /// So many steps in one submission, each with that same batch, whose rows are taken from a data set on the
    /// device. Does not wait.
    ///
    /// # Errors
    /// What running reports, and that the peer has no such thing.
    fn submit(&mut self, _steps: usize) -> Outcome<()> {
        Err(ONE_BY_ONE.into())
    }

    /// The losses of the steps of the last submission.
    ///
    /// # Errors
    /// What reading reports.
    fn losses(&mut self) -> Outcome<Vec<f32>> {
        Err(ONE_BY_ONE.into())
    }

    /// Waits until the device has done all steps.
    ///
    /// # Errors
    /// What waiting reports.
    fn wait(&mut self) -> Outcome<()>;
}
