//! Compute pipelines: each made once, several at a time.
//!
//! Each is made once for a `Gpu`, by source and constants, and those of a plan on as many threads
//! as there are cores, and on two if there is one core: a driver may wait for a disk or for a process of
//! its own meanwhile. The first kernel's error is the one that is returned. Workgroup memory is
//! not zeroed: no kernel reads what it has not written. The compiler that comes with Windows does
//! not get to an end with the zeros of a product's tiles.

use crate::device::gpu::Gpu;
use crate::device::locked;
use crate::error::GpuError;
use std::collections::{HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The pipelines of a device so far.
#[derive(Default)]
pub(crate) struct Pipelines {
    known: Mutex<HashMap<Key, Arc<wgpu::ComputePipeline>>>,
    /// How many were new, each time that some were.
    #[cfg(test)]
    pub made_together: Mutex<Vec<usize>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    source: String,
    constants: Vec<(String, u64)>,
    layout: Vec<Binding>,
}

/// A storage buffer that a kernel binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Binding {
    pub read_only: bool,
    /// Whether a dispatch says where in the buffer it begins.
    pub has_dynamic_offset: bool,
}

/// A shader whose entry point is `main`, and values of its `override` constants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel<'a> {
    pub label: &'a str,
    pub source: &'a str,
    pub constants: &'a [(&'a str, f64)],
    /// What it binds, if any of that has a dynamic offset; `wgpu` reads all else from the source.
    pub layout: &'a [Binding],
}

