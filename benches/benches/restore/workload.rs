//! A checkpoint, and every arm carried out on it.

use crate::arms::{Arm, Memory, Work};
use crate::resources::{Sample, make_cold, make_warm, measure};
use crate::ways::{Source, Way, fill};
use memmap2::MmapMut;
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use warmstart_benches::drain;
use warmstart_checkpoint::{Checkpoint, RestoreOptions, SaveOptions, save};
use warmstart_gpu::{ByteSource, Fill, Gpu, MemoryKind, Origin, Session};
use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A checkpoint of `count` tensors of one size, and what the arms need of it.
pub struct Workload {
    pub name: String,
    variables: Vec<Variable>,
    path: PathBuf,
    file: File,
    /// Where each tensor begins.
    offsets: Vec<u64>,
    pub bytes: u64,
    /// The pieces in which a restore reads: at most 8 MiB.
    pieces: Vec<(u64, usize)>,
    /// Memory for the plain arms. Pages, as a copy's speed depends on how both ends lie in theirs.
    touched: MmapMut,
    /// Memory to copy from.
    content: MmapMut,
}

impl Workload {
    pub fn new(gpu: &Gpu, directory: &Path, count: usize, each: u64) -> Outcome<Workload> {
        let variable = |number| Variable {
            name: format!("tensor_{number}"),
            shape: Shape::from([each as usize / 4]),
            dtype: DType::F32,
            initializer: Initializer::Uniform { low: -1.0, high: 1.0 },
            role: Role::Trainable,
            location: Location::caller(),
        };
        let variables: Vec<Variable> = (0..count).map(variable).collect();
        let path = directory.join(format!("{count}x{each}.safetensors"));
        let mut session = Session::new(gpu);
        session.declare(&variables)?;
        session.initialize_missing(1)?;
        save(&session, &path, &SaveOptions::new())?;
        let checkpoint = Checkpoint::open(&path)?;
        let offset = |v: &Variable| Some(checkpoint.tensor(&v.name)?.range.start);
        let offsets: Vec<u64> =
            variables.iter().map(offset).collect::<Option<_>>().ok_or("saved")?;
        let piece = |start: u64| {
            (0..each)
                .step_by(8 << 20)
                .map(move |at| (start + at, (each - at).min(8 << 20) as usize))
        };
        let mut pieces: Vec<(u64, usize)> = offsets.iter().copied().flat_map(piece).collect();
        pieces.sort_unstable();
        let bytes = count as u64 * each;
        let name = match each >> 20 {
            0 => format!("{count} x {} KiB", each >> 10),
            mebibytes => format!("{count} x {mebibytes} MiB"),
        };
        let file = File::open(&path)?;
        let mut touched = MmapMut::map_anon(bytes as usize)?;
        let mut content = MmapMut::map_anon(bytes as usize)?;
        touched.fill(1);
        content.fill(2);
        Ok(Workload { name, variables, path, file, offsets, bytes, pieces, touched, content })
    }

    fn fills<'a>(&'a self, source: &'a Source) -> Vec<Fill<'a>> {
        let each = self.variables.iter().zip(&self.offsets);
        let origin = Origin::Restored { file: self.path.clone(), name: String::new(), step: None };
        each.map(|(variable, &offset)| Fill {
            variable: &variable.name,
            source,
            offset,
            conversion: None,
            leading: None,
            origin: origin.clone(),
        })
        .collect()
    }

    /// A session whose variables' memory is as asked.
    fn session(&self, gpu: &Gpu, memory: Memory) -> Outcome<Session> {
        let mut session = Session::new(gpu);
        if memory == Memory::Fresh {
            return Ok(session);
        }
        session.declare(&self.variables)?;
        if memory == Memory::Initialized {
            session.initialize_missing(1)?;
            drain(gpu)?;
            return Ok(session);
        }
        let mut source = Source::new(&self.file, Way::Read)?;
        // A restore that fails at the very end leaves no value behind.
        source.refuses = memory == Memory::Touched;
        let restored = session.restore(&self.fills(&source), &|_| {}).is_ok();
        assert_eq!(restored, memory == Memory::Live);
        drain(gpu)?;
        Ok(session)
    }

