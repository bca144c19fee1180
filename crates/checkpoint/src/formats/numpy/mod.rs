//! NumPy's files: `.npy`, one array, and `.npz`, a ZIP archive of them, compressed or not.
//!
//! An array is a header that reads like a Python dict, `{'descr': '<f4', 'fortran_order': False,
//! 'shape': (3, 4), }`, and the elements
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>). Arrays in Fortran's
//! order and big-endian ones are read by their strides.

mod error;
mod header;
mod open;

pub use error::NumPyError;
pub(crate) use open::{is_npz, open_npy, open_npz};
