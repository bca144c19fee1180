//! First values, made on the device.
//!
//! Orthogonal and given values are the exception: the host makes and uploads them.

use crate::device::gpu::{Gpu, binding};
use crate::device::pipelines::{Kernel, bind_group_entries};
use crate::error::{GpuError, SessionError};
use crate::origin::{Missing, Origin};
use crate::session::{Session, write};
use crate::store::{Entry, VariableSlice};
use bytemuck::{Pod, Zeroable};
use std::sync::Arc;
use warmstart_graph::{
    DType, Distribution, InitializeError, Initializer, Recipe, Variable, normal_table, truncation,
};
use warmstart_shaders::{HALF, INITIALIZE, PHILOX};

/// Whether `initialize_all` may destroy values that no initializer can make again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Refuse if any variable is restored, assigned, computed or trained.
    Refuse,
    /// Overwrite every variable, whatever its origin.
    Everything,
}

impl Session {
    /// Gives every variable that has no value its first one, and returns their names. Variables
    /// with a value are not touched. The bits are those that `initialize_all` with this seed would
    /// give the same variables, whatever else there is.
    ///
    /// Does not wait for the device, except that orthogonal and given values are made on the host
    /// and uploaded.
    ///
    /// # Errors
    /// [`SessionError::Initializer`] if an initializer does not fit its variable; nothing is
    /// initialized then. [`SessionError::Gpu`].
    pub fn initialize_missing(&mut self, seed: u64) -> Result<Vec<String>, SessionError> {
        let has_no_value = |entry: &Entry| !entry.info.origin.has_value();
        self.initialize(seed, has_no_value)
    }

    /// Gives every variable its first value and returns all names.
    ///
    /// # Errors
    /// [`SessionError::WouldOverwrite`] if values would be lost that no initializer can make
    /// again, unless `overwrite` says so; else as for [`Session::initialize_missing`]. Where the
    /// device fails after it has begun to write, no variable has a value.
    pub fn initialize_all(
        &mut self,
        seed: u64,
        overwrite: Overwrite,
    ) -> Result<Vec<String>, SessionError> {
        if overwrite == Overwrite::Refuse {
            let variables: Vec<(String, Origin)> = self
                .variables()
                .iter()
                .filter(|info| info.origin.is_precious())
                .map(|info| (info.name().to_owned(), info.origin.clone()))
                .collect();
            if !variables.is_empty() {
                return Err(SessionError::WouldOverwrite { variables });
            }
        }
        self.initialize(seed, |_| true)
    }

    fn initialize(
        &mut self,
        seed: u64,
        which: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<String>, SessionError> {
        let chosen: Vec<usize> = self
            .store
            .entries()
            .iter()
            .enumerate()
            .filter(|(_, entry)| which(entry))
            .map(|(index, _)| index)
            .collect();
        let entries: Vec<&Entry> = chosen.iter().map(|&i| &self.store.entries()[i]).collect();
        // All initializers are checked before any is followed; a host value is made only when its
        // turn comes, so that no two are held at once.
        for entry in &entries {
            let Variable { initializer, shape, dtype, .. } = &*entry.info.variable;
            initializer.check(shape, *dtype).map_err(|source| misfit(entry, source))?;
        }
        let values = FirstValues::new(&self.gpu, &entries, seed)?;
        let mut written = false;
        if let Err(error) = values.write(&self.gpu, &mut written) {
            // Nobody knows how far it came, and what the origins say may be true no longer.
            for index in chosen.into_iter().filter(|_| written) {
                let origin = &mut self.store.entries_mut()[index].info.origin;
                if origin.has_value() {
                    *origin = Origin::Uninitialized(Missing::LostInInitialization);
                }
            }
            return Err(error);
        }
        let mut names = Vec::with_capacity(chosen.len());
        for index in chosen {
            let info = &mut self.store.entries_mut()[index].info;
            let initializer = info.variable.initializer.clone();
            info.origin = Origin::Initialized { initializer, seed };
            names.push(info.name().to_owned());
        }
        if names.is_empty() {
            return Ok(names);
        }
        let mut seeds = std::mem::take(&mut self.seeds);
        seeds.retain(|&before| before != seed && self.has_value_of(before));
        seeds.push(seed);
        self.seeds = seeds;
        Ok(names)
    }
}

fn misfit(entry: &Entry, source: InitializeError) -> SessionError {
    let Variable { name, location, .. } = Variable::clone(&entry.info.variable);
    SessionError::Initializer { name, location, source }
}

/// The kernel's `KIND` that fills with one element.
const FILL: u32 = 0;

/// The parameters of the kernel, as `initialize.wgsl` declares them.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Parameters {
    elements: u32,
    columns: u32,
    bits: u32,
    truncation: u32,
    stream: [u32; 2],
    key: [u32; 2],
    zero: u32,
    scale: f32,
    shift: f32,
    lowest: f32,
    highest: f32,
}

