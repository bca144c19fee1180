//! What a file is that is not safetensors, told by its content.

use crate::bytes::read_at::{Filled, ReadAt};
use crate::formats::tensorflow::{has_data, index_of};
use std::fmt;
use std::path::Path;

/// The kinds of files that are taken for checkpoints by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// What git has in place of a file that git-lfs keeps elsewhere.
    GitLfsPointer,
    /// A page for a browser.
    Html,
    /// Compressed with gzip.
    Gzip,
    /// What `torch.save` writes, since PyTorch 1.6.
    PyTorch,
    /// What `torch.jit.save` writes: a program with its weights.
    TorchScript,
    /// What `torch.save` wrote before PyTorch 1.6.
    PyTorchLegacy,
    /// Some other Python pickle.
    Pickle,
    /// NumPy's `.npy`.
    NumPy,
    /// NumPy's `.npz`.
    NumPyArchive,
    /// Keras 3's `.keras`.
    Keras,
    /// A ZIP archive of something else.
    Zip,
    /// Such as Keras's `.h5`.
    Hdf5,
    /// llama.cpp's format.
    Gguf,
    /// The `.index` of a TensorFlow bundle, or a TensorFlow checkpoint of before 2016.
    TensorFlowTable,
    /// What TensorFlow's first `Saver` wrote, until 2016.
    TensorFlowV1,
    /// The `.meta` beside a TensorFlow bundle: its graph.
    TensorFlowMeta,
    /// The `.data-00000-of-00001` of a TensorFlow bundle.
    TensorFlowData,
    /// The name that the files of a TensorFlow bundle begin with, such as `model.ckpt`.
    TensorFlowPrefix,
    /// The file `checkpoint`, with which TensorFlow says which checkpoint is the newest.
    TensorFlowState,
    /// The `model.safetensors.index.json` of a checkpoint in several files.
    ShardIndex,
    /// Some other JSON.
    Json,
    /// Some other text.
    Text,
    /// A picture.
    Picture,
    /// The name of a model in ONNX's format: a program with its weights.
    Onnx,
}

/// What checkpoints are read from, for whoever has something else.
pub(super) const KINDS: &str = "checkpoints are read from safetensors, PyTorch's `.pt`, `.pth` and `.bin`, TensorFlow's \
     `.index`, NumPy's `.npy` and `.npz`, and GGUF; name one of these";

impl FileKind {
    /// What to do to get at the weights.
    pub const fn help(self) -> &'static str {
        use FileKind::*;
        match self {
            GitLfsPointer => "run `git lfs pull` in the repository that it came from",
            Html => "download the file itself",
            Gzip => "unpack it with `gunzip` first",
            PyTorch | NumPy | NumPyArchive | Gguf => {
                "open it by itself, or give it a name that does not stand for safetensors"
            }
            TorchScript => {
                "in Python, save its weights alone with `torch.save(torch.jit.load(\"<this \
                 file>\").state_dict(), \"model.pt\")`"
            }
            PyTorchLegacy => {
                "in Python, save it again with `torch.save(torch.load(\"<this file>\", \
                 weights_only=True), \"model.pt\")`"
            }
            Pickle => {
                "it may run any program when it is loaded; ask its author for a safetensors file"
            }
            Keras => {
                "in Python, load it with `keras.saving.load_model` and write its weights with \
                 `safetensors.numpy.save_file`"
            }
            Zip => "unpack it, and name the `.safetensors` file in it",
            Hdf5 => {
                "in Python, read it with `h5py` and write it with `safetensors.numpy.save_file`"
            }
            TensorFlowTable | TensorFlowData | TensorFlowPrefix | TensorFlowState => {
                "open it by the name that TensorFlow gave it, with all its files beside it"
            }
            TensorFlowV1 => {
                "in Python, read it with `tf.compat.v1.train.NewCheckpointReader` and save it with \
                 `safetensors.numpy.save_file`"
            }
            TensorFlowMeta => {
                "it holds no weights; open the `.index` beside it, or name both without their ends"
            }
            ShardIndex => "open it by its own name, `<name>.safetensors.index.json`",
            Json => "name the `.safetensors` file beside it",
            Text | Picture => KINDS,
            Onnx => {
                "in Python, read it with `onnx.load` and write its initializers with \
                 `safetensors.numpy.save_file`"
            }
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use FileKind::*;
        f.write_str(match self {
            GitLfsPointer => "a git-lfs pointer, a small text in place of the weights",
            Html => {
                "an HTML page or an answer in XML, as a server sends when a download needs a login or \
                 the address is wrong"
            }
            Gzip => "a gzip archive",
            PyTorch => "a PyTorch file (`torch.save`)",
            TorchScript => "a TorchScript archive (`torch.jit.save`), a program with its weights",
            PyTorchLegacy => "a PyTorch file of before version 1.6 (`torch.save`, without ZIP)",
            Pickle => "a Python pickle",
            NumPy => "a NumPy `.npy` array",
            NumPyArchive => "a NumPy `.npz` archive",
            Keras => "a Keras `.keras` archive",
            Zip => "a ZIP archive",
            Hdf5 => "an HDF5 file, such as Keras's `.h5`",
            Gguf => "a GGUF file",
            TensorFlowTable => {
                "a TensorFlow table: the `.index` of a checkpoint, or a checkpoint of before 2016"
            }
            TensorFlowV1 => {
                "a TensorFlow checkpoint in the format of before 2016 (Saver V1)"
            }
            TensorFlowMeta => "the graph of a TensorFlow checkpoint",
            TensorFlowData => "the data of a TensorFlow checkpoint",
            TensorFlowPrefix => "the prefix of a TensorFlow checkpoint",
            TensorFlowState => {
                "TensorFlow's file `checkpoint`, which names the newest checkpoint but holds no weights"
            }
            ShardIndex => "the index of a checkpoint in several files",
            Json => "a JSON text",
            Text => "a text, and no checkpoint",
            Picture => "a picture, and no checkpoint",
            Onnx => "an ONNX model, a program with its weights",
        })
    }
}

