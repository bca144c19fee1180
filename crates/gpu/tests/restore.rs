//! Restoring and saving bytes, on both ways into device memory: mapped and staged.

mod common;

use common::{bytes_of, gpu_with, variable, ways};
use proptest::prelude::*;
use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;
use warmstart_gpu::{
    ByteSource, Conversion, Fill, Gpu, GpuOptions, MemoryKind, Missing, Origin, Session,
    SessionError, SourceDType, VariableInfo,
};
use warmstart_graph::{DType, Initializer, TensorData, Variable};

/// A source that knows its bytes by their place, and fails or panics at one of them.
#[derive(Default)]
struct Pattern {
    salt: u64,
    fails_at: Option<u64>,
    panics_at: Option<u64>,
    largest_read: AtomicU64,
}

impl Pattern {
    fn byte(&self, place: u64) -> u8 {
        ((place ^ self.salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
    }

    fn bytes(&self, from: u64, count: u64) -> Vec<u8> {
        (from..from + count).map(|place| self.byte(place)).collect()
    }
}

impl ByteSource for Pattern {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let range = offset..offset + into.len() as u64;
        self.largest_read.fetch_max(into.len() as u64, Ordering::Relaxed);
        for (place, byte) in range.clone().zip(into) {
            *byte = self.byte(place);
        }
        // After writing: a failed read leaves garbage behind, as a real one may.
        if self.fails_at.is_some_and(|at| range.contains(&at)) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends early"));
        }
        assert!(!self.panics_at.is_some_and(|at| range.contains(&at)), "a source that panics");
        Ok(())
    }
}

#[test]
fn staging_takes_128_mib_at_most_if_nothing_is_said() {
    assert_eq!(GpuOptions::default().staging_bytes, 128 << 20);
}

fn restored(name: &str) -> Origin {
    Origin::Restored { file: Path::new("a.safetensors").into(), name: name.into(), step: Some(5) }
}

/// Bytes lie one after another in the source, so most are at odd offsets.
fn fills<'a>(variables: &'a [Variable], source: &'a Pattern) -> Vec<Fill<'a>> {
    let mut offset = 3;
    variables
        .iter()
        .map(|variable| {
            let origin = restored(&variable.name);
            let name = &variable.name;
            let fill =
                Fill { variable: name, source, offset, conversion: None, leading: None, origin };
            offset += variable.bytes();
            fill
        })
        .collect()
}

/// From the first byte of a source on.
fn fill<'a>(variable: &'a str, source: &'a dyn ByteSource) -> Fill<'a> {
    let origin = restored(variable);
    Fill { variable, source, offset: 0, conversion: None, leading: None, origin }
}

fn half(name: &str, elements: usize) -> Variable {
    let whole = variable(name, [elements], Initializer::Zeros);
    Variable { dtype: DType::F16, ..whole }
}

fn mixed() -> Vec<Variable> {
    let mut variables = vec![
        half("one f16", 1),
        variable("empty", [0], Initializer::Zeros),
        half("odd f16", 1001),
        variable("scalar", [], Initializer::Zeros),
        variable("large", [5_000_003], Initializer::Zeros),
        half("large odd f16", 300_001),
    ];
    variables.extend((0..500).map(|i| variable(&format!("small {i}"), [i % 7], Initializer::Ones)));
    variables
}

