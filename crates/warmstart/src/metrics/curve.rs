//! A loss curve as an SVG picture.

use super::MetricsError;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;
use std::fmt;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// How values are laid out along the vertical axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Equal distances are equal differences.
    #[default]
    Linear,
    /// Equal distances are equal factors. Values that are not above 0 are left out.
    Logarithmic,
}

/// A picture of values over steps, one line a series.
///
/// A series of many points is drawn faintly, with a bold line over it that averages out the noise
/// of single batches. A value that is not finite breaks the line.
///
/// ```
/// # fn main() -> Result<(), warmstart::metrics::MetricsError> {
/// use warmstart::metrics::{Axis, LossCurve};
/// let svg = LossCurve::new("digits")
///     .axis(Axis::Logarithmic)
///     .series("training", [(0, 2.3), (1, 1.1), (2, 0.4)])
///     .series("test", [(0, 2.3), (2, 0.6)])
///     .to_svg()?;
/// assert!(svg.starts_with("<svg"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LossCurve {
    title: String,
    value_label: String,
    axis: Axis,
    size: (u32, u32),
    series: Vec<Series>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Colours that people with any colour vision tell apart: Okabe and Ito 2008.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const INK: RGBColor = RGBColor(51, 51, 51);
const GRID: RGBColor = RGBColor(229, 229, 229);
/// From this many points on, a series gets its averaged line.
const NOISY: usize = 150;
const FONT: &str = "Helvetica, Arial, sans-serif";

impl LossCurve {
    /// An empty picture of 760 by 420 pixels with the given title.
    pub fn new(title: impl Into<String>) -> LossCurve {
        LossCurve {
            title: title.into(),
            value_label: "loss".into(),
            axis: Axis::Linear,
            size: (760, 420),
            series: Vec::new(),
        }
    }

    /// Sets the vertical axis.
    pub fn axis(mut self, axis: Axis) -> LossCurve {
        self.axis = axis;
        self
    }

    /// Sets the vertical axis' label, "loss" by default.
    pub fn value_label(mut self, label: impl Into<String>) -> LossCurve {
        self.value_label = label.into();
        self
    }

    /// Sets the size in pixels; at least 320 by 200 is used.
    pub fn size(mut self, width: u32, height: u32) -> LossCurve {
        self.size = (width.max(320), height.max(200));
        self
    }

    /// Adds a line through the given steps and values, in order of steps.
    pub fn series(
        mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (u64, f64)>,
    ) -> LossCurve {
        let points = points.into_iter().map(|(step, value)| (step as f64, value)).collect();
        self.series.push(Series { name: name.into(), points });
        self
    }

