//! Environment variables that switch something off, on, or on wherever it is possible.

use crate::error::GpuError;
use std::env;

/// What a variable says, if it is set.
pub(crate) fn said(variable: &str) -> Option<String> {
    // What is no Unicode is none of the words that are known either.
    env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
}

/// What a variable means among `off`, `on` and `force`, if it says `value`; `on` if it says nothing.
pub(crate) fn switch<T: Copy>(
    variable: &'static str,
    value: Option<&str>,
    [off, on, force]: [T; 3],
) -> Result<T, GpuError> {
    match value.unwrap_or_default() {
        "off" => Ok(off),
        "" | "on" => Ok(on),
        "force" => Ok(force),
        value => Err(GpuError::UnknownSwitch { variable, value: value.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cooperative::CooperativeMatrix;
    use crate::tune::Tune;

    #[test]
    fn a_variable_that_is_not_set_says_nothing() {
        assert_eq!(said("WARMSTART_TEST_OF_WHAT_NOBODY_SETS"), None);
        assert!(said("PATH").is_some());
    }

    #[test]
    fn each_word_has_its_meaning() {
        let words = [Some("off"), None, Some(""), Some("on"), Some("force")];
        let tune = words.map(|word| Tune::said(word).unwrap());
        assert_eq!(tune, [Tune::Off, Tune::On, Tune::On, Tune::On, Tune::Force]);
        use CooperativeMatrix::{Force, Off, On};
        let matrices = words.map(|word| CooperativeMatrix::said(word).unwrap());
        assert_eq!(matrices, [Off, On, On, On, Force]);
    }

    #[test]
    fn a_word_that_means_nothing_is_refused() {
        for value in ["false", "OFF", "0", "on ", "of\u{fffd}"] {
            let errors = [
                ("WARMSTART_TUNE", Tune::said(Some(value)).unwrap_err()),
                ("WARMSTART_COOPERATIVE_MATRIX", CooperativeMatrix::said(Some(value)).unwrap_err()),
            ];
            for (variable, error) in errors {
                assert!(matches!(error, GpuError::UnknownSwitch { .. }), "{error}");
                let begins = format!("{variable} is `{value}`, and takes `off`, `on` or `force`");
                assert!(error.to_string().starts_with(&begins), "{error}");
            }
        }
    }
}
