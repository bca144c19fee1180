//! TensorFlow's checkpoints: bundles, which Saver V2, `tf.train.Checkpoint` and Keras write.
//!
//! A bundle has a prefix. `<prefix>.index` is a table in LevelDB's form ([`table`]) of messages
//! ([`proto`]) that say of each tensor what it is and where in `<prefix>.data-00000-of-00001` its
//! bytes lie ([`bundle`]). A variable that was partitioned is one tensor here ([`slice_key`]). The
//! names of a checkpoint that was saved by objects are those of its variables ([`objects`]). A
//! folder may have a file `checkpoint` that says which bundle is the newest ([`directory`]).
//!
//! Nothing is allocated by a number that stands in a file before that number was compared with the
//! file's length.
//!
//! The index is read whole, each block against its checksum and once, and every range is held
//! against the data files' lengths when opening. A tensor's own checksum is compared like that of a
//! safetensors tensor. Strings are listed; no variable takes them, and their bytes are not
//! verified.

mod bundle;
mod directory;
mod error;
mod names;
mod objects;
mod proto;
mod slice_key;
mod table;

pub(crate) use bundle::open_bundle;
pub(crate) use directory::open_directory;
pub use error::BundleError;
pub(crate) use names::{has_data, index_of};

/// What TensorFlow stores in place of a crc32c, so that a checksum of bytes that hold checksums is
/// no worse than others.
fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_left(15)
}
