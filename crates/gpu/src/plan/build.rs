//! Putting a plan together: buffers, pipelines and bind groups.

use super::memory::{mapped, words};
use super::{DispatchInfo, Feed, Fetch, Fetches, Launch, Plan, PlanMemory, Read, Written};
use crate::compile::{Access, Dispatch, Place, Program, Start, Step, Target, groups, starts};
use crate::device::gpu::{Gpu, binding};
use crate::device::pipelines::{Kernel, bind_group_entries};
use crate::plan_error::CompileError;
use crate::run::readback::Readbacks;
use crate::run::upload::Uploads;
use crate::session::Session;
use crate::store::VariableSlice;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use warmstart_graph::{GraphDef, VariableId};

/// A plan being put together.
pub(super) struct Builder<'a> {
    pub gpu: Gpu,
    pub session: &'a Session,
    pub graph: u64,
    pub def: &'a GraphDef,
    pub program: &'a Program,
    pub target: Target,
    /// What all of it takes.
    pub memory: PlanMemory,
    /// Buffers of feeds, constants and tables.
    pub own: HashMap<Place, (wgpu::Buffer, u64)>,
}

/// A kernel launch whose pipeline is not made yet.
pub(super) struct PendingLaunch<'d> {
    pub source: Cow<'d, str>,
    pub constants: Vec<(&'static str, f64)>,
    /// Buffer, offset and bytes of each.
    pub bindings: Vec<(wgpu::Buffer, u64, u64)>,
    pub accesses: Vec<Access>,
    pub info: DispatchInfo,
}

pub(super) const STORAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

