//! What is compared: ceilings, restores and saves, and the naive ways.

use crate::weights::Way;
use warmstart_gpu::MemoryKind;

/// The memory that bytes go to, or come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// Written before; of a session: of variables without a value.
    Touched,
    /// Allocated within the measured section, by the system's zeroed pages.
    Fresh,
    /// The same, after asking the system for huge pages.
    Huge,
    /// Variables with values that their initializers can make again.
    Initialized,
    /// Variables with values from elsewhere, which a restore first copies aside.
    Live,
}

/// How it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// A copy from memory to memory.
    Memcpy,
    /// Reading without a device.
    Plain(Way),
    /// A copy by the device out of buffers that the host writes.
    StagingCopy,
    /// `Session::restore` on this kind of device.
    Restore(Way, MemoryKind),
    /// `Checkpoint::open`, `plan` and `restore`.
    Checkpoint,
    /// The same through staging buffers, whatever the adapter.
    StagedCheckpoint,
    /// For each tensor a `Vec` that is read into and `write_buffer`; one submission at the end.
    Naive,
    /// The file read as a whole, its header by the `safetensors` crate, then `write_buffer` of each
    /// tensor; one submission at the end.
    #[cfg(feature = "safetensors")]
    NaiveCrate,
    /// The same bytes written to a new file, synced and renamed over the last, its directory
    /// synced: what a save cannot do without.
    Write,
    /// `save` over the last file.
    Save,
    /// Each variable read by itself and written to a file, which is synced at the end.
    NaiveSave,
}

/// One way to do it, under conditions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arm {
    /// Its name in reports.
    pub name: &'static str,
    /// How it is done.
    pub work: Work,
    /// Where bytes go.
    pub memory: Memory,
    /// Whether the file is put out of the system's cache before.
    pub cold: bool,
}

/// Every arm of the benchmark, ceilings first.
pub fn all_arms() -> Vec<Arm> {
    use Memory::{Fresh, Huge, Initialized, Live, Touched};
    use MemoryKind::{Mappable, Staged};
    use Work::{
        Checkpoint, Memcpy, Naive, Plain, Restore, Save, StagedCheckpoint, StagingCopy, Write,
    };
    let warm = [
        ("memcpy", Memcpy, Touched),
        ("memcpy", Memcpy, Fresh),
        ("pread", Plain(Way::Read), Touched),
        ("pread", Plain(Way::Read), Fresh),
        ("pread", Plain(Way::Read), Huge),
        ("mmap + copy", Plain(Way::Map), Touched),
        ("mmap + copy", Plain(Way::Map), Fresh),
        ("mmap + copy", Plain(Way::Map), Huge),
        ("pread, xxh3", Plain(Way::Summed), Touched),
        ("pread, xxh3", Plain(Way::Summed), Fresh),
        ("staging copy", StagingCopy, Touched),
        ("restore: pread", Restore(Way::Read, Mappable), Touched),
        ("restore: pread", Restore(Way::Read, Mappable), Fresh),
        ("restore: pread", Restore(Way::Read, Mappable), Initialized),
        ("restore: pread", Restore(Way::Read, Mappable), Live),
        ("restore: mmap + copy", Restore(Way::Map, Mappable), Touched),
        ("restore: mmap + copy", Restore(Way::Map, Mappable), Fresh),
        ("restore: xxh3", Restore(Way::Summed, Mappable), Touched),
        ("restore: xxh3", Restore(Way::Summed, Mappable), Fresh),
        ("restore: staged pread", Restore(Way::Read, Staged), Touched),
        ("Checkpoint::restore", Checkpoint, Touched),
        ("Checkpoint::restore", Checkpoint, Fresh),
        ("Checkpoint::restore", Checkpoint, Initialized),
        ("Checkpoint::restore", Checkpoint, Live),
        ("Checkpoint::restore, staged", StagedCheckpoint, Touched),
        ("naive", Naive, Touched),
        ("naive", Naive, Fresh),
        #[cfg(feature = "safetensors")]
        ("naive: SafeTensors, write_buffer", Work::NaiveCrate, Touched),
        #[cfg(feature = "safetensors")]
        ("naive: SafeTensors, write_buffer", Work::NaiveCrate, Fresh),
        ("write, sync, rename", Write, Live),
        ("save", Save, Live),
    ];
    let cold = [
        ("pread", Plain(Way::Read), Touched),
        ("mmap + copy", Plain(Way::Map), Touched),
        ("restore: pread", Restore(Way::Read, Mappable), Touched),
        ("restore: xxh3", Restore(Way::Summed, Mappable), Touched),
        ("Checkpoint::restore", Checkpoint, Touched),
        ("naive", Naive, Touched),
    ];
    let arm = |cold| move |(name, work, memory)| Arm { name, work, memory, cold };
    let all = warm.into_iter().map(arm(false)).chain(cold.into_iter().map(arm(true)));
    // Elsewhere nobody can be asked for huge pages.
    all.filter(|arm| cfg!(target_os = "linux") || arm.memory != Huge).collect()
}
