//! The report, in Markdown.

use crate::arms::Arm;
use crate::build_costs::BuildCost;
use crate::machine::Machine;
use crate::pass::Settings;
use crate::results::{Key, Results, TOLERANCE};
use peers_common::{ALL, MEDIUM, Model, Row, SMALL, Timed};
use std::fmt::{self, Display};

/// All that is told.
pub struct Report<'a> {
    /// The arms, warmstart first.
    pub arms: &'a [Arm],
    /// The machine.
    pub machine: &'a Machine,
    /// How thorough the pass was.
    pub settings: &'a Settings,
    /// What was measured.
    pub results: &'a Results,
    /// What building costs, if that was measured.
    pub build_costs: Vec<BuildCost>,
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# warmstart beside its peers\n")?;
        writeln!(f, "Written by `make bench-peers`, all in one pass. ![](results.svg)\n")?;
        self.conditions(f)?;
        writeln!(f, "\n## How fast\n")?;
        writeln!(f, "The median of all samples (smallest to largest). More is better.\n")?;
        self.table(f, "GFLOP/s", linear_rows(), gigaflops)?;
        writeln!(f, "\n{LINEAR}\n")?;
        self.table(f, "steps/s", train_rows(), |_, seconds| figure(1.0 / seconds))?;
        writeln!(f, "\n{TRAIN}\n")?;
        writeln!(f, "## How often as fast as the peer\n")?;
        self.ratios(f)?;
        writeln!(f, "\n## The first step\n")?;
        writeln!(f, "Seconds. Less is better.\n")?;
        let rows = [("caches empty", Key::Cold), ("caches of a run before", Key::Warm)];
        self.table(f, "seconds", rows.map(named), |_, seconds| figure(seconds))?;
        writeln!(f, "\n{FIRST_STEP}\n")?;
        writeln!(f, "## Several steps in a submission\n")?;
        self.submissions(f)?;
        writeln!(f, "## Memory\n")?;
        self.memory(f)?;
        writeln!(f, "\n{MEMORY}\n")?;
        writeln!(f, "## Building\n")?;
        self.building(f)?;
        self.failures(f)
    }
}

const LINEAR: &str = "One run of a dense layer with ReLU of square matrices, forward, then waiting \
for the device. Input and weights are resident, the result stays on the device. 2048 is a control: what \
a launch costs is nothing there, so only the kernel counts. burn and warmstart measure kernels and take the fastest; meganeura runs \
as it comes, and its tuner does so only if it is asked to.";

const TRAIN: &str = "Training with Adam and softmax cross-entropy. Each step gets its batch from \
the host. \"Not read\": after a sample's steps the device is waited for; a sample is the mean of \
its steps. \"Read\": the loss is read after each. meganeura waits for the device whenever it is \
given a batch, and takes labels as shares of each class. All use f32, the same first weights and \
the same batch.";

const FIRST_STEP: &str = "From starting the process until it has printed the loss of the first \
step of the small model: loading, opening the adapter, building, compiling, tuning, one step. \
Programs and libraries are in the page cache. Caches are the driver's for shaders, burn's of its \
tuning, meganeura's of its plan, and whatever warmstart keeps.";

const TOGETHER: &str = "The small MLP, its batches taken from a data set on the device, several \
steps in one submission: 64 steps, then the device is waited for. The host's part is what it does for a \
step (taking rows, encoding, submitting); for that, the device is waited for after each submission, and \
the waiting does not count. Losses must be those of \
steps fed one by one, to the bit. The control has a product beside which a launch costs nothing, so that \
submitting together must not win. Measured of warmstart alone.";

const MEMORY: &str = "The most that was resident in the process, of all processes of the row, in \
MiB. A software adapter's memory is the process's; a GPU's own is not in here.";

/// Turns a median into what is shown.
type Show = fn(Key, f64) -> String;

