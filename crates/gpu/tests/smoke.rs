use warmstart_gpu::*;
use warmstart_graph::reference::Reference;
use warmstart_graph::*;
#[test]
fn smoke() {
    let gpu = Gpu::new().unwrap();
    let graph = Graph::new();
    let x = graph.placeholder("x", [8, 16], DType::F32);
    let labels = graph.placeholder("labels", [8], DType::I32);
    let h = graph.scope("fc1").linear(x, 33).relu();
    let h = graph.scope("fc2").linear(h, 17).gelu();
    let logits = graph.scope("fc3").linear(h, 10);
    let loss = logits.softmax_cross_entropy(labels);
    let step = Optimizer::adam(Schedule::cosine(1e-2, 0.0, 50).warm_up(5))
        .clip_global_norm(0.5)
        .minimize(loss);
    let mut session = Session::new(&gpu);
    let t = std::time::Instant::now();
    let plan = session
        .compile(&graph, &[loss, step.gradient_norm, step.learning_rate, logits], &[step.update])
        .unwrap();
    println!("compiled in {:?}\n{plan}", t.elapsed());
    let def = graph.finish().unwrap();
    let mut reference = Reference::new(&def);
    let mut seed = 1u32;
    let mut random = || {
        seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
        (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    for v in &def.variables {
        let data = match v.dtype {
            DType::F32 if v.role == Role::Trainable => TensorData::new(
                &v.shape,
                (0..v.shape.elements()).map(|_| random()).collect::<Vec<_>>(),
            )
            .unwrap(),
            DType::F32 => TensorData::new(&v.shape, vec![0f32; v.shape.elements()]).unwrap(),
            _ => TensorData::from(0u32),
        };
        session.assign(&v.name, &data).unwrap();
        reference.assign(&v.name, &data);
    }
    for _ in 0..20 {
        let xs: Vec<f32> = (0..8 * 16).map(|_| random() * 4.0).collect();
        let ys: Vec<i32> = (0..8).map(|_| ((random() + 0.5) * 10.0) as i32).collect();
        reference.feed("x", &TensorData::new([8, 16], xs.clone()).unwrap());
        reference.feed("labels", &TensorData::new([8], ys.clone()).unwrap());
        let out = session.run(&plan, &[("x", (&xs).into()), ("labels", (&ys).into())]).unwrap();
        let want = reference
            .run(&[loss.id(), step.gradient_norm.id(), step.learning_rate.id(), step.update.id()])
            .unwrap();
        for (t, w) in [loss, step.gradient_norm, step.learning_rate].into_iter().zip(&want) {
            let got = out.scalar(t).unwrap();
            println!("{got} {}", w.elements[0]);
            assert!((f64::from(got) - w.elements[0]).abs() < 1e-4 * w.elements[0].abs());
        }
    }
    println!("{}", session.variables());
    let xs = vec![0.5f32; 128];
    let ys = vec![1i32; 8];
    let t = std::time::Instant::now();
    for _ in 0..500 {
        session.run(&plan, &[("x", (&xs).into()), ("labels", (&ys).into())]).unwrap();
    }
    session.run(&plan, &[("x", (&xs).into()), ("labels", (&ys).into())]).unwrap().wait().unwrap();
    println!("{:?} a step", t.elapsed() / 501);
}
