//! Initializers on the device, bit by bit against their CPU twin.

mod common;

use common::{gpu, gpu_with, variable};
use proptest::prelude::*;
use std::io;
use std::path::Path;
use warmstart_gpu::{
    ByteSource, Fill, MemoryKind, Missing, Origin, Overwrite, Session, SessionError,
};
use warmstart_graph::{DType, Initializer as I, TensorData, Variable, initial_value};

fn initializers() -> Vec<I> {
    vec![
        I::Zeros,
        I::Ones,
        I::Constant(-0.1),
        I::Uniform { low: -1.0, high: 1.0 },
        I::Uniform { low: -0.37, high: 0.37 },
        I::Uniform { low: 0.1, high: 0.7 },
        I::Uniform { low: -3.0, high: 0.0 },
        I::Uniform { low: 1e8, high: 1.1e8 },
        I::Normal { mean: 0.0, stddev: 1.0 },
        I::Normal { mean: 0.013, stddev: 0.27 },
        I::Normal { mean: 1e-36, stddev: 1e-30 },
        I::TruncatedNormal { mean: 0.0, stddev: 0.05 },
        I::TruncatedNormal { mean: -7.7, stddev: 3.1 },
        I::GlorotUniform,
        I::GlorotNormal,
        I::HeUniform,
        I::HeNormal,
    ]
}

/// No kernel has to be made for zeros, so that the device first fails when it is to write them.
#[test]
fn what_a_failed_initialization_may_have_written_over_has_no_value() {
    let gpu = gpu();
    let mut session = Session::new(&gpu);
    session.declare(&[variable("a", [3], I::Zeros), variable("b", [3], I::Zeros)]).unwrap();
    session.assign("a", &TensorData::from(vec![1.0f32, 2.0, 3.0])).unwrap();
    // With nothing under way, the loss is noticed at once.
    session.read("a").unwrap();
    gpu.device().destroy();
    let _ = gpu.checked("noticing the loss", |device| device.poll(wgpu::PollType::Poll));
    let error = session.initialize_all(7, Overwrite::Everything).unwrap_err();
    assert!(matches!(error, SessionError::Gpu(_)), "{error}");
    let origins: Vec<_> = session.variables().iter().map(|info| info.origin.clone()).collect();
    let missing = [Missing::LostInInitialization, Missing::NeverInitialized];
    assert_eq!(origins, missing.map(Origin::Uninitialized));
    assert_eq!(session.seed(), None);
}

/// Every variable of the session equals its twin; the message names the first bit that does not.
fn assert_twins(session: &Session, seed: u64) {
    for info in session.variables().iter() {
        let got = session.read(info.name()).unwrap().to_le_bytes();
        let wanted = initial_value(&info.variable, seed).unwrap().to_le_bytes();
        assert_eq!(got.len(), wanted.len());
        let size = info.dtype().size();
        if let Some(at) = (0..got.len()).find(|&i| got[i] != wanted[i]) {
            let element = at / size;
            let range = element * size..(element + 1) * size;
            panic!(
                "{} {} {} seed {seed}: element {element} is {:x?}, its twin {:x?}",
                info.name(),
                info.dtype(),
                info.shape(),
                &got[range.clone()],
                &wanted[range]
            );
        }
    }
}

#[test]
fn the_device_and_its_twin_agree_in_every_bit() {
    let mut session = Session::new(&gpu());
    let mut variables: Vec<Variable> = Vec::new();
    for (index, initializer) in initializers().into_iter().enumerate() {
        for size in [0usize, 1, 2, 3, 4, 5, 7, 64, 255, 257, 1009, 65_537] {
            for dtype in [DType::F32, DType::F16, DType::Bf16] {
                let name = format!("{index} {initializer} {dtype} {size}");
                let mut variable = variable(&name, [size], initializer.clone());
                variable.dtype = dtype;
                // A constant or a mean that f16 cannot hold is tested elsewhere.
                if initializer.check(&variable.shape, dtype).is_ok() {
                    variables.push(variable);
                }
            }
        }
    }
    for (name, shape, initializer) in [
        ("identity", [13, 29], I::Identity { gain: 1.5 }),
        ("tall identity", [29, 13], I::Identity { gain: -1.0 }),
        ("empty identity", [0, 0], I::Identity { gain: 1.0 }),
        ("orthogonal", [13, 29], I::Orthogonal { gain: 1.5 }),
        ("values", [2, 2], I::Values(vec![1.0, -0.0, 1e-42, f32::INFINITY])),
        ("matrix", [97, 103], I::GlorotUniform),
    ] {
        let whole = variable(name, shape, initializer);
        let half = Variable { name: format!("{name} f16"), dtype: DType::F16, ..whole.clone() };
        let short = Variable { name: format!("{name} bf16"), dtype: DType::Bf16, ..whole.clone() };
        variables.extend([whole, half, short]);
    }
    for dtype in [DType::I32, DType::U32] {
        for (name, initializer) in [("0", I::Zeros), ("1", I::Ones), ("7", I::Constant(7.0))] {
            let variable = variable(&format!("{name} {dtype}"), [5], initializer);
            variables.push(Variable { dtype, ..variable });
        }
    }
    session.declare(&variables).unwrap();
    for seed in [0, 7, u64::MAX] {
        let names = session.initialize_all(seed, Overwrite::Refuse).unwrap();
        assert_eq!(names.len(), variables.len());
        assert_eq!(session.seed(), Some(seed));
        assert_twins(&session, seed);
    }
}

