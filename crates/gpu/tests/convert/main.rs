//! Casts and transposes during a restore: the device against the CPU twin, bit for bit, on both
//! ways into device memory and with staging buffers far smaller than the variables.

#[path = "../common/mod.rs"]
mod common;
mod refused;

use common::{bytes_of, gpu_with, ways};
use proptest::prelude::*;
use rand::RngExt;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use warmstart_gpu::{
    ByteSource, Conversion, Fill, Gpu, LeadingRows, MemoryKind, Origin, Overwrite, Session,
    SessionError, SourceDType,
};
use warmstart_graph::random::{Philox, PhiloxRng};
use warmstart_graph::{DType, Initializer, Shape, Variable};

const DTYPES: [DType; 5] = [DType::F32, DType::F16, DType::Bf16, DType::I32, DType::U32];

/// Bytes in memory, behind some others, so that they begin at an odd place. Remembers which were
/// asked for.
struct Bytes {
    bytes: Vec<u8>,
    asked: Mutex<Vec<(u64, usize)>>,
    finish: Result<(), &'static str>,
    finished: Mutex<u32>,
}

const BEFORE: u64 = 3;

impl Bytes {
    fn new(bytes: Vec<u8>) -> Bytes {
        Bytes { bytes, asked: Mutex::default(), finish: Ok(()), finished: Mutex::default() }
    }
}

impl ByteSource for Bytes {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.asked.lock().unwrap().push((offset, into.len()));
        let at = (offset - BEFORE) as usize;
        let bytes = self.bytes.get(at..at + into.len());
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        // Every byte was asked for once.
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort_unstable();
        let mut end = BEFORE;
        for (offset, bytes) in asked {
            assert_eq!(offset, end);
            end += bytes as u64;
        }
        assert_eq!(end, BEFORE + self.bytes.len() as u64);
        *self.finished.lock().unwrap() += 1;
        self.finish.map_err(io::Error::other)
    }
}

fn variable(name: &str, dtype: DType, shape: impl Into<Shape>) -> Variable {
    Variable { dtype, ..common::variable(name, shape, Initializer::Ones) }
}

fn origin() -> Origin {
    Origin::Restored { file: Path::new("a.safetensors").into(), name: "x".into(), step: None }
}

fn fill<'a>(variable: &'a str, source: &'a Bytes, conversion: Conversion) -> Fill<'a> {
    let conversion = Some(conversion);
    Fill { variable, source, offset: BEFORE, conversion, leading: None, origin: origin() }
}

fn convert(
    gpu: &Gpu,
    variable: &Variable,
    conversion: Conversion,
    bytes: &[u8],
) -> Result<Vec<u8>, SessionError> {
    let mut session = Session::new(gpu);
    session.declare(std::slice::from_ref(variable))?;
    let source = Bytes::new(bytes.to_vec());
    let fill = fill(&variable.name, &source, conversion);
    let progress = Mutex::new(0);
    let done = session.restore([fill], &|bytes| *progress.lock().unwrap() = bytes)?;
    assert_eq!((done.bytes, *progress.lock().unwrap()), (bytes.len() as u64, bytes.len() as u64));
    assert_eq!(*source.finished.lock().unwrap(), 1);
    Ok(bytes_of(&session, &variable.name))
}

#[track_caller]
fn assert_same(device: &[u8], twin: &[u8], size: usize, about: &str) {
    assert_eq!(device.len(), twin.len(), "{about}");
    let differ = device.chunks(size).zip(twin.chunks(size)).position(|(a, b)| a != b);
    if let Some(at) = differ {
        let range = at * size..(at + 1) * size;
        panic!("{about}: element {at}: {:x?}, not {:x?}", &device[range.clone()], &twin[range]);
    }
}

/// Converts on the device and on the host.
#[track_caller]
fn assert_twin(gpu: &Gpu, variable: &Variable, conversion: Conversion, bytes: &[u8]) {
    let columns = variable.shape.last().copied().unwrap_or(1);
    let twin = conversion.evaluate(bytes, variable.dtype, columns).unwrap();
    let device = convert(gpu, variable, conversion, bytes).unwrap();
    let about = format!("{conversion:?} to {} {}", variable.dtype, variable.shape);
    assert_same(&device, &twin, variable.dtype.size(), &about);
}

