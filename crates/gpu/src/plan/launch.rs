//! Kernel launches, and how a plan lists them.

use std::sync::Arc;

/// One kernel launch.
pub(crate) struct Launch {
    pub pipeline: Arc<wgpu::ComputePipeline>,
    pub bind_group: wgpu::BindGroup,
    pub workgroups: [u32; 3],
    pub info: DispatchInfo,
}

impl Launch {
    pub fn dispatch(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        let [x, y, z] = self.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// One kernel launch, as a plan lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchInfo {
    /// The operations it computes, in order: `matmul+add+relu`. Those of a second result follow a
    /// comma: `matmul, sum`.
    pub operations: String,
    /// The kernel family.
    pub kernel: &'static str,
    /// Workgroups along x, y and z.
    pub workgroups: [u32; 3],
    /// Bytes read and written if each is moved once: of a tensor that is read in part, that part.
    pub bytes: u64,
    /// Arithmetic operations: two for each multiply-add of a product, one for each element that is added up
    /// or compared, and one for each element of each elementwise operation before, after or without them;
    /// of a softmax, a normalization, a loss and an optimizer as many for each element as their formulas
    /// have. Casts are none.
    pub arithmetic: u64,
}

/// A pass that is ended by being dropped.
pub(crate) fn begin_pass(encoder: &mut wgpu::CommandEncoder) -> wgpu::ComputePass<'static> {
    encoder.begin_compute_pass(&Default::default()).forget_lifetime()
}
