//! What is compared: restores, the naive way, and ceilings.

use crate::resources::{Sample, make_cold, make_warm, measure};
use crate::ways::{Source, Way, fill, threads};
use std::env;
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use warmstart_benches::drain;
use warmstart_checkpoint::{Checkpoint, RestoreOptions, SaveOptions, save};
use warmstart_gpu::{Fill, Gpu, GpuOptions, MemoryKind, Origin, Session};
use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The memory that bytes go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Memory {
    /// Written before; of a session: of variables without a value.
    Touched,
    /// Allocated within the measured section, by the system's zeroed pages.
    Fresh,
    /// Variables that have values, which a restore first copies aside.
    Live,
}

/// How it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    /// A copy from memory to memory.
    Memcpy,
    /// Reading without a device.
    Plain(Way),
    /// A copy by the device from one touched buffer to another.
    DeviceCopy,
    /// `Session::restore` on this kind of device.
    Restore(Way, MemoryKind),
    /// `Checkpoint::open`, `plan` and `restore`.
    Checkpoint,
    /// For each tensor a `Vec` that is read into and `write_buffer`; one submission at the end.
    Naive,
}

struct Arm {
    name: &'static str,
    work: Work,
    memory: Memory,
    cold: bool,
}

const SCRATCH: usize = 256 << 10;

/// The arms, ceilings first.
fn arms() -> Vec<Arm> {
    use Memory::{Fresh, Live, Touched};
    use MemoryKind::{Mappable, Staged};
    use Work::{Checkpoint, DeviceCopy, Memcpy, Naive, Plain, Restore};
    let warm = [
        ("memcpy", Memcpy, Touched),
        ("memcpy", Memcpy, Fresh),
        ("pread", Plain(Way::Read), Touched),
        ("pread", Plain(Way::Read), Fresh),
        ("mmap + copy", Plain(Way::Map), Touched),
        ("mmap + copy", Plain(Way::Map), Fresh),
        ("pread, crc32c, copy", Plain(Way::Summed(SCRATCH)), Touched),
        ("pread, crc32c, copy", Plain(Way::Summed(SCRATCH)), Fresh),
        ("copy by the device", DeviceCopy, Touched),
        ("restore: pread", Restore(Way::Read, Mappable), Touched),
        ("restore: pread", Restore(Way::Read, Mappable), Fresh),
        ("restore: pread", Restore(Way::Read, Mappable), Live),
        ("restore: mmap + copy", Restore(Way::Map, Mappable), Touched),
        ("restore: mmap + copy", Restore(Way::Map, Mappable), Fresh),
        ("restore: crc32c, 64 KiB scratch", Restore(Way::Summed(64 << 10), Mappable), Touched),
        ("restore: crc32c, 256 KiB scratch", Restore(Way::Summed(SCRATCH), Mappable), Touched),
        ("restore: crc32c, 1 MiB scratch", Restore(Way::Summed(1 << 20), Mappable), Touched),
        ("restore: crc32c, 256 KiB scratch", Restore(Way::Summed(SCRATCH), Mappable), Fresh),
        ("restore: staged pread", Restore(Way::Read, Staged), Touched),
        ("Checkpoint::restore", Checkpoint, Touched),
        ("Checkpoint::restore", Checkpoint, Fresh),
        ("Checkpoint::restore", Checkpoint, Live),
        ("naive", Naive, Touched),
        ("naive", Naive, Fresh),
    ];
    let cold = [
        ("pread", Plain(Way::Read), Touched),
        ("mmap + copy", Plain(Way::Map), Touched),
        ("restore: pread", Restore(Way::Read, Mappable), Touched),
        ("restore: crc32c, 256 KiB scratch", Restore(Way::Summed(SCRATCH), Mappable), Touched),
        ("Checkpoint::restore", Checkpoint, Touched),
        ("naive", Naive, Touched),
    ];
    let arm = |cold| move |(name, work, memory)| Arm { name, work, memory, cold };
    warm.into_iter().map(arm(false)).chain(cold.into_iter().map(arm(true))).collect()
}

/// A checkpoint of `count` tensors of one size, and what the arms need of it.
struct Workload {
    name: String,
    variables: Vec<Variable>,
    path: PathBuf,
    file: File,
    /// Where each tensor begins.
    offsets: Vec<u64>,
    bytes: u64,
    /// The pieces in which a restore reads: at most 8 MiB.
    pieces: Vec<(u64, usize)>,
    /// Memory for the plain arms.
    touched: Vec<u8>,
    /// Memory to copy from.
    content: Vec<u8>,
}

impl Workload {
    fn new(gpu: &Gpu, directory: &Path, count: usize, each: u64) -> Outcome<Workload> {
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
        let (touched, content) = (vec![1; bytes as usize], vec![2; bytes as usize]);
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
        let mut source = Source::new(&self.file, Way::Read)?;
        // A restore that fails at the very end leaves no value behind.
        source.refuses = memory == Memory::Touched;
        let restored = session.restore(&self.fills(&source), &|_| {}).is_ok();
        assert_eq!(restored, memory == Memory::Live);
        drain(gpu)?;
        Ok(session)
    }

