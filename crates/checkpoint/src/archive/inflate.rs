//! An entry that was compressed by deflate, read like a file: anywhere, by several threads.

use super::SharedFile;
use crate::read_at::ReadAt;
use flate2::read::DeflateDecoder;
use rawzip::RangeReader;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Streams that are kept for whoever reads on from where they are: as many as threads may read.
const STREAMS: usize = 8;

/// The bytes of a compressed entry. There is no way into the middle of a deflate stream, so whoever
/// reads goes on from the nearest place before that a reader has come to, or from the begin. A
/// restore reads a tensor's pieces in order, by several threads: each has a stream of its own soon,
/// and memory is that of the streams, some 80 KiB each.
pub(super) struct Inflated {
    reader: SharedFile,
    stored: Range<u64>,
    size: u64,
    streams: Mutex<Vec<Stream>>,
}

struct Stream {
    decoder: DeflateDecoder<RangeReader<SharedFile>>,
    /// Where it has come to.
    at: u64,
}

impl Inflated {
    /// The entry that lies here and has this many bytes once it is inflated.
    pub fn new(reader: SharedFile, stored: Range<u64>, size: u64) -> Inflated {
        Inflated { reader, stored, size, streams: Mutex::new(Vec::new()) }
    }

    /// The nearest stream that has not come further than `offset`.
    fn stream(&self, offset: u64) -> Stream {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let before = streams.iter().enumerate().filter(|(_, stream)| stream.at <= offset);
        match before.max_by_key(|(_, stream)| stream.at).map(|(index, _)| index) {
            Some(index) => streams.swap_remove(index),
            None => {
                let compressed = RangeReader::new(self.reader.clone(), self.stored.clone());
                Stream { decoder: DeflateDecoder::new(compressed), at: 0 }
            }
        }
    }

    fn keep(&self, stream: Stream) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.at < self.size && streams.len() < STREAMS {
            streams.push(stream);
        }
    }
}

impl ReadAt for Inflated {
    fn length(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_some_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let length = self.size.saturating_sub(offset).min(into.len() as u64) as usize;
        if length == 0 {
            return Ok(0);
        }
        let mut stream = self.stream(offset);
        let skipped = offset - stream.at;
        if io::copy(&mut stream.decoder.by_ref().take(skipped), &mut io::sink())? < skipped {
            return Err(ends_early());
        }
        // `into` may be memory of the device, which the decoder would read what it wrote from.
        let mut inflated = vec![0; length.min(64 << 10)];
        for piece in into[..length].chunks_mut(inflated.len()) {
            let inflated = &mut inflated[..piece.len()];
            stream.decoder.read_exact(inflated).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => ends_early(),
                _ => error,
            })?;
            piece.copy_from_slice(inflated);
        }
        stream.at = offset + length as u64;
        self.keep(stream);
        Ok(length)
    }
}

fn ends_early() -> io::Error {
    let problem = "the compressed entry of the archive ends early";
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

impl fmt::Debug for Inflated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inflated({:?} to {} bytes)", self.stored, self.size)
    }
}
