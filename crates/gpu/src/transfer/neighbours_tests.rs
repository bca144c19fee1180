//! Pieces of one file, with gaps between them and without, through every way into memory.

use super::*;
use crate::device::gpu::{Gpu, GpuOptions, MemoryKind};
use crate::device::locked;
use crate::origin::Origin;
use crate::session::Session;
use crate::transfer::fill::{ByteSource, Fill};
use crate::{Conversion, SourceDType};
use proptest::prelude::*;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

/// A file of so many bytes, and which ranges of it were read.
struct File {
    length: u64,
    read: Mutex<Vec<(u64, u64)>>,
}

fn byte(place: u64) -> u8 {
    (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

impl ByteSource for File {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset + into.len() as u64;
        locked(&self.read).push((offset, end));
        // As far as there is something: a failed read leaves garbage behind.
        for (place, byte) in (offset..end.min(self.length)).zip(into) {
            *byte = self::byte(place);
        }
        if end <= self.length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn read_each_at_cached(&self, offset: u64, into: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        let mut whole = vec![0; into.iter().map(|piece| piece.len()).sum()];
        let read = self.read_at(offset, &mut whole);
        let mut rest = &whole[..];
        for piece in into {
            let (own, after) = rest.split_at(piece.len());
            piece.copy_from_slice(own);
            rest = after;
        }
        read
    }
}

/// A part of it, and what came for it.
struct Part<'a> {
    file: &'a File,
    came: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl ByteSource for Part<'_> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, into)?;
        self.came(offset, into);
        Ok(())
    }

    fn file(&self) -> Option<&dyn ByteSource> {
        Some(self.file)
    }

    fn came(&self, offset: u64, bytes: &[u8]) {
        locked(&self.came).push((offset, bytes.to_vec()));
    }
}

fn variable(name: String, elements: usize, dtype: DType) -> Variable {
    let (shape, location) = (Shape::from([elements]), Location::caller());
    let (initializer, role) = (Initializer::Zeros, Role::Trainable);
    Variable { name, shape, dtype, initializer, role, location }
}

/// Kinds of devices, whose memory is filled in different ways.
const KINDS: usize = 4;

fn device(kind: usize) -> Gpu {
    let memory = [MemoryKind::Mappable, MemoryKind::Staged][kind / 2];
    let device_type = [wgpu::DeviceType::Cpu, wgpu::DeviceType::DiscreteGpu][kind % 2];
    let options = GpuOptions { memory: Some(memory), ..Default::default() };
    Gpu::with(&options).unwrap().taken_for(device_type)
}