    fn run(&mut self, arm: &Arm, gpus: &[Gpu; 2]) -> Outcome<Sample> {
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
        };
        drain(gpu)?;
        Ok(sample)
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
            _ => warmstart_gpu::ByteSource::read_at(&source, offset, into),
        };
        match arm.memory {
            Memory::Fresh => {
                let bytes = self.bytes as usize;
                let mut kept = None;
                let sample = measure(|| {
                    let fresh = kept.insert(memmap2::MmapMut::map_anon(bytes)?);
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
                std::os::unix::fs::FileExt::read_exact_at(&self.file, &mut bytes, offset)?;
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
        std::os::unix::fs::FileExt::read_exact_at(&self.file, &mut bytes, offset)?;
        let mut at = 0;
        session.snapshot_read(&[&variable.name], &mut |_, piece| {
            assert!(piece == &bytes[at..at + piece.len()], "a restore went wrong");
            at += piece.len();
            Ok(())
        })?;
        Ok(())
    }

    fn report(&mut self, gpus: &[Gpu; 2], rounds: usize) -> Outcome<()> {
        let arms = arms();
        let mut samples: Vec<Vec<Sample>> = arms.iter().map(|_| Vec::new()).collect();
        // The round before the first is for caches and pipelines.
        for round in 0..=rounds {
            for (arm, samples) in arms.iter().zip(&mut samples) {
                let sample = self.run(arm, gpus)?;
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        let rate = |sample: &Sample| self.bytes as f64 / sample.seconds / 1e9;
        let median = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let rates = |samples: &[Sample]| samples.iter().map(rate).collect::<Vec<f64>>();
        println!("\n{} ({} MiB), {rounds} rounds", self.name, self.bytes >> 20);
        println!(
            "{:34} {:8} {:5} {:>6} {:>15} {:>8} {:>6} {:>9} {:>8}",
            "",
            "memory",
            "cache",
            "GB/s",
            "slowest-fastest",
            "of best",
            "cpu s",
            "peak MiB",
            "submits"
        );
        for (arm, taken) in arms.iter().zip(&samples) {
            // The best way to read the same file into the same kind of memory by as many threads.
            let like = |other: &Arm| match (other.work, arm.memory) {
                (Work::Plain(_), Memory::Live) => other.memory == Memory::Touched,
                (Work::Plain(_), memory) => other.memory == memory,
                _ => false,
            };
            let ceiling = arms
                .iter()
                .zip(&samples)
                .filter(|(other, _)| other.cold == arm.cold && like(other))
                .map(|(_, samples)| median(&mut rates(samples)))
                .fold(0.0, f64::max);
            let mut all = rates(taken);
            let middle = median(&mut all);
            let cpu = median(&mut taken.iter().map(|sample| sample.cpu_seconds).collect());
            let own = if arm.memory == Memory::Fresh { self.bytes } else { 0 };
            let peak = taken.iter().map(|s| s.peak_bytes.saturating_sub(own)).max().unwrap_or(0);
            let submissions = taken[0].submissions.map_or("-".to_owned(), |n| n.to_string());
            println!(
                "{:34} {:8} {:5} {middle:>6.2} {:>15} {:>7.0}% {cpu:>6.2} {:>9} {:>8}",
                arm.name,
                format!("{:?}", arm.memory).to_lowercase(),
                if arm.cold { "cold" } else { "warm" },
                format!("{:.2}-{:.2}", all[0], all[all.len() - 1]),
                middle / ceiling * 100.0,
                peak >> 20,
                submissions,
            );
        }
        Ok(())
    }
}

pub fn main() -> Outcome<()> {
    // `cargo test --benches` only wants to know that this builds and starts.
    if env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let full = env::var_os("WARMSTART_BENCH_FULL").is_some_and(|value| value == "1");
    let gpu = Gpu::new()?;
    let staged = GpuOptions { memory: Some(MemoryKind::Staged), ..GpuOptions::default() };
    let gpus = [gpu.clone(), Gpu::with(&staged)?];
    println!("restore: on {}, variables filled by {:?}", gpu.summary(), gpu.memory());
    println!(
        "{} threads; files in a temporary directory; `of best`: of the faster of pread",
        threads()
    );
    println!("and mmap + copy into the same kind of memory; peak: above the variables' own");
    let directory = tempfile::tempdir()?;
    let mut loads = vec![(1, 1 << 20, 9), (64, 4 << 20, 5), (10_000, 4 << 10, 5)];
    if full {
        loads.push((256, 4 << 20, 3));
        let largest = gpu.limits().max_storage_buffer_binding_size.min(1 << 30);
        loads.push((1, largest / (1 << 20) * (1 << 20), 3));
    }
    for (count, each, rounds) in loads {
        Workload::new(&gpu, directory.path(), count, each)?.report(&gpus, rounds)?;
    }
    Ok(())
}
