//! The device: which adapter, what it can do, and every failure of it as a typed error.

use crate::device::adapter::{AdapterChoice, AdapterSummary, choose, rank};
use crate::device::cache::CacheChoice;
use crate::device::closing::{Closing, opening};
use crate::device::cooperative::{self, CooperativeMatrix};
use crate::device::driver_cache::DriverCache;
use crate::device::locked;
use crate::device::pipelines::Pipelines;
use crate::device::wanted::{lacking, wanted_features, wanted_limits};
use crate::error::GpuError;
use crate::run::ceilings::Measured;
use crate::tune::{self, Tune, Tuner};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// How bytes get into the memory of variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Host and device share memory: variables are mapped and written in place.
    Mappable,
    /// Bytes pass through mapped staging buffers and are copied by the device.
    Staged,
}

/// What to ask of [`Gpu::with`]. The default is the best adapter there is.
#[derive(Clone, Debug)]
pub struct GpuOptions {
    /// The adapter; `None` leaves the choice to `WGPU_ADAPTER_NAME`, and without it takes the best.
    pub adapter: Option<AdapterChoice>,
    /// The backends to look in; `None` leaves the choice to `WGPU_BACKEND`, and without it takes
    /// all that this system has.
    pub backends: Option<wgpu::Backends>,
    /// How variables are filled; `None` takes what suits the adapter. An adapter that cannot map
    /// variables uses [`MemoryKind::Staged`] whatever is asked for.
    pub memory: Option<MemoryKind>,
    /// The most memory, in bytes, that the staging buffers of one restore or save together take, 128
    /// MiB if nothing is said; at least 8 KiB is taken.
    pub staging_bytes: u64,
    /// How long to wait for one submission before giving up.
    pub timeout: Duration,
    /// Where compiled pipelines, and which kernels were measured as the fastest, are kept between
    /// processes; `None` leaves the choice to `WARMSTART_CACHE`, which is `off` or a
    /// directory, and without it takes the folder `warmstart` among the user's caches. A directory that
    /// cannot be written is as good as none.
    pub cache: Option<CacheChoice>,
    /// Whether kernels of products are chosen by measuring them; `None` leaves the choice to
    /// `WARMSTART_TUNE`, which is `off`, `on` or `force`, and without it is [`Tune::On`]. Results do
    /// not depend on it, to the bit.
    pub tune: Option<Tune>,
    /// How long kernels are measured under [`Tune::On`] in all, compiling them included: half a second if
    /// nothing is said, and a quarter of it for those of rows. It is looked at before each kernel is compiled
    /// and run, so that only what was begun may take longer. With none nothing is measured, and what earlier
    /// processes found is followed.
    pub tune_budget: Duration,
    /// Whether products of `f16` are computed by cooperative matrices; `None` leaves the choice to
    /// `WARMSTART_COOPERATIVE_MATRIX`, which is `off`, `on` or `force`, and without it is
    /// [`CooperativeMatrix::On`].
    pub cooperative_matrix: Option<CooperativeMatrix>,
}

impl Default for GpuOptions {
    fn default() -> GpuOptions {
        GpuOptions {
            adapter: None,
            backends: None,
            memory: None,
            staging_bytes: 128 << 20,
            timeout: Duration::from_secs(600),
            cache: None,
            tune: None,
            tune_budget: tune::BUDGET,
            cooperative_matrix: None,
        }
    }
}

/// A device with its queue. Cloning is cheap and gives the same device.
#[derive(Clone)]
pub struct Gpu(Arc<Closing<Inner>>);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: wgpu::Limits,
    features: wgpu::Features,
    subgroup_sizes: [u32; 2],
    summary: AdapterSummary,
    memory: MemoryKind,
    staging_bytes: u64,
    timeout: Duration,
    health: Arc<Mutex<Health>>,
    pipelines: Pipelines,
    driver_cache: Option<DriverCache>,
    tuner: Tuner,
    widens_f16: OnceLock<bool>,
    cooperative: Option<u32>,
    multiplies_by_matrices: OnceLock<bool>,
    ceilings: Mutex<Option<Measured>>,
    #[cfg(test)]
    asked: for_tests::Asked,
}

