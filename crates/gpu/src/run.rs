//! Running a plan: checks, feeds, one submission, and values read back when somebody asks.

use crate::device::Gpu;
use crate::error::GpuError;
use crate::mapped::Mapping;
use crate::origin::Origin;
use crate::plan::{Feed as PlanFeed, Fetch, Plan};
use crate::plan_error::{RunError, UninitializedRead};
use crate::session::Session;
use half::f16;
use std::sync::{Arc, Mutex, PoisonError};
use warmstart_graph::{DType, Tensor, TensorData};

/// The elements fed to a placeholder, row-major: made from a slice, a `Vec`, an array or a
/// [`TensorData`] of the placeholder's dtype.
///
/// ```
/// use warmstart_gpu::Feed;
/// let (images, labels) = (vec![0.5f32; 6], [1i32, 0]);
/// let feeds = [("images", Feed::from(&images)), ("labels", Feed::from(&labels))];
/// assert!(matches!(feeds, [(_, Feed::F32(_)), (_, Feed::I32(_))]));
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Feed<'a> {
    /// `f32` elements.
    F32(&'a [f32]),
    /// `f16` elements.
    F16(&'a [f16]),
    /// `i32` elements.
    I32(&'a [i32]),
    /// `u32` elements.
    U32(&'a [u32]),
}

impl<'a> Feed<'a> {
    fn dtype(&self) -> DType {
        match self {
            Feed::F32(_) => DType::F32,
            Feed::F16(_) => DType::F16,
            Feed::I32(_) => DType::I32,
            Feed::U32(_) => DType::U32,
        }
    }

    fn bytes(&self) -> &'a [u8] {
        match *self {
            Feed::F32(elements) => bytemuck::cast_slice(elements),
            Feed::F16(elements) => bytemuck::cast_slice(elements),
            Feed::I32(elements) => bytemuck::cast_slice(elements),
            Feed::U32(elements) => bytemuck::cast_slice(elements),
        }
    }
}

macro_rules! feed_from {
    ($($type:ty => $variant:ident),*) => {$(
        impl<'a> From<&'a [$type]> for Feed<'a> {
            fn from(elements: &'a [$type]) -> Feed<'a> {
                Feed::$variant(elements)
            }
        }
        impl<'a> From<&'a Vec<$type>> for Feed<'a> {
            fn from(elements: &'a Vec<$type>) -> Feed<'a> {
                Feed::$variant(elements)
            }
        }
        impl<'a, const N: usize> From<&'a [$type; N]> for Feed<'a> {
            fn from(elements: &'a [$type; N]) -> Feed<'a> {
                Feed::$variant(elements)
            }
        }
    )*};
}
feed_from!(f32 => F32, f16 => F16, i32 => I32, u32 => U32);

impl<'a> From<&'a TensorData> for Feed<'a> {
    fn from(data: &'a TensorData) -> Feed<'a> {
        use warmstart_graph::Elements;
        match data.elements() {
            Elements::F32(elements) => Feed::F32(elements),
            Elements::F16(elements) => Feed::F16(elements),
            Elements::I32(elements) => Feed::I32(elements),
            Elements::U32(elements) => Feed::U32(elements),
        }
    }
}

impl Session {
    /// Runs a plan once: one submission. Does not wait for the device, unless three runs are
    /// under way already; what is fetched waits when it is read.
    ///
    /// Every value is read before any variable is changed, so a fetched loss or weight is that of
    /// before the update.
    ///
    /// # Errors
    /// [`RunError::Uninitialized`] if a variable that the plan reads has no value, an error that
    /// names the placeholder if the feeds do not fit, or [`RunError::Gpu`]. Nothing was run then.
    pub fn run(&mut self, plan: &Plan, feeds: &[(&str, Feed<'_>)]) -> Result<Outputs, RunError> {
        let values = self.check(plan, feeds)?;
        let outputs = plan.submit(&values)?;
        self.mark(plan);
        Ok(outputs)
    }

    /// Everything that can be wrong with a run, before anything is done. Gives the bytes of each
    /// placeholder, in the plan's order.
    pub(crate) fn check<'a>(
        &self,
        plan: &Plan,
        feeds: &[(&str, Feed<'a>)],
    ) -> Result<Vec<&'a [u8]>, RunError> {
        if !Arc::ptr_eq(&plan.session, &self.identity) {
            return Err(RunError::OtherSession);
        }
        let entries = self.store.entries();
        let variables: Vec<UninitializedRead> = plan
            .reads
            .iter()
            .filter(|read| !entries[read.entry].info.origin.has_value())
            .map(|read| {
                let info = &entries[read.entry].info;
                UninitializedRead {
                    name: info.name().to_owned(),
                    dtype: info.dtype(),
                    shape: info.shape().clone(),
                    origin: info.origin.clone(),
                    operation: read.operation.clone(),
                    location: read.location.clone(),
                }
            })
            .collect();
        if !variables.is_empty() {
            return Err(RunError::Uninitialized { variables });
        }
        for (at, (name, _)) in feeds.iter().enumerate() {
            if !plan.feeds.iter().any(|feed| feed.name == *name) {
                let known: Vec<String> = plan.feeds.iter().map(|feed| feed.name.clone()).collect();
                let close = crate::store::closest(name, known.iter().map(String::as_str));
                return Err(RunError::UnknownFeed { name: (*name).to_owned(), close, known });
            }
            if feeds[..at].iter().any(|(other, _)| other == name) {
                return Err(RunError::FedTwice { name: (*name).to_owned() });
            }
        }
        plan.feeds.iter().map(|wanted| fit(wanted, feeds)).collect()
    }

    /// Notes what a run did to variables.
    pub(crate) fn mark(&mut self, plan: &Plan) {
        let entries = self.store.entries_mut();
        for &entry in &plan.assigned {
            entries[entry].info.origin = Origin::Assigned;
        }
        for &entry in &plan.trained {
            entries[entry].info.origin.train();
        }
    }
}

/// The bytes fed to a placeholder, if they are as many and of the kind it takes.
fn fit<'a>(wanted: &PlanFeed, feeds: &[(&str, Feed<'a>)]) -> Result<&'a [u8], RunError> {
    let (name, location) = (wanted.name.clone(), wanted.location.clone());
    let Some((_, feed)) = feeds.iter().find(|(name, _)| *name == wanted.name) else {
        let (dtype, shape) = (wanted.dtype, wanted.shape.clone());
        return Err(RunError::NotFed { name, dtype, shape, location });
    };
    if feed.dtype() != wanted.dtype {
        let (expected, found) = (wanted.dtype, feed.dtype());
        return Err(RunError::FeedDType { name, location, expected, found });
    }
    let bytes = feed.bytes();
    if bytes.len() as u64 != wanted.bytes {
        let (shape, expected) = (wanted.shape.clone(), wanted.shape.elements());
        let found = bytes.len() / wanted.dtype.size();
        return Err(RunError::FeedLength { name, shape, location, expected, found });
    }
    Ok(bytes)
}

