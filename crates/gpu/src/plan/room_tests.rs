//! Memory that runs out while a plan is made, or for its first run: what is said, and that session and device
//! are as before. The device is one that refuses buffers as if it had no memory left.

use super::*;
use crate::device::gpu::{GpuOptions, MemoryKind, Refused};
use crate::error::SessionError;
use crate::left_out::left_out;
use crate::run::dataset::{DeviceDataset, DeviceDatasetError};
use crate::run::steps::Steps;
use crate::run_error::RunError;
use crate::tune::Tune;
use warmstart_graph::{Initializer, Optimizer, Role, TensorData, Variable};

/// Devices that fill variables in either way. The first may be as the second, where none can be mapped.
fn gpus() -> [Gpu; 2] {
    [MemoryKind::Mappable, MemoryKind::Staged].map(|memory| {
        let options =
            GpuOptions { memory: Some(memory), tune: Some(Tune::Off), ..Default::default() };
        Gpu::with(&options).unwrap()
    })
}

/// Layers of this width, which are trained on batches of so many rows. A table is written when it is
/// compiled.
fn layers(graph: &Graph, width: usize, batch: usize) -> (Tensor<'_>, Update<'_>) {
    let x = graph.placeholder("x", [batch, 8], DType::F32);
    let table: Vec<f32> = (0..8).map(|at| at as f32).collect();
    let x = x * graph.constant(TensorData::new([8], table).unwrap());
    let layer = |x, at| graph.scope(&format!("fc{at}")).linear(x, width).tanh();
    let loss = (0..4).fold(x, layer).square().mean_all();
    (loss, Optimizer::adam(0.1).clip_global_norm(1.0).minimize(loss).update)
}

fn compile(session: &mut Session, width: usize, batch: usize) -> Result<Plan, CompileError> {
    let graph = Graph::new();
    let (loss, update) = layers(&graph, width, batch);
    session.compile(&graph, &[loss], &[update])
}

fn planned(session: &Session, width: usize, batch: usize) -> PlanMemory {
    let graph = Graph::new();
    let (loss, update) = layers(&graph, width, batch);
    session.plan_memory(&graph, &[loss], &[update]).unwrap()
}

/// What a session has, and how many bytes of the device are taken.
fn state(session: &Session) -> (String, usize, Option<u64>) {
    (session.variables().to_string(), session.store.arenas().len(), session.gpu().taken())
}

/// A session with these variables, of so many elements each.
fn session(gpu: &Gpu, variables: &[(&str, usize)]) -> Session {
    let variable = |&(name, elements): &(&str, usize)| Variable {
        name: name.to_owned(),
        shape: [elements].into(),
        dtype: DType::F32,
        initializer: Initializer::Ones,
        role: Role::Trainable,
        location: Location::caller(),
    };
    let mut session = Session::new(gpu);
    session.declare(&variables.iter().map(variable).collect::<Vec<_>>()).unwrap();
    session.initialize_missing(1).unwrap();
    gpu.let_go();
    session
}

/// Whichever buffer there is no memory for: another model may have these names then, of other shapes.
#[test]
fn a_compile_that_fails_leaves_session_and_device_as_they_were() {
    for gpu in gpus() {
        let mut session = session(&gpu, &[("other", 3), ("fc3/bias", 16)]);
        let before = state(&session);
        let mut made = 0;
        loop {
            gpu.refuse(Some(Refused::After(made)));
            let Err(error) = compile(&mut session, 16, 64) else { break };
            // There is memory for it by the time that somebody asks how much.
            assert!(error.is_out_of_memory(), "{made}: {error}");
            assert_eq!(state(&session), before, "{made}: {error}");
            made += 1;
        }
        gpu.refuse(None);
        // What is fed and its three uploads, what is written, values, and variables.
        assert!(made >= 7, "{made}");
        // A variable that does not agree is found before any other is declared.
        let mut session = self::session(&gpu, &[("other", 3), ("fc3/bias", 5)]);
        let before = state(&session);
        let error = compile(&mut session, 16, 64).err().unwrap();
        let CompileError::Session(error) = error else { panic!("{error}") };
        assert!(matches!(*error, SessionError::Conflict(_)), "{error}");
        assert_eq!(state(&session), before);
        // Another model has these names, of other shapes.
        let mut session = self::session(&gpu, &[("other", 3)]);
        // Uploads come last, after all variables.
        gpu.refuse(Some(Refused::After(made - 3)));
        assert!(compile(&mut session, 16, 64).is_err());
        gpu.refuse(None);
        compile(&mut session, 24, 64).unwrap();
        assert_eq!(session.variable("fc3/bias").unwrap().shape()[..], [24]);
        assert!(session.variable("other").unwrap().origin.has_value());
    }
}

