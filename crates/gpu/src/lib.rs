//! Where it is computed: device, kernels, compiled plans and sessions on wgpu.
