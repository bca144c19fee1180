//! Several steps in one submission: the device gathers each step's batch from a data set that it
//! holds, and keeps each step's scalars.
//!
//! A plan's dispatches are repeated, on software adapters in one pass. The host uploads the row
//! indices of all steps. Graph, plan and checkpoint are the same whether batches are fed or
//! gathered, and so are all bits. What a plan needs for this is made with the first such
//! submission, and belongs to the data set; without one (`Steps::repeat`), to the plan.

mod between;
mod outputs;
mod profile;
mod unread;

use crate::device::gpu::Gpu;
use crate::error::GpuError;
use crate::plan::{Plan, begin_pass};
use crate::run::dataset::{DeviceDataset, Stored};
use crate::run::feed::Feed;
use crate::run::readback::Readback;
use crate::run::upload::{Uploads, write_mapped};
use crate::run_error::RunError;
use crate::session::Session;
use between::{Between, Kernels};
pub use outputs::{StepOutputs, StepScalars};
use std::sync::{Arc, Mutex, PoisonError, Weak};
pub use unread::UnreadOutputs;
use warmstart_graph::DType;

/// The most steps of one submission.
const MOST_STEPS: usize = 1 << 16;

/// What [`Session::run_steps`] is to do: how many steps, and what they are fed.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a> {
    feeds: &'a [(&'a str, Feed<'a>)],
    batches: Batches<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Batches<'a> {
    /// None: the steps differ in the variables alone.
    Same(usize),
    Rows(&'a DeviceDataset, &'a [u32]),
}

impl<'a> Steps<'a> {
    /// So many steps that are fed the same.
    pub fn repeat(steps: usize) -> Steps<'a> {
        Steps { feeds: &[], batches: Batches::Same(steps) }
    }

    /// Steps with batches from a data set: `rows` holds the indices of the first step's examples,
    /// then those of the second, and so on; how many a step takes is the first extent of the
    /// placeholders that the data set has columns for. Columns that the plan does not take are left
    /// alone: evaluation may take `x` from a data set that has the targets of training too.
    pub fn rows(data: &'a DeviceDataset, rows: &'a [u32]) -> Steps<'a> {
        Steps { feeds: &[], batches: Batches::Rows(data, rows) }
    }

    /// What all steps are fed alike: each placeholder that gets no column of a data set.
    #[must_use]
    pub fn feeds(mut self, feeds: &'a [(&'a str, Feed<'a>)]) -> Steps<'a> {
        self.feeds = feeds;
        self
    }

    fn data(&self) -> Option<(&'a DeviceDataset, &'a [u32])> {
        match self.batches {
            Batches::Same(_) => None,
            Batches::Rows(data, rows) => Some((data, rows)),
        }
    }
}

