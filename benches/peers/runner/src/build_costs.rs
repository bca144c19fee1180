//! What building costs, as `build-costs.sh` measured it.

use crate::Outcome;
use std::{fs, io};

/// One arm's release build, from an empty target folder.
pub struct BuildCost {
    /// The arm's name.
    pub arm: String,
    /// Crates that are compiled for it.
    pub crates: u64,
    /// Seconds of the build.
    pub seconds: f64,
    /// Seconds of processor time of all its processes.
    pub processor: f64,
    /// Bytes of the program without its symbols.
    pub bytes: u64,
}

/// The costs in a file; none if it is not there.
pub fn read(path: &str) -> Outcome<Vec<BuildCost>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{path}: {error}").into()),
    };
    text.lines().filter(|line| !line.starts_with('#')).map(parse).collect()
}

fn parse(line: &str) -> Outcome<BuildCost> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [arm, crates, seconds, processor, bytes] = columns.as_slice() else {
        return Err(
            format!("build-costs.tsv has the line `{line}`, which is not of 5 columns").into()
        );
    };
    Ok(BuildCost {
        arm: (*arm).to_owned(),
        crates: crates.parse()?,
        seconds: seconds.parse()?,
        processor: processor.parse()?,
        bytes: bytes.parse()?,
    })
}
