//! Casts and transposes on the device: raw bytes go into a storage buffer, and a kernel writes the
//! variable from there.
//!
//! The raw bytes go through the same ring of staging buffers. `convert.wgsl` works on bits, in
//! integers: no device feature is needed for `f16` or `f64`, and every result equals the CPU twin's
//! (`cast.rs`), subnormal numbers and NaNs included. A number that does not fit, be it an integer
//! out of range or a finite one whose nearest is an infinity, is found by the kernel, which notes
//! the first of each variable, and fails the restore; its value is then read again from the source,
//! for the error. What is infinite in the file may be so. A double is rounded once also on its way
//! to `f16` and `bf16`: the `f32` between has an odd last bit where something was cut off. Floats
//! are not cast to integers.

use crate::device::ALIGNMENT;
use crate::device::gpu::{Gpu, MemoryKind, binding};
use crate::device::pipelines::bind_group_entries;
use crate::error::{GpuError, SessionError};
use crate::transfer::cast::{Conversion, SourceDType};
use crate::transfer::download::SMALLEST_STAGING;
use crate::transfer::fill::Target;
use crate::transfer::job::{Job, LARGEST_READ};
use crate::transfer::mapped::MappedBytes;
use crate::transfer::neighbours::{Read, Scratch};
use crate::transfer::staging::{BUFFERS_PER_WORKER, Ring};
use bytemuck::{Pod, Zeroable};
use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::Arc;
use warmstart_graph::DType;
use warmstart_shaders::{CONVERT, HALF};

/// The first words of a piece, as `convert.wgsl` names them.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Header {
    elements: u32,
    first: u32,
    width: u32,
    height: u32,
    row: u32,
    column: u32,
    columns: u32,
    source_width: u32,
    misfit: u32,
    padding: [u32; 7],
}

const HEADER: u64 = size_of::<Header>() as u64;

/// A target with what its pieces have in common.
struct Converted<'a> {
    target: &'a Target<'a>,
    conversion: Conversion,
    /// Elements of a row of the source, if it is transposed.
    source_width: u64,
    columns: u64,
    /// Its place in the list of misfits.
    misfit: u32,
    /// One dispatch for each.
    pipelines: Vec<Arc<wgpu::ComputePipeline>>,
}

impl Converted<'_> {
    fn size(&self) -> u64 {
        self.conversion.from.size() as u64
    }
}

/// Elements that follow one another in a source, and their place in a staging buffer. Of a
/// transposed source: whole rows, or a part of one.
struct Piece<'a> {
    of: &'a Converted<'a>,
    first: u64,
    elements: u64,
    at: u64,
}

impl Piece<'_> {
    fn bytes(&self) -> u64 {
        self.elements * self.of.size()
    }

    /// What the kernel reads: whole words.
    fn bound(&self) -> u64 {
        HEADER + self.bytes().next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT)
    }

    fn width(&self) -> u64 {
        self.of.source_width.min(self.elements)
    }

    fn header(&self) -> Header {
        let (first, elements) = (self.first as u32, self.elements as u32);
        let straight = Header { elements, first, misfit: self.of.misfit, ..Header::default() };
        if !self.of.conversion.transpose {
            return straight;
        }
        // A variable is at most one binding of words or halves of words: everything here is below
        // 2^32.
        Header {
            width: self.width() as u32,
            height: (self.elements / self.width()) as u32,
            row: (self.first % self.of.source_width) as u32,
            column: (self.first / self.of.source_width) as u32,
            columns: self.of.columns as u32,
            source_width: self.of.source_width as u32,
            ..straight
        }
    }

    /// Workgroups that the kernel needs.
    fn groups(&self) -> u64 {
        if self.of.conversion.transpose {
            let height = self.elements / self.width();
            return self.width().div_ceil(64) * height.div_ceil(16);
        }
        let words = match self.of.target.variable.dtype {
            DType::F16 | DType::Bf16 => self.elements.div_ceil(2),
            // No variable is of bytes.
            DType::F32 | DType::I32 | DType::U32 | DType::U8 => self.elements,
        };
        words.div_ceil(512)
    }
}