impl Parameters {
    /// With the kernel's `KIND`. `None` for what the host makes.
    fn of(recipe: &Recipe) -> Option<(u32, Parameters)> {
        let none = Parameters::default();
        Some(match recipe {
            Recipe::Host(_) => return None,
            Recipe::Fill { bits } => (FILL, Parameters { bits: *bits, ..none }),
            // A matrix of more columns than a word counts is larger than any binding.
            Recipe::Identity { columns, bits } => {
                (1, Parameters { columns: *columns as u32, bits: *bits, ..none })
            }
            Recipe::Random { distribution, affine, philox } => {
                let (kind, truncation) = match distribution {
                    Distribution::Uniform => (2, 0),
                    Distribution::Normal => (3, 0),
                    Distribution::TruncatedNormal => (3, truncation()),
                };
                let parameters = Parameters {
                    truncation,
                    stream: philox.stream_words(),
                    key: philox.key(),
                    scale: affine.scale,
                    shift: affine.shift,
                    lowest: affine.lowest,
                    highest: affine.highest,
                    ..none
                };
                (kind, parameters)
            }
        })
    }
}

/// Four elements an invocation, 64 invocations a group, as in `initialize.wgsl`.
const ELEMENTS_PER_GROUP: u32 = 256;

/// A variable and how the device makes its values.
pub(crate) struct Job<'a> {
    entry: &'a Entry,
    /// The kernel's constants.
    constants: [(&'static str, f64); 3],
    parameters: Parameters,
}

impl<'a> Job<'a> {
    /// Nothing if the host makes the values.
    fn new(entry: &'a Entry, recipe: &Recipe) -> Option<Job<'a>> {
        let variable = &entry.info.variable;
        let (kind, parameters) = Parameters::of(recipe)?;
        // A variable is at most one binding: fewer than 2^32 elements.
        let elements = variable.shape.elements() as u32;
        let flag = |is: bool| f64::from(u8::from(is));
        let constants = [
            ("KIND", f64::from(kind)),
            ("HALF", flag(variable.dtype.is_half())),
            ("BFLOAT", flag(variable.dtype == DType::Bf16)),
        ];
        Some(Job { entry, constants, parameters: Parameters { elements, ..parameters } })
    }

    /// Whether all bits of all elements are zero.
    fn is_zero(&self) -> bool {
        self.constants[0].1 == f64::from(FILL) && self.parameters.bits == 0
    }

    /// How the device makes the value that a variable has now; nothing if it cannot.
    pub fn again(entry: &'a Entry) -> Option<Job<'a>> {
        let Origin::Initialized { initializer, seed } = &entry.info.origin else { return None };
        let by_host =
            matches!(initializer, Initializer::Values(_) | Initializer::Orthogonal { .. });
        if by_host || *initializer != entry.info.variable.initializer || entry.slice.bytes == 0 {
            return None;
        }
        Job::new(entry, &Recipe::of(&entry.info.variable, *seed).ok()?)
    }
}

/// Makes the first values of the given variables in one submission.
pub(crate) fn run(gpu: &Gpu, entries: &[&Entry], seed: u64) -> Result<(), SessionError> {
    FirstValues::new(gpu, entries, seed)?.write(gpu, &mut false)
}

/// The first values of some variables, before any is written.
struct FirstValues<'a> {
    /// Those that the host makes.
    made: Vec<(&'a Entry, Recipe)>,
    prepared: Prepared,
}

impl<'a> FirstValues<'a> {
    /// What is most likely to fail comes here: values that are written are there, whatever follows.
    fn new(gpu: &Gpu, entries: &[&'a Entry], seed: u64) -> Result<FirstValues<'a>, SessionError> {
        let (mut jobs, mut made) = (Vec::new(), Vec::new());
        for &entry in entries.iter().filter(|entry| entry.slice.bytes > 0) {
            let variable = &entry.info.variable;
            let recipe = Recipe::of(variable, seed).map_err(|source| misfit(entry, source))?;
            match Job::new(entry, &recipe) {
                Some(job) => jobs.push(job),
                None => made.push((entry, recipe)),
            }
        }
        Ok(FirstValues { made, prepared: Prepared::new(gpu, &jobs)? })
    }

    /// Writes them all in one submission. `written` says whether any may have been, whatever comes of
    /// it.
    fn write(self, gpu: &Gpu, written: &mut bool) -> Result<(), SessionError> {
        for (entry, recipe) in self.made {
            let variable = &entry.info.variable;
            let value = recipe.evaluate(&variable.shape, variable.dtype);
            if let Err(error) = write(gpu, &entry.slice, &value) {
                // What was queued before must not be written over what comes later.
                let _ = gpu.checked(WHAT, |_| gpu.queue().submit([]));
                return Err(error);
            }
            *written = true;
        }
        *written = true;
        self.prepared.submit(gpu)?;
        Ok(())
    }
}

/// All that the device needs to make values: what is left is to have it do so.
#[derive(Default)]
pub(crate) struct Prepared {
    zeros: Vec<VariableSlice>,
    dispatches: Vec<Dispatch>,
}

struct Dispatch {
    pipeline: Arc<wgpu::ComputePipeline>,
    group: wgpu::BindGroup,
    workgroups: (u32, u32),
}

const WHAT: &str = "initializing variables";

impl Prepared {
    pub fn new(gpu: &Gpu, jobs: &[Job<'_>]) -> Result<Prepared, GpuError> {
        // Biases and all that optimizers keep: no kernel to compile, and one less to launch for each.
        let (zeros, jobs): (Vec<_>, Vec<_>) = jobs.iter().partition(|job| job.is_zero());
        let zeros = zeros.into_iter().map(|job: &Job<'_>| job.entry.slice.clone()).collect();
        if jobs.is_empty() {
            return Ok(Prepared { zeros, ..Default::default() });
        }
        let source = [PHILOX, HALF, INITIALIZE].concat();
        // Thousands of variables have few kernels.
        let mut kernels: Vec<Kernel<'_>> = Vec::new();
        let mut kernel_of = Vec::with_capacity(jobs.len());
        for Job { constants, .. } in &jobs {
            let known = kernels.iter().position(|kernel| kernel.constants == constants);
            kernel_of.push(known.unwrap_or(kernels.len()));
            if known.is_none() {
                kernels.push(Kernel {
                    label: "initialize",
                    source: &source,
                    constants,
                    layout: &[],
                });
            }
        }
        let pipelines = gpu.pipelines(&kernels)?;
        let stride = gpu.limits().min_uniform_buffer_offset_alignment.max(64) as usize;
        let size = size_of::<Parameters>();
        let mut uniforms = vec![0u8; jobs.len() * stride];
        for (place, Job { parameters, .. }) in uniforms.chunks_exact_mut(stride).zip(&jobs) {
            place[..size].copy_from_slice(bytemuck::bytes_of(parameters));
        }
        let upload = |label, bytes: &[u8], usage| {
            let usage = usage | wgpu::BufferUsages::COPY_DST;
            let buffer = gpu.buffer(label, bytes.len() as u64, usage)?;
            gpu.checked(label, |_| gpu.queue().write_buffer(&buffer, 0, bytes))?;
            Ok::<_, GpuError>(buffer)
        };
        let uniforms = upload("initializer parameters", &uniforms, wgpu::BufferUsages::UNIFORM)?;
        let table = bytemuck::cast_slice(normal_table());
        let table = upload("normal quantiles", table, wgpu::BufferUsages::STORAGE)?;
        let widest = gpu.limits().max_compute_workgroups_per_dimension;
        let dispatch =
            |device: &wgpu::Device, index, job: &Job<'_>, pipeline: Arc<wgpu::ComputePipeline>| {
                let Job { entry, parameters, .. } = job;
                let resources = [
                    binding(&uniforms, (index * stride) as u64, size as u64),
                    table.as_entire_binding(),
                    entry.slice.binding(),
                ];
                let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some(entry.info.name()),
                    layout: &pipeline.get_bind_group_layout(0),
                    entries: &bind_group_entries(resources),
                });
                let groups = parameters.elements.div_ceil(ELEMENTS_PER_GROUP);
                let wide = groups.min(widest);
                Dispatch { pipeline, group, workgroups: (wide, groups.div_ceil(wide)) }
            };
        gpu.checked(WHAT, |device| {
            let each = jobs.iter().zip(kernel_of).enumerate();
            each.map(|(index, (job, kernel))| {
                dispatch(device, index, job, pipelines[kernel].clone())
            })
            .collect()
        })
        .map(|dispatches| Prepared { zeros, dispatches })
    }

    /// Has the device make the values, after whatever writes are queued.
    pub fn submit(&self, gpu: &Gpu) -> Result<wgpu::SubmissionIndex, GpuError> {
        gpu.checked(WHAT, |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            for zero in &self.zeros {
                encoder.clear_buffer(&zero.buffer, zero.offset, Some(zero.padded()));
            }
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for Dispatch { pipeline, group, workgroups: (x, y) } in &self.dispatches {
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(*x, *y, 1);
            }
            drop(pass);
            gpu.queue().submit([encoder.finish()])
        })
    }
}
