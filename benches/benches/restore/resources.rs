//! What a measured section takes: time, processor time, memory; and whether a file is in the
//! system's cache.

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

/// What one run took.
#[derive(Clone, Copy)]
pub struct Sample {
    pub seconds: f64,
    /// Processor time of all threads of this process, the driver's too.
    pub cpu_seconds: f64,
    /// Peak resident memory above what was resident before, file pages that were mapped included.
    pub peak_bytes: u64,
    pub submissions: Option<u64>,
}

/// Measures a section that returns how often it submitted work to the device.
pub fn measure(
    section: impl FnOnce() -> Result<Option<u64>, Box<dyn Error>>,
) -> Result<Sample, Box<dyn Error>> {
    // Linux: sets VmHWM to what is resident now.
    fs::write("/proc/self/clear_refs", "5")?;
    let resident = status("VmRSS:")?;
    let cpu = cpu_seconds();
    let start = Instant::now();
    let submissions = section()?;
    Ok(Sample {
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds() - cpu,
        peak_bytes: status("VmHWM:")?.saturating_sub(resident),
        submissions,
    })
}

fn cpu_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

fn status(field: &str) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such field")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// Puts a file out of the system's cache and proves it: an error if a page of it stays there.
pub fn make_cold(file: &File) -> Result<(), Box<dyn Error>> {
    // Only clean pages are dropped, and none that the system is busy with at this moment.
    file.sync_all()?;
    for _ in 0..TRIES {
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
        if cached_pages(file)? == 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err("the system does not drop the file from its cache".into())
}

/// How often the system is asked to change its cache.
const TRIES: usize = 20;

/// Reads a file into the system's cache and proves that it is there. A system short of memory may
/// drop some of it at once, so it is tried a few times.
pub fn make_warm(file: &File) -> Result<(), Box<dyn Error>> {
    let bytes = file.metadata()?.len();
    let pages = bytes.div_ceil(page_bytes());
    let mut piece = vec![0; 1 << 20];
    for _ in 0..TRIES {
        if cached_pages(file)? == pages {
            return Ok(());
        }
        for at in (0..bytes).step_by(piece.len()) {
            let wanted = piece.len().min((bytes - at) as usize);
            file.read_exact_at(&mut piece[..wanted], at)?;
        }
    }
    Err("the system does not keep the file in its cache".into())
}

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

fn cached_pages(file: &File) -> Result<u64, Box<dyn Error>> {
    // SAFETY: nothing else changes the benchmark's own file, and its bytes are not looked at.
    let map = unsafe { memmap2::Mmap::map(file)? };
    let mut pages = vec![0u8; map.len().div_ceil(page_bytes() as usize)];
    let address = map.as_ptr().cast_mut().cast();
    // SAFETY: the range is that of a mapping, and the vector has a byte for each of its pages.
    let result = unsafe { libc::mincore(address, map.len(), pages.as_mut_ptr().cast()) };
    if result != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(pages.iter().filter(|page| *page & 1 == 1).count() as u64)
}
