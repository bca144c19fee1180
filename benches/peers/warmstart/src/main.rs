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
        let (features, labels) = (batch.features.clone(), batch.labels.clone());
        Ok(WarmstartMlp { session, plan, loss, features, labels, outputs: None })
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
}

struct WarmstartMlp {
    session: Session,
    plan: Plan,
    loss: Tensor<'static>,
    features: Vec<f32>,
    labels: Vec<i32>,
    outputs: Option<Outputs>,
}

impl TrainedMlp for WarmstartMlp {
    fn step(&mut self) -> Outcome<()> {
        let feeds = [("x", (&self.features).into()), ("labels", (&self.labels).into())];
        self.outputs = Some(self.session.run(&self.plan, &feeds)?);
        Ok(())
    }

    fn loss(&mut self) -> Outcome<f32> {
        Ok(self.outputs.as_ref().ok_or("nothing was run")?.scalar(self.loss)?)
    }

    fn wait(&mut self) -> Outcome<()> {
        Ok(self.outputs.as_ref().ok_or("nothing was run")?.wait()?)
    }
}
