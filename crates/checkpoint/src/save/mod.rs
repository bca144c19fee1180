//! From variables to files: one write that is whole or not at all, the checkpoints of a run, and
//! which of them are kept.

pub(crate) mod atomic;
pub(crate) mod background;
pub(crate) mod retention;
pub(crate) mod saver;
pub(crate) mod storage;
pub(crate) mod write;
