//! "The file is another library's: its names have dots, and its shapes do not fit. What now?"
//!
//! A matrix is transposed on its way, and extents of 1 come and go. A kernel, whose dimensions lie in
//! another order, is declared as it lies in the file, and turned by the graph.

use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
use std::error::Error;
use std::path::Path;
use warmstart::prelude::*;

/// A file as PyTorch has them: matrices are out, in, and kernels out, in, height, width.
fn save_as_pytorch(file: &Path) -> Result<(), Box<dyn Error>> {
    let numbers: Vec<u8> = (0..96).flat_map(|number| (number as f32).to_le_bytes()).collect();
    let tensor = |name, shape: &[usize]| {
        let bytes = &numbers[..4 * shape.iter().product::<usize>()];
        Ok::<_, Box<dyn Error>>((name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?))
    };
    let tensors = [
        tensor("patches.weight", &[8, 3, 2, 2])?,
        tensor("class_token", &[1, 1, 8])?,
        tensor("head.weight", &[5, 8])?,
        tensor("head.bias", &[5])?,
    ];
    Ok(serialize_to_file(tensors, None, file)?)
}

/// Patches of an image of 2 x 2 points and 3 colours to 8 numbers, and these to 5 classes.
fn model<'g>(graph: &'g Graph, kernel: Tensor<'g>) -> Tensor<'g> {
    let patches = graph.placeholder("images", [16, 12], DType::F32).matmul(kernel.reshape([12, 8]));
    let token = graph.variable("class_token", [8], Initializer::Zeros);
    graph.scope("head").linear(patches + token, 5)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("pytorch.safetensors");
    save_as_pytorch(&file)?;
    let checkpoint = Checkpoint::open(&file)?;
    let gpu = Gpu::new()?;

    // What goes wrong: three of four tensors have another shape.
    let graph = Graph::new();
    let kernel =
        graph.scope("patches").variable("weight", [2, 2, 3, 8], Initializer::GlorotUniform);
    let mut session = Session::new(&gpu);
    session.compile(&graph, &[model(&graph, kernel)], &[])?;
    println!("{}\n", checkpoint.plan(&session, &RestoreOptions::new()));

    // The lines that mend it: the kernel is declared as the file has it, and turned when it is used.
    let graph = Graph::new();
    let kernel =
        graph.scope("patches").variable("weight", [8, 3, 2, 2], Initializer::GlorotUniform);
    let kernel = kernel.transpose(&[2, 3, 1, 0]);
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[kernel, model(&graph, kernel)], &[])?;
    let options =
        RestoreOptions::new().separator('.', '/').transpose("head/weight").reshape("class_token");
    let report = checkpoint.plan(&session, &options).restore(&mut session)?;
    println!("{report}\n\n{}\n", session.variables());
    // Of the first point and colour, which are 12 numbers apart in the file.
    let outputs = session.run(&plan, &[("images", (&[0.0f32; 192]).into())])?;
    println!("the kernel begins with {:?}", &outputs.tensor(kernel)?.to_f64()[..8]);
    println!("the matrix begins with {:?}", &session.read("head/weight")?.to_f64()[..5]);
    Ok(())
}
