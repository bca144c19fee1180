use super::*;
use half::bf16;
use std::fs;

pub(super) fn rules(rules: &[Rule]) -> ConvertOptions {
    rules.iter().cloned().fold(ConvertOptions::new(), ConvertOptions::rule)
}

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
    let converted = source.convert(&out, &ConvertOptions::new()).unwrap();
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
    source.convert(source.file(), &ConvertOptions::new()).unwrap();
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
        let options = rules(&[Rule::Separator { from: '.', to: '/' }]).floats(to);
        let converted = source.convert(&out, &options).unwrap();
        assert!(converted.description_left_out);
        let copy = Checkpoint::open(&out).unwrap();
        assert!(copy.verify().is_whole());
        assert_eq!((copy.metadata().graph(), copy.step()), (None, Some(5)));
        assert_eq!(bytes(&copy, "a/w")[..of_w.len()], of_w);
        assert_eq!(bytes(&copy, "b/w"), of_b);
        assert_eq!(bytes(&copy, "a/n"), (-7i32).to_le_bytes());
        assert_eq!(copy.tensor("b/w").unwrap().dtype, to.file());
    }
    let converted = source.convert(&out, &rules(&[Rule::Only("a.*".into())])).unwrap();
    assert_eq!((converted.tensors, converted.left_out), (2, 1));
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(written(directory.path())).unwrap();
    let out = directory.path().join("out.safetensors");
    let rename = |from: &str, to: &str| Rule::Rename { from: from.into(), to: to.into() };
    for (rule, problem) in [
        (Rule::Transpose("**".into()), "`.transpose(\"**\")` touches no matrix"),
        (Rule::Cast("**".into()), "say the dtype of all floats"),
        (Rule::Reshape("a.w".into()), "shapes of variables"),
        (Rule::ResizeRows { glob: "a.w".into(), seed: 1 }, "shapes of variables"),
        (rename("c", "d"), "touches no name"),
        (rename("a.w", "b.w"), "two tensors would get the name `b.w`"),
        (Rule::Ignore("**".into()), "no tensor would be written"),
        (Rule::Only("[".into()), "cannot be applied"),
        (rename("a.w", "__metadata__"), "reserved"),
        (
            Rule::AssignmentMap(vec![("a.w".into(), "w".into()), ("haed/".into(), "head/".into())]),
            r#"no tensor is what its pair ("haed/", "head/") speaks of"#,
        ),
    ] {
        let error = source.convert(&out, &rules(&[rule])).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    // As it is written, a rule may come too late.
    let late = [Rule::StripPrefix("a.".into()), rename("a.w", "w")];
    let error = source.convert(&out, &rules(&late)).unwrap_err().to_string();
    assert!(error.contains("since the rules before it rename what it speaks of"), "{error}");
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
    source.convert(&out, &ConvertOptions::new().floats(FloatDType::Bf16)).unwrap();
    let copy = Checkpoint::open(&out).unwrap();
    assert!(copy.verify().is_whole());
    let mut into = vec![0; 2 * n];
    assert_eq!(copy.reader("a").unwrap().read(&mut into).unwrap(), 2 * n);
    for (i, bytes) in into.chunks(2).enumerate() {
        assert_eq!(bytes, bf16::from_f32(i as f32).to_le_bytes());
    }
}

/// All tensors, with their bytes.
pub(super) fn all(checkpoint: &Checkpoint) -> BTreeMap<String, (FileDType, Shape, Vec<u8>)> {
    let one = |tensor: &TensorEntry| {
        let mut value = vec![0; tensor.bytes() as usize];
        let mut reader = checkpoint.reader(&tensor.name).unwrap();
        let mut at = 0;
        while at < value.len() {
            at += reader.read(&mut value[at..]).unwrap();
        }
        (tensor.name.to_string(), (tensor.dtype, tensor.shape.clone(), value))
    };
    checkpoint.tensors().iter().map(one).collect()
}

