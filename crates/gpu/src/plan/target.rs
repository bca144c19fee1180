//! What a device tells of itself to compiling.

use crate::compile::Target;
use crate::compile::target::SPARE;
use crate::device::gpu::Gpu;

impl Target {
    pub fn of(gpu: &Gpu) -> Target {
        let limits = gpu.limits();
        Target {
            is_cpu: gpu.is_cpu(),
            ends_no_loops: ends_no_loops(&gpu.summary().name),
            maker: gpu.tuner().maker(),
            subgroup_size: gpu.subgroup_size(),
            least_subgroup: gpu.least_subgroup(),
            has_int64: gpu.features().contains(wgpu::Features::SHADER_INT64),
            has_f16: gpu.features().contains(wgpu::Features::SHADER_F16),
            cooperative: gpu.cooperative_matrix_size(),
            storage_buffers: limits.max_storage_buffers_per_shader_stage as usize,
            binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            workgroups: limits.max_compute_workgroups_per_dimension,
            shipped: gpu.tuner().shipped(),
            alternatives: gpu.tuner().wants_alternatives(gpu.is_cpu()),
            subgroup_rows: false,
            in_place: true,
            spare: SPARE,
            keeps: true,
        }
    }
}

/// Whether a software adapter of this name is known to carry out loops of any length. SwiftShader is: it
/// runs a loop without end until the process is killed. Of Microsoft's WARP nothing is known. The name
/// of one that is reached through another driver (Venus, Zink, ANGLE) has that of both.
fn ends_no_loops(name: &str) -> bool {
    name.contains("SwiftShader") && !name.contains("llvmpipe")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is not known to carry out long loops is held to the shortest limit that is known.
    #[test]
    fn software_adapters_have_short_loops_but_where_long_ones_are_known() {
        let rounds = |name, is_cpu| {
            Target { is_cpu, ends_no_loops: ends_no_loops(name), ..Target::GPU }.most_rounds()
        };
        for name in [
            "llvmpipe (LLVM 19.1.7, 256 bits)",
            "Virtio-GPU Venus (llvmpipe (LLVM 15.0.7, 256 bits))",
            "softpipe",
            "Microsoft Basic Render Driver",
            "",
        ] {
            assert_eq!(rounds(name, true), 60_000, "{name}");
        }
        for name in ["SwiftShader Device (Subzero)", "SwiftShader Device (LLVM 10.0.0)"] {
            assert_eq!(rounds(name, true), usize::MAX, "{name}");
        }
        assert_eq!(rounds("NVIDIA H200", false), usize::MAX);
    }
}
