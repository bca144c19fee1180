use super::*;
use crate::bytes::read_at::ReadAt;
use crate::file::DataFile;
use crate::format::Format;
use crate::tensor::FileDType;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use warmstart_graph::Shape;

/// Zeros, and how many were read.
#[derive(Debug)]
struct Counted(Arc<AtomicU64>);

impl ReadAt for Counted {
    fn length(&self) -> io::Result<u64> {
        Ok(BYTES)
    }
    fn read_some_at(&self, into: &mut [u8], _: u64) -> io::Result<usize> {
        into.fill(0);
        self.0.fetch_add(into.len() as u64, Ordering::Relaxed);
        Ok(into.len())
    }
}

const BYTES: u64 = 1000;

/// As a pickle may have them: each would have the whole entry read for a checksum of nothing.
#[test]
fn an_entry_is_not_read_for_each_of_its_empty_tensors() {
    let read = Arc::new(AtomicU64::new(0));
    let (path, format) = (Path::new("m.pt"), Format::PyTorch);
    let file = DataFile::new(path, Box::new(Counted(read.clone())), None).unwrap();
    let tensor = |name: usize, elements: u64| {
        let shape = Shape::from([elements as usize]);
        let range = 0..elements;
        let mut tensor = TensorEntry::new(name.to_string(), FileDType::U8, shape, range);
        tensor.sealed = Some(0);
        tensor
    };
    let tensors: Vec<TensorEntry> =
        (0..50).map(|name| tensor(name, if name == 0 { BYTES } else { 0 })).collect();
    let mut open = OpenFile::new(path, format, vec![file], tensors, BTreeMap::new()).unwrap();
    let crc32 = Crc::Crc32.append(0, &[0; BYTES as usize]);
    open.sealed.push(Sealed::new(0, 0..BYTES, crc32));
    open.sealed[0].in_passing = true;
    assert!(open.tensors.iter().all(|tensor| Summed::new(&open, tensor).finish().is_ok()));
    assert_eq!(read.load(Ordering::Relaxed), 2 * BYTES);
    // Who does not ask for checksums has nothing compared, and nothing read for it.
    open.sealed[0].crc32 ^= 1;
    open.forget_sums();
    assert!(open.tensors.iter().any(|tensor| Summed::new(&open, tensor).finish().is_err()));
    let before = read.load(Ordering::Relaxed);
    assert!(open.tensors.iter().all(|tensor| Summed::unsummed(&open, tensor).finish().is_ok()));
    assert_eq!(read.load(Ordering::Relaxed), before);
}
