//! Kernels timed by the device.

use warmstart_gpu::{Feed, Gpu, RunError, Session};
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
