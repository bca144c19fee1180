//! The rows: which work there is.

/// An MLP that classifies, with ReLU between its layers, trained by Adam with its usual settings
/// and a learning rate of 0.001.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name in rows.
    pub name: &'static str,
    /// Features, the units of each hidden layer, classes.
    pub widths: &'static [usize],
    /// Rows in a batch.
    pub batch: usize,
    /// Training steps in one timed sample.
    pub steps: usize,
}

/// A digits model: all of it is overhead.
pub const SMALL: Model = Model { name: "small", widths: &[64, 128, 64, 10], batch: 64, steps: 20 };

/// An MNIST model: products begin to matter.
pub const MEDIUM: Model =
    Model { name: "medium", widths: &[784, 512, 256, 10], batch: 128, steps: 5 };

impl Model {
    /// Learning rate of Adam.
    pub const LEARNING_RATE: f64 = 1e-3;

    /// What is to be classified into.
    pub fn classes(&self) -> usize {
        self.widths[self.widths.len() - 1]
    }
}

/// What of steps in one submission is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// All, until the device is done.
    All,
    /// What the host does for a step, gathering rows, encoding and submitting. The device has nothing to do
    /// before, and is not waited for meanwhile.
    Host,
}

/// One piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// Dense layer with ReLU of square matrices, forward; input and weights are resident.
    Linear {
        /// Their rows and columns.
        size: usize,
    },
    /// Training steps, each with a batch from the host.
    Train {
        /// What is trained.
        model: Model,
        /// Whether the loss is read after each step. If not, the device is waited for at the end
        /// of a sample.
        read: bool,
    },
    /// Training steps of [`SMALL`] whose batches come from a data set on the device, so many in one submission.
    Together {
        /// Steps in a submission.
        steps: usize,
        /// What of them is timed.
        timed: Timed,
    },
    /// Runs of [`Row::Linear`], so many in one submission. Of 2048 it is the control of [`Row::Together`]: a
    /// launch costs nothing beside its product, so that there is nothing to win.
    LinearTogether {
        /// Rows and columns.
        size: usize,
        /// Runs in a submission.
        runs: usize,
    },
    /// From the start of the process to the loss of the first step of [`SMALL`]. The runner takes
    /// the time.
    FirstStep,
}

/// All rows, in the order of the report.
pub const ALL: [Row; 18] = [
    Row::Linear { size: 256 },
    Row::Linear { size: 512 },
    Row::Linear { size: 1024 },
    Row::Linear { size: 2048 },
    Row::Linear { size: 4096 },
    Row::Train { model: SMALL, read: false },
    Row::Train { model: SMALL, read: true },
    Row::Train { model: MEDIUM, read: false },
    Row::Train { model: MEDIUM, read: true },
    Row::Together { steps: 1, timed: Timed::All },
    Row::Together { steps: 8, timed: Timed::All },
    Row::Together { steps: 32, timed: Timed::All },
    Row::Together { steps: 1, timed: Timed::Host },
    Row::Together { steps: 8, timed: Timed::Host },
    Row::Together { steps: 32, timed: Timed::Host },
    Row::LinearTogether { size: 2048, runs: 1 },
    Row::LinearTogether { size: 2048, runs: 3 },
    Row::FirstStep,
];

impl Row {
    /// Whether it is work for a GPU: a pass runs it only if it is asked for.
    pub fn is_large(&self) -> bool {
        matches!(self, Row::Linear { size: 4096.. })
    }

    /// Whether this arm does it. A submission takes several steps in warmstart alone.
    pub fn is_for(&self, arm: &str) -> bool {
        !matches!(self, Row::Together { .. } | Row::LinearTogether { .. }) || arm == "warmstart"
    }

    /// Its name, which an arm is given.
    pub fn name(&self) -> String {
        match self {
            Row::Linear { size } => format!("linear-{size}"),
            Row::Train { model, read: false } => format!("{}-wait", model.name),
            Row::Train { model, read: true } => format!("{}-read", model.name),
            Row::Together { steps, timed: Timed::All } => format!("small-together-{steps}"),
            Row::Together { steps, timed: Timed::Host } => format!("small-host-{steps}"),
            Row::LinearTogether { size, runs } => format!("linear-{size}-together-{runs}"),
            Row::FirstStep => "first-step".to_owned(),
        }
    }

    /// The row of this name.
    pub fn named(name: &str) -> Option<Row> {
        ALL.into_iter().find(|row| row.name() == name)
    }
}
