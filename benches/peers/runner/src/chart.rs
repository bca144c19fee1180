//! The chart: how fast each peer is beside warmstart.

use crate::Outcome;
use crate::arms::Arm;
use crate::report::figure;
use crate::results::{Key, Results};
use peers_common::{ALL, Row};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;
use std::path::Path;

/// What all peers together get of the height of one row, whose own height is 1.
const BARS: f64 = 0.72;
const COLORS: [RGBColor; 4] = [
    RGBColor(0xd9, 0x5f, 0x02),
    RGBColor(0x75, 0x70, 0xb3),
    RGBColor(0x1b, 0x9e, 0x77),
    RGBColor(0xe7, 0x29, 0x8a),
];

/// Draws a bar for each peer and row: its speed as a multiple of warmstart's, which is the line at
/// 1. The axis is logarithmic. Without results to compare, nothing is drawn.
pub fn draw(path: &Path, arms: &[Arm], results: &Results) -> Outcome<()> {
    let ratio = |key: Key, arm: usize| results.ratio(key, arm).map(f64::recip);
    let keys: Vec<Key> = (ALL.into_iter().filter(|row| *row != Row::FirstStep).map(Key::Steady))
        .chain([Key::Cold, Key::Warm])
        .filter(|key| (1..arms.len()).any(|arm| ratio(*key, arm).is_some()))
        .collect();
    let all: Vec<f64> = (keys.iter())
        .flat_map(|key| (1..arms.len()).filter_map(move |arm| ratio(*key, arm)))
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    // Room for the figures beside the longest bars.
    let least = all.iter().copied().fold(0.5, f64::min) / 2.5;
    let most = all.iter().copied().fold(2.0, f64::max) * 2.5;

    let size = (900, 110 + 56 * keys.len() as u32);
    let root = SVGBackend::new(path, size).into_drawing_area();
    let failed = |error: &dyn Error| format!("{}: {error}", path.display());
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "Speed beside warmstart (the line at 1); right of it is faster",
            ("sans-serif", 18),
        )
        .margin(14)
        .x_label_area_size(34)
        .y_label_area_size(150)
        .build_cartesian_2d((least..most).log_scale(), 0.0..keys.len() as f64)
        .map_err(|error| failed(&error))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc("times warmstart's speed, logarithmic")
        .x_label_formatter(&|x| figure(*x))
        .light_line_style(RGBColor(0xee, 0xee, 0xee))
        .label_style(("sans-serif", 12))
        .draw()
        .map_err(|error| failed(&error))?;

    let bar_height = BARS / (arms.len() - 1) as f64;
    for (arm, color) in (1..arms.len()).zip(COLORS) {
        // The first row is at the top, and in it the first peer.
        let top = |row: usize| (keys.len() - row) as f64 - 0.14 - (arm - 1) as f64 * bar_height;
        let values: Vec<(f64, f64)> = (keys.iter().enumerate())
            .filter_map(|(row, key)| Some((top(row), ratio(*key, arm)?)))
            .collect();
        let bar = |(top, value): &(f64, f64)| {
            Rectangle::new([(1.0, top - bar_height * 0.9), (*value, *top)], color.filled())
        };
        chart
            .draw_series(values.iter().map(bar))
            .map_err(|error| failed(&error))?
            .label(&arms[arm].title)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
        for (top, value) in values {
            let (side, gap) = if value < 1.0 { (HPos::Right, -4) } else { (HPos::Left, 4) };
            let style = ("sans-serif", 11).into_text_style(&root).pos(Pos::new(side, VPos::Center));
            let (x, y) = chart.backend_coord(&(value, top - bar_height * 0.45));
            root.draw(&Text::new(figure(value), (x + gap, y), style))
                .map_err(|error| failed(&error))?;
        }
    }
    for (row, key) in keys.iter().enumerate() {
        let right = Pos::new(HPos::Right, VPos::Center);
        let style = ("sans-serif", 13).into_text_style(&root).pos(right);
        let (x, y) = chart.backend_coord(&(least, (keys.len() - row) as f64 - 0.5));
        root.draw(&Text::new(key.to_string(), (x - 8, y), style))
            .map_err(|error| failed(&error))?;
    }
    let line = PathElement::new([(1.0, 0.0), (1.0, keys.len() as f64)], BLACK.stroke_width(2));
    chart.draw_series([line]).map_err(|error| failed(&error))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()
        .map_err(|error| failed(&error))?;
    root.present().map_err(|error| failed(&error))?;
    Ok(())
}
