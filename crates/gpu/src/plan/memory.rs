//! How much memory a plan takes, which is known before any is taken. It is computed here and nowhere else:
//! putting a plan together takes buffers of these sizes.
//!
//! `Session::plan_memory` tells it without a plan, since compiling up to there needs no device.
//! `largest_batch` of the crate `warmstart` asks it about graphs of one batch after another, by
//! halves.

use crate::compile::{self, BLOCK, Program, Step, Target};
use crate::device::gpu::MemoryKind;
use crate::device::room::MachineMemory;
use crate::plan_error::CompileError;
use crate::run::upload::Uploads;
use crate::session::Session;
use crate::store::{check_sizes, room};
use crate::trainers::trained_by;
use warmstart_graph::words::printable;
use warmstart_graph::{DType, Graph, GraphDef, NodeId, Tensor, TensorData, Update, Variable};

/// What a plan keeps in device memory, in bytes. With the session's variables it is all there is:
/// runs allocate nothing. (An optimizer with fewer slots than Adam binds 16 bytes in place of each of the
/// others, which are not counted.)
///
/// Only [`Session::run_steps`] keeps more, for the most steps that it was asked for. With `up(bytes)`
/// for bytes rounded up to the device's `min_storage_buffer_offset_alignment` (at most 256), each step
/// takes `up(4 · batch)` for its row indices and `up(4 · scalars)` for the `f32` scalars it fetches;
/// in host memory, three times the former, and the latter for each result that was unread at once.
/// Not for each step, but once more, there are upload buffers for feeds and readbacks for fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanMemory {
    /// Intermediate values, gradients included; those never needed at the same time share memory.
    pub values: u64,
    /// What they would take without sharing, but for results that are written over a value: those count
    /// with it.
    pub values_unshared: u64,
    /// The least that they could take: the largest sum of values that are alive at once, each rounded up
    /// to what a binding's offset must be a multiple of (256 bytes). A gradient counts from when it is
    /// computed until all are read, a result with the value that it is written over, and what a kernel leaves
    /// for the next, as the slices of a long sum, is a value too. Where a kernel
    /// binds a value twice, as of a product of a value and itself, which then can have no buffer in common
    /// with what that kernel writes, the least may be more.
    pub values_least: u64,
    /// Placeholders.
    pub feeds: u64,
    /// Constants and tables.
    pub constants: u64,
    /// Upload buffers for feeds, in host memory.
    pub staging: u64,
    /// The session's variables that the plan reads or writes, slots included. Other plans may share
    /// them, so they are no part of [`PlanMemory::peak`].
    pub variables: u64,
}

/// How many words of its table are a block.
pub(super) const BLOCK_WORDS: u64 = 7;

/// Bytes of the blocks of a parameter of so many elements.
fn table_bytes(elements: u64) -> u64 {
    elements.div_ceil(BLOCK) * BLOCK_WORDS * 4
}

impl PlanMemory {
    /// The peak of a run, known before it: everything on the device.
    pub fn peak(&self) -> u64 {
        self.values + self.feeds + self.constants
    }

    /// With the session's variables.
    pub(super) fn all(&self) -> u64 {
        self.peak() + self.variables
    }

    /// The same, unless the plan and its variables take more than so many bytes of the device. `wgpu`
    /// does not tell how much memory a device has: its user may know it, or [`CompileError::NoRoom`] tells
    /// how much there was.
    ///
    /// # Errors
    /// [`CompileError::OverLimit`].
    pub fn within(self, limit: u64) -> Result<PlanMemory, CompileError> {
        let bytes = self.all();
        if bytes > limit { Err(CompileError::OverLimit { bytes, limit }) } else { Ok(self) }
    }
}

/// A graph compiled as far as that goes without touching the device.
pub(super) struct Compiled {
    pub def: GraphDef,
    pub program: Program,
    /// What is read or written: a graph for evaluation needs no optimizer slots.
    pub variables: Vec<Variable>,
    /// What a plan of it takes.
    pub memory: PlanMemory,
}

