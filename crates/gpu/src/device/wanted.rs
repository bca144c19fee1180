//! What is asked of an adapter when its device is opened.

/// The features the library makes use of where they are there.
pub(super) fn wanted_features(info: &wgpu::AdapterInfo) -> wgpu::Features {
    let shared =
        matches!(info.device_type, wgpu::DeviceType::Cpu | wgpu::DeviceType::IntegratedGpu);
    let mut wanted = wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP
        | wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::PIPELINE_CACHE;
    // Elsewhere a mappable variable would live in host memory, across the bus from its kernels.
    wanted.set(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS, shared);
    // Products on software adapters read two elements as one integer.
    wanted.set(wgpu::Features::SHADER_INT64, info.device_type == wgpu::DeviceType::Cpu);
    wanted
}

/// Kernels count elements and bytes of a binding by `u32`, those that `wgpu` writes for Metal included,
/// which alone allows larger ones.
const LARGEST_BINDING: u64 = (1 << 32) - 256;

/// What an adapter must have for every kernel to run, as each that WebGPU speaks of has: what it has less
/// of, if it has less of any.
pub(super) fn lacking(has: &wgpu::Limits) -> Option<String> {
    let needed = [
        ("invocations in a workgroup", has.max_compute_invocations_per_workgroup, 256),
        ("of them along a workgroup's first dimension", has.max_compute_workgroup_size_x, 256),
        ("of them along a workgroup's second dimension", has.max_compute_workgroup_size_y, 256),
        ("bytes of workgroup memory", has.max_compute_workgroup_storage_size, 16_384),
        ("storage buffers in a kernel", has.max_storage_buffers_per_shader_stage, 8),
    ];
    let (what, has, needed) = needed.into_iter().find(|(_, has, needed)| has < needed)?;
    Some(format!("it has {has} {what}, and {needed} are needed"))
}

/// The limits to ask for: `wgpu`'s defaults, raised to what the adapter has where the library
/// makes use of more, and lowered where the adapter has less.
pub(super) fn wanted_limits(has: &wgpu::Limits) -> wgpu::Limits {
    let defaults = wgpu::Limits::defaults();
    // Some drivers allow a kernel more buffers than a bind group may hold.
    let buffers =
        has.max_storage_buffers_per_shader_stage.min(defaults.max_bindings_per_bind_group);
    wgpu::Limits {
        max_buffer_size: has.max_buffer_size,
        max_storage_buffer_binding_size: has.max_storage_buffer_binding_size.min(LARGEST_BINDING),
        max_storage_buffers_per_shader_stage: buffers,
        max_buffers_and_acceleration_structures_per_shader_stage: has
            .max_buffers_and_acceleration_structures_per_shader_stage,
        max_compute_workgroup_storage_size: has.max_compute_workgroup_storage_size,
        max_compute_invocations_per_workgroup: has.max_compute_invocations_per_workgroup,
        max_compute_workgroup_size_x: has.max_compute_workgroup_size_x,
        max_compute_workgroup_size_y: has.max_compute_workgroup_size_y,
        max_compute_workgroup_size_z: has.max_compute_workgroup_size_z,
        max_compute_workgroups_per_dimension: has.max_compute_workgroups_per_dimension,
        ..defaults
    }
    .or_worse_values_from(has)
}
