//! Looking for NaN and infinities where the values are: only counts leave the device.
//!
//! It is one dispatch for each arena of trainable variables and slots. Before a save the loss would
//! not do: it is that of before the update. Nor would the gradients' norm: a finite gradient can
//! still overflow a weight. State that is not trained is not looked at, as a mask may well hold −∞;
//! nor are gradients that are accumulated under loss scaling, as the update that they would spoil
//! is left out as long as there is loss scaling. Who takes it away between such batches is refused
//! when the run begins (`accumulated.rs` of the crate `warmstart`): only then are accumulators read
//! from the file and looked at.

use crate::device::compute_once::Dispatch;
use crate::device::gpu::Gpu;
use crate::error::{GpuError, SessionError};
use crate::session::Session;
use crate::store::Entry;
use bytemuck::{Pod, Zeroable};
use std::collections::BTreeMap;
use std::fmt;
use warmstart_graph::DType;
use warmstart_graph::words::printable;
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
        write!(f, "`{}` ({} of {} elements)", printable(&self.name), self.count, self.elements)
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
        DType::I32 | DType::U32 | DType::U8 => None,
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
    let mut jobs = Vec::new();
    for (arena, parts) in arenas.into_values() {
        let part_bytes: &[u8] = bytemuck::cast_slice(&parts);
        let table = gpu.buffer("chunks", part_bytes.len() as u64, storage | copied)?;
        gpu.checked(what, |_| gpu.queue().write_buffer(&table, 0, part_bytes))?;
        jobs.push((arena, table, parts.len() as u32));
    }
    let widest = gpu.limits().max_compute_workgroups_per_dimension;
    let dispatches: Vec<Dispatch<'_, 3>> = jobs
        .iter()
        .map(|(arena, table, groups)| {
            let wide = (*groups).min(widest);
            let workgroups = [wide, groups.div_ceil(wide)];
            Dispatch { buffers: [table, arena, &counts], workgroups }
        })
        .collect();
    gpu.compute_once(what, &pipeline, &dispatches, &counts, Gpu::wait)
}