impl Report<'_> {
    fn conditions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        for (index, arm) in self.arms.iter().enumerate() {
            let adapter = self.results.adapters.get(&index).map(String::as_str);
            let state = arm.missing().map(|why| format!("not measured: {why}"));
            let state = state.or(adapter.map(str::to_owned));
            writeln!(f, "- {}: {}", arm.title, state.as_deref().unwrap_or("not measured"))?;
        }
        let Settings { rounds, samples, limit, cold_rounds, warm_rounds, fresh_caches } =
            self.settings;
        let caches = if *fresh_caches { "empty at first" } else { "those of the last quick pass" };
        writeln!(
            f,
            "- {rounds} rounds; in each round each row is run by the arms in turn, each in a new \
             process: results are checked, one sample goes untimed, and then at most {samples} \
             are taken within about {} s; caches are {caches}. First steps: {cold_rounds} with \
             empty caches, and {warm_rounds} after each of them",
            limit.as_secs(),
        )?;
        writeln!(
            f,
            "- Each process's results are held against warmstart's: of a layer the mean and four \
             elements, of training the losses of steps 1, 2 and 11. Those below differ by at most \
             {:.1e}; what differs by more than {TOLERANCE:.0e} counts as failed",
            self.results.difference,
        )
    }

    /// The head of a table with a column for each arm from the `from`-th.
    fn head(&self, f: &mut fmt::Formatter<'_>, first: &str, from: usize) -> fmt::Result {
        let titles: Vec<&str> = self.arms[from..].iter().map(|arm| arm.title.as_str()).collect();
        writeln!(f, "| {first} | {} |", titles.join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(titles.len()))
    }

    /// Its rows, without those that this pass left out.
    fn body(
        &self,
        f: &mut fmt::Formatter<'_>,
        rows: impl IntoIterator<Item = (String, Key)>,
        from: usize,
        cell: impl Fn(Key, usize) -> String,
    ) -> fmt::Result {
        for (name, key) in rows.into_iter().filter(|(_, key)| self.results.has(*key)) {
            let cells: Vec<String> = (from..self.arms.len()).map(|arm| cell(key, arm)).collect();
            writeln!(f, "| {name} | {} |", cells.join(" | "))?;
        }
        Ok(())
    }

    fn table(
        &self,
        f: &mut fmt::Formatter<'_>,
        unit: &str,
        rows: impl IntoIterator<Item = (String, Key)>,
        show: Show,
    ) -> fmt::Result {
        self.head(f, unit, 0)?;
        self.body(f, rows, 0, |key, arm| self.shown(key, arm, show))
    }

    fn shown(&self, key: Key, arm: usize, show: Show) -> String {
        let cell = self.results.cell(key, arm);
        match cell.and_then(|cell| Some((cell.median()?, cell.spread()))) {
            None if self.results.failed(key, arm) => "failed".to_owned(),
            None => "not measured".to_owned(),
            Some((median, (shortest, longest))) => {
                let (one, other) = (show(key, shortest), show(key, longest));
                // More seconds are fewer of them per second.
                let (least, most) = if are_seconds(key) { (one, other) } else { (other, one) };
                format!("**{}** ({least} to {most})", show(key, median))
            }
        }
    }

    /// The short of it, for a page with more results.
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }

    fn ratios(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{RATIOS}\n")?;
        self.head(f, "warmstart as a multiple of", 1)?;
        let rows = linear_rows().into_iter().chain(train_rows()).chain(FIRST_STEPS.map(named));
        self.body(f, rows, 1, |key, arm| {
            let Some(ratio) = self.results.ratio(key, arm) else { return "–".to_owned() };
            match aim(key, self.arms[arm].name) {
                Some(aim) if ratio < aim => format!("**{}, below {aim}**", figure(ratio)),
                Some(aim) => format!("{} (aim {aim})", figure(ratio)),
                None => figure(ratio),
            }
        })
    }

    /// What several steps in a submission give; a peer has no such thing.
    fn submissions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = together_rows();
        writeln!(f, "{TOGETHER}\n")?;
        writeln!(f, "| {} | median (smallest to largest) |\n|---|---|", self.arms[0].title)?;
        for (name, key, show) in rows.into_iter().filter(|(_, key, _)| self.results.has(*key)) {
            writeln!(f, "| {name} | {} |", self.shown(key, 0, show))?;
        }
        writeln!(f)
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            named(("first step, caches empty", Key::Cold)),
            (model_name(&SMALL), Key::Steady(Row::Train { model: SMALL, read: false })),
            (model_name(&MEDIUM), Key::Steady(Row::Train { model: MEDIUM, read: false })),
            named(("linear + ReLU 2048", Key::Steady(Row::Linear { size: 2048 }))),
        ];
        self.head(f, "MiB", 0)?;
        self.body(f, rows, 0, |key, arm| {
            let peak = self.results.cell(key, arm).and_then(|cell| cell.peak_bytes);
            let shown = peak.map(|bytes| figure(bytes as f64 / f64::from(1 << 20)));
            shown.unwrap_or_else(|| "not measured".to_owned())
        })
    }

    fn building(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.build_costs.is_empty() {
            return writeln!(f, "Not measured yet: `make bench-peers-build` does.");
        }
        writeln!(f, "{BUILDING}\n")?;
        let columns =
            "crates compiled | minutes | of processor time | MiB of the program, stripped";
        writeln!(f, "| arm | {columns} |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for arm in self.arms.iter().filter(|arm| arm.is_built()) {
            let cost = self.build_costs.iter().find(|cost| cost.arm == arm.name);
            let Some(BuildCost { crates, seconds, processor, bytes, .. }) = cost else {
                writeln!(f, "| {} | not measured | | | |", arm.title)?;
                continue;
            };
            let (wall, processor) = (figure(seconds / 60.0), figure(processor / 60.0));
            let size = figure(*bytes as f64 / f64::from(1 << 20));
            writeln!(f, "| {} | {crates} | {wall} | {processor} | {size} |", arm.title)?;
        }
        Ok(())
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut failures = self.results.failures().peekable();
        if failures.peek().is_some() {
            writeln!(f, "\n## What failed\n")?;
        }
        failures.try_for_each(|(key, arm, failure)| {
            writeln!(f, "- {} at {key}: {failure}", self.arms[arm].title)
        })
    }
}

