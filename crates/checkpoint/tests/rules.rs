//! A plan never claims what a restore does not do: random checkpoints are restored under random
//! rules, read back, and held bit by bit against what the plan said.

mod common;
#[path = "common/naming.rs"]
mod naming;

use common::{bytes, of_dtype, state};
use half::{bf16, f16};
use naming::{Naming, namings};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex;
use warmstart_checkpoint::{
    Change, Checkpoint, CheckpointError, Outcome, RestoreOptions, SaveOptions, save,
};
use warmstart_gpu::{
    Conversion, Gpu, GpuOptions, MemoryKind, Missing, Number, Origin, Session, SessionError,
    SourceDType,
};
use warmstart_graph::{DType, Initializer, Variable, initial_value};

/// A tensor of a file: dtype, extents, bytes.
type Stored = (safetensors::Dtype, Vec<usize>, Vec<u8>);

fn write(file: &Path, tensors: &BTreeMap<String, Stored>) {
    write_at(None, file, tensors);
}

/// With the step at which it was saved.
fn write_at(step: Option<u64>, file: &Path, tensors: &BTreeMap<String, Stored>) {
    let metadata = step.map(|step| HashMap::from([("warmstart.step".into(), step.to_string())]));
    let mut views = Vec::new();
    for (name, (dtype, shape, bytes)) in tensors {
        views.push((name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    }
    std::fs::write(file, safetensors::serialize(views, metadata).unwrap()).unwrap();
}

/// What the variable is in the model, compared with what lies in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Same,
    Cast(safetensors::Dtype),
    Transposed,
    TransposedAndCast,
    Reshaped,
    Grown,
    Shrunk,
    GrownAndCast,
    Ignored,
}

#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    columns: usize,
    kind: Kind,
    dtype: DType,
    seed: u32,
    /// Whether one number is far out, where the cast is to a dtype that ends before it.
    beyond: bool,
}

impl Case {
    /// The dtype in the file.
    fn stored(&self) -> safetensors::Dtype {
        match self.kind {
            Kind::Cast(stored) => stored,
            Kind::TransposedAndCast | Kind::GrownAndCast => safetensors::Dtype::BF16,
            _ => own(self.dtype),
        }
    }

    /// The bytes of a number that the variable's dtype ends before, if the file's has one.
    fn out_of_range(&self) -> Option<Vec<u8>> {
        use safetensors::Dtype;
        let negative = self.seed % 2 == 1;
        Some(match (self.stored(), self.dtype) {
            (Dtype::F64, _) => if negative { -1e300f64 } else { 1e39 }.to_le_bytes().to_vec(),
            (Dtype::BF16, DType::F16) => {
                bf16::from_f32(if negative { -65536.0 } else { 3e38 }).to_le_bytes().to_vec()
            }
            (Dtype::U16, DType::F16) => 65520u16.to_le_bytes().to_vec(),
            _ => return None,
        })
    }
}

impl Case {
    /// How many bytes of the file are read: none of rows that are too many.
    fn bytes_read(&self, (_, shape, bytes): &Stored) -> u64 {
        (match self.kind {
            Kind::Ignored => 0,
            Kind::Shrunk => bytes.len() / shape[0] * self.rows,
            _ => bytes.len(),
        }) as u64
    }

    /// What is done to the value on its way.
    fn changes(&self) -> Vec<&'static str> {
        let of_shape = match self.kind {
            Kind::Transposed | Kind::TransposedAndCast => Some("transposed"),
            Kind::Reshaped => Some("reshaped"),
            // Half of no rows is as many.
            Kind::Grown | Kind::GrownAndCast if self.rows == 0 => None,
            Kind::Grown | Kind::GrownAndCast | Kind::Shrunk => Some("resized"),
            Kind::Same | Kind::Cast(_) | Kind::Ignored => None,
        };
        let cast = (self.stored() != own(self.dtype)).then_some("cast");
        cast.into_iter().chain(of_shape).collect()
    }
}