impl Session {
    /// Runs a plan several times in one submission. The result is that of as many [runs], to the
    /// bit, but between two steps the host does nothing: what changes from step to step is in
    /// variables (weights, slots, the global step) or comes from a [`DeviceDataset`]. Small models
    /// train faster so.
    ///
    /// Does not wait for the device, unless three such submissions are under way already. The
    /// `f32` scalars that the plan fetches are kept for each step, and read back together; of what
    /// else it fetches, the last step's is.
    ///
    /// A submission is done as a whole, and some drivers end what takes them seconds: tens of steps
    /// leave the host next to nothing to do.
    ///
    /// [runs]: Session::run
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use warmstart_gpu::{DeviceDataset, Gpu, Session, Steps};
    /// use warmstart_graph::{DType, Graph, Optimizer};
    ///
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [2, 1], DType::F32);
    /// let y = graph.placeholder("y", [2, 1], DType::F32);
    /// let loss = graph.scope("line").linear(x, 1).mean_squared_error(y);
    /// let update = Optimizer::sgd(0.1).minimize(loss).update;
    ///
    /// let gpu = Gpu::new()?;
    /// let mut session = Session::new(&gpu);
    /// let plan = session.compile(&graph, &[loss], &[update])?;
    /// session.initialize_missing(7)?;
    ///
    /// // Four examples on the device; three steps, each with a batch of two.
    /// let (inputs, targets) = ([0.0f32, 1.0, 2.0, 3.0], [1.0f32, 3.0, 5.0, 7.0]);
    /// let columns = [("x", (&inputs).into()), ("y", (&targets).into())];
    /// let data = DeviceDataset::new(&gpu, 4, &columns)?;
    /// let outputs = session.run_steps(&plan, &Steps::rows(&data, &[0, 1, 2, 3, 3, 0]))?;
    /// assert_eq!(outputs.scalars(loss)?.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::run`]; [`RunError::StepCount`], [`RunError::Rows`], [`RunError::NoSuchRow`],
    /// [`RunError::Column`], [`RunError::ColumnScale`], [`RunError::BatchSizes`] or
    /// [`RunError::OtherDevice`] if the steps do not fit the plan or the data set. Nothing was run then.
    pub fn run_steps(&mut self, plan: &Plan, steps: &Steps<'_>) -> Result<StepOutputs, RunError> {
        let (readback, Layout { steps, ring }) =
            self.submit_steps(plan, steps, Fetched::ReadBack)?;
        Ok(StepOutputs::new(steps, plan.fetches.clone(), readback, ring))
    }

    /// Checks the steps, and submits them.
    fn submit_steps(
        &mut self,
        plan: &Plan,
        steps: &Steps<'_>,
        fetched: Fetched,
    ) -> Result<(Readback, Layout), RunError> {
        self.with_prepared(plan, steps, |prepared, values, steps| {
            plan.submit_steps(prepared, values, steps, fetched)
        })
    }

    /// Checks the steps, and has `submit` do them: with what they need, what is fed, and how many there are
    /// of which rows.
    fn with_prepared<T>(
        &mut self,
        plan: &Plan,
        steps: &Steps<'_>,
        submit: impl FnOnce(&Prepared, &[&[u8]], (usize, &[u32])) -> Result<T, GpuError>,
    ) -> Result<T, RunError> {
        let data = steps.data();
        let values = self.check(plan, steps.feeds, data.map(|(data, _)| data))?;
        let (count, batch) = match steps.batches {
            Batches::Same(steps) => (counted(steps, MOST_STEPS)?, 0),
            Batches::Rows(data, rows) => plan.batches(data, rows)?,
        };
        let of = data.map_or(&plan.repeats, |(data, _)| &data.prepared);
        let mut all = of.lock().unwrap_or_else(PoisonError::into_inner);
        let in_making = |error| RunError::in_making(error, count);
        let data_set = data.map(|(data, _)| data);
        let prepared = prepare(&mut all, plan, data_set, (count, batch)).map_err(in_making)?;
        let rows = data.map_or(&[][..], |(_, rows)| rows);
        let submitted = submit(prepared, &values, (count, rows)).map_err(in_making)?;
        self.mark(plan);
        Ok(submitted)
    }
}

/// What becomes of what a plan fetches.
#[derive(Clone, Copy)]
enum Fetched {
    /// It is copied for the host in the same submission.
    ReadBack,
    /// It stays on the device.
    Stays,
}

/// What several steps have left in a readback.
struct Layout {
    steps: usize,
    /// Where the scalars of the steps begin, and how far they are apart.
    ring: (u64, u64),
}

/// A number of steps that one submission takes.
fn counted(steps: usize, most: usize) -> Result<usize, RunError> {
    if (1..=most).contains(&steps) { Ok(steps) } else { Err(RunError::StepCount { steps, most }) }
}

/// How far the rows of two steps are apart: what each dispatch may begin a binding at.
fn stride(gpu: &Gpu, bytes: u64) -> u64 {
    bytes.next_multiple_of(u64::from(gpu.limits().min_storage_buffer_offset_alignment).max(8))
}