/// Medians of a whole pass and how they compare.
pub struct Summary<'a>(&'a Report<'a>);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        writeln!(f, "{}\n", report.machine)?;
        writeln!(f, "![the same as a picture](peers/results.svg)\n")?;
        let of_linear = linear_rows().into_iter().map(|row| (row, "GFLOP/s", gigaflops as Show));
        let per_second: Show = |_, seconds| figure(1.0 / seconds);
        let of_train = train_rows().into_iter().map(|row| (row, "steps/s", per_second));
        let seconds: Show = |_, seconds| figure(seconds);
        let of_first = FIRST_STEPS.into_iter().map(|row| (named(row), "s", seconds));
        report.head(f, "medians", 0)?;
        for ((name, key), unit, show) in of_linear.chain(of_train).chain(of_first) {
            report.body(f, [(format!("{name}, {unit}"), key)], 0, |key, arm| {
                let median = report.results.cell(key, arm).and_then(|cell| cell.median());
                median.map_or_else(|| "–".to_owned(), |median| show(key, median))
            })?;
        }
        writeln!(f)?;
        report.ratios(f)?;
        writeln!(f)?;
        report.submissions(f)
    }
}

/// The two of them, as rows among others.
const FIRST_STEPS: [(&str, Key); 2] =
    [("first step, caches empty", Key::Cold), ("first step, warm", Key::Warm)];

const RATIOS: &str = "By medians; what was aimed at, where something was, in parentheses, and in \
bold what falls short of it.";