    /// Draws the picture and writes it to a file, making its directory if need be.
    ///
    /// # Errors
    /// If there is nothing to draw, or the file cannot be written.
    pub fn write_svg(&self, file: &Path) -> Result<(), MetricsError> {
        let svg = self.to_svg()?;
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).map_err(MetricsError::io("create", directory))?;
        }
        fs::write(file, svg).map_err(MetricsError::io("write", file))
    }

    /// Draws the picture.
    ///
    /// # Errors
    /// If no series has a value that can be drawn.
    pub fn to_svg(&self) -> Result<String, MetricsError> {
        let drawable = |value: f64| {
            // Beyond, the axis' ends could not be told apart or computed.
            value.abs() < 1e300 && (self.axis == Axis::Linear || value > 1e-300)
        };
        let shown = || {
            let points = self.series.iter().flat_map(|series| &series.points);
            points.copied().filter(|&(_, value)| drawable(value))
        };
        let extent = |values: &mut dyn Iterator<Item = f64>| {
            values.fold(None, |extent: Option<(f64, f64)>, value| {
                Some(extent.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
            })
        };
        let steps = extent(&mut shown().map(|(step, _)| step));
        let values = extent(&mut shown().map(|(_, value)| value));
        let (Some((first, last)), Some((low, high))) = (steps, values) else {
            return Err(MetricsError::NothingToDraw { title: self.title.clone() });
        };
        let steps = first..last.max(first + 1.0);
        let values = match self.axis {
            Axis::Linear => {
                // Losses read best from 0 on, unless that would flatten the curve.
                let low = if low > 0.0 && low < high * 0.5 { 0.0 } else { low };
                let room = if high > low { (high - low) * 0.04 } else { low.abs().max(1.0) * 0.5 };
                let low = if low == 0.0 { 0.0 } else { low - room };
                low..high + room
            }
            Axis::Logarithmic => {
                let room = ((high.log10() - low.log10()) * 0.04).max(0.05);
                low.log10() - room..high.log10() + room
            }
        };
        let mut svg = String::new();
        let drawn = self.draw(&mut svg, steps, values, &drawable);
        drawn.map_err(|error| MetricsError::Draw {
            title: self.title.clone(),
            message: error.to_string(),
        })?;
        Ok(svg)
    }

    /// Draws into `svg`; `values` is the vertical axis' range, of logarithms if that is its kind.
    fn draw(
        &self,
        svg: &mut String,
        steps: Range<f64>,
        values: Range<f64>,
        drawable: &dyn Fn(f64) -> bool,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(svg, self.size).into_drawing_area();
        root.fill(&WHITE)?;
        let text = |size: i32| (FONT, size).into_font().color(&INK);
        let logarithmic = self.axis == Axis::Logarithmic;
        let placed = |line: Vec<(f64, f64)>| {
            let place = move |(step, value): (f64, f64)| {
                (step, if logarithmic { value.log10() } else { value })
            };
            line.into_iter().map(place).collect::<Vec<_>>()
        };
        // The library's own ticks are sparse on a short logarithmic axis, and never end on one
        // that spans more than a double's digits.
        let step_ticks = linear_ticks(&steps, 8);
        let value_ticks =
            if logarithmic { logarithmic_ticks(&values) } else { linear_ticks(&values, 6) };
        let scale = if logarithmic { ", logarithmic" } else { "" };
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, text(20))
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(64)
            .build_cartesian_2d(
                Ticked { range: steps, ticks: step_ticks },
                Ticked { range: values, ticks: value_ticks },
            )?;
        chart
            .configure_mesh()
            .x_desc("step")
            .y_desc(format!("{}{scale}", self.value_label))
            .axis_desc_style(text(15))
            .label_style(text(13))
            .x_label_formatter(&|&step| Grouped(step.round() as u64).to_string())
            .y_label_formatter(&|&value| short(if logarithmic { 10f64.powf(value) } else { value }))
            .axis_style(INK.mix(0.6))
            .bold_line_style(GRID)
            .light_line_style(WHITE)
            .draw()?;

        for (series, &colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let noisy = series.points.len() >= NOISY;
            let raw = ShapeStyle { color: colour.mix(0.25), filled: false, stroke_width: 1 };
            let bold = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: 2 };
            let runs = || series.points.split(|&(_, value)| !drawable(value));
            for run in runs().filter(|_| noisy) {
                let thin = thinned(run, self.size.0 as usize);
                chart.draw_series(LineSeries::new(placed(thin), raw))?;
            }
            for run in runs() {
                let line =
                    if noisy { averaged(run, self.size.0 as usize / 4) } else { run.to_vec() };
                let line = placed(line);
                // A point between two gaps has no line to be seen by.
                if let [point] = line[..] {
                    chart.draw_series([Circle::new(point, 3, colour.filled())])?;
                }
                chart.draw_series(LineSeries::new(line, bold))?;
            }
        }
        let area = chart.plotting_area();
        let (width, _) = area.dim_in_pixel();
        let (left, top) = area.get_base_pixel();
        let mut entry = top + 16;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let end = left + width as i32 - 12;
            let line = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: 3 };
            root.draw(&PathElement::new([(end - 24, entry), (end, entry)], line))?;
            let right = plotters::style::text_anchor::Pos::new(
                plotters::style::text_anchor::HPos::Right,
                plotters::style::text_anchor::VPos::Center,
            );
            let name = text(14).pos(right);
            root.draw(&Text::new(series.name.clone(), (end - 32, entry), name))?;
            entry += 20;
        }
        root.present()?;
        Ok(())
    }
}

