//! Arrays in whatever a checkpoint may be too: `.npy`, `.npz`, safetensors.

use super::listed;
use super::table::{Cells, Help, Table};
use crate::elements::Elements;
use crate::error::Failure;
use std::path::Path;
use warmstart::checkpoint::{Checkpoint, CheckpointError, Format, TensorEntry};
use warmstart_checkpoint::{FileKind, FormatError, printable};
use warmstart_graph::words::{nearest, printable_path};

/// Whether a file that begins so holds arrays: NumPy's magic, a ZIP archive's, or safetensors' JSON
/// after a length of eight bytes.
pub fn begins(begin: &[u8]) -> bool {
    begin.starts_with(b"\x93NUMPY")
        || begin.starts_with(b"PK\x03\x04")
        || begin.get(7..10) == Some(b"\0{\"")
}

/// Reads an array, by name if there are several. The first dimension counts the rows; the others
/// are the columns.
pub fn read(file: &Path, array: Option<&str>, help: &'static Help) -> Result<Table, Failure> {
    let checkpoint = Checkpoint::open(file).map_err(|error| no_data(file, error))?;
    let tensor = choose(&checkpoint, file, array, help)?;
    let TensorEntry { name, shape, dtype, .. } = tensor;
    let what = format!("`{}`, array `{}`", printable_path(file), printable(name));
    let Some(mut elements) = Elements::of(&checkpoint, tensor) else {
        return Err(Failure::new(format!("{what} holds {dtype}, which are no numbers"))
            .help("save it as numbers"));
    };
    if shape.is_empty() {
        return Err(Failure::new(format!("{what} is one number, not rows of them"))
            .help("name an array whose first dimension counts the rows"));
    }
    // Only of an array without elements may this be more than can be counted: it has no rows either.
    let width = shape[1..].iter().try_fold(1usize, |width, &n| width.checked_mul(n)).unwrap_or(0);
    let mut values: Vec<f32> = Vec::new();
    loop {
        let piece = elements.next_piece().map_err(|error| no_data(file, error))?;
        if piece.is_empty() {
            break;
        }
        values.extend(piece.iter().map(|&value| value as f32));
    }
    let cells = Cells::Numbers { values, bytes: dtype.safetensors_name() == Some("U8") };
    // An `.npy` file is one array, which has no name.
    let array = (checkpoint.format() != Format::NumPy).then(|| name.to_string());
    Ok(Table { file: file.to_owned(), array, header: None, width, cells, help })
}

/// An error of reading a checkpoint, where the file is meant as data.
fn no_data(file: &Path, error: CheckpointError) -> Failure {
    let file = printable_path(file);
    match error {
        CheckpointError::Malformed {
            source: FormatError::Recognised { kind: FileKind::Zip },
            ..
        } => Failure::new(format!("`{file}` is a ZIP archive, and there are no arrays in it"))
            .help("unpack it, and name the file of data in it"),
        CheckpointError::Malformed { source, .. } => {
            Failure::new(format!("cannot read the data in `{file}`: {source}"))
        }
        CheckpointError::Inflate { tensor, .. } => Failure::new(format!(
            "cannot read the data in `{file}`: the compressed bytes of array `{}` are damaged",
            printable(&tensor)
        ))
        .help("copy the file again, or save it again"),
        error => error.into(),
    }
}

fn choose<'a>(
    checkpoint: &'a Checkpoint,
    file: &Path,
    array: Option<&str>,
    help: &Help,
) -> Result<&'a TensorEntry, Failure> {
    let file = printable_path(file);
    let tensors = checkpoint.tensors();
    let names: Vec<String> = tensors.iter().map(|tensor| tensor.name.to_string()).collect();
    match (array, tensors) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::new(format!("`{file}` holds {} arrays", names.len()))
            .help(format!("say which is meant with {}: {}", help.array, listed(&names)))),
        (Some(name), _) => checkpoint.tensor(name).ok_or_else(|| {
            let help = match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{}`?", printable(near)),
                None => format!("it holds {}", listed(&names)),
            };
            let name = printable(name);
            Failure::new(format!("`{file}` has no array `{name}`")).help(help)
        }),
    }
}