/// How many times as fast as this peer warmstart means to be.
fn aim(key: Key, peer: &str) -> Option<f64> {
    match (key, peer) {
        (Key::Steady(Row::Linear { .. }), "burn") => Some(1.5),
        (Key::Steady(Row::Linear { .. }), "meganeura") => Some(4.0),
        // On a GPU, of cuBLAS, where only the kernel counts; and of what launches cost there.
        (Key::Steady(Row::Linear { size: 4096 }), "pytorch-cuda") => Some(0.6),
        (Key::Steady(Row::Train { model: SMALL, .. }), "pytorch-cuda") => Some(3.0),
        (Key::Steady(Row::Train { model: SMALL, .. }), "burn" | "meganeura") => Some(5.0),
        (Key::Steady(Row::Train { model: MEDIUM, .. }), "burn") => Some(2.0),
        (Key::Steady(Row::Train { model: MEDIUM, .. }), "meganeura") => Some(5.0),
        (Key::Cold, "meganeura") => Some(2.0),
        (Key::Warm, "meganeura") => Some(1.0),
        _ => None,
    }
}

const BUILDING: &str = "Release build of each arm from an empty target folder, by \
`make bench-peers-build`. Where other work was on the machine, the processor time is what to compare.";

fn linear_rows() -> Vec<(String, Key)> {
    let name = |row| match row {
        Row::Linear { size: 2048 } => Some(("linear + ReLU 2048 (control)".to_owned(), row)),
        Row::Linear { size } => Some((format!("linear + ReLU {size}"), row)),
        _ => None,
    };
    ALL.into_iter().filter_map(name).map(|(name, row)| (name, Key::Steady(row))).collect()
}

fn train_rows() -> Vec<(String, Key)> {
    let name = |row| match row {
        Row::Train { model, read } => {
            let read = if read { "loss read" } else { "loss not read" };
            Some((format!("{}, {read}", model_name(&model)), Key::Steady(row)))
        }
        _ => None,
    };
    ALL.into_iter().filter_map(name).collect()
}

/// Each with how it is shown.
fn together_rows() -> Vec<(String, Key, Show)> {
    let row = |row| -> Option<(String, Row, Show)> {
        let per_second: Show = |_, seconds| figure(1.0 / seconds);
        match row {
            Row::Together { steps, timed: Timed::All } => {
                Some((format!("steps/s, {steps} in a submission"), row, per_second))
            }
            Row::Together { steps, timed: Timed::Host } => {
                let aim = if steps > 1 { " (aim: 30)" } else { "" };
                let name = format!("µs of the host for a step, {steps} in a submission{aim}");
                Some((name, row, |_, seconds| figure(seconds * 1e6)))
            }
            Row::LinearTogether { size, runs } => {
                let name = format!("control: layers of {size}/s, {runs} in a submission");
                Some((name, row, per_second))
            }
            Row::Linear { .. } | Row::Train { .. } | Row::FirstStep => None,
        }
    };
    ALL.into_iter()
        .filter_map(row)
        .map(|(name, row, show)| (name, Key::Steady(row), show))
        .collect()
}

fn model_name(model: &Model) -> String {
    let widths: Vec<String> = model.widths.iter().map(usize::to_string).collect();
    format!("MLP {}, batch {}", widths.join("-"), model.batch)
}

fn named((name, key): (&str, Key)) -> (String, Key) {
    (name.to_owned(), key)
}

/// Whether what is shown of a key is time, and not a rate.
fn are_seconds(key: Key) -> bool {
    match key {
        Key::Cold | Key::Warm => true,
        Key::Steady(row) => matches!(row, Row::Together { timed: Timed::Host, .. }),
    }
}

fn gigaflops(key: Key, seconds: f64) -> String {
    let Row::Linear { size } = key.row() else { return String::new() };
    figure(2.0 * (size as f64).powi(3) / seconds / 1e9)
}

/// Three digits that count.
pub fn figure(value: f64) -> String {
    let decimals = match value {
        _ if value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ if value >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_has_aims_of_its_own() {
        let small = |read| Key::Steady(Row::Train { model: SMALL, read });
        let linear = |size| Key::Steady(Row::Linear { size });
        assert_eq!(aim(linear(4096), "pytorch-cuda"), Some(0.6));
        assert_eq!(aim(linear(2048), "pytorch-cuda"), None);
        assert_eq!([false, true].map(|read| aim(small(read), "pytorch-cuda")), [Some(3.0); 2]);
        assert_eq!([aim(linear(4096), "pytorch"), aim(small(true), "pytorch")], [None; 2]);
    }
}
