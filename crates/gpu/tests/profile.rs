//! Kernels timed by the device.

use warmstart_gpu::{DeviceDataset, Feed, Gpu, RunError, Session, Steps};
use warmstart_graph::{DType, Graph, Optimizer};

#[test]
fn a_profile_times_every_dispatch_and_trains_like_a_run() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [64, 64], DType::F32);
    let loss = graph.scope("fc").linear(x, 64).relu().square().mean_all();
    let step = Optimizer::sgd(0.1).minimize(loss);
    let inputs: Vec<f32> = (0..64 * 64).map(|i| (i % 13) as f32 / 13.0).collect();
    let feeds = [("x", Feed::from(&inputs))];
    let gpu = Gpu::new().expect("an adapter");
    let mut trained = Vec::new();
    for profiled in [false, true] {
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[loss], &[step.update]).expect("it compiles");
        session.initialize_missing(7).expect("it initializes");
        if profiled {
            match session.profile(&plan, &feeds) {
                Ok(profile) => {
                    assert_eq!(profile.dispatches.len(), plan.dispatches().len());
                    assert!(profile.total().as_nanos() > 0, "{profile}");
                    assert!(profile.to_string().contains("matmul+add+relu"), "{profile}");
                    assert!(
                        profile.span() >= profile.dispatches.iter().map(|d| d.time).max().unwrap()
                    );
                    assert!((0.0..1.0).contains(&profile.idle_share()), "{profile}");
                    assert!(profile.dispatches[0].start.is_zero(), "{profile}");
                    let trace = profile.chrome_trace();
                    assert!(trace.contains("\"name\":\"matmul+add+relu\""), "{trace}");
                }
                // An adapter without timestamps says so, and nothing was run.
                Err(RunError::NoTimestamps) => {
                    session.run(&plan, &feeds).expect("it runs").wait().expect("it ends");
                }
                Err(error) => panic!("{error}"),
            }
        } else {
            session.run(&plan, &feeds).expect("it runs").wait().expect("it ends");
        }
        trained.push(session.read("fc/weight").expect("it is trained").to_le_bytes());
    }
    assert!(trained[0] == trained[1], "a profiled step changes weights otherwise than a run");
}

/// Steps whose batches come from a data set: what gathers them is a kernel like the others, and weights are
/// those of the same steps without timestamps.
#[test]
fn a_profile_of_steps_has_the_kernel_between_them() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [4, 6], DType::F32);
    let loss = graph.scope("fc").linear(x, 5).square().mean_all();
    let step = Optimizer::sgd(0.1).minimize(loss);
    let inputs: Vec<f32> = (0..8 * 6).map(|i| (i % 13) as f32 / 13.0).collect();
    let rows: [u32; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 7, 3, 1, 0];
    let gpu = Gpu::new().expect("an adapter");
    let data = DeviceDataset::new(&gpu, 8, &[("x", (&inputs).into())]).expect("it fits");
    let train = |profiled: bool| {
        let mut session = Session::new(&gpu);
        let plan = session.compile(&graph, &[loss], &[step.update]).expect("it compiles");
        session.initialize_missing(7).expect("it initializes");
        let steps = Steps::rows(&data, &rows);
        let profile = match profiled {
            true => session.profile_steps(&plan, &steps).map(Some),
            false => session.run_steps(&plan, &steps).map(|_| None),
        };
        let each = plan.dispatches();
        (profile, each, session.read("fc/weight").expect("it is trained").to_le_bytes())
    };
    let (profile, each, weights) = train(true);
    let profile = match profile {
        Err(RunError::NoTimestamps) => return,
        profile => profile.expect("it runs").expect("it is timed"),
    };
    // One of them before each step, and the plan's own in order.
    let kernels: Vec<_> = profile.dispatches.iter().map(|timed| &timed.info).collect();
    assert_eq!(kernels.len(), 3 * (1 + each.len()), "{profile}");
    for step in kernels.chunks(1 + each.len()) {
        assert_eq!(step[0].kernel, "between");
        assert_eq!(step[0].operations, "gather x, keep scalar");
        assert!(step[1..].iter().copied().eq(&each), "{profile}");
    }
    assert!(profile.chrome_trace().contains("\"name\":\"gather x, keep scalar\""));
    assert!(weights == train(false).2, "profiled steps change weights otherwise");
}

/// Whoever has measured the ceilings finds them in every profile after that.
#[test]
fn a_profile_has_the_ceilings_that_were_measured() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [64, 64], DType::F32);
    let product = x.matmul(x);
    let gpu = Gpu::new().expect("an adapter");
    let mut session = Session::new(&gpu);
    let plan = session.compile(&graph, &[product], &[]).expect("it compiles");
    let inputs = vec![0.5f32; 64 * 64];
    let feeds = [("x", Feed::from(&inputs))];
    let before = match session.profile(&plan, &feeds) {
        Err(RunError::NoTimestamps) => return,
        profile => profile.expect("it runs"),
    };
    assert!(before.roof.is_none() && !before.to_string().contains("of ceiling"), "{before}");
    let roof = gpu.measure_ceilings().expect("they are measured");
    let after = session.profile(&plan, &feeds).expect("it runs");
    assert_eq!(after.roof, Some(roof));
    assert!(after.to_string().contains("of ceiling"), "{after}");
    assert!(after.chrome_trace().contains("\"bound_by\""), "{after}");
}
