//! Sizes on the command line: `64MiB`.

/// Bytes, with a unit or without.
pub fn parse(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 14] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("b", 1),
        ("k", 1 << 10),
        ("m", 1 << 20),
        ("g", 1 << 30),
        ("t", 1 << 40),
        ("", 1),
    ];
    let wrong = || "a size is a number and a unit, such as 500MB, 2GiB or 1.5GB".to_owned();
    let lower = text.trim().to_ascii_lowercase();
    let of = |(unit, bytes): &(&str, u64)| Some((lower.strip_suffix(unit)?.trim(), *bytes));
    let (number, unit) = UNITS.iter().find_map(of).ok_or_else(wrong)?;
    let bytes = match number.parse::<u64>() {
        // Exactly, as floats cannot.
        Ok(number) => number.checked_mul(unit),
        Err(_) => {
            let bytes = number.parse::<f64>().map_err(|_| wrong())? * unit as f64;
            (bytes >= 1.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
        }
    };
    match bytes {
        None | Some(0) => Err("give at least one byte, and fewer than 2^64".to_owned()),
        Some(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood_and_mistakes_explained() {
        for (text, bytes) in [
            ("7", 7),
            ("1024", 1024),
            ("7B", 7),
            ("64MiB", 64 << 20),
            ("2 g", 2 << 30),
            ("3KB", 3000),
            ("500MB", 500_000_000),
            ("1.5 kib", 1536),
            ("1.5GiB", 3 << 29),
            ("5gb", 5_000_000_000),
            ("2TiB", 2 << 40),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "2XB", "3 apples", "GiB2"] {
            assert!(parse(text).unwrap_err().contains("such as 500MB"), "{text}");
        }
        for text in ["0", "0.1", "-1MB", "1e30", "inf", "nan", "17179869184GiB"] {
            assert!(parse(text).unwrap_err().contains("at least one byte"), "{text}");
        }
    }
}
