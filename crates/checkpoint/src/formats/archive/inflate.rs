//! An entry that was compressed by deflate, read like a file: anywhere, by several threads.
//!
//! Readers go on from the nearest place that one has come to, of which an archive keeps a few
//! dozen. What lies in another order in a compressed entry would be inflated over and over, and is
//! refused (of NumPy, beyond 64 MiB).

use super::SharedFile;
use crate::bytes::read_at::ReadAt;
use flate2::read::DeflateDecoder;
use rawzip::RangeReader;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Streams that an archive keeps for whoever reads on from where they are: as many as threads may
/// read.
const STREAMS: usize = 32;

/// The bytes of a compressed entry. There is no way into the middle of a deflate stream, so whoever
/// reads goes on from the nearest place before that a reader has come to, or from the begin. A
/// restore reads a tensor's pieces in order, by several threads: each has a stream of its own soon,
/// and memory is that of the streams, some 80 KiB each.
pub(super) struct Inflated {
    reader: SharedFile,
    stored: Range<u64>,
    size: u64,
    streams: Streams,
}

/// The streams of all compressed entries of an archive, those that were used last at the end.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<Vec<Stream>>>);

impl Streams {
    /// Keeps none.
    pub fn forget(&self) {
        self.lock().clear();
    }

    /// How many are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Stream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Stream {
    /// Where its entry begins in the archive.
    entry: u64,
    decoder: DeflateDecoder<RangeReader<SharedFile>>,
    /// Where it has come to.
    at: u64,
}

impl Inflated {
    /// The entry that lies here and has this many bytes once it is inflated.
    pub fn new(reader: SharedFile, stored: Range<u64>, size: u64, streams: Streams) -> Inflated {
        Inflated { reader, stored, size, streams }
    }

    /// The nearest stream that has not come further than `offset`.
    fn stream(&self, offset: u64) -> Stream {
        let mut streams = self.streams.lock();
        let before = streams.iter().enumerate();
        let before =
            before.filter(|(_, stream)| stream.entry == self.stored.start && stream.at <= offset);
        match before.max_by_key(|(_, stream)| stream.at).map(|(index, _)| index) {
            Some(index) => streams.remove(index),
            None => {
                let compressed = RangeReader::new(self.reader.clone(), self.stored.clone());
                let decoder = DeflateDecoder::new(compressed);
                Stream { entry: self.stored.start, decoder, at: 0 }
            }
        }
    }

    fn keep(&self, stream: Stream) {
        if stream.at < self.size {
            let mut streams = self.streams.lock();
            if streams.len() >= STREAMS {
                streams.remove(0);
            }
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

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Streams")
    }
}

impl fmt::Debug for Inflated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inflated({:?} to {} bytes)", self.stored, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use std::io::Write;

    #[test]
    fn as_few_streams_are_kept_as_readers_need() {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&[7; 1000]).unwrap();
        let stored = encoder.finish().unwrap();
        let length = stored.len() as u64;
        let mut file = tempfile::tempfile().unwrap();
        for _ in 0..100 {
            file.write_all(&stored).unwrap();
        }
        let (reader, streams) = (SharedFile(Arc::new(file)), Streams::default());
        let entries: Vec<Inflated> = (0..100)
            .map(|i| {
                let stored = i * length..(i + 1) * length;
                Inflated::new(reader.clone(), stored, 1000, streams.clone())
            })
            .collect();
        for offset in [0, 500, 10] {
            for entry in &entries {
                let mut into = [0; 20];
                assert_eq!(entry.read_some_at(&mut into, offset).unwrap(), 20);
                assert_eq!(into, [7; 20]);
            }
            assert_eq!(streams.kept(), STREAMS);
        }
        streams.forget();
        // What has come to its end is of no use to anyone.
        entries[0].read_some_at(&mut [0; 1000], 0).unwrap();
        assert_eq!(streams.kept(), 0);
    }
}
