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
    /// The sum of what is on disk.
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
        let stored = folder.read(&key);
        let cache = stored
            .as_deref()
            .and_then(|data| make(device, Some(data)))
            .or_else(|| make(device, None))?;
        let written = Mutex::new(stored.map(|data| XxHash3_128::oneshot(&data)));
        Some(DriverCache { cache, folder, key, written })
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
