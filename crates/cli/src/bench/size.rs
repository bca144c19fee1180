//! Sizes on the command line: `64MiB`.

/// Bytes, with a unit or without.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| {
        "a size is a whole number of bytes, as in 1000000, 64MiB or 1GiB".to_owned()
    })?;
    let unit = unit.trim();
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(format!("`{unit}` is no unit: give B, KiB, MiB, GiB, KB, MB or GB")),
    };
    match number.checked_mul(factor) {
        Some(0) => Err("it must be larger than 0".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("so many bytes cannot even be counted".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood_and_mistakes_explained() {
        let right = ["7", "64MiB", "2 g", "3KB", "1GiB"].map(|text| parse(text).unwrap());
        assert_eq!(right, [7, 64 << 20, 2 << 30, 3000, 1 << 30]);
        for (wrong, why) in [
            ("0", "larger than 0"),
            ("MiB", "a whole number"),
            ("-1", "a whole number"),
            ("1.5GiB", "`.5GiB` is no unit"),
            ("17179869184GiB", "counted"),
        ] {
            assert!(parse(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }
}
