//! A model run on any number of rows. Plans have static shapes, so rows go through in batches, the
//! last of which is filled up with zeros.

use crate::error::Failure;
use warmstart::gpu::{CompileError, Plan, Session};
use warmstart::graph::{DType, Graph, GraphDef, NodeId, Op, Tensor};

/// A compiled model from rows to rows.
pub struct Inference<'g> {
    plan: Plan,
    output: Tensor<'g>,
    input: Input,
    /// Values of a row of the output.
    pub outputs: usize,
}

/// The one placeholder that the model reads.
struct Input {
    name: String,
    batch: usize,
    width: usize,
    /// Whether it takes bytes rather than `f32`.
    is_bytes: bool,
}

impl<'g> Inference<'g> {
    pub fn compile(
        session: &mut Session,
        graph: &'g Graph,
        output: Tensor<'g>,
    ) -> Result<Inference<'g>, Failure> {
        let input = input_of(&graph.finish()?, output.id())?;
        let shape = output.shape();
        let rows = shape.first() == Some(&input.batch) && !shape.contains(&0);
        if !rows || output.dtype() != DType::F32 {
            return Err(Failure::new(format!(
                "the model gives {} {shape} for {} rows, not `f32` values for each of them",
                output.dtype(),
                input.batch
            ))
            .help("name another tensor with --output"));
        }
        let outputs = shape[1..].iter().product();
        let plan = session.compile(graph, &[output], &[]).map_err(|error| match error {
            // A program is told other things to do about it.
            CompileError::NoRoom { bytes, room } => Failure::new(format!(
                "the model takes {} MiB of the device's memory, and there is room for {} MiB",
                bytes.div_ceil(1 << 20),
                room >> 20
            ))
            .help("end what else uses this device, or choose another one with `WGPU_ADAPTER_NAME`"),
            other => other.into(),
        })?;
        Ok(Inference { plan, output, input, outputs })
    }

    /// Values of a row that the model takes.
    pub fn inputs(&self) -> usize {
        self.input.width
    }

    /// Whether all of them have to be bytes.
    pub fn takes_bytes(&self) -> bool {
        self.input.is_bytes
    }

    /// What the model says of rows, row by row. Where it takes bytes, all values are.
    pub fn run(&self, session: &mut Session, rows: &[f32]) -> Result<Vec<f32>, Failure> {
        let Input { name, batch, width, is_bytes } = &self.input;
        let mut values = Vec::with_capacity(rows.len() / width * self.outputs);
        let mut filled = Vec::new();
        for rows in rows.chunks(batch * width) {
            let count = rows.len() / width;
            filled.clear();
            filled.extend_from_slice(rows);
            filled.resize(batch * width, 0.0);
            let outputs = if *is_bytes {
                let bytes: Vec<u8> = filled.iter().map(|&value| value as u8).collect();
                session.run(&self.plan, &[(name, (&bytes).into())])?
            } else {
                session.run(&self.plan, &[(name, (&filled).into())])?
            };
            values.extend_from_slice(&outputs.f32s(self.output)?[..count * self.outputs]);
        }
        Ok(values)
    }
}

/// The placeholder that a tensor depends on.
fn input_of(graph: &GraphDef, output: NodeId) -> Result<Input, Failure> {
    let mut needed = vec![false; graph.nodes.len()];
    needed[output.0] = true;
    let mut found = Vec::new();
    // Inputs are always earlier nodes.
    for (at, node) in graph.nodes.iter().enumerate().rev().filter(|(at, _)| *at <= output.0) {
        if !needed[at] {
            continue;
        }
        node.inputs.iter().for_each(|input| needed[input.0] = true);
        if let Op::Placeholder { name, shape, dtype } = &node.op {
            found.push((name, shape, *dtype));
        }
    }
    match found[..] {
        [(name, shape, dtype @ (DType::F32 | DType::U8))]
            if shape.rank() > 0 && !shape.contains(&0) =>
        {
            let (name, width) = (name.clone(), shape[1..].iter().product());
            Ok(Input { name, batch: shape[0], width, is_bytes: dtype == DType::U8 })
        }
        [(name, shape, dtype)] => Err(Failure::new(format!(
            "the model reads `{name}`, {dtype} {shape}, and this command feeds rows of `f32` or `u8`"
        ))
        .help("feed it from a program, to which `Checkpoint::graph` gives the model")),
        _ => {
            let names: Vec<String> = found.iter().map(|(name, ..)| format!("`{name}`")).collect();
            let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            Err(Failure::new(format!(
                "the model reads {names}, and rows can be fed to one placeholder only"
            ))
            .help("name a tensor that depends on one placeholder with --output"))
        }
    }
}
