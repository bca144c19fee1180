//! Which adapters there are, which is best, and what to say when there is none.

use crate::device::closing::opening;
use crate::device::gpu::GpuOptions;
use crate::error::GpuError;
use std::{env, fmt};

/// Which adapter to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The best one whose name contains this, in upper or lower case.
    Name(String),
    /// The one at this index of [`Gpu::adapters`](crate::Gpu::adapters), or, with
    /// [`GpuOptions::backends`], among the adapters of those.
    Index(usize),
}

/// What an adapter says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSummary {
    /// Its index in [`Gpu::adapters`](crate::Gpu::adapters), 0 being the best; of one that was opened
    /// with [`GpuOptions::backends`], among the adapters of those.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// The backend it is reached through.
    pub backend: wgpu::Backend,
    /// What kind of device it is.
    pub device_type: wgpu::DeviceType,
    /// The driver and its version.
    pub driver: String,
    /// What it can do, asked for or not; [`Gpu::features`](crate::Gpu::features) is what is used.
    pub features: wgpu::Features,
}

impl AdapterSummary {
    pub(crate) fn of(index: usize, adapter: &wgpu::Adapter) -> AdapterSummary {
        let info = adapter.get_info();
        // "llvmpipe" as driver of the adapter "llvmpipe (LLVM 15)" says nothing new.
        let driver = match (info.driver.as_str(), info.driver_info.as_str()) {
            (driver, "") => driver.to_owned(),
            (driver, version) if info.name.contains(driver) => version.to_owned(),
            (driver, version) => format!("{driver} {version}"),
        };
        AdapterSummary {
            index,
            name: info.name.clone(),
            backend: info.backend,
            device_type: info.device_type,
            driver,
            features: adapter.features(),
        }
    }
}

impl fmt::Display for AdapterSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend = match self.backend {
            wgpu::Backend::Noop => "no-op",
            wgpu::Backend::Vulkan => "Vulkan",
            wgpu::Backend::Metal => "Metal",
            wgpu::Backend::Dx12 => "DX12",
            wgpu::Backend::Gl => "OpenGL",
            wgpu::Backend::BrowserWebGpu => "WebGPU",
        };
        let kind = match self.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete GPU",
            wgpu::DeviceType::IntegratedGpu => "integrated GPU",
            wgpu::DeviceType::VirtualGpu => "virtual GPU",
            wgpu::DeviceType::Cpu => "CPU",
            wgpu::DeviceType::Other => "other device",
        };
        write!(f, "{} · {backend} · {kind}", self.name)?;
        if self.driver.is_empty() { Ok(()) } else { write!(f, " · {}", self.driver) }
    }
}

/// The adapters to try, in this order.
pub(crate) struct Candidates {
    /// Each with its index among all.
    pub adapters: Vec<(usize, wgpu::Adapter)>,
    /// Whether the user named the adapter, so that another one will not do.
    pub by_name: bool,
    backends: wgpu::Backends,
}

impl Candidates {
    /// The error when none of them gave a device.
    pub fn none(&self, tried: Vec<String>) -> GpuError {
        let names: Vec<String> =
            self.backends.iter_names().map(|(name, _)| name.to_lowercase()).collect();
        let looked_for = match names.as_slice() {
            [] => "no backend (the choice of backends is empty)".to_owned(),
            names => format!("{} adapters", names.join(", ")),
        };
        let value = |name| Some((name, std::env::var_os(name)?.to_string_lossy().into_owned()));
        let set: Vec<(&str, String)> = NARROWING.into_iter().filter_map(value).collect();
        GpuError::NoAdapter { looked_for, tried, install: install_hint(&set) }
    }
}

/// The names that `WGPU_BACKEND` may hold, as `wgpu` knows them.
const BACKENDS: [&str; 11] =
    ["vulkan", "vk", "dx12", "d3d12", "metal", "mtl", "opengl", "gles", "gl", "webgpu", "noop"];

/// What `WGPU_BACKEND` says, if it says something.
fn backend_variable() -> Option<String> {
    env::var("WGPU_BACKEND").ok().filter(|value| words(value).next().is_some())
}

/// What lies between commas, unless it is nothing.
fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// Refuses a `WGPU_BACKEND` with names that nobody knows, which `wgpu` passes over, and one that
/// names nothing that is in this build: both would look as if there were no adapter.
fn check_backends(value: &str) -> Result<(), GpuError> {
    let built = wgpu::Instance::enabled_backend_features();
    let names = || built.iter_names().map(|(name, _)| name.to_lowercase()).collect();
    let known = |word: &&str| BACKENDS.contains(&word.to_lowercase().as_str());
    if let Some(unknown) = words(value).find(|word| !known(word)) {
        return Err(GpuError::UnknownBackend { unknown: unknown.to_owned(), built: names() });
    }
    if (wgpu::Backends::from_comma_list(value) & built).is_empty() {
        return Err(GpuError::BackendNotBuilt { wanted: value.to_owned(), built: names() });
    }
    Ok(())
}

fn backends(options: &GpuOptions) -> wgpu::Backends {
    let said = || Some(wgpu::Backends::from_comma_list(&backend_variable()?));
    let wanted = options.backends.or_else(said);
    let built = wgpu::Instance::enabled_backend_features();
    wanted.unwrap_or(wgpu::Backends::all()) & built
}