/// What a plan needs for several steps with batches of one data set, or with none. It is made when
/// it is first needed, and again for more steps than before.
pub(crate) struct Prepared {
    plan: Weak<()>,
    /// How many steps it is enough for.
    steps: usize,
    uploads: Mutex<Uploads>,
    /// The rows of all steps, each step's at a multiple of `rows_stride`.
    rows: Option<wgpu::Buffer>,
    rows_stride: u64,
    /// Scalars: those of each step but the last are at its number plus 1.
    ring: Option<wgpu::Buffer>,
    ring_stride: u64,
    kernels: Kernels,
    between: Vec<Between>,
}

/// Makes sure that there is what so many steps need.
fn prepare<'a>(
    all: &'a mut Vec<Prepared>,
    plan: &Plan,
    data: Option<&DeviceDataset>,
    (steps, batch): (usize, usize),
) -> Result<&'a Prepared, GpuError> {
    all.retain(|prepared| prepared.plan.strong_count() > 0);
    let own =
        |prepared: &Prepared| std::ptr::eq(prepared.plan.as_ptr(), Arc::as_ptr(&plan.identity));
    let at = match all.iter().position(own) {
        Some(at) if all[at].steps >= steps => at,
        Some(at) => {
            all[at] = Prepared::new(plan, steps, batch, all[at].kernels.clone())?;
            at
        }
        None => {
            let kernels = Kernels::new(plan, data, batch)?;
            all.push(Prepared::new(plan, steps, batch, kernels)?);
            all.len() - 1
        }
    };
    Ok(&all[at])
}

impl Prepared {
    fn new(
        plan: &Plan,
        steps: usize,
        batch: usize,
        kernels: Kernels,
    ) -> Result<Prepared, GpuError> {
        let gpu = &plan.gpu;
        let rows_stride = stride(gpu, batch as u64 * 4);
        let ring_stride = stride(gpu, kernels.scalars() as u64 * 4);
        let buffer = |what: &str, stride: u64| {
            let usage = wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST;
            let bytes = steps as u64 * stride;
            (bytes > 0).then(|| gpu.buffer(what, bytes, usage)).transpose()
        };
        let rows = buffer("rows of the steps' batches", rows_stride)?;
        let ring = buffer("scalars of the steps", ring_stride)?;
        let uploads = Uploads::new(gpu, plan.upload_bytes() + steps as u64 * rows_stride)?;
        let between = kernels.bind(gpu, rows.as_ref(), batch as u64 * 4, ring.as_ref())?;
        Ok(Prepared {
            plan: Arc::downgrade(&plan.identity),
            steps,
            uploads: Mutex::new(uploads),
            rows,
            rows_stride,
            ring,
            ring_stride,
            kernels,
            between,
        })
    }
}

impl Prepared {
    /// Where the rows of a step begin, and its place among the scalars.
    fn places(&self, step: u64) -> [u64; 2] {
        [step * self.rows_stride, step * self.ring_stride]
    }
}

