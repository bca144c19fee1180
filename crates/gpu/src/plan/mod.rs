//! A compiled graph on a device: pipelines, bind groups and buffers made once, so that a run is
//! one encoder, few compute passes, one submission, and nothing is allocated.

mod build;
mod fetches;
mod launch;
mod memory;
mod optimizer;
mod target;

use crate::compile::Target;
use crate::device::gpu::Gpu;
use crate::plan_error::CompileError;
use crate::run::readback::Readbacks;
use crate::run::steps::Prepared;
use crate::run::upload::Uploads;
use crate::session::Session;
use crate::trainers::trained_by;
use build::Builder;
use comfy_table::{CellAlignment, Table, presets};
use memory::{Compiled, mapped};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use warmstart_graph::{DType, Graph, Location, Shape, Tensor, Update};

pub(crate) use fetches::{Fetch, Fetches};
pub use launch::DispatchInfo;
pub(crate) use launch::{Launch, begin_pass};
pub use memory::PlanMemory;
use warmstart_graph::words::human_bytes;

/// A placeholder on the device.
pub(crate) struct Feed {
    pub name: String,
    pub shape: Shape,
    pub dtype: DType,
    pub location: Location,
    pub buffer: wgpu::Buffer,
    /// Where its bytes are in an upload.
    pub offset: u64,
    pub bytes: u64,
}

/// A variable that a run reads.
pub(crate) struct Read {
    /// Its index in the session's store.
    pub entry: usize,
    pub operation: String,
    pub location: Location,
}

/// A variable that a run writes by an assignment.
pub(crate) struct Written {
    /// Its index in the session's store.
    pub entry: usize,
    /// Whether the run also reads it.
    pub read: bool,
}

/// A compiled graph, for one session. Several plans (training, evaluation, another batch size) may
/// share the variables of a session. Printing it lists its dispatches.
pub struct Plan {
    pub(crate) session: Arc<()>,
    /// Data sets remember it beside what they have for this plan.
    pub(crate) identity: Arc<()>,
    pub(crate) launches: Vec<Launch>,
    /// Which of them begin a pass: in a run, and in the later steps of a submission of several.
    opens_pass: [Vec<bool>; 2],
    groups: usize,
    pub(crate) feeds: Vec<Feed>,
    pub(crate) fetches: Arc<Fetches>,
    pub(crate) reads: Vec<Read>,
    pub(crate) trained: Vec<usize>,
    pub(crate) written: Vec<Written>,
    pub(crate) uploads: Mutex<Uploads>,
    pub(crate) readbacks: Readbacks,
    /// Those of several steps, which are larger.
    pub(crate) step_readbacks: Readbacks,
    /// What several steps without a data set need.
    pub(crate) repeats: Mutex<Vec<Prepared>>,
    memory: PlanMemory,
    // Last, so that it is let go of last (device/closing.rs).
    pub(crate) gpu: Gpu,
}

