//! The formats of checkpoints, a folder for each: what a file says of its tensors. Which of them a
//! file has decides `format.rs`.

pub(crate) mod archive;
pub(crate) mod gguf;
pub(crate) mod numpy;
pub(crate) mod pytorch;
pub(crate) mod safetensors;
pub(crate) mod tensorflow;