impl Plan {
    fn submit(&self, values: &[&[u8]]) -> Result<Outputs, GpuError> {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let upload = uploads.acquire(&self.gpu)?;
        let readback = self.readback()?;
        let submitted = self.gpu.checked("a run", |device| {
            let mut encoder = device.create_command_encoder(&Default::default());
            if let Some(upload) = &upload {
                self.write_feeds(upload, values, &mut encoder)?;
            }
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                for launch in &self.launches {
                    pass.set_pipeline(&launch.pipeline);
                    pass.set_bind_group(0, &launch.bind_group, &[]);
                    let [x, y, z] = launch.workgroups;
                    pass.dispatch_workgroups(x, y, z);
                }
            }
            if let Some(readback) = &readback {
                self.copy_fetches(readback, &mut encoder);
            }
            Ok(self.gpu.queue().submit([encoder.finish()]))
        });
        let submission = match submitted.and_then(|submitted| submitted) {
            Ok(submission) => submission,
            Err(error) => {
                uploads.refused();
                return Err(error);
            }
        };
        uploads.release(submission.clone());
        Ok(Outputs {
            gpu: self.gpu.clone(),
            graph: self.graph,
            fetches: self.fetches.clone(),
            pool: self.readbacks.clone(),
            pending: Mutex::new(Pending { readback, submission, bytes: None }),
        })
    }

    /// Fills the mapped upload buffer and copies its parts to the placeholders.
    pub(crate) fn write_feeds(
        &self,
        upload: &wgpu::Buffer,
        values: &[&[u8]],
        encoder: &mut wgpu::CommandEncoder,
    ) -> Result<(), GpuError> {
        for (feed, value) in self.feeds.iter().zip(values) {
            if value.is_empty() {
                continue;
            }
            let range = feed.offset..feed.offset + feed.bytes.next_multiple_of(4);
            let mut view =
                upload.get_mapped_range_mut(range).map_err(|error| GpuError::Internal {
                    what: format!("filling placeholder {}", feed.name),
                    message: error.to_string(),
                })?;
            view.slice(..value.len()).copy_from_slice(value);
        }
        upload.unmap();
        for feed in self.feeds.iter().filter(|feed| feed.bytes > 0) {
            let bytes = feed.bytes.next_multiple_of(4);
            encoder.copy_buffer_to_buffer(upload, feed.offset, &feed.buffer, 0, bytes);
        }
        Ok(())
    }

    pub(crate) fn copy_fetches(&self, readback: &wgpu::Buffer, encoder: &mut wgpu::CommandEncoder) {
        for fetch in self.fetches.iter().filter(|fetch| fetch.bytes > 0) {
            let bytes = fetch.bytes.next_multiple_of(4);
            encoder.copy_buffer_to_buffer(&fetch.buffer, fetch.from, readback, fetch.offset, bytes);
        }
    }

    /// A buffer for what is read back, used before if one is free.
    fn readback(&self) -> Result<Option<wgpu::Buffer>, GpuError> {
        if self.fetch_bytes == 0 {
            return Ok(None);
        }
        let free = self.readbacks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match free {
            Some(buffer) => Ok(Some(buffer)),
            None => {
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                self.gpu.buffer("the readback of fetches", self.fetch_bytes, usage).map(Some)
            }
        }
    }
}