fn name_of(change: &Change) -> &'static str {
    match change {
        Change::Cast { .. } => "cast",
        Change::Transposed { .. } => "transposed",
        Change::Reshaped { .. } => "reshaped",
        Change::ResizedRows { seed: 7, .. } => "resized",
        other => panic!("{other:?}"),
    }
}

/// What a variable is to be after a restore.
enum Expected {
    /// Without a value.
    LeftOut,
    /// These bytes.
    Value(Vec<u8>),
    /// Nothing: this element of the source fails the restore.
    OutOfRange(u64),
}

fn cases() -> impl Strategy<Value = Vec<Case>> {
    use safetensors::Dtype;
    let floats = [Dtype::F16, Dtype::BF16, Dtype::F64, Dtype::F8_E4M3, Dtype::F8_E5M2];
    let whole = [Dtype::U8, Dtype::I8, Dtype::I16, Dtype::U16, Dtype::BOOL];
    let cast = [&floats[..], &whole[..]].concat();
    let kind = prop_oneof![
        Just(Kind::Same),
        proptest::sample::select(cast).prop_map(Kind::Cast),
        Just(Kind::Transposed),
        Just(Kind::TransposedAndCast),
        Just(Kind::Reshaped),
        Just(Kind::Grown),
        Just(Kind::Shrunk),
        Just(Kind::GrownAndCast),
        Just(Kind::Ignored),
    ];
    let dtype = prop_oneof![3 => Just(DType::F32), 1 => Just(DType::F16), 1 => Just(DType::Bf16)];
    let extent = || prop_oneof![4 => 1usize..40, 1 => Just(0), 1 => 60usize..140];
    // Most restores are to have none.
    let beyond = prop_oneof![7 => Just(false), 1 => Just(true)];
    let case = (extent(), extent(), kind, dtype, any::<u32>(), beyond);
    let case = case.prop_map(|(rows, columns, kind, dtype, seed, beyond)| Case {
        rows,
        columns,
        kind,
        dtype,
        seed,
        beyond,
    });
    proptest::collection::vec(case, 1..12)
}

fn own(dtype: DType) -> safetensors::Dtype {
    match dtype {
        DType::F16 => safetensors::Dtype::F16,
        DType::Bf16 => safetensors::Dtype::BF16,
        _ => safetensors::Dtype::F32,
    }
}

/// Bytes of any dtype that are no NaN, whose payload a cast need not keep.
fn content(dtype: safetensors::Dtype, elements: usize, seed: u32) -> Vec<u8> {
    use safetensors::Dtype;
    let value = |i: usize| {
        let mixed = (i as u32).wrapping_mul(0x9E37_79B1).wrapping_add(seed);
        (f64::from(mixed % 4001) - 2000.0) / 16.0
    };
    (0..elements)
        .flat_map(|i| match dtype {
            Dtype::F32 => (value(i) as f32).to_le_bytes().to_vec(),
            Dtype::F64 => (value(i) / 3.0).to_le_bytes().to_vec(),
            Dtype::F16 => f16::from_f64(value(i)).to_le_bytes().to_vec(),
            Dtype::BF16 => bf16::from_f64(value(i)).to_le_bytes().to_vec(),
            Dtype::I16 => ((value(i) * 16.0) as i16).to_le_bytes().to_vec(),
            // More would be infinite as an `f16`.
            Dtype::U16 => ((value(i) * 16.0) as i16 as u16).min(65519).to_le_bytes().to_vec(),
            Dtype::BOOL => vec![u8::from(value(i) > 0.0)],
            // No pattern below 0x7c is a NaN of an 8-bit float.
            _ => vec![(seed.wrapping_add(i as u32) % 0x7c) as u8],
        })
        .collect()
}