/// At most about four points for each of `pixels` columns: first, lowest, highest, last. The
/// picture is the same, the file does not grow with the run.
fn thinned(run: &[(f64, f64)], pixels: usize) -> Vec<(f64, f64)> {
    let bucket = run.len().div_ceil(pixels.max(1));
    if bucket <= 4 {
        return run.to_vec();
    }
    run.chunks(bucket)
        .flat_map(|chunk| {
            let by_value = |&a: &usize, &b: &usize| chunk[a].1.total_cmp(&chunk[b].1);
            let lowest = (0..chunk.len()).min_by(by_value).unwrap_or(0);
            let highest = (0..chunk.len()).max_by(by_value).unwrap_or(0);
            let mut places = [0, lowest, highest, chunk.len() - 1];
            places.sort_unstable();
            places.map(|place| chunk[place])
        })
        .collect()
}

/// The mean of a window around each point, of a fiftieth of the run, at no more than two points for
/// each of `pixels` columns. Near an end the window shrinks on both sides, so that it stays centred
/// and the line begins and ends on the values themselves.
fn averaged(run: &[(f64, f64)], pixels: usize) -> Vec<(f64, f64)> {
    let half = run.len() / 100 + 1;
    let stride = (run.len() / (2 * pixels.max(1))).max(1);
    let last = run.len().saturating_sub(1);
    let mean = |place: usize| {
        let half = half.min(place).min(last - place);
        let window = &run[place - half..=place + half];
        let sum: f64 = window.iter().map(|&(_, value)| value / window.len() as f64).sum();
        (run[place].0, sum)
    };
    let mut line: Vec<_> = (0..run.len()).step_by(stride).map(mean).collect();
    if line.last().map(|point| point.0) != run.last().map(|point| point.0) {
        line.extend(run.last());
    }
    line
}

