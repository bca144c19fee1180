//! Which machine this is, and how busy.

use crate::system;
use std::fmt;
use std::thread;

/// The machine that something was measured on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// How many threads run at once.
    pub cores: usize,
    /// The processor's name, where the system tells it.
    pub processor: Option<String>,
    /// The system and the kind of processor: `linux x86_64`.
    pub system: String,
    /// The load average of the last minute, where the system tells it.
    pub load_average: Option<f64>,
}

impl Machine {
    /// This one, now.
    pub fn here() -> Machine {
        Machine {
            cores: thread::available_parallelism().map_or(1, |cores| cores.get()),
            processor: system::processor(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            load_average: system::load_average(),
        }
    }

    /// Whether others use so much of it that figures tell more about them.
    pub fn is_busy(&self) -> bool {
        self.load_average.is_some_and(|load| load > 0.5 * self.cores as f64)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = if self.cores == 1 { "core" } else { "cores" };
        write!(f, "{} {cores}", self.cores)?;
        if let Some(processor) = &self.processor {
            write!(f, " of {processor}")?;
        }
        write!(f, ", {}", self.system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_by_what_is_known() {
        let known = Machine {
            cores: 2,
            processor: Some("Abacus".into()),
            system: "linux x86_64".into(),
            load_average: Some(1.5),
        };
        assert_eq!(known.to_string(), "2 cores of Abacus, linux x86_64");
        assert!(known.is_busy() && !Machine { load_average: Some(0.9), ..known.clone() }.is_busy());
        let unknown = Machine { cores: 1, processor: None, load_average: None, ..known };
        assert_eq!(unknown.to_string(), "1 core, linux x86_64");
        assert!(!unknown.is_busy());
    }
}
