//! Reading a header from its begin to its end, whose length nothing tells beforehand.

use super::error::GgufError;
use crate::bytes::read_at::Filled;
use crate::error::CheckpointError;
use crate::file::DataFile;

/// Bytes that are read at once. Vocabularies are passed over in pieces of this size.
const WINDOW: usize = 64 << 10;

/// A place in a file.
pub(super) struct Reader<'a> {
    file: &'a DataFile,
    /// Bytes of the file.
    pub length: u64,
    /// What comes next.
    pub at: u64,
    window: Vec<u8>,
    /// Where in the file the window begins.
    begin: u64,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a DataFile, length: u64) -> Reader<'a> {
        Reader { file, length, at: 0, window: Vec::new(), begin: 0 }
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, CheckpointError> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes, what)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, CheckpointError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes, what)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A text of at most `longest` bytes; `None` if it is longer, and then it is passed over.
    pub fn text(
        &mut self,
        longest: u64,
        what: &'static str,
    ) -> Result<Option<String>, CheckpointError> {
        let length = self.u64(what)?;
        if length > longest {
            self.skip(length, what)?;
            return Ok(None);
        }
        let offset = self.at;
        self.has(length, what)?;
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes, what)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.wrong(offset, format!("{what} is not UTF-8"))),
        }
    }

    pub fn skip(&mut self, bytes: u64, what: &'static str) -> Result<(), CheckpointError> {
        self.has(bytes, what)?;
        self.at += bytes;
        Ok(())
    }

    pub fn wrong(&self, offset: u64, problem: String) -> CheckpointError {
        self.malformed(GgufError::Header { offset, problem })
    }

    pub fn malformed(&self, source: GgufError) -> CheckpointError {
        CheckpointError::malformed(&self.file.path, source)
    }

    fn has(&self, bytes: u64, what: &'static str) -> Result<(), CheckpointError> {
        match bytes <= self.length - self.at {
            true => Ok(()),
            false => Err(self.malformed(GgufError::CutShort { offset: self.length, what })),
        }
    }

    fn fill(&mut self, mut into: &mut [u8], what: &'static str) -> Result<(), CheckpointError> {
        self.has(into.len() as u64, what)?;
        while !into.is_empty() {
            let within = self.at.checked_sub(self.begin).and_then(|at| usize::try_from(at).ok());
            let ready = within.and_then(|at| self.window.get(at..)).unwrap_or(&[]);
            if ready.is_empty() {
                self.read_window(what)?;
                continue;
            }
            let length = ready.len().min(into.len());
            let (now, rest) = into.split_at_mut(length);
            now.copy_from_slice(&ready[..length]);
            self.at += length as u64;
            into = rest;
        }
        Ok(())
    }

    /// Reads a window from here on.
    fn read_window(&mut self, what: &'static str) -> Result<(), CheckpointError> {
        let length = (self.length - self.at).min(WINDOW as u64) as usize;
        self.begin = self.at;
        self.window.resize(length, 0);
        let filled = self.file.file.fill_at(&mut self.window, self.at);
        match filled.map_err(|e| CheckpointError::storage("read", &self.file.path, e))? {
            Filled::Wholly => Ok(()),
            Filled::Only(n) => {
                let offset = self.at + n as u64;
                Err(self.malformed(GgufError::CutShort { offset, what }))
            }
        }
    }
}
