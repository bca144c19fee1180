//! The formats that checkpoints are read from.

use std::fmt;
use std::path::Path;

/// The formats that checkpoints are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// One safetensors file.
    Safetensors,
    /// Several safetensors files with an index.
    SafetensorsShards,
    /// A bundle: TensorFlow's `.index` and its data files.
    TensorFlow,
    /// What `torch.save` writes since PyTorch 1.6.
    PyTorch,
    /// One array of NumPy: `.npy`.
    NumPy,
    /// An archive of NumPy's arrays: `.npz`.
    NumPyArchive,
    /// llama.cpp's format.
    Gguf,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::Safetensors => "safetensors",
            Format::SafetensorsShards => "safetensors in several files",
            Format::TensorFlow => "TensorFlow",
            Format::PyTorch => "PyTorch",
            Format::NumPy => "NumPy (.npy)",
            Format::NumPyArchive => "NumPy (.npz)",
            Format::Gguf => "GGUF",
        })
    }
}

/// The name of a tensor that is alone in its file and has none: that of the file.
pub(crate) fn own_name(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}