impl PlanMemory {
    /// What a plan takes of this program, which uses these variables.
    fn of(def: &GraphDef, program: &Program, variables: &[Variable]) -> PlanMemory {
        let feeds = program.feeds.iter().map(|feed| words(feed.bytes()));
        let elements = |data: &TensorData| data.shape().elements() as u64;
        let constants = program
            .constants
            .iter()
            .map(|(_, data)| words(elements(data) * data.dtype().size() as u64));
        let tables = program.tables.iter().map(|table| words(table.len() as u64 * 4));
        let trained = program.steps.iter().flat_map(|step| match step {
            Step::Dispatch(_) => &[][..],
            Step::Optimizer(step) => &step.update.parameters,
        });
        let parameters = trained.map(|parameter| def.variable(parameter.variable));
        let blocks = parameters.map(|variable| table_bytes(variable.shape.elements() as u64));
        PlanMemory {
            values: program.memory.total(),
            values_unshared: program.memory.unshared,
            values_least: program.memory.least,
            feeds: feeds.sum(),
            constants: constants.chain(tables).chain(blocks).sum(),
            staging: Uploads::ring_bytes(upload_bytes(program)),
            variables: of_variables(variables),
        }
    }
}

impl Session {
    /// What a plan would take, without taking it: nothing is declared, and the device does nothing (but try
    /// out its `f16`, once, where the graph has some).
    /// Shapes are static, so the batch is part of the graph; `largest_batch` of the crate `warmstart`
    /// looks for the largest that fits.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use warmstart_gpu::{Gpu, Session};
    /// use warmstart_graph::{DType, Graph};
    ///
    /// let mut session = Session::new(&Gpu::new()?);
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [64, 100], DType::F32);
    /// let y = graph.scope("fc").linear(x, 10);
    /// let memory = session.plan_memory(&graph, &[y], &[])?;
    /// assert_eq!(memory.feeds, 64 * 100 * 4);
    /// assert_eq!(memory, session.compile(&graph, &[y], &[])?.memory());
    /// assert!(memory.within(20_000).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Session::compile`], which may also fail where this does not: if memory runs out, or
    /// a variable does not agree with the session's. ([`CompileError::NoRoom`] is told here on software
    /// adapters alone, where more is needed than the machine has.)
    pub fn plan_memory(
        &self,
        graph: &Graph,
        fetches: &[Tensor<'_>],
        updates: &[Update<'_>],
    ) -> Result<PlanMemory, CompileError> {
        // To tell it, neither kernels to choose from are needed nor the fastest. Whether the device has
        // `f16` decides which kernels round to it, and so which values there are.
        let own = Target::of(self.gpu());
        let target = Target { alternatives: false, cooperative: None, ..own };
        Ok(self.compile_graph(graph, fetches, updates, target)?.memory)
    }

    /// What to say of a plan that could not be made: where memory has run out, how much there is for it.
    pub(super) fn without_room(&self, error: CompileError, compiled: &Compiled) -> CompileError {
        if !error.is_out_of_memory() {
            return error;
        }
        let memory = compiled.memory;
        let bytes = memory.all();
        let held = self.held(compiled);
        let needed = bytes.saturating_sub(held).max(1);
        // Where host and device share memory, uploads have their part of it.
        let uploads = match self.gpu().memory() {
            MemoryKind::Mappable => memory.staging,
            MemoryKind::Staged => 0,
        };
        let room = self.gpu().room(needed + uploads);
        // There is now: somebody else has let go of it meanwhile.
        if room == needed + uploads {
            return error;
        }
        let own = u128::from(room) * u128::from(needed) / u128::from(needed + uploads);
        CompileError::NoRoom { bytes, room: held + own as u64 }
    }

    /// What those of its variables take that the session has.
    fn held(&self, compiled: &Compiled) -> u64 {
        let is_held = |variable: &&Variable| self.store.index(&variable.name).is_ok();
        of_variables(compiled.variables.iter().filter(is_held))
    }

    /// What compiling begins with.
    pub(super) fn compile_graph(
        &self,
        graph: &Graph,
        fetches: &[Tensor<'_>],
        updates: &[Update<'_>],
        target: Target,
    ) -> Result<Compiled, CompileError> {
        let def = graph.finish()?;
        let foreign = fetches.iter().map(|t| t.graph()).chain(updates.iter().map(|u| u.graph()));
        if foreign.into_iter().any(|other| !std::ptr::eq(other, graph)) {
            return Err(CompileError::ForeignTensor);
        }
        let is_f16 = || def.nodes.iter().any(|node| node.dtype == DType::F16);
        let has_f16 = target.has_f16 && is_f16() && self.gpu().widens_f16()?;
        let cooperative = match target.cooperative {
            Some(size) if has_f16 && self.gpu().multiplies_by_matrices(size)? => Some(size),
            _ => None,
        };
        let target = Target { has_f16, cooperative, ..target };
        // Their gradients, as large, would be refused by the names of the operations that compute them.
        check_sizes(self.gpu(), trained_by(&def, updates))?;
        let fetches: Vec<NodeId> = fetches.iter().map(|tensor| tensor.id()).collect();
        let updates: Vec<NodeId> = updates.iter().map(|update| update.id()).collect();
        let program = compile::compile(&def, &fetches, &updates, target)?;
        fits(&program, target, self.gpu().limits().max_buffer_size)?;
        let mut used = vec![false; def.variables.len()];
        let written = program.trained.iter().chain(&program.assigned);
        for id in program.reads.iter().map(|read| read.variable).chain(written.copied()) {
            used[id.0] = true;
        }
        let variables = def.variables.iter().zip(used).filter(|(_, used)| *used);
        let variables: Vec<Variable> = variables.map(|(variable, _)| variable.clone()).collect();
        check_sizes(self.gpu(), &variables)?;
        let memory = PlanMemory::of(&def, &program, &variables);
        let compiled = Compiled { def, program, variables, memory };
        let bytes = memory.all();
        match self.gpu().machine_memory() {
            Some(MachineMemory { all, free }) if bytes > all => {
                // What the session has of it is not to be had again.
                let room = free.saturating_add(self.held(&compiled)).min(all);
                Err(CompileError::NoRoom { bytes, room })
            }
            _ => Ok(compiled),
        }
    }
}

/// Refuses buffers that are larger than the device allows. Those of values were looked at when they
/// were given places.
fn fits(program: &Program, target: Target, buffer_bytes: u64) -> Result<(), CompileError> {
    let within = |what: &dyn Fn() -> String, bytes: u64, limit: u64| {
        let what = || what();
        if bytes > limit {
            Err(CompileError::TooLarge { what: what(), bytes, limit })
        } else {
            Ok(())
        }
    };
    for feed in &program.feeds {
        let what =
            || format!("placeholder `{}` (declared at {})", printable(&feed.name), feed.location);
        within(&what, feed.bytes(), target.binding_bytes)?;
    }
    let fetched = program.fetches.iter().map(|fetch| mapped(fetch.bytes()));
    within(&|| "what is fed in a run".to_owned(), upload_bytes(program), buffer_bytes)?;
    within(&|| "what is fetched in a run".to_owned(), fetched.sum(), buffer_bytes)
}

/// Copies and bindings are made of whole words.
pub(super) fn words(bytes: u64) -> u64 {
    bytes.next_multiple_of(4).max(4)
}

/// Mapped ranges begin at multiples of 8.
pub(super) fn mapped(bytes: u64) -> u64 {
    bytes.next_multiple_of(8)
}

/// Bytes of all placeholders in an upload.
fn upload_bytes(program: &Program) -> u64 {
    program.feeds.iter().map(|feed| mapped(feed.bytes())).sum()
}

/// Bytes of variables as they lie in arenas.
fn of_variables<'a>(variables: impl IntoIterator<Item = &'a Variable>) -> u64 {
    // None is larger than a binding, as was checked.
    variables.into_iter().filter_map(room).sum()
}
