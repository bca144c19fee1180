//! Which of several kernels that compute the same is the fastest here, by measuring.
//!
//! **A choice never changes bits.** A kernel is taken in place of the usual one only if it gave the
//! same bits for the same random operands, on this device and driver, with all that is fused into it.
//! So results do not depend on what was measured, whether it was, or what another process has left on
//! disk. Kernels that add up in another order are no alternatives.

mod measure;

use crate::cache::{CacheChoice, CacheFolder};
use crate::compile::matmul::Rung;
use crate::compile::{Access, Alternative, Dispatch};
use crate::device::{Gpu, locked};
use crate::error::GpuError;
use crate::pipelines::Kernel;
use crate::switch::switch;
use measure::{Outcome, Trial};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use twox_hash::XxHash3_128;

/// Whether the kernels of products are chosen by measuring them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tune {
    /// Each product gets the kernel that usually is best on such a device.
    Off,
    /// Products that are new to the device and its driver are measured when they are first compiled,
    /// until each [`Gpu`] has spent half a second on it, and what came out is kept on disk. Software
    /// adapters are not measured: which kernel is best there is known.
    On,
    /// All products are measured anew, however long it takes, on software adapters too.
    Force,
}

impl Tune {
    /// What `WARMSTART_TUNE` says.
    pub(crate) fn from_env() -> Result<Tune, GpuError> {
        switch("WARMSTART_TUNE", [Tune::Off, Tune::On, Tune::Force])
    }
}

/// How long a device is measured by one [`Gpu`], compiling the kernels included. It is looked at before
/// each kernel, so that the last one may take longer; a product that is not done by then counts as
/// not measured.
const BUDGET: Duration = Duration::from_millis(500);

/// How many choices are kept on disk; then it begins anew.
const KEPT: usize = 4096;

/// The release of `wgpu`, which writes the code that drivers compile: what another one has measured
/// is not followed.
const WGPU: &str = "30.0.1";

/// What was measured on a device.
pub(crate) struct Tuner {
    tune: Tune,
    folder: Option<CacheFolder>,
    /// Adapter, driver and versions.
    key: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The choice for each kernel, by its usual one; `None` is that one. `None` altogether until
    /// they are read from disk.
    choices: Option<HashMap<String, Option<Rung>>>,
    /// The time that measuring has taken.
    spent: Duration,
}

impl Tuner {
    pub fn new(tune: Tune, info: &wgpu::AdapterInfo, cache: &CacheChoice) -> Tuner {
        let wgpu::AdapterInfo { name, vendor, device, backend, driver, driver_info, .. } = info;
        let key = format!(
            "{name}\n{backend:?} {vendor} {device}\n{driver}\n{driver_info}\nwgpu {WGPU}\nwarmstart {}",
            env!("CARGO_PKG_VERSION")
        );
        let folder = CacheFolder::new(cache, "kernels");
        Tuner { tune, folder, key, state: Mutex::default() }
    }

    /// Whether there is anything to choose from on such a device.
    pub fn wants_alternatives(&self, is_cpu: bool) -> bool {
        match self.tune {
            Tune::Off => false,
            Tune::On => !is_cpu,
            Tune::Force => true,
        }
    }

