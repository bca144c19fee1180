use crate::{json, warmstart, warmstart_with};
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

#[test]
fn a_name_that_fits_no_adapter_is_said_beside_those_there_are() {
    let out = warmstart_with(Path::new("."), &["devices"], &[("WGPU_ADAPTER_NAME", "nothing")]);
    assert_eq!(out.code, 1);
    let summary = &Gpu::adapters()[0];
    assert!(out.out.starts_with(&format!("0: {summary}\n")), "{}", out.out);
    let said = "no GPU adapter fits the name \"nothing\" (from WGPU_ADAPTER_NAME); there are: 0: ";
    assert!(out.error.contains(said), "{}", out.error);
    assert!(out.error.ends_with(", or unset WGPU_ADAPTER_NAME\n"), "{}", out.error);
}
