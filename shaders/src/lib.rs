//! The WGSL kernels of warmstart, one file per kernel family.
#![forbid(unsafe_code)]

/// First values of variables: constants, identity, uniform and normal.
pub const INITIALIZE: &str = include_str!("initialize.wgsl");

/// Every complete kernel by name, as the files it consists of.
pub const ALL: &[(&str, &[&str])] = &[("initialize", &[INITIALIZE])];

#[cfg(test)]
mod tests {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    #[test]
    fn every_shader_is_valid() {
        for (name, parts) in super::ALL {
            let source = parts.concat();
            let module = naga::front::wgsl::parse_str(&source)
                .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&source)));
            Validator::new(ValidationFlags::all(), Capabilities::default())
                .validate(&module)
                .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&source)));
        }
    }
}
