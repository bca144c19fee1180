//! Reading a tensor on the host, piece by piece.

use crate::checkpoint::Checkpoint;
use crate::error::CheckpointError;
use crate::read::summed::Summed;
use crate::tensor::TensorEntry;

impl Checkpoint {
    /// Reads a tensor's bytes on the host, from the first to the last; `None` if there is no tensor
    /// of this name. For looking at values: restoring them needs no bytes on the host.
    ///
    /// ```
    /// # use warmstart_checkpoint::Checkpoint;
    /// # let directory = tempfile::tempdir()?;
    /// # let file = directory.path().join("one.safetensors");
    /// # let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    /// # let length = (header.len() as u64).to_le_bytes();
    /// # std::fs::write(&file, [&length[..], header, &1f32.to_le_bytes()].concat())?;
    /// let checkpoint = Checkpoint::open(&file)?;
    /// let mut reader = checkpoint.reader("a").ok_or("there is no tensor `a`")?;
    /// let mut bytes = [0; 1024];
    /// assert_eq!(reader.read(&mut bytes)?, 4);
    /// assert_eq!(bytes[..4], 1f32.to_le_bytes());
    /// assert_eq!(reader.read(&mut bytes)?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reader(&self, tensor: &str) -> Option<TensorReader<'_>> {
        let tensor = self.tensor(tensor)?;
        let summed = Summed::new(self.open_file(), tensor);
        Some(TensorReader { tensor, summed, at: tensor.range.start })
    }
}

/// The bytes of a tensor, read in order. What comes of [`Checkpoint::reader`].
pub struct TensorReader<'a> {
    tensor: &'a TensorEntry,
    summed: Summed<'a>,
    at: u64,
}

impl TensorReader<'_> {
    /// Reads the next bytes, as many as there are left and `into` has room for; 0 means the end.
    /// With the last of them the tensor is held against its checksum, if the file has one.
    ///
    /// # Errors
    /// [`CheckpointError::CutShort`], [`CheckpointError::Read`], [`CheckpointError::Inflate`],
    /// and with the last bytes [`CheckpointError::Checksum`], or [`CheckpointError::Changed`] if there
    /// is no checksum and the file was written to since it was opened.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, CheckpointError> {
        let left = self.tensor.range.end - self.at;
        let length = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(0);
        }
        self.summed.read_at(self.at, &mut into[..length])?;
        self.at += length as u64;
        if self.at == self.tensor.range.end {
            self.summed.finish()?;
        }
        Ok(length)
    }

    /// What the file says about the tensor.
    pub fn tensor(&self) -> &TensorEntry {
        self.tensor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_make_up_the_tensor() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.safetensors");
        let header = br#"{"a":{"dtype":"U8","shape":[7],"data_offsets":[0,7]},
            "empty":{"dtype":"U8","shape":[0],"data_offsets":[7,7]}}"#;
        let length = (header.len() as u64).to_le_bytes();
        std::fs::write(&file, [&length[..], header, b"abcdefg"].concat()).unwrap();
        let checkpoint = Checkpoint::open(&file).unwrap();
        for size in 1..9 {
            let mut reader = checkpoint.reader("a").unwrap();
            let (mut all, mut into) = (Vec::new(), vec![0; size]);
            loop {
                match reader.read(&mut into).unwrap() {
                    0 => break,
                    n => all.extend_from_slice(&into[..n]),
                }
            }
            assert_eq!(all, b"abcdefg");
        }
        assert_eq!(checkpoint.reader("empty").unwrap().read(&mut [0; 4]).unwrap(), 0);
        assert!(checkpoint.reader("b").is_none());
        let cut = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
        cut.set_len(8 + header.len() as u64 + 3).unwrap();
        let error = checkpoint.reader("a").unwrap().read(&mut [0; 7]).unwrap_err();
        assert!(matches!(error, CheckpointError::CutShort { found: 3, .. }), "{error}");
    }
}
