//! A checkpoint, and every arm carried out on it.

use crate::drain;
use crate::error::MeasureError;
use crate::usage::{Sample, make_cold, make_warm, measure};
use crate::weights::ways::{Source, fill};
use crate::weights::{Arm, Memory, Way, Work, read_exact_at};
use memmap2::MmapMut;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use warmstart_checkpoint::{Checkpoint, RestoreOptions, SaveOptions, save};
use warmstart_gpu::{ByteSource, Fill, Gpu, GpuError, GpuOptions, MemoryKind, Origin, Session};
use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

type Outcome<T> = Result<T, MeasureError>;

/// An adapter opened twice, for both ways into its memory.
pub struct Devices {
    /// Filled by what suits it.
    pub own: Gpu,
    /// Filled through staging buffers.
    pub staged: Gpu,
}

impl Devices {
    /// Opens the adapter that `options` ask for.
    ///
    /// # Errors
    /// As for [`Gpu::with`].
    pub fn open(options: &GpuOptions) -> Result<Devices, GpuError> {
        let staged = GpuOptions { memory: Some(MemoryKind::Staged), ..options.clone() };
        Ok(Devices { own: Gpu::with(options)?, staged: Gpu::with(&staged)? })
    }
}

/// A checkpoint of tensors of one size, and what the arms need of it.
pub struct Workload {
    variables: Vec<Variable>,
    path: PathBuf,
    file: File,
    /// Where each tensor begins.
    offsets: Vec<u64>,
    bytes: u64,
    /// The pieces in which a restore reads.
    pieces: Vec<(u64, usize)>,
    /// Memory for the plain arms. Pages, as a copy's speed depends on how both ends lie in theirs.
    touched: MmapMut,
    /// Memory to copy from.
    content: MmapMut,
}

/// The most bytes that a restore reads at once.
const PIECE: u64 = 8 << 20;

/// As much as a restore's staging buffers take together.
const STAGING: u64 = 128 << 20;