/// What a run fetched. Reading waits for the run; dropping it unread costs nothing.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use warmstart_gpu::{Gpu, Session};
/// use warmstart_graph::{DType, Graph};
///
/// let graph = Graph::new();
/// let x = graph.placeholder("x", [3], DType::F32);
/// let (squares, sum) = (x.square(), x.square().sum_all());
/// let mut session = Session::new(&Gpu::new()?);
/// let plan = session.compile(&graph, &[squares, sum], &[])?;
///
/// let outputs = session.run(&plan, &[("x", (&[1.0f32, 2.0, 3.0]).into())])?;
/// assert_eq!(outputs.scalar(sum)?, 14.0);
/// assert_eq!(outputs.tensor(squares)?.as_f32(), Some(&[1.0, 4.0, 9.0][..]));
/// // What was not named when compiling is not there.
/// assert!(outputs.tensor(x).is_err());
/// # Ok(())
/// # }
/// ```
pub struct Outputs {
    gpu: Gpu,
    /// The identity of the graph that was run.
    graph: u64,
    fetches: Arc<Vec<Fetch>>,
    pool: Arc<Mutex<Vec<wgpu::Buffer>>>,
    pending: Mutex<Pending>,
}

struct Pending {
    readback: Option<wgpu::Buffer>,
    submission: wgpu::SubmissionIndex,
    bytes: Option<Vec<u8>>,
}

