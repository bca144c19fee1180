//! Which of several kernels that compute the same is the fastest here, by measuring.
//!
//! **A choice is that of a class** of products or of rows (`compile/classes.rs`): the first of them
//! that is compiled is measured, and the others follow it.
//!
//! **A choice never changes bits.** A kernel is taken in place of the usual one only if it gave the
//! same bits for the same random operands, on this device and driver, with all that is fused into it.
//! That is compared for each product, those that are not measured too. So results do not depend on
//! what was measured, whether it was, or what another process has left on disk. Kernels that add up in
//! another order are no alternatives.
//!
//! The very kernel is measured, with all that is fused into it, on random operands in buffers of
//! its own, when a product is first compiled, the usual one first. Each `Gpu` takes half a second
//! for it in all, or what `GpuOptions::tune_budget` says, compiling included, which is looked at before each
//! kernel is compiled and run. If time runs out within a class, the best so far is taken and what came of
//! each kernel is kept; the next process goes on with the others. What a whole budget is too short for is
//! tried by one more process, since what was compiled lies in the driver's cache by then; then it is left
//! until the budget is a longer one.
//! Rungs that may take a slow GPU seconds are not tried on large products. On software adapters the
//! time is that of the processor, and a kernel must make up for what compiling it takes within a
//! hundred runs. Bits are compared once for each product by itself, by one run of both kernels;
//! without time for it the product keeps its usual kernel.
//!
//! Choices are kept beside the pipelines, as text, by adapter, driver, `wgpu` and release; what
//! came of comparing bits, by the text of both kernels. `WARMSTART_TUNE=off` leaves it at table and
//! rule; `force` measures everything anew, on software adapters too.

mod clock;
mod known;
mod measure;
mod timing;

use crate::compile::classes::{Table, release_table};
use crate::compile::target::maker;
use crate::compile::{Access, Alternative, Dispatch, Target, Tuned, Variant};
use crate::device::cache::{CacheChoice, CacheFolder};
use crate::device::gpu::Gpu;
use crate::device::locked;
use crate::device::pipelines::Kernel;
use crate::device::switch::{said, switch};
use crate::error::GpuError;
use clock::Clock;
use known::{Begun, Known};
use measure::{Bits, Outcome, Trial};
use std::fmt::{self, Write as _};
use std::sync::Mutex;
use std::time::Duration;
use twox_hash::XxHash3_128;

/// Whether kernels of products, and of rows that are reduced by several invocations, are chosen by
/// measuring them.
///
/// A product that is not measured gets the kernel that was measured on such an adapter before this
/// release, and where none was, the one that a rule has for such a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tune {
    /// Nothing is measured, and what was is not looked at.
    Off,
    /// Those that are new to the device and its driver are measured when they are first compiled,
    /// until each [`Gpu`] has spent half a second on it, or what
    /// [`GpuOptions::tune_budget`](crate::GpuOptions::tune_budget) says, and what came out is kept on disk:
    /// where that is too short for all kernels of a product, the best so far is taken, and the next process
    /// goes on with the others. It holds for all of about such a shape, so that another batch size is seldom
    /// measured anew. Software adapters are not measured: which kernel is best there is known.
    On,
    /// Each kind of them is measured anew, however long it takes, on software adapters too.
    Force,
}

impl Tune {
    /// What `WARMSTART_TUNE` says.
    pub(crate) fn from_env() -> Result<Tune, GpuError> {
        Tune::said(said(Tune::VARIABLE).as_deref())
    }

    const VARIABLE: &str = "WARMSTART_TUNE";

    /// What it means if it says this.
    pub(crate) fn said(value: Option<&str>) -> Result<Tune, GpuError> {
        switch(Tune::VARIABLE, value, [Tune::Off, Tune::On, Tune::Force])
    }
}

