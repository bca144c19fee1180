//! Environment variables that switch something off, on, or on wherever it is possible.

use crate::error::GpuError;
use std::env;

/// What a variable says among `off`, `on` and `force`; `on` if it says nothing.
pub(crate) fn switch<T: Copy>(
    variable: &'static str,
    [off, on, force]: [T; 3],
) -> Result<T, GpuError> {
    // What is no Unicode is none of them either.
    let value = env::var_os(variable).map(|value| value.to_string_lossy().into_owned());
    chosen(variable, value.as_deref().unwrap_or_default(), [off, on, force])
}

fn chosen<T: Copy>(
    variable: &'static str,
    value: &str,
    [off, on, force]: [T; 3],
) -> Result<T, GpuError> {
    match value {
        "off" => Ok(off),
        "" | "on" => Ok(on),
        "force" => Ok(force),
        _ => Err(GpuError::UnknownSwitch { variable, value: value.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_means_nothing_is_refused() {
        let said = |value| chosen("WARMSTART_TUNE", value, [0, 1, 2]);
        assert_eq!(["off", "", "on", "force"].map(|value| said(value).unwrap()), [0, 1, 1, 2]);
        for value in ["false", "OFF", "0", "on "] {
            let error = said(value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("WARMSTART_TUNE is `{value}`")), "{error}");
        }
    }
}
