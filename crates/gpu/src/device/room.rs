//! How much memory there is for a plan that finds too little, of which `wgpu` tells nothing.
//!
//! A GPU is asked for it, piece by piece. The memory of a software adapter is that of the machine, which gives
//! more than it has and ends the process that uses it: what is beyond all of the machine's is refused before.

use crate::device::gpu::Gpu;

/// How many pieces are asked for.
const PIECES: u64 = 64;

impl Gpu {
    /// How many bytes of device memory can be had now, of so many: they are taken in pieces, and let go of.
    pub(crate) fn room(&self, most: u64) -> u64 {
        let limits = self.limits();
        let largest = limits.max_buffer_size.min(limits.max_storage_buffer_binding_size);
        let piece = (most / PIECES).next_multiple_of(4).clamp(4, largest);
        let mut taken = Vec::new();
        let mut room = 0;
        while room < most {
            // Whatever the reason, there is no more to be had.
            let usage = wgpu::BufferUsages::STORAGE;
            let Ok(buffer) = self.buffer("what tells how much memory is left", piece, usage) else {
                break;
            };
            taken.push(buffer);
            room += piece;
        }
        room.min(most)
    }

    /// Has the device let go of buffers that were dropped: those that something was written to are kept until
    /// the next submission is done. What goes wrong is told to whoever asks for something next.
    pub(crate) fn let_go(&self) {
        let submitted = self.checked("letting go of memory", |_| self.queue().submit([]));
        let _ = submitted.and_then(|submission| self.wait_alone(submission));
    }

    /// The memory that there is, where that is known: of a software adapter.
    pub(crate) fn machine_memory(&self) -> Option<MachineMemory> {
        let read = |file: &str| std::fs::read_to_string(file).ok();
        let list = self.is_cpu().then(|| read("/proc/meminfo")).flatten()?;
        let of_container = |file| read(&format!("/sys/fs/cgroup/memory.{file}"));
        let [most, used, parts] = ["max", "current", "stat"].map(of_container);
        MachineMemory::of(&list, most.as_deref(), used.as_deref(), parts.as_deref())
    }
}

/// The memory of a machine with what it swaps to, by Linux' list of it; less, if that is what a container
/// may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MachineMemory {
    /// In use or not.
    pub all: u64,
    /// What is left.
    pub free: u64,
}

impl MachineMemory {
    fn of(
        list: &str,
        most: Option<&str>,
        used: Option<&str>,
        parts: Option<&str>,
    ) -> Option<MachineMemory> {
        let of = |name: &str| {
            let line = list.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
        };
        let with = |memory: u64, swap| memory.saturating_add(of(swap).unwrap_or(0));
        let all = with(of("MemTotal")?, "SwapTotal");
        let free = of("MemAvailable").map_or(all, |free| with(free, "SwapFree"));
        // `max`, where it has no limit.
        let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u64>().ok());
        let most = number(most).unwrap_or(u64::MAX);
        // Pages of files count as used, and those that were not read lately are given back when asked for.
        let line =
            |text: &str| text.lines().find_map(|line| number(line.strip_prefix("inactive_file ")));
        let files = parts.and_then(line).unwrap_or(0);
        let left = most.saturating_sub(number(used).unwrap_or(0).saturating_sub(files));
        Some(MachineMemory { all: all.min(most), free: free.min(left) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_machine_is_read_from_its_list() {
        let list = "MemTotal:       24689764 kB\nMemFree:          524288 kB\nMemAvailable: 9000000 kB\n\
                    SwapCached: 7 kB\nSwapTotal:       1048576 kB\nSwapFree: 1000 kB\n";
        let of = |list, most, used| {
            MachineMemory::of(list, most, used, None).map(|MachineMemory { all, free }| (all, free))
        };
        let (all, free) = (25_738_340 << 10, 9_001_000 << 10);
        assert_eq!(of(list, None, None), Some((all, free)));
        assert_eq!(of(list, Some("99073741824\n"), Some("5\n")), Some((all, free)));
        assert_eq!(of(list, Some("1073741824\n"), Some("3\n")), Some((1 << 30, (1 << 30) - 3)));
        assert_eq!(of(list, Some("10\n"), Some("12\n")), Some((10, 0)));
        let parts = Some("anon 7\ninactive_file 600\nactive_file 5\n");
        let memory = MachineMemory::of(list, Some("1000"), Some("900"), parts);
        assert_eq!(memory, Some(MachineMemory { all: 1000, free: 700 }));
        // What is not listed is not known.
        let memory = 24_689_764 << 10;
        assert_eq!(of("MemTotal: 24689764 kB", Some("max\n"), None), Some((memory, memory)));
        for nothing in ["", "MemTotal: much", "MemTotal: 5", "Mem: 24689764 kB"] {
            assert_eq!(of(nothing, None, None), None, "{nothing}");
        }
    }

    /// So much can be had that nobody minds, of any number of bytes.
    #[test]
    fn what_can_be_had_is_told() {
        let gpu = Gpu::new().unwrap();
        for most in [0, 1, 63, 1000, 1 << 20, (1 << 20) + 7] {
            assert_eq!(gpu.room(most), most);
        }
    }
}