#[test]
fn more_groups_than_one_dimension_holds() {
    let gpu = gpu();
    let widest = gpu.limits().max_compute_workgroups_per_dimension as usize;
    let elements = (widest + 1) * 256 + 1;
    let binding = gpu.limits().max_storage_buffer_binding_size as usize;
    // f16 so that it fits the smallest binding there is.
    assert!(elements * 2 <= binding);
    let mut session = Session::new(&gpu);
    let wide = variable("wide", [elements], I::Uniform { low: -1.0, high: 1.0 });
    session.declare(&[Variable { dtype: DType::F16, ..wide }]).unwrap();
    session.initialize_missing(3).unwrap();
    assert_twins(&session, 3);
}

#[test]
fn every_rounding_to_half_precision_is_to_nearest() {
    // Uniform values through all exponents of f16, its subnormals, ties and overflow.
    let mut session = Session::new(&gpu());
    let mut variables = Vec::new();
    for exponent in -30..18 {
        let high = 2f32.powi(exponent);
        let name = format!("2^{exponent}");
        let variable = variable(&name, [3001], I::Uniform { low: -high, high });
        variables.push(Variable { dtype: DType::F16, ..variable });
    }
    // As the host makes them; a little more than half way to the next bf16.
    let above_tie = variable("above a tie", [3], I::Constant(1.0 + 2f64.powi(-8) + 2f64.powi(-22)));
    variables.push(Variable { dtype: DType::Bf16, ..above_tie });
    session.declare(&variables).unwrap();
    session.initialize_missing(1).unwrap();
    assert_twins(&session, 1);
    let rounded = session.read("above a tie").unwrap();
    assert_eq!(rounded.to_f64(), [1.0 + 2f64.powi(-7); 3]);
}

#[test]
fn missing_variables_get_the_bits_that_all_would() {
    let gpu = gpu();
    let names = ["a/weight", "a/bias", "b/weight", "b/bias"];
    let declare = |names: &[&str]| {
        let mut session = Session::new(&gpu);
        let normal = I::Normal { mean: 0.0, stddev: 1.0 };
        let variables: Vec<_> =
            names.iter().map(|name| variable(name, [33], normal.clone())).collect();
        session.declare(&variables).unwrap();
        session
    };
    let mut all = declare(&names);
    all.initialize_all(11, Overwrite::Refuse).unwrap();
    let mut some = declare(&["b/bias", "zeta", "a/bias", "a/weight", "b/weight"]);
    let given = TensorData::new([33], vec![2.5f32; 33]).unwrap();
    some.assign("a/bias", &given).unwrap();
    let made = some.initialize_missing(11).unwrap();
    assert_eq!(made, ["b/bias", "zeta", "a/weight", "b/weight"]);
    assert_eq!(some.read("a/bias").unwrap(), given);
    assert_eq!(some.variable("a/bias").unwrap().origin, Origin::Assigned);
    for name in ["a/weight", "b/weight", "b/bias"] {
        assert_eq!(some.read(name).unwrap(), all.read(name).unwrap(), "{name}");
        let origin = some.variable(name).unwrap().origin.to_string();
        assert_eq!(origin, "initialized (normal(0, 1), seed 11)");
    }
    assert_eq!(some.seed(), Some(11));
    // What fills nothing leaves no seed.
    assert!(some.initialize_missing(12).unwrap().is_empty());
    assert_eq!(some.seed(), Some(11));
    // Nor does it make an earlier one the last.
    let normal = I::Normal { mean: 0.0, stddev: 1.0 };
    some.declare(&[variable("new", [33], normal)]).unwrap();
    assert_eq!(some.initialize_missing(12).unwrap(), ["new"]);
    assert!(some.initialize_missing(11).unwrap().is_empty());
    assert_eq!(some.seed(), Some(12));
}

/// Bytes of a checkpoint.
struct Restored;

impl ByteSource for Restored {
    fn read_at(&self, _: u64, into: &mut [u8]) -> io::Result<()> {
        into.fill(1);
        Ok(())
    }
}

fn restore(session: &mut Session, names: &[&str]) {
    let fill = |&variable| Fill {
        variable,
        source: &Restored,
        offset: 0,
        conversion: None,
        leading: None,
        origin: Origin::Restored {
            file: Path::new("a.safetensors").into(),
            name: variable.into(),
            step: None,
        },
    };
    session.restore(names.iter().map(fill), &|_| {}).unwrap();
}

