//! GGUF, the format of llama.cpp (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).
//!
//! A file is a header, keys with values, a list of the tensors, and their bytes, each at a multiple
//! of the alignment. Extents are listed from the last axis to the first. Quantized tensors are
//! listed with what they are ([`Quantization`]), and no variable takes them.

mod error;
mod open;
mod reader;
mod types;

pub use error::GgufError;
pub(crate) use open::open_gguf;
pub use types::Quantization;
