//! What a save refuses, and what it leaves when it fails.

use super::*;
use crate::testing::faulty::{Fault, Faulty};
use std::fs;
use warmstart_gpu::Gpu;
use warmstart_graph::{DType, Initializer, Location, Role, Shape};

fn variable(name: &str) -> Variable {
    Variable {
        name: name.into(),
        shape: Shape::from([3]),
        dtype: DType::F32,
        initializer: Initializer::Ones,
        role: Role::Trainable,
        location: Location::caller(),
    }
}

#[test]
fn whatever_fails_while_streaming_from_the_device_the_old_checkpoint_opens() {
    let mut session = Session::new(&Gpu::new().unwrap());
    session.declare(&[variable("a"), variable("b")]).unwrap();
    session.initialize_missing(1).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    save(&session, &file, &SaveOptions::new().step(1)).unwrap();
    let mut contents = Contents::of(&session, &file, &SaveOptions::new().step(2)).unwrap();
    for operation in 0.. {
        let storage = Faulty::at(operation, Fault::Error(io::ErrorKind::StorageFull));
        let result = write(&storage, &mut &session, &file, &mut contents);
        let step = OpenFile::open(&file).unwrap().metadata.step();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{operation}");
        match result {
            Ok(()) if !storage.struck() => {
                assert!(operation >= 5, "only {operation} operations were tried");
                assert_eq!(step, Some(2));
                break;
            }
            // Looking for leftovers may fail without harm.
            Ok(()) | Err(CheckpointError::NotDurable { .. }) => {
                assert_eq!(step, Some(2));
                save(&session, &file, &SaveOptions::new().step(1)).unwrap();
            }
            Err(error) => {
                let message = error.to_string();
                assert!(matches!(error, CheckpointError::Storage { .. }), "{message}");
                assert!(message.contains("model.safetensors"), "{message}");
                assert!(message.contains("Free space there"), "{message}");
                assert_eq!(step, Some(1));
            }
        }
    }
}

#[test]
fn what_cannot_be_saved_is_refused_by_name() {
    let file = Path::new("model.safetensors");
    let refusal = |variable: &Variable, options: SaveOptions| {
        contents(&[variable], None, file, &options).err().unwrap().to_string()
    };
    let message = refusal(&variable(METADATA_KEY), SaveOptions::new());
    assert!(message.contains("`__metadata__` is reserved"), "{message}");
    assert!(message.contains("model.safetensors") && message.contains("another name"));
    let options = SaveOptions::new().extra("warmstart.step", "7");
    let message = refusal(&variable("a"), options);
    assert!(message.contains("`warmstart.step` does") && message.contains("another key"));
    let options = SaveOptions::new().extra("notes", "g".repeat(MAX_HEADER as usize));
    let message = refusal(&variable("a"), options);
    assert!(message.contains("the format allows 100000000"), "{message}");
    assert!(message.contains("without the graph"), "{message}");
}
