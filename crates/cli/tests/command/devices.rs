use crate::{json, warmstart};
use std::path::Path;
use warmstart_gpu::{Gpu, MemoryKind};

#[test]
fn the_first_adapter_is_the_one_that_is_used() {
    let out = warmstart(Path::new("."), &["devices"]).with(0);
    let summary = &Gpu::adapters()[0];
    assert!(out.starts_with(&format!("0: {summary}\n")), "{out}");
    assert!(
        out.contains("  restore    from the file ") && out.contains("  buffer     at most "),
        "{out}"
    );
    let value = json(&warmstart(Path::new("."), &["devices", "--json"]).with(0));
    let gpu = Gpu::new().unwrap();
    let memory = if gpu.memory() == MemoryKind::Mappable { "mappable" } else { "staged" };
    assert_eq!(
        (&value[0]["name"], &value[0]["memory"]),
        (&summary.name.as_str().into(), &memory.into())
    );
    assert_eq!(value[0]["f16"], gpu.features().contains(wgpu::Features::SHADER_F16));
    assert_eq!(value[0]["limits"]["max_buffer_size"], gpu.limits().max_buffer_size);
}
