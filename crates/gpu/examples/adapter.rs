//! Says which adapter is used: `make adapter` ends with it, and a driver whose manifest is there
//! but that yields nothing shows here first.

use warmstart_gpu::{Gpu, GpuError};

fn main() -> Result<(), GpuError> {
    println!("wgpu opens: {}", Gpu::new()?.summary());
    Ok(())
}