impl Outputs {
    /// Waits until the run is done.
    ///
    /// # Errors
    /// [`RunError::Gpu`] if the device failed meanwhile.
    pub fn wait(&self) -> Result<(), RunError> {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.gpu.wait(pending.submission.clone())?)
    }

    /// A fetched tensor.
    ///
    /// # Errors
    /// [`RunError::NotFetched`] if the plan does not fetch it, [`RunError::OtherGraph`] if it is of
    /// another graph than the plan, or [`RunError::Gpu`].
    pub fn tensor(&self, tensor: Tensor<'_>) -> Result<TensorData, RunError> {
        // Another graph's node of the same index would give a value that was never asked for.
        if tensor.graph().identity() != self.graph {
            let (tensor, fetched) = (tensor.to_string(), self.fetched());
            return Err(RunError::OtherGraph { tensor, fetched });
        }
        match self.fetches.iter().find(|fetch| fetch.node == tensor.id()) {
            Some(fetch) => self.value(fetch),
            None => {
                let (tensor, fetched) = (tensor.to_string(), self.fetched());
                Err(RunError::NotFetched { tensor, fetched })
            }
        }
    }

    fn fetched(&self) -> Vec<String> {
        self.fetches.iter().map(|fetch| fetch.described.clone()).collect()
    }

    /// A fetched `f32` scalar.
    ///
    /// # Errors
    /// As [`Outputs::tensor`], and [`RunError::FetchedAs`] if it is no `f32` scalar.
    pub fn scalar(&self, tensor: Tensor<'_>) -> Result<f32, RunError> {
        let data = self.tensor(tensor)?;
        match data.as_f32() {
            Some(&[value]) => Ok(value),
            _ => Err(RunError::FetchedAs {
                tensor: tensor.to_string(),
                dtype: data.dtype(),
                shape: data.shape().clone(),
                wanted: "an f32 scalar",
            }),
        }
    }

    fn value(&self, fetch: &Fetch) -> Result<TensorData, RunError> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.bytes.is_none() {
            pending.bytes = Some(self.download(&mut pending)?);
        }
        let bytes = pending.bytes.as_deref().unwrap_or_default();
        let own = &bytes[fetch.offset as usize..][..fetch.bytes as usize];
        TensorData::from_le_bytes(fetch.shape.clone(), fetch.dtype, own).ok_or_else(|| {
            RunError::Gpu(GpuError::Internal {
                what: "reading a fetch".to_owned(),
                message: "its size is not its shape's".to_owned(),
            })
        })
    }

    fn download(&self, pending: &mut Pending) -> Result<Vec<u8>, GpuError> {
        if self.fetches.iter().all(|fetch| fetch.bytes == 0) {
            self.gpu.wait(pending.submission.clone())?;
            return Ok(Vec::new());
        }
        let internal = |message: String| GpuError::Internal {
            what: "reading back what was fetched".to_owned(),
            message,
        };
        let Some(readback) = pending.readback.take() else {
            return Err(internal("an earlier attempt to read it failed".to_owned()));
        };
        let mapping = Mapping::start(&readback, wgpu::MapMode::Read, 0, readback.size());
        let waited = self.gpu.wait(pending.submission.clone());
        let what = "reading back what was fetched";
        if let Err(error) = waited.and_then(|()| mapping.finish(&self.gpu, what)) {
            // As before, so that reading can be tried again.
            readback.unmap();
            pending.readback = Some(readback);
            return Err(error);
        }
        let bytes =
            readback.get_mapped_range(..).map_err(|error| internal(error.to_string()))?.to_vec();
        readback.unmap();
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(readback);
        Ok(bytes)
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        let pending = self.pending.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(readback) = pending.readback.take() {
            self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(readback);
        }
    }
}
