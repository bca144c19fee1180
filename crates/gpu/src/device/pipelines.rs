//! Compute pipelines: each made once, several at a time.
//!
//! Each is made once for a `Gpu`, by source and constants, and those of a plan on as many threads
//! as there are cores; the first kernel's error is the one that is returned. Workgroup memory is
//! not zeroed: no kernel reads what it has not written. The compiler that comes with Windows does
//! not get to an end with the zeros of a product's tiles.

use crate::device::gpu::{Gpu, locked};
use crate::error::GpuError;
use std::collections::{HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The pipelines of a device so far.
#[derive(Default)]
pub(crate) struct Pipelines(Mutex<HashMap<Key, Arc<wgpu::ComputePipeline>>>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    source: String,
    constants: Vec<(String, u64)>,
}

/// A shader whose entry point is `main`, and values of its `override` constants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel<'a> {
    pub label: &'a str,
    pub source: &'a str,
    pub constants: &'a [(&'a str, f64)],
}

impl Kernel<'_> {
    fn key(&self) -> Key {
        let constants = self.constants.iter().map(|(n, v)| ((*n).to_owned(), v.to_bits()));
        Key { source: self.source.to_owned(), constants: constants.collect() }
    }
}

impl Gpu {
    /// The compute pipeline of a shader's entry point `main` under the given `override` constants,
    /// compiled on first use.
    ///
    /// # Errors
    /// As for [`Gpu::checked`].
    pub fn pipeline(
        &self,
        label: &str,
        source: &str,
        constants: &[(&str, f64)],
    ) -> Result<Arc<wgpu::ComputePipeline>, GpuError> {
        let mut pipelines = self.pipelines(&[Kernel { label, source, constants }])?;
        // One kernel, one pipeline.
        Ok(pipelines.swap_remove(0))
    }

