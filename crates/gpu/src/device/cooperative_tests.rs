use super::*;
use crate::compile::Target;
use crate::compile::matmul::{Operand, Product, Rung};
use crate::device::gpu::GpuOptions;
use crate::left_out::left_out;
use crate::session::Session;
use warmstart_graph::{DType, Graph};

fn expected(trial: &Trial) -> Vec<u32> {
    let element = |row: usize, column: usize| {
        let products = (0..trial.k).map(|k| trial.a(row, k) * trial.b(k, column));
        products.sum::<i32>() as f32 * trial.row_unit(row) * trial.column_unit(column)
    };
    (0..trial.m * trial.n).map(|at| element(at / trial.n, at % trial.n).to_bits()).collect()
}

#[test]
fn what_a_trial_asks_is_exact_and_needs_sums_in_f32() {
    for trial in [ODD, FOURS] {
        asks_for_exact_sums(&trial);
    }
}

fn asks_for_exact_sums(trial: &Trial) {
    let right = expected(trial);
    assert!(trial.is_right(&right));
    assert!(!trial.is_right(&right[1..]));
    let mut wrong = right.clone();
    wrong[trial.n + 1] ^= 1;
    assert!(!trial.is_right(&wrong));
    // Sums of `f32` are exact however they are grouped.
    let largest = (trial.k as i32) * 255 * 127;
    assert!(largest < 1 << 24);
    // Those of `f16` would not be, and subnormal operands taken for zero would show.
    let numbers: Vec<f32> = right.iter().map(|&bits| f32::from_bits(bits)).collect();
    let inexact = numbers.iter().filter(|&&x| f16::from_f32(x).to_f32() != x).count();
    assert!(inexact > trial.m * trial.n / 4, "{inexact}");
    let flushed = |at: usize| at / trial.n >= trial.m / 2 && numbers[at] != 0.0;
    assert!((0..numbers.len()).filter(|&at| flushed(at)).count() > trial.m * trial.n / 4);
    // And all operands are `f16`.
    for (row, k) in (0..trial.m).flat_map(|row| (0..trial.k).map(move |k| (row, k))) {
        let number = trial.a(row, k) as f32 * trial.row_unit(row);
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
    } else {
        left_out("a trial of cooperative matrices", "this adapter has none");
    }
}

/// One wrong result of any trial, or one that cannot be run, and they are not used.
#[test]
fn a_failed_trial_of_any_kind_is_found() {
    let count = trials(16).count();
    let mut runs = 0;
    let right = all_right(16, |trial, _| {
        runs += 1;
        Ok(expected(trial))
    });
    assert_eq!((right.unwrap(), runs), (true, count));
    type Fault = fn(&Trial) -> Result<Vec<u32>, GpuError>;
    let refused: Fault =
        |_| Err(GpuError::Validation { what: "a kernel".to_owned(), message: String::new() });
    let failed: Fault =
        |_| Err(GpuError::Internal { what: "a kernel".to_owned(), message: String::new() });
    let wrong: Fault = |trial| {
        let mut bits = expected(trial);
        let last = bits.len() - 1;
        bits[last] ^= 1;
        Ok(bits)
    };
    for at in 0..count {
        let at_one = |fault: Fault| {
            let mut run = 0;
            all_right(16, |trial, _| {
                run += 1;
                if run == at + 1 { fault(trial) } else { Ok(expected(trial)) }
            })
        };
        for fault in [refused, failed, wrong] {
            assert!(!at_one(fault).unwrap(), "{at}");
        }
        // That says nothing of the matrices, and is no answer.
        let memory: Fault = |_| Err(GpuError::OutOfMemory { what: String::new(), bytes: None });
        assert!(matches!(at_one(memory), Err(GpuError::OutOfMemory { .. })), "{at}");
    }
}

/// What plans read four at a time, and one at a time, as it lies and transposed, in small tiles and in
/// large ones.
#[test]
fn each_kernel_that_plans_use_is_tried() {
    let extents = [[67, 75, 93], [68, 76, 92], [2000, 1000, 64], [2001, 1001, 65], [68, 75, 92]];
    for (size, [m, n, k]) in [8, 16].into_iter().flat_map(|size| extents.map(|own| (size, own))) {
        let target = Target { cooperative: Some(size), ..Target::GPU };
        for transposed in [[false; 2], [true; 2], [false, true], [true, false]] {
            let operand = |rows: usize, columns: usize, is_transposed| {
                let (row, column) = if is_transposed { (1, rows) } else { (columns, 1) };
                Operand { row, column, batch: 0, dtype: DType::F16 }
            };
            let (a, b) = (operand(m, k, transposed[0]), operand(k, n, transposed[1]));
            let product = Product { batch: 1, m, n, k, a, b, sliced: None };
            let usual = Rung::usual(&product, target);
            let Rung::Cooperative { size, blocks } = usual else { panic!("{usual:?}") };
            let choice = usual.kernel(&product, false, target);
            for (transposed, elements) in transposed.into_iter().zip(choice.operands) {
                let tried = trials(size).any(|(trial, matrices)| {
                    let as_tried = (trial.transposed, trial.elements(), matrices.blocks);
                    as_tried == (transposed, elements, blocks)
                });
                assert!(tried, "{elements:?} in {blocks} blocks of {size}, {transposed}");
            }
        }
    }
    let tried: Vec<Trial> = trials(16).map(|(trial, _)| trial).collect();
    assert!(tried.iter().all(|trial| trial.has_fours() == (trial.m == FOURS.m)));
}

/// A device that says it has them, and then cannot compile a kernel with them.
#[test]
fn a_plan_falls_back_where_a_trial_fails() {
    let options =
        GpuOptions { cooperative_matrix: Some(CooperativeMatrix::Off), ..Default::default() };
    let run = |gpu: &Gpu| {
        let graph = Graph::new();
        let x = graph.placeholder("x", [24, 20], DType::F32);
        let y = graph.placeholder("y", [20, 28], DType::F32);
        let product = graph.root().compute_f16(|_| x.matmul(y));
        let mut session = Session::new(gpu);
        let plan = session.compile(&graph, &[product], &[]).unwrap();
        let kernels: Vec<&str> = plan.dispatches().iter().map(|info| info.kernel).collect();
        assert!(!kernels.contains(&"matmul_cooperative"), "{kernels:?}");
        let numbers = |count: usize| (0..count).map(|i| i as f32 / 64.0).collect::<Vec<f32>>();
        let (x, y) = (numbers(24 * 20), numbers(20 * 28));
        let outputs = session.run(&plan, &[("x", (&x).into()), ("y", (&y).into())]).unwrap();
        outputs.tensor(product).unwrap().to_le_bytes()
    };
    let without = Gpu::with(&options).unwrap();
    let failing = Gpu::with(&options).unwrap().taken_for_cooperative(16);
    assert_eq!(Target::of(&failing).cooperative, Some(16));
    assert!(run(&failing) == run(&without), "other bits");
    let is_tried = failing.features().contains(wgpu::Features::SHADER_F16);
    assert_eq!(failing.tried_matrices().get(), is_tried.then_some(&false));
}
