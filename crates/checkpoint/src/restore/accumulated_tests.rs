//! Restores in the middle of an update.

use crate::checkpoint::Checkpoint;
use crate::restore::options::RestoreOptions;
use crate::save::write::{SaveOptions, save};
use std::fs;
use warmstart_gpu::{Gpu, Session};
use warmstart_graph::{DType, Graph, GraphDef, Optimizer, TensorData, Variable};

/// A body and a head, with what an optimizer keeps that accumulates.
fn model() -> Vec<Variable> {
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 2], DType::F32);
    let hidden = graph.scope("body").linear(x, 2);
    let loss = graph.scope("head").linear(hidden, 1).square().mean_all();
    Optimizer::adam(0.1).gradient_accumulation_steps(4).minimize(loss);
    let GraphDef { variables, .. } = graph.finish().unwrap();
    variables
}

/// All of it but this, with gradients of so many batches.
fn saved(batches: u32, but: &str) -> Checkpoint {
    saved_as(None, batches, but)
}

/// The same, with these bits of the number taken for another dtype.
fn saved_as(number: Option<&str>, batches: u32, but: &str) -> Checkpoint {
    let (mut entries, mut values) = (Vec::new(), Vec::new());
    for variable in model().iter().filter(|variable| variable.name != but) {
        let Variable { name, shape, dtype, .. } = variable;
        let begin = values.len();
        let is_number = name == "adam/accumulated_batches";
        let value = if is_number { batches } else { 0 };
        values.extend(vec![value; shape.elements()].iter().flat_map(|value| value.to_le_bytes()));
        let (dtype, end) = (dtype.to_string().to_uppercase(), values.len());
        let dtype = number.filter(|_| is_number).map_or(dtype, str::to_owned);
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{:?},"data_offsets":[{begin},{end}]}}"#,
            &shape[..]
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    let length = (header.len() as u64).to_le_bytes();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("step-6.safetensors");
    fs::write(&file, [&length[..], header.as_bytes(), &values].concat()).unwrap();
    Checkpoint::open(&file).unwrap()
}

const RULE: &str = "{adam/accumulated_batches,**/adam/gradient_accumulator}";

#[track_caller]
fn assert_told(checkpoint: &Checkpoint, options: &RestoreOptions, error: &str) {
    let plan = checkpoint.plan_for(&model(), options);
    let text = plan.to_string();
    assert!(!plan.closes(), "{text}");
    let error = format!("error: {error}. Nothing on the device was changed.");
    assert!(text.contains(&error), "{error}\n{text}");
    let help = format!(
        "help: `.ignore(\"{RULE}\")` leaves out all of them, so that the next update begins anew, \
         without these batches; `.allow_slots_alone()` restores them beside values"
    );
    assert!(text.contains(&help), "{help}\n{text}");
    // What is advised mends it, either way.
    let anew = checkpoint.plan_for(&model(), &options.clone().ignore(RULE));
    assert!(anew.closes(), "{anew}");
    let names: Vec<&str> = anew.restored().map(|variable| variable.name.as_str()).collect();
    assert!(names.iter().all(|name| !name.contains("accumulat")), "{names:?}");
    let allowed = checkpoint.plan_for(&model(), &options.clone().allow_slots_alone());
    let text = allowed.to_string();
    assert!(allowed.closes() && text.contains("note: the gradients"), "{text}");
    assert!(text.contains(" has accumulated: restored without "), "{text}");
}

#[test]
fn sums_of_a_part_of_the_variables_are_an_error() {
    let error = "the gradients of 2 batches that adam has accumulated would be restored without \
                 those of `head/weight`, `head/bias`, and divided by as many batches all the same";
    assert_told(&saved(2, ""), &RestoreOptions::new().ignore("head/**"), error);
    let error = "the gradients of 1 batch that adam has accumulated would be restored without those \
                 of `body/bias`, and divided by as many batches all the same";
    let missing = saved(1, "body/bias/adam/gradient_accumulator");
    assert_told(&missing, &RestoreOptions::new().allow_missing(), error);
}