fn assert_filled(session: &Session, fills: &[Fill<'_>], source: &Pattern) {
    for fill in fills {
        let info = session.variable(fill.variable).unwrap();
        assert_eq!(info.origin, fill.origin);
        let wanted = source.bytes(fill.offset, info.variable.bytes());
        assert!(bytes_of(session, fill.variable) == wanted, "{}", fill.variable);
    }
}

#[test]
fn bytes_arrive_at_every_size() {
    for (memory, staging) in ways() {
        let variables = mixed();
        let gpu = gpu_with(memory, staging);
        // A discrete GPU has no variables that can be mapped, whatever is asked for.
        let can_map = gpu.features().contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS);
        let memory = if can_map { memory } else { MemoryKind::Staged };
        let mut session = Session::new(&gpu);
        session.declare(&variables).unwrap();
        let source = Pattern::default();
        let fills = fills(&variables, &source);
        let reports = Mutex::new(Vec::new());
        let done =
            session.restore(fills.clone(), &|bytes| reports.lock().unwrap().push(bytes)).unwrap();
        let total: u64 = variables.iter().map(Variable::bytes).sum();
        assert_eq!((done.variables, done.bytes, done.memory), (variables.len(), total, memory));
        // One for each staging buffer that was filled; there was nothing to copy aside.
        let buffers = if memory == MemoryKind::Mappable { 0 } else { total.div_ceil(8 << 20) };
        assert!(done.submissions >= buffers, "{done:?}");
        assert_eq!(done.submissions == 0, memory == MemoryKind::Mappable, "{done:?}");
        let reports = reports.into_inner().unwrap();
        assert!(reports.windows(2).all(|pair| pair[0] < pair[1]), "{memory:?}");
        assert_eq!(reports.last(), Some(&total));
        assert_filled(&session, &fills, &source);
        if memory == MemoryKind::Staged {
            assert!(source.largest_read.load(Ordering::Relaxed) <= staging / 2);
        }
        // Again, over values, from elsewhere.
        let source = Pattern { salt: 99, ..Default::default() };
        let fills = self::fills(&variables, &source);
        let again = session.restore(fills.clone(), &|_| {}).unwrap();
        assert_eq!(again.submissions, done.submissions + 1, "{again:?}");
        assert_filled(&session, &fills, &source);
    }
}

#[test]
fn variables_that_are_not_restored_keep_their_bytes() {
    for (memory, staging) in ways() {
        let names = ["a", "b", "c", "d", "e"];
        let variables = names.map(|name| half(name, 301));
        let mut session = Session::new(&gpu_with(memory, staging));
        session.declare(&variables).unwrap();
        let first = Pattern::default();
        session.restore(fills(&variables, &first), &|_| {}).unwrap();
        let second = Pattern { salt: 1, ..Default::default() };
        let some = [variables[1].clone(), variables[3].clone()];
        session.restore(fills(&some, &second), &|_| {}).unwrap();
        assert_filled(&session, &fills(&some, &second), &second);
        let kept: Vec<_> = fills(&variables, &first).into_iter().step_by(2).collect();
        assert_filled(&session, &kept, &first);
    }
}

#[test]
fn a_source_that_fails_at_the_last_tensor_changes_nothing() {
    for (memory, staging) in ways() {
        let variables = mixed();
        let mut session = Session::new(&gpu_with(memory, staging));
        session.declare(&variables).unwrap();
        let good = Pattern::default();
        let restored_before: Vec<_> = variables.iter().step_by(2).cloned().collect();
        session.restore(fills(&restored_before, &good), &|_| {}).unwrap();
        let half_value = TensorData::new([], vec![4.5f32]).unwrap();
        session.assign("scalar", &half_value).unwrap();
        let origins: Vec<Origin> =
            session.variables().iter().map(|info| info.origin.clone()).collect();

        let last = variables.iter().map(Variable::bytes).sum::<u64>() + 2;
        let bad = Pattern { salt: 5, fails_at: Some(last), ..Default::default() };
        let error = session.restore(fills(&variables, &bad), &|_| {}).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, SessionError::Source { .. }), "{text}");
        assert!(text.contains("the file ends early") && text.contains("`small 499`"), "{text}");

        let after: Vec<Origin> =
            session.variables().iter().map(|info| info.origin.clone()).collect();
        assert_eq!(after, origins, "{memory:?}");
        let kept: Vec<Fill<'_>> = fills(&restored_before, &good)
            .into_iter()
            .filter(|fill| fill.variable != "scalar")
            .collect();
        assert_filled(&session, &kept, &good);
        assert_eq!(session.read("scalar").unwrap(), half_value);
        // And the session is fit for another try.
        session.restore(fills(&variables, &good), &|_| {}).unwrap();
        assert_filled(&session, &fills(&variables, &good), &good);
    }
}

