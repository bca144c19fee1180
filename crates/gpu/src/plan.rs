//! A compiled graph on a device: pipelines, bind groups and buffers made once, so that a run is
//! one encoder, one compute pass, one submission, and nothing is allocated.

use crate::compile::{self, BLOCK, Dispatch, Place, Program, Step, Target};
use crate::device::{Gpu, binding};
use crate::plan_error::CompileError;
use crate::session::Session;
use crate::store::VariableSlice;
use crate::upload::Uploads;
use comfy_table::{CellAlignment, Table, presets};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use warmstart_graph::ops::{OptimizerUpdate, Rule};
use warmstart_graph::{
    DType, Graph, GraphDef, Location, NodeId, Shape, Tensor, Update, VariableId,
};
use warmstart_shaders as shaders;

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

/// A value that is read back.
pub(crate) struct Fetch {
    pub node: NodeId,
    /// The node as its author knows it.
    pub described: String,
    pub shape: Shape,
    pub dtype: DType,
    pub buffer: wgpu::Buffer,
    pub from: u64,
    /// Where its bytes are in a readback.
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

/// One kernel launch.
pub(crate) struct Launch {
    pub pipeline: Arc<wgpu::ComputePipeline>,
    pub bind_group: wgpu::BindGroup,
    pub workgroups: [u32; 3],
    pub info: DispatchInfo,
}

/// One kernel launch, as a plan lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchInfo {
    /// The operations it computes, in order: `matmul+add+relu`. Those of a second result follow a
    /// comma: `matmul, sum`.
    pub operations: String,
    /// The kernel family.
    pub kernel: &'static str,
    /// Workgroups along x, y and z.
    pub workgroups: [u32; 3],
    /// Bytes read and written if each is moved once.
    pub bytes: u64,
    /// Arithmetic operations: two for each multiply-add of a product.
    pub arithmetic: u64,
}

/// What a plan keeps in device memory besides the session's variables, in bytes. It is all there
/// is: runs allocate nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanMemory {
    /// Intermediate values, gradients included; those never needed at the same time share memory.
    pub values: u64,
    /// What they would take without sharing.
    pub values_unshared: u64,
    /// Placeholders.
    pub feeds: u64,
    /// Constants and tables.
    pub constants: u64,
    /// Upload buffers for feeds, in host memory.
    pub staging: u64,
}

impl PlanMemory {
    /// The peak of a run, known before it: everything on the device.
    pub fn peak(&self) -> u64 {
        self.values + self.feeds + self.constants
    }
}

/// A compiled graph, for one session. Several plans (training, evaluation, another batch size) may
/// share the variables of a session. Printing it lists its dispatches.
pub struct Plan {
    pub(crate) gpu: Gpu,
    pub(crate) session: Arc<()>,
    /// The identity of the graph that was compiled.
    pub(crate) graph: u64,
    pub(crate) launches: Vec<Launch>,
    pub(crate) feeds: Vec<Feed>,
    pub(crate) fetches: Arc<Vec<Fetch>>,
    pub(crate) fetch_bytes: u64,
    pub(crate) reads: Vec<Read>,
    pub(crate) trained: Vec<usize>,
    pub(crate) assigned: Vec<usize>,
    pub(crate) uploads: Mutex<Uploads>,
    pub(crate) readbacks: Arc<Mutex<Vec<wgpu::Buffer>>>,
    memory: PlanMemory,
}