    /// The pipelines of these kernels, in order. Those that are new are compiled by as many threads
    /// as there are cores. Of several errors it is that of the first kernel.
    pub(crate) fn pipelines(
        &self,
        kernels: &[Kernel<'_>],
    ) -> Result<Vec<Arc<wgpu::ComputePipeline>>, GpuError> {
        let keys: Vec<Key> = kernels.iter().map(Kernel::key).collect();
        let mut missing = HashSet::new();
        let mut new: Vec<(&Key, Kernel<'_>)> = Vec::new();
        {
            let known = locked(&self.made().0);
            for (key, kernel) in keys.iter().zip(kernels) {
                if !known.contains_key(key) && missing.insert(key) {
                    new.push((key, *kernel));
                }
            }
        }
        // The lock is not held: several sessions may compile at once.
        let made = self.compile_all(&new);
        let added = made.iter().any(Result::is_ok);
        let mut known = locked(&self.made().0);
        let mut failed = None;
        for ((key, _), result) in new.iter().zip(made) {
            match result {
                Ok(pipeline) => {
                    known.entry((*key).clone()).or_insert_with(|| Arc::new(pipeline));
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let all: Vec<_> = keys.iter().filter_map(|key| known.get(key).cloned()).collect();
        drop(known);
        if let Some(cache) = self.driver_cache().filter(|_| added) {
            cache.save();
        }
        failed.map_or(Ok(all), Err)
    }

    fn compile_all(
        &self,
        kernels: &[(&Key, Kernel<'_>)],
    ) -> Vec<Result<wgpu::ComputePipeline, GpuError>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut made = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((_, kernel)) = kernels.get(at) else { return made };
                // Error scopes belong to the thread that opens them: each kernel's errors are its
                // own.
                made.push((at, self.compile_kernel(kernel)));
            }
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut made = thread::scope(|scope| {
            // Where the system gives no thread, there is one fewer.
            let helpers: Vec<_> = (1..kernels.len().min(cores))
                .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let mut made = work();
            for helper in helpers {
                made.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            made
        });
        made.sort_by_key(|(at, _)| *at);
        made.into_iter().map(|(_, result)| result).collect()
    }

    fn compile_kernel(&self, kernel: &Kernel<'_>) -> Result<wgpu::ComputePipeline, GpuError> {
        let Kernel { label, source, constants } = *kernel;
        self.checked(&format!("the pipeline of kernel {label}"), |device| {
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(label),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(label),
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants,
                    zero_initialize_workgroup_memory: ZEROED_WORKGROUP_MEMORY,
                },
                cache: self.driver_cache().map(|cache| cache.cache()),
            })
        })
    }
}

/// Whether workgroup memory is filled with zeros before a kernel begins. No kernel reads what it has not
/// written, and Windows' own compiler of HLSL does not get to an end with the zeros of a product's tiles.
pub(crate) const ZEROED_WORKGROUP_MEMORY: bool = false;

/// What a bind group binds, from binding 0 on.
pub(crate) fn bind_group_entries<'a>(
    resources: impl IntoIterator<Item = wgpu::BindingResource<'a>>,
) -> Vec<wgpu::BindGroupEntry<'a>> {
    (0..)
        .zip(resources)
        .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(body: &str) -> String {
        format!(
            "override n: u32 = 1; @group(0) @binding(0) var<storage, read_write> x: array<u32>; \
             @compute @workgroup_size(1) fn main() {{ {body} }}"
        )
    }

    #[test]
    fn pipelines_are_compiled_once_for_each_set_of_constants() {
        let gpu = Gpu::new().unwrap();
        let source = source("x[0] = n;");
        let one = gpu.pipeline("n", &source, &[("n", 1.0)]).unwrap();
        assert!(Arc::ptr_eq(&one, &gpu.pipeline("n", &source, &[("n", 1.0)]).unwrap()));
        assert!(!Arc::ptr_eq(&one, &gpu.pipeline("n", &source, &[("n", 2.0)]).unwrap()));
    }

    #[test]
    fn many_kernels_come_in_their_order_and_equal_ones_once() {
        let gpu = Gpu::new().unwrap();
        let sources: Vec<String> = (0..12).map(|i| source(&format!("x[{i}] = n;"))).collect();
        let order: Vec<usize> = (0..40).map(|at| at * 7 % 12).collect();
        let kernels: Vec<Kernel<'_>> = order
            .iter()
            .map(|&i| Kernel { label: "store", source: &sources[i], constants: &[("n", 3.0)] })
            .collect();
        let pipelines = gpu.pipelines(&kernels).unwrap();
        assert_eq!(pipelines.len(), order.len());
        for (pipeline, &i) in pipelines.iter().zip(&order) {
            let alone = gpu.pipeline("store", &sources[i], &[("n", 3.0)]).unwrap();
            assert!(Arc::ptr_eq(pipeline, &alone));
        }
        assert!(gpu.pipelines(&[]).unwrap().is_empty());
    }

    #[test]
    fn of_several_errors_it_is_the_first_kernels_and_it_names_it() {
        let gpu = Gpu::new().unwrap();
        let sources: Vec<String> = (0..16)
            .map(|i| source(&format!("x[{i}] = {};", ["n", "nothing"][i % 3 / 2])))
            .collect();
        let labels: Vec<String> = (0..16).map(|i| format!("kernel {i}")).collect();
        let kernels: Vec<Kernel<'_>> = labels
            .iter()
            .zip(&sources)
            .map(|(label, source)| Kernel { label, source, constants: &[] })
            .collect();
        for _ in 0..4 {
            let error = gpu.pipelines(&kernels).unwrap_err();
            assert!(matches!(error, GpuError::Validation { .. }), "{error}");
            assert!(error.to_string().contains("kernel kernel 2:"), "{error}");
        }
        gpu.healthy().unwrap();
        // Those without a fault are there.
        gpu.pipelines(&kernels[..2]).unwrap();
    }
}