/// To every dtype: all elements that fit are the twin's, and of others the first is named.
#[track_caller]
fn assert_cast(gpu: &Gpu, from: SourceDType, bytes: &[u8]) {
    for to in DTYPES.into_iter().filter(|to| from.casts_to(*to)) {
        let conversion = Conversion { from, transpose: false };
        let (fit, not): (Vec<&[u8]>, Vec<&[u8]>) = bytes
            .chunks_exact(from.size())
            .partition(|element| conversion.evaluate(element, to, 1).is_some());
        let (elements, fit) = (fit.len(), fit.concat());
        assert_twin(gpu, &variable("x", to, [elements]), conversion, &fit);
        // Each of them alone is found: spread among the fitting, as many as there is time for.
        let step = not.len().div_ceil(24).max(1);
        for element in not.first().into_iter().chain(not.iter().step_by(step)).chain(not.last()) {
            let place = fit.len() / 2 / from.size() * from.size();
            let mixed = [&fit[..place], element, &fit[place..]].concat();
            let error = convert(gpu, &variable("x", to, [elements + 1]), conversion, &mixed);
            match error.unwrap_err() {
                SessionError::OutOfRange { index, from: of, dtype, .. } => {
                    let at = (place / from.size()) as u64;
                    assert_eq!((index, of, dtype), (at, from, to), "{element:x?}");
                }
                other => panic!("{element:x?} of {from} to {to}: {other}"),
            }
        }
    }
}

#[test]
fn every_pattern_of_16_bits() {
    let gpu = common::gpu();
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for from in [SourceDType::F16, SourceDType::Bf16, SourceDType::I16, SourceDType::U16] {
        assert_cast(&gpu, from, &bytes);
    }
}

#[test]
fn every_pattern_of_8_bits() {
    let gpu = common::gpu();
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    use SourceDType::{Bool, F8E4M3, F8E5M2, I8, U8};
    for from in [Bool, U8, I8, F8E4M3, F8E5M2] {
        assert_cast(&gpu, from, &bytes);
    }
}

/// Doubles around every place where rounding to `f32` or `f16` changes its ways.
fn doubles() -> Vec<f64> {
    let mut values = vec![0.0, f64::INFINITY, f64::MAX, f64::MIN_POSITIVE, f64::from_bits(1)];
    values.extend((-152..=130).flat_map(|exponent| {
        let power = 2f64.powi(exponent);
        let step = power * f64::from(f32::EPSILON);
        let half_step = power * 2f64.powi(-10);
        [0.0, 0.5, 1.0, 1.5, 2.5]
            .into_iter()
            .flat_map(move |n| [power + n * step, power + n * half_step, power - n * step])
    }));
    let near: Vec<f64> =
        values.iter().flat_map(|value| [value.next_down(), *value, value.next_up()]).collect();
    let mut values: Vec<f64> = near.iter().flat_map(|value| [*value, -value]).collect();
    let nans = [0x7ff0_0000_0000_0001u64, 0xfff8_0000_0000_0000, 0x7ff4_5678_9abc_def0, u64::MAX];
    values.extend(nans.map(f64::from_bits));
    let mut random = Philox::new(3, "bytes").rng();
    values.extend((0..100_000).map(|_| f64::from_bits(random.random())));
    // Most random patterns are far out of the range of f32.
    values.extend((0..100_000).map(|_| {
        let exponent = random.random_range(1023u64 - 160..1023 + 135);
        f64::from_bits(random.random::<u64>() & 0x800f_ffff_ffff_ffff | exponent << 52)
    }));
    values
}

#[test]
fn doubles_round_to_the_nearest() {
    let gpu = common::gpu();
    let bytes: Vec<u8> = doubles().into_iter().flat_map(f64::to_le_bytes).collect();
    assert_cast(&gpu, SourceDType::F64, &bytes);
}

#[test]
fn singles_round_to_the_nearest_half() {
    let gpu = common::gpu();
    let mut random = Philox::new(4, "bytes").rng();
    let bytes: Vec<u8> = doubles()
        .into_iter()
        .map(|value| value as f32)
        .chain((0..100_000).map(|_| f32::from_bits(random.random())))
        .flat_map(f32::to_le_bytes)
        .collect();
    assert_cast(&gpu, SourceDType::F32, &bytes);
}

