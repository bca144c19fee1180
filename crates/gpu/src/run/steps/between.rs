//! The kernel that runs between two steps.
//!
//! It copies the next step's rows into the placeholders' buffers, which the plan reads as if they
//! had been fed, and puts the scalars that the step before has fetched into a ring that is read
//! back at the end. Which rows and which place in the ring, dynamic offsets of its bindings say. Its pipeline
//! is one of the device's like any other: plans and data sets for which its text is the same share it.

use crate::compile::literal;
use crate::device::gpu::{Gpu, binding};
use crate::device::pipelines::{self, Binding, bind_group_entries};
use crate::error::GpuError;
use crate::plan::{DispatchInfo, Feed, Fetch, Plan};
use crate::run::dataset::{DeviceColumn, DeviceDataset, Stored};
use std::fmt::Write as _;
use std::sync::Arc;
use warmstart_graph::DType;
use warmstart_shaders as shaders;

/// One thing that is done between two steps.
#[derive(Clone, Copy)]
enum Task<'a> {
    /// Rows of a column, taken so, become what a placeholder is fed.
    Gather(&'a DeviceColumn, Stored, &'a Feed),
    /// A scalar is kept at this place among those of its step.
    Keep(&'a Fetch, usize),
}

impl Task<'_> {
    fn bindings(&self) -> usize {
        match self {
            Task::Gather(..) => 2,
            Task::Keep(..) => 1,
        }
    }

    /// What it does, for people.
    fn described(&self) -> String {
        match self {
            Task::Gather(column, ..) => format!("gather {}", column.name),
            Task::Keep(..) => "keep scalar".to_owned(),
        }
    }

    /// Bytes that it moves for a batch, each once: of a column those of the rows that are taken.
    fn bytes(&self, batch: usize) -> u64 {
        match self {
            Task::Gather(column, _, feed) => {
                (batch * column.width * column.stored.dtype().size()) as u64 + feed.bytes
            }
            Task::Keep(..) => 8,
        }
    }

    /// Buffer, offset and bytes of each of them.
    fn buffers(&self) -> Vec<(wgpu::Buffer, u64, u64)> {
        let whole = |buffer: &wgpu::Buffer| (buffer.clone(), 0, buffer.size());
        match self {
            Task::Gather(column, _, feed) => vec![whole(&column.buffer), whole(&feed.buffer)],
            Task::Keep(fetch, _) => vec![(fetch.buffer.clone(), fetch.from, 4)],
        }
    }
}

/// The compiled kernels of a plan and a data set: one, unless the device allows it too few buffers.
#[derive(Clone)]
pub(super) struct Kernels {
    list: Vec<Kernel>,
    scalars: usize,
}

#[derive(Clone)]
struct Kernel {
    pipeline: Arc<wgpu::ComputePipeline>,
    /// All but the rows and the ring, which are the first two where they are bound.
    buffers: Vec<(wgpu::Buffer, u64, u64)>,
    gathers: bool,
    keeps: bool,
    info: DispatchInfo,
}

/// A kernel with its buffers.
pub(super) struct Between {
    pipeline: Arc<wgpu::ComputePipeline>,
    bind_group: wgpu::BindGroup,
    gathers: bool,
    keeps: bool,
    pub info: DispatchInfo,
}

impl Between {
    /// Whether it has something to do before the step of this number: before the first there is nothing
    /// to keep.
    pub fn is_before(&self, step: u64) -> bool {
        step > 0 || self.gathers
    }

    /// Before a step whose rows and whose place in the ring begin at `at`.
    pub fn dispatch(&self, pass: &mut wgpu::ComputePass<'_>, at: [u64; 2]) {
        // Both buffers are at most a binding, which `u32` counts.
        let mut offsets = [0; 2];
        let bound = [self.gathers, self.keeps];
        let used = at.iter().zip(bound).filter(|(_, bound)| *bound);
        let count = used.zip(&mut offsets).map(|((at, _), offset)| *offset = *at as u32).count();
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &offsets[..count]);
        let [x, y, z] = self.info.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}

