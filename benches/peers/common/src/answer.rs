//! The line that an arm prints.

use serde::{Deserialize, Serialize};

/// What an arm found out about one row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The arm's name.
    pub arm: String,
    /// The row's name.
    pub row: String,
    /// Where it ran.
    pub adapter: String,
    /// Seconds of one run or one step, for each sample.
    pub seconds: Vec<f64>,
    /// Results, to be held against those of the other arms.
    pub check: Vec<f64>,
    /// The most memory that was resident, where the system tells.
    pub peak_bytes: Option<u64>,
}

/// The most memory that was resident in this process.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}
