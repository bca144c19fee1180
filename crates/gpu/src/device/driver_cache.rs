//! Vulkan's pipeline cache, kept on disk: a driver that has compiled a kernel in an earlier process
//! need not do so again.
//!
//! `WARMSTART_CACHE=off` or a directory, by default `warmstart` among the user's caches. Files are
//! keyed by adapter and driver, written atomically, and ignored unless their checksum is right.
//! Software Vulkan compiles when a kernel is first run, whatever was cached here, and has a cache
//! of its own.

use crate::device::cache::{CacheChoice, CacheFolder};
use std::sync::{Mutex, PoisonError};
use twox_hash::XxHash3_128;

/// What the driver keeps of compiled pipelines.
pub(crate) struct DriverCache {
    cache: wgpu::PipelineCache,
    folder: CacheFolder,
    /// Adapter, driver and version.
    key: String,
    /// The sum of what is on disk, unless that was refused.
    written: Mutex<Option<u128>>,
}

impl DriverCache {
    /// The cache of this adapter as the last process left it, where the backend has one.
    pub fn open(
        device: &wgpu::Device,
        info: &wgpu::AdapterInfo,
        choice: &CacheChoice,
    ) -> Option<DriverCache> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let folder = CacheFolder::new(choice, "pipelines")?;
        let adapter = wgpu::util::pipeline_cache_key(info)?;
        let key = format!("{adapter}\n{}\n{}\n{}", info.name, info.driver, info.driver_info);
        let (cache, written) = begin(folder.read(&key), |data| make(device, data))?;
        Some(DriverCache { cache, folder, key, written: Mutex::new(written) })
    }

    /// For pipelines about to be made.
    pub fn cache(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// Writes what is not on disk yet, after pipelines were made.
    pub fn save(&self) {
        // Locked first: of two threads, the one that has more data must not be overtaken.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(data) = self.cache.get_data() else { return };
        let sum = Some(XxHash3_128::oneshot(&data));
        if *written != sum {
            self.folder.write(&self.key, &data);
            *written = sum;
        }
    }
}

/// A cache that begins with what is stored, and the sum of that; or, if nothing is stored or that is refused,
/// with nothing. Then the next save replaces the file.
fn begin<C>(
    stored: Option<Vec<u8>>,
    make: impl Fn(Option<&[u8]>) -> Option<C>,
) -> Option<(C, Option<u128>)> {
    let taken = stored.and_then(|data| Some((make(Some(&data))?, XxHash3_128::oneshot(&data))));
    match taken {
        Some((cache, sum)) => Some((cache, Some(sum))),
        None => Some((make(None)?, None)),
    }
}

