//! The well-formed fixtures, which PyTorch and NumPy wrote: names, dtypes, shapes, bytes, metadata.

use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use warmstart_checkpoint::Checkpoint;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Opens a fixture and holds it against `expected.json` and the `safetensors` crate.
fn check(name: &str) -> Checkpoint {
    let file = fixture(name).join("model.safetensors");
    let checkpoint = Checkpoint::open(&file).unwrap();
    let bytes = fs::read(&file).unwrap();
    let theirs = SafeTensors::deserialize(&bytes).unwrap();
    let expected = fs::read_to_string(fixture(name).join("expected.json")).unwrap();
    // Python's `json` writes NaN, which JSON does not have.
    let expected: Value = serde_json::from_str(&expected.replace("NaN", "null")).unwrap();
    let expected = expected["tensors"].as_object().unwrap();
    assert_eq!(checkpoint.tensors().len(), theirs.len());
    for tensor in checkpoint.tensors() {
        let their = theirs.tensor(&tensor.name).unwrap();
        assert_eq!(their.dtype().to_string(), tensor.dtype.safetensors_name().unwrap());
        assert_eq!(their.shape(), &tensor.shape[..]);
        let range = tensor.range.start as usize..tensor.range.end as usize;
        assert_eq!(their.data().as_ptr_range(), bytes[range].as_ptr_range());
    }
    for (name, tensor) in expected {
        let shape: Vec<usize> = serde_json::from_value(tensor["shape"].clone()).unwrap();
        // PyTorch counts the pairs of 4-bit floats that share a byte.
        if tensor["dtype"] != "torch.float4_e2m1fn_x2" {
            assert_eq!(checkpoint.tensor(name).unwrap().shape[..], shape, "{name}");
        }
    }
    checkpoint
}

#[test]
fn a_torch_file() {
    let checkpoint = check("st_mlp");
    let names: Vec<&str> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight"]);
    assert_eq!(checkpoint.tensor("fc1.weight").unwrap().bytes(), 48);
    assert_eq!(checkpoint.metadata().extra().collect::<Vec<_>>(), [("format", "pt")]);
    assert_eq!(checkpoint.step(), None);
}

#[test]
fn a_numpy_file_without_metadata() {
    let checkpoint = check("st_mlp_numpy");
    assert_eq!(checkpoint.tensors().len(), 4);
    assert_eq!(checkpoint.metadata().extra().count(), 0);
    assert!(checkpoint.tensor("fc3.bias").is_none());
}

#[test]
fn every_dtype_scalars_and_empty_tensors() {
    let checkpoint = check("st_dtypes");
    assert_eq!(checkpoint.tensors().len(), 23);
    assert_eq!(checkpoint.tensor("scalar").unwrap().shape.rank(), 0);
    assert_eq!(checkpoint.tensor("empty").unwrap().bytes(), 0);
    assert_eq!(checkpoint.tensor("bf16").unwrap().dtype.to_string(), "bf16");
    assert_eq!(checkpoint.metadata().get("format"), Some("pt"));
    // `step` is not our key: another program's step is not taken for ours.
    assert_eq!((checkpoint.step(), checkpoint.metadata().get("step")), (None, Some("1000")));
}

#[test]
fn a_file_without_tensors() {
    let checkpoint = check("st_empty");
    assert!(checkpoint.tensors().is_empty());
    assert_eq!(checkpoint.metadata().get("a"), Some("b"));
}
