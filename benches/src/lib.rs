//! What the benchmarks share: the models, and what is printed before each group.
//!
//! The benchmarks are in `benches/`, the numbers of one machine in `RESULTS.md`.

pub use warmstart_measure::{
    LARGE, Mlp, SMALL, compute_and_wait, drain, run_and_wait, square_layer,
};

use warmstart_gpu::{Gpu, Plan};
use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

/// `count` trainable variables of `[512, 512]`, 1 MiB each.
pub fn mebibytes(count: usize) -> Vec<Variable> {
    let variable = |number| Variable {
        name: format!("layer_{number}/weight"),
        shape: Shape::from([512, 512]),
        dtype: DType::F32,
        initializer: Initializer::GlorotUniform,
        role: Role::Trainable,
        location: Location::caller(),
    };
    (0..count).map(variable).collect()
}

/// Prints which adapter the group that follows runs on.
pub fn announce(group: &str, gpu: &Gpu) {
    println!("\n{group}: on {}, variables filled by {:?}", gpu.summary(), gpu.memory());
}

/// Prints what one run of a plan costs.
pub fn describe(name: &str, plan: &Plan) {
    let dispatches = plan.dispatches();
    let bytes: u64 = dispatches.iter().map(|dispatch| dispatch.bytes).sum();
    let memory = plan.memory();
    println!(
        "{name}: a step is {} dispatches, 1 submit, {bytes} bytes read and written by kernels; \
         the plan keeps {} bytes on the device beside the variables",
        dispatches.len(),
        memory.peak(),
    );
}