#[test]
fn discarded_values_are_not_kept_by_a_restore_that_fails() {
    for (memory, staging) in ways() {
        let variables = mixed();
        let mut session = Session::new(&gpu_with(memory, staging));
        session.declare(&variables).unwrap();
        let good = Pattern::default();
        session.restore(fills(&variables[1..], &good), &|_| {}).unwrap();
        session.discard_values();
        // The first never had one.
        let never = Origin::Uninitialized(Missing::NeverInitialized);
        let origins: Vec<Origin> =
            session.variables().iter().map(|info| info.origin.clone()).collect();
        assert_eq!(origins[0], never);
        assert!(
            origins[1..].iter().all(|origin| *origin == Origin::Uninitialized(Missing::Discarded))
        );
        let text = session.read(&variables[1].name).unwrap_err().to_string();
        assert!(text.contains("discarded"), "{text}");

        let bad = Pattern { salt: 5, fails_at: Some(100), ..Default::default() };
        session.restore(fills(&variables, &bad), &|_| {}).unwrap_err();
        let uninitialized = session.uninitialized().len();
        assert_eq!(uninitialized, variables.len(), "{memory:?}");
        session.restore(fills(&variables, &good), &|_| {}).unwrap();
        assert_filled(&session, &fills(&variables, &good), &good);
    }
}

#[test]
fn a_source_that_panics_changes_nothing_either() {
    for (memory, staging) in ways() {
        let variables = [half("a", 999), half("b", 77_777)];
        let mut session = Session::new(&gpu_with(memory, staging));
        session.declare(&variables).unwrap();
        let good = Pattern::default();
        session.restore(fills(&variables, &good), &|_| {}).unwrap();
        let bad = Pattern { salt: 5, panics_at: Some(100_000), ..Default::default() };
        let restore = || session.restore(fills(&variables, &bad), &|_| {}).is_ok();
        assert!(catch_unwind(AssertUnwindSafe(restore)).is_err());
        assert_filled(&session, &fills(&variables, &good), &good);
    }
}

#[test]
fn a_bad_request_reads_nothing() {
    let mut session = Session::new(&common::gpu());
    let variables = [half("encoder/weight", 3), half("b", 3)];
    session.declare(&variables).unwrap();
    let source = Pattern { fails_at: Some(0), ..Default::default() };
    let fill = |variable| fill(variable, &source);
    let error = session.restore([fill("b"), fill("encoder/weigth")], &|_| {}).unwrap_err();
    assert!(error.to_string().contains("Did you mean `encoder/weight`?"), "{error}");
    let error = session.restore([fill("b"), fill("b")], &|_| {}).unwrap_err();
    assert!(matches!(error, SessionError::RestoredTwice { .. }), "{error}");
    let origin = Origin::Uninitialized(Missing::NeverInitialized);
    let error = session.restore([Fill { origin, ..fill("b") }], &|_| {}).unwrap_err();
    assert!(matches!(error, SessionError::RestoredFromNothing { .. }), "{error}");
    assert_eq!(source.largest_read.load(Ordering::Relaxed), 0);
    assert_eq!(session.restore([], &|_| {}).unwrap().variables, 0);
}

#[test]
fn a_lost_device_is_an_error() {
    for (memory, staging) in ways() {
        let variables = [half("a", 999)];
        let gpu = gpu_with(memory, staging);
        let mut session = Session::new(&gpu);
        session.declare(&variables).unwrap();
        gpu.device().destroy();
        let _ = gpu.checked("noticing the loss", |device| device.poll(wgpu::PollType::Poll));
        let source = Pattern::default();
        let error = session.restore(fills(&variables, &source), &|_| {}).unwrap_err();
        assert!(matches!(error, SessionError::Gpu(_)), "{error}");
        assert_eq!(session.uninitialized().len(), 1);
    }
}

/// A source whose device is gone by the time it fails.
struct Destroying<'a>(&'a Gpu);