fn source(dtype: safetensors::Dtype) -> SourceDType {
    use safetensors::Dtype;
    match dtype {
        Dtype::F32 => SourceDType::F32,
        Dtype::F64 => SourceDType::F64,
        Dtype::F16 => SourceDType::F16,
        Dtype::BF16 => SourceDType::Bf16,
        Dtype::F8_E4M3 => SourceDType::F8E4M3,
        Dtype::F8_E5M2 => SourceDType::F8E5M2,
        Dtype::U8 => SourceDType::U8,
        Dtype::I8 => SourceDType::I8,
        Dtype::U16 => SourceDType::U16,
        Dtype::I16 => SourceDType::I16,
        Dtype::BOOL => SourceDType::Bool,
        other => panic!("no such dtype is written: {other:?}"),
    }
}

/// What one case puts into the file, the variable, and what becomes of it.
fn expectation(name: &str, case: &Case) -> (Variable, Stored, Expected) {
    let &Case { rows, columns, kind, dtype, seed, beyond } = case;
    let mut variable = of_dtype(name, dtype, [rows, columns]);
    variable.initializer = Initializer::Normal { mean: 0.0, stddev: 1.0 };
    let stored = case.stored();
    let shape = match kind {
        Kind::Transposed | Kind::TransposedAndCast => vec![columns, rows],
        Kind::Reshaped => vec![rows * columns],
        Kind::Grown | Kind::GrownAndCast => vec![rows / 2, columns],
        Kind::Shrunk => vec![rows + 3, columns],
        _ => vec![rows, columns],
    };
    let elements = shape.iter().product();
    let mut bytes = content(stored, elements, seed);
    let far = case.out_of_range().filter(|_| beyond && elements > 0);
    let far = far.map(|far| {
        let place = seed as usize / 2 % elements;
        bytes[place * far.len()..][..far.len()].copy_from_slice(&far);
        place as u64
    });
    let transpose = matches!(kind, Kind::Transposed | Kind::TransposedAndCast);
    let conversion = Conversion { from: source(stored), transpose };
    let expected = match (conversion.evaluate(&bytes, dtype, columns), kind) {
        (_, Kind::Ignored) => Expected::LeftOut,
        (None, _) => Expected::OutOfRange(far.expect("floats take all others")),
        (Some(converted), Kind::Grown | Kind::GrownAndCast) if rows / 2 < rows => {
            let whole = initial_value(&variable, 7).expect("a sound recipe").to_le_bytes();
            Expected::Value([&converted[..], &whole[converted.len()..]].concat())
        }
        (Some(converted), Kind::Shrunk) => {
            Expected::Value(converted[..rows * columns * dtype.size()].to_vec())
        }
        (Some(converted), _) => Expected::Value(converted),
    };
    let fits = !matches!(expected, Expected::OutOfRange(_));
    assert_eq!(fits, far.is_none(), "{name}");
    (variable, (stored, shape, bytes), expected)
}

/// Adds the rules about values, and about what is left out.
fn options(mut options: RestoreOptions, cases: &[Case]) -> RestoreOptions {
    for (i, case) in cases.iter().enumerate() {
        let name = format!("*/{i}/weight");
        options = match case.kind {
            Kind::Same | Kind::Cast(_) => options,
            Kind::Transposed | Kind::TransposedAndCast => options.transpose(&name),
            Kind::Reshaped => options.reshape(&name),
            // A rule that changes nothing is an error.
            Kind::Grown | Kind::GrownAndCast if case.rows == 0 => options,
            Kind::Grown | Kind::Shrunk | Kind::GrownAndCast => options.resize_rows(&name, 7),
            Kind::Ignored => options.ignore(&name),
        };
        if case.kind != Kind::Ignored && case.stored() != own(case.dtype) {
            options = options.cast(name);
        }
    }
    options
}

/// A variable, and what it is to be.
struct Wanted<'a> {
    variable: Variable,
    /// The tensor of its value, with what the case of it says.
    tensor: Option<(&'a str, &'a Case)>,
    expected: Expected,
}