#[test]
fn sums_without_their_number_are_an_error() {
    let ignored = RestoreOptions::new().ignore("adam/*");
    let error = "the gradients of 3 batches that adam has accumulated would be restored without \
                 the number of these batches, `adam/accumulated_batches`";
    assert_told(&saved(3, ""), &ignored, error);
    let error = "the gradients that adam has accumulated would be restored without the number of \
                 these batches, `adam/accumulated_batches`";
    let missing = saved(0, "adam/accumulated_batches");
    assert_told(&missing, &RestoreOptions::new().allow_missing(), error);
}

#[test]
fn between_two_updates_nothing_is_in_parts() {
    let checkpoint = saved(0, "");
    for glob in ["head/**", "adam/*", "body/bias/adam/gradient_accumulator"] {
        let plan = checkpoint.plan_for(&model(), &RestoreOptions::new().ignore(glob));
        assert!(plan.closes() && !plan.to_string().contains("accumulated:"), "{glob}: {plan}");
    }
    // All of it, and none of it, are no parts either.
    for options in [RestoreOptions::new(), RestoreOptions::new().ignore(RULE)] {
        let plan = saved(2, "").plan_for(&model(), &options);
        assert!(plan.closes() && !plan.to_string().contains("accumulated:"), "{plan}");
    }
}

#[test]
fn a_number_is_what_its_dtype_says() {
    let batches = |dtype: &str, bits: u32| {
        let options = RestoreOptions::new().ignore("adam/*");
        let plan = saved_as(Some(dtype), bits, "").plan_for(&model(), &options);
        let text = plan.to_string();
        (!plan.closes()).then(|| {
            let of = text.split("the gradients").nth(1).unwrap_or_default();
            of.strip_prefix(" of ").and_then(|of| of.split(' ').next()).unwrap_or("?").to_owned()
        })
    };
    let told = |batches: &str| Some(batches.to_owned());
    assert_eq!(batches("F32", 1f32.to_bits()), told("1"));
    assert_eq!(batches("F32", 1.5f32.to_bits()), told("?"));
    assert_eq!(batches("F32", f32::NAN.to_bits()), told("?"));
    assert_eq!(batches("I32", 3), told("3"));
    assert_eq!(batches("I32", -1i32 as u32), told("?"));
    // Minus zero is no more.
    assert_eq!(batches("F32", (-0f32).to_bits()), None);
}

#[test]
fn a_damaged_number_is_not_believed() {
    let mut session = Session::new(&Gpu::new().unwrap());
    session.declare(&model()).unwrap();
    session.initialize_missing(1).unwrap();
    let number = "adam/accumulated_batches";
    session.assign(number, &TensorData::from(2u32)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("model.safetensors");
    save(&session, &file, &SaveOptions::new()).unwrap();
    let place = Checkpoint::open(&file).unwrap().tensor(number).unwrap().range.start as usize;
    let mut bytes = fs::read(&file).unwrap();
    assert_eq!(bytes[place], 2);
    // As if there was nothing accumulated, so that a part would do no harm.
    bytes[place] = 0;
    fs::write(&file, bytes).unwrap();
    let checkpoint = Checkpoint::open(&file).unwrap();
    let part = RestoreOptions::new().ignore("head/**");
    let plan = checkpoint.plan_for(&model(), &part);
    let damage = format!(
        "error: the gradients that adam has accumulated (of how many batches is not known: the bytes of \
         tensor `{number}` at file offset {place} are not as they were written) would be restored \
         without those of"
    );
    assert!(!plan.closes() && plan.to_string().contains(&damage), "{damage}\n{plan}");
    // Nobody else would tell of it where the number itself is left out.
    let plan = checkpoint.plan_for(&model(), &RestoreOptions::new().ignore(number));
    assert!(plan.to_string().contains("are not as they were written) would be"), "{plan}");
    let plan = checkpoint.plan_for(&model(), &part.skip_checksums());
    assert!(plan.closes(), "{plan}");
}
