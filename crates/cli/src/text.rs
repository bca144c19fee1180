//! What the output of all subcommands has in common.

use crate::error::Failure;
use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::SystemTime;
use warmstart_checkpoint::printable;
use warmstart_graph::words::is_escaped;
pub use warmstart_graph::words::{counted, human_bytes as bytes, short_number as short};

pub const HEADING: Style = Style::new().bold();
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// Text in a style.
pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Says something on the standard error. That its reader has gone is no reason to panic.
pub fn say(what: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// A table without lines; the columns in `right` are numbers.
pub fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    // What files say of themselves is in them.
    let printed = |row: Vec<String>| -> Vec<String> {
        row.iter().map(|cell| printable(cell).into_owned()).collect()
    };
    table.add_rows(rows.into_iter().map(printed));
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // The first column begins where the lines around the table begin.
    let trimmed = table.trim_fmt();
    let lines: Vec<&str> =
        trimmed.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    lines.join("\n")
}

/// Prints a value as JSON that people can read, too.
pub fn print_json(out: &mut dyn Write, value: &Value) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    Ok(writeln!(out)?)
}

/// Prints what is not ours, such as a report, with the words that begin its verdicts in colour.
pub fn print_report(out: &mut dyn Write, text: &str) -> io::Result<()> {
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("error", rest)) => writeln!(out, "{} {rest}", styled(BAD, "error:"))?,
            Some((word @ ("help" | "note"), rest)) => {
                writeln!(out, "{} {rest}", styled(HEADING, &format!("{word}:")))?;
            }
            _ => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

/// A time as `2026-01-31T12:00:00Z`; none if it is before 1970 or has no such form.
pub fn utc(time: SystemTime) -> Option<String> {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // Every 400 years are alike, so what comes after is short work.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= *lengths.get(month)? {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (month, day) = (month + 1, days + 1);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// A text as Python writes it.
pub fn python(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        // What moves the cursor, or turns the direction: Python has it by its number, too.
        c if is_escaped(c) => match u32::from(c) {
            number @ ..=0xff => format!("\\x{number:02x}"),
            number => format!("\\u{number:04x}"),
        },
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

/// JSON as people read it: `rule adam (beta_1 0.9, beta_2 0.999), learning_rate constant 0.001`.
pub fn readable(value: &Value) -> String {
    const SHOWN: usize = 8;
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let shown: Vec<String> = items.iter().take(SHOWN).map(readable).collect();
            let more = match items.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(", … and {more} more"),
            };
            format!("[{}{more}]", shown.join(", "))
        }
        Value::Object(entries) => {
            let entries = entries.iter().filter(|(_, value)| !value.is_null());
            let one = |(key, value): (&String, &Value)| match value {
                Value::Object(inner) if inner.len() > 1 => format!("{key} ({})", readable(value)),
                value => format!("{key} {}", readable(value)),
            };
            entries.map(one).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// A number as JSON, which has neither NaN nor infinities: those become strings.
pub fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            assert_eq!(utc(time).unwrap(), expected);
        }
    }

    #[test]
    fn json_is_printed_for_people() {
        let value = json!({
            "rate": { "constant": 0.5 },
            "rule": { "adam": { "a": 1, "b": [1, "x"], "c": null } },
        });
        assert_eq!(readable(&value), "rate constant 0.5, rule adam (a 1, b [1, x])");
        let long: Vec<u32> = (0..10).collect();
        assert_eq!(readable(&json!(long)), "[0, 1, 2, 3, 4, 5, 6, 7, … and 2 more]");
    }

    #[test]
    fn json_has_no_infinities() {
        assert_eq!(number(f64::NEG_INFINITY), json!("-inf"));
    }
}
