//! The comparison's rows in burn on wgpu, with its autotune and fusion as they come.

use burn::module::{Module, Param};
use burn::nn::Linear as LinearModule;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use peers_common::{Batch, Linear, LinearLayer, Model, Outcome, Peer, TrainedMlp, layers};
use std::process::ExitCode;

fn main() -> ExitCode {
    peers_common::main::<Burn>()
}

struct Burn(Device);

impl Peer for Burn {
    const NAME: &'static str = "burn";
    type Linear = BurnLinear;
    type Mlp = BurnMlp;

    fn open() -> Outcome<Burn> {
        Ok(Burn(Device::wgpu(Default::default())))
    }

    fn adapter(&self) -> String {
        self.0.identity().map_or_else(|| "not told".to_owned(), |identity| identity.name)
    }

    fn linear(&self, inputs: &Linear) -> Outcome<BurnLinear> {
        let size = inputs.size;
        let layer = LinearModule {
            weight: Param::from_data(TensorData::new(inputs.weight.clone(), [size, size]), &self.0),
            bias: Some(Param::from_data(TensorData::new(inputs.bias.clone(), [size]), &self.0)),
        };
        let x = Tensor::from_data(TensorData::new(inputs.input.clone(), [size, size]), &self.0);
        Ok(BurnLinear { device: self.0.clone(), layer, x, y: None })
    }

    fn training(&self, model: &Model, batch: &Batch) -> Outcome<BurnMlp> {
        let device = self.0.clone().autodiff();
        let linear = |layer: &peers_common::Layer| {
            let shape = [layer.inputs, layer.units];
            LinearModule {
                weight: Param::from_data(TensorData::new(layer.weight.clone(), shape), &device),
                bias: Some(Param::from_tensor(Tensor::zeros([layer.units], &device))),
            }
        };
        let mlp = Mlp { layers: layers(model).iter().map(linear).collect() };
        Ok(BurnMlp {
            mlp: Some(mlp),
            optimizer: AdamConfig::new().with_epsilon(1e-8).init(),
            cross_entropy: CrossEntropyLossConfig::new().init(&device),
            features: TensorData::new(batch.features.clone(), [model.batch, model.widths[0]]),
            labels: TensorData::new(batch.labels.clone(), [model.batch]),
            loss: None,
            device,
        })
    }
}

struct BurnLinear {
    device: Device,
    layer: LinearModule,
    x: Tensor<2>,
    y: Option<Tensor<2>>,
}

impl LinearLayer for BurnLinear {
    fn run(&mut self) -> Outcome<()> {
        // Kept until the device is done, since what nobody holds might not be computed.
        self.y = Some(relu(self.layer.forward(self.x.clone())));
        Ok(self.device.sync()?)
    }

    fn read(&mut self) -> Outcome<Vec<f32>> {
        let y = self.y.clone().ok_or("nothing was run")?;
        Ok(y.try_into_data()?.as_slice()?.to_vec())
    }
}

#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<LinearModule>,
}

impl Mlp {
    fn forward(&self, mut x: Tensor<2>) -> Tensor<2> {
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if index + 1 < self.layers.len() {
                x = relu(x);
            }
        }
        x
    }
}

struct BurnMlp {
    device: Device,
    /// Taken during a step, which consumes it.
    mlp: Option<Mlp>,
    optimizer: ModuleOptimizer,
    cross_entropy: CrossEntropyLoss,
    features: TensorData,
    labels: TensorData,
    loss: Option<Tensor<1>>,
}

impl TrainedMlp for BurnMlp {
    fn step(&mut self) -> Outcome<()> {
        let mlp = self.mlp.take().ok_or("the step before failed")?;
        let x = Tensor::<2>::from_data(self.features.clone(), &self.device);
        let labels = Tensor::<1, Int>::from_data(self.labels.clone(), &self.device);
        let loss = self.cross_entropy.forward(mlp.forward(x), labels);
        let gradients = GradientsParams::from_grads(loss.backward(), &mlp);
        self.mlp = Some(self.optimizer.step(Model::LEARNING_RATE, mlp, gradients));
        self.loss = Some(loss);
        Ok(())
    }

    fn loss(&mut self) -> Outcome<f32> {
        let loss = self.loss.clone().ok_or("nothing was run")?;
        let data = loss.try_into_data()?;
        data.as_slice()?.first().copied().ok_or_else(|| "the loss is empty".into())
    }

    fn wait(&mut self) -> Outcome<()> {
        Ok(self.device.sync()?)
    }
}
