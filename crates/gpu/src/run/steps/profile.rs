//! Several steps of one submission, kernel by kernel.

use crate::plan::Plan;
use crate::plan_error::RunError;
use crate::run::profile::{Profile, Timed, timed};
use crate::run::steps::{Prepared, Steps};
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
    /// [`Session::run_steps`].
    pub fn profile_steps(&mut self, plan: &Plan, steps: &Steps<'_>) -> Result<Profile, RunError> {
        self.with_timestamps()?;
        let dispatches = self.with_prepared(plan, steps, |prepared, values, (steps, rows)| {
            let kernels = kernels(plan, prepared, steps);
            let mut uploads = prepared.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            timed(&plan.gpu, &mut uploads, &kernels, |encoder, upload| {
                plan.upload_steps(prepared, values, (steps, rows), encoder, upload)
            })
        })?;
        Ok(self.profile_of(dispatches))
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
