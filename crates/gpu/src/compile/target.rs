//! What compiling knows of the device: its limits, what kernels it likes, and who made it.

use super::classes::Table;
#[cfg(test)]
use super::classes::release_table;

/// Less than some drivers take for a buffer.
pub(crate) const SPARE: u64 = 64 << 10;

/// What the device can do, as far as compiling depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// A software adapter: it likes wide register tiles and no workgroup memory.
    pub is_cpu: bool,
    /// Whether the driver of a software adapter is known to carry out loops of any length.
    pub ends_no_loops: bool,
    /// Who made the GPU.
    pub maker: &'static str,
    /// How many invocations each subgroup has, if that is fixed.
    pub subgroup_size: Option<u32>,
    /// How many invocations a subgroup has at least, if shaders may use subgroups.
    pub least_subgroup: Option<u32>,
    /// Whether shaders may read integers of 64 bits.
    pub has_int64: bool,
    /// Whether shaders may have `f16`. A plan uses them only if they become the right `f32`.
    pub has_f16: bool,
    /// The size of cooperative matrices that multiply `f16` into `f32`, if shaders may have them. A plan
    /// uses them only if what they compute is right.
    pub cooperative: Option<u32>,
    pub storage_buffers: usize,
    pub binding_bytes: u64,
    pub workgroups: u32,
    /// What was measured before the release.
    pub shipped: Table,
    /// Whether other kernels that compute the same are wanted, to be measured.
    pub alternatives: bool,
    /// Whether lanes of a row hand on values by subgroups where they could, unmeasured. Tests compare the
    /// two.
    pub subgroup_rows: bool,
    /// Whether a kernel may write where it reads: its result over what that is computed from, or beside
    /// it in one buffer. Tests compare the two.
    pub in_place: bool,
    /// How many bytes are too few to save, if a kernel of its own has to be compiled for that or, on GPUs,
    /// kernels have to wait. Tests compare other numbers.
    pub spare: u64,
    /// Whether what several kernels read may be stored beside another result, or computed by each. Tests
    /// compare the two.
    pub keeps: bool,
}

#[cfg(test)]
impl Target {
    /// A GPU, for tests of what needs no device.
    pub const GPU: Target = Target {
        is_cpu: false,
        ends_no_loops: false,
        maker: "other",
        subgroup_size: Some(32),
        least_subgroup: Some(32),
        has_int64: true,
        has_f16: true,
        cooperative: None,
        storage_buffers: 16,
        binding_bytes: 1 << 31,
        workgroups: 65535,
        shipped: release_table,
        alternatives: false,
        subgroup_rows: false,
        in_place: true,
        spare: SPARE,
        keeps: true,
    };
}

impl Target {
    /// How many rounds all loops of an invocation may make together. Mesa's software driver ends them
    /// after 65,535, and says nothing (`LP_MAX_TGSI_LOOP_ITERATIONS`); some are left for loops of a few
    /// rounds beside the one that counts. A sum that lacks a part of it is worse than a product that is
    /// cut in slices or refused: so it is the limit of all software adapters but those that are known to
    /// have none.
    pub fn most_rounds(&self) -> usize {
        if self.is_cpu && !self.ends_no_loops { 60_000 } else { usize::MAX }
    }

    /// So many workgroups in the fewest rows of one length; a few may be past the last one. None if they
    /// are more than a dispatch can have.
    pub fn spread(&self, groups: u64) -> Option<[u32; 3]> {
        let limit = u64::from(self.workgroups);
        let rows = groups.div_ceil(limit).max(1);
        (rows <= limit).then(|| [groups.div_ceil(rows).max(1) as u32, rows as u32, 1])
    }

    /// Which adapters are alike enough for what was measured on one to be a guess for another:
    /// software adapters by their subgroups, GPUs by who made them.
    pub fn adapter_class(&self) -> &'static str {
        match *self {
            Target { is_cpu: true, subgroup_size: Some(8), .. } => "software8",
            Target { is_cpu: true, .. } => "software",
            Target { maker, .. } => maker,
        }
    }
}

/// Who made a GPU, by the numbers of PCI vendors.
pub(crate) fn maker(info: &wgpu::AdapterInfo) -> &'static str {
    match info.vendor {
        0x10de => "nvidia",
        0x1002 => "amd",
        0x8086 => "intel",
        0x106b => "apple",
        0x13b5 => "arm",
        0x5143 => "qualcomm",
        // Metal tells no vendor.
        _ if info.backend == wgpu::Backend::Metal => "apple",
        _ => "other",
    }
}
