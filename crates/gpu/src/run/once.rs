//! Running a plan: checks, feeds, one submission, and values read back when somebody asks.
//!
//! Checked first: same session, every variable read has a value, every placeholder fed once and to
//! size. Then one encoder has copies of the feeds out of a mapped upload buffer, the kernels in one
//! compute pass or a few, and copies of the fetches into a readback buffer. The upload buffers are
//! a ring of three (`upload.rs`), which bounds how far the host runs ahead of the device.

use crate::error::GpuError;
use crate::plan::{Feed as PlanFeed, Plan, Written};
use crate::run::dataset::DeviceDataset;
use crate::run::feed::Feed;
use crate::run::outputs::Outputs;
use crate::run::upload::write_mapped;
use crate::run_error::{RunError, UninitializedRead};
use crate::session::Session;
use std::sync::{Arc, PoisonError};
use warmstart_graph::words::closest;

impl Session {
    /// Runs a plan once: one submission. Does not wait for the device, unless three runs are
    /// under way already; what is fetched waits when it is read.
    ///
    /// Every value is read before any variable is changed, so a fetched loss or weight is that of
    /// before the update.
    ///
    /// # Errors
    /// [`RunError::Uninitialized`] if a variable that the plan reads has no value, an error that
    /// names the placeholder if the feeds do not fit, [`RunError::NoRoom`], or [`RunError::Gpu`]. Nothing was
    /// run then.
    pub fn run(&mut self, plan: &Plan, feeds: &[(&str, Feed<'_>)]) -> Result<Outputs, RunError> {
        let values = self.check(plan, feeds, None)?;
        let outputs = plan.submit(&values)?;
        self.mark(plan);
        Ok(outputs)
    }

    /// Everything that can be wrong with a run, before anything is done. Gives the bytes of each
    /// placeholder, in the plan's order; none for those that take a column of `data`.
    pub(crate) fn check<'a>(
        &self,
        plan: &Plan,
        feeds: &[(&str, Feed<'a>)],
        data: Option<&DeviceDataset>,
    ) -> Result<Vec<&'a [u8]>, RunError> {
        if !Arc::ptr_eq(&plan.session, &self.identity) {
            return Err(RunError::OtherSession);
        }
        if data.is_some_and(|data| !data.gpu.is(&self.gpu)) {
            return Err(RunError::OtherDevice);
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
        let columns = data.map_or(&[][..], |data| &data.columns);
        let columns = columns.iter().map(|column| column.name.as_str());
        let takes = |name: &str| plan.feeds.iter().any(|feed| feed.name == name);
        // Some columns may be for other plans, but not all.
        let takes_any = columns.clone().any(takes);
        let columns = columns.filter(|name| !takes_any || takes(name));
        let names: Vec<&str> = columns.chain(feeds.iter().map(|(name, _)| *name)).collect();
        for (at, name) in names.iter().enumerate() {
            if !takes(name) {
                let known: Vec<String> = plan.feeds.iter().map(|feed| feed.name.clone()).collect();
                let close = closest(name, known.iter().map(String::as_str));
                return Err(RunError::UnknownFeed { name: (*name).to_owned(), close, known });
            }
            if names[..at].contains(name) {
                return Err(RunError::FedTwice { name: (*name).to_owned() });
            }
        }
        let gathered =
            |wanted: &PlanFeed| data.is_some_and(|data| data.column(&wanted.name).is_some());
        plan.feeds
            .iter()
            .map(|wanted| if gathered(wanted) { Ok(&[][..]) } else { fit(wanted, feeds, &names) })
            .collect()
    }

    /// Notes what a run did to variables.
    pub(crate) fn mark(&mut self, plan: &Plan) {
        let entries = self.store.entries_mut();
        for &Written { entry, read } in &plan.written {
            entries[entry].info.origin.compute(read);
        }
        for &entry in &plan.trained {
            entries[entry].info.origin.train();
        }
    }
}

/// The bytes fed to a placeholder, if they are as many and of the kind it takes.
fn fit<'a>(
    wanted: &PlanFeed,
    feeds: &[(&str, Feed<'a>)],
    names: &[&str],
) -> Result<&'a [u8], RunError> {
    let (name, location) = (wanted.name.clone(), wanted.location.clone());
    let Some((_, feed)) = feeds.iter().find(|(name, _)| *name == wanted.name) else {
        let (dtype, shape) = (wanted.dtype, wanted.shape.clone());
        let fed = names.iter().map(|&name| name.to_owned()).collect();
        return Err(RunError::NotFed { name, dtype, shape, location, fed });
    };
    if feed.dtype() != wanted.dtype {
        let (expected, found) = (wanted.dtype, feed.dtype());
        return Err(RunError::FeedDType { name, location, expected, found });
    }
    if let Feed::Tensor(data) = feed
        && data.shape() != &wanted.shape
    {
        let (expected, found) = (wanted.shape.clone(), data.shape().clone());
        return Err(RunError::FeedShape { name, location, expected, found });
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
    fn submit(&self, values: &[&[u8]]) -> Result<Outputs, RunError> {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let readback = self.readbacks.take(&self.gpu, self.fetches.bytes);
        let readback = readback.map_err(|error| RunError::in_making(error, 1))?;
        let submission = uploads.submit(&self.gpu, "a run", |encoder, upload| {
            if let Some(upload) = upload {
                self.fill_feeds(upload, values)?;
                upload.unmap();
                self.copy_feeds(upload, values, encoder);
            }
            let mut pass = None;
            self.dispatch_all(encoder, &mut pass, false);
            drop(pass);
            if let Some(readback) = &readback {
                self.copy_fetches(readback, encoder);
            }
            Ok(())
        })?;
        let readback = self.readbacks.pending(&self.gpu, readback, self.fetches.bytes, submission);
        Ok(Outputs { fetches: self.fetches.clone(), readback })
    }

    /// Fills a mapped upload buffer; a placeholder whose value is empty is left out.
    pub(crate) fn fill_feeds(
        &self,
        upload: &wgpu::Buffer,
        values: &[&[u8]],
    ) -> Result<(), GpuError> {
        for (feed, value) in self.feeds.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
            let what = || format!("filling placeholder {}", feed.name);
            write_mapped(upload, feed.offset, value, what)?;
        }
        Ok(())
    }

    /// Copies what was filled to the placeholders.
    pub(crate) fn copy_feeds(
        &self,
        upload: &wgpu::Buffer,
        values: &[&[u8]],
        encoder: &mut wgpu::CommandEncoder,
    ) {
        for (feed, value) in self.feeds.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
            let bytes = (value.len() as u64).next_multiple_of(4);
            encoder.copy_buffer_to_buffer(upload, feed.offset, &feed.buffer, 0, bytes);
        }
    }

    pub(crate) fn copy_fetches(&self, readback: &wgpu::Buffer, encoder: &mut wgpu::CommandEncoder) {
        for fetch in self.fetches.list.iter().filter(|fetch| fetch.bytes > 0) {
            let bytes = fetch.bytes.next_multiple_of(4);
            encoder.copy_buffer_to_buffer(&fetch.buffer, fetch.from, readback, fetch.offset, bytes);
        }
    }
}