/// A matrix of bytes, `u8 [rows, columns]`, `u32 [3, 2]` and a vector.
pub(super) fn matrices(directory: &Path, rows: usize, columns: usize) -> PathBuf {
    let file = directory.join("in.safetensors");
    let (n, m) = (24, 24 + rows * columns);
    let header = format!(
        r#"{{"__metadata__":{{"warmstart.graph":"{{}}"}},
            "w":{{"dtype":"U32","shape":[3,2],"data_offsets":[0,{n}]}},
            "m":{{"dtype":"U8","shape":[{rows},{columns}],"data_offsets":[{n},{m}]}},
            "v":{{"dtype":"U8","shape":[3],"data_offsets":[{m},{}]}}}}"#,
        m + 3
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    (0..6u32).for_each(|i| bytes.extend_from_slice(&i.to_le_bytes()));
    (0..rows * columns).for_each(|i| bytes.push((i % 251) as u8));
    bytes.extend_from_slice(&[7, 8, 9]);
    fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn matrices_are_transposed_in_blocks_of_any_shape() {
    // With the small blocks of tests: one pass, several of a few columns, and columns in parts.
    for (rows, columns) in [(0, 3), (3, 0), (1, 1), (5, 3), (20, 17), (3, 300), (150, 2), (64, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let source = Checkpoint::open(matrices(directory.path(), rows, columns)).unwrap();
        let out = directory.path().join("out.safetensors");
        let options = rules(&[Rule::Transpose("**".into())]);
        let converted = source.convert(&out, &options).unwrap();
        assert_eq!((converted.transposed, converted.description_left_out), (2, true));
        let copy = Checkpoint::open(&out).unwrap();
        assert!(copy.verify().is_whole());
        let (before, after) = (all(&source), all(&copy));
        assert_eq!(before["v"], after["v"]);
        let expected: Vec<u8> = (0..columns)
            .flat_map(|column| (0..rows).map(move |row| ((row * columns + column) % 251) as u8))
            .collect();
        assert_eq!(after["m"], (FileDType::U8, Shape::from([columns, rows]), expected));
        let expected = [0u32, 2, 4, 1, 3, 5].map(u32::to_le_bytes).concat();
        assert_eq!(after["w"], (FileDType::U32, Shape::from([2, 3]), expected));
        // Twice is as it was.
        let twice = directory.path().join("twice.safetensors");
        copy.convert(&twice, &options).unwrap();
        assert_eq!(all(&Checkpoint::open(&twice).unwrap()), before);
    }
}

#[test]
fn the_first_element_without_a_number_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("in.safetensors");
    // More than one piece.
    let (rows, columns) = (3, PIECE);
    let mut values = vec![0.5f64; rows * columns];
    values[columns + 2] = -1e300;
    values[2 * columns] = 1e39;
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let length = bytes.len();
    let header = format!(
        r#"{{"a":{{"dtype":"F64","shape":[{rows},{columns}],"data_offsets":[0,{length}]}}}}"#
    );
    let begin = (header.len() as u64).to_le_bytes();
    fs::write(&file, [&begin[..], header.as_bytes(), &bytes].concat()).unwrap();
    let source = Checkpoint::open(&file).unwrap();
    let out = directory.path().join("out.safetensors");
    for (transposed, first, value) in [(false, [1, 2], -1e300), (true, [0, 2], 1e39)] {
        let mut asked = vec![Rule::Rename { from: "a".into(), to: "b".into() }];
        asked.extend(transposed.then(|| Rule::Transpose("b".into())));
        let options = rules(&asked).floats(FloatDType::F32);
        let refused = source.convert(&out, &options).unwrap_err();
        let CheckpointError::ConvertInfinite { tensor, first: at, value: found, .. } = &refused
        else {
            panic!("{refused}")
        };
        assert_eq!((tensor.as_str(), &at[..], *found), ("b", &first[..], value));
        let says = "which would be infinite as f32, whose largest number is 3.403e38. Nothing was";
        assert!(refused.to_string().contains(says), "{refused}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{refused}");
        let converted = source.convert(&out, &options.allow_infinite()).unwrap();
        fs::remove_file(&out).unwrap();
        let [overflow] = &converted.overflows[..] else { panic!("{converted:?}") };
        assert_eq!((overflow.tensor.as_str(), overflow.elements), ("b", 2));
        assert_eq!((&overflow.first[..], overflow.value), (&first[..], value));
    }
}

