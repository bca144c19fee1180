//! A session: variables, their values on the device, and where each value came from.

use crate::device::gpu::Gpu;
use crate::error::SessionError;
use crate::origin::{Missing, Origin};
use crate::store::{Entry, Store, VariableInfo, VariableSlice};
use crate::table::VariableTable;
use crate::trainers::Trainers;
use crate::transfer::download::download;
use std::io;
use std::sync::Arc;
use warmstart_graph::{TensorData, Variable};

/// The values of variables on one device. A variable is its name: all graphs compiled for a
/// session that speak of a name speak of one value.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use warmstart_gpu::{Gpu, Session};
/// use warmstart_graph::{DType, Graph, TensorData};
///
/// let graph = Graph::new();
/// let x = graph.placeholder("x", [1, 2], DType::F32);
/// let y = graph.scope("fc1").linear(x, 1);
///
/// let mut session = Session::new(&Gpu::new()?);
/// let plan = session.compile(&graph, &[y], &[])?;
/// // Compiling declares variables, and gives them no value; nothing runs on such.
/// assert!(session.run(&plan, &[("x", (&[1.0f32, 2.0]).into())]).is_err());
/// let weight = TensorData::new([2, 1], [3.0f32, 0.5]).ok_or("two elements")?;
/// session.assign("fc1/weight", &weight)?;
/// assert_eq!(session.initialize_missing(7)?, ["fc1/bias"]);
/// let outputs = session.run(&plan, &[("x", (&[1.0f32, 2.0]).into())])?;
/// assert_eq!(outputs.tensor(y)?.as_f32(), Some(&[4.0][..]));
/// println!("{}", session.variables());
/// # Ok(())
/// # }
/// ```
pub struct Session {
    pub(crate) store: Store,
    /// The seeds of initializations of which a value may be left, the last one last.
    pub(crate) seeds: Vec<u64>,
    pub(crate) trainers: Trainers,
    /// Plans remember it, so that none is run by another session.
    pub(crate) identity: Arc<()>,
    // Last, so that it is let go of last (device/closing.rs).
    pub(crate) gpu: Gpu,
}

impl Session {
    /// A session without variables.
    pub fn new(gpu: &Gpu) -> Session {
        Session {
            store: Store::default(),
            seeds: Vec::new(),
            trainers: Trainers::default(),
            identity: Arc::default(),
            gpu: gpu.clone(),
        }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Gives new variables device memory; none has a value afterwards. A name that is known
    /// already keeps its value, its origin and its first declaration, with that one's initializer.
    ///
    /// # Errors
    /// [`SessionError::Conflict`] if a known name has another shape or dtype,
    /// [`SessionError::VariableDType`] for a dtype that no variable can have,
    /// [`SessionError::TooLarge`], or [`SessionError::Gpu`] when memory runs out. Nothing is
    /// declared then.
    pub fn declare(&mut self, variables: &[Variable]) -> Result<(), SessionError> {
        self.store.declare(&self.gpu, variables)
    }

    /// All variables with their origins; prints as a table.
    pub fn variables(&self) -> VariableTable<'_> {
        VariableTable(self.store.entries())
    }

    /// A variable by its name.
    ///
    /// # Errors
    /// [`SessionError::UnknownVariable`], with the closest names.
    pub fn variable(&self, name: &str) -> Result<&VariableInfo, SessionError> {
        Ok(&self.entry(name)?.info)
    }

    /// The seed of the last `initialize_missing` or `initialize_all` that gave a variable the value it
    /// has, or that runs made it from. None once all of these are restored, assigned, discarded or written over: a
    /// checkpoint would be saved with the seed of an initialization of which nothing is in it.
    pub fn seed(&self) -> Option<u64> {
        self.seeds.iter().rev().copied().find(|&seed| self.has_value_of(seed))
    }

    /// Whether a value that an initialization with this seed made is there still, or trained.
    pub(crate) fn has_value_of(&self, seed: u64) -> bool {
        self.store.entries().iter().any(|entry| entry.info.origin.is_of_seed(seed))
    }

    /// The variables without a value, in declaration order.
    pub fn uninitialized(&self) -> Vec<&VariableInfo> {
        self.variables().iter().filter(|info| !info.origin.has_value()).collect()
    }

    /// Remembers why a restore gave this variable no value, so that later errors can say so. No
    /// effect on a variable that has a value, or on an unknown name.
    pub fn mark_missing(&mut self, name: &str, why: Missing) {
        if let Ok(index) = self.store.index(name) {
            let origin = &mut self.store.entries_mut()[index].info.origin;
            if !origin.has_value() {
                *origin = Origin::Uninitialized(why);
            }
        }
    }

