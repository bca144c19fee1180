//! Bars in the terminal.

use std::io::IsTerminal;

/// A line of a chart.
pub struct Bar {
    /// What is written before it.
    pub cells: Vec<String>,
    /// How long it is.
    pub value: f64,
}

/// How many columns the output has; as many as fit a wide page where it is no terminal.
pub fn width() -> usize {
    let terminal = std::io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    terminal.map_or(100, |(width, _)| usize::from(width.0))
}

/// The least room for bars, before columns are left out.
const LEAST: usize = 10;
/// The longest bar, since longer ones tell nothing more.
const MOST: usize = 48;

/// A header and a line for each bar: its cells, all but the first to the right, and the bar. Of the
/// columns those after the first `needed` are left out where they do not fit.
pub fn chart(header: &[&str], needed: usize, bars: &[Bar], width: usize) -> Vec<String> {
    let wide = |column: usize| {
        let cells = bars.iter().filter_map(|bar| bar.cells.get(column)).map(|cell| length(cell));
        cells.chain([length(header[column])]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(wide).collect();
    // Two columns between each and the next.
    let taken = |columns: usize| widths[..columns].iter().map(|width| width + 2).sum::<usize>();
    let fitting = (needed..=header.len()).rev().find(|&columns| taken(columns) + LEAST <= width);
    let columns = fitting.unwrap_or(needed);
    let room = width.saturating_sub(taken(columns)).clamp(LEAST, MOST);
    let longest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let line = |cells: &mut dyn Iterator<Item = &str>, bar: String| {
        let mut line = String::new();
        for (column, cell) in cells.take(columns).enumerate() {
            let pad = " ".repeat(widths[column].saturating_sub(length(cell)));
            line += &if column == 0 { format!("{cell}{pad}  ") } else { format!("{pad}{cell}  ") };
        }
        (line + &bar).trim_end().to_owned()
    };
    let mut lines = vec![line(&mut header.iter().copied(), String::new())];
    lines.extend(bars.iter().map(|bar| {
        let share = if longest > 0.0 { bar.value / longest } else { 0.0 };
        line(&mut bar.cells.iter().map(String::as_str), blocks(share * room as f64))
    }));
    lines
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// A bar of some columns, to an eighth.
fn blocks(columns: f64) -> String {
    let eighths = (columns * 8.0).round() as usize;
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars() -> Vec<Bar> {
        let bar = |name: &str, value: f64| Bar {
            cells: vec![name.to_owned(), format!("{value}"), "more".to_owned()],
            value,
        };
        vec![bar("long name", 10.0), bar("short", 2.5), bar("none", 0.0)]
    }

    #[test]
    fn bars_fill_what_columns_leave() {
        let lines = chart(&["", "GB/s", "what"], 2, &bars(), 41);
        let full = "█".repeat(18);
        let expected = [
            "           GB/s  what".to_owned(),
            format!("long name    10  more  {full}"),
            "short       2.5  more  ████▌".to_owned(),
            "none          0  more".to_owned(),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn columns_give_way_to_bars() {
        let lines = chart(&["", "GB/s", "what"], 2, &bars(), 30);
        assert_eq!(lines[0], "           GB/s");
        assert_eq!(lines[2], "short       2.5  ███▎");
        // However narrow it is, there are bars.
        assert!(chart(&["", "GB/s", "what"], 2, &bars(), 0)[1].ends_with(&"█".repeat(LEAST)));
    }
}
