//! Restores with a cast or a transpose that fail, and what they leave: everything as it was before.

use super::*;

/// A session whose variables have values, and what a restore that fails must leave as it is.
struct Before {
    session: Session,
    bytes: Vec<Vec<u8>>,
    origins: Vec<Origin>,
    names: Vec<String>,
}

impl Before {
    fn new(gpu: &Gpu, variables: &[Variable]) -> Before {
        let mut session = Session::new(gpu);
        session.declare(variables).unwrap();
        session.initialize_all(5, Overwrite::Refuse).unwrap();
        let names: Vec<String> = variables.iter().map(|v| v.name.clone()).collect();
        let bytes = names.iter().map(|name| bytes_of(&session, name)).collect();
        let origins = session.variables().iter().map(|info| info.origin.clone()).collect();
        Before { session, bytes, origins, names }
    }

    #[track_caller]
    fn assert_refuses(&mut self, fills: &[Fill<'_>]) -> SessionError {
        let error = self.session.restore(fills.to_vec(), &|_| {}).unwrap_err();
        for (name, bytes) in self.names.iter().zip(&self.bytes) {
            assert!(bytes_of(&self.session, name) == *bytes, "{name} after: {error}");
        }
        let origins: Vec<Origin> =
            self.session.variables().iter().map(|info| info.origin.clone()).collect();
        assert_eq!(origins, self.origins);
        error
    }
}

#[test]
fn an_integer_out_of_range_changes_nothing() {
    for (memory, staging) in ways() {
        let variables =
            [variable("a", DType::F32, [70_000]), variable("b", DType::I32, [10_000, 7])];
        let mut before = Before::new(&gpu_with(memory, staging), &variables);
        let good = Bytes::new(holdable(SourceDType::F64, DType::F32, 70_000, 1));
        let mut bytes = holdable(SourceDType::I64, DType::I32, 70_000, 1);
        // Two of them: the first is named.
        for at in [69_998, 31_234] {
            bytes[at * 8..at * 8 + 8].copy_from_slice(&(-0x8000_0001i64).to_le_bytes());
        }
        for transpose in [false, true] {
            let bad = Bytes::new(bytes.clone());
            let conversion = Conversion { from: SourceDType::I64, transpose };
            let of_doubles = Conversion { from: SourceDType::F64, transpose: false };
            let fills = [fill("a", &good, of_doubles), fill("b", &bad, conversion)];
            good.asked.lock().unwrap().clear();
            let error = before.assert_refuses(&fills);
            assert!(matches!(error, SessionError::OutOfRange { index: 31_234, .. }), "{error}");
            let text = "element 31234 of the i64 source of variable `b` is -2147483649, which i32";
            assert!(error.to_string().contains(text), "{error}");
            // Where the source itself objects, that is the reason.
            let refused = Bytes { finish: Err("the sum differs"), ..Bytes::new(bytes.clone()) };
            let error = before.assert_refuses(&[fill("b", &refused, conversion)]);
            assert!(matches!(error, SessionError::Refused { .. }), "{error}");
        }
    }
}

/// A restore from one dtype to another: finite numbers that would become infinite, the first as it is
/// told, and numbers that are near to them and fit.
type Overflow = (SourceDType, DType, [Vec<u8>; 2], &'static str, Vec<Vec<u8>>);

fn overflows() -> Vec<Overflow> {
    use SourceDType::{Bf16, F32, F64, I32};
    let double = |value: f64| value.to_le_bytes().to_vec();
    let single = |value: f32| value.to_le_bytes().to_vec();
    let whole = |value: i32| value.to_le_bytes().to_vec();
    let infinite = || vec![single(f32::INFINITY), single(f32::NEG_INFINITY), single(f32::NAN)];
    let and = |near: Vec<u8>, mut others: Vec<Vec<u8>>| {
        others.push(near);
        others
    };
    let tie = f64::from(f32::MAX) + 2f64.powi(103);
    vec![
        (
            F32,
            DType::F16,
            [single(-65520.0), single(1e6)],
            "-65520.0",
            and(single(65519.996), infinite()),
        ),
        (
            F32,
            DType::Bf16,
            [single(f32::MAX), single(f32::MIN)],
            "3.4028235e38",
            and(single(3.39e38), infinite()),
        ),
        (
            F64,
            DType::F32,
            [double(1e300), double(-tie)],
            "1e300",
            vec![double(tie.next_down()), double(f64::INFINITY), double(f64::NAN)],
        ),
        (
            F64,
            DType::F16,
            [double(65520.0), double(-1e300)],
            "65520.0",
            vec![double(65519.9999999), double(f64::NEG_INFINITY)],
        ),
        (F64, DType::Bf16, [double(-1e300), double(f64::MAX)], "-1e300", vec![double(3.39e38)]),
        (
            Bf16,
            DType::F16,
            [vec![0x80, 0x47], vec![0x80, 0xc7]],
            "65536.0",
            vec![vec![0x7f, 0x47], vec![0x80, 0x7f]],
        ),
        (I32, DType::F16, [whole(-65520), whole(i32::MAX)], "-65520", vec![whole(65519)]),
    ]
}

#[test]
fn a_finite_number_that_would_become_infinite_changes_nothing() {
    for (memory, staging) in ways() {
        let gpu = gpu_with(memory, staging);
        for (from, dtype, beyond, told, near) in overflows() {
            let variables = [variable("a", DType::F32, [70_000]), variable("b", dtype, [901, 70])];
            let mut before = Before::new(&gpu, &variables);
            let mut bytes = holdable(from, dtype, 63_070, 1);
            let mut put = |at: usize, element: &[u8]| {
                bytes[at * element.len()..][..element.len()].copy_from_slice(element);
            };
            near.iter().enumerate().for_each(|(at, element)| put(99 + at, element));
            put(31_235, &beyond[0]);
            put(62_998, &beyond[1]);
            for transpose in [false, true] {
                let conversion = Conversion { from, transpose };
                let source = Bytes::new(bytes.clone());
                let good = Bytes::new(holdable(SourceDType::F32, DType::F32, 70_000, 1));
                let plain = Conversion { from: SourceDType::F32, transpose: false };
                let fills = [fill("a", &good, plain), fill("b", &source, conversion)];
                let error = before.assert_refuses(&fills);
                let about = format!("{memory:?} {staging} {from} {dtype} {transpose}: {error}");
                assert!(matches!(error, SessionError::OutOfRange { index: 31_235, .. }), "{about}");
                let text = format!("of variable `b` is {told}, which {dtype} cannot hold");
                assert!(error.to_string().contains(&text), "{about}");
                // The twin refuses too, and takes what is near.
                assert_eq!(conversion.evaluate(&bytes, dtype, 70), None, "{about}");
            }
            for element in near {
                let conversion = Conversion { from, transpose: false };
                assert_twin(&gpu, &variable("x", dtype, [1]), conversion, &element);
            }
        }
    }
}

#[test]
fn a_source_that_objects_at_the_end_changes_nothing() {
    for (memory, staging) in ways() {
        let variables = [variable("a", DType::F32, [9_000]), variable("b", DType::F16, [9_001])];
        let mut before = Before::new(&gpu_with(memory, staging), &variables);
        for (from, rows) in [(SourceDType::F32, None), (SourceDType::Bf16, Some(99))] {
            let good = Bytes::new(holdable(from, DType::F32, rows.unwrap_or(9_000), 1));
            let bad = holdable(SourceDType::F16, DType::F16, 9_001, 1);
            let bad = Bytes { finish: Err("the sum differs"), ..Bytes::new(bad) };
            let good = Fill {
                leading: rows.map(|rows| LeadingRows { rows, seed: 77 }),
                ..fill("a", &good, Conversion { from, transpose: false })
            };
            let bad = fill("b", &bad, Conversion { from: SourceDType::F16, transpose: false });
            let error = before.assert_refuses(&[good, bad]);
            assert!(matches!(error, SessionError::Refused { .. }), "{error}");
            assert!(error.to_string().contains("`b`"), "{error}");
            assert!(error.to_string().contains("the sum differs"), "{error}");
        }
    }
}

#[test]
fn a_read_that_fails_among_conversions_changes_nothing() {
    for (memory, staging) in ways() {
        let variables =
            [variable("a", DType::F32, [300, 100]), variable("b", DType::F16, [100, 301])];
        let mut before = Before::new(&gpu_with(memory, staging), &variables);
        let good = Bytes::new(holdable(SourceDType::F64, DType::F32, 30_000, 1));
        let cut = Bytes::new(holdable(SourceDType::F64, DType::F16, 30_099, 1));
        let turned = Conversion { from: SourceDType::F64, transpose: true };
        let error = before.assert_refuses(&[fill("a", &good, turned), fill("b", &cut, turned)]);
        assert!(matches!(error, SessionError::Source { .. }), "{error}");
        assert!(error.to_string().contains("`b`"), "{error}");
    }
}

#[test]
fn what_cannot_be_converted_is_said_before_anything_is_read() {
    let variables = [variable("a", DType::I32, [4]), variable("b", DType::F32, [2, 2, 2])];
    let mut before = Before::new(&common::gpu(), &variables);
    let source = Bytes::new(Vec::new());
    let floats = Conversion { from: SourceDType::F32, transpose: false };
    let error = before.assert_refuses(&[fill("a", &source, floats)]);
    assert!(matches!(error, SessionError::NoCast { .. }), "{error}");
    let turned = Conversion { from: SourceDType::F16, transpose: true };
    let error = before.assert_refuses(&[fill("b", &source, turned)]);
    assert!(matches!(error, SessionError::TransposedRank { .. }), "{error}");
    let leading = Some(LeadingRows { rows: 3, seed: 0 });
    let error = before.assert_refuses(&[Fill { leading, ..fill("b", &source, floats) }]);
    assert!(matches!(error, SessionError::LeadingRows { rows: 3, .. }), "{error}");
    assert!(source.asked.lock().unwrap().is_empty());
}
