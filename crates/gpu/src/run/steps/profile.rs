//! Several steps of one submission, kernel by kernel.

use crate::plan::Plan;
use crate::run::profile::{Profile, Timed, Timing};
use crate::run::steps::{Prepared, Steps};
use crate::run_error::RunError;
use crate::session::Session;
use std::sync::PoisonError;

impl Session {
    /// Runs the steps of a [`run_steps`](Session::run_steps) as [`Session::profile`] runs one: with a
    /// timestamp before and after each kernel. The kernel that gathers a step's batch from the data set, and
    /// keeps the scalars of the step before, is among them (`between`); before the first of several steps
    /// that are fed the same, there is none. Nothing is read back.
    ///
    /// ```no_run
    /// # use warmstart_gpu::{DeviceDataset, Plan, RunError, Session, Steps};
    /// # fn show(mut session: Session, plan: Plan, data: DeviceDataset) -> Result<(), RunError> {
    /// // One step with a batch of the first 64 examples.
    /// let rows: Vec<u32> = (0..64).collect();
    /// println!("{}", session.profile_steps(&plan, &Steps::rows(&data, &rows))?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RunError::NoTimestamps`] if the adapter has no timestamp queries; else as
    /// [`Session::run_steps`], and if it is the wait that fails, as for [`Session::profile`].
    pub fn profile_steps(&mut self, plan: &Plan, steps: &Steps<'_>) -> Result<Profile, RunError> {
        let timed = self.submit_timed_steps(plan, steps)?;
        Ok(self.profile_of(timed.wait()?))
    }

    /// Submits them. As after a run, variables have changed from then on, and data set and plan are free
    /// for the next submission.
    fn submit_timed_steps(&mut self, plan: &Plan, steps: &Steps<'_>) -> Result<Timing, RunError> {
        self.with_timestamps()?;
        self.with_prepared(plan, steps, |prepared, values, (steps, rows)| {
            let kernels = kernels(plan, prepared, steps);
            let mut uploads = prepared.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            Timing::submit(&plan.gpu, &mut uploads, &kernels, |encoder, upload| {
                plan.upload_steps(prepared, values, (steps, rows), encoder, upload)
            })
        })
    }
}

/// All kernels of so many steps, in order.
fn kernels<'a>(plan: &'a Plan, prepared: &'a Prepared, steps: usize) -> Vec<Timed<'a>> {
    let mut all = Vec::new();
    for step in 0..steps as u64 {
        let at = prepared.places(step);
        for between in prepared.between.iter().filter(|one| one.is_before(step)) {
            let dispatch = move |pass: &mut wgpu::ComputePass<'_>| between.dispatch(pass, at);
            all.push(Timed { info: &between.info, dispatch: Box::new(dispatch) });
        }
        all.extend(plan.launches.iter().map(Timed::of));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::Gpu;
    use crate::origin::Origin;
    use crate::run::dataset::DeviceDataset;
    use warmstart_graph::{DType, Graph, Optimizer};

    /// Whoever gives up waiting has trained for all that, and what steps are uploaded by is free.
    #[test]
    fn timed_steps_have_trained_when_they_are_submitted() {
        let gpu = Gpu::new().unwrap();
        let graph = Graph::new();
        let x = graph.placeholder("x", [2, 3], DType::F32);
        let loss = graph.scope("fc").linear(x, 4).square().mean_all();
        let step = Optimizer::sgd(0.1).minimize(loss);
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[loss], &[step.update]).unwrap();
        session.initialize_missing(7).unwrap();
        let data = DeviceDataset::new(&gpu, 4, &[("x", (&[0.5f32; 12]).into())]).unwrap();
        let steps = Steps::rows(&data, &[0, 1, 2, 3]);
        let timing = match session.submit_timed_steps(&plan, &steps) {
            Err(RunError::NoTimestamps) => return,
            timing => timing.unwrap(),
        };
        let origin = &session.variable("fc/weight").unwrap().origin;
        assert!(matches!(origin, Origin::Trained { .. }), "{origin}");
        let prepared = data.prepared.try_lock().expect("a lock is held while it runs");
        assert!(prepared[0].uploads.try_lock().is_ok(), "a lock is held while it runs");
        drop(prepared);
        assert_eq!(timing.wait().unwrap().len(), 2 * (1 + plan.dispatches().len()));
    }
}
