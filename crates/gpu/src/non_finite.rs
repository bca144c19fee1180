//! Looking for NaN and infinities where the values are: only counts leave the device.

use crate::device::Gpu;
use crate::error::{GpuError, SessionError};
use crate::mapped::Mapping;
use crate::session::Session;
use crate::store::Entry;
use bytemuck::{Pod, Zeroable};
use std::collections::BTreeMap;
use std::fmt;
use warmstart_graph::DType;
use warmstart_shaders::NON_FINITE;

/// A variable that holds NaN or infinities. Prints as `` `fc1/weight` (12 of 8192 elements) ``.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// The variable.
    pub name: String,
    /// How many of its elements are NaN or infinite; at least 1.
    pub count: usize,
    /// How many elements it has.
    pub elements: usize,
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({} of {} elements)", self.name, self.count, self.elements)
    }
}

impl Session {
    /// Which of these variables hold NaN or an infinity, in the order of `names`. The device looks
    /// at every element; the host waits for it, and reads one number for each variable. Integers
    /// are always finite.
    ///
    /// # Errors
    /// [`SessionError::UnknownVariable`], [`SessionError::Uninitialized`] or
    /// [`SessionError::Gpu`].
    pub fn non_finite(&self, names: &[&str]) -> Result<Vec<NonFinite>, SessionError> {
        let entries: Vec<&Entry> =
            names.iter().map(|name| self.with_value(name)).collect::<Result<_, _>>()?;
        let counts = count(&self.gpu, &entries)?;
        let found = entries.iter().zip(counts).filter(|(_, count)| *count > 0);
        Ok(found
            .map(|(entry, count)| NonFinite {
                name: entry.info.name().to_owned(),
                count: count as usize,
                elements: entry.info.shape().elements(),
            })
            .collect())
    }
}

/// Elements that a workgroup looks at: enough to be worth launching. Even, so that a chunk of
/// halves begins with a word.
const CHUNK: usize = 16 << 10;

/// A part of a variable, as `non_finite.wgsl` declares it.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Chunk {
    first: u32,
    elements: u32,
    variable: u32,
    half: u32,
    exponent: u32,
}

/// The parts of a variable that has floats. An arena is at most one binding, so that words and
/// elements fit `u32`.
fn chunks(variable: usize, entry: &Entry) -> impl Iterator<Item = Chunk> {
    let float = match entry.info.dtype() {
        DType::F32 => Some((0, 0x7f80_0000)),
        DType::F16 => Some((1, 0x7c00)),
        DType::Bf16 => Some((1, 0x7f80)),
        DType::I32 | DType::U32 => None,
    };
    let elements = entry.info.shape().elements();
    let word = entry.slice.offset / 4;
    float.into_iter().flat_map(move |(half, exponent)| {
        (0..elements).step_by(CHUNK).map(move |start| Chunk {
            first: word as u32 + (start >> half) as u32,
            elements: CHUNK.min(elements - start) as u32,
            variable: variable as u32,
            half,
            exponent,
        })
    })
}

/// For each variable the number of its elements that are NaN or infinite.
fn count(gpu: &Gpu, entries: &[&Entry]) -> Result<Vec<u32>, GpuError> {
    let what = "looking for values that are not finite";
    let mut arenas: BTreeMap<usize, (&wgpu::Buffer, Vec<Chunk>)> = BTreeMap::new();
    for (variable, entry) in entries.iter().enumerate() {
        let (_, parts) =
            arenas.entry(entry.slice.arena).or_insert((&entry.slice.buffer, Vec::new()));
        parts.extend(chunks(variable, entry));
    }
    arenas.retain(|_, (_, parts)| !parts.is_empty());
    if arenas.is_empty() {
        return Ok(vec![0; entries.len()]);
    }
    let pipeline = gpu.pipeline("non_finite", NON_FINITE, &[])?;
    let bytes = (entries.len() * size_of::<u32>()) as u64;
    let (storage, copied) = (wgpu::BufferUsages::STORAGE, wgpu::BufferUsages::COPY_DST);
    // A new buffer is all zeros.
    let counts = gpu.buffer("counts", bytes, storage | wgpu::BufferUsages::COPY_SRC)?;
    let readback = gpu.buffer("counts read back", bytes, wgpu::BufferUsages::MAP_READ | copied)?;
    let mut jobs = Vec::new();
    for (arena, parts) in arenas.into_values() {
        let part_bytes: &[u8] = bytemuck::cast_slice(&parts);
        let table = gpu.buffer("chunks", part_bytes.len() as u64, storage | copied)?;
        gpu.checked(what, |_| gpu.queue().write_buffer(&table, 0, part_bytes))?;
        jobs.push((arena, table, parts.len() as u32));
    }
    let widest = gpu.limits().max_compute_workgroups_per_dimension;
    let (submission, mapping) = gpu.checked(what, |device| {
        let layout = pipeline.get_bind_group_layout(0);
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        for (arena, table, groups) in &jobs {
            let entries: Vec<wgpu::BindGroupEntry<'_>> = (0..)
                .zip([table, arena, &counts])
                .map(|(binding, buffer)| wgpu::BindGroupEntry {
                    binding,
                    resource: buffer.as_entire_binding(),
                })
                .collect();
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(what),
                layout: &layout,
                entries: &entries,
            });
            pass.set_bind_group(0, &group, &[]);
            let wide = (*groups).min(widest);
            pass.dispatch_workgroups(wide, groups.div_ceil(wide), 1);
        }
        drop(pass);
        encoder.copy_buffer_to_buffer(&counts, 0, &readback, 0, bytes);
        let submission = gpu.queue().submit([encoder.finish()]);
        (submission, Mapping::start(&readback, wgpu::MapMode::Read, 0, bytes))
    })?;
    gpu.wait(submission)?;
    mapping.finish(gpu, what)?;
    let view = readback.get_mapped_range(..bytes).map_err(|error| GpuError::Internal {
        what: what.to_owned(),
        message: error.to_string(),
    })?;
    Ok(bytemuck::pod_collect_to_vec(&view[..]))
}