impl Kernel<'_> {
    fn key(&self) -> Key {
        let constants = self.constants.iter().map(|(n, v)| ((*n).to_owned(), v.to_bits()));
        let (source, layout) = (self.source.to_owned(), self.layout.to_vec());
        Key { source, constants: constants.collect(), layout }
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
        let mut pipelines = self.pipelines(&[Kernel { label, source, constants, layout: &[] }])?;
        // One kernel, one pipeline.
        Ok(pipelines.swap_remove(0))
    }

    /// The pipelines of these kernels, in order. Those that are new are compiled by as many threads
    /// as there are cores, and two at least. Of several errors it is that of the first kernel.
    pub(crate) fn pipelines(
        &self,
        kernels: &[Kernel<'_>],
    ) -> Result<Vec<Arc<wgpu::ComputePipeline>>, GpuError> {
        self.pipelines_by(kernels, &|kernel| self.compile_kernel(kernel))
    }

    /// The same by some way to compile one.
    fn pipelines_by(
        &self,
        kernels: &[Kernel<'_>],
        compile: &(dyn Fn(&Kernel<'_>) -> Result<wgpu::ComputePipeline, GpuError> + Sync),
    ) -> Result<Vec<Arc<wgpu::ComputePipeline>>, GpuError> {
        let keys: Vec<Key> = kernels.iter().map(Kernel::key).collect();
        let mut missing = HashSet::new();
        let mut new: Vec<(&Key, Kernel<'_>)> = Vec::new();
        {
            let known = locked(&self.made().known);
            for (key, kernel) in keys.iter().zip(kernels) {
                if !known.contains_key(key) && missing.insert(key) {
                    new.push((key, *kernel));
                }
            }
        }
        // The lock is not held: several sessions may compile at once.
        // Error scopes belong to the thread that opens them: each kernel's errors are its own.
        let made = in_parallel(&new, |(_, kernel)| compile(kernel));
        #[cfg(test)]
        locked(&self.made().made_together).extend((!new.is_empty()).then_some(new.len()));
        let added = made.iter().any(Result::is_ok);
        let mut known = locked(&self.made().known);
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

    fn compile_kernel(&self, kernel: &Kernel<'_>) -> Result<wgpu::ComputePipeline, GpuError> {
        let Kernel { label, source, constants, layout } = *kernel;
        self.checked(&format!("the pipeline of kernel {label}"), |device| {
            let layout = (!layout.is_empty()).then(|| {
                let bindings = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                    label: Some(label),
                    entries: &layout_entries(layout),
                });
                device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: Some(label),
                    bind_group_layouts: &[Some(&bindings)],
                    ..Default::default()
                })
            });
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(label),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(label),
                layout: layout.as_ref(),
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

/// What is made of each of these, in order, by as many threads as there are cores, and by two at least.
fn in_parallel<T: Sync, R: Send>(items: &[T], make: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return made };
            made.push((at, make(item)));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).max(2);
    let mut made = thread::scope(|scope| {
        // Where the system gives no thread, there is one fewer.
        let helpers: Vec<_> = (1..items.len().min(threads))
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

/// The entries of a layout that binds these, from binding 0 on.
fn layout_entries(bindings: &[Binding]) -> Vec<wgpu::BindGroupLayoutEntry> {
    let entry =
        |(binding, &Binding { read_only, has_dynamic_offset })| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only },
                has_dynamic_offset,
                min_binding_size: None,
            },
            count: None,
        };
    (0..).zip(bindings).map(entry).collect()
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
    use crate::device::gpu::GpuOptions;
    use crate::session::Session;
    use crate::tune::Tune;
    use std::sync::Condvar;
    use std::time::Duration;
    use warmstart_graph::{DType, Graph};

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

    /// Where two have to be for either to go on.
    #[derive(Default)]
    struct Meeting {
        count: Mutex<usize>,
        came: Condvar,
    }

    impl Meeting {
        /// Waits until two have come. False if nobody else does: then the failure says so.
        fn meet(&self) -> bool {
            let mut count = locked(&self.count);
            *count += 1;
            self.came.notify_all();
            let within = Duration::from_secs(30);
            let waited = self.came.wait_timeout_while(count, within, |count| *count < 2);
            *waited.unwrap().0 >= 2
        }
    }

    /// On one core too.
    #[test]
    fn two_kernels_are_compiled_at_once() {
        let gpu = Gpu::new().unwrap();
        let sources: Vec<String> = (0..3).map(|i| source(&format!("x[{i}] = n;"))).collect();
        let kernel = |source| Kernel { label: "store", source, constants: &[], layout: &[] };
        let kernels: Vec<Kernel<'_>> = sources.iter().map(|source| kernel(source)).collect();
        let meeting = Meeting::default();
        let compile = |kernel: &Kernel<'_>| {
            assert!(meeting.meet(), "the first kernel is compiled before the second is begun");
            gpu.compile_kernel(kernel)
        };
        assert_eq!(gpu.pipelines_by(&kernels, &compile).unwrap().len(), 3);
    }

    /// A plan asks for all of its pipelines together.
    #[test]
    fn the_kernels_of_a_plan_are_compiled_together() {
        // The tuner compiles one after the other.
        let options = GpuOptions { tune: Some(Tune::Off), ..Default::default() };
        let gpu = Gpu::with(&options).unwrap();
        let graph = Graph::new();
        let x = graph.placeholder("x", [8, 8], DType::F32);
        let fetches = [x.matmul(x), x.softmax(), x.sum_all()];
        let plan = Session::new(&gpu).compile(&graph, &fetches, &[]).unwrap();
        assert_eq!(plan.dispatches().len(), 3);
        assert_eq!(*locked(&gpu.made().made_together), [3]);
    }

    #[test]
    fn many_kernels_come_in_their_order_and_equal_ones_once() {
        let gpu = Gpu::new().unwrap();
        let sources: Vec<String> = (0..12).map(|i| source(&format!("x[{i}] = n;"))).collect();
        let order: Vec<usize> = (0..40).map(|at| at * 7 % 12).collect();
        let kernels: Vec<Kernel<'_>> = order
            .iter()
            .map(|&i| Kernel {
                label: "store",
                source: &sources[i],
                constants: &[("n", 3.0)],
                layout: &[],
            })
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
            .map(|(label, source)| Kernel { label, source, constants: &[], layout: &[] })
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