/// TensorFlow's tables are LevelDB's, and end with LevelDB's number.
const TABLE_END: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();
/// How the first pickle of an old PyTorch file begins: protocol 2 and torch's number.
const TORCH_LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
/// Where a ZIP archive has the length of its first file's name, and the name.
const ZIP_NAME: (usize, usize) = (26, 30);

impl FileKind {
    /// What a path means that is not a file, or a file that its content does not tell.
    pub(crate) fn by_name(path: &Path) -> Option<FileKind> {
        let name = path.file_name()?.to_str()?;
        let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        if let Some((_, shard)) = name.rsplit_once(".data-")
            && shard.split_once("-of-").is_some_and(|(n, of)| digits(n) && digits(of))
        {
            return Some(FileKind::TensorFlowData);
        }
        if path.is_file() {
            return match name.rsplit_once('.') {
                Some((_, "index")) => Some(FileKind::TensorFlowTable),
                Some((_, "meta")) => Some(FileKind::TensorFlowMeta),
                Some((_, "onnx")) => Some(FileKind::Onnx),
                None if name == "checkpoint" => Some(FileKind::TensorFlowState),
                _ => None,
            };
        }
        let prefix = || index_of(path).is_file() || has_data(&index_of(path));
        (!path.exists() && prefix()).then_some(FileKind::TensorFlowPrefix)
    }
}

/// Looks at the first bytes of a file that is no safetensors, and at its last.
pub(super) fn recognise(start: &[u8], source: &dyn ReadAt, file_length: u64) -> Option<FileKind> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(word.as_bytes()))
    };
    let has = |word: &str| text.windows(word.len()).any(|bytes| bytes == word.as_bytes());
    let ends_as_table = || {
        let mut end = [0; TABLE_END.len()];
        let at = file_length.checked_sub(end.len() as u64);
        let read = at.map(|at| source.fill_at(&mut end, at));
        matches!(read, Some(Ok(Filled::Wholly))) && end == TABLE_END
    };
    if begins("version https://git-lfs") {
        Some(FileKind::GitLfsPointer)
    } else if begins("<") && is_text(start) {
        // Pages may begin with a comment, a script or `<?xml`, and stores of files answer in XML.
        Some(FileKind::Html)
    } else if start.starts_with(&[0x1f, 0x8b]) {
        Some(FileKind::Gzip)
    } else if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        Some(in_zip(start))
    } else if start.starts_with(b"\x89HDF\r\n\x1a\n") {
        Some(FileKind::Hdf5)
    } else if start.starts_with(b"GGUF") {
        Some(FileKind::Gguf)
    } else if start.starts_with(b"\x93NUMPY") {
        Some(FileKind::NumPy)
    } else if start.starts_with(TORCH_LEGACY) {
        Some(FileKind::PyTorchLegacy)
    } else if matches!(start, [0x80, 2..=5, opcode, ..] if b"}])(\x95ciKMJ\x8aXN".contains(opcode))
    {
        Some(FileKind::Pickle)
    } else if begins("model_checkpoint_path:") {
        Some(FileKind::TensorFlowState)
    } else if begins("{") && (has("\"weight_map\"") || has("\"total_size\"")) {
        Some(FileKind::ShardIndex)
    } else if begins("{") {
        Some(FileKind::Json)
    } else if ends_as_table() {
        Some(FileKind::TensorFlowTable)
    } else if [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"GIF87a", b"GIF89a"]
        .iter()
        .any(|begins| start.starts_with(begins))
    {
        Some(FileKind::Picture)
    } else if is_text(start) {
        Some(FileKind::Text)
    } else {
        None
    }
}

/// Whether these bytes are words. A header's length has zeros among its eight bytes.
fn is_text(start: &[u8]) -> bool {
    let text = match str::from_utf8(start) {
        Ok(text) => text,
        // A character may be cut off at the end of what was looked at.
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let control = |c: char| c.is_control() && !c.is_ascii_whitespace() && c != '\x1b';
    text.len() >= 8 && !text.contains(control)
}

/// Which program's archive it is, by the name of the first file in it.
fn in_zip(start: &[u8]) -> FileKind {
    let (length, name) = ZIP_NAME;
    let length = start.get(length..).and_then(|rest| rest.first_chunk::<2>());
    let length = length.map_or(0, |bytes| usize::from(u16::from_le_bytes(*bytes)));
    let name = start.get(name..).map_or(&[][..], |rest| &rest[..length.min(rest.len())]);
    if name.ends_with(b"/data.pkl") {
        FileKind::PyTorch
    } else if name.ends_with(b".npy") {
        FileKind::NumPyArchive
    } else if name == b"metadata.json" || name == b"config.json" {
        FileKind::Keras
    } else {
        FileKind::Zip
    }
}
