//! What only the system can tell. On other systems than Linux that is nothing, and says so.
//!
//! What is in the cache, processor time, resident memory, free space: elsewhere `None`, which is
//! shown as `-`, or as `null` in JSON.

#[cfg(target_os = "linux")]
pub use linux::*;
#[cfg(not(target_os = "linux"))]
pub use other::*;

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File};
    use std::io;
    use std::path::Path;

    /// Processor time of all threads of this process, the driver's too.
    pub fn cpu_seconds() -> Option<f64> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Some(now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9)
    }

    /// Begins to look for the peak of resident memory, and says how much is resident now. `None`
    /// where the system does not let a process begin anew.
    pub fn resident_from_here() -> Option<u64> {
        fs::write("/proc/self/clear_refs", "5").ok()?;
        status("VmRSS:")
    }

    /// The peak of resident memory since [`resident_from_here`].
    pub fn peak_resident() -> Option<u64> {
        status("VmHWM:")
    }

    fn status(field: &str) -> Option<u64> {
        kibibytes("/proc/self/status", field)
    }

    fn kibibytes(file: &str, field: &str) -> Option<u64> {
        let text = fs::read_to_string(file).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(field))?;
        Some(value.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    }

    /// How many bytes of memory are left for a program; `None` if the system does not tell.
    pub fn available_memory() -> Option<u64> {
        kibibytes("/proc/meminfo", "MemAvailable:")
    }

    /// How many bytes can still be written to the disk of a folder; `None` if the system does not
    /// tell.
    pub fn free_space(directory: &Path) -> Option<u64> {
        let disk = rustix::fs::statvfs(directory).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// The load average of the last minute; `None` if the system does not tell.
    pub fn load_average() -> Option<f64> {
        fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
    }

    /// The processor's name.
    pub fn processor() -> Option<String> {
        let text = fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    }

    /// Asks for a file's clean pages to leave the cache.
    pub fn drop_from_cache(file: &File) -> io::Result<()> {
        Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    /// How many pages of a file are in the cache, and of how many.
    #[allow(unsafe_code, reason = "only a mapping and the C library tell what is in the cache")]
    pub fn cached_pages(file: &File) -> io::Result<Option<(u64, u64)>> {
        // SAFETY: the mapping's bytes are not looked at, so that nobody can change them under us.
        let map = unsafe { memmap2::Mmap::map(file)? };
        let mut pages = vec![0u8; map.len().div_ceil(rustix::param::page_size())];
        let address = map.as_ptr().cast_mut().cast();
        // SAFETY: the range is that of a mapping, and the vector has a byte for each of its pages.
        let result = unsafe { libc::mincore(address, map.len(), pages.as_mut_ptr().cast()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let cached = pages.iter().filter(|page| *page & 1 == 1).count();
        Ok(Some((cached as u64, pages.len() as u64)))
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    /// Not known on this system.
    pub fn cpu_seconds() -> Option<f64> {
        None
    }

    /// Not known on this system.
    pub fn resident_from_here() -> Option<u64> {
        None
    }

    /// Not known on this system.
    pub fn peak_resident() -> Option<u64> {
        None
    }

    /// Not known on this system.
    pub fn available_memory() -> Option<u64> {
        None
    }

    /// Not known on this system.
    pub fn free_space(_directory: &Path) -> Option<u64> {
        None
    }

    /// Not known on this system.
    pub fn load_average() -> Option<f64> {
        None
    }

    /// Windows has it in the environment.
    pub fn processor() -> Option<String> {
        std::env::var("PROCESSOR_IDENTIFIER").ok()
    }

    /// Nobody can be asked; [`cached_pages`] does not claim that it helped.
    pub fn drop_from_cache(_file: &File) -> io::Result<()> {
        Ok(())
    }

    /// Not known on this system.
    pub fn cached_pages(_file: &File) -> io::Result<Option<(u64, u64)>> {
        Ok(None)
    }
}
