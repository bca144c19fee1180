//! Scalars as a TensorBoard event file.
//!
//! The file is a sequence of TFRecords (`tensorflow/core/lib/io/record_writer.h`), each an `Event`
//! message (`tensorflow/core/util/event.proto`). Only the fields that scalars need are declared.

use super::MetricsError;
use prost::Message;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    /// `optional`, so that 0 is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SessionLog.SessionStatus.START`.
const START: i32 = 1;

/// Writes scalars to a TensorBoard event file: `tensorboard --logdir DIRECTORY` shows them.
#[derive(Debug)]
pub struct EventWriter {
    file: PathBuf,
    writer: BufWriter<File>,
    /// One record, kept to be used again.
    record: Vec<u8>,
}

impl EventWriter {
    /// Makes a new event file in a directory, and the directory if need be. If `step` is not 0, the
    /// file tells TensorBoard that the run was resumed there: it then hides what earlier files of
    /// the directory hold for that step and later ones.
    ///
    /// # Errors
    /// If the file cannot be made or written.
    pub fn create(directory: &Path, step: u64) -> Result<EventWriter, MetricsError> {
        fs::create_dir_all(directory).map_err(MetricsError::io("create", directory))?;
        let (file, opened) = create_unique(directory)?;
        let mut writer =
            EventWriter { file, writer: BufWriter::new(opened), record: Vec::with_capacity(64) };
        writer.write(&Event {
            wall_time: now(),
            step: 0,
            what: Some(What::FileVersion("brain.Event:2".into())),
        })?;
        if step > 0 {
            writer.write(&Event {
                wall_time: now(),
                step: signed(step),
                what: Some(What::SessionLog(SessionLog { status: START })),
            })?;
        }
        writer.flush()?;
        Ok(writer)
    }

    /// The event file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Writes the value of a tag at a step. TensorBoard holds it as `f32`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<(), MetricsError> {
        let value = Value { tag: tag.to_owned(), simple_value: Some(value as f32) };
        self.write(&Event {
            wall_time: now(),
            step: signed(step),
            what: Some(What::Summary(Summary { value: vec![value] })),
        })
    }

    /// Hands everything written so far to the operating system.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self) -> Result<(), MetricsError> {
        self.writer.flush().map_err(MetricsError::io("write", &self.file))
    }

    fn write(&mut self, event: &Event) -> Result<(), MetricsError> {
        frame(event, &mut self.record);
        self.writer.write_all(&self.record).map_err(MetricsError::io("write", &self.file))
    }
}

/// TensorBoard reads every file with `tfevents` in its name, in the order of the names. Runs that
/// begin within one second, in one process or several, get different ones.
fn create_unique(directory: &Path) -> Result<(PathBuf, File), MetricsError> {
    let seconds = now() as u64;
    let process = std::process::id();
    let mut number = 0u32;
    loop {
        let name = format!("events.out.tfevents.{seconds:010}.warmstart.{process}.{number}");
        let file = directory.join(name);
        match File::create_new(&file) {
            Ok(opened) => return Ok((file, opened)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(MetricsError::io("create", &file)(error)),
        }
    }
}

/// The TFRecord of an event: its length, that length's checksum, the message, its checksum.
fn frame(event: &Event, record: &mut Vec<u8>) {
    let length = (event.encoded_len() as u64).to_le_bytes();
    record.clear();
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked(&length));
    record.extend_from_slice(&event.encode_to_vec());
    let checksum = masked(&record[12..]);
    record.extend_from_slice(&checksum);
}

/// The CRC-32C as TFRecords hold it (`tensorflow/core/lib/hash/crc32c.h`): rotated and offset, so
/// that the checksum of bytes which themselves hold checksums stays strong.
fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn signed(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

fn now() -> f64 {
    // A clock set before 1970 is no reason to lose the metrics.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32C bit by bit from its polynomial, independent of the crate that writes.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
        })
    }

    fn unmasked(bytes: &[u8]) -> u32 {
        u32::from_le_bytes(bytes.try_into().unwrap()).wrapping_sub(0xa282_ead8).rotate_left(15)
    }

    /// The messages of a file, their checksums verified.
    fn messages(file: &Path) -> Vec<Vec<u8>> {
        let bytes = fs::read(file).unwrap();
        let mut rest = &bytes[..];
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(unmasked(&rest[8..12]), crc(&rest[..8]));
            let message = &rest[12..12 + length];
            assert_eq!(unmasked(&rest[12 + length..16 + length]), crc(message));
            messages.push(message.to_vec());
            rest = &rest[16 + length..];
        }
        messages
    }

    /// Every message begins with the wall time, a double in field 1.
    fn after_wall_time(message: &[u8]) -> &[u8] {
        assert_eq!(message[0], 1 << 3 | 1);
        let time = f64::from_le_bytes(message[1..9].try_into().unwrap());
        assert!(time > 1.7e9, "seconds since 1970");
        &message[9..]
    }

    #[test]
    fn a_file_reads_back_byte_for_byte() {
        let directory = tempfile::tempdir().unwrap();
        let mut events = EventWriter::create(directory.path(), 0).unwrap();
        events.scalar("loss", 300, 1.5).unwrap();
        events.scalar("loss", 301, 0.0).unwrap();
        events.flush().unwrap();
        let messages = messages(events.file());
        assert_eq!(messages.len(), 3);
        assert_eq!(after_wall_time(&messages[0]), b"\x1a\x0dbrain.Event:2");
        // Field 2: step 300 as a varint. Field 5: summary {1: value {1: tag, 2: float}}.
        assert_eq!(
            after_wall_time(&messages[1]),
            b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\xc0\x3f"
        );
        assert_eq!(
            after_wall_time(&messages[2]),
            b"\x10\xad\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x00\x00"
        );
    }

    #[test]
    fn a_resumed_run_says_where() {
        let directory = tempfile::tempdir().unwrap();
        let first = EventWriter::create(directory.path(), 0).unwrap();
        let resumed = EventWriter::create(directory.path(), 5).unwrap();
        assert!(first.file() < resumed.file());
        let messages = messages(resumed.file());
        assert_eq!(after_wall_time(&messages[1]), b"\x10\x05\x3a\x02\x08\x01");
        assert_eq!(super::signed(u64::MAX), i64::MAX);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = EventWriter::create(&file, 0).unwrap_err().to_string();
        assert!(error.starts_with(&format!("could not create `{}`", file.display())), "{error}");
    }

    #[test]
    fn the_independent_checksum_is_one() {
        // RFC 3720, appendix B.4: 32 bytes of zeros.
        assert_eq!(crc(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc(b"123456789"), 0xe306_9283);
    }
}