#[test]
fn the_largest_number_of_a_dtype_is_known() {
    let largest = [FloatDType::F32, FloatDType::F16, FloatDType::Bf16].map(FloatDType::largest);
    let (half, brain) = (half::f16::MAX, half::bf16::MAX);
    assert_eq!(largest, [f64::from(f32::MAX), f64::from(half), f64::from(brain)]);
}

#[test]
fn what_no_longer_has_a_number_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("in.safetensors");
    let header = br#"{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;
    let values = [1e5f32, -7e4, 65504.0, f32::INFINITY, f32::NAN, 1e38].map(f32::to_le_bytes);
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&file, [&length[..], header, &values.concat()].concat()).unwrap();
    let source = Checkpoint::open(&file).unwrap();
    let out = directory.path().join("out.safetensors");
    for (floats, transposed, expected) in [
        (FloatDType::F16, false, 3),
        (FloatDType::F16, true, 3),
        (FloatDType::Bf16, false, 0),
        (FloatDType::F32, false, 0),
    ] {
        let rule = Rule::Transpose("w".into());
        let options = if transposed { rules(&[rule]) } else { ConvertOptions::new() };
        let options = options.floats(floats);
        assert_eq!(source.convert(&out, &options).is_err(), expected > 0);
        let converted = source.convert(&out, &options.allow_infinite()).unwrap();
        assert_eq!(converted.overflowed, expected);
        let Some(overflow) = converted.overflows.first() else {
            assert_eq!(expected, 0);
            continue;
        };
        assert_eq!((overflow.tensor.as_str(), overflow.elements), ("w", expected));
        assert_eq!((&overflow.first[..], overflow.value), (&[0, 0][..], 1e5));
    }
}

#[test]
fn what_becomes_zero_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("in.safetensors");
    let header = br#"{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;
    // The smallest `f16` is 2⁻²⁴, and half of it is the last that rounds to 0.
    let values = [0.0f32, 3e-8, 1e-9, -0.0, -2e-8, 1e-40].map(f32::to_le_bytes);
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&file, [&length[..], header, &values.concat()].concat()).unwrap();
    let source = Checkpoint::open(&file).unwrap();
    let out = directory.path().join("out.safetensors");
    let convert = |options: ConvertOptions| source.convert(&out, &options).unwrap();
    for (transposed, first) in [(false, [0, 2]), (true, [1, 1])] {
        let rule = Rule::Transpose("w".into());
        let options = if transposed { rules(&[rule]) } else { ConvertOptions::new() };
        let converted = convert(options.floats(FloatDType::F16));
        assert_eq!((converted.underflowed, converted.overflowed), (3, 0));
        let [found] = &converted.underflows[..] else { panic!("{converted:?}") };
        assert_eq!((found.tensor.as_str(), found.elements), ("w", 3));
        let value = if transposed { -2e-8f32 } else { 1e-9 };
        assert_eq!((&found.first[..], found.value), (&first[..], f64::from(value)));
    }
    // `bf16` reaches as far as `f32`.
    assert_eq!(convert(ConvertOptions::new().floats(FloatDType::Bf16)).underflowed, 0);
}

#[test]
fn an_index_of_another_program_stays() {
    let directory = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(written(directory.path())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("model.weights.index.json");
    fs::write(&index, "{}").unwrap();
    let out = folder.path().join("model.weights");
    let converted = source.convert(&out, &ConvertOptions::new().keep_existing()).unwrap();
    assert!(converted.removed.is_empty() && index.exists());
    assert!(source.convert(&out, &ConvertOptions::new()).unwrap().removed.is_empty());
    assert!(index.exists());
}