    /// Gives up the values of all variables: afterwards none has one, and a run or a save of them is
    /// refused until they are restored, initialized or assigned.
    ///
    /// For restoring another checkpoint where the values of now are of no use. A restore over
    /// variables with values copies them aside, to put them back if it fails, which takes as much
    /// memory again and most of the time; a restore over variables without values takes neither.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use warmstart_gpu::{Gpu, Session};
    /// use warmstart_graph::{DType, Graph};
    ///
    /// let graph = Graph::new();
    /// let x = graph.placeholder("x", [1, 2], DType::F32);
    /// let y = graph.scope("fc1").linear(x, 1);
    /// let mut session = Session::new(&Gpu::new()?);
    /// session.compile(&graph, &[y], &[])?;
    /// session.initialize_missing(7)?;
    /// session.discard_values();
    /// let origin = &session.variable("fc1/weight")?.origin;
    /// assert_eq!(origin.to_string(), "uninitialized (discarded)");
    /// # Ok(())
    /// # }
    /// ```
    pub fn discard_values(&mut self) {
        let entries = self.store.entries_mut().iter_mut();
        for Entry { info, .. } in entries.filter(|entry| entry.info.origin.has_value()) {
            info.origin = Origin::Uninitialized(Missing::Discarded);
        }
    }

    /// Sets a variable's value. Does not wait for the device.
    ///
    /// # Errors
    /// [`SessionError::UnknownVariable`], [`SessionError::Mismatch`] for another shape or dtype,
    /// or [`SessionError::Gpu`].
    pub fn assign(&mut self, name: &str, value: &TensorData) -> Result<(), SessionError> {
        let index = self.store.index(name)?;
        let Entry { info, slice } = &self.store.entries()[index];
        if (info.dtype(), info.shape()) != (value.dtype(), value.shape()) {
            return Err(SessionError::Mismatch {
                name: name.to_owned(),
                dtype: info.dtype(),
                shape: info.shape().clone(),
                location: info.variable.location.clone(),
                given_dtype: value.dtype(),
                given_shape: value.shape().clone(),
            });
        }
        write(&self.gpu, slice, value)?;
        self.gpu.checked("assigning a variable", |_| {
            // Written bytes stay in staging memory until the next submission.
            self.gpu.queue().submit([])
        })?;
        self.store.entries_mut()[index].info.origin = Origin::Assigned;
        Ok(())
    }

    /// A variable's value. Waits for all work submitted before.
    ///
    /// # Errors
    /// [`SessionError::UnknownVariable`], [`SessionError::Uninitialized`] if it has no value, or
    /// [`SessionError::Gpu`].
    pub fn read(&self, name: &str) -> Result<TensorData, SessionError> {
        let entry = self.entry(name)?;
        let mut bytes = Vec::new();
        self.snapshot_read(&[name], &mut |_, piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        let shape = entry.info.shape().clone();
        Ok(TensorData::from_le_bytes(shape, entry.info.dtype(), &bytes)
            .expect("a download has the variable's exact length"))
    }

    /// Hands the bytes of variables to `sink`, little-endian and row-major, in the order of
    /// `names`, each in pieces of at most 8 MiB that together are the whole value; an empty
    /// variable gets one empty piece. The device copies the next piece while `sink` has one.
    ///
    /// # Errors
    /// [`SessionError::UnknownVariable`] or [`SessionError::Uninitialized`] before any byte is
    /// handed out; [`SessionError::Sink`] with what `sink` returned; [`SessionError::Gpu`].
    pub fn snapshot_read(
        &self,
        names: &[&str],
        sink: &mut dyn FnMut(&str, &[u8]) -> io::Result<()>,
    ) -> Result<(), SessionError> {
        let entries: Vec<&Entry> =
            names.iter().map(|name| self.with_value(name)).collect::<Result<_, _>>()?;
        download(&self.gpu, &entries, sink)
    }

    fn entry(&self, name: &str) -> Result<&Entry, SessionError> {
        Ok(&self.store.entries()[self.store.index(name)?])
    }

    pub(crate) fn with_value(&self, name: &str) -> Result<&Entry, SessionError> {
        let entry = self.entry(name)?;
        if entry.info.origin.has_value() {
            return Ok(entry);
        }
        Err(SessionError::Uninitialized {
            name: name.to_owned(),
            location: entry.info.variable.location.clone(),
            origin: Box::new(entry.info.origin.clone()),
        })
    }

    /// Where a variable lives on the device.
    pub(crate) fn slice(&self, name: &str) -> Result<&VariableSlice, SessionError> {
        Ok(&self.entry(name)?.slice)
    }
}

/// Queues a variable's new value; it takes effect with the next submission.
pub(crate) fn write(
    gpu: &Gpu,
    slice: &VariableSlice,
    value: &TensorData,
) -> Result<(), SessionError> {
    let mut bytes = value.to_le_bytes();
    bytes.resize(slice.padded() as usize, 0);
    Ok(gpu.checked("writing a variable", |_| {
        gpu.queue().write_buffer(&slice.buffer, slice.offset, &bytes);
    })?)
}