    pub fn run(&mut self, arm: &Arm, gpus: &[Gpu; 2]) -> Outcome<Sample> {
        let gpu = match arm.work {
            Work::Restore(_, MemoryKind::Staged) => &gpus[1],
            _ => &gpus[0],
        };
        let sample = match arm.work {
            Work::Memcpy | Work::Plain(_) => self.without_device(arm)?,
            Work::DeviceCopy => {
                // In buffers of the size of an arena.
                let bytes = self.bytes.min(gpu.limits().max_storage_buffer_binding_size);
                let buffer = |usage| {
                    gpu.device().create_buffer(&wgpu::BufferDescriptor {
                        label: None,
                        size: bytes,
                        usage,
                        mapped_at_creation: false,
                    })
                };
                let from = buffer(wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST);
                let to = buffer(wgpu::BufferUsages::COPY_DST);
                let copy = |count: u64| {
                    let mut encoder = gpu.device().create_command_encoder(&Default::default());
                    for _ in 0..count {
                        encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes);
                    }
                    gpu.wait(gpu.queue().submit([encoder.finish()]))
                };
                copy(1)?;
                measure(|| {
                    copy(self.bytes.div_ceil(bytes))?;
                    Ok(Some(1))
                })?
            }
            Work::Restore(way, _) => {
                let mut session = self.session(gpu, arm.memory)?;
                self.prepare(arm)?;
                let source = Source::new(&self.file, way)?;
                let fills = self.fills(&source);
                let sample = measure(|| {
                    session.declare(&self.variables)?;
                    let restored = session.restore(&fills, &|_| {})?;
                    drain(gpu)?;
                    Ok(Some(restored.submissions))
                })?;
                self.check(&session)?;
                sample
            }
            Work::Checkpoint => {
                let mut session = self.session(gpu, arm.memory)?;
                self.prepare(arm)?;
                let sample = measure(|| {
                    session.declare(&self.variables)?;
                    let checkpoint = Checkpoint::open(&self.path)?;
                    let plan = checkpoint.plan(&session, &RestoreOptions::new());
                    plan.restore(&mut session)?;
                    drain(gpu)?;
                    Ok(None)
                })?;
                self.check(&session)?;
                sample
            }
            Work::Naive => self.naive(arm, gpu)?,
            Work::Write => self.write()?,
            Work::Save => {
                let session = self.session(gpu, arm.memory)?;
                let saved = self.path.with_extension("saved.safetensors");
                measure(|| {
                    save(&session, &saved, &SaveOptions::new())?;
                    Ok(None)
                })?
            }
        };
        drain(gpu)?;
        Ok(sample)
    }

    /// The steps of a save but for getting the bytes from the device.
    fn write(&self) -> Outcome<Sample> {
        let (temporary, target) =
            (self.path.with_extension("new"), self.path.with_extension("old"));
        let directory = File::open(self.path.parent().ok_or("a file lies in a directory")?)?;
        measure(|| {
            let mut file = File::create(&temporary)?;
            self.content.chunks(1 << 20).try_for_each(|piece| file.write_all(piece))?;
            file.sync_all()?;
            std::fs::rename(&temporary, &target)?;
            directory.sync_all()?;
            Ok(None)
        })
    }

    fn prepare(&self, arm: &Arm) -> Outcome<()> {
        if arm.cold { make_cold(&self.file) } else { make_warm(&self.file) }
    }

    fn without_device(&mut self, arm: &Arm) -> Outcome<Sample> {
        self.prepare(arm)?;
        let way = if let Work::Plain(way) = arm.work { way } else { Way::Read };
        let source = Source::new(&self.file, way)?;
        let first = self.pieces.first().map_or(0, |piece| piece.0);
        let content = &self.content;
        let read = |offset: u64, into: &mut [u8]| match arm.work {
            Work::Memcpy => {
                // The tensors of a file lie one after another, in this order or another.
                let at = offset.abs_diff(first) as usize % (content.len() - into.len() + 1);
                into.copy_from_slice(&content[at..at + into.len()]);
                Ok(())
            }
            _ => source.read_at(offset, into),
        };
        match arm.memory {
            Memory::Fresh => {
                let bytes = self.bytes as usize;
                let mut kept = None;
                let sample = measure(|| {
                    let fresh = kept.insert(MmapMut::map_anon(bytes)?);
                    fill(fresh, &self.pieces, read)?;
                    Ok(None)
                });
                drop(kept);
                sample
            }
            _ => measure(|| {
                fill(&mut self.touched, &self.pieces, read)?;
                Ok(None)
            }),
        }
    }

    fn naive(&self, arm: &Arm, gpu: &Gpu) -> Outcome<Sample> {
        let buffer = |variable: &Variable| {
            gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: variable.bytes(),
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let write = |buffers: &[wgpu::Buffer]| -> Outcome<Option<u64>> {
            for (buffer, &offset) in buffers.iter().zip(&self.offsets) {
                let mut bytes = vec![0; buffer.size() as usize];
                self.file.read_exact_at(&mut bytes, offset)?;
                gpu.queue().write_buffer(buffer, 0, &bytes);
            }
            drain(gpu)?;
            Ok(Some(1))
        };
        let mut buffers: Vec<wgpu::Buffer> = Vec::new();
        if arm.memory == Memory::Touched {
            buffers = self.variables.iter().map(buffer).collect();
            write(&buffers)?;
        }
        self.prepare(arm)?;
        measure(|| {
            if buffers.is_empty() {
                buffers = self.variables.iter().map(buffer).collect();
            }
            write(&buffers)
        })
    }

    /// Whether the last tensor holds what the file holds.
    fn check(&self, session: &Session) -> Outcome<()> {
        let (Some(variable), Some(&offset)) = (self.variables.last(), self.offsets.last()) else {
            return Ok(());
        };
        let mut bytes = vec![0; variable.bytes() as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        let mut at = 0;
        session.snapshot_read(&[&variable.name], &mut |_, piece| {
            assert!(piece == &bytes[at..at + piece.len()], "a restore went wrong");
            at += piece.len();
            Ok(())
        })?;
        Ok(())
    }
}