impl Session {
    /// Compiles a graph: what is fetched and updated, and all it takes. Variables that are new to
    /// the session get memory, and no value.
    ///
    /// # Errors
    /// [`CompileError::Graph`] with every mistake of the graph; [`CompileError::Session`] if a
    /// variable does not agree with the session's; the other variants if the device cannot do it.
    pub fn compile(
        &mut self,
        graph: &Graph,
        fetches: &[Tensor<'_>],
        updates: &[Update<'_>],
    ) -> Result<Plan, CompileError> {
        let def = graph.finish()?;
        let foreign = fetches.iter().map(|t| t.graph()).chain(updates.iter().map(|u| u.graph()));
        if foreign.into_iter().any(|other| !std::ptr::eq(other, graph)) {
            return Err(CompileError::ForeignTensor);
        }
        let fetches: Vec<NodeId> = fetches.iter().map(|tensor| tensor.id()).collect();
        let updates: Vec<NodeId> = updates.iter().map(|update| update.id()).collect();
        let gpu = self.gpu().clone();
        let limits = gpu.limits();
        let target = Target {
            is_cpu: gpu.is_cpu(),
            subgroup_size: gpu.subgroup_size(),
            has_int64: gpu.features().contains(wgpu::Features::SHADER_INT64),
            storage_buffers: limits.max_storage_buffers_per_shader_stage as usize,
            binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            workgroups: limits.max_compute_workgroups_per_dimension,
        };
        let program = compile::compile(&def, &fetches, &updates, target)?;
        // Only what is read or written: a graph for evaluation needs no optimizer slots.
        let mut used = vec![false; def.variables.len()];
        let written = program.trained.iter().chain(&program.assigned);
        for id in program.reads.iter().map(|read| read.variable).chain(written.copied()) {
            used[id.0] = true;
        }
        let variables: Vec<_> = def
            .variables
            .iter()
            .zip(used)
            .filter(|(_, used)| *used)
            .map(|(variable, _)| variable.clone())
            .collect();
        self.declare(&variables)?;
        Builder {
            gpu,
            session: self,
            graph: graph.identity(),
            def: &def,
            program: &program,
            target,
            own: HashMap::new(),
        }
        .build()
    }
}

/// A plan being put together.
struct Builder<'a> {
    gpu: Gpu,
    session: &'a Session,
    graph: u64,
    def: &'a GraphDef,
    program: &'a Program,
    target: Target,
    /// Buffers of feeds, constants and tables.
    own: HashMap<Place, (wgpu::Buffer, u64)>,
}

const STORAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

/// Copies and bindings are made of whole words.
fn words(bytes: u64) -> u64 {
    bytes.next_multiple_of(4).max(4)
}

impl Builder<'_> {
    fn build(mut self) -> Result<Plan, CompileError> {
        let program = self.program;
        let mut memory = PlanMemory {
            values: program.memory.total(),
            values_unshared: program.memory.unshared,
            feeds: 0,
            constants: 0,
            staging: 0,
        };
        let mut feeds = Vec::new();
        let mut upload_bytes = 0;
        for spec in &program.feeds {
            let bytes = spec.shape.elements() as u64 * spec.dtype.size() as u64;
            if bytes > self.target.binding_bytes {
                let what = format!("placeholder `{}`", spec.name);
                let limit = self.target.binding_bytes;
                return Err(CompileError::TooLarge { what, bytes, limit });
            }
            let label = format!("placeholder {}", spec.name);
            let buffer = self.gpu.buffer(&label, words(bytes), STORAGE)?;
            self.own.insert(Place::Feed(spec.id), (buffer.clone(), bytes));
            memory.feeds += words(bytes);
            let (name, shape, dtype) = (spec.name.clone(), spec.shape.clone(), spec.dtype);
            let location = spec.location.clone();
            feeds.push(Feed { name, shape, dtype, location, buffer, offset: upload_bytes, bytes });
            // Mapped ranges begin at multiples of 8.
            upload_bytes += bytes.next_multiple_of(8);
        }
        for (id, data) in &program.constants {
            let bytes = data.to_le_bytes();
            memory.constants += words(bytes.len() as u64);
            self.upload(Place::Constant(*id), "constant", &bytes)?;
        }
        for (number, table) in program.tables.iter().enumerate() {
            memory.constants += words(table.len() as u64 * 4);
            self.upload(Place::Table(number), "table", bytemuck::cast_slice(table))?;
        }
        let values: Vec<wgpu::Buffer> = program
            .memory
            .buffers
            .iter()
            .map(|&bytes| self.gpu.buffer("values", bytes, STORAGE))
            .collect::<Result<_, _>>()?;
        for (&place, &(buffer, _, bytes)) in &program.memory.places {
            // Where a value is not alone in its buffer, `place` below adds the offset.
            self.own.insert(place, (values[buffer].clone(), bytes));
        }

        let mut launches = Vec::new();
        for step in &program.steps {
            match step {
                Step::Dispatch(dispatch) => launches.push(self.launch(dispatch)?),
                Step::Optimizer { update, scalars, gradients } => {
                    launches.extend(self.optimizer(update, *scalars, gradients, &mut memory)?);
                }
            }
        }

        let mut fetches = Vec::new();
        let mut fetch_bytes = 0;
        for spec in &program.fetches {
            let bytes = spec.shape.elements() as u64 * spec.dtype.size() as u64;
            let (buffer, from, _) = self.place(spec.place)?;
            let (shape, dtype) = (spec.shape.clone(), spec.dtype);
            fetches.push(Fetch {
                node: spec.node,
                described: self.def.describe(spec.node),
                shape,
                dtype,
                buffer,
                from,
                offset: fetch_bytes,
                bytes,
            });
            fetch_bytes += bytes.next_multiple_of(8);
        }
        let uploads = Uploads::new(&self.gpu, upload_bytes)?;
        memory.staging = uploads.bytes();
        let index = |id: &VariableId| self.session.store.index(&self.def.variable(*id).name);
        let reads = program
            .reads
            .iter()
            .map(|read| {
                let entry = index(&read.variable)?;
                let (operation, location) = (read.operation.clone(), read.location.clone());
                Ok(Read { entry, operation, location })
            })
            .collect::<Result<_, CompileError>>()?;
        let indices = |ids: &[VariableId]| {
            ids.iter().map(|id| Ok(index(id)?)).collect::<Result<Vec<usize>, CompileError>>()
        };
        Ok(Plan {
            session: self.session.identity.clone(),
            graph: self.graph,
            trained: indices(&program.trained)?,
            assigned: indices(&program.assigned)?,
            gpu: self.gpu,
            launches,
            feeds,
            fetches: Arc::new(fetches),
            fetch_bytes,
            reads,
            uploads: Mutex::new(uploads),
            readbacks: Arc::default(),
            memory,
        })
    }