/// Packs all elements into batches of at most `capacity` bytes, a multiple of `alignment`.
fn batches<'a>(
    converted: &'a [Converted<'a>],
    capacity: u64,
    alignment: u64,
) -> Vec<Vec<Piece<'a>>> {
    let mut batches: Vec<Vec<Piece<'a>>> = Vec::new();
    let mut room = 0u64;
    for of in converted {
        let mut first = 0;
        while first < of.target.elements {
            let left = of.target.elements - first;
            // Pieces begin at even elements, so that none shares a word of the variable with the
            // one before; four keep the bytes of a piece whole words.
            let fit = room.saturating_sub(HEADER) / of.size() / 4 * 4;
            let elements = match of.conversion.transpose {
                true => match fit / of.source_width {
                    // A row that no buffer holds is cut; any other waits for an empty one.
                    0 if room == capacity => fit.min(of.source_width - first % of.source_width),
                    0 => 0,
                    // The rest of a row that was cut comes before any whole one.
                    _ if first % of.source_width > 0 => of.source_width - first % of.source_width,
                    rows => (rows * of.source_width).min(left),
                },
                false => fit.min(left),
            };
            if elements == 0 {
                batches.push(Vec::new());
                room = capacity;
                continue;
            }
            let piece = Piece { of, first, elements, at: capacity - room };
            room = room.saturating_sub(piece.bound().next_multiple_of(alignment));
            first += elements;
            batches
                .last_mut()
                .expect("without one there is no room, so one was pushed")
                .push(piece);
        }
    }
    batches
}

/// The kernels of one kind of conversion. Two elements of a transposed `f16` or `bf16` share a word, so that
/// one dispatch writes the even ones and another the odd ones.
fn pipelines(
    gpu: &Gpu,
    conversion: Conversion,
    to: DType,
) -> Result<Vec<Arc<wgpu::ComputePipeline>>, GpuError> {
    let Conversion { from, transpose } = conversion;
    let parities = if transpose && to.is_half() { 2 } else { 1 };
    let label = format!("convert {from} to {to}");
    (0..parities)
        .map(|parity| {
            let constants = [
                ("source_dtype", f64::from(from as u32)),
                ("variable_dtype", f64::from(SourceDType::from(to) as u32)),
                ("transpose", f64::from(u32::from(transpose))),
                ("parity", f64::from(parity)),
            ];
            gpu.pipeline(&label, &[HALF, CONVERT].concat(), &constants)
        })
        .collect()
}

/// An element that the dtype of its variable cannot hold.
pub(crate) struct Misfit<'a> {
    target: &'a Target<'a>,
    from: SourceDType,
    index: u64,
}

impl Misfit<'_> {
    /// What is said of it, once its source has found its bytes to be right. The element is read again
    /// for it: the device only knows where it was.
    pub fn error(&self) -> SessionError {
        let &Misfit { target: Target { fill, variable, .. }, from, index } = self;
        let name = || fill.variable.to_owned();
        let size = from.size() as u64;
        let offset = fill.offset.saturating_add(index.saturating_mul(size));
        let mut element = [0; 8];
        let element = &mut element[..from.size()];
        if let Err(source) = fill.source.read_at_cached(offset, element) {
            return SessionError::Source { name: name(), offset, bytes: size, source };
        }
        let value = from.number(element);
        SessionError::OutOfRange { name: name(), index, value, from, dtype: variable.dtype }
    }
}

/// Reads and converts. Returns what is out of range, which the sources may have a better explanation
/// for.
pub(crate) fn run<'a>(
    job: &Job<'_>,
    targets: &'a [Target<'a>],
) -> Result<Option<Misfit<'a>>, SessionError> {
    let gpu = job.gpu;
    let mut kernels: HashMap<(Conversion, DType), Vec<Arc<wgpu::ComputePipeline>>> = HashMap::new();
    let mut converted = Vec::new();
    for target in targets {
        let Some(conversion) = target.conversion.filter(|_| target.elements > 0) else { continue };
        let dtype = target.variable.dtype;
        let pipelines = match kernels.entry((conversion, dtype)) {
            hash_map::Entry::Occupied(found) => found.get().clone(),
            hash_map::Entry::Vacant(place) => {
                place.insert(pipelines(gpu, conversion, dtype)?).clone()
            }
        };
        let columns = target.variable.shape.last().map_or(1, |&extent| extent as u64);
        converted.push(Converted {
            target,
            conversion,
            source_width: target.elements / columns,
            columns,
            misfit: converted.len() as u32,
            pipelines,
        });
    }
    if converted.is_empty() {
        return Ok(None);
    }
    let misfits = Misfits::new(gpu, &converted)?;
    pass_on_all(job, &converted, &misfits)?;
    misfits.first(job, &converted)
}