/// What was measured for a kind of product: [`Gpu::measured_kernels`].
///
/// Its `Display` is a line of the table of kernels that comes with a release
/// (`crates/gpu/src/compile/kernels.txt`, whose head says what the words are).
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredKernel {
    /// The class of the adapter: who made it, or `software8` for a software adapter with subgroups of
    /// eight.
    pub adapter: &'static str,
    /// How many products, M, N and K, rounded up, and how both operands are stored and read.
    pub class: String,
    /// What the kernel does beside the product: nothing (`plain`), work on its results (`fused`), or
    /// column sums (`sums`).
    pub fused: &'static str,
    /// The kernel that was chosen.
    pub chosen: &'static str,
    /// All that were measured, the usual one first, each with its seconds: those at best of a run, on
    /// software adapters of the processor and with a hundredth of what compiling took. `None` for one
    /// whose bits were others, that the device refuses, or that took too long to be measured.
    pub seconds: Vec<(&'static str, Option<f64>)>,
    /// Adapter and driver.
    pub device: String,
}

impl fmt::Display for MeasuredKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.adapter, self.class, self.chosen)?;
        let usual = self.seconds.first().map(|(name, _)| *name);
        let known = |name| self.seconds.iter().find(|(own, _)| Some(*own) == name)?.1;
        if let Some(seconds) = known(Some(self.chosen)) {
            write!(f, "  {:.3} ms", seconds * 1e3)?;
        }
        if let Some((usual, seconds)) =
            usual.filter(|usual| *usual != self.chosen).zip(known(usual))
        {
            write!(f, ", {usual} {:.3} ms", seconds * 1e3)?;
        }
        write!(f, ", {}, {}", self.fused, self.device)
    }
}

impl Gpu {
    /// What this `Gpu` has measured of products to the end, in order, without those that earlier processes have
    /// left on disk. Each
    /// prints as a line of the table of kernels that comes with a release: `warmstart bench kernels`
    /// prints those of many shapes, to be sent in for an adapter that the table does not have.
    ///
    /// # Examples
    /// ```
    /// use warmstart_gpu::{Gpu, GpuOptions, Session, Tune};
    /// use warmstart_graph::{DType, Graph};
    ///
    /// let gpu = Gpu::with(&GpuOptions { tune: Some(Tune::Force), ..GpuOptions::default() })?;
    /// for rows in [64, 60] {
    ///     let graph = Graph::new();
    ///     let x = graph.placeholder("x", [rows, 32], DType::F32);
    ///     let y = graph.placeholder("y", [32, 48], DType::F32);
    ///     Session::new(&gpu).compile(&graph, &[x.matmul(y)], &[])?;
    /// }
    /// // 64 and 60 rows are of one class, which is measured once.
    /// let measured = gpu.measured_kernels();
    /// assert_eq!(measured.len(), 1);
    /// assert_eq!(measured[0].class, "1 64 64 32 f32n4 f32n4");
    /// println!("{}", measured[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn measured_kernels(&self) -> Vec<MeasuredKernel> {
        locked(&self.tuner().state).measured.clone()
    }
}

/// How long a device is measured by one [`Gpu`] if its options say nothing else, compiling the kernels
/// included. It is looked at before each kernel is compiled and before each is run, so that only what was
/// begun may take longer. What was measured by then is kept, and the next process goes on from there.
pub(crate) const BUDGET: Duration = Duration::from_millis(500);

/// What of a budget may be spent on rows: products have more to gain, and may come later.
fn of_rows(budget: Duration) -> Duration {
    budget / 4
}

/// The budget, if as good as all of the time is left when so much is spent.
fn whole(budget: Duration, spent: Duration) -> Option<Duration> {
    (spent < budget / 10).then_some(budget)
}

/// The release of `wgpu`, which writes the code that drivers compile: what another one has measured
/// is not followed.
const WGPU: &str = "30.0.1";

