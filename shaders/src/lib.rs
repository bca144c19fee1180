//! The WGSL kernels of warmstart, one file per kernel family.
#![forbid(unsafe_code)]

/// First values of variables: constants, identity, uniform and normal.
pub const INITIALIZE: &str = include_str!("initialize.wgsl");

/// Every kernel with its name.
pub const ALL: &[(&str, &str)] = &[("initialize", INITIALIZE)];

#[cfg(test)]
mod tests {
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    #[test]
    fn every_kernel_parses_and_validates() {
        for (name, source) in super::ALL {
            let module = naga::front::wgsl::parse_str(source)
                .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
            let mut validator = Validator::new(ValidationFlags::all(), Capabilities::empty());
            validator
                .validate(&module)
                .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
            assert!(module.entry_points.iter().any(|entry| entry.name == "main"), "{name}");
        }
    }

    #[test]
    fn every_file_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|file| file.unwrap().file_name().into_string().ok())
            .filter_map(|file| file.strip_suffix(".wgsl").map(str::to_owned))
            .collect();
        files.sort();
        let mut listed: Vec<&str> = super::ALL.iter().map(|(name, _)| *name).collect();
        listed.sort_unstable();
        assert_eq!(files, listed);
    }
}