#[test]
fn integers_round_to_the_nearest_or_stay() {
    let gpu = common::gpu();
    let mut random = Philox::new(5, "bytes").rng();
    let mut values: Vec<u64> = vec![0, 1, u64::MAX, 1 << 63, (1 << 63) - 1];
    for bit in 0..64 {
        let near = |at: u64| [at.wrapping_sub(1), at, at.wrapping_add(1)];
        // Around powers of two, and around ties of 24 bits.
        let tie = (1u64 << bit) | ((1u64 << bit) >> 24);
        values.extend([1 << bit, tie, tie | ((1u64 << bit) >> 23)].into_iter().flat_map(near));
    }
    values.extend((0..20_000).map(|_| random.random::<u64>() >> random.random_range(0..64u32)));
    let signed: Vec<u64> = values.iter().flat_map(|v| [*v, v.wrapping_neg()]).collect();
    let long = |values: &[u64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let short =
        |values: &[u64]| values.iter().flat_map(|v| (*v as u32).to_le_bytes()).collect::<Vec<u8>>();
    for from in [SourceDType::I64, SourceDType::U64] {
        assert_cast(&gpu, from, &long(&signed));
        // What fits.
        for (to, least, greatest) in
            [(DType::I32, i64::from(i32::MIN), i64::from(i32::MAX)), (DType::U32, 0, 0xffff_ffff)]
        {
            let least = if from == SourceDType::U64 { 0 } else { least };
            let fit = |v: &u64| (least..=greatest).contains(&(*v as i64));
            let fitting: Vec<u64> = signed.iter().copied().filter(fit).collect();
            assert!(fitting.len() > 1000);
            let conversion = Conversion { from, transpose: false };
            let variable = variable("x", to, [fitting.len()]);
            assert_twin(&gpu, &variable, conversion, &long(&fitting));
        }
    }
    for from in [SourceDType::I32, SourceDType::U32] {
        assert_cast(&gpu, from, &short(&signed));
    }
}

/// Elements that this dtype can hold.
fn holdable(from: SourceDType, to: DType, elements: usize, seed: u64) -> Vec<u8> {
    let mut random = Philox::new(seed, "bytes").rng();
    let conversion = Conversion { from, transpose: false };
    let element = |random: &mut PhiloxRng| {
        let mut bytes: Vec<u8> = (0..from.size()).map(|_| random.random()).collect();
        if conversion.evaluate(&bytes, to, 1).is_none() {
            // A float without the upper bit of its exponent is below 2, an integer of few bits fits.
            let last = bytes.len() - 1;
            match from.is_float() {
                true => bytes[last] &= 0xbf,
                false => bytes[1.min(last)..].fill(0),
            }
            bytes[0] &= if last == 0 { 0x7f } else { 0xff };
        }
        bytes
    };
    (0..elements).flat_map(|_| element(&mut random)).collect()
}

#[test]
fn large_and_transposed_in_small_pieces() {
    // Rows that fit a piece many times, once, and not at all.
    let shapes = [[1, 1], [3, 5], [67, 129], [1023, 33], [9001, 3], [3, 9001], [1, 20_001]];
    for (way, (memory, staging)) in ways().into_iter().enumerate() {
        let gpu = gpu_with(memory, staging);
        let mut session = Session::new(&gpu);
        let mut variables = Vec::new();
        let mut conversions = Vec::new();
        for (number, shape) in shapes.into_iter().enumerate() {
            for (from, to) in pairs().filter(|pair| {
                // All pairs with one shape in one way, since each is a kernel to compile; with the others
                // what differs in layout.
                use SourceDType::{F16, F32, F64, U8};
                let [from, to] = [[U8, F16, F32, F64].contains(&pair.0), pair.1.is_float()];
                (way, number) == (0, 2) || from && to && pair.1 != DType::Bf16
            }) {
                let name = format!("{number}/{from}/{to}");
                variables.push(variable(&name, to, shape));
                conversions.push(Conversion { from, transpose: number != 1 });
            }
        }
        session.declare(&variables).unwrap();
        let sources: Vec<Bytes> = (0..)
            .zip(variables.iter().zip(&conversions))
            .map(|(seed, (v, c))| Bytes::new(holdable(c.from, v.dtype, v.shape.elements(), seed)))
            .collect();
        let fills: Vec<Fill<'_>> = variables
            .iter()
            .zip(&sources)
            .zip(&conversions)
            .map(|((variable, source), conversion)| fill(&variable.name, source, *conversion))
            .collect();
        session.restore(fills, &|_| {}).unwrap();
        for ((variable, source), conversion) in variables.iter().zip(&sources).zip(&conversions) {
            let twin = conversion.evaluate(&source.bytes, variable.dtype, variable.shape[1]);
            let device = bytes_of(&session, &variable.name);
            let about = format!("{memory:?} {staging} {conversion:?} {}", variable.shape);
            assert_same(&device, &twin.unwrap(), variable.dtype.size(), &about);
        }
    }
}

fn pairs() -> impl Iterator<Item = (SourceDType, DType)> {
    let all = |from: SourceDType| DTYPES.into_iter().map(move |to| (from, to));
    SourceDType::ALL.into_iter().flat_map(all).filter(|(from, to)| from.casts_to(*to))
}

#[test]
fn pieces_of_a_tensor_meet_without_a_seam() {
    // Several times the largest read.
    let gpu = gpu_with(MemoryKind::Mappable, 128 << 20);
    let bytes = holdable(SourceDType::F64, DType::F16, 2_500_001, 1);
    let straight = Conversion { from: SourceDType::F64, transpose: false };
    assert_twin(&gpu, &variable("x", DType::F16, [2_500_001]), straight, &bytes);
    let bytes = holdable(SourceDType::F32, DType::F16, 1_501 * 2_003, 1);
    let turned = Conversion { from: SourceDType::F32, transpose: true };
    assert_twin(&gpu, &variable("x", DType::F32, [1_501, 2_003]), turned, &bytes);
    assert_twin(&gpu, &variable("x", DType::F16, [2_003, 1_501]), turned, &bytes);
}

#[test]
fn the_rows_after_the_leading_ones_are_initialized() {
    for (memory, staging) in ways() {
        let gpu = gpu_with(memory, staging);
        let uniform = Initializer::Uniform { low: -1.0, high: 1.0 };
        // Odd rows of halves end in the middle of a word.
        let variables: Vec<Variable> = [DType::F16, DType::Bf16, DType::F32]
            .into_iter()
            .flat_map(|dtype| ["plain", "cast", "turned", "none", "all"].map(|name| (dtype, name)))
            .map(|(dtype, name)| {
                let whole = common::variable(&format!("{name}/{dtype}"), [9, 5], uniform.clone());
                Variable { dtype, ..whole }
            })
            .collect();
        let mut fresh = Session::new(&gpu);
        fresh.declare(&variables).unwrap();
        fresh.initialize_all(7, Overwrite::Refuse).unwrap();
        let mut session = Session::new(&gpu);
        session.declare(&variables).unwrap();
        session.initialize_all(1, Overwrite::Refuse).unwrap();
        let asked: Vec<(usize, Conversion)> = variables
            .iter()
            .map(|variable| {
                let own = SourceDType::from(variable.dtype);
                let kept = Conversion { from: own, transpose: false };
                match variable.name.split('/').next() {
                    Some("cast") => (3, Conversion { from: SourceDType::Bf16, ..kept }),
                    Some("turned") => (3, Conversion { from: SourceDType::F64, transpose: true }),
                    Some("none") => (0, kept),
                    Some("all") => (9, kept),
                    _ => (3, kept),
                }
            })
            .collect();
        let sources: Vec<Bytes> = asked
            .iter()
            .map(|(rows, conversion)| {
                Bytes::new(holdable(conversion.from, DType::F16, rows * 5, 2))
            })
            .collect();
        let grown = |rows| Origin::PartlyRestored {
            file: Path::new("a.safetensors").into(),
            name: "x".into(),
            step: None,
            rows,
            of: 9,
            initializer: uniform.clone(),
            seed: 7,
        };
        let fills: Vec<Fill<'_>> = variables
            .iter()
            .zip(&sources)
            .zip(&asked)
            .map(|((variable, source), (rows, conversion))| Fill {
                leading: Some(LeadingRows { rows: *rows, seed: 7 }),
                origin: grown(*rows),
                ..fill(&variable.name, source, *conversion)
            })
            .collect();
        session.restore(fills, &|_| {}).unwrap();
        // Rows are a part of what was restored, and nothing of the first initialization is left.
        assert_eq!(session.seed(), None);
        for ((variable, source), (rows, conversion)) in variables.iter().zip(&sources).zip(&asked) {
            let name = &variable.name;
            let mut wanted = conversion.evaluate(&source.bytes, variable.dtype, 5).unwrap();
            let split = wanted.len();
            wanted.extend_from_slice(&bytes_of(&fresh, name)[split..]);
            let about = format!("{memory:?} {name}");
            assert_same(&bytes_of(&session, name), &wanted, variable.dtype.size(), &about);
            assert_eq!(session.variable(name).unwrap().origin, grown(*rows));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_matrix(
        from in 0usize..15, to in 0usize..5, rows in 0usize..200, columns in 0usize..200,
        transpose: bool, way in 0usize..3, seed: u64,
    ) {
        let (from, to) = (SourceDType::ALL[from], DTYPES[to]);
        prop_assume!(from.casts_to(to));
        let (memory, staging) = ways()[way];
        let bytes = holdable(from, to, rows * columns, seed);
        let variable = variable("x", to, [rows, columns]);
        assert_twin(&gpu_with(memory, staging), &variable, Conversion { from, transpose }, &bytes);
    }
}
