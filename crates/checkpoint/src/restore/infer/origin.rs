//! Who wrote a file: what its shapes leave open may depend on it.

use crate::entries::PREFIX;
use crate::file::OpenFile;
use crate::format::Format;

/// Whether a file is PyTorch's, by its format, its metadata or its names, and none of ours: its
/// matrices are likely to lie the other way round.
pub(crate) fn is_pytorch(file: &OpenFile) -> bool {
    let metadata = &file.metadata;
    if metadata.entries().any(|(key, _)| key.starts_with(PREFIX)) {
        return false;
    }
    let named = |name: &str| name.ends_with(".weight") && !name.contains('/');
    file.format == Format::PyTorch
        || metadata.get("format") == Some("pt")
        || file.tensors.iter().any(|tensor| named(&tensor.name))
}