fn pass_on_all(
    job: &Job<'_>,
    converted: &[Converted<'_>],
    misfits: &Misfits,
) -> Result<(), SessionError> {
    let gpu = job.gpu;
    let alignment = u64::from(gpu.limits().min_storage_buffer_offset_alignment).max(ALIGNMENT);
    // Where the host cannot write what kernels read, a worker also has a buffer of the device.
    let direct = gpu.memory() == MemoryKind::Mappable;
    let per_worker = BUFFERS_PER_WORKER as u64 + u64::from(!direct);
    let least = SMALLEST_STAGING / 2 / alignment * alignment;
    let least = least.max(alignment);
    let affordable = gpu.staging_bytes() / (per_worker * least);
    let threads = job.threads(usize::try_from(affordable).unwrap_or(usize::MAX));
    let share = (gpu.staging_bytes() / (threads as u64 * per_worker)).max(least);
    let wanted: u64 = converted
        .iter()
        .map(|c| (HEADER + c.target.source_bytes()).next_multiple_of(alignment))
        .fold(0, u64::saturating_add);
    let capacity = share.min(LARGEST_READ).min(wanted) / alignment * alignment;
    let batches = batches(converted, capacity, alignment);
    let usage = match direct {
        true => wgpu::BufferUsages::STORAGE,
        false => wgpu::BufferUsages::COPY_SRC,
    };
    job.work(threads.min(batches.len()), batches.len(), |next| {
        let mut ring = Ring::new(gpu, capacity, usage);
        let (mut raw, mut scratch) = (None, Scratch::default());
        while let Some(task) = next() {
            let batch = &batches[task];
            if !direct && raw.is_none() {
                let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
                raw = Some(gpu.buffer("bytes to be converted", capacity, usage)?);
            }
            let read = |mut rest: MappedBytes<'_>| {
                let (mut at, mut reads) = (0, Vec::with_capacity(batch.len()));
                for piece in batch {
                    let (_, place) = rest.split_at(piece.at - at);
                    let (mut header, place) = place.split_at(HEADER);
                    header.write(bytemuck::bytes_of(&piece.header()));
                    let (into, after) = place.split_at(piece.bytes());
                    let (target, start) = (piece.of.target, piece.first * piece.of.size());
                    reads.push(Read { target, start, into });
                    (rest, at) = (after, piece.at + HEADER + piece.bytes());
                }
                job.read_all(&mut reads, &mut scratch)
            };
            let record = |device: &wgpu::Device,
                          encoder: &mut wgpu::CommandEncoder,
                          staging: &wgpu::Buffer| {
                let pieces = raw.as_ref().unwrap_or(staging);
                if let (Some(raw), Some(last)) = (&raw, batch.last()) {
                    encoder.copy_buffer_to_buffer(staging, 0, raw, 0, last.at + last.bound());
                }
                dispatch(gpu, device, encoder, batch, pieces, misfits);
            };
            ring.next()?.pass_on(gpu, "converting restored variables", read, record)?;
            job.submitted();
        }
        Ok(())
    })?;
    // What the device reports about the kernels must come before any origin changes.
    Ok(gpu.wait_all()?)
}

fn dispatch(
    gpu: &Gpu,
    device: &wgpu::Device,
    encoder: &mut wgpu::CommandEncoder,
    batch: &[Piece<'_>],
    pieces: &wgpu::Buffer,
    misfits: &Misfits,
) {
    let widest = u64::from(gpu.limits().max_compute_workgroups_per_dimension);
    let mut pass = encoder.begin_compute_pass(&Default::default());
    for piece in batch {
        let resources = [
            binding(pieces, piece.at, piece.bound()),
            piece.of.target.slice.binding(),
            misfits.0.as_entire_binding(),
        ];
        let entries = bind_group_entries(resources);
        let groups = piece.groups();
        let wide = groups.min(widest);
        for pipeline in &piece.of.pipelines {
            // A layout that is made from the shader belongs to its pipeline alone.
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(piece.of.target.fill.variable),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            });
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(wide as u32, groups.div_ceil(wide) as u32, 1);
        }
    }
}

/// For each converted variable the first element that its dtype cannot hold, as the device found
/// it. Kept inverted, so that zero says none.
struct Misfits(wgpu::Buffer);

impl Misfits {
    fn new(gpu: &Gpu, converted: &[Converted<'_>]) -> Result<Misfits, GpuError> {
        let bytes = size_of_val(&converted[0].misfit) * converted.len();
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        Ok(Misfits(gpu.buffer("the list of elements out of range", bytes as u64, usage)?))
    }

    fn first<'a>(
        self,
        job: &Job<'_>,
        converted: &[Converted<'a>],
    ) -> Result<Option<Misfit<'a>>, SessionError> {
        let gpu = job.gpu;
        let may_not_fit =
            |c: &Converted<'_>| c.conversion.from.may_not_fit(c.target.variable.dtype);
        if !converted.iter().any(may_not_fit) {
            return Ok(None);
        }
        let what = "the list of elements out of range";
        let (submission, misfits) = gpu.submit_and_copy(what, &self.0, |_, _| {})?;
        job.submitted();
        gpu.wait(submission)?;
        let misfits = misfits.read(gpu, what)?;
        let found = converted.iter().zip(misfits).find(|(_, inverted)| *inverted != 0);
        Ok(found.map(|(of, inverted)| Misfit {
            target: of.target,
            from: of.conversion.from,
            index: u64::from(!inverted),
        }))
    }
}