/// What the driver reported outside of any call that could return it.
#[derive(Default)]
struct Health {
    lost: Option<String>,
    uncaptured: Option<GpuError>,
}

impl Gpu {
    /// The best adapter there is, or the one that `WGPU_BACKEND` and `WGPU_ADAPTER_NAME` name.
    ///
    /// # Errors
    /// [`GpuError::NoAdapter`], [`GpuError::NoSuchAdapter`] or [`GpuError::RequestDevice`];
    /// [`GpuError::UnknownBackend`], [`GpuError::BackendNotBuilt`] or [`GpuError::UnknownSwitch`] if an
    /// environment variable says what nobody knows.
    pub fn new() -> Result<Gpu, GpuError> {
        Gpu::with(&GpuOptions::default())
    }

    /// The adapter that `options` ask for.
    ///
    /// # Errors
    /// As for [`Gpu::new`].
    pub fn with(options: &GpuOptions) -> Result<Gpu, GpuError> {
        let mut options = options.clone();
        if options.tune.is_none() {
            options.tune = Some(Tune::from_env()?);
        }
        if options.cooperative_matrix.is_none() {
            options.cooperative_matrix = Some(CooperativeMatrix::from_env()?);
        }
        let options = &options;
        let candidates = choose(options)?;
        let mut tried = Vec::new();
        for adapter in &candidates.adapters {
            match open(adapter, options) {
                Ok(gpu) => return Ok(gpu),
                Err(message) => {
                    let adapter = AdapterSummary::of(adapter.0, &adapter.1).to_string();
                    if candidates.by_name {
                        return Err(GpuError::RequestDevice { adapter, message });
                    }
                    tried.push(format!("{adapter}: {message}"));
                }
            }
        }
        Err(candidates.none(tried))
    }

    /// All adapters, best first. The index of each is what [`AdapterChoice::Index`] takes.
    pub fn adapters() -> Vec<AdapterSummary> {
        let ranked = rank(&GpuOptions::default());
        ranked.iter().map(|(index, adapter)| AdapterSummary::of(*index, adapter)).collect()
    }

    /// The adapter in use.
    pub fn summary(&self) -> AdapterSummary {
        self.0.summary.clone()
    }

    /// The `wgpu` device.
    pub fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// The `wgpu` queue.
    pub fn queue(&self) -> &wgpu::Queue {
        #[cfg(test)]
        self.0.asked.queue();
        &self.0.queue
    }

    /// The limits of the device.
    pub fn limits(&self) -> &wgpu::Limits {
        &self.0.limits
    }

    /// The features that were asked for and given.
    pub fn features(&self) -> wgpu::Features {
        self.0.features
    }

    /// Whether the adapter is a software one.
    pub fn is_cpu(&self) -> bool {
        self.0.summary.device_type == wgpu::DeviceType::Cpu
    }

    /// How many invocations a subgroup has, if shaders may use subgroups and all are of one size.
    pub fn subgroup_size(&self) -> Option<u32> {
        let [least, most] = self.0.subgroup_sizes;
        (self.0.features.contains(wgpu::Features::SUBGROUP) && least == most).then_some(least)
    }

    /// How many invocations a subgroup has at least, if shaders may use subgroups.
    pub(crate) fn least_subgroup(&self) -> Option<u32> {
        let [least, _] = self.0.subgroup_sizes;
        self.0.features.contains(wgpu::Features::SUBGROUP).then_some(least)
    }

    /// How variables are filled.
    pub fn memory(&self) -> MemoryKind {
        self.0.memory
    }

    /// The most memory, in bytes, that staging buffers take.
    pub(crate) fn staging_bytes(&self) -> u64 {
        self.0.staging_bytes
    }

    /// The pipelines so far.
    pub(crate) fn made(&self) -> &Pipelines {
        &self.0.pipelines
    }

    /// What the driver keeps of pipelines between processes.
    pub(crate) fn driver_cache(&self) -> Option<&DriverCache> {
        self.0.driver_cache.as_ref()
    }

    /// Which kernels are best here.
    pub(crate) fn tuner(&self) -> &Tuner {
        &self.0.tuner
    }

    /// Whether `f16` become the right `f32` here, once that was tried.
    pub(crate) fn tried_f16(&self) -> &OnceLock<bool> {
        &self.0.widens_f16
    }