/// How much there is, is what was left beside the variables that the session had; what fits into that does.
#[test]
fn a_batch_without_room_is_told_how_much_there_is() {
    const WIDTH: usize = 256;
    const BATCH: usize = 1 << 14;
    for gpu in gpus() {
        gpu.let_go();
        let Some(taken) = gpu.taken() else {
            let why = "this adapter's backend does not tell how much memory is taken";
            return left_out("how much memory there is for a batch", why);
        };
        for is_held in [false, true] {
            let mut session = Session::new(&gpu);
            if is_held {
                drop(compile(&mut session, WIDTH, 1).unwrap());
            }
            let memory = planned(&session, WIDTH, BATCH);
            let bytes = memory.peak() + memory.variables;
            gpu.let_go();
            let before = state(&session);
            let held = if is_held { memory.variables } else { 0 };
            for left in [bytes / 3, bytes / 2] {
                gpu.refuse(Some(Refused::Beyond(gpu.taken().unwrap() + left)));
                let error = compile(&mut session, WIDTH, BATCH).err().unwrap();
                assert!(error.is_too_large(), "{error}");
                let CompileError::NoRoom { bytes: told, room } = error else { panic!("{error}") };
                assert_eq!(told, bytes);
                assert_eq!(state(&session), before);
                // It is asked for in 64 pieces; of what host and device share, uploads have a part.
                let uploads = match gpu.memory() {
                    MemoryKind::Mappable => memory.staging,
                    MemoryKind::Staged => 0,
                };
                let needed = bytes - held + uploads;
                let all = room - held + (room - held) * uploads / (bytes - held);
                let least = left - needed / 64 - (1 << 16);
                assert!((least..=left).contains(&all), "{room}, {held}, {left}: {all}");
                // A smaller batch, and a smaller model whose variables have other shapes.
                let fits = |batch: &usize| planned(&session, WIDTH, *batch).within(room / 8 * 7);
                let halves = std::iter::successors(Some(BATCH), |batch| Some(batch / 2));
                let fits = halves.take(14).find(|batch| fits(batch).is_ok()).unwrap();
                assert!(fits < BATCH);
                drop(compile(&mut session, WIDTH, fits).unwrap());
                drop(compile(&mut Session::new(&gpu), WIDTH / 4, fits).unwrap());
                gpu.refuse(None);
                if !is_held {
                    session = Session::new(&gpu);
                    gpu.let_go();
                }
            }
        }
        gpu.let_go();
        assert_eq!(gpu.taken(), Some(taken), "something was not let go of");
    }
}

/// Memory that runs out after compiling, too, is told with what to do, and once there is some the run is as if
/// it had not.
#[test]
fn runs_without_room_are_refused_with_what_to_do() {
    let [_, gpu] = gpus();
    let graph = Graph::new();
    let x = graph.placeholder("x", [2, 2], DType::F32);
    let count = graph.variable("count", [], Initializer::Zeros);
    let (next, squares) = (count + 1.0, x.square());
    let sum = squares.sum_all() + count;
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[squares, sum], &[next.assign_to(count)]).unwrap();
    session.initialize_missing(1).unwrap();
    let fed = [1.0f32, 2.0, 3.0, 4.0];
    let (columns, feeds) = ([("x", (&fed).into())], [("x", (&fed).into())]);
    let none = Some(Refused::Beyond(0));

    gpu.refuse(none);
    let refused = session.run(&plan, &feeds).err().unwrap();
    let text = "out of memory while making the readback of fetches (24 B); fetch less at once, use a \
                smaller batch or model, or free memory on the device";
    assert_eq!(refused.to_string(), text);
    gpu.refuse(None);
    assert_eq!(session.run(&plan, &feeds).unwrap().scalar(sum).unwrap(), 30.0);

    gpu.refuse(none);
    let refused = DeviceDataset::new(&gpu, 2, &columns).err().unwrap();
    let text = "out of device memory for column `x`, which takes 16 B; feed the batches from the host, \
                upload a part of the examples at a time, or free memory on the device";
    assert!(matches!(refused, DeviceDatasetError::NoRoom { bytes: 16, .. }), "{refused}");
    assert_eq!(refused.to_string(), text);
    gpu.refuse(None);

    // Of several steps each buffer may be the one too many: rows, scalars, uploads, and what is read back.
    let data = DeviceDataset::new(&gpu, 2, &columns).unwrap();
    let steps = Steps::rows(&data, &[0, 1, 1, 0, 0, 0]);
    let mut found = Vec::new();
    let outputs = loop {
        gpu.refuse(Some(Refused::After(found.len())));
        match session.run_steps(&plan, &steps) {
            Ok(outputs) => break outputs,
            Err(RunError::NoRoom { what, bytes, steps }) => {
                let text = RunError::NoRoom { what: what.clone(), bytes, steps }.to_string();
                assert_eq!(steps, 3);
                assert!(text.contains(" for 3 steps of one submission; submit fewer"), "{text}");
                found.push(what);
            }
            Err(error) => panic!("{error}"),
        }
    };
    gpu.refuse(None);
    assert_eq!(found.len(), 6, "{found:?}");
    assert_eq!(outputs.scalars(sum).unwrap()[..], [31.0, 32.0, 13.0]);

    // What stayed on the device can be asked for again.
    let outputs = session.run_unread(&plan, &Steps::repeat(1).feeds(&feeds)).unwrap();
    plan.readbacks.take(&gpu, 24).unwrap();
    gpu.refuse(none);
    let refused = outputs.tensor(sum).unwrap_err();
    assert!(matches!(refused, RunError::NoRoom { steps: 1, .. }), "{refused}");
    gpu.refuse(None);
    assert_eq!(outputs.tensor(sum).unwrap().to_f64(), [34.0]);
}
