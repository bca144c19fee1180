//! Examples in device memory.
//!
//! The buffers belong to no session, so no checkpoint and no check for values knows of them. Inputs
//! that are bytes stay bytes on the device, and a placeholder of bytes gets them as they are; to scale
//! them for one is refused.

use crate::device::gpu::Gpu;
use crate::error::GpuError;
use crate::run::feed::Feed;
use crate::run::steps::Prepared;
use std::fmt;
use std::sync::Mutex;
use thiserror::Error;
use warmstart_graph::DType;
use warmstart_graph::words::{bytes_and_limit as apart, human_bytes};

warmstart_graph::debug_as_display!(DeviceDatasetError);

/// Why examples could not be put into device memory.
#[derive(Error)]
#[non_exhaustive]
pub enum DeviceDatasetError {
    /// No examples, or nothing of them.
    #[error("a data set of {examples} examples and {columns} columns holds nothing; give both")]
    Empty {
        /// How many examples.
        examples: usize,
        /// How many columns.
        columns: usize,
    },
    /// Two columns of one name.
    #[error("column `{column}` was given twice; give each placeholder one column")]
    Twice {
        /// The column.
        column: String,
    },
    /// A column's elements are not as many for each example.
    #[error(
        "column `{column}` has {elements} elements, which are not whole rows for {examples} examples; give as many for each example, at least 1"
    )]
    Elements {
        /// The column.
        column: String,
        /// How many elements it has.
        elements: usize,
        /// How many examples there are.
        examples: usize,
    },
    /// A scale that is no number.
    #[error("column `{column}` is to be scaled by {scale}; give a finite number, such as 1/255")]
    Scale {
        /// The column.
        column: String,
        /// The scale.
        scale: f32,
    },
    /// A column is larger than what the device lets a kernel see.
    #[error(
        "column `{column}` takes {taken}, and one binding of this device holds at most {most}; feed the batches from the host, or train on a part of the examples at a time",
        taken = apart(*.bytes, *.limit)[0],
        most = apart(*.bytes, *.limit)[1]
    )]
    TooLarge {
        /// The column.
        column: String,
        /// Its bytes.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Memory ran out for a column.
    #[error(
        "out of device memory for column `{column}`, which takes {}; feed the batches from the host, upload a part of the examples at a time, or free memory on the device",
        human_bytes(*.bytes)
    )]
    NoRoom {
        /// The column.
        column: String,
        /// Its bytes.
        bytes: u64,
    },
    /// The device failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// One column of a [`DeviceDataset`]: what one placeholder gets of each example.
#[derive(Clone, Copy, Debug)]
pub enum Column<'a> {
    /// Elements of the placeholder's dtype, row by row.
    Elements(Feed<'a>),
    /// One byte for each element, a quarter of the memory of `f32`. For an `f32` placeholder the device
    /// makes each `byte * scale`, rounded once, when it gathers a batch. For a placeholder of
    /// [`DType::U8`] they stay bytes, as those of [`Column::Elements`] do, and the kernel that reads them
    /// makes numbers of them; no byte holds a product, so that `scale` is to be 1.
    Bytes {
        /// The bytes, row by row.
        bytes: &'a [u8],
        /// What each is multiplied by.
        scale: f32,
    },
}

impl<'a, T> From<T> for Column<'a>
where
    Feed<'a>: From<T>,
{
    fn from(elements: T) -> Column<'a> {
        Column::Elements(elements.into())
    }
}

/// How a column lies in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stored {
    /// As elements of this dtype.
    Elements(DType),
    /// As bytes that are multiplied.
    Bytes { scale: f32 },
}

impl Stored {
    /// The dtype of its elements.
    pub fn dtype(self) -> DType {
        match self {
            Stored::Elements(dtype) => dtype,
            Stored::Bytes { .. } => DType::U8,
        }
    }

    /// How a placeholder of this dtype takes it, if it does.
    pub fn taken_as(self, dtype: DType) -> Option<Stored> {
        match self {
            Stored::Elements(own) => (own == dtype).then_some(self),
            Stored::Bytes { .. } if dtype == DType::F32 => Some(self),
            Stored::Bytes { scale: 1.0 } if dtype == DType::U8 => Some(Stored::Elements(dtype)),
            Stored::Bytes { .. } => None,
        }
    }
}

/// A column on the device.
pub(crate) struct DeviceColumn {
    pub name: String,
    pub stored: Stored,
    /// Elements of one example.
    pub width: usize,
    pub buffer: wgpu::Buffer,
}

