//! What is compared: ceilings, restores, and the naive way.

use crate::ways::Way;
use warmstart_gpu::MemoryKind;

/// The memory that bytes go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// Written before; of a session: of variables without a value.
    Touched,
    /// Allocated within the measured section, by the system's zeroed pages.
    Fresh,
    /// Variables that have values, which a restore first copies aside.
    Live,
}

/// How it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
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

pub struct Arm {
    pub name: &'static str,
    pub work: Work,
    pub memory: Memory,
    /// Whether the file is put out of the system's cache before.
    pub cold: bool,
}

const SCRATCH: usize = 256 << 10;

/// The arms, ceilings first.
pub fn arms() -> Vec<Arm> {
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