    /// The rows and columns of the cooperative matrices that shaders may have, if they may
    /// ([`GpuOptions::cooperative_matrix`]). Products of `f16` are computed by them once some have come
    /// out right.
    pub fn cooperative_matrix_size(&self) -> Option<u32> {
        self.0.cooperative
    }

    /// Whether what those compute is right, once that was tried.
    pub(crate) fn tried_matrices(&self) -> &OnceLock<bool> {
        &self.0.multiplies_by_matrices
    }

    /// What the adapter can do at best, once that was measured.
    pub(crate) fn known_ceilings(&self) -> &Mutex<Option<Measured>> {
        &self.0.ceilings
    }

    /// How long to wait for the device.
    pub(crate) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// Does something with the device and returns what `wgpu` reports about it as an error that
    /// says `what` was being done ("the buffer of the parameters").
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`], [`GpuError::Validation`], [`GpuError::Internal`], or
    /// [`GpuError::DeviceLost`], after which `make`'s result would be of no use.
    pub fn checked<T>(
        &self,
        what: &str,
        make: impl FnOnce(&wgpu::Device) -> T,
    ) -> Result<T, GpuError> {
        self.lost()?;
        let device = &self.0.device;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = make(device);
        let reported = [validation, internal, memory].map(|scope| pollster::block_on(scope.pop()));
        self.lost()?;
        // Running out of memory makes later calls invalid too: it is the cause, they are not.
        match reported.into_iter().rev().flatten().next() {
            Some(error) => Err(typed(what, error)),
            None => Ok(made),
        }
    }

    /// A buffer, or why there is none.
    pub(crate) fn buffer(
        &self,
        what: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, GpuError> {
        self.buffer_with(what, bytes, usage, false)
    }

    /// A buffer that the host writes, mapped from the start.
    pub(crate) fn mapped_buffer(
        &self,
        what: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, GpuError> {
        self.buffer_with(what, bytes, usage | wgpu::BufferUsages::MAP_WRITE, true)
    }

    /// A buffer that may be mapped from the start.
    pub(crate) fn buffer_with(
        &self,
        what: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
        mapped_at_creation: bool,
    ) -> Result<wgpu::Buffer, GpuError> {
        #[cfg(test)]
        self.0.asked.buffer(what, bytes, || self.taken().unwrap_or_default())?;
        let descriptor =
            wgpu::BufferDescriptor { label: Some(what), size: bytes, usage, mapped_at_creation };
        self.checked(what, |device| device.create_buffer(&descriptor)).map_err(
            |error| match error {
                GpuError::OutOfMemory { what, .. } => {
                    GpuError::OutOfMemory { what, bytes: Some(bytes) }
                }
                error => error,
            },
        )
    }

    /// Whether the other is the same device.
    pub(crate) fn is(&self, other: &Gpu) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What the driver reported since the last call outside of any call that returned it.
    ///
    /// # Errors
    /// [`GpuError::DeviceLost`], for good; or the first uncaptured error, once.
    pub fn healthy(&self) -> Result<(), GpuError> {
        self.lost()?;
        locked(&self.0.health).uncaptured.take().map_or(Ok(()), Err)
    }

    fn lost(&self) -> Result<(), GpuError> {
        match &locked(&self.0.health).lost {
            Some(reason) => Err(GpuError::DeviceLost { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Waits until a submission and all before it are done.
    ///
    /// # Errors
    /// [`GpuError::Timeout`] after [`GpuOptions::timeout`], [`GpuError::DeviceLost`], or an error
    /// the driver reported meanwhile.
    pub fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<(), GpuError> {
        self.poll(Some(submission), true)
    }

    /// The same for work that nobody asked for: what the driver reported meanwhile is left to whoever
    /// waits next.
    pub(crate) fn wait_alone(&self, submission: wgpu::SubmissionIndex) -> Result<(), GpuError> {
        self.poll(Some(submission), false)
    }

    /// Waits for all that was submitted, and for mappings.
    pub(crate) fn wait_all(&self) -> Result<(), GpuError> {
        self.poll(None, true)
    }

    fn poll(
        &self,
        submission_index: Option<wgpu::SubmissionIndex>,
        reported: bool,
    ) -> Result<(), GpuError> {
        #[cfg(test)]
        self.0.asked.wait();
        self.lost()?;
        let timeout = self.0.timeout;
        let poll = wgpu::PollType::Wait { submission_index, timeout: Some(timeout) };
        // `Device::poll` panics when the device is lost while it waits; that is an error like any
        // other here.
        let polled = catch_unwind(AssertUnwindSafe(|| self.0.device.poll(poll)));
        if reported { self.healthy() } else { self.lost() }?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(wgpu::PollError::Timeout)) => Err(GpuError::Timeout { after: timeout }),
            Ok(Err(error)) => Err(GpuError::Internal {
                what: "waiting for the device".to_owned(),
                message: error.to_string(),
            }),
            Err(_) => {
                let reason = "waiting for it failed".to_owned();
                locked(&self.0.health).lost = Some(reason.clone());
                Err(GpuError::DeviceLost { reason })
            }
        }
    }
}

fn open((index, adapter): &(usize, wgpu::Adapter), options: &GpuOptions) -> Result<Gpu, String> {
    let info = adapter.get_info();
    if let Some(lacking) = lacking(&adapter.limits()) {
        return Err(lacking);
    }
    let wanted = adapter.features() & wanted_features(&info);
    let choice = options.cooperative_matrix.unwrap_or(CooperativeMatrix::On);
    let _alone = opening();
    let request = wgpu::DeviceDescriptor {
        label: Some("warmstart"),
        required_features: wanted,
        required_limits: wanted_limits(&adapter.limits()),
        ..Default::default()
    };
    let ((device, queue), cooperative) =
        cooperative::request_device(adapter, request, choice).map_err(|error| error.to_string())?;
    let health = Arc::new(Mutex::new(Health::default()));
    let reports = health.clone();
    device.on_uncaptured_error(Arc::new(move |error| {
        let mut health = locked(&reports);
        health.uncaptured.get_or_insert_with(|| typed("a call outside of any error scope", error));
    }));
    let reports = health.clone();
    device.set_device_lost_callback(move |reason, message| {
        // `Destroyed` is what dropping the device says.
        let reason = if message.is_empty() { format!("{reason:?}") } else { message };
        locked(&reports).lost.get_or_insert(reason);
    });
    let cache = options.cache.clone().unwrap_or_else(CacheChoice::from_env);
    let driver_cache = DriverCache::open(&device, &info, &cache);
    let mappable = wanted.contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS);
    let memory = match options.memory {
        Some(MemoryKind::Staged) => MemoryKind::Staged,
        _ if mappable => MemoryKind::Mappable,
        _ => MemoryKind::Staged,
    };
    let tuned = (options.tune.unwrap_or(Tune::On), options.tune_budget);
    let inner = Inner {
        limits: device.limits(),
        features: device.features(),
        subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
        summary: AdapterSummary::of(*index, adapter),
        memory,
        staging_bytes: options.staging_bytes,
        timeout: options.timeout,
        health,
        pipelines: Pipelines::default(),
        driver_cache,
        widens_f16: OnceLock::new(),
        cooperative,
        multiplies_by_matrices: OnceLock::new(),
        ceilings: Mutex::default(),
        tuner: Tuner::new(tuned, &info, &cache),
        #[cfg(test)]
        asked: for_tests::Asked::default(),
        device,
        queue,
    };
    Ok(Gpu(Arc::new(Closing::new(inner))))
}

fn typed(what: &str, error: wgpu::Error) -> GpuError {
    let what = what.to_owned();
    match error {
        wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory { what, bytes: None },
        wgpu::Error::Validation { description, .. } => {
            GpuError::Validation { what, message: description.trim().to_owned() }
        }
        wgpu::Error::Internal { description, .. } => {
            GpuError::Internal { what, message: description.trim().to_owned() }
        }
    }
}

/// The part of a buffer that begins at `offset`, as a binding.
pub(crate) fn binding(buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer,
        offset,
        size: NonZeroU64::new(bytes),
    })
}

#[cfg(test)]
#[path = "for_tests.rs"]
mod for_tests;
#[cfg(test)]
pub(crate) use for_tests::{Count, Refused};

#[cfg(test)]
#[path = "gpu_tests.rs"]
mod tests;