/// Restores variables of these elements that begin at these offsets of a file; whether to cast them.
fn restore(
    gpu: &Gpu,
    file: &File,
    layout: &[(u64, usize)],
    dtype: DType,
    cast: bool,
) -> Result<(), SessionError> {
    // Declared in another order than the file's.
    let name = |index: usize| format!("v{index}");
    let variables: Vec<Variable> =
        layout.iter().enumerate().rev().map(|(i, of)| variable(name(i), of.1, dtype)).collect();
    let mut session = Session::new(gpu);
    session.declare(&variables).unwrap();
    session.initialize_missing(1).unwrap();
    let parts: Vec<Part<'_>> =
        layout.iter().map(|_| Part { file, came: Mutex::default() }).collect();
    let names: Vec<String> = (0..layout.len()).map(name).collect();
    let conversion = cast.then_some(Conversion { from: SourceDType::U8, transpose: false });
    let fills: Vec<Fill<'_>> = names
        .iter()
        .zip(layout)
        .zip(&parts)
        .map(|((variable, &(offset, _)), source)| {
            let (file, name) = (Path::new("a").into(), variable.as_str().into());
            let origin = Origin::Restored { file, name, step: None };
            Fill { variable, source, offset, conversion, leading: None, origin }
        })
        .collect();
    let restored = session.restore(fills.clone(), &|_| {});
    let size = if cast { 1 } else { dtype.size() };
    for (((name, &(offset, elements)), part), fill) in
        names.iter().zip(layout).zip(&parts).zip(&fills)
    {
        let mut found = Vec::new();
        session
            .snapshot_read(&[name], &mut |_, piece| {
                found.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        let origin = session.variable(name).unwrap().origin.clone();
        if restored.is_err() {
            assert!(found.iter().all(|&byte| byte == 0) && origin != fill.origin, "{name}");
            continue;
        }
        let raw: Vec<u8> = (offset..offset + (elements * size) as u64).map(byte).collect();
        let expected = match cast {
            true => raw.iter().flat_map(|&byte| f32::from(byte).to_le_bytes()).collect(),
            false => raw.clone(),
        };
        assert!(found == expected && origin == fill.origin, "{name} at {offset}");
        // Each was told of its own bytes, all of them and once.
        let mut came = locked(&part.came).clone();
        came.sort_unstable();
        let mut at = offset;
        for (from, bytes) in &came {
            assert!(*from == at && bytes[..] == raw[(at - offset) as usize..][..bytes.len()]);
            at += bytes.len() as u64;
        }
        assert_eq!(at, offset + raw.len() as u64, "{name}");
    }
    restored.map(drop)
}

#[test]
fn a_thousand_neighbours_are_read_in_a_few_pieces() {
    // At odd places, and so long that a run ends somewhere.
    let layout: Vec<(u64, usize)> = (0..1000).map(|i| (3 + i * 1000, 250)).collect();
    for gpu in (0..KINDS).map(device) {
        let file = File { length: 3 + 1_000_000, read: Mutex::default() };
        restore(&gpu, &file, &layout, DType::F32, false).unwrap();
        let mut read = locked(&file.read).clone();
        read.sort_unstable();
        assert!(read.len() < 20, "{} reads", read.len());
        let most = read.iter().map(|(from, to)| to - from).max();
        assert!(most.is_some_and(|most| most <= LARGEST_RUN));
        let (mut at, whole) = (3, 3 + 1_000_000);
        for (from, to) in read {
            assert_eq!(from, at, "each byte once");
            at = to;
        }
        assert_eq!(at, whole);
    }
}

#[test]
fn what_is_large_or_apart_is_read_by_itself() {
    let large = LARGEST_PIECE as usize / 4 + 1;
    // A gap, a large one beside two small ones, and two that are the same bytes.
    let layout =
        [(0, 10), (44, 10), (84, large), (84 + 4 * large as u64, 5), (70_000, 7), (70_000, 7)];
    for gpu in (0..KINDS).map(device) {
        let file = File { length: 1 << 20, read: Mutex::default() };
        restore(&gpu, &file, &layout, DType::F32, false).unwrap();
        assert_eq!(locked(&file.read).len(), layout.len(), "{:?}", file.read);
    }
}

#[test]
fn a_file_that_ends_early_is_told_of_the_variable_it_ends_in() {
    let layout: Vec<(u64, usize)> = (0..300).map(|i| (7 + i * 40, 10)).collect();
    let end = 7 + 300 * 40;
    for gpu in (0..KINDS).map(device) {
        for cut in [1, 40] {
            let file = File { length: end - cut, read: Mutex::default() };
            let error = restore(&gpu, &file, &layout, DType::F32, false).unwrap_err();
            let SessionError::Source { name, offset, bytes, .. } = error else { panic!("{error}") };
            assert_eq!((name.as_str(), offset, bytes), ("v299", end - 40, 40));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_sizes_gaps_and_ends(
        sizes in prop::collection::vec((0usize..6000, 0u64..3, 0u64..300), 1..60),
        kind in 0..KINDS, cast: bool, cut in 0u64..3000,
    ) {
        let dtype = if cast { DType::F32 } else { DType::F16 };
        let size = if cast { 1 } else { 2 };
        let (mut layout, mut at, mut end) = (Vec::new(), 5, 5);
        for (elements, relation, by) in sizes {
            // Behind the one before, with a gap between, or partly over it.
            at = match relation {
                0 => at,
                1 => at + by,
                _ => at.saturating_sub(by),
            };
            layout.push((at, elements));
            at += (elements * size) as u64;
            end = end.max(at);
        }
        let length = end.saturating_sub(cut.saturating_sub(1500));
        let file = File { length, read: Mutex::default() };
        let beyond = |&(at, elements): &(u64, usize)| {
            elements > 0 && at + (elements * size) as u64 > length
        };
        let fails = layout.iter().any(beyond);
        match restore(&device(kind), &file, &layout, dtype, cast) {
            Ok(()) => prop_assert!(!fails),
            Err(SessionError::Source { name, offset, .. }) => {
                let of = layout[name[1..].parse::<usize>().unwrap()];
                prop_assert!(beyond(&of) && of.0 == offset, "{} at {}", name, offset);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