impl Workload {
    /// Writes a checkpoint of `count` tensors of `each` bytes (a multiple of four) to a folder.
    ///
    /// # Errors
    /// [`MeasureError::Session`] if a tensor is too large for the adapter, and what saving reports.
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
        let offsets: Option<Vec<u64>> = variables.iter().map(offset).collect();
        let offsets = offsets.expect("it was saved with these names a moment ago");
        let piece = |start: u64| {
            let pieces = (0..each).step_by(PIECE as usize);
            pieces.map(move |at| (start + at, (each - at).min(PIECE) as usize))
        };
        let mut pieces: Vec<(u64, usize)> = offsets.iter().copied().flat_map(piece).collect();
        pieces.sort_unstable();
        let bytes = count as u64 * each;
        let file = File::open(&path).map_err(MeasureError::file("open", &path))?;
        let (mut touched, mut content) = (memory(bytes)?, memory(bytes)?);
        touched.fill(1);
        content.fill(2);
        Ok(Workload { variables, path, file, offsets, bytes, pieces, touched, content })
    }

    /// The bytes of all tensors together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Carries out an arm once.
    ///
    /// # Errors
    /// What the arm reports, and [`MeasureError::StaysCached`], [`MeasureError::NotCached`] or
    /// [`MeasureError::NoCold`] if the file cannot be made cold or warm for it.
    pub fn run(&mut self, arm: &Arm, devices: &Devices) -> Outcome<Sample> {
        let gpu = match arm.work {
            Work::Restore(_, MemoryKind::Staged) | Work::StagedCheckpoint => &devices.staged,
            _ => &devices.own,
        };
        let sample = match arm.work {
            Work::Memcpy | Work::Plain(_) => self.without_device(arm)?,
            Work::StagingCopy => self.staging_copy(gpu)?,
            Work::Restore(way, _) => {
                let mut session = self.session(gpu, arm.memory)?;
                self.prepare(arm)?;
                let source = Source::new(&self.file, &self.path, way)?;
                let fills = self.fills(&source);
                let sample = measure(|| {
                    session.declare(&self.variables)?;
                    let restored = session.restore(fills, &|_| {})?;
                    drain(gpu)?;
                    Ok(Some(restored.submissions))
                })?;
                self.check(&session, arm)?;
                sample
            }
            Work::Checkpoint | Work::StagedCheckpoint => {
                let mut session = self.session(gpu, arm.memory)?;
                self.prepare(arm)?;
                let sample = measure(|| {
                    session.declare(&self.variables)?;
                    let checkpoint = Checkpoint::open(&self.path)?;
                    let plan = checkpoint.plan(&session, &RestoreOptions::new());
                    let restored = plan.restore(&mut session)?;
                    drain(gpu)?;
                    Ok(restored.submissions())
                })?;
                self.check(&session, arm)?;
                sample
            }
            Work::Naive => self.naive(arm, gpu, &|buffers| self.write_each(buffers, gpu))?,
            #[cfg(feature = "safetensors")]
            Work::NaiveCrate => self.naive(arm, gpu, &|buffers| self.write_parsed(buffers, gpu))?,
            Work::Write => self.write()?,
            Work::Save => {
                let session = self.session(gpu, arm.memory)?;
                let saved = self.path.with_extension("saved.safetensors");
                measure(|| {
                    save(&session, &saved, &SaveOptions::new())?;
                    Ok(None)
                })?
            }
            Work::NaiveSave => self.naive_save(&self.session(gpu, arm.memory)?)?,
        };
        drain(gpu)?;
        Ok(sample)
    }

    fn fills<'a>(&'a self, source: &'a Source) -> Vec<Fill<'a>> {
        let each = self.variables.iter().zip(&self.offsets);
        let origin =
            Origin::Restored { file: self.path.as_path().into(), name: "".into(), step: None };
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
        let mut source = Source::new(&self.file, &self.path, Way::Read)?;
        // A restore that fails at the very end leaves no value behind.
        source.refuses = memory == Memory::Touched;
        match session.restore(self.fills(&source), &|_| {}) {
            Err(error) if !source.refuses => return Err(error.into()),
            _ => drain(gpu)?,
        }
        Ok(session)
    }

    fn prepare(&self, arm: &Arm) -> Outcome<()> {
        let prepare = if arm.cold { make_cold } else { make_warm };
        prepare(&self.file, &self.path)
    }

    fn without_device(&mut self, arm: &Arm) -> Outcome<Sample> {
        let way = match arm.work {
            Work::Plain(way) => way,
            _ => Way::Read,
        };
        if arm.work != Work::Memcpy {
            self.prepare(arm)?;
        }
        let source = Source::new(&self.file, &self.path, way)?;
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
        if !matches!(arm.memory, Memory::Fresh | Memory::Huge) {
            return measure(|| {
                fill(&mut self.touched, &self.pieces, &self.path, read)?;
                Ok(None)
            });
        }
        let mut kept = None;
        measure(|| {
            let fresh = kept.insert(memory(self.bytes)?);
            #[cfg(target_os = "linux")]
            if arm.memory == Memory::Huge {
                // A system without huge pages refuses, and has only the others.
                let _ = fresh.advise(memmap2::Advice::HugePage);
            }
            fill(fresh, &self.pieces, &self.path, read)?;
            Ok(None)
        })
    }

    /// Out of as much staging memory as a restore takes, into a buffer of the size of an arena.
    fn staging_copy(&self, gpu: &Gpu) -> Outcome<Sample> {
        let most = self.bytes.min(gpu.limits().max_storage_buffer_binding_size);
        let piece = most.min(STAGING);
        let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        let from = buffer(gpu, "a staging buffer", piece, usage, true)?;
        let mut mapped = from.get_mapped_range_mut(..).map_err(|error| GpuError::Internal {
            what: "mapping a staging buffer".to_owned(),
            message: error.to_string(),
        })?;
        mapped.slice(..).fill(3);
        drop(mapped);
        from.unmap();
        let to = buffer(gpu, "what is copied to", most, wgpu::BufferUsages::COPY_DST, false)?;
        let copy = || -> Outcome<()> {
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            for at in (0..self.bytes).step_by(piece as usize) {
                let bytes = piece.min(self.bytes - at);
                let place = if at + bytes > most { 0 } else { at };
                encoder.copy_buffer_to_buffer(&from, 0, &to, place, bytes);
            }
            Ok(gpu.wait(gpu.queue().submit([encoder.finish()]))?)
        };
        copy()?;
        measure(|| {
            copy()?;
            Ok(Some(1))
        })
    }

    fn naive(
        &self,
        arm: &Arm,
        gpu: &Gpu,
        write: &dyn Fn(&[wgpu::Buffer]) -> Outcome<()>,
    ) -> Outcome<Sample> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        // Asked for errors once, as looking after each buffer would make this way look slow.
        let buffers = || -> Outcome<Vec<wgpu::Buffer>> {
            let of = |device: &wgpu::Device, variable: &Variable| {
                device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: variable.bytes(),
                    usage,
                    mapped_at_creation: false,
                })
            };
            let all =
                |device: &wgpu::Device| self.variables.iter().map(|v| of(device, v)).collect();
            Ok(gpu.checked("the tensors", all)?)
        };
        let mut made = Vec::new();
        if arm.memory == Memory::Touched {
            made = buffers()?;
            write(&made)?;
            drain(gpu)?;
        }
        self.prepare(arm)?;
        measure(|| {
            if made.is_empty() {
                made = buffers()?;
            }
            write(&made)?;
            drain(gpu)?;
            Ok(Some(1))
        })
    }

    /// Where each tensor lies is known: no header is read.
    fn write_each(&self, buffers: &[wgpu::Buffer], gpu: &Gpu) -> Outcome<()> {
        for (buffer, &offset) in buffers.iter().zip(&self.offsets) {
            let mut bytes = vec![0; buffer.size() as usize];
            read_exact_at(&self.file, &mut bytes, offset)
                .map_err(MeasureError::file("read", &self.path))?;
            gpu.queue().write_buffer(buffer, 0, &bytes);
        }
        Ok(())
    }

    /// As a program does that has nothing but the `safetensors` crate: the whole file in memory, its
    /// header read, each tensor looked up by its name.
    #[cfg(feature = "safetensors")]
    fn write_parsed(&self, buffers: &[wgpu::Buffer], gpu: &Gpu) -> Outcome<()> {
        let read = MeasureError::file("read", &self.path);
        let file = std::fs::read(&self.path).map_err(read)?;
        let malformed = |error| {
            let told = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            MeasureError::file("read the header of", &self.path)(told)
        };
        let tensors = safetensors::SafeTensors::deserialize(&file).map_err(malformed)?;
        for (buffer, variable) in buffers.iter().zip(&self.variables) {
            let tensor = tensors.tensor(&variable.name).map_err(malformed)?;
            gpu.queue().write_buffer(buffer, 0, tensor.data());
        }
        Ok(())
    }

    /// The steps of a save but for getting the bytes from the device.
    fn write(&self) -> Outcome<Sample> {
        let (temporary, target) =
            (self.path.with_extension("new"), self.path.with_extension("old"));
        // Windows syncs no directories.
        let directory = self.path.parent().filter(|_| cfg!(unix));
        measure(|| {
            let write = || -> std::io::Result<()> {
                let mut file = File::create(&temporary)?;
                self.content.chunks(1 << 20).try_for_each(|piece| file.write_all(piece))?;
                file.sync_all()?;
                std::fs::rename(&temporary, &target)?;
                directory.map_or(Ok(()), |directory| File::open(directory)?.sync_all())
            };
            write().map_err(MeasureError::file("write", &temporary))?;
            Ok(None)
        })
    }

    fn naive_save(&self, session: &Session) -> Outcome<Sample> {
        let path = self.path.with_extension("naive");
        let failed = || MeasureError::file("write", &path);
        measure(|| {
            let mut file = File::create(&path).map_err(failed())?;
            for variable in &self.variables {
                let mut bytes = Vec::new();
                session.snapshot_read(&[&variable.name], &mut |_, piece| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                })?;
                file.write_all(&bytes).map_err(failed())?;
            }
            file.sync_all().map_err(failed())?;
            Ok(None)
        })
    }

    /// Whether the last tensor holds what the file holds.
    fn check(&self, session: &Session, arm: &Arm) -> Outcome<()> {
        let (Some(variable), Some(&offset)) = (self.variables.last(), self.offsets.last()) else {
            return Ok(());
        };
        let mut bytes = vec![0; variable.bytes() as usize];
        read_exact_at(&self.file, &mut bytes, offset)
            .map_err(MeasureError::file("read", &self.path))?;
        let mut rest = bytes.as_slice();
        let mut equal = true;
        session.snapshot_read(&[&variable.name], &mut |_, piece| {
            let (same, after) = rest.split_at(piece.len().min(rest.len()));
            equal &= same == piece;
            rest = after;
            Ok(())
        })?;
        if equal && rest.is_empty() {
            return Ok(());
        }
        Err(MeasureError::WrongBytes { variable: variable.name.clone(), arm: arm.name })
    }
}