    fn upload(&mut self, place: Place, what: &str, bytes: &[u8]) -> Result<(), CompileError> {
        let buffer = self.gpu.buffer(what, words(bytes.len() as u64), STORAGE)?;
        let mut whole = bytes.to_vec();
        whole.resize(words(bytes.len() as u64) as usize, 0);
        self.gpu.checked(what, |_| self.gpu.queue().write_buffer(&buffer, 0, &whole))?;
        self.own.insert(place, (buffer, bytes.len() as u64));
        Ok(())
    }

    fn variable(&self, id: VariableId) -> Result<&VariableSlice, CompileError> {
        Ok(self.session.slice(&self.def.variable(id).name)?)
    }

    /// Buffer, offset and bytes of a place.
    fn place(&self, place: Place) -> Result<(wgpu::Buffer, u64, u64), CompileError> {
        if let Place::Variable(id) = place {
            let slice = self.variable(id)?;
            return Ok((slice.buffer.clone(), slice.offset, slice.bytes));
        }
        let offset = self.program.memory.places.get(&place).map_or(0, |&(_, offset, _)| offset);
        match self.own.get(&place) {
            Some((buffer, bytes)) => Ok((buffer.clone(), offset, *bytes)),
            // Every place that a step uses was given memory above.
            None => Err(CompileError::Gpu(crate::GpuError::Internal {
                what: "planning memory".to_owned(),
                message: format!("{place:?} was not planned"),
            })),
        }
    }

    fn launch(&self, dispatch: &Dispatch) -> Result<Launch, CompileError> {
        let mut bindings = Vec::new();
        for (place, _) in &dispatch.bindings {
            bindings.push(self.place(*place)?);
        }
        let info = DispatchInfo {
            operations: dispatch.label.clone(),
            kernel: dispatch.kernel,
            workgroups: dispatch.workgroups,
            bytes: dispatch.bytes,
            arithmetic: dispatch.operations,
        };
        self.put_together(&dispatch.source, &dispatch.constants, &bindings, info)
    }

    fn put_together(
        &self,
        source: &str,
        constants: &[(&'static str, f64)],
        bindings: &[(wgpu::Buffer, u64, u64)],
        info: DispatchInfo,
    ) -> Result<Launch, CompileError> {
        let pipeline = self.gpu.pipeline(info.kernel, source, constants)?;
        let entries: Vec<wgpu::BindGroupEntry<'_>> = bindings
            .iter()
            .enumerate()
            .map(|(at, (buffer, offset, bytes))| wgpu::BindGroupEntry {
                binding: at as u32,
                resource: binding(buffer, *offset, words(*bytes)),
            })
            .collect();
        let what = format!("the bind group of {} ({})", info.kernel, info.operations);
        let bind_group = self.gpu.checked(&what, |device| {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(info.kernel),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            })
        })?;
        Ok(Launch { pipeline, bind_group, workgroups: info.workgroups, info })
    }