impl Builder<'_> {
    pub fn build(mut self) -> Result<Plan, CompileError> {
        let program = self.program;
        let (feeds, upload_bytes) = self.feeds()?;
        self.constants()?;
        self.values()?;

        let mut pending = Vec::new();
        for step in &program.steps {
            match step {
                Step::Dispatch(dispatch) => pending.push(self.pending(dispatch)?),
                Step::Optimizer(step) => pending.extend(self.optimizer(step)?),
            }
        }
        let (opens_pass, groups) = passes(&pending, self.target);
        let launches = self.launches(pending)?;
        let fetches = self.fetches()?;
        let uploads = Uploads::new(&self.gpu, upload_bytes)?;
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
        let is_read = |id| program.reads.iter().any(|read| read.variable == id);
        let written =
            program.assigned.iter().map(|id| Ok(Written { entry: index(id)?, read: is_read(*id) }));
        let trained = program.trained.iter().map(|id| Ok(index(id)?));
        Ok(Plan {
            session: self.session.identity.clone(),
            trained: trained.collect::<Result<_, CompileError>>()?,
            written: written.collect::<Result<_, CompileError>>()?,
            gpu: self.gpu,
            launches,
            opens_pass,
            groups,
            feeds,
            fetches: Arc::new(fetches),
            reads,
            uploads: Mutex::new(uploads),
            readbacks: Readbacks::default(),
            step_readbacks: Readbacks::default(),
            repeats: Mutex::default(),
            identity: Arc::default(),
            memory: self.memory,
        })
    }

    /// Buffers of placeholders, and how many bytes are uploaded for them.
    fn feeds(&mut self) -> Result<(Vec<Feed>, u64), CompileError> {
        let mut feeds = Vec::new();
        let mut upload_bytes = 0;
        for spec in &self.program.feeds {
            let bytes = spec.bytes();
            let label = format!("placeholder {}", spec.name);
            let buffer = self.gpu.buffer(&label, words(bytes), STORAGE)?;
            self.own.insert(Place::Feed(spec.id), (buffer.clone(), bytes));
            let (name, shape, dtype) = (spec.name.clone(), spec.shape.clone(), spec.dtype);
            let location = spec.location.clone();
            feeds.push(Feed { name, shape, dtype, location, buffer, offset: upload_bytes, bytes });
            upload_bytes += mapped(bytes);
        }
        Ok((feeds, upload_bytes))
    }

    /// Buffers of constants and tables, with what is in them.
    fn constants(&mut self) -> Result<(), CompileError> {
        for (id, data) in &self.program.constants {
            self.upload(Place::Constant(*id), "constant", &data.to_le_bytes())?;
        }
        for (number, table) in self.program.tables.iter().enumerate() {
            self.upload(Place::Table(number), "table", bytemuck::cast_slice(table))?;
        }
        Ok(())
    }

    /// Buffers that values share.
    fn values(&mut self) -> Result<(), CompileError> {
        let memory = &self.program.memory;
        let values: Vec<wgpu::Buffer> = memory
            .buffers
            .iter()
            .map(|&bytes| self.gpu.buffer("values", bytes, STORAGE))
            .collect::<Result<_, _>>()?;
        for (&place, &(buffer, _, bytes)) in &memory.places {
            // Where a value is not alone in its buffer, `place` below adds the offset.
            self.own.insert(place, (values[buffer].clone(), bytes));
        }
        Ok(())
    }

    /// Where fetches are copied from, and where to.
    fn fetches(&self) -> Result<Fetches, CompileError> {
        let mut list = Vec::new();
        let mut all = 0;
        for spec in &self.program.fetches {
            let bytes = spec.bytes();
            let (buffer, from, _) = self.place(spec.place)?;
            let (shape, dtype) = (spec.shape.clone(), spec.dtype);
            list.push(Fetch {
                node: spec.node,
                described: self.def.describe(spec.node),
                shape,
                dtype,
                buffer,
                from,
                offset: all,
                bytes,
            });
            all += mapped(bytes);
        }
        Ok(Fetches { graph: self.graph, list, bytes: all })
    }

    fn upload(&mut self, place: Place, what: &str, bytes: &[u8]) -> Result<(), CompileError> {
        let buffer = self.gpu.buffer(what, words(bytes.len() as u64), STORAGE)?;
        let mut whole = bytes.to_vec();
        whole.resize(words(bytes.len() as u64) as usize, 0);
        self.gpu.checked(what, |_| self.gpu.queue().write_buffer(&buffer, 0, &whole))?;
        self.own.insert(place, (buffer, bytes.len() as u64));
        Ok(())
    }

    pub fn variable(&self, id: VariableId) -> Result<&VariableSlice, CompileError> {
        Ok(self.session.slice(&self.def.variable(id).name)?)
    }

    /// Buffer, offset and bytes of a place.
    pub fn place(&self, place: Place) -> Result<(wgpu::Buffer, u64, u64), CompileError> {
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

    fn pending<'d>(&self, dispatch: &'d Dispatch) -> Result<PendingLaunch<'d>, CompileError> {
        let mut bindings = Vec::new();
        for (place, _) in &dispatch.bindings {
            bindings.push(self.place(*place)?);
        }
        let Dispatch { kernel, source, constants, workgroups, .. } = dispatch;
        let bytes: Vec<u64> = bindings.iter().map(|&(_, _, bytes)| words(bytes)).collect();
        let chosen = self.gpu.tuner().choose(&self.gpu, dispatch, &bytes);
        let (kernel, source, constants, workgroups) = match chosen {
            Some(other) => (other.kernel, &other.source, &other.constants, other.workgroups),
            None => (*kernel, source, constants, *workgroups),
        };
        let info = DispatchInfo {
            operations: dispatch.label.clone(),
            kernel,
            workgroups,
            bytes: dispatch.bytes,
            arithmetic: dispatch.operations,
        };
        let (source, constants) = (source.into(), constants.clone());
        let accesses = dispatch.bindings.iter().map(|&(_, access)| access).collect();
        Ok(PendingLaunch { source, constants, bindings, accesses, info })
    }

    /// Makes all pipelines together, and what binds buffers to each.
    fn launches(&self, pending: Vec<PendingLaunch<'_>>) -> Result<Vec<Launch>, CompileError> {
        let kernels: Vec<Kernel<'_>> = pending
            .iter()
            .map(|PendingLaunch { source, constants, info, .. }| Kernel {
                label: info.kernel,
                source,
                constants,
                layout: &[],
            })
            .collect();
        let pipelines = self.gpu.pipelines(&kernels)?;
        let launch = |(pending, pipeline)| self.launch(pending, pipeline);
        pending.into_iter().zip(pipelines).map(launch).collect()
    }

    fn launch(
        &self,
        pending: PendingLaunch<'_>,
        pipeline: Arc<wgpu::ComputePipeline>,
    ) -> Result<Launch, CompileError> {
        let PendingLaunch { bindings, info, .. } = pending;
        let resources =
            bindings.iter().map(|(buffer, offset, bytes)| binding(buffer, *offset, words(*bytes)));
        let what = format!("the bind group of {} ({})", info.kernel, info.operations);
        let bind_group = self.gpu.checked(&what, |device| {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(info.kernel),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &bind_group_entries(resources),
            })
        })?;
        Ok(Launch { pipeline, bind_group, workgroups: info.workgroups, info })
    }
}

/// Which launches open a pass: in a run, and in each further step of the same submission, which finds
/// every buffer used before. And how many groups barriers separate in a run.
fn passes(pending: &[PendingLaunch<'_>], target: Target) -> ([Vec<bool>; 2], usize) {
    let mut once: Vec<Vec<(&wgpu::Buffer, Access)>> = Vec::new();
    for PendingLaunch { bindings, accesses, .. } in pending {
        let buffers = bindings.iter().map(|(buffer, ..)| buffer);
        once.push(buffers.zip(accesses.iter().copied()).collect());
    }
    // A software adapter runs one dispatch after the other, and a pass costs the host some time.
    let overlaps = !target.is_cpu;
    let first = starts(&once, overlaps);
    let again = starts(&[&once[..], &once[..]].concat(), overlaps).split_off(once.len());
    let groups = groups(&first);
    let opens = |starts: Vec<Start>| starts.into_iter().map(|start| start == Start::Pass).collect();
    ([first, again].map(opens), groups)
}
