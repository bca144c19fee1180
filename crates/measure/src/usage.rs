//! What a measured section takes: time, processor time, memory; and whether a file is in the
//! system's cache.

use crate::error::MeasureError;
use crate::system;
use crate::weights::read_exact_at;
use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How long it took.
    pub seconds: f64,
    /// Processor time of all threads of this process, the driver's too; where the system tells it.
    pub cpu_seconds: Option<f64>,
    /// Peak resident memory above what was resident before, file pages that were mapped included;
    /// where the system tells it.
    pub peak_bytes: Option<u64>,
    /// How often work was submitted to the device, where that was counted.
    pub submissions: Option<u64>,
}

/// Measures a section that returns how often it submitted work to the device.
///
/// # Errors
/// Those of the section.
pub fn measure(
    section: impl FnOnce() -> Result<Option<u64>, MeasureError>,
) -> Result<Sample, MeasureError> {
    let resident = system::resident_from_here();
    let cpu = system::cpu_seconds();
    let start = Instant::now();
    let submissions = section()?;
    let seconds = start.elapsed().as_secs_f64();
    let spent = |before| Some(system::cpu_seconds()? - before);
    let above = |before| Some(system::peak_resident()?.saturating_sub(before));
    let (cpu_seconds, peak_bytes) = (cpu.and_then(spent), resident.and_then(above));
    Ok(Sample { seconds, cpu_seconds, peak_bytes, submissions })
}

/// Puts a file out of the system's cache and proves it: an error if a page of it stays there.
pub fn make_cold(file: &File, path: &Path) -> Result<(), MeasureError> {
    // Only clean pages are dropped, and none that the system is busy with at this moment.
    file.sync_all().map_err(MeasureError::file("write", path))?;
    for _ in 0..TRIES {
        system::drop_from_cache(file).map_err(MeasureError::file("drop from the cache", path))?;
        match cached_pages(file, path)? {
            None => return Err(MeasureError::NoCold),
            Some((0, _)) => return Ok(()),
            Some(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
    Err(MeasureError::StaysCached(path.to_owned()))
}

/// How often the system is asked to change its cache.
const TRIES: usize = 20;

/// Reads a file into the system's cache, and proves that it is there where the system tells. A
/// system short of memory may drop some of it at once, so it is tried a few times.
pub fn make_warm(file: &File, path: &Path) -> Result<(), MeasureError> {
    let bytes = file.metadata().map_err(MeasureError::file("read", path))?.len();
    let mut piece = vec![0; 1 << 20];
    for _ in 0..TRIES {
        let known = cached_pages(file, path)?;
        if known.is_some_and(|(cached, all)| cached == all) {
            return Ok(());
        }
        for at in (0..bytes).step_by(piece.len()) {
            let wanted = piece.len().min((bytes - at) as usize);
            read_exact_at(file, &mut piece[..wanted], at)
                .map_err(MeasureError::file("read", path))?;
        }
        if known.is_none() {
            return Ok(());
        }
    }
    Err(MeasureError::NotCached(path.to_owned()))
}

fn cached_pages(file: &File, path: &Path) -> Result<Option<(u64, u64)>, MeasureError> {
    system::cached_pages(file).map_err(MeasureError::file("look into the cache for", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_measured_and_its_error_told() {
        let sample = measure(|| Ok(Some(3))).unwrap();
        assert!(sample.seconds >= 0.0 && sample.submissions == Some(3), "{sample:?}");
        assert!(matches!(measure(|| Err(MeasureError::NoCold)), Err(MeasureError::NoCold)));
    }

    #[test]
    fn a_file_is_warm_after_it_was_made_warm() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, vec![1; 3 << 20]).unwrap();
        let file = File::open(&path).unwrap();
        // A folder in memory is allowed to refuse, and says why.
        match make_cold(&file, &path) {
            Ok(()) => assert_eq!(system::cached_pages(&file).unwrap().unwrap().0, 0),
            Err(MeasureError::StaysCached(named)) => assert_eq!(named, path),
            Err(error) => assert!(matches!(error, MeasureError::NoCold), "{error}"),
        }
        make_warm(&file, &path).unwrap();
        if let Some((cached, all)) = system::cached_pages(&file).unwrap() {
            assert_eq!(cached, all);
        }
    }
}