    /// One dispatch for all parameters that share buffers with each other, and so do their slots:
    /// all of them, unless a model is larger than one binding.
    fn optimizer(
        &mut self,
        update: &OptimizerUpdate,
        scalars: Place,
        gradients: &[u64],
        memory: &mut PlanMemory,
    ) -> Result<Vec<Launch>, CompileError> {
        let mut groups: Vec<(Vec<VariableSlice>, Vec<u32>, u64)> = Vec::new();
        for (parameter, &gradient) in update.parameters.iter().zip(gradients) {
            let mut slices = vec![self.variable(parameter.variable)?.clone()];
            for &slot in &parameter.slots {
                slices.push(self.variable(slot)?.clone());
            }
            let elements = slices[0].bytes / 4;
            let same = |(others, ..): &(Vec<VariableSlice>, Vec<u32>, u64)| {
                others.iter().zip(&slices).all(|(a, b)| a.arena == b.arena)
            };
            let group = match groups.iter().position(same) {
                Some(group) => group,
                None => {
                    groups.push((slices.clone(), Vec::new(), 0));
                    groups.len() - 1
                }
            };
            let (_, blocks, total) = &mut groups[group];
            *total += elements;
            let start = |at: usize| slices.get(at).map_or(0, |slice| slice.offset / 4);
            let mut done = 0;
            while done < elements {
                let length = (elements - done).min(BLOCK);
                let places = [start(0), gradient, start(1), start(2)];
                blocks.extend(places.map(|place| (place + done) as u32));
                blocks.extend([length as u32, u32::from(parameter.decays)]);
                done += length;
            }
        }

        let mut launches = Vec::new();
        for (slices, blocks, elements) in groups {
            let count = blocks.len() as u64 / 6;
            if count == 0 {
                continue;
            }
            let bytes: &[u8] = bytemuck::cast_slice(&blocks);
            memory.constants += words(bytes.len() as u64);
            let table = self.gpu.buffer("optimizer blocks", words(bytes.len() as u64), STORAGE)?;
            self.gpu.checked("the optimizer's table", |_| {
                self.gpu.queue().write_buffer(&table, 0, bytes);
            })?;
            let scalars = self.place(scalars)?;
            let packed = self.place(Place::Packed)?;
            let mut bindings = vec![(table, 0, bytes.len() as u64), scalars, packed];
            for at in 0..3 {
                bindings.push(match slices.get(at) {
                    Some(slice) => (slice.buffer.clone(), 0, slice.buffer.size()),
                    // A rule without this slot leaves the binding alone.
                    None => (self.gpu.buffer("no slot", 4, STORAGE)?, 0, 4),
                });
            }
            let limit = u64::from(self.target.workgroups);
            let rows = count.div_ceil(limit);
            let info = DispatchInfo {
                operations: format!(
                    "{} of {} variables",
                    update.rule.name(),
                    update.parameters.len()
                ),
                kernel: "optimizer",
                workgroups: [count.div_ceil(rows) as u32, rows as u32, 1],
                bytes: elements * 4 * (3 + 2 * update.rule.slots().len() as u64),
                arithmetic: elements * 12,
            };
            let mut constants = rule_constants(&update.rule);
            constants.push(("BLOCKS", count as f64));
            launches.push(self.put_together(shaders::OPTIMIZER, &constants, &bindings, info)?);
        }
        Ok(launches)
    }
}

/// A rule as the optimizer kernel's constants.
fn rule_constants(rule: &Rule) -> Vec<(&'static str, f64)> {
    let flag = |on: bool| f64::from(u8::from(on));
    match *rule {
        Rule::Sgd { momentum, nesterov, weight_decay } => vec![
            ("MOMENTUM", momentum.into()),
            ("NESTEROV", flag(nesterov)),
            ("WEIGHT_DECAY", weight_decay.into()),
        ],
        Rule::Adam { beta1, beta2, epsilon, weight_decay, decoupled } => vec![
            ("ADAM", 1.0),
            ("BETA1", beta1),
            ("REST1", 1.0 - beta1),
            ("BETA2", beta2),
            ("REST2", 1.0 - beta2),
            ("EPSILON", epsilon.into()),
            ("WEIGHT_DECAY", weight_decay.into()),
            ("DECOUPLED", flag(decoupled)),
        ],
    }
}

impl Plan {
    /// The kernel launches of a run, in order.
    pub fn dispatches(&self) -> Vec<DispatchInfo> {
        self.launches.iter().map(|launch| launch.info.clone()).collect()
    }

    /// What the plan keeps in memory besides the session's variables.
    pub fn memory(&self) -> PlanMemory {
        self.memory
    }

    /// Submissions to the queue in one run.
    pub fn submits(&self) -> usize {
        1
    }
}

/// A number of bytes for people.
pub(crate) fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{value} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.2} GiB")
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
        let PlanMemory { values, values_unshared, feeds, constants, staging } = self.memory;
        write!(
            f,
            "{} dispatches, 1 submit; {} on the device: {} values ({} unshared), {} feeds, {} constants; {} staging",
            self.launches.len(),
            human_bytes(self.memory.peak()),
            human_bytes(values),
            human_bytes(values_unshared),
            human_bytes(feeds),
            human_bytes(constants),
            human_bytes(staging),
        )
    }
}
