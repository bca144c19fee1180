//! What is computed to measure it.

use crate::error::MeasureError;
use warmstart_gpu::{Feed, Gpu, Plan, RunError, Session, Steps};
use warmstart_graph::{DType, Graph, Initializer, Optimizer, Tensor, Update};

/// An MLP that classifies, with ReLU between its layers, trained by Adam.
#[derive(Clone, Copy, Debug)]
pub struct Mlp<'a> {
    /// Its name in the reports.
    pub name: &'a str,
    /// Features, the units of each hidden layer, classes: at least two numbers.
    pub widths: &'a [usize],
    /// Rows in a batch.
    pub batch: usize,
}

/// A digits model: everything about it is overhead.
pub const SMALL: Mlp<'static> =
    Mlp { name: "64-128-64-10 batch 64", widths: &[64, 128, 64, 10], batch: 64 };

/// An MNIST model: products begin to matter.
pub const LARGE: Mlp<'static> =
    Mlp { name: "784-512-256-10 batch 128", widths: &[784, 512, 256, 10], batch: 128 };

impl Mlp<'_> {
    /// Builds the model in an empty graph; gives the loss and the update.
    pub fn build<'g>(&self, graph: &'g Graph) -> (Tensor<'g>, Update<'g>) {
        let mut x = graph.placeholder("x", [self.batch, self.widths[0]], DType::F32);
        let labels = graph.placeholder("labels", [self.batch], DType::I32);
        for (layer, &units) in self.widths[1..].iter().enumerate() {
            x = graph.scope(&format!("fc{}", layer + 1)).linear(x, units);
            if layer + 2 < self.widths.len() {
                x = x.relu();
            }
        }
        let loss = x.softmax_cross_entropy(labels);
        (loss, Optimizer::adam(1e-3).minimize(loss).update)
    }

    /// A batch: features in [-1, 1) without order, and labels.
    pub fn batch(&self) -> (Vec<f32>, Vec<i32>) {
        self.examples(self.batch)
    }

    /// So many examples like those of a batch.
    pub fn examples(&self, count: usize) -> (Vec<f32>, Vec<i32>) {
        let classes = self.widths[self.widths.len() - 1];
        let labels = (0..count).map(|row| (row * 7 % classes) as i32).collect();
        (numbers(count * self.widths[0]), labels)
    }

    /// The batch that the first rows stand for, gathered by the host.
    pub fn gathered(
        &self,
        (inputs, labels): &(Vec<f32>, Vec<i32>),
        rows: &[u32],
    ) -> (Vec<f32>, Vec<i32>) {
        let rows = rows.iter().take(self.batch).map(|&row| row as usize);
        let width = self.widths[0];
        let batch = rows.clone().flat_map(|row| &inputs[row * width..][..width]).copied();
        (batch.collect(), rows.map(|row| labels[row]).collect())
    }

    /// A new session with the model compiled, its loss fetched, and initialized.
    ///
    /// # Errors
    /// What compiling or initializing report.
    pub fn compile<'g>(
        &self,
        gpu: &Gpu,
        graph: &'g Graph,
    ) -> Result<(Session, Plan, Tensor<'g>), MeasureError> {
        let (loss, update) = self.build(graph);
        let mut session = Session::new(gpu);
        let plan = session.compile(graph, &[loss], &[update])?;
        session.initialize_missing(1)?;
        Ok((session, plan, loss))
    }
}

/// A dense layer with ReLU of square matrices, its input a variable, so that a run moves nothing
/// from the host.
///
/// # Errors
/// What compiling or initializing report.
pub fn square_layer(gpu: &Gpu, size: usize) -> Result<(Session, Plan), MeasureError> {
    let graph = Graph::new();
    let x = graph.variable("x", [size, size], Initializer::GlorotUniform);
    let y = graph.scope("fc").linear(x, size).relu();
    let mut session = Session::new(gpu);
    let plan = session.compile(&graph, &[y], &[])?;
    session.initialize_missing(1)?;
    Ok((session, plan))
}

/// Runs a plan `steps` times and then waits for the device; no value is read.
///
/// # Errors
/// What the runs report.
pub fn run_and_wait(
    session: &mut Session,
    plan: &Plan,
    feeds: &[(&str, Feed<'_>)],
    steps: usize,
) -> Result<(), RunError> {
    let mut last = None;
    for _ in 0..steps {
        last = Some(session.run(plan, feeds)?);
    }
    last.map_or(Ok(()), |outputs| outputs.wait())
}

/// Runs a plan that is fed nothing `runs` times, `together` of them in a submission, and then waits for
/// the device, where all results stay.
///
/// # Errors
/// What the runs report.
pub fn compute_and_wait(
    session: &mut Session,
    plan: &Plan,
    runs: usize,
    together: usize,
) -> Result<(), RunError> {
    let mut left = runs;
    while left > 0 {
        let now = left.min(together.max(1));
        left -= now;
        let outputs = session.run_unread(plan, &Steps::repeat(now))?;
        if left == 0 {
            outputs.wait()?;
        }
    }
    Ok(())
}

/// Numbers in [-1, 1), the same at each call.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
