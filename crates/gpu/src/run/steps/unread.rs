//! Runs of which nothing is read back until somebody asks.
//!
//! What is fetched stays where the plan's kernels wrote it, and is copied by a submission of its
//! own when it is asked for. The session is borrowed as long as it can be asked for, so that
//! nothing can run, assign or restore in between, and what is read is that run's. A plan that is to
//! use another one's result on the device reads a variable that the other one assigns.

use crate::device::locked;
use crate::plan::Plan;
use crate::run::readback::Readback;
use crate::run::steps::{Fetched, Steps};
use crate::run_error::RunError;
use crate::session::Session;
use std::marker::PhantomData;
use std::sync::Mutex;
use warmstart_graph::{Tensor, TensorData};

/// What [`Session::run_unread`] left on the device. Nothing else can use the session while this is
/// held, so that what is read is what the run computed; dropping it unread costs nothing.
pub struct UnreadOutputs<'s> {
    plan: &'s Plan,
    session: PhantomData<&'s mut Session>,
    done: Readback,
    /// What was fetched, once some of it was asked for.
    read: Mutex<Option<Readback>>,
}

impl Session {
    /// As [`Session::run_steps`], but what the plan fetches stays on the device: it is copied for the
    /// host only when it is asked for. Large results of which few are looked at cost nothing so.
    /// Other plans read a result on the device if it is assigned to a variable.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use warmstart_gpu::{Gpu, Session, Steps};
    /// use warmstart_graph::{DType, Graph};
    ///
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [3], DType::F32);
    /// let squares = x.square();
    /// let mut session = Session::new(&Gpu::new()?);
    /// let plan = session.compile(&graph, &[squares], &[])?;
    ///
    /// let feeds = [("x", (&[1.0f32, 2.0, 3.0]).into())];
    /// let once = Steps::repeat(1).feeds(&feeds);
    /// session.run_unread(&plan, &once)?;
    /// let outputs = session.run_unread(&plan, &once)?;
    /// assert_eq!(outputs.tensor(squares)?.as_f32(), Some(&[1.0, 4.0, 9.0][..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::run_steps`].
    pub fn run_unread<'s>(
        &'s mut self,
        plan: &'s Plan,
        steps: &Steps<'_>,
    ) -> Result<UnreadOutputs<'s>, RunError> {
        let (done, _) = self.submit_steps(plan, steps, Fetched::Stays)?;
        Ok(UnreadOutputs { plan, session: PhantomData, done, read: Mutex::default() })
    }
}

impl UnreadOutputs<'_> {
    /// Waits until the run is done.
    ///
    /// # Errors
    /// [`RunError::Gpu`] if the device failed meanwhile.
    pub fn wait(&self) -> Result<(), RunError> {
        Ok(self.done.wait()?)
    }

    /// A fetched tensor, of several steps that of the last. The first time, all that the plan fetches
    /// is copied for the host, which waits for it.
    ///
    /// # Errors
    /// As [`Outputs::tensor`](crate::Outputs::tensor).
    pub fn tensor(&self, tensor: Tensor<'_>) -> Result<TensorData, RunError> {
        let fetch = self.plan.fetches.find(tensor)?;
        let mut read = locked(&self.read);
        let readback = match &mut *read {
            Some(readback) => readback,
            none => none.insert(self.plan.read_fetches()?),
        };
        Ok(readback.read(|bytes| fetch.value(bytes))??)
    }
}

impl Plan {
    /// Has the device copy what was fetched last.
    fn read_fetches(&self) -> Result<Readback, RunError> {
        let gpu = &self.gpu;
        let readback = self.readbacks.take(gpu, self.fetches.bytes);
        let readback = readback.map_err(|error| RunError::in_making(error, 1))?;
        let submission = gpu.checked("reading what stayed on the device", |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            if let Some(readback) = &readback {
                self.copy_fetches(readback, &mut encoder);
            }
            gpu.queue().submit([encoder.finish()])
        })?;
        Ok(self.readbacks.pending(gpu, readback, self.fetches.bytes, submission))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::Gpu;
    use warmstart_graph::{DType, Graph};

    #[test]
    fn nothing_is_copied_until_somebody_asks() {
        let gpu = Gpu::new().unwrap();
        let graph = Graph::new();
        let x = graph.placeholder("x", [2], DType::F32);
        let (squares, sum) = (x.square(), x.sum_all());
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[squares, sum], &[]).unwrap();
        let read = |plan: &Plan| plan.readbacks.idle() + plan.step_readbacks.idle();
        for round in 0..5 {
            let fed = [round as f32, 2.0];
            let feeds = [("x", (&fed).into())];
            let outputs = session.run_unread(&plan, &Steps::repeat(2).feeds(&feeds)).unwrap();
            if round == 4 {
                assert_eq!(read(&plan), 0);
                assert_eq!(outputs.tensor(squares).unwrap().as_f32(), Some(&[16.0, 4.0][..]));
                assert_eq!(outputs.tensor(sum).unwrap().as_f32(), Some(&[6.0][..]));
                outputs.wait().unwrap();
                let error = outputs.tensor(x).unwrap_err();
                assert!(matches!(error, RunError::NotFetched { .. }), "{error}");
            }
        }
        // The same buffer served both.
        assert_eq!(read(&plan), 1);
    }
}