impl Kernels {
    /// Compiles what is done between two steps of a plan.
    pub fn new(
        plan: &Plan,
        data: Option<&DeviceDataset>,
        batch: usize,
    ) -> Result<Kernels, GpuError> {
        let most = plan.gpu.limits().max_storage_buffers_per_shader_stage as usize;
        let tasks = tasks(plan, data);
        let needs: Vec<usize> = tasks.iter().map(Task::bindings).collect();
        let mut rest = &tasks[..];
        let mut list = Vec::new();
        for count in shared(&needs, most) {
            let (now, later) = rest.split_at(count);
            list.push(Kernel::new(&plan.gpu, now, batch)?);
            rest = later;
        }
        Ok(Kernels { list, scalars: plan.fetches.scalars().count() })
    }

    /// How many scalars are kept of each step.
    pub fn scalars(&self) -> usize {
        self.scalars
    }

    /// Binds the kernels' buffers; a step has `rows_bytes` of rows.
    pub fn bind(
        &self,
        gpu: &Gpu,
        rows: Option<&wgpu::Buffer>,
        rows_bytes: u64,
        ring: Option<&wgpu::Buffer>,
    ) -> Result<Vec<Between>, GpuError> {
        let bind = |kernel: &Kernel| {
            let rows = rows.filter(|_| kernel.gathers).map(|rows| binding(rows, 0, rows_bytes));
            let kept = self.scalars as u64 * 4;
            let ring = ring.filter(|_| kernel.keeps).map(|ring| binding(ring, 0, kept));
            let others = kernel.buffers.iter();
            let resources = rows
                .into_iter()
                .chain(ring)
                .chain(others.map(|(buffer, offset, bytes)| binding(buffer, *offset, *bytes)));
            let bind_group = gpu.checked("the bind group between steps", |device| {
                device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: Some("between"),
                    layout: &kernel.pipeline.get_bind_group_layout(0),
                    entries: &bind_group_entries(resources),
                })
            })?;
            let Kernel { pipeline, gathers, keeps, info, .. } = kernel.clone();
            Ok(Between { pipeline, bind_group, gathers, keeps, info })
        };
        self.list.iter().map(bind).collect()
    }
}

/// All that is done between two steps of a plan.
fn tasks<'a>(plan: &'a Plan, data: Option<&'a DeviceDataset>) -> Vec<Task<'a>> {
    let gathers = plan.feeds.iter().filter_map(|feed| {
        let column = data.and_then(|data| data.column(&feed.name))?;
        Some(Task::Gather(column, column.stored.taken_as(feed.dtype)?, feed))
    });
    let keeps = plan.fetches.scalars().enumerate().map(|(at, fetch)| Task::Keep(fetch, at));
    gathers.chain(keeps).collect()
}

/// How many tasks, in order, each kernel does that binds at most so many buffers: those that they
/// need, the rows and the ring. Any device allows those of one task.
fn shared(needs: &[usize], most: usize) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut bound = most;
    for need in needs {
        bound += need;
        match counts.last_mut() {
            Some(count) if bound <= most => *count += 1,
            _ => {
                counts.push(1);
                bound = 2 + need;
            }
        }
    }
    counts
}

/// A kernel's source being written.
#[derive(Default)]
struct Source {
    declarations: String,
    functions: String,
    body: String,
    /// What is bound. Offsets that are given later are the step's.
    layout: Vec<Binding>,
    /// Invocations so far.
    count: u64,
    gathers: bool,
    keeps: bool,
}

