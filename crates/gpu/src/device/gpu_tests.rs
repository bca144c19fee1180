use super::*;

#[test]
fn adapters_are_found_by_name_and_index() {
    let all = Gpu::adapters();
    let first = all.first().expect("these tests need an adapter");
    let part: String = first.name.chars().take(6).collect::<String>().to_uppercase();
    let by_name = GpuOptions { adapter: Some(AdapterChoice::Name(part)), ..Default::default() };
    assert_eq!(Gpu::with(&by_name).unwrap().summary().name, first.name);
    let by_index = GpuOptions { adapter: Some(AdapterChoice::Index(0)), ..Default::default() };
    assert_eq!(Gpu::with(&by_index).unwrap().summary().name, first.name);
}

#[test]
fn a_name_that_fits_nothing_lists_the_adapters() {
    let name = AdapterChoice::Name("no such adapter".to_owned());
    for choice in [name, AdapterChoice::Index(1000)] {
        let options = GpuOptions { adapter: Some(choice), ..Default::default() };
        let error = Gpu::with(&options).map(|_| ()).unwrap_err();
        assert!(matches!(error, GpuError::NoSuchAdapter { .. }), "{error}");
        assert!(error.to_string().contains(&Gpu::adapters()[0].name), "{error}");
    }
}

#[test]
fn no_backend_says_how_to_install_a_driver() {
    let options = GpuOptions { backends: Some(wgpu::Backends::empty()), ..Default::default() };
    let error = Gpu::with(&options).map(|_| ()).unwrap_err();
    assert!(matches!(error, GpuError::NoAdapter { .. }), "{error}");
    let text = error.to_string();
    assert!(!cfg!(target_os = "linux") || text.contains("mesa-vulkan-drivers"), "{text}");
}

#[test]
fn invalid_calls_become_errors_and_not_panics() {
    let gpu = Gpu::new().unwrap();
    let bad = "@compute @workgroup_size(1) fn main() { let x = nothing; }";
    let error = gpu.pipeline("bad", bad, &[]).unwrap_err();
    assert!(matches!(error, GpuError::Validation { .. }), "{error}");
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE;
    let descriptor =
        wgpu::BufferDescriptor { label: None, size: 7, usage, mapped_at_creation: true };
    let _ = gpu.device().create_buffer(&descriptor);
    assert!(matches!(gpu.healthy(), Err(GpuError::Validation { .. })));
    gpu.healthy().unwrap();
}

#[test]
fn too_large_a_buffer_is_a_typed_error() {
    let gpu = Gpu::new().unwrap();
    let bytes = gpu.limits().max_buffer_size.saturating_add(4);
    let error = gpu.buffer("a test's buffer", bytes, wgpu::BufferUsages::STORAGE).unwrap_err();
    assert!(error.to_string().contains("a test's buffer"), "{error}");
}

#[test]
fn a_lost_device_is_an_error_from_then_on() {
    let gpu = Gpu::new().unwrap();
    gpu.device().destroy();
    let _ = gpu.wait_all();
    for error in [gpu.healthy(), gpu.wait_all(), gpu.checked("x", |_| ())] {
        assert!(matches!(error, Err(GpuError::DeviceLost { .. })), "{error:?}");
    }
}

/// What no adapter here has: a kernel may bind a million buffers, and a buffer be larger than kernels
/// can count.
#[test]
fn more_is_not_asked_for_than_kernels_can_make_use_of() {
    let defaults = wgpu::Limits::defaults();
    let large = wgpu::Limits {
        max_storage_buffers_per_shader_stage: 1 << 20,
        max_storage_buffer_binding_size: 1 << 40,
        max_buffer_size: 1 << 40,
        ..defaults.clone()
    };
    let wanted = wanted_limits(&large);
    assert_eq!(wanted.max_storage_buffers_per_shader_stage, defaults.max_bindings_per_bind_group);
    assert!(wanted.max_storage_buffer_binding_size <= u64::from(u32::MAX));
    assert_eq!(wanted.max_buffer_size, 1 << 40);
    // Of what an adapter has less of, no more is asked for than it has.
    let small = wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..defaults };
    assert_eq!(wanted_limits(&small), small);
    // But that is too little.
    let text = "it has 4 storage buffers in a kernel, and 8 are needed";
    assert_eq!(lacking(&small).as_deref(), Some(text));
    assert_eq!(lacking(&wgpu::Limits::defaults()), None);
}