/// Examples in device memory, from which [`Session::run_steps`](crate::Session::run_steps) gathers
/// batches. A column has the name of the placeholder that takes it.
///
/// It is no variable: it is in no session and in no checkpoint, and any session of the device may
/// use it. Its memory is free again when it is dropped. It also holds what each plan needs to take
/// batches from it (see [`PlanMemory`](crate::PlanMemory)), and with that the plan's placeholders
/// and fetched scalars: those of a plan that was dropped are free when the data set is dropped,
/// or at the next [`Session::run_steps`](crate::Session::run_steps) that uses it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use warmstart_gpu::{Column, DeviceDataset, Gpu};
/// let pixels = Column::Bytes { bytes: &[0, 255, 255, 0, 255, 255], scale: 1.0 / 255.0 };
/// let labels = [0i32, 0, 1];
/// let columns = [("images", pixels), ("labels", (&labels).into())];
/// let data = DeviceDataset::new(&Gpu::new()?, 3, &columns)?;
/// assert_eq!((data.len(), data.bytes()), (3, 8 + 12));
/// # Ok(())
/// # }
/// ```
pub struct DeviceDataset {
    examples: usize,
    pub(crate) columns: Vec<DeviceColumn>,
    /// What plans that take their batches from here need for it.
    pub(crate) prepared: Mutex<Vec<Prepared>>,
    // Last, so that it is let go of last (device/closing.rs).
    pub(crate) gpu: Gpu,
}

impl DeviceDataset {
    /// Uploads so many examples. Each column has as many elements for each of them.
    ///
    /// # Errors
    /// If the columns do not fit the number of examples, or the device has no room.
    pub fn new(
        gpu: &Gpu,
        examples: usize,
        columns: &[(&str, Column<'_>)],
    ) -> Result<DeviceDataset, DeviceDatasetError> {
        if examples == 0 || columns.is_empty() {
            return Err(DeviceDatasetError::Empty { examples, columns: columns.len() });
        }
        let limits = gpu.limits();
        // Kernels count elements by `u32`.
        let limit = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let limit = limit.min(u64::from(u32::MAX));
        let mut made = Vec::new();
        for (at, (name, column)) in columns.iter().enumerate() {
            let column_name = || (*name).to_owned();
            if columns[..at].iter().any(|(other, _)| other == name) {
                return Err(DeviceDatasetError::Twice { column: column_name() });
            }
            let (stored, data, size) = match *column {
                Column::Elements(feed) => {
                    (Stored::Elements(feed.dtype()), feed.bytes(), feed.dtype().size())
                }
                Column::Bytes { bytes, scale } if scale.is_finite() => {
                    (Stored::Bytes { scale }, bytes, 1)
                }
                Column::Bytes { scale, .. } => {
                    return Err(DeviceDatasetError::Scale { column: column_name(), scale });
                }
            };
            let elements = data.len() / size;
            if elements == 0 || !elements.is_multiple_of(examples) {
                let column = column_name();
                return Err(DeviceDatasetError::Elements { column, elements, examples });
            }
            let bytes = (data.len() as u64).next_multiple_of(4);
            if bytes > limit {
                return Err(DeviceDatasetError::TooLarge { column: column_name(), bytes, limit });
            }
            let buffer = upload(gpu, &format!("data set column {name}"), data).map_err(
                |error| match error {
                    GpuError::OutOfMemory { .. } => {
                        DeviceDatasetError::NoRoom { column: column_name(), bytes }
                    }
                    error => error.into(),
                },
            )?;
            let (name, width) = (column_name(), elements / examples);
            made.push(DeviceColumn { name, stored, width, buffer });
        }
        Ok(DeviceDataset { gpu: gpu.clone(), examples, columns: made, prepared: Mutex::default() })
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.examples
    }

    /// Whether there is no example: never.
    pub fn is_empty(&self) -> bool {
        self.examples == 0
    }

    /// The bytes it takes on the device.
    pub fn bytes(&self) -> u64 {
        self.columns.iter().map(|column| column.buffer.size()).sum()
    }

    pub(crate) fn column(&self, name: &str) -> Option<&DeviceColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl fmt::Debug for DeviceDataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self.columns.iter().map(|column| &column.name).collect();
        f.debug_struct("DeviceDataset")
            .field("examples", &self.examples)
            .field("columns", &columns)
            .field("bytes", &self.bytes())
            .finish()
    }
}

fn upload(gpu: &Gpu, what: &str, data: &[u8]) -> Result<wgpu::Buffer, GpuError> {
    let bytes = (data.len() as u64).next_multiple_of(4);
    let buffer = gpu.buffer_with(what, bytes, wgpu::BufferUsages::STORAGE, true)?;
    gpu.checked(what, |_| {
        let mut view = buffer.get_mapped_range_mut(..).map_err(|error| GpuError::Internal {
            what: what.to_owned(),
            message: error.to_string(),
        })?;
        view.slice(..data.len()).copy_from_slice(data);
        drop(view);
        buffer.unmap();
        Ok(buffer.clone())
    })?
}
