use super::*;
use crate::device::gpu::GpuOptions;

fn expected(trial: &Trial) -> Vec<u32> {
    let element = |row: usize, column: usize| {
        let products = (0..trial.k).map(|k| trial.a(row, k) * trial.b(k, column));
        products.sum::<i32>() as f32 * trial.row_unit(row) * trial.column_unit(column)
    };
    (0..trial.m * trial.n).map(|at| element(at / trial.n, at % trial.n).to_bits()).collect()
}

#[test]
fn what_a_trial_asks_is_exact_and_needs_sums_in_f32() {
    let right = expected(&TRIAL);
    assert!(TRIAL.is_right(&right));
    assert!(!TRIAL.is_right(&right[1..]));
    let mut wrong = right.clone();
    wrong[TRIAL.n + 1] ^= 1;
    assert!(!TRIAL.is_right(&wrong));
    // Sums of `f32` are exact however they are grouped.
    let largest = (TRIAL.k as i32) * 255 * 127;
    assert!(largest < 1 << 24);
    // Those of `f16` would not be, and subnormal operands taken for zero would show.
    let numbers: Vec<f32> = right.iter().map(|&bits| f32::from_bits(bits)).collect();
    let inexact = numbers.iter().filter(|&&x| f16::from_f32(x).to_f32() != x).count();
    assert!(inexact > TRIAL.m * TRIAL.n / 4, "{inexact}");
    let flushed = |at: usize| at / TRIAL.n >= TRIAL.m / 2 && numbers[at] != 0.0;
    assert!((0..numbers.len()).filter(|&at| flushed(at)).count() > TRIAL.m * TRIAL.n / 4);
    // And all operands are `f16`.
    for (row, k) in (0..TRIAL.m).flat_map(|row| (0..TRIAL.k).map(move |k| (row, k))) {
        let number = TRIAL.a(row, k) as f32 * TRIAL.row_unit(row);
        assert_eq!(f16::from_f32(number).to_f32(), number);
    }
}

#[test]
fn only_matrices_that_add_up_in_f32_will_do() {
    use wgpu::CooperativeScalarType::{F16, F32};
    let matrices =
        |[m_size, n_size, k_size]: [u32; 3], ab_type, cr_type| wgpu::CooperativeMatrixProperties {
            m_size,
            n_size,
            k_size,
            ab_type,
            cr_type,
            saturating_accumulation: false,
        };
    assert!(is_such(&matrices([16; 3], F16, F32), 16));
    assert!(is_such(&matrices([8; 3], F16, F32), 8));
    assert!(!is_such(&matrices([8; 3], F16, F32), 16));
    assert!(!is_such(&matrices([16, 8, 16], F16, F32), 16));
    assert!(!is_such(&matrices([16; 3], F16, F16), 16));
    assert!(!is_such(&matrices([8; 3], F32, F32), 8));
    let saturating = matrices([16; 3], F16, F32);
    let saturating =
        wgpu::CooperativeMatrixProperties { saturating_accumulation: true, ..saturating };
    assert!(!is_such(&saturating, 16));
}

#[test]
fn software_adapters_have_them_only_if_forced() {
    let open = |choice| {
        let options = GpuOptions { cooperative_matrix: Some(choice), ..Default::default() };
        Gpu::with(&options).unwrap()
    };
    let feature = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    let off = open(CooperativeMatrix::Off);
    assert!(off.cooperative_matrix_size().is_none() && !off.features().contains(feature));
    let on = open(CooperativeMatrix::On);
    assert!(!on.is_cpu() || on.cooperative_matrix_size().is_none());
    let forced = open(CooperativeMatrix::Force);
    assert_eq!(forced.cooperative_matrix_size().is_some(), forced.features().contains(feature));
    if let Some(size) = forced.cooperative_matrix_size() {
        let right = forced.multiplies_by_matrices(size).unwrap();
        assert_eq!(forced.tried_matrices().get(), Some(&right));
        // Software Vulkan of Mesa 26 has them right.
        assert!(right || !forced.summary().name.contains("llvmpipe"));
    }
}
