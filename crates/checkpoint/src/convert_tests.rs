use super::*;
use std::path::PathBuf;

/// Three tensors: `a.w` f32 [2], `a.n` i32 [1], `b.w` f64 [1].
fn written(directory: &Path) -> PathBuf {
    let file = directory.join("in.safetensors");
    let header = br#"{"__metadata__":{"format":"pt","warmstart.step":"5","warmstart.graph":"{}"},
        "b.w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},
        "a.w":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},
        "a.n":{"dtype":"I32","shape":[1],"data_offsets":[16,20]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(&0.1f64.to_le_bytes());
    bytes.extend_from_slice(&[1.5f32, f32::NAN].map(f32::to_le_bytes).concat());
    bytes.extend_from_slice(&(-7i32).to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    file
}

fn bytes(checkpoint: &Checkpoint, name: &str) -> Vec<u8> {
    let mut into = vec![0; 64];
    let n = checkpoint.reader(name).unwrap().read(&mut into).unwrap();
    into[..n].to_vec()
}

#[test]
fn as_it_is_everything_comes_along_and_gets_checksums() {
    let directory = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(written(directory.path())).unwrap();
    let out = directory.path().join("out.safetensors");
    let converted = source.convert(&out, &[], None).unwrap();
    assert_eq!((converted.tensors, converted.bytes, converted.cast), (3, 20, 0));
    assert!(!converted.description_left_out);
    let copy = Checkpoint::open(&out).unwrap();
    assert_eq!(copy.step(), Some(5));
    assert_eq!(copy.metadata().graph(), Some("{}"));
    assert_eq!(copy.metadata().extra().collect::<Vec<_>>(), [("format", "pt")]);
    let found = copy.verify();
    assert!(found.is_whole() && found.checksums);
    for tensor in source.tensors() {
        assert_eq!(copy.tensor(&tensor.name).unwrap().shape, tensor.shape);
        assert_eq!(bytes(&copy, &tensor.name), bytes(&source, &tensor.name));
    }
    // Into itself, too: the open file stays what it was.
    source.convert(source.file(), &[], None).unwrap();
    assert!(Checkpoint::open(source.file()).unwrap().verify().checksums);
}

#[test]
fn names_and_floats_change_and_descriptions_go() {
    let directory = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(written(directory.path())).unwrap();
    let out = directory.path().join("out.safetensors");
    for (to, of_w, of_b) in [
        (FloatDType::F32, 1.5f32.to_le_bytes().to_vec(), 0.1f32.to_le_bytes().to_vec()),
        (FloatDType::F16, vec![0, 0x3e], vec![0x66, 0x2e]),
        (FloatDType::Bf16, vec![0xc0, 0x3f], vec![0xcd, 0x3d]),
    ] {
        let rules = [Rule::Separator { from: '.', to: '/' }];
        let converted = source.convert(&out, &rules, Some(to)).unwrap();
        assert!(converted.description_left_out);
        let copy = Checkpoint::open(&out).unwrap();
        assert!(copy.verify().is_whole());
        assert_eq!((copy.metadata().graph(), copy.step()), (None, Some(5)));
        assert_eq!(bytes(&copy, "a/w")[..of_w.len()], of_w);
        assert_eq!(bytes(&copy, "b/w"), of_b);
        assert_eq!(bytes(&copy, "a/n"), (-7i32).to_le_bytes());
        assert_eq!(copy.tensor("b/w").unwrap().dtype, to.file());
    }
    let converted = source.convert(&out, &[Rule::Only("a.*".into())], None).unwrap();
    assert_eq!((converted.tensors, converted.left_out), (2, 1));
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(written(directory.path())).unwrap();
    let out = directory.path().join("out.safetensors");
    let rename = |from: &str, to: &str| Rule::Rename { from: from.into(), to: to.into() };
    for (rule, problem) in [
        (Rule::Transpose("**".into()), "about values"),
        (rename("c", "d"), "touches no name"),
        (rename("a.w", "b.w"), "two tensors would get the name `b.w`"),
        (Rule::Ignore("**".into()), "no tensor would be written"),
        (Rule::Only("[".into()), "cannot be applied"),
        (rename("a.w", "__metadata__"), "reserved"),
    ] {
        let error = source.convert(&out, &[rule], None).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    assert!(!out.exists());
}

#[test]
fn many_pieces_make_up_a_tensor() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("in.safetensors");
    let n = PIECE * 5 / 2 + 1;
    let end = 4 * n;
    let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{n}],"data_offsets":[0,{end}]}}}}"#);
    let mut all = (header.len() as u64).to_le_bytes().to_vec();
    all.extend_from_slice(header.as_bytes());
    (0..n).for_each(|i| all.extend_from_slice(&(i as f32).to_le_bytes()));
    std::fs::write(&file, all).unwrap();
    let out = directory.path().join("out.safetensors");
    let source = Checkpoint::open(&file).unwrap();
    source.convert(&out, &[], Some(FloatDType::Bf16)).unwrap();
    let copy = Checkpoint::open(&out).unwrap();
    assert!(copy.verify().is_whole());
    let mut into = vec![0; 2 * n];
    assert_eq!(copy.reader("a").unwrap().read(&mut into).unwrap(), 2 * n);
    for (i, bytes) in into.chunks(2).enumerate() {
        assert_eq!(bytes, bf16::from_f32(i as f32).to_le_bytes());
    }
}