impl Source {
    fn of(tasks: &[Task<'_>], batch: usize) -> Source {
        let gathers = tasks.iter().any(|task| matches!(task, Task::Gather(..)));
        let keeps = tasks.iter().any(|task| matches!(task, Task::Keep(..)));
        let mut source = Source { gathers, keeps, ..Source::default() };
        if gathers {
            source.declare("rows", "u32", true, true);
        }
        if keeps {
            source.declare("ring", "u32", false, true);
        }
        for (number, task) in tasks.iter().enumerate() {
            match *task {
                Task::Gather(column, taken, _) => {
                    source.gather(number, (column.width, taken), batch)
                }
                Task::Keep(_, at) => {
                    source.declare(&format!("scalar{number}"), "u32", true, false);
                    source.act(1, &format!("ring[e + {at}u] = scalar{number}[0];"));
                }
            }
        }
        source
    }

    fn text(&self) -> String {
        let between = format!("{}fn between(i: u32) {{\n{}}}\n", self.functions, self.body);
        let sections = [("bindings", self.declarations.clone()), ("between", between)];
        shaders::fill(&[shaders::FUNCTIONS, shaders::BETWEEN].concat(), &sections)
    }

    fn declare(&mut self, name: &str, element: &str, read_only: bool, has_dynamic_offset: bool) {
        let at = self.layout.len();
        let access = if read_only { "read" } else { "read_write" };
        let _ = writeln!(
            self.declarations,
            "@group(0) @binding({at}) var<storage, {access}> {name}: array<{element}>;"
        );
        self.layout.push(Binding { read_only, has_dynamic_offset });
    }

    /// `count` invocations that each do `act`, in which `e` counts them.
    fn act(&mut self, count: u64, act: &str) {
        let (start, end) = (self.count, self.count + count);
        let _ = writeln!(
            self.body,
            "    if (i < {end}u) {{\n        let e = i - {start}u;\n        {act}\n        return;\n    }}"
        );
        self.count = end;
    }

    /// Invocation by invocation, four elements at once where rows are whole vectors.
    fn gather(&mut self, number: usize, (width, taken): (usize, Stored), batch: usize) {
        let elements = (batch * width) as u64;
        let row = |width: usize| {
            let index = if width == 1 {
                "rows[e]".to_owned()
            } else {
                format!("rows[e / {width}u] * {width}u + e % {width}u")
            };
            format!("let at = {index};")
        };
        let (from, to) = (format!("column{number}"), format!("batch{number}"));
        let quads = width.is_multiple_of(4);
        let (count, wide) = if quads { (elements / 4, width / 4) } else { (elements, width) };
        match taken {
            // Several elements share a word: those of a batch are packed anew.
            Stored::Elements(dtype) if dtype.is_narrow() => {
                self.declare(&from, "u32", true, false);
                self.declare(&to, "u32", false, false);
                if dtype == DType::U8 && quads {
                    self.act(count, &format!("{}\n        {to}[e] = {from}[at];", row(wide)));
                    return;
                }
                let row = row(width);
                let together = 4 / dtype.size() as u64;
                let bits = 32 / together;
                let mask = (1u64 << bits) - 1;
                // The last word's later elements may be beyond the batch.
                let _ = writeln!(
                    self.functions,
                    "fn narrow{number}(e: u32) -> u32 {{\n    if (e >= {elements}u) {{\n        \
                        return 0u;\n    }}\n    {row}\n    \
                        return ({from}[at / {together}u] >> ({bits}u * (at % {together}u))) & {mask:#x}u;\n}}"
                );
                let parts = (0..together).map(|part| {
                    let shift = bits * part;
                    format!("(narrow{number}({together}u * e + {part}u) << {shift}u)")
                });
                let word = parts.collect::<Vec<_>>().join(" | ");
                self.act(elements.div_ceil(together), &format!("{to}[e] = {word};"));
            }
            Stored::Elements(_) => {
                let element = if quads { "vec4<u32>" } else { "u32" };
                self.declare(&from, element, true, false);
                self.declare(&to, element, false, false);
                self.act(count, &format!("{}\n        {to}[e] = {from}[at];", row(wide)));
            }
            Stored::Bytes { scale } => {
                let scale = literal(DType::F32, scale.into());
                self.declare(&from, "u32", true, false);
                let (element, value) = if quads {
                    let bytes = shaders::four_bytes(&format!("{from}[at]"));
                    ("vec4<f32>", format!("vec4<f32>({bytes})"))
                } else {
                    ("f32", format!("f32({})", shaders::byte(&from, "at")))
                };
                self.declare(&to, element, false, false);
                self.act(count, &format!("{}\n        {to}[e] = {value} * {scale};", row(wide)));
            }
        }
    }
}

impl Kernel {
    fn new(gpu: &Gpu, tasks: &[Task<'_>], batch: usize) -> Result<Kernel, GpuError> {
        let source = Source::of(tasks, batch);
        let buffers = tasks.iter().flat_map(|task| task.buffers()).collect();
        let groups = source.count.div_ceil(64);
        let limit = u64::from(gpu.limits().max_compute_workgroups_per_dimension);
        let high = groups.div_ceil(limit);
        let workgroups = [groups.div_ceil(high.max(1)) as u32, high as u32, 1];
        let text = source.text();
        let Source { layout, gathers, keeps, .. } = source;
        let (label, constants) = ("between", &[]);
        let kernel = pipelines::Kernel { label, source: &text, constants, layout: &layout };
        let mut made = gpu.pipelines(&[kernel])?;
        // One kernel, one pipeline.
        let pipeline = made.swap_remove(0);
        let rows = if gathers { 4 * batch as u64 } else { 0 };
        let info = DispatchInfo {
            operations: tasks.iter().map(Task::described).collect::<Vec<_>>().join(", "),
            kernel: label,
            workgroups,
            bytes: rows + tasks.iter().map(|task| task.bytes(batch)).sum::<u64>(),
            arithmetic: 0,
        };
        Ok(Kernel { pipeline, buffers, gathers, keeps, info })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::translation_tests::translate;
    use crate::run::dataset::Column;
    use crate::session::Session;
    use half::f16;
    use warmstart_graph::Graph;

    /// As other devices get them: of all kinds of columns.
    #[test]
    fn kernels_are_translated() {
        let gpu = Gpu::new().unwrap();
        let graph = Graph::new();
        let placeholder = |name, width, dtype| graph.placeholder(name, [3, width], dtype);
        let wide = placeholder("wide", 8, DType::F32) * placeholder("bytes", 8, DType::F32);
        let narrow = placeholder("narrow", 1, DType::F32) + placeholder("odd", 1, DType::F32);
        let half = placeholder("half", 5, DType::F16).cast(DType::F32).sum_all();
        let count = placeholder("count", 4, DType::I32).cast(DType::F32).mean_all();
        let whole = placeholder("whole", 8, DType::U8).cast(DType::F32).sum_all();
        let fetches = [wide.sum_all(), narrow.sum_all(), half, count, whole];
        let plan = Session::new(&gpu).compile(&graph, &fetches, &[]).unwrap();
        let (floats, bytes) = ([0.5f32; 32], [7u8; 32]);
        let scaled = |bytes| Column::Bytes { bytes, scale: 0.1 };
        let columns = [
            ("wide", (&floats).into()),
            ("bytes", scaled(&bytes[..])),
            ("narrow", (&floats[..4]).into()),
            ("odd", scaled(&bytes[..4])),
            ("half", (&[f16::ONE; 20]).into()),
            ("count", (&[3i32; 16]).into()),
            ("whole", Column::Bytes { bytes: &bytes, scale: 1.0 }),
        ];
        let data = DeviceDataset::new(&gpu, 4, &columns).unwrap();
        let tasks = tasks(&plan, Some(&data));
        assert_eq!(tasks.len(), 12);
        for task in tasks {
            translate("between steps", &Source::of(&[task], 3).text(), &[]);
        }
    }

    /// Plans and data sets for which it is the same share it, as plans share all others.
    #[test]
    fn its_pipeline_is_made_once_for_a_device() {
        let gpu = Gpu::new().unwrap();
        let data = || {
            let columns = [("x", (&[0.5f32; 12]).into())];
            DeviceDataset::new(&gpu, 4, &columns).unwrap()
        };
        let graph = Graph::new();
        let loss = graph.placeholder("x", [2, 3], DType::F32).sum_all();
        let plan = |fetch| Session::new(&gpu).compile(&graph, &[fetch], &[]).unwrap();
        let made = |plan: &Plan, data: &DeviceDataset| {
            let mut kernels = Kernels::new(plan, Some(data), 2).unwrap();
            assert_eq!(kernels.list.len(), 1);
            kernels.list.remove(0)
        };
        let (first, second) = (made(&plan(loss), &data()), made(&plan(loss), &data()));
        assert!(Arc::ptr_eq(&first.pipeline, &second.pipeline));
        // Two indices; two rows of three, read and written; a scalar likewise.
        let info = first.info;
        assert_eq!((info.bytes, info.workgroups), (8 + 2 * 2 * 3 * 4 + 8, [1, 1, 1]));
        assert_eq!((info.operations.as_str(), info.kernel), ("gather x, keep scalar", "between"));
    }

    #[test]
    fn tasks_share_kernels_as_far_as_buffers_go() {
        assert_eq!(shared(&[], 8), [0; 0]);
        assert_eq!(shared(&[2, 2, 1], 8), [3]);
        assert_eq!(shared(&[2, 2, 2, 1, 1], 8), [3, 2]);
        assert_eq!(shared(&[2, 2, 1], 4), [1, 1, 1]);
    }
}