/// An axis with its ticks.
struct Ticked {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Ranged for Ticked {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Light points are the ones between the ticks: there are none.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// Round numbers in a range, at most `most + 1` of them: multiples of 1, 2 or 5 times a power of 10.
fn linear_ticks(range: &Range<f64>, most: usize) -> Vec<f64> {
    let least = (range.end - range.start) / most as f64;
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least);
    let distance = factor.unwrap_or(10.0) * power;
    let first = (range.start / distance).ceil();
    (0..=most)
        .map(|number| (first + number as f64) * distance)
        .filter(|tick| range.contains(tick))
        .collect()
}

/// The logarithms of round numbers in a range of logarithms: powers of 10; between them, 2 and 5
/// times those if there are few; where even that leaves less than two, equal differences.
fn logarithmic_ticks(range: &Range<f64>) -> Vec<f64> {
    let decades = range.end - range.start;
    let factors: &[f64] = if decades <= 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    // A tall axis has room for about eight labels.
    let stride = (decades / 8.0).ceil().max(1.0) as i64;
    let first = (range.start.floor() as i64).div_euclid(stride) * stride;
    let ticks: Vec<f64> = (first..=range.end.ceil() as i64)
        .step_by(stride as usize)
        .flat_map(|power| factors.iter().map(move |factor| power as f64 + factor.log10()))
        .filter(|tick| range.contains(tick))
        .collect();
    if ticks.len() >= 2 {
        return ticks;
    }
    let values = 10f64.powf(range.start)..10f64.powf(range.end);
    linear_ticks(&values, 6).into_iter().map(f64::log10).collect()
}

/// A value in few characters: 0.25, 3, 2e-5.
fn short(value: f64) -> String {
    let size = value.abs();
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = if size != 0.0 && !(1e-4..1e5).contains(&size) {
        write!(text, "{value:.1e}")
    } else {
        // Ticks are multiples of a round number; what is beyond its digits is rounding.
        write!(text, "{}", (value * 1e6).round() / 1e6)
    };
    text.replace(".0e", "e")
}

/// A whole number such as 12,500.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(svg: &str) -> usize {
        svg.matches("<polyline").count()
    }

    #[test]
    fn labels_are_short() {
        let shorts = [0.0, 0.1 + 0.2, 3.0, 2e-5, 1.5e-7, 250_000.0, -0.5].map(short);
        assert_eq!(shorts, ["0", "0.3", "3", "2e-5", "1.5e-7", "2.5e5", "-0.5"]);
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(linear_ticks(&(0.0..2000.0), 8), [0.0, 500.0, 1000.0, 1500.0]);
        assert_eq!(linear_ticks(&(0.9..2.3), 6), [1.0, 1.5, 2.0]);
        assert!(linear_ticks(&(1e16..1e16 + 2.0), 8).len() <= 9);
        let values = |range| -> Vec<String> {
            logarithmic_ticks(&range).iter().map(|&tick| short(10f64.powf(tick))).collect()
        };
        assert_eq!(values(-2.1..0.5), ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]);
        assert_eq!(values(0.05..0.2), ["1.2", "1.3", "1.4", "1.5"]);
        assert_eq!(values(-5.0..0.0), ["1e-5", "0.0001", "0.001", "0.01", "0.1"]);
        assert!(values(-300.0..300.0).len() <= 10);
    }

    #[test]
    fn every_series_is_drawn_and_named() {
        let curve = LossCurve::new("a <title>").series("train & more", [(0, 1.0), (9, 0.5)]);
        let one = lines(&curve.to_svg().unwrap());
        let svg = curve.series("test", [(0, 2.0), (9, 0.7)]).to_svg().unwrap();
        assert_eq!(lines(&svg), one + 1);
        assert!(svg.contains("test"));
        assert!(svg.contains("a &lt;title&gt;") && svg.contains("train &amp; more"));
    }

    #[test]
    fn an_axis_says_that_it_is_logarithmic() {
        let svg = |axis| {
            let curve = LossCurve::new("t").axis(axis).value_label("error");
            curve.series("s", [(0, 2.0), (9, 0.5)]).to_svg().unwrap()
        };
        assert!(svg(Axis::Linear).contains("\nerror\n"));
        assert!(svg(Axis::Logarithmic).contains("\nerror, logarithmic\n"));
    }

    #[test]
    fn values_that_are_not_finite_break_the_line() {
        let whole = LossCurve::new("t").series("s", (0..6).map(|step| (step, 1.0)));
        let broken = LossCurve::new("t")
            .series("s", (0..6).map(|step| (step, if step == 3 { f64::NAN } else { 1.0 })));
        assert_eq!(lines(&broken.to_svg().unwrap()), lines(&whole.to_svg().unwrap()) + 1);
    }

    #[test]
    fn extreme_values_can_be_drawn() {
        for axis in [Axis::Linear, Axis::Logarithmic] {
            for values in [vec![0.5], vec![1e-30, 1e30], vec![7.0; 300], vec![f64::MAX, 1.0]] {
                let points = values.iter().enumerate().map(|(step, &v)| (step as u64, v));
                let svg = LossCurve::new("t").axis(axis).series("s", points).to_svg().unwrap();
                assert!(!svg.contains("NaN"), "{axis:?} {values:?}");
            }
        }
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        for curve in [
            LossCurve::new("empty"),
            LossCurve::new("empty").series("s", [(0, f64::NAN), (1, f64::INFINITY)]),
            LossCurve::new("empty").axis(Axis::Logarithmic).series("s", [(0, 0.0), (1, -1.0)]),
        ] {
            let error = curve.to_svg().unwrap_err().to_string();
            assert!(error.starts_with("the curve `empty` has no point to draw"), "{error}");
        }
    }

    #[test]
    fn a_long_run_makes_no_long_file() {
        let points = (0..200_000u64).map(|step| (step, f64::from(step as u32 % 97)));
        let curve = LossCurve::new("long").series("s", points);
        assert!(curve.to_svg().unwrap().len() < 150_000);
    }

    #[test]
    fn thinning_keeps_ends_and_extremes() {
        let mut run: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        run[4321].1 = 9.0;
        run[8765].1 = -9.0;
        let thin = thinned(&run, 100);
        assert!(thin.len() <= 400 && thin.contains(&run[4321]) && thin.contains(&run[8765]));
        assert_eq!((thin[0], thin[thin.len() - 1]), (run[0], run[9999]));
        assert!(thin.is_sorted_by(|a, b| a.0 <= b.0));
        let line = averaged(&run, 100);
        assert!(line.len() <= 202);
        assert_eq!((line[0], line[line.len() - 1]), (run[0], run[9999]));
    }

    #[test]
    fn averaging_a_straight_line_changes_nothing() {
        let run: Vec<(f64, f64)> = (0..500).map(|i| (f64::from(i), f64::from(i))).collect();
        for ((step, mean), (_, value)) in averaged(&run, 1000).into_iter().zip(run) {
            assert!((mean - value).abs() < 1e-9, "step {step}: {mean} instead of {value}");
        }
    }
}