fn check(cases: &[Case], naming: &Naming, only: bool, gpu: &Gpu) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let (tensors, rules) =
        naming.undone((0..cases.len()).map(|i| format!("layers/{i}/weight")).collect());
    let mut rules = options(rules, cases);
    let (mut wanted, mut stored, mut bytes_read) = (Vec::new(), BTreeMap::new(), 0);
    for (i, (case, tensor)) in cases.iter().zip(&tensors).enumerate() {
        for scope in naming.scopes() {
            let name = format!("{scope}/{i}/weight");
            let (variable, content, expected) = expectation(&name, case);
            bytes_read += case.bytes_read(&content);
            stored.insert(tensor.clone(), content);
            wanted.push(Wanted { variable, tensor: Some((tensor, case)), expected });
        }
    }
    if only {
        rules = rules.only("{layers,copies}/**");
        let variable = of_dtype("head/bias", DType::F32, [3]);
        wanted.push(Wanted { variable, tensor: None, expected: Expected::LeftOut });
    }
    write_at(Some(12), &file, &stored);
    let variables: Vec<Variable> = wanted.iter().map(|one| one.variable.clone()).collect();
    let mut session = Session::new(gpu);
    session.declare(&variables).unwrap();
    let plan = Checkpoint::open(&file).unwrap().plan(&session, &rules);
    // Who says what is to be restored, and leaves all of it out, is told so.
    let is_left_out = |one: &Wanted<'_>| matches!(one.expected, Expected::LeftOut);
    if only && wanted.iter().all(is_left_out) {
        assert!(!plan.closes() && plan.to_string().contains("rules leave out all"), "{plan}");
        return;
    }
    assert!(plan.closes(), "{plan}");
    let beyond: BTreeMap<&str, u64> = wanted
        .iter()
        .filter_map(|one| match one.expected {
            Expected::OutOfRange(index) => Some((one.variable.name.as_str(), index)),
            _ => None,
        })
        .collect();
    if !beyond.is_empty() {
        session.initialize_missing(3).unwrap();
        let before = state(&session);
        match plan.restore(&mut session).unwrap_err() {
            CheckpointError::Session { source, .. } => match *source {
                SessionError::OutOfRange { name, index, .. } => {
                    assert_eq!(beyond.get(name.as_str()), Some(&index), "{name}");
                }
                other => panic!("{other}"),
            },
            other => panic!("{other}"),
        }
        assert_eq!(state(&session), before);
        return;
    }
    let moved = Mutex::new((0, 0));
    let progress = |done, of| *moved.lock().unwrap() = (done, of);
    let report = plan.restore_with(&mut session, &progress).unwrap();
    assert_eq!((plan.bytes_read(), plan.step()), (bytes_read, Some(12)), "{plan}");
    assert_eq!(moved.into_inner().unwrap(), (bytes_read, bytes_read));
    assert_eq!(report.variables(), plan.variables());
    let mut bytes_of_variables = 0;
    for (Wanted { variable, tensor, expected }, outcome) in wanted.iter().zip(plan.variables()) {
        let origin = &session.variable(&variable.name).unwrap().origin;
        match (expected, &outcome.outcome) {
            (Expected::LeftOut, Outcome::Ignored) => {
                let left_out = Missing::LeftOut { file: file.clone() };
                assert_eq!(*origin, Origin::Uninitialized(left_out));
            }
            (Expected::Value(expected), Outcome::Restored { tensor: claimed, changes }) => {
                let (tensor, case) = tensor.unwrap();
                assert_eq!(claimed, tensor);
                let named: Vec<&str> = changes.iter().map(name_of).collect();
                assert_eq!(named, case.changes(), "{case:?}");
                bytes_of_variables += variable.bytes();
                let found = bytes(&session, &variable.name);
                let differs = found.iter().zip(expected).position(|(a, b)| a != b);
                assert!(
                    differs.is_none() && found.len() == expected.len(),
                    "{} {} differs at byte {differs:?}: {changes:?}",
                    variable.name,
                    variable.shape,
                );
                let grown = changes.iter().any(|change| {
                    matches!(change, Change::ResizedRows { from, .. } if *from < variable.shape[0])
                });
                let (of, name, step) = match origin {
                    Origin::Restored { file, name, step } if !grown => (file, name, step),
                    Origin::PartlyRestored { file, name, step, .. } if grown => (file, name, step),
                    other => panic!("{}: {other}", variable.name),
                };
                assert_eq!((&**of, &name[..], *step), (&*file, tensor, Some(12)));
            }
            (_, other) => panic!("{}: {other:?}", variable.name),
        }
    }
    assert_eq!(plan.bytes(), bytes_of_variables);
}