#[test]
fn what_a_restore_leaves_gets_the_bits_that_all_would() {
    let random = || initializers().into_iter().enumerate();
    let variables: Vec<Variable> =
        random().map(|(index, one)| variable(&format!("{index}"), [257], one)).collect();
    for (memory, staging) in common::ways() {
        let gpu = gpu_with(memory, staging);
        let mut all = Session::new(&gpu);
        all.declare(&variables).unwrap();
        all.initialize_all(11, Overwrite::Refuse).unwrap();
        let mut some = Session::new(&gpu);
        some.declare(&variables).unwrap();
        let (given, left): (Vec<&str>, Vec<&str>) = {
            let names = || variables.iter().map(|variable| &*variable.name).enumerate();
            let of = |odd| names().filter(move |(at, _)| at % 2 == odd).map(|(_, name)| name);
            (of(0).collect(), of(1).collect())
        };
        restore(&mut some, &given);
        for name in &left {
            some.mark_missing(name, Missing::LeftOut { file: "a.safetensors".into() });
        }
        let before: Vec<_> = given.iter().map(|name| some.read(name).unwrap()).collect();
        assert_eq!(some.initialize_missing(11).unwrap(), left);
        for name in left {
            assert_eq!(some.read(name).unwrap(), all.read(name).unwrap(), "{name}");
        }
        let after: Vec<_> = given.iter().map(|name| some.read(name).unwrap()).collect();
        assert_eq!(after, before);
    }
}

#[test]
fn a_seed_is_that_of_a_value_that_is_there() {
    let mut session = Session::new(&gpu());
    session.declare(&["a", "b"].map(|name| variable(name, [2], I::Ones))).unwrap();
    session.initialize_missing(7).unwrap();
    session.declare(&[variable("c", [2], I::Ones)]).unwrap();
    session.initialize_missing(8).unwrap();
    assert_eq!(session.seed(), Some(8));
    // Nothing is left of the last, and two are of the one before.
    restore(&mut session, &["c"]);
    assert_eq!(session.seed(), Some(7));
    restore(&mut session, &["a"]);
    assert_eq!(session.seed(), Some(7));
    session.assign("b", &TensorData::from(vec![1.0f32, 2.0])).unwrap();
    assert_eq!(session.seed(), None);
    session.initialize_all(9, Overwrite::Everything).unwrap();
    assert_eq!(session.seed(), Some(9));
    session.discard_values();
    assert_eq!(session.seed(), None);
}

#[test]
fn initialize_all_refuses_to_destroy_what_it_cannot_make_again() {
    let mut session = Session::new(&gpu());
    session.declare(&["a", "b", "c"].map(|name| variable(name, [2], I::Ones))).unwrap();
    let given = TensorData::new([2], vec![5.0f32; 2]).unwrap();
    for name in ["a", "c"] {
        session.assign(name, &given).unwrap();
    }
    let error = session.initialize_all(1, Overwrite::Refuse).unwrap_err();
    assert!(matches!(&error, SessionError::WouldOverwrite { variables } if variables.len() == 2));
    let text = error.to_string();
    for part in ["2 values", "`a` assigned", "`c` assigned", "initialize_missing", "Everything"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(session.read("a").unwrap(), given);
    assert_eq!(session.uninitialized().len(), 1);
    assert_eq!(session.initialize_all(1, Overwrite::Everything).unwrap(), ["a", "b", "c"]);
    assert_eq!(session.read("a").unwrap().as_f32().unwrap(), [1.0; 2]);
    session.initialize_all(2, Overwrite::Refuse).unwrap();
}

#[test]
fn an_initializer_that_does_not_fit_stops_all_of_them() {
    let mut session = Session::new(&gpu());
    let odd = variable("odd", [3], I::Identity { gain: 1.0 });
    session.declare(&[variable("fine", [3], I::Ones), odd]).unwrap();
    let error = session.initialize_missing(1).unwrap_err();
    assert!(matches!(error, SessionError::Initializer { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("`odd`") && text.contains("initialize.rs"), "{text}");
    assert_eq!(session.uninitialized().len(), 2);
    assert_eq!(session.seed(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_shapes_and_parameters_agree(
        sizes in prop::collection::vec(0usize..5000, 1..6),
        low in -10f32..10.0, width in 0f32..10.0,
        mean in -10f32..10.0, stddev in 0f32..10.0,
        seed: u64, staged: bool,
    ) {
        let memory = if staged { MemoryKind::Staged } else { MemoryKind::Mappable };
        let mut session = Session::new(&gpu_with(memory, 1 << 20));
        let kinds = [
            I::Uniform { low, high: low + width },
            I::Normal { mean, stddev },
            I::TruncatedNormal { mean, stddev },
        ];
        let variables: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(i, n)| variable(&format!("v{i}"), [*n], kinds[i % 3].clone()))
            .collect();
        session.declare(&variables).unwrap();
        session.initialize_missing(seed).unwrap();
        assert_twins(&session, seed);
    }
}
