//! NaN and infinities are found on the device, wherever they are.

mod common;

use common::{gpu, variable};
use half::{bf16, f16};
use warmstart_gpu::{NonFinite, Session, SessionError};
use warmstart_graph::{Elements, Initializer, TensorData};

fn found(name: &str, count: usize, elements: usize) -> NonFinite {
    NonFinite { name: name.to_owned(), count, elements }
}

/// A session with one variable of these values.
fn holding(session: &mut Session, name: &str, values: impl Into<Elements>) {
    let values: Elements = values.into();
    let value = TensorData::new([values.len()], values).unwrap();
    let mut variable = variable(name, value.shape().clone(), Initializer::Zeros);
    variable.dtype = value.dtype();
    session.declare(&[variable]).unwrap();
    session.assign(name, &value).unwrap();
}

#[test]
fn each_kind_is_found_at_every_place_and_counted() {
    let gpu = gpu();
    let nan_with_payload = f32::from_bits(0xff80_0001);
    for size in [1, 2, 63, 64, 65, 16_384, 16_385, 100_003] {
        for at in [0, size / 2, size - 1] {
            for bad in [f32::NAN, nan_with_payload, f32::INFINITY, f32::NEG_INFINITY] {
                let mut session = Session::new(&gpu);
                let mut values = vec![f32::MAX; size];
                holding(&mut session, "before", vec![1.0f32; 5]);
                values[at] = bad;
                holding(&mut session, "bad", values);
                holding(&mut session, "after", vec![-1.0f32; 3]);
                let names = ["after", "bad", "before"];
                assert_eq!(session.non_finite(&names).unwrap(), [found("bad", 1, size)]);
            }
        }
    }
}

#[test]
fn finite_extremes_are_finite() {
    let mut session = Session::new(&gpu());
    let extremes = [0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1)];
    holding(&mut session, "f32", extremes.to_vec());
    let bits = [0u16, 0x8000, 0x7bff, 0xfbff, 1];
    holding(&mut session, "f16", bits.map(f16::from_bits).to_vec());
    // The first has the bits of an infinite f16.
    let bits = [0x7c00u16, 0xfc01, 0x7f7f, 0xff7f, 1];
    holding(&mut session, "bf16", bits.map(bf16::from_bits).to_vec());
    // The bits of NaN are a number like any other where numbers are whole.
    holding(&mut session, "u32", vec![u32::MAX, f32::NAN.to_bits()]);
    holding(&mut session, "i32", vec![-1i32]);
    holding(&mut session, "empty", Vec::<f32>::new());
    assert_eq!(session.non_finite(&["f32", "f16", "bf16", "u32", "i32", "empty"]).unwrap(), []);
    assert_eq!(session.non_finite(&["u32", "empty"]).unwrap(), []);
    assert_eq!(session.non_finite(&[]).unwrap(), []);
}

#[test]
fn halves_of_a_word_are_told_apart() {
    let gpu = gpu();
    for size in [1, 2, 3, 16_385, 40_001] {
        for at in [0, size / 2, size - 1] {
            let mut session = Session::new(&gpu);
            let mut values = vec![f16::MAX; size];
            values[at] = f16::NEG_INFINITY;
            holding(&mut session, "a", values);
            let mut values = vec![bf16::MAX; size];
            values[at] = bf16::NAN;
            holding(&mut session, "b", values);
            let expected = [found("a", 1, size), found("b", 1, size)];
            assert_eq!(session.non_finite(&["a", "b"]).unwrap(), expected, "{size} {at}");
        }
    }
}

#[test]
fn all_are_counted_in_the_order_of_the_names() {
    let mut session = Session::new(&gpu());
    holding(&mut session, "a", vec![f32::NAN; 70_000]);
    holding(&mut session, "b", vec![1.0f32]);
    holding(&mut session, "c", vec![f32::INFINITY, 0.0, f32::NAN]);
    let all = session.non_finite(&["c", "b", "a"]).unwrap();
    assert_eq!(all, [found("c", 2, 3), found("a", 70_000, 70_000)]);
    assert_eq!(all[0].to_string(), "`c` (2 of 3 elements)");
}

#[test]
fn a_variable_without_a_value_is_refused() {
    let mut session = Session::new(&gpu());
    session.declare(&[variable("a", [2], Initializer::Ones)]).unwrap();
    let error = session.non_finite(&["a"]).unwrap_err();
    assert!(matches!(error, SessionError::Uninitialized { .. }), "{error}");
    assert!(matches!(
        session.non_finite(&["b"]).unwrap_err(),
        SessionError::UnknownVariable { .. }
    ));
}
