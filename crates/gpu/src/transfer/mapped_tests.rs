//! Mapped memory of a device is written and never read, as it may be write-combined.

use super::*;
use crate::device::gpu::{GpuOptions, MemoryKind};
use crate::origin::Origin;
use crate::session::Session;
use crate::transfer::cast::{Conversion, SourceDType};
use crate::transfer::fill::Fill;
use std::sync::atomic::{AtomicU64, Ordering};
use warmstart_graph::{DType, Initializer, Location, Role, Shape, Variable};

/// A source that says which way it was asked.
#[derive(Default)]
struct Asked {
    plain: AtomicU64,
    cached: AtomicU64,
}

impl ByteSource for Asked {
    fn read_at(&self, _: u64, into: &mut [u8]) -> io::Result<()> {
        self.plain.fetch_add(into.len() as u64, Ordering::Relaxed);
        into.fill(0);
        Ok(())
    }

    fn read_at_cached(&self, _: u64, into: &mut [u8]) -> io::Result<()> {
        self.cached.fetch_add(into.len() as u64, Ordering::Relaxed);
        into.fill(0);
        Ok(())
    }
}

/// Bytes that a restore asks for as for memory that may be read, and otherwise, on a device of a kind.
fn asked(device_type: wgpu::DeviceType, memory: MemoryKind) -> (u64, u64) {
    let options = GpuOptions { memory: Some(memory), ..Default::default() };
    let gpu = Gpu::with(&options).unwrap().taken_for(device_type);
    let variables = ["as it is", "cast", "transposed"].map(|name| Variable {
        name: name.to_owned(),
        shape: Shape::from([30, 20]),
        dtype: DType::F32,
        initializer: Initializer::Zeros,
        role: Role::Trainable,
        location: Location::caller(),
    });
    let mut session = Session::new(&gpu);
    session.declare(&variables).unwrap();
    let source = Asked::default();
    let fills = variables.each_ref().map(|variable| Fill {
        variable: &variable.name,
        source: &source,
        offset: 0,
        conversion: match variable.name.as_str() {
            "cast" => Some(Conversion { from: SourceDType::F64, transpose: false }),
            "transposed" => Some(Conversion { from: variable.dtype.into(), transpose: true }),
            _ => None,
        },
        leading: None,
        origin: Origin::Restored {
            file: std::path::Path::new("a").into(),
            name: variable.name.as_str().into(),
            step: None,
        },
    });
    session.restore(fills, &|_| {}).unwrap();
    (source.cached.into_inner(), source.plain.into_inner())
}

#[test]
fn only_memory_of_the_cpu_is_ever_read() {
    let all = 600 * (4 + 8 + 4);
    for memory in [MemoryKind::Mappable, MemoryKind::Staged] {
        use wgpu::DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, Other, VirtualGpu};
        assert_eq!(asked(Cpu, memory), (all, 0), "{memory:?}");
        for device_type in [DiscreteGpu, IntegratedGpu, VirtualGpu, Other] {
            assert_eq!(asked(device_type, memory), (0, all), "{device_type:?}, {memory:?}");
        }
    }
}
