//! How much memory there is for a plan that finds too little, of which `wgpu` tells nothing.
//!
//! A GPU is asked for it, piece by piece. The memory of a software adapter is that of the machine, which gives
//! more than it has and ends the process that uses it: what is beyond all of the machine's is refused before.

use crate::device::gpu::Gpu;
use std::sync::LazyLock;

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

    /// All the memory that there is, in use or not, where that is known: of a software adapter.
    pub(crate) fn all_memory(&self) -> Option<u64> {
        static MACHINE: LazyLock<Option<u64>> = LazyLock::new(|| {
            let read = |file| std::fs::read_to_string(file).ok();
            of_machine(&read("/proc/meminfo")?, read("/sys/fs/cgroup/memory.max").as_deref())
        });
        if self.is_cpu() { *MACHINE } else { None }
    }
}

/// The memory of a machine with what it swaps to, by Linux' list of it; less, if that is what a container
/// may take.
fn of_machine(list: &str, container: Option<&str>) -> Option<u64> {
    let of = |name: &str| {
        let line = list.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
    };
    let all = of("MemTotal")?.saturating_add(of("SwapTotal").unwrap_or(0));
    // `max`, where it has no limit.
    let container = container.and_then(|limit| limit.trim().parse().ok());
    Some(all.min(container.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_machine_is_read_from_its_list() {
        let list = "MemTotal:       24689764 kB\nMemFree:          524288 kB\nSwapCached: 7 kB\n\
                    SwapTotal:       1048576 kB\n";
        let (memory, all) = (24_689_764 << 10, 25_738_340 << 10);
        assert_eq!(of_machine(list, None), Some(all));
        assert_eq!(of_machine("MemTotal: 24689764 kB", Some("max\n")), Some(memory));
        assert_eq!(of_machine(list, Some("1073741824\n")), Some(1 << 30));
        assert_eq!(of_machine(list, Some("99073741824\n")), Some(all));
        for nothing in ["", "MemTotal: much", "MemTotal: 5", "Mem: 24689764 kB"] {
            assert_eq!(of_machine(nothing, None), None, "{nothing}");
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