/// A cache that begins with this data, unless wgpu or the driver refuses it.
fn make(device: &wgpu::Device, data: Option<&[u8]>) -> Option<wgpu::PipelineCache> {
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let descriptor =
        wgpu::PipelineCacheDescriptor { label: Some("warmstart"), data, fallback: true };
    // SAFETY: data, if any, must have come from `PipelineCache::get_data`. `CacheFolder::read` gives
    // only what `save` has written whole, under a key that has the adapter and the driver's version,
    // since a checksum of 128 bits covers it; wgpu and the driver compare their own keys of device
    // and version besides. Someone who forges a file with its checksum can do so only where they may
    // write to this user's cache directory, and `CacheChoice` says that nobody else may.
    #[allow(unsafe_code)]
    let cache = unsafe { device.create_pipeline_cache(&descriptor) };
    pollster::block_on(scope.pop()).is_none().then_some(cache)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::{Gpu, GpuOptions};

    const SOURCE: &str = "@group(0) @binding(0) var<storage, read_write> x: array<u32>; \
                          @compute @workgroup_size(1) fn main() { x[0] = 1; }";

    /// Whatever lies in the cache directory, pipelines are made, and what lies there afterwards is
    /// whole.
    #[test]
    fn a_process_begins_with_what_the_last_one_left_unless_it_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let cache = CacheChoice::Directory(directory.path().to_owned());
        let options = GpuOptions { cache: Some(cache), ..Default::default() };
        let file = || {
            let folder = directory.path().join("pipelines");
            std::fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path()).next()
        };
        let compile = || {
            let gpu = Gpu::with(&options).unwrap();
            gpu.pipeline("one", SOURCE, &[]).unwrap();
            gpu.healthy().unwrap();
            gpu.features().contains(wgpu::Features::PIPELINE_CACHE)
        };
        if !compile() {
            assert_eq!(file(), None, "this backend has no cache, yet a file was written");
            return;
        }
        let file = file().expect("the driver's cache is written");
        let whole = std::fs::read(&file).unwrap();
        compile();
        for damaged in [&whole[..whole.len() - 1], b"", b"something else entirely"] {
            std::fs::write(&file, damaged).unwrap();
            compile();
            let again = std::fs::read(&file).unwrap();
            assert_eq!(again.len(), whole.len(), "what was damaged is written anew");
        }
    }

    /// The bytes that are handed on.
    #[test]
    fn what_is_stored_is_what_the_cache_begins_with() {
        let bytes = |data: Option<&[u8]>| Some(data.map(<[u8]>::to_vec));
        let stored = b"of the last process".to_vec();
        let sum = XxHash3_128::oneshot(&stored);
        assert_eq!(begin(Some(stored.clone()), bytes), Some((Some(stored.clone()), Some(sum))));
        assert_eq!(begin(None, bytes), Some((None, None)));
        // What is refused is as good as none, and counts as not written.
        let refused = |data: Option<&[u8]>| data.is_none().then_some("empty");
        assert_eq!(begin(Some(stored.clone()), refused), Some(("empty", None)));
        // A driver may have no cache at all.
        assert_eq!(begin(Some(stored), |_| None::<()>), None);
    }

    /// `wgpu` takes what the last `Gpu` wrote, and refuses what another device did: it is handed the file.
    #[test]
    fn a_gpu_begins_with_what_the_last_one_wrote_and_not_with_what_another_did() {
        let directory = tempfile::tempdir().unwrap();
        let choice = CacheChoice::Directory(directory.path().to_owned());
        let options = GpuOptions { cache: Some(choice), ..Default::default() };
        let written = |gpu: &Gpu| *gpu.driver_cache().unwrap().written.lock().unwrap();
        let first = Gpu::with(&options).unwrap();
        if first.driver_cache().is_none() {
            return;
        }
        assert_eq!(written(&first), None);
        first.pipeline("one", SOURCE, &[]).unwrap();
        let own = first.driver_cache().unwrap();
        let data = own.cache().get_data().unwrap();
        let sum = Some(XxHash3_128::oneshot(&data));
        assert_eq!(written(&first), sum);
        assert_eq!(
            written(&Gpu::with(&options).unwrap()),
            sum,
            "the next one has not begun with it"
        );
        // A header that names another device, in a file that is whole.
        let refused = (0..64).find_map(|at| {
            let mut other = data.clone();
            other[at] ^= 0x55;
            make(first.device(), Some(&other)).is_none().then_some(other)
        });
        own.folder.write(&own.key, &refused.expect("wgpu refuses some"));
        let next = Gpu::with(&options).unwrap();
        assert_eq!(written(&next), None, "what is refused was not handed on");
        next.pipeline("one", SOURCE, &[]).unwrap();
        next.healthy().unwrap();
        let again = own.folder.read(&own.key).unwrap();
        assert_eq!(written(&next), Some(XxHash3_128::oneshot(&again)), "it is replaced");
        assert_eq!(written(&Gpu::with(&options).unwrap()), written(&next));
    }

    /// Data that is whole as a file, but that wgpu or the driver does not know.
    #[test]
    fn data_of_another_device_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let choice = CacheChoice::Directory(directory.path().to_owned());
        let gpu = Gpu::with(&GpuOptions { cache: Some(choice), ..Default::default() }).unwrap();
        let Some(own) = gpu.driver_cache() else {
            assert!(!gpu.features().contains(wgpu::Features::PIPELINE_CACHE));
            return;
        };
        gpu.pipeline("one", SOURCE, &[]).unwrap();
        let data = own.cache().get_data().unwrap();
        let size = |data: Option<&[u8]>| Some(make(gpu.device(), data)?.get_data()?.len());
        let empty = size(None).unwrap();
        assert_eq!(size(Some(&data)), Some(data.len()), "what is whole is taken");
        // All of wgpu's header. Where it names another device, the data is refused, and elsewhere as
        // good as none. (A driver that keeps nothing gives as much for any data.)
        let mut refused = 0;
        for at in 0..64 {
            let mut other = data.clone();
            other[at] ^= 0x55;
            match size(Some(&other)) {
                Some(size) => assert_eq!(size, empty, "byte {at} was taken"),
                None => refused += 1,
            }
            gpu.healthy().unwrap();
        }
        assert!((1..64).contains(&refused), "{refused} were refused");
    }

    #[test]
    fn without_a_cache_nothing_is_written() {
        let options = GpuOptions { cache: Some(CacheChoice::Off), ..Default::default() };
        let gpu = Gpu::with(&options).unwrap();
        gpu.pipeline("one", SOURCE, &[]).unwrap();
        assert!(gpu.driver_cache().is_none());
    }
}