impl ByteSource for Destroying<'_> {
    fn read_at(&self, _: u64, into: &mut [u8]) -> io::Result<()> {
        into.fill(7);
        self.0.device().destroy();
        let _ = self.0.checked("noticing the loss", |device| device.poll(wgpu::PollType::Poll));
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[test]
fn values_that_cannot_be_put_back_are_lost_and_not_what_they_were() {
    for (memory, staging) in ways() {
        let gpu = gpu_with(memory, staging);
        let mut session = Session::new(&gpu);
        let ones = |name: &str| variable(name, [999], Initializer::Ones);
        session.declare(&["copied", "made again", "beside"].map(ones)).unwrap();
        let given = TensorData::new([999], vec![2.5f32; 999]).unwrap();
        session.assign("copied", &given).unwrap();
        session.assign("beside", &given).unwrap();
        session.initialize_missing(3).unwrap();
        session.declare(&[ones("new")]).unwrap();
        // With nothing under way, the loss is noticed at once.
        session.read("copied").unwrap();
        let source = Destroying(&gpu);
        let fills = ["copied", "made again", "new"].map(|variable| fill(variable, &source));
        let error = session.restore(fills, &|_| {}).unwrap_err();
        // It does not say that all is as it was.
        assert!(matches!(error, SessionError::Gpu(_)), "{memory:?}: {error}");
        let lost = Origin::Uninitialized(Missing::LostInRestore);
        for name in ["copied", "made again"] {
            assert_eq!(session.variable(name).unwrap().origin, lost, "{memory:?}: {name}");
            let error = session.read(name).unwrap_err();
            assert!(error.to_string().contains("lost in a failed restore"), "{error}");
            assert!(matches!(error, SessionError::Uninitialized { .. }), "{error}");
        }
        let never = Origin::Uninitialized(Missing::NeverInitialized);
        assert_eq!(session.variable("new").unwrap().origin, never);
        assert_eq!(session.variable("beside").unwrap().origin, Origin::Assigned);
    }
}

/// A source that lets no thread go on before another has come, for a while.
#[derive(Default)]
struct Meeting {
    came: Mutex<HashSet<ThreadId>>,
    more: Condvar,
}

impl ByteSource for Meeting {
    fn read_at(&self, _: u64, into: &mut [u8]) -> io::Result<()> {
        into.fill(0);
        let mut came = self.came.lock().unwrap();
        came.insert(thread::current().id());
        self.more.notify_all();
        let alone = |came: &mut HashSet<ThreadId>| came.len() < 2;
        let long = Duration::from_secs(20);
        let (came, _) = self.more.wait_timeout_while(came, long, alone).unwrap();
        match came.len() {
            1 => Err(io::Error::other("no other thread reads")),
            _ => Ok(()),
        }
    }
}

#[test]
fn several_threads_read() {
    if thread::available_parallelism().is_ok_and(|cores| cores.get() == 1) {
        return common::left_out("reading by several threads", "this machine has one core");
    }
    let wide = |at: usize| variable(&format!("{at}"), [3 << 20], Initializer::Zeros);
    let variables: Vec<Variable> = (0..4).map(wide).collect();
    let cast = Conversion { from: SourceDType::F64, transpose: false };
    for (memory, staging) in [(MemoryKind::Mappable, 128 << 20), (MemoryKind::Staged, 128 << 20)] {
        for conversion in [None, Some(cast)] {
            let mut session = Session::new(&gpu_with(memory, staging));
            session.declare(&variables).unwrap();
            let source = Meeting::default();
            let fill = |variable| Fill {
                variable,
                source: &source,
                offset: 0,
                conversion,
                leading: None,
                origin: restored(variable),
            };
            let fills: Vec<Fill<'_>> = variables.iter().map(|v| fill(v.name.as_str())).collect();
            session.restore(fills, &|_| {}).unwrap();
            let threads = source.came.lock().unwrap().len();
            assert!((2..=8).contains(&threads), "{memory:?} {conversion:?}: {threads} threads");
        }
    }
}

#[test]
fn initialized_variables_have_their_bits_again_after_a_failure() {
    let initializers = [
        Initializer::Constant(2.5),
        Initializer::Identity { gain: 2.0 },
        Initializer::GlorotUniform,
        Initializer::HeNormal,
        Initializer::TruncatedNormal { mean: 1.0, stddev: 0.5 },
        Initializer::Orthogonal { gain: 1.0 },
    ];
    // Those of 67,600 bytes and those of 36 bytes are made again in different ways.
    let mut variables: Vec<Variable> = Vec::new();
    for (index, initializer) in initializers.iter().enumerate() {
        for n in [3, 130] {
            variables.push(variable(&format!("{index} {n}"), [n, n], initializer.clone()));
        }
    }
    variables.push(half("half", 40_000));
    for (memory, staging) in ways() {
        let mut session = Session::new(&gpu_with(memory, staging));
        // Some by one seed, some by another, and one that is not as its initializer made it.
        session.declare(&variables[..5]).unwrap();
        session.initialize_missing(7).unwrap();
        session.declare(&variables).unwrap();
        session.initialize_missing(8).unwrap();
        let assigned = TensorData::new([130, 130], vec![1.5; 130 * 130]).unwrap();
        session.assign("2 130", &assigned).unwrap();
        let state = |session: &Session| -> Vec<(Origin, Vec<u8>)> {
            let info = |info: &VariableInfo| (info.origin.clone(), bytes_of(session, info.name()));
            session.variables().iter().map(info).collect()
        };
        let before = state(&session);
        let last = variables.iter().map(Variable::bytes).sum::<u64>() + 2;
        let bad = Pattern { salt: 5, fails_at: Some(last), ..Default::default() };
        session.restore(fills(&variables, &bad), &|_| {}).unwrap_err();
        for ((was, is), variable) in before.iter().zip(&state(&session)).zip(&variables) {
            assert!(was == is, "{memory:?}: {}", variable.name);
        }
    }
}

/// A source that looks at each read how much memory there is to stage what it gives.
struct Staged<'a> {
    gpu: &'a Gpu,
    most: AtomicU64,
}