/// All adapters with their indices, best first: a discrete GPU before an integrated one, hardware
/// before software.
pub(crate) fn rank(options: &GpuOptions) -> Vec<(usize, wgpu::Adapter)> {
    let backends = backends(options);
    if backends.is_empty() {
        return Vec::new();
    }
    let _alone = opening();
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    // With it builds for debugging name objects for the driver, as `WGPU_DEBUG=1` asks for (closing.rs).
    // Validation layers would print what they find to the standard output then.
    descriptor.flags.remove(wgpu::InstanceFlags::DEBUG | wgpu::InstanceFlags::VALIDATION);
    let mut descriptor = descriptor.with_env();
    descriptor.backends = backends;
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
    adapters.retain(|adapter| {
        let flags = adapter.get_downlevel_capabilities().flags;
        flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
    });
    // The sort is stable: among equals the order is the driver's.
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    adapters.into_iter().enumerate().collect()
}

/// The adapters that fit what the options or the environment ask for.
pub(crate) fn choose(options: &GpuOptions) -> Result<Candidates, GpuError> {
    if let (None, Some(value)) = (options.backends, backend_variable()) {
        check_backends(&value)?;
    }
    let (choice, asker) = match &options.adapter {
        Some(choice) => (Some(choice.clone()), ""),
        None => match env::var("WGPU_ADAPTER_NAME") {
            Ok(name) if !name.is_empty() => {
                (Some(AdapterChoice::Name(name)), " (from WGPU_ADAPTER_NAME)")
            }
            _ => (None, ""),
        },
    };
    let adapters = rank(options);
    let backends = backends(options);
    let found = Candidates { adapters, by_name: choice.is_some(), backends };
    let (Some(choice), false) = (choice, found.adapters.is_empty()) else {
        return Ok(found);
    };
    let fits = |(index, adapter): &&(usize, wgpu::Adapter)| match &choice {
        AdapterChoice::Name(part) => {
            adapter.get_info().name.to_lowercase().contains(&part.to_lowercase())
        }
        AdapterChoice::Index(wanted) => index == wanted,
    };
    match found.adapters.iter().find(fits) {
        Some(adapter) => Ok(Candidates { adapters: vec![adapter.clone()], ..found }),
        None => Err(GpuError::NoSuchAdapter {
            wanted: match &choice {
                AdapterChoice::Name(part) => format!("the name \"{part}\"{asker}"),
                AdapterChoice::Index(index) => format!("index {index}"),
            },
            available: found
                .adapters
                .iter()
                .map(|(index, a)| format!("{index}: {}", AdapterSummary::of(*index, a)))
                .collect(),
        }),
    }
}

/// What says where to look for an adapter, and for nothing else.
const NARROWING: [&str; 4] =
    ["WGPU_BACKEND", "WGPU_ADAPTER_NAME", "VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// How to get an adapter on this operating system, where these variables are set.
fn install_hint(set: &[(&str, String)]) -> String {
    let hint = if cfg!(target_os = "linux") {
        "Install a Vulkan driver; a software one that runs everywhere is, on Debian and Ubuntu, \
         `apt-get install mesa-vulkan-drivers libvulkan1`, on Fedora `dnf install \
         mesa-vulkan-drivers vulkan-loader`, on Arch `pacman -S vulkan-swrast vulkan-icd-loader`"
    } else if cfg!(target_os = "macos") {
        "Metal comes with macOS: check that this process may use the GPU (a virtual machine may \
         not)"
    } else if cfg!(windows) {
        "Install your graphics card's current driver; DX12's software adapter (WARP) comes with \
         Windows 10 and later"
    } else {
        "Install a Vulkan driver, such as Mesa's"
    };
    let set: Vec<String> = set.iter().map(|(name, value)| format!("{name} is `{value}`")).collect();
    match set.is_empty() {
        // The loader looks in a few folders only.
        true if cfg!(target_os = "linux") => format!(
            "{hint}. A driver that is installed elsewhere is found if VK_DRIVER_FILES has the path \
             of its `.json` file"
        ),
        true => hint.to_owned(),
        false => format!(
            "{hint}. If there is one, correct or unset what keeps it from being found: {}",
            set.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_that_nobody_knows_are_named() {
        let built = wgpu::Instance::enabled_backend_features();
        let (here, _) = built.iter_names().next().unwrap();
        for known in
            [here.to_owned(), here.to_lowercase(), format!(" ,{here}"), format!("gl,{here}")]
        {
            check_backends(&known).unwrap();
        }
        // As wgpu knows them.
        for known in BACKENDS {
            assert!(!wgpu::Backends::from_comma_list(known).is_empty(), "{known}");
        }
        let error = check_backends("gl, foo").unwrap_err().to_string();
        assert!(error.contains("`foo`") && error.contains("unset"), "{error}");
    }

    #[test]
    fn what_narrows_the_search_is_named() {
        let hint = install_hint(&[]);
        assert!(!cfg!(target_os = "linux") || hint.contains("if VK_DRIVER_FILES has"), "{hint}");
        let set = [("VK_DRIVER_FILES", "/gone.json".to_owned()), ("WGPU_BACKEND", "gl".to_owned())];
        let hint = install_hint(&set);
        assert!(hint.ends_with("VK_DRIVER_FILES is `/gone.json`, WGPU_BACKEND is `gl`"), "{hint}");
    }

    #[test]
    fn backends_that_are_not_in_this_build_are_named() {
        // This crate asks wgpu for it nowhere.
        let error = check_backends("gl").unwrap_err().to_string();
        assert!(error.contains("`gl`") && error.contains("it has "), "{error}");
    }
}