/// How many random files and rules are tried with each kind of memory.
fn random_files() -> u32 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 1000 } else { 24 }
}

#[test]
fn what_a_plan_says_is_what_a_restore_does() {
    for memory in [MemoryKind::Staged, MemoryKind::Mappable] {
        let options = GpuOptions { memory: Some(memory), ..Default::default() };
        let gpu = Gpu::with(&options).unwrap();
        let cases_of = random_files();
        let config =
            ProptestConfig { cases: cases_of, failure_persistence: None, ..Default::default() };
        let drawn = (cases(), namings(), any::<bool>());
        let run = TestRunner::new(config).run(&drawn, |(cases, naming, only)| {
            check(&cases, &naming, only, &gpu);
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{memory:?}: {failure}"));
    }
}

#[test]
fn a_number_that_does_not_fit_fails_the_restore_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let wide: Vec<u8> = [1i64, 2, 1 << 40].iter().flat_map(|n| n.to_le_bytes()).collect();
    let ones: Vec<u8> = [1f32; 3].iter().flat_map(|n| n.to_le_bytes()).collect();
    write(
        &file,
        &BTreeMap::from([
            ("a".to_owned(), (safetensors::Dtype::F32, vec![3], ones)),
            ("count".to_owned(), (safetensors::Dtype::I64, vec![3], wide)),
        ]),
    );
    let variables = [of_dtype("a", DType::F32, [3]), of_dtype("count", DType::I32, [3])];
    let mut session = common::session(&variables);
    session.initialize_missing(7).unwrap();
    let before = state(&session);
    let plan =
        Checkpoint::open(&file).unwrap().plan(&session, &RestoreOptions::new().cast("count"));
    assert!(plan.closes(), "{plan}");
    let error = plan.restore(&mut session).unwrap_err();
    assert!(matches!(error, CheckpointError::Session { .. }), "{error}");
    assert!(error.to_string().contains("count"), "{error}");
    assert_eq!(state(&session), before);
}

#[test]
fn a_float_that_would_become_infinite_fails_the_restore_and_changes_nothing() {
    use safetensors::Dtype;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let single = |values: [f32; 3]| values.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
    let double = |values: [f64; 3]| values.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
    let half = (Dtype::F32, DType::F16);
    for (of, bytes, index, value, told) in [
        (
            half,
            single([1.0, 1e6, -1e6]),
            1,
            Number::Float(1e6),
            "is 1000000.0, which f16 cannot hold (it ends at 65504, ",
        ),
        (
            half,
            single([f32::INFINITY, 2.0, -65520.0]),
            2,
            Number::Float(-65520.0),
            "declare the variable as f32 or bf16",
        ),
        (
            (Dtype::F64, DType::F32),
            double([1e300, 0.0, 0.0]),
            0,
            Number::Double(1e300),
            "is 1e300, which f32 cannot hold",
        ),
        (
            (Dtype::F32, DType::Bf16),
            single([0.0, 0.0, f32::MAX]),
            2,
            Number::Float(f32::MAX),
            "declare the variable as f32",
        ),
    ] {
        let (stored, dtype) = of;
        let tensors = [
            ("a".to_owned(), (Dtype::F32, vec![3], single([1.0; 3]))),
            ("b".to_owned(), (stored, vec![3], bytes)),
        ];
        write(&file, &BTreeMap::from(tensors));
        for memory in [MemoryKind::Staged, MemoryKind::Mappable] {
            let variables = [of_dtype("a", DType::F32, [3]), of_dtype("b", dtype, [3])];
            let mut session = common::session_in(memory, &variables);
            session.initialize_missing(7).unwrap();
            let before = state(&session);
            let options = RestoreOptions::new().cast("b");
            let plan = Checkpoint::open(&file).unwrap().plan(&session, &options);
            assert!(plan.closes(), "{plan}");
            let error = plan.restore(&mut session).unwrap_err();
            let text = error.to_string();
            let place =
                format!("element {index} of the {} source of variable `b` is ", source(stored));
            for part in [&file.display().to_string(), &place, told] {
                assert!(text.contains(part), "{part}: {text}");
            }
            let CheckpointError::Session { source, .. } = error else { panic!("{text}") };
            match *source {
                SessionError::OutOfRange { name, index: at, value: found, dtype: to, .. } => {
                    assert_eq!((name.as_str(), at, found, to), ("b", index, value, dtype));
                }
                other => panic!("{other}"),
            }
            assert_eq!(state(&session), before, "{text}");
        }
    }
}

#[test]
fn floats_that_are_near_to_the_end_or_infinite_in_the_file_are_restored() {
    use safetensors::Dtype;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let values = [65519.996f32, -65504.0, f32::INFINITY, f32::NEG_INFINITY];
    let bytes: Vec<u8> = values.iter().flat_map(|n| n.to_le_bytes()).collect();
    write(&file, &BTreeMap::from([("b".to_owned(), (Dtype::F32, vec![4], bytes))]));
    for memory in [MemoryKind::Staged, MemoryKind::Mappable] {
        let mut session = common::session_in(memory, &[of_dtype("b", DType::F16, [4])]);
        let options = RestoreOptions::new().cast("b");
        let plan = Checkpoint::open(&file).unwrap().plan(&session, &options);
        plan.restore(&mut session).unwrap();
        let halves = [65504.0, -65504.0, f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(session.read("b").unwrap().to_f64(), halves);
    }
}

#[test]
fn what_has_another_shape_keeps_what_it_has_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let zeros = |n: usize| (safetensors::Dtype::F32, vec![n], vec![0; 4 * n]);
    write(&file, &BTreeMap::from([("a".to_owned(), zeros(2)), ("b".to_owned(), zeros(5))]));
    let mut session = common::session(&[common::glorot("a", [2]), common::glorot("b", [3])]);
    let plan = |session: &Session| {
        let options = RestoreOptions::new().allow_mismatched_shape();
        Checkpoint::open(&file).unwrap().plan(session, &options)
    };
    plan(&session).restore(&mut session).unwrap();
    let other = Missing::OtherShape { file: file.clone(), shape: [5].into() };
    assert_eq!(session.variable("b").unwrap().origin, Origin::Uninitialized(other));
    assert!(matches!(session.variable("a").unwrap().origin, Origin::Restored { .. }));
    // What has a value has it still, and from where it was.
    session.initialize_missing(7).unwrap();
    let before = state(&session);
    plan(&session).restore(&mut session).unwrap();
    assert_eq!(state(&session), before);
    assert_eq!(plan(&session).bytes_read(), 8);
}

#[test]
fn one_tensor_may_be_the_value_of_two_variables() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    let mut saved = common::session(&[common::glorot("encoder/weight", [4, 3])]);
    saved.initialize_missing(7).unwrap();
    save(&saved, &file, &SaveOptions::new()).unwrap();
    let names = ["left/weight", "right/weight", "head/weight"];
    let mut session = common::session(&names.map(|name| common::glorot(name, [4, 3])));
    let map = [("encoder/", "left/"), ("encoder/", "right/")];
    let options = RestoreOptions::new().assignment_map(map);
    let plan = Checkpoint::open(&file).unwrap().plan(&session, &options);
    assert!(plan.closes(), "{plan}");
    let text = plan.to_string();
    assert!(text.contains("`encoder/weight` is the value of 2 variables: `left/weight`, `right/"));
    plan.restore(&mut session).unwrap();
    let expected = bytes(&saved, "encoder/weight");
    assert_eq!(bytes(&session, "left/weight"), expected);
    assert_eq!(bytes(&session, "right/weight"), expected);
    assert!(!session.variable("head/weight").unwrap().origin.has_value());
}