/// Pages that were not touched yet.
fn memory(bytes: u64) -> Outcome<MmapMut> {
    let map = usize::try_from(bytes).map_err(std::io::Error::other).and_then(MmapMut::map_anon);
    map.map_err(MeasureError::system("get memory for the ceilings"))
}

fn buffer(
    gpu: &Gpu,
    what: &str,
    size: u64,
    usage: wgpu::BufferUsages,
    mapped_at_creation: bool,
) -> Result<wgpu::Buffer, GpuError> {
    let descriptor = wgpu::BufferDescriptor { label: Some(what), size, usage, mapped_at_creation };
    gpu.checked(what, |device| device.create_buffer(&descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{all_arms, rounds};

    #[test]
    fn every_arm_moves_what_it_says() {
        let devices = Devices::open(&GpuOptions::default()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut workload = Workload::new(&devices.own, directory.path(), 3, 1 << 16).unwrap();
        assert_eq!(workload.bytes(), 3 << 16);
        let mut arms: Vec<Arm> = all_arms().into_iter().filter(|arm| !arm.cold).collect();
        let memory = Memory::Initialized;
        arms.push(Arm { name: "naive save", work: Work::NaiveSave, memory, cold: false });
        let mut begun = Vec::new();
        let all = rounds(&mut workload, &arms, &devices, 3, &mut |round| {
            begun.push(round);
            false
        })
        .unwrap();
        // One round counts, even if there is no time.
        assert_eq!((all.len(), begun), (arms.len(), vec![0, 1, 2]));
        assert!(all.iter().all(|one| one.samples.len() == 1 && one.rates().unwrap().least > 0.0));
        // What was saved and what was saved naively are the same bytes, the latter without a header.
        let saved = std::fs::read(workload.path.with_extension("saved.safetensors")).unwrap();
        let naive = std::fs::read(workload.path.with_extension("naive")).unwrap();
        assert_eq!(naive.len(), 3 << 16);
        assert_eq!(std::fs::read(workload.path.with_extension("old")).unwrap().len(), 3 << 16);
        assert!(saved.len() > naive.len());
    }
}