impl ByteSource for Staged<'_> {
    fn read_at(&self, _: u64, into: &mut [u8]) -> io::Result<()> {
        into.fill(0);
        let report = self.gpu.device().generate_allocator_report();
        let staging = report.iter().flat_map(|report| &report.allocations).filter(|allocation| {
            ["staging for restoring", "bytes to be converted"].contains(&allocation.name.as_str())
        });
        self.most.fetch_max(staging.map(|allocation| allocation.size).sum(), Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn staging_memory_is_bounded_whatever_is_restored() {
    for (staging, elements) in [(1 << 20, 1000), (1 << 20, 9_000_000), (12 << 20, 9_000_000)] {
        let gpu = gpu_with(MemoryKind::Staged, staging);
        // On Vulkan and DX12 the allocator tells what it has given out.
        if gpu.device().generate_allocator_report().is_none() {
            let why = "this adapter's backend does not tell what it has given out";
            return common::left_out("the bounds of staging memory", why);
        }
        let variables =
            ["plain", "cast"].map(|name| variable(name, [elements], Initializer::Zeros));
        let mut session = Session::new(&gpu);
        session.declare(&variables).unwrap();
        let source = Staged { gpu: &gpu, most: AtomicU64::new(0) };
        let fill = |variable: &'static str, conversion| Fill {
            variable,
            source: &source,
            offset: 0,
            conversion,
            leading: None,
            origin: restored(variable),
        };
        let cast = Conversion { from: SourceDType::F64, transpose: false };
        session.restore([fill("plain", None), fill("cast", Some(cast))], &|_| {}).unwrap();
        let most = source.most.into_inner();
        // The allocator rounds the size of each buffer up a little.
        assert!((1..=staging + 1024).contains(&most), "{most} of {staging} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_sizes_and_any_failure(
        sizes in prop::collection::vec((0usize..40_000, any::<bool>()), 1..20),
        way in 0usize..3, failing: bool, at in 0.0f64..1.0,
    ) {
        let (memory, staging) = ways()[way];
        let variables: Vec<Variable> = sizes
            .iter()
            .enumerate()
            .map(|(i, &(n, narrow))| match narrow {
                true => half(&format!("v{i}"), n),
                false => variable(&format!("v{i}"), [n], Initializer::Zeros),
            })
            .collect();
        let mut session = Session::new(&gpu_with(memory, staging));
        session.declare(&variables).unwrap();
        let good = Pattern::default();
        session.restore(fills(&variables, &good), &|_| {}).unwrap();
        let total: u64 = variables.iter().map(Variable::bytes).sum();
        let place = 3 + (at * total as f64) as u64;
        let fails_at = (failing && total > 0).then_some(place);
        let other = Pattern { salt: 8, fails_at, ..Default::default() };
        let result = session.restore(fills(&variables, &other), &|_| {});
        prop_assert_eq!(result.is_err(), fails_at.is_some());
        let held = if fails_at.is_some() { &good } else { &other };
        assert_filled(&session, &fills(&variables, held), held);
    }
}
