//! Whatever is read quickly, JSON's own reader reads as the same.

use super::super::read;
use super::super::{JsonString, LENGTH, Planned, make_header};
use super::*;
use crate::tensor::FileDType;
use proptest::prelude::*;
use proptest::sample::Index;

/// All that was read, as text.
fn told(parsed: &Parsed<'_>) -> String {
    let metadata = parsed.metadata.as_ref();
    let metadata: Option<Vec<(&str, &str)>> =
        metadata.map(|all| all.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect());
    format!("{:?} {metadata:?}", parsed.tensors)
}

/// Whether a text is read quickly; if so, it is held against what JSON's reader makes of it.
fn is_quick(text: &str) -> bool {
    let header = Arc::new(text.to_owned());
    let Some(quick) = parse(&header) else { return false };
    let Ok(general) = read::parse(text) else { panic!("only quickly read: {text}") };
    assert_eq!(told(&quick), told(&general), "{text}");
    true
}

fn header(names: &[String], metadata: &BTreeMap<String, String>) -> String {
    let shapes: Vec<Shape> = (0..names.len()).map(|i| Shape::from(vec![i; i % 9])).collect();
    let mut tensors: Vec<Planned<'_>> = names
        .iter()
        .zip(&shapes)
        .map(|(name, shape)| Planned { name, dtype: FileDType::F16, shape, bytes: 1 << 40 })
        .collect();
    let json = |(key, text): (&String, &String)| (key.clone(), JsonString::of(text).unwrap());
    let metadata = metadata.iter().map(json).collect();
    let start = make_header(&mut tensors, &metadata).unwrap();
    String::from_utf8(start[LENGTH as usize..].to_vec()).unwrap()
}

#[test]
fn what_programs_write_is_read_quickly() {
    let names: Vec<String> = (0..99).map(|i| format!("encoder/layer_{i}/é")).collect();
    let json = r#"[{"name":"encoder","shape":[1,2],"initializer":"zeros","location":"a.rs:7"}]"#;
    let of = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    for metadata in [BTreeMap::new(), of(VARIABLES, json), of("format", "pt"), of("", "")] {
        for count in [0, 1, 99] {
            assert!(is_quick(&header(&names[..count], &metadata)), "{count} {metadata:?}");
        }
    }
    // And from Python.
    assert!(is_quick(
        r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}} "#
    ));
}

#[test]
fn long_texts_stay_in_the_header() {
    let value = "[]".repeat(99);
    let metadata = BTreeMap::from([(VARIABLES.to_owned(), value.clone())]);
    let header = Arc::new(header(&["a".to_owned()], &metadata));
    let parsed = parse(&header).unwrap();
    let text = &parsed.metadata.unwrap()[VARIABLES];
    assert!(header.as_bytes().as_ptr_range().contains(&text.json().as_ptr()));
    assert_eq!(text.as_str(), value);
}

#[test]
fn whatever_is_wrong_or_unusual_is_left_to_who_knows_json() {
    let tensor =
        |shape: &str| format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,4]}}}}"#);
    assert!(is_quick(&tensor("[1]")));
    let unusual = [
        "[01]",
        "[-1]",
        "[1.0]",
        "[1e0]",
        "[ 1]",
        "[1,]",
        "[,1]",
        "[1",
        "[1]]",
        "1",
        "[]x",
        "[18446744073709551616]",
        "[1,1,1,1,1,1,1,1,1]",
    ];
    for shape in unusual {
        assert!(parse(&Arc::new(tensor(shape))).is_none(), "{shape}");
    }
    let one = r#""a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}"#;
    let two = one.replace("\"a\"", "\"b\"");
    assert!(is_quick(&format!("{{{two},{one}}}")));
    for text in [
        String::new(),
        "{".into(),
        "{}}".into(),
        "{} x".into(),
        "[]".into(),
        format!("{{{one},{one}}}"),
        format!("{{{one},{two},{one}}}"),
        format!("{{{one},}}"),
        format!("{{,{one}}}"),
        format!("{{{one}"),
        format!(" {{{one}}}"),
        format!("{{ {one}}}"),
        r#"{"__metadata__":null}"#.into(),
        r#"{"__metadata__":{"a":"b","a":"c"}}"#.into(),
        r#"{"__metadata__":{"a":1}}"#.into(),
        r#"{"__metadata__":{"a":"\x"}}"#.into(),
        r#"{"__metadata__":{"warmstart.graph":"\x"}}"#.into(),
        r#"{"__metadata__":{"warmstart.graph":"\ud83d"}}"#.into(),
        "{\"__metadata__\":{\"warmstart.graph\":\"a\nb\"}}".into(),
        r#"{"__metadata__":{"a":"b\"}}"#.into(),
        r#"{"__metadata__":{"a":"b\\"}}"#.into(),
    ] {
        assert!(parse(&Arc::new(text.clone())).is_none(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_string_ends_where_json_says(
        parts in prop::collection::vec(
            prop_oneof![".{0,90}", Just("\\\"".to_owned()), Just("\\".to_owned()), Just("\"".to_owned())],
            0..20,
        ),
    ) {
        let text = format!("\"{}", parts.concat());
        if let Some(end) = end_of_string(text.as_bytes()) {
            let mut values = serde_json::Deserializer::from_str(&text).into_iter::<String>();
            prop_assert!(values.next().is_some_and(|value| value.is_ok()), "{}", text);
            prop_assert_eq!(values.byte_offset(), end);
        }
    }

    #[test]
    fn a_changed_header_is_read_as_json_says_or_not_at_all(
        names in prop::collection::hash_set("[a-z/\"\\\\é]{0,6}", 0..6),
        texts in prop::collection::hash_map("[a-z]{0,3}", ".{0,200}", 0..3),
        described: bool,
        changes in prop::collection::vec((any::<Index>(), prop::sample::select(b"\"\\{}[],: 0a1\n".to_vec())), 0..3),
    ) {
        let names: Vec<String> = names.into_iter().collect();
        let mut metadata: BTreeMap<String, String> = texts.into_iter().collect();
        if described {
            metadata.insert(VARIABLES.to_owned(), r#"[{"a":"b"}]"#.repeat(30));
        }
        let text = header(&names, &metadata);
        let clean = |text: &String| !text.contains(['"', '\\']) && !text.contains(char::is_control);
        let all = || names.iter().chain(metadata.iter().filter(|(key, _)| *key != VARIABLES).map(|(_, v)| v));
        prop_assert!(is_quick(&text) || !all().all(clean));
        let mut bytes = text.into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            is_quick(&text);
        }
    }
}
