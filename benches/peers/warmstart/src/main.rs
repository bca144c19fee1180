//! The comparison's rows in warmstart.

use peers_common::{Batch, Linear, LinearLayer, Model, Outcome, Peer, TrainedMlp, layers};
use std::process::ExitCode;
use warmstart::prelude::*;

fn main() -> ExitCode {
    peers_common::main::<Warmstart>()
}

struct Warmstart(Gpu);

impl Peer for Warmstart {
    const NAME: &'static str = "warmstart";
    type Linear = WarmstartLinear;
    type Mlp = WarmstartMlp;

    fn open() -> Outcome<Warmstart> {
        Ok(Warmstart(Gpu::new()?))
    }

    fn adapter(&self) -> String {
        self.0.summary().to_string()
    }

    fn linear(&self, inputs: &Linear) -> Outcome<WarmstartLinear> {
        let size = inputs.size;
        let graph = new_graph();
        let x = graph.variable("x", [size, size], Initializer::Zeros);
        let y = graph.scope("fc").linear(x, size).relu();
        let mut session = Session::new(&self.0);
        let plan = session.compile(graph, &[y], &[])?;
        assign(&mut session, "x", &[size, size], &inputs.input)?;
        assign(&mut session, "fc/weight", &[size, size], &inputs.weight)?;
        assign(&mut session, "fc/bias", &[size], &inputs.bias)?;
        Ok(WarmstartLinear { session, plan, y })
    }

    fn training(&self, model: &Model, batch: &Batch) -> Outcome<WarmstartMlp> {
        let layers = layers(model);
        let graph = new_graph();
        let mut x = graph.placeholder("x", [model.batch, model.widths[0]], DType::F32);
        let labels = graph.placeholder("labels", [model.batch], DType::I32);
        for (index, layer) in layers.iter().enumerate() {
            x = graph.scope(&scope(index)).linear(x, layer.units);
            if index + 1 < layers.len() {
                x = x.relu();
            }
        }
        let loss = x.softmax_cross_entropy(labels);
        let step = Optimizer::adam(Model::LEARNING_RATE as f32).minimize(loss);
        let mut session = Session::new(&self.0);
        let plan = session.compile(graph, &[loss], &[step.update])?;
        for (index, layer) in layers.iter().enumerate() {
            let name = format!("{}/weight", scope(index));
            assign(&mut session, &name, &[layer.inputs, layer.units], &layer.weight)?;
        }
        // Biases, and what Adam keeps.
        session.initialize_missing(1)?;
        let (gpu, batch) = (self.0.clone(), batch.clone());
        Ok(WarmstartMlp { gpu, session, plan, loss, batch, data: None, outputs: None })
    }
}

fn assign(session: &mut Session, name: &str, shape: &[usize], values: &[f32]) -> Outcome<()> {
    let value = TensorData::new(shape.to_vec(), values.to_vec());
    Ok(session.assign(name, &value.ok_or("values do not fill their shape")?)?)
}

/// Tensors borrow their graph, and the arm ends with its row.
fn new_graph() -> &'static Graph {
    Box::leak(Box::new(Graph::new()))
}

fn scope(index: usize) -> String {
    format!("fc{}", index + 1)
}

struct WarmstartLinear {
    session: Session,
    plan: Plan,
    y: Tensor<'static>,
}

impl LinearLayer for WarmstartLinear {
    fn run(&mut self) -> Outcome<()> {
        Ok(self.session.run_unread(&self.plan, &Steps::repeat(1))?.wait()?)
    }

    fn read(&mut self) -> Outcome<Vec<f32>> {
        // What stayed there can be asked for until the session runs again: this run gives the same.
        let outputs = self.session.run_unread(&self.plan, &Steps::repeat(1))?;
        Ok(outputs.tensor(self.y)?.as_f32().ok_or("the result is not f32")?.to_vec())
    }

    fn run_together(&mut self, submissions: usize, runs: usize) -> Outcome<()> {
        let steps = Steps::repeat(runs);
        for _ in 1..submissions {
            self.session.run_unread(&self.plan, &steps)?;
        }
        Ok(self.session.run_unread(&self.plan, &steps)?.wait()?)
    }
}

struct WarmstartMlp {
    gpu: Gpu,
    session: Session,
    plan: Plan,
    loss: Tensor<'static>,
    batch: Batch,
    /// The batch as a data set on the device, once steps were submitted together, and the rows of a step's.
    data: Option<(DeviceDataset, Vec<u32>)>,
    outputs: Option<Submitted>,
}

/// What the last submission gives.
enum Submitted {
    Step(Outputs),
    Steps(StepOutputs),
}

impl WarmstartMlp {
    fn submitted(&self) -> Outcome<&Submitted> {
        self.outputs.as_ref().ok_or_else(|| "nothing was run".into())
    }
}

impl TrainedMlp for WarmstartMlp {
    fn step(&mut self) -> Outcome<()> {
        let Batch { features, labels } = &self.batch;
        let feeds = [("x", features.into()), ("labels", labels.into())];
        self.outputs = Some(Submitted::Step(self.session.run(&self.plan, &feeds)?));
        Ok(())
    }

    fn loss(&mut self) -> Outcome<f32> {
        Ok(match self.submitted()? {
            Submitted::Step(outputs) => outputs.scalar(self.loss)?,
            Submitted::Steps(outputs) => *outputs.scalars(self.loss)?.last().ok_or("no step")?,
        })
    }

    fn submit(&mut self, steps: usize) -> Outcome<()> {
        if self.data.is_none() {
            let Batch { features, labels } = &self.batch;
            let columns = [("x", features.into()), ("labels", labels.into())];
            let data = DeviceDataset::new(&self.gpu, labels.len(), &columns)?;
            self.data = Some((data, (0..labels.len() as u32).collect()));
        }
        let (data, rows) = self.data.as_ref().ok_or("the data set is not there")?;
        let rows = rows.repeat(steps);
        let outputs = self.session.run_steps(&self.plan, &Steps::rows(data, &rows))?;
        self.outputs = Some(Submitted::Steps(outputs));
        Ok(())
    }

    fn losses(&mut self) -> Outcome<Vec<f32>> {
        Ok(match self.submitted()? {
            Submitted::Step(outputs) => vec![outputs.scalar(self.loss)?],
            Submitted::Steps(outputs) => outputs.scalars(self.loss)?,
        })
    }

    fn wait(&mut self) -> Outcome<()> {
        match self.submitted()? {
            Submitted::Step(outputs) => Ok(outputs.wait()?),
            Submitted::Steps(outputs) => Ok(outputs.wait()?),
        }
    }
}