    /// The alternative to take in place of a dispatch's own kernel, if any. `bytes` are those of its
    /// bindings. What goes wrong while measuring is no error: the usual kernel is right.
    pub fn choose<'d>(
        &self,
        gpu: &Gpu,
        dispatch: &'d Dispatch,
        bytes: &[u64],
    ) -> Option<&'d Alternative> {
        if dispatch.alternatives.is_empty() {
            return None;
        }
        // Others wait: two measurements at once would disturb each other.
        let mut state = locked(&self.state);
        let State { choices, spent } = &mut *state;
        let choices = choices.get_or_insert_with(|| match self.tune {
            Tune::On => self.read(),
            _ => HashMap::new(),
        });
        let name = name(dispatch, bytes);
        let known = choices.get(&name).copied();
        let fits = |rung: Rung| dispatch.alternatives.iter().find(|other| other.rung == rung);
        if let Some(choice) = known
            && choice.is_none_or(|rung| fits(rung).is_some())
        {
            return choice.and_then(fits);
        }
        let left = match self.tune {
            Tune::Force => Duration::MAX,
            _ => BUDGET.saturating_sub(*spent),
        };
        if left.is_zero() {
            return None;
        }
        let begun = Instant::now();
        let bindings: Vec<(u64, Access)> = bytes
            .iter()
            .copied()
            .zip(dispatch.bindings.iter().map(|(_, access)| *access))
            .collect();
        let trials: Vec<Trial<'_>> = trials(dispatch).collect();
        let outcomes = measure::measure(gpu, &trials, &bindings, left);
        *spent += begun.elapsed();
        // Unless all have run, nothing is known, and nothing is kept.
        let best = fastest(&outcomes.ok()??);
        let choice = best.map(|at| dispatch.alternatives[at].rung);
        if choices.len() >= KEPT {
            choices.clear();
        }
        choices.insert(name, choice);
        self.write(choices);
        choice.and_then(fits)
    }

    /// What is on disk.
    fn read(&self) -> HashMap<String, Option<Rung>> {
        let stored = self.folder.as_ref().and_then(|folder| folder.read(&self.key));
        stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Writes what is known here besides what others have written meanwhile.
    fn write(&self, choices: &HashMap<String, Option<Rung>>) {
        let Some(folder) = &self.folder else { return };
        let mut all = self.read();
        all.extend(choices.iter().map(|(name, choice)| (name.clone(), *choice)));
        let all = if all.len() > KEPT { choices } else { &all };
        if let Ok(bytes) = serde_json::to_vec(all) {
            folder.write(&self.key, &bytes);
        }
    }
}

/// What the choice depends on besides the device: the kernels, with all that is fused into them and
/// their shape, and how large their buffers are. All of them: the bits of the one that was chosen were
/// compared for just these two sources.
fn name(dispatch: &Dispatch, bytes: &[u64]) -> String {
    let mut text = format!("{bytes:?}");
    for Trial { kernel: Kernel { source, constants, .. }, workgroups } in trials(dispatch) {
        let _ = write!(text, "\n{source}\n{constants:?}\n{workgroups:?}");
    }
    for Alternative { rung, .. } in &dispatch.alternatives {
        let _ = write!(text, "\n{rung:?}");
    }
    format!("{:032x}", XxHash3_128::oneshot(text.as_bytes()))
}

/// The usual kernel, then the others.
fn trials(dispatch: &Dispatch) -> impl Iterator<Item = Trial<'_>> {
    let Dispatch { kernel: label, source, constants, workgroups, .. } = dispatch;
    let usual = Trial { kernel: Kernel { label, source, constants }, workgroups: *workgroups };
    let others = dispatch.alternatives.iter().map(|other| {
        let Alternative { kernel: label, source, constants, workgroups, .. } = other;
        Trial { kernel: Kernel { label, source, constants }, workgroups: *workgroups }
    });
    std::iter::once(usual).chain(others)
}

/// Which of the alternatives is clearly faster than the usual kernel, which is the first.
fn fastest(outcomes: &[Outcome]) -> Option<usize> {
    let (&Outcome::Took(usual), others) = outcomes.split_first()? else { return None };
    let took = |(at, outcome): (usize, &Outcome)| match *outcome {
        Outcome::Took(time) => Some((at, time)),
        Outcome::Unfit => None,
    };
    let (at, time) = others.iter().enumerate().filter_map(took).min_by_key(|(_, time)| *time)?;
    // A twentieth is within what two measurements of one kernel differ by.
    (time < usual * 19 / 20).then_some(at)
}

#[cfg(test)]
#[path = "tune_tests.rs"]
mod tests;
