//! PyTorch's checkpoints, as `torch.save` writes them since version 1.6: state dicts, and whatever
//! is nested around them.
//!
//! A file is a ZIP archive ([`crate::formats::archive`]) with a pickle, `<root>/data.pkl`, and storages,
//! `<root>/data/<key>`. The pickle is a program that builds objects; [`machine`] runs the few
//! instructions that build containers, numbers and texts, and calls of the objects that it names
//! ([`globals`]) only those that describe tensors ([`objects`]). Nothing is executed, whatever the
//! file asks for. What was built is listed under dotted names ([`names`]), and each tensor is found
//! in its storage ([`open`]): several may share one, and any strides are read.
//!
//! What is built is no larger than the pickle times a constant, and so is what is listed.

mod error;
mod globals;
mod machine;
mod names;
mod objects;
mod open;

pub use error::PyTorchError;
pub(crate) use open::{is_pickle, open_pytorch};