impl Plan {
    /// The steps that these rows are for, and the rows of each.
    fn batches(&self, data: &DeviceDataset, rows: &[u32]) -> Result<(usize, usize), RunError> {
        let mut batch: Option<(usize, &str)> = None;
        for feed in &self.feeds {
            let Some(column) = data.column(&feed.name) else { continue };
            let own = feed.shape.first().copied().unwrap_or(0);
            let width = feed.shape.iter().skip(1).product::<usize>();
            let is_taken = column.stored.taken_as(feed.dtype).is_some();
            if let (Stored::Bytes { scale }, DType::U8, false) =
                (column.stored, feed.dtype, is_taken)
            {
                let (name, location) = (feed.name.clone(), feed.location.clone());
                return Err(RunError::ColumnScale { name, location, scale });
            }
            if feed.shape.rank() == 0 || width != column.width || !is_taken {
                return Err(RunError::Column {
                    name: feed.name.clone(),
                    dtype: feed.dtype,
                    shape: feed.shape.clone(),
                    location: feed.location.clone(),
                    found: if is_taken { feed.dtype } else { column.stored.dtype() },
                    width: column.width,
                });
            }
            match batch {
                Some((batch, other)) if batch != own => {
                    return Err(RunError::BatchSizes {
                        name: other.to_owned(),
                        batch,
                        other: feed.name.clone(),
                        other_batch: own,
                    });
                }
                _ => batch = Some((own, &feed.name)),
            }
        }
        let batch = batch.map_or(0, |(batch, _)| batch);
        if batch == 0 || rows.is_empty() || !rows.len().is_multiple_of(batch) {
            return Err(RunError::Rows { rows: rows.len(), batch });
        }
        if let Some(&row) = rows.iter().find(|&&row| row as usize >= data.len()) {
            return Err(RunError::NoSuchRow { row, examples: data.len() });
        }
        // Where a step's rows begin is told to the device as a `u32`.
        let most = u64::from(u32::MAX) / stride(&self.gpu, batch as u64 * 4);
        Ok((counted(rows.len() / batch, MOST_STEPS.min(most.max(1) as usize))?, batch))
    }

    fn submit_steps(
        &self,
        prepared: &Prepared,
        values: &[&[u8]],
        (steps, rows): (usize, &[u32]),
        fetched: Fetched,
    ) -> Result<(Readback, Layout), GpuError> {
        let gpu = &self.gpu;
        let ring_from = self.fetches.bytes.next_multiple_of(8);
        let ring_bytes = steps as u64 * prepared.ring_stride;
        let read_bytes = ring_from + ring_bytes;
        let mut uploads = prepared.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let readback = match fetched {
            Fetched::ReadBack => self.step_readbacks.take(gpu, read_bytes)?,
            Fetched::Stays => None,
        };
        let submission = uploads.submit(gpu, "several steps", |encoder, upload| {
            self.upload_steps(prepared, values, (steps, rows), encoder, upload)?;
            let mut pass = None;
            for step in 0..steps as u64 {
                let at = prepared.places(step);
                for between in prepared.between.iter().filter(|one| one.is_before(step)) {
                    between.dispatch(pass.get_or_insert_with(|| begin_pass(encoder)), at);
                }
                self.dispatch_all(encoder, &mut pass, step > 0);
            }
            drop(pass);
            if let Some(readback) = &readback {
                self.copy_fetches(readback, encoder);
                if let Some(ring) = &prepared.ring {
                    encoder.copy_buffer_to_buffer(ring, 0, readback, ring_from, ring_bytes);
                }
            }
            Ok(())
        })?;
        let readback = self.step_readbacks.pending(gpu, readback, read_bytes, submission);
        Ok((readback, Layout { steps, ring: (ring_from, prepared.ring_stride) }))
    }
    /// Has the device get what is fed, and the rows of all steps.
    fn upload_steps(
        &self,
        prepared: &Prepared,
        values: &[&[u8]],
        (steps, rows): (usize, &[u32]),
        encoder: &mut wgpu::CommandEncoder,
        upload: Option<&wgpu::Buffer>,
    ) -> Result<(), GpuError> {
        let Some(upload) = upload else { return Ok(()) };
        self.fill_feeds(upload, values)?;
        let from = self.upload_bytes();
        for (step, rows) in rows.chunks((rows.len() / steps).max(1)).enumerate() {
            let at = from + step as u64 * prepared.rows_stride;
            let bytes = bytemuck::cast_slice(rows);
            write_mapped(upload, at, bytes, || "writing the rows of batches".to_owned())?;
        }
        upload.unmap();
        self.copy_feeds(upload, values, encoder);
        if let Some(buffer) = &prepared.rows {
            let bytes = steps as u64 * prepared.rows_stride;
            encoder.copy_buffer_to_buffer(upload, from, buffer, 0, bytes);
        }
        Ok(())
    }
}
