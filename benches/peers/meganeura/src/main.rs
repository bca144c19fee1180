//! The comparison's rows in meganeura.

use blade_graphics::Context;
use meganeura::{Graph, Mode, Session, SessionConfig};
use peers_common::{Batch, Linear, LinearLayer, Model, Outcome, Peer, TrainedMlp, layers};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    peers_common::main::<Meganeura>()
}

struct Meganeura(Arc<Context>);

impl Peer for Meganeura {
    const NAME: &'static str = "meganeura";
    type Linear = MeganeuraLinear;
    type Mlp = MeganeuraMlp;

    fn open() -> Outcome<Meganeura> {
        let context = meganeura::init_gpu_context();
        Ok(Meganeura(Arc::new(context.map_err(|error| format!("no adapter: {error:?}"))?)))
    }

    fn adapter(&self) -> String {
        let about = self.0.device_information();
        format!("{} · {} {}", about.device_name, about.driver_name, about.driver_info)
    }

    fn linear(&self, inputs: &Linear) -> Outcome<MeganeuraLinear> {
        let size = inputs.size;
        let mut graph = Graph::new();
        let x = graph.input("x", &[size, size]);
        let weight = graph.parameter("weight", &[size, size]);
        let bias = graph.parameter("bias", &[size]);
        let product = graph.matmul(x, weight);
        let sum = graph.bias_add(product, bias);
        let y = graph.relu(sum);
        graph.set_outputs(vec![y]);
        let mut session = self.build(&graph, Mode::Inference);
        session.set_input("x", &inputs.input);
        session.set_parameter("weight", &inputs.weight);
        session.set_parameter("bias", &inputs.bias);
        Ok(MeganeuraLinear { session, size })
    }

    fn training(&self, model: &Model, batch: &Batch) -> Outcome<MeganeuraMlp> {
        let layers = layers(model);
        let mut graph = Graph::new();
        let mut x = graph.input("x", &[model.batch, model.widths[0]]);
        let labels = graph.input("labels", &[model.batch, model.classes()]);
        for (index, layer) in layers.iter().enumerate() {
            let weight = graph.parameter(&weight_name(index), &[layer.inputs, layer.units]);
            let bias = graph.parameter(&bias_name(index), &[layer.units]);
            let product = graph.matmul(x, weight);
            x = graph.bias_add(product, bias);
            if index + 1 < layers.len() {
                x = graph.relu(x);
            }
        }
        let loss = graph.cross_entropy_loss(x, labels);
        graph.set_outputs(vec![loss]);
        let mut session = self.build(&graph, Mode::Training);
        for (index, layer) in layers.iter().enumerate() {
            session.set_parameter(&weight_name(index), &layer.weight);
            session.set_parameter(&bias_name(index), &vec![0.0; layer.units]);
        }
        session.set_adam(Model::LEARNING_RATE as f32, 0.9, 0.999, 1e-8);
        let labels = one_hot(&batch.labels, model.classes());
        Ok(MeganeuraMlp { session, features: batch.features.clone(), labels })
    }
}

impl Meganeura {
    /// A session with the default settings and, as it offers that, the plan kept in a file.
    fn build(&self, graph: &Graph, mode: Mode) -> Session {
        let plan =
            std::env::var_os("PEERS_CACHE").map(|folder| Path::new(&folder).join("plan.ron"));
        let gpu = Some(Arc::clone(&self.0));
        let config = SessionConfig { mode, gpu, cache: plan.as_deref(), ..Default::default() };
        meganeura::build(graph, config).0
    }
}

fn weight_name(index: usize) -> String {
    format!("fc{index}.weight")
}

fn bias_name(index: usize) -> String {
    format!("fc{index}.bias")
}

/// Its cross-entropy takes labels as shares of each class.
fn one_hot(labels: &[i32], classes: usize) -> Vec<f32> {
    let mut shares = vec![0.0; labels.len() * classes];
    for (row, label) in labels.iter().enumerate() {
        shares[row * classes + *label as usize] = 1.0;
    }
    shares
}

struct MeganeuraLinear {
    session: Session,
    size: usize,
}

impl LinearLayer for MeganeuraLinear {
    fn run(&mut self) -> Outcome<()> {
        self.session.step();
        self.session.wait();
        Ok(())
    }

    fn read(&mut self) -> Outcome<Vec<f32>> {
        Ok(self.session.read_output(self.size * self.size))
    }
}

struct MeganeuraMlp {
    session: Session,
    features: Vec<f32>,
    labels: Vec<f32>,
}

impl TrainedMlp for MeganeuraMlp {
    fn step(&mut self) -> Outcome<()> {
        self.session.set_input("x", &self.features);
        self.session.set_input("labels", &self.labels);
        self.session.step();
        Ok(())
    }

    fn loss(&mut self) -> Outcome<f32> {
        self.session.wait();
        Ok(self.session.read_loss())
    }

    fn wait(&mut self) -> Outcome<()> {
        self.session.wait();
        Ok(())
    }
}