/// What was measured on a device.
pub(crate) struct Tuner {
    tune: Tune,
    budget: Duration,
    folder: Option<CacheFolder>,
    shipped: Table,
    /// Adapter, driver and versions.
    key: String,
    maker: &'static str,
    /// Adapter and driver, for people.
    device: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` until it is read from disk.
    known: Option<Known>,
    measured: Vec<MeasuredKernel>,
    /// The time that measuring has taken.
    spent: Duration,
    clock: Clock,
}

impl Tuner {
    pub fn new(
        (tune, budget): (Tune, Duration),
        info: &wgpu::AdapterInfo,
        cache: &CacheChoice,
    ) -> Tuner {
        let wgpu::AdapterInfo { name, vendor, device, backend, driver, driver_info, .. } = info;
        // The last line is that of what is kept: files of other layouts are others' files.
        let key = format!(
            "{name}\n{backend:?} {vendor} {device}\n{driver}\n{driver_info}\nwgpu {WGPU}\nwarmstart {}\n\
             classes 2",
            env!("CARGO_PKG_VERSION")
        );
        let folder = CacheFolder::new(cache, "kernels");
        let device = format!("{name}, {driver} {driver_info}");
        let device = device.split_whitespace().collect::<Vec<_>>().join(" ");
        let (maker, shipped) = (maker(info), release_table as Table);
        let state = Mutex::default();
        Tuner { tune, budget, folder, shipped, key, maker, device, state }
    }

    /// What was measured before the release, which counts where nothing was measured here.
    pub fn shipped(&self) -> Table {
        self.shipped
    }

    /// Leaves no time for measuring.
    #[cfg(test)]
    pub fn use_up(&self) {
        locked(&self.state).spent = self.budget;
    }

    /// The same with another table.
    #[cfg(test)]
    pub fn with_table(&mut self, shipped: Table) {
        self.shipped = shipped;
    }

    /// Who made the device, if it is a GPU.
    pub fn maker(&self) -> &'static str {
        self.maker
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
        let tuned = dispatch.tuned.as_ref().filter(|_| !dispatch.alternatives.is_empty())?;
        // Others wait: two measurements at once would disturb each other.
        let mut state = locked(&self.state);
        let State { known, measured, spent, clock } = &mut *state;
        let known = known.get_or_insert_with(|| match self.tune {
            Tune::On => self.read(),
            _ => Known::default(),
        });
        let budget = match (self.tune, tuned.usual) {
            (Tune::Force, _) => Duration::MAX,
            (_, Variant::Product(_)) => self.budget,
            (_, Variant::Rows | Variant::SubgroupRows) => of_rows(self.budget),
        };
        let left = |spent| match budget {
            Duration::MAX => Duration::MAX,
            budget => budget.saturating_sub(spent),
        };
        let time = clock.time(left(*spent), whole(budget, *spent));
        let accesses = dispatch.bindings.iter().map(|(_, access)| *access);
        let bindings: Vec<(u64, Access)> = bytes.iter().copied().zip(accesses).collect();
        let class = class(tuned, &dispatch.alternatives);
        let variants = variants(tuned, &dispatch.alternatives);
        let chosen = match known.classes.get(&class).filter(|known| variants.contains(known)) {
            Some(&variant) => variant,
            None => {
                let trials: Vec<Trial<'_>> = trials(tuned, dispatch).collect();
                let begun = known.begun.get(&class);
                let before: Vec<Option<Outcome>> =
                    variants.iter().map(|variant| begun?.get(variant).copied()).collect();
                let mut outcomes = before.clone();
                let told = measure::measure(gpu, &trials, &bindings, &mut outcomes, &time);
                *spent += time.spent();
                // What was measured earlier counts without time to go on, too.
                if !told.ok()? && begun.is_none() {
                    return None;
                }
                let tried: Vec<Outcome> =
                    outcomes.iter().map(|outcome| outcome.unwrap_or(Outcome::Unfit)).collect();
                let best = fastest(&tried);
                let variant = best.map_or(tuned.usual, |at| dispatch.alternatives[at].variant);
                if outcomes != before {
                    let is_known = |known: &Option<Outcome>| match known {
                        None | Some(Outcome::TooLong(_)) => false,
                        Some(Outcome::Took(_) | Outcome::Unfit) => true,
                    };
                    let is_left = |known: &Option<Outcome>| match known {
                        Some(Outcome::TooLong(too_long)) => !too_long.is_open(),
                        known => is_known(known),
                    };
                    let begun = variants.iter().copied().zip(&outcomes);
                    let begun: Begun =
                        begun.filter_map(|(own, came)| Some((own, (*came)?))).collect();
                    known.make_room();
                    let is_done = outcomes.iter().all(is_known);
                    known.insert(&class, variant, (!is_done).then_some(begun));
                    let is_new = |at: &usize| before[at + 1].and_then(Outcome::took).is_none();
                    if let Some(at) = best.filter(is_new) {
                        let name = name(dispatch, &dispatch.alternatives[at], bytes);
                        known.bits.insert(name, Bits::Same);
                    }
                    self.write(known);
                    if let (Variant::Product(_), true) = (variant, outcomes.iter().all(is_left)) {
                        let adapter = Target::of(gpu).adapter_class();
                        measured.push(self.measured(tuned, adapter, variant, &variants, &tried));
                    }
                }
                variant
            }
        };
        let other = dispatch.alternatives.iter().find(|other| other.variant == chosen)?;
        // Its bits count for this very product; those of the one that was measured may be others'.
        let name = name(dispatch, other, bytes);
        let time = clock.time(left(*spent), whole(budget, *spent));
        let before = match known.bits.get(&name) {
            Some(Bits::Same) => return Some(other),
            Some(Bits::Other) => return None,
            Some(Bits::TooLong(before)) if !before.again(&time) => return None,
            Some(Bits::TooLong(before)) => Some(*before),
            None => None,
        };
        let [usual, trial] = [usual(tuned, dispatch), alternative(other)];
        let bits = measure::are_alike(gpu, &[usual, trial], &bindings, before, &time);
        *spent += time.spent();
        let bits = bits.ok()??;
        known.make_room();
        known.bits.insert(name, bits);
        self.write(known);
        (bits == Bits::Same).then_some(other)
    }

    fn measured(
        &self,
        tuned: &Tuned,
        adapter: &'static str,
        chosen: Variant,
        variants: &[Variant],
        outcomes: &[Outcome],
    ) -> MeasuredKernel {
        let seconds = variants.iter().zip(outcomes).map(|(variant, outcome)| {
            (variant.name(), outcome.took().map(|time| time.as_secs_f64()))
        });
        MeasuredKernel {
            adapter,
            class: tuned.class.to_string(),
            fused: tuned.fused,
            chosen: chosen.name(),
            seconds: seconds.collect(),
            device: self.device.clone(),
        }
    }

    /// What is on disk.
    fn read(&self) -> Known {
        let stored = self.folder.as_ref().and_then(|folder| folder.read(&self.key));
        stored.map(|bytes| Known::parsed(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
    }

    /// Writes what is known here besides what others have written meanwhile, unless that is too much.
    fn write(&self, known: &Known) {
        let Some(folder) = &self.folder else { return };
        let mut all = self.read();
        all.extend(known);
        all.fall_back_to(known);
        folder.write(&self.key, all.to_string().as_bytes());
    }
}

/// The usual kernel, then the others.
fn variants(tuned: &Tuned, alternatives: &[Alternative]) -> Vec<Variant> {
    [tuned.usual].into_iter().chain(alternatives.iter().map(|other| other.variant)).collect()
}

/// What a choice is kept under: the class, what is fused into them, and which kernels there
/// are to choose from. Which of them is the usual one does not matter to the time that they take.
fn class(tuned: &Tuned, alternatives: &[Alternative]) -> String {
    let Tuned { class, fused, .. } = tuned;
    let mut names: Vec<&str> =
        variants(tuned, alternatives).into_iter().map(Variant::name).collect();
    names.sort_unstable();
    format!("{class} {fused} {}", names.join(","))
}

/// What the bits of an alternative were compared for: its source and that of the usual kernel, with
/// all that is fused into them and their shape, and how large their buffers are.
fn name(dispatch: &Dispatch, other: &Alternative, bytes: &[u64]) -> String {
    let mut text = format!("{bytes:?}");
    let Dispatch { source, constants, workgroups, .. } = dispatch;
    let _ = write!(text, "\n{source}\n{constants:?}\n{workgroups:?}");
    let Alternative { source, constants, workgroups, .. } = other;
    let _ = write!(text, "\n{source}\n{constants:?}\n{workgroups:?}");
    format!("{:032x}", XxHash3_128::oneshot(text.as_bytes()))
}

/// The usual kernel, then the others.
fn trials<'d>(tuned: &Tuned, dispatch: &'d Dispatch) -> impl Iterator<Item = Trial<'d>> {
    let usual = usual(tuned, dispatch);
    [usual].into_iter().chain(dispatch.alternatives.iter().map(alternative))
}

fn usual<'d>(tuned: &Tuned, dispatch: &'d Dispatch) -> Trial<'d> {
    let Dispatch { kernel: label, source, constants, workgroups, .. } = dispatch;
    let kernel = Kernel { label, source, constants, layout: &[] };
    Trial { kernel, workgroups: *workgroups, is_own: !tuned.usual.serves_all() }
}

fn alternative(other: &Alternative) -> Trial<'_> {
    let Alternative { kernel: label, source, constants, workgroups, variant } = other;
    let kernel = Kernel { label, source, constants, layout: &[] };
    Trial { kernel, workgroups: *workgroups, is_own: !variant.serves_all() }
}

/// Which of the alternatives is clearly faster than the usual kernel, which is the first.
fn fastest(outcomes: &[Outcome]) -> Option<usize> {
    let (&Outcome::Took(usual), others) = outcomes.split_first()? else { return None };
    let took = |(at, outcome): (usize, &Outcome)| Some((at, outcome.took()?));
    let (at, time) = others.iter().enumerate().filter_map(took).min_by_key(|(_, time)| *time)?;
    // A twentieth is within what two measurements of one kernel differ by.
    (time < usual * 19 / 20).then_some(at)
}

#[cfg(test)]
#[path = "tune_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "budget_tests.rs"]
mod budget_tests;