impl Session {
    /// Compiles a graph: what is fetched and updated, and all it takes. Variables that are new to
    /// the session get memory, and no value.
    ///
    /// # Errors
    /// [`CompileError::Graph`] with every mistake of the graph; [`CompileError::Session`] if a
    /// variable does not agree with the session's; [`CompileError::NoRoom`] if memory runs out; the other
    /// variants if the device cannot do it. Session and device memory are as before,
    /// then.
    pub fn compile(
        &mut self,
        graph: &Graph,
        fetches: &[Tensor<'_>],
        updates: &[Update<'_>],
    ) -> Result<Plan, CompileError> {
        let target = Target::of(self.gpu());
        self.compile_for(graph, fetches, updates, target)
    }

    /// Compiles as for another kind of device, which must be able to do less than this one.
    pub(crate) fn compile_for(
        &mut self,
        graph: &Graph,
        fetches: &[Tensor<'_>],
        updates: &[Update<'_>],
        target: Target,
    ) -> Result<Plan, CompileError> {
        let compiled = self.compile_graph(graph, fetches, updates, target)?;
        let trainers = self.trainers.with(&compiled.def, updates)?;
        let declared = self.store.declared();
        let plan = match self.make(graph.identity(), &compiled, target) {
            Ok(plan) => plan,
            Err(error) => {
                // A smaller model may have other shapes for these names, and needs the memory.
                self.store.back_to(declared);
                self.gpu().let_go();
                return Err(self.without_room(error, &compiled));
            }
        };
        self.store.mark_trainable(&trained_by(&compiled.def, updates));
        self.trainers = trainers;
        Ok(plan)
    }

    /// Takes the memory of a plan and makes it.
    fn make(
        &mut self,
        graph: u64,
        compiled: &Compiled,
        target: Target,
    ) -> Result<Plan, CompileError> {
        let Compiled { def, program, variables, memory } = compiled;
        self.declare(variables)?;
        let (gpu, memory, own) = (self.gpu().clone(), *memory, HashMap::new());
        Builder { gpu, session: self, graph, def, program, target, memory, own }.build()
    }
}

impl Plan {
    /// The kernel launches of a run, in order.
    pub fn dispatches(&self) -> Vec<DispatchInfo> {
        self.launches.iter().map(|launch| launch.info.clone()).collect()
    }

    /// How many groups of dispatches barriers separate in a run. What is in one group may run at the
    /// same time; software adapters run one dispatch after the other all the same.
    pub fn dispatch_groups(&self) -> usize {
        self.groups
    }

    /// All kernels, in the pass that is open and further ones. `is_later` is whether the same
    /// submission has run them before.
    pub(crate) fn dispatch_all(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        pass: &mut Option<wgpu::ComputePass<'static>>,
        is_later: bool,
    ) {
        let opens_pass = &self.opens_pass[usize::from(is_later)];
        for (launch, opens) in self.launches.iter().zip(opens_pass) {
            if *opens {
                // The encoder takes the next one only after the end of this one.
                *pass = None;
            }
            launch.dispatch(pass.get_or_insert_with(|| begin_pass(encoder)));
        }
    }

    /// What the plan keeps in memory besides the session's variables.
    pub fn memory(&self) -> PlanMemory {
        self.memory
    }

    /// Bytes of all placeholders in an upload.
    pub(crate) fn upload_bytes(&self) -> u64 {
        self.feeds.last().map_or(0, |feed| feed.offset + mapped(feed.bytes))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["", "operations", "kernel", "workgroups", "bytes", "arithmetic"]);
        for (at, launch) in self.launches.iter().enumerate() {
            let info = &launch.info;
            let [x, y, z] = info.workgroups;
            let groups = match (y, z) {
                (1, 1) => format!("{x}"),
                (_, 1) => format!("{x} x {y}"),
                _ => format!("{x} x {y} x {z}"),
            };
            table.add_row([
                at.to_string(),
                info.operations.clone(),
                info.kernel.to_owned(),
                groups,
                human_bytes(info.bytes),
                info.arithmetic.to_string(),
            ]);
        }
        for column in [0, 3, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{}", table.trim_fmt())?;
        let PlanMemory { values, values_unshared, values_least, feeds, constants, staging, .. } =
            self.memory;
        write!(
            f,
            "{} dispatches in {} groups that barriers separate, 1 submit; {} on the device: {} values ({:.2} times the least possible, {}; {} unshared), {} feeds, {} constants; {} staging",
            self.launches.len(),
            self.groups,
            human_bytes(self.memory.peak()),
            human_bytes(values),
            // Without values there is nothing to lose.
            if values == 0 { 1.0 } else { values as f64 / values_least as f64 },
            human_bytes(values_least),
            human_bytes(values_unshared),
            human_bytes(feeds),
            human_bytes(constants),
            human_bytes(staging),
        )
    }
}

#[cfg(test)]
mod batches_tests;
#[cfg(test)]
mod bytes_tests;
#[cfg(test)]
mod half_tests;
#[cfg(test)]
mod held_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod mixed_tests;
#[cfg(test)]
mod norm_tests;
#[cfg(test)]
mod numbered_tests;
#[cfg(test)]
mod pass_tests;
#[cfg(test)]
mod product_tests;
#[cfg(test)]
mod reduce_tests;
#[cfg(test)]
mod region_tests;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod rows_tests;
#[cfg(test)]
mod slices_tests;
#[cfg(test)]
pub(crate) mod translation_tests;
#[cfg(test)]
mod update_tests;
