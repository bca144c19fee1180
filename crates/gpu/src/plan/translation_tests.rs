//! Kernels as other devices get them: naga translates each for Vulkan, Metal and DX12, and none takes
//! more than any GPU has. The drivers of those compile what comes out, which cannot be tried here. Who has
//! a compiler of HLSL gets all texts by
//! `WARMSTART_WRITE_HLSL=/tmp/hlsl cargo test --workspace --lib translated`.

use super::*;
use crate::compile::{Access, Dispatch, Does, Place, Step, bound_as_written, compile};
use crate::device::pipelines::ZEROED_WORKGROUP_MEMORY;
use crate::transfer::cast::SourceDType;
use naga::back::{hlsl, msl, pipeline_constants, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, ShaderStage};
use std::collections::BTreeSet;
use warmstart_graph::{Initializer, LossScaling, NodeId, Optimizer, Schedule, Scope, gradients};
use warmstart_shaders as shaders;

/// What `wgpu` promises of any adapter with its default limits.
fn limits() -> wgpu::Limits {
    wgpu::Limits::defaults()
}

/// A GPU of which no more is known.
fn any_gpu() -> Target {
    let limits = limits();
    Target {
        is_cpu: false,
        ends_no_loops: false,
        maker: "other",
        subgroup_size: None,
        least_subgroup: None,
        has_int64: false,
        has_f16: false,
        cooperative: None,
        storage_buffers: limits.max_storage_buffers_per_shader_stage as usize,
        binding_bytes: limits.max_storage_buffer_binding_size,
        workgroups: limits.max_compute_workgroups_per_dimension,
        shipped: crate::compile::classes::release_table,
        alternatives: true,
        subgroup_rows: false,
        in_place: true,
        spare: 0,
        keeps: true,
    }
}

/// A GPU, one with `f16`, one with subgroups of which no more is known, two with cooperative matrices,
/// Windows' software adapter, and Mesa's.
fn targets() -> [(&'static str, Target); 7] {
    let gpu = any_gpu();
    let with_f16 = Target { has_f16: true, ..gpu };
    let of_subgroups = |subgroup_size, least, target| Target {
        subgroup_size,
        least_subgroup: Some(least),
        ..target
    };
    let with_matrices =
        |size| Target { cooperative: Some(size), ..of_subgroups(Some(32), 32, with_f16) };
    let software = Target { is_cpu: true, has_int64: true, has_f16: true, ..gpu };
    [
        ("GPU", gpu),
        ("GPU with f16", with_f16),
        ("GPU with subgroups", of_subgroups(None, 8, gpu)),
        ("GPU with matrices of 8 x 8", with_matrices(8)),
        ("GPU with matrices of 16 x 16", with_matrices(16)),
        ("software, subgroups of 4", of_subgroups(Some(4), 4, software)),
        ("software, subgroups of 8", of_subgroups(Some(8), 8, software)),
    ]
}

/// Translates a kernel to all three languages, as `wgpu` does, and holds it against the limits.
/// Cooperative matrices are nothing that DX12 has, and on Metal they are of 8 x 8.
pub(crate) fn translate(what: &str, source: &str, constants: &[(&str, f64)]) {
    let module = naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{what}: {}", error.emit_to_string(source)));
    let capabilities = Capabilities::default()
        | Capabilities::SUBGROUP
        | Capabilities::SHADER_FLOAT16
        | Capabilities::SHADER_FLOAT16_IN_FLOAT32
        | Capabilities::SHADER_INT64
        | Capabilities::COOPERATIVE_MATRIX;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{what}: {}", error.emit_to_string(source)));
    let constants = constants.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    let entry = (ShaderStage::Compute, "main");
    let (module, info) =
        pipeline_constants::process_overrides(&module, &info, Some(entry), &constants)
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    within_limits(what, &module);

    let checked = BoundsCheckPolicies {
        index: BoundsCheckPolicy::Restrict,
        buffer: BoundsCheckPolicy::Restrict,
        ..Default::default()
    };
    // Subgroups and 64 bits take newer languages than all else.
    let is_new = source.contains("subgroup") || source.contains("u64");
    let is_half = source.contains("enable f16;");

    let options = spv::Options {
        lang_version: if is_new { (1, 3) } else { (1, 0) },
        bounds_check_policies: checked,
        ..Default::default()
    };
    let pipeline =
        spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".to_owned() };
    let words = spv::write_vec(&module, &info, &options, Some(&pipeline))
        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert!(!words.is_empty(), "{what}");
    if source.contains("coop_mat16x16") {
        return;
    }

    let options = msl::Options {
        lang_version: if is_new { (2, 4) } else { (2, 1) },
        bounds_check_policies: checked,
        ..Default::default()
    };
    let main = || Some((ShaderStage::Compute, "main".to_owned()));
    let pipeline = msl::PipelineOptions { entry_point: main(), ..Default::default() };
    let (text, translated) = msl::write_string(&module, &info, &options, &pipeline)
        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert!(text.contains("kernel void"), "{what}: {text}");
    assert!(translated.entry_point_names.iter().all(Result::is_ok), "{what}: {text}");

    if source.contains("coop_mat8x8") {
        return;
    }
    // The language that suffices, which decides whether Windows' own compiler will do, and a new one,
    // which `wgpu` takes where a program brings DXC along.
    let least = match (is_half, is_new) {
        (true, _) => hlsl::ShaderModel::V6_2,
        (_, true) => hlsl::ShaderModel::V6_0,
        _ => hlsl::ShaderModel::V5_1,
    };
    for shader_model in [least, hlsl::ShaderModel::V6_8] {
        let options = hlsl::Options {
            shader_model,
            special_constants_binding: Some(hlsl::BindTarget { space: 9, ..Default::default() }),
            zero_initialize_workgroup_memory: ZEROED_WORKGROUP_MEMORY,
            ..Default::default()
        };
        let mut text = String::new();
        let pipeline = hlsl::PipelineOptions { entry_point: main() };
        let translated = hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert!(text.contains("numthreads"), "{what}: {text}");
        assert!(translated.entry_point_names.iter().all(Result::is_ok), "{what}: {text}");
        is_taken_by_compilers(what, &text);
        write_hlsl(what, &text, shader_model);
    }
}

/// Holds HLSL against what its compilers refused of ours before: a function that is there twice, one that
/// ends in a `switch`, of which Windows' own (FXC) may say that "not all control paths return a value", and
/// zeros for all of a tile, with which that does not get to an end.
fn is_taken_by_compilers(what: &str, text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    for shared in lines.iter().filter_map(|line| line.strip_prefix("groupshared ")) {
        let name = shared.split_once(' ').and_then(|(_, name)| name.split_once('['));
        let Some((name, _)) = name else { continue };
        let zeros = |line: &&str| line.trim_start().starts_with(&format!("{name} = ("));
        assert!(!lines.iter().any(zeros), "{what}: zeros for `{name}`: {text}");
    }
    let mut begun: Option<&str> = None;
    let mut seen = BTreeSet::new();
    for pair in lines.windows(2) {
        let (line, next) = (pair[0], pair[1]);
        let is_outside = |line: &str| !line.starts_with(char::is_whitespace) && line != "}";
        if is_outside(line) && line.contains('(') && (line.ends_with('{') || next == "{") {
            let head = line.trim_end_matches([' ', '{']);
            assert!(seen.insert(head), "{what}: `{head}` is there twice: {text}");
            begun = Some(head);
        } else if next == "}"
            && let Some(head) = begun.take()
        {
            let ends = line.starts_with("    return") || head.starts_with("void ");
            assert!(ends, "{what}: `{head}` does not end in a return: {text}");
        }
    }
    assert!(seen.iter().any(|head| head.starts_with("void main(")), "{what}: {text}");
}

/// Writes it where compilers are to find it: into the folder that `WARMSTART_WRITE_HLSL` names, below one
/// with the name of the language.
fn write_hlsl(what: &str, text: &str, shader_model: hlsl::ShaderModel) {
    let Some(folder) = std::env::var_os("WARMSTART_WRITE_HLSL") else { return };
    let folder = std::path::Path::new(&folder).join(shader_model.to_str());
    let name = format!("{:016x}.hlsl", twox_hash::XxHash3_64::oneshot(text.as_bytes()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), format!("// {what}\n{text}")).unwrap();
}

fn within_limits(what: &str, module: &naga::Module) {
    let limits = limits();
    let [x, y, z] = module.entry_points[0].workgroup_size;
    assert!(x <= limits.max_compute_workgroup_size_x, "{what}: {x}");
    assert!(y <= limits.max_compute_workgroup_size_y, "{what}: {y}");
    assert_eq!(z, 1, "{what}");
    assert!(x * y <= limits.max_compute_invocations_per_workgroup, "{what}: {x} x {y}");
    let in_workgroup = |space| space == AddressSpace::WorkGroup;
    let variables = || module.global_variables.iter().map(|(_, variable)| variable);
    let shared: u32 = variables()
        .filter(|variable| in_workgroup(variable.space))
        .map(|variable| module.types[variable.ty].inner.size(module.to_ctx()))
        .sum();
    assert!(shared <= limits.max_compute_workgroup_storage_size, "{what}: {shared} bytes");
    let bound = variables().filter(|variable| variable.binding.is_some()).count();
    assert!(bound <= limits.max_storage_buffers_per_shader_stage as usize, "{what}: {bound}");
}

/// A kernel as it is where all that it reads lies in one buffer with what it writes.
fn all_written(dispatch: &Dispatch, source: &str) -> String {
    let places = dispatch.bindings.iter().enumerate();
    let values = places.filter(|(_, (place, access))| {
        let is_value = matches!(place, Place::Value(_) | Place::Scratch(_) | Place::Packed(_));
        is_value && *access == Access::Read
    });
    values.fold(source.to_owned(), |source, (at, _)| {
        let other = bound_as_written(&source, at);
        assert_ne!(source, other, "binding {at}");
        other
    })
}

/// Translates all kernels of a plan, and those that might be taken in their place; gives the families.
fn translate_plan(
    what: &str,
    graph: &Graph,
    fetches: &[Tensor<'_>],
    updates: &[Update<'_>],
    target: Target,
) -> BTreeSet<&'static str> {
    let def = graph.finish().unwrap();
    let fetches: Vec<NodeId> = fetches.iter().map(|tensor| tensor.id()).collect();
    let updates: Vec<NodeId> = updates.iter().map(|update| update.id()).collect();
    let program = compile(&def, &fetches, &updates, target).unwrap();
    let mut kernels = BTreeSet::new();
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut one = |kernel: &'static str, source: &str, constants: &[(&str, f64)]| {
        kernels.insert(kernel);
        let key = (source.to_owned(), format!("{constants:?}"));
        if !seen.contains(&key) {
            translate(&format!("{what}: {kernel}"), source, constants);
            seen.push(key);
        }
    };
    for step in &program.steps {
        match step {
            Step::Dispatch(dispatch) => {
                let Dispatch { kernel, source, constants, workgroups, .. } = dispatch;
                assert!(workgroups.iter().all(|&groups| groups <= target.workgroups));
                one(kernel, source, constants);
                one(kernel, &all_written(dispatch, source), constants);
                for other in &dispatch.alternatives {
                    one(other.kernel, &other.source, &other.constants);
                    one(other.kernel, &all_written(dispatch, &other.source), &other.constants);
                }
            }
            Step::Optimizer(step) => {
                let fits = step.bound() + step.counted.len() <= target.storage_buffers;
                let both = if fits { &[Does::Both][..] } else { &[] };
                for does in both.iter().copied().chain([Does::Updates, Does::Counts]) {
                    let source = step.source(does, target);
                    one("optimizer", &source, &step.constants(7));
                }
            }
        }
    }
    kernels
}

fn layers<'g>(scope: &Scope<'g>, x: Tensor<'g>) -> Tensor<'g> {
    let hidden = scope.recompute(|scope| scope.scope("fc1").linear(x, 128).gelu());
    let hidden = scope.scope("ln").layer_norm(hidden, 1e-5);
    let hidden = scope.keep_f16(|scope| scope.scope("fc2").linear(hidden, 64).relu());
    scope.scope("fc3").linear(hidden.dropout("hidden", 0.1), 10)
}

/// A classifier with most of what training can ask for.
#[test]
fn kernels_of_a_classifier_are_translated() {
    for (name, target) in targets() {
        for in_f16 in [false, true] {
            let graph = Graph::new();
            let x = graph.placeholder("x", [96, 70], DType::F32);
            let labels = graph.placeholder("labels", [96], DType::I32);
            let root = graph.root();
            let logits =
                if in_f16 { root.compute_f16(|scope| layers(scope, x)) } else { layers(&root, x) };
            let loss = logits.softmax_cross_entropy_smoothed(labels, 0.1);
            let schedule = Schedule::cosine(1e-2, 1e-4, 100).warm_up(5);
            let step = Optimizer::adamw(schedule)
                .clip_global_norm(1.0)
                .loss_scaling(LossScaling::new())
                .gradient_accumulation_steps(if in_f16 { 4 } else { 1 })
                .minimize(loss);
            let fetches = [loss, logits.accuracy(labels), logits.softmax(), step.gradient_norm];
            let what = format!("{name}, in f16: {in_f16}");
            let kernels = translate_plan(&what, &graph, &fetches, &[step.update], target);
            let families = ["cross_entropy", "softmax", "argmax", "squares", "optimizer"];
            for kernel in families.into_iter().chain(["layer_norm", "layer_norm_gradient"]) {
                assert!(kernels.contains(kernel), "{what}: {kernels:?}");
            }
            assert!(kernels.iter().any(|kernel| kernel.starts_with("matmul")), "{kernels:?}");
            let by_matrices = in_f16 && target.cooperative.is_some();
            assert_eq!(kernels.contains("matmul_cooperative"), by_matrices, "{kernels:?}");
        }
    }
}

/// All that is no classifier: tables, views, reductions, batches of products, stored `f16` and `bf16`,
/// bytes.
#[test]
fn kernels_of_everything_else_are_translated() {
    for (name, target) in targets() {
        let graph = Graph::new();
        let words = graph.placeholder("words", [6, 5], DType::I32);
        let table = graph.scope("words").embedding(words, 40, 16);
        let root = graph.root();
        let stored = |name: &str, dtype| {
            root.state_of(name, [16, 24], dtype, Initializer::GlorotUniform).cast(DType::F32)
        };
        let (half, bfloat) = (stored("half", DType::F16), stored("bfloat", DType::Bf16));
        let heads = table.matmul(half).matmul_with(table.matmul(bfloat), false, true);
        let mixed = heads.log_softmax().matmul(table).transpose(&[1, 0, 2]);
        let parts = mixed
            .slice(2, 3, 11)
            .pad(&[1, 0, 2], [7, 6, 12])
            .concat(&[mixed.slice_box(&[0, 0, 1], [5, 6, 12])], 0);
        let normal = (parts - parts.mean(&[1]).reshape([12, 1, 12]))
            / (parts.square().sum_keep_dims(&[1]) + 1e-5).sqrt();
        let vector =
            normal.reshape([72, 12]).matmul(graph.variable("vector", [12, 1], Initializer::Ones));
        let long = graph.placeholder("long", [4096, 6], DType::F32);
        let few = long.matmul_with(long, true, false);
        let loss = vector.huber(graph.constant(0.5f32), 1.0)
            + normal.reduce_max(&[0, 2]).square().mean_all()
            + few.mean_all();
        let step = Optimizer::sgd(0.1).momentum(0.9).nesterov().weight_decay(1e-4).minimize(loss);
        let moved = graph.root().state_of("moved", [16, 24], DType::Bf16, Initializer::Zeros);
        let assigned = half.cast(DType::Bf16).assign_to(moved);
        let bytes = graph.placeholder("bytes", [40, 12], DType::U8);
        let weight = graph.variable("weight", [12, 8], Initializer::Ones);
        let part = graph.placeholder("part", [7, 8], DType::F32);
        let pixels = (bytes.cast(DType::F32) / 255.0).matmul(weight);
        let some = (0.5 * bytes.slice(1, 2, 9).cast(DType::F32)).matmul(part);
        let fetches = [loss, normal, few, parts.max(parts.sign().floor()).sum(&[2]), pixels, some];
        let kernels = translate_plan(name, &graph, &fetches, &[step.update, assigned], target);
        let families = ["scatter", "reduce", "softmax", "elementwise", "optimizer_scalars"];
        for kernel in families.into_iter().chain(["optimizer"]) {
            assert!(kernels.contains(kernel), "{name}: {kernels:?}");
        }
    }
}

#[test]
fn every_function_of_elements_is_translated() {
    let graph = Graph::new();
    let x = graph.placeholder("x", [33], DType::F32);
    let y = graph.placeholder("y", [33], DType::F32);
    let functions = [
        [x.exp(), x.expm1(), x.log(), x.sqrt(), x.rsqrt(), x.abs(), x.square(), x.cos()],
        [x.sin(), x.sign(), x.floor(), x.relu(), x.gelu(), x.gelu_tanh(), x.silu(), x.tanh()],
        [x.sigmoid(), x.softplus(), x.erf(), x.leaky_relu(0.1), -x, x.min(y), x.max(y), x.pow(y)],
        [x / y, x - y, x * y, x.greater(y), x.equal(y), x.greater(y).select(x, y), x + y, x + 1.0],
    ];
    let functions = functions.concat();
    let loss = functions.iter().skip(1).fold(functions[0], |sum, next| sum + *next).sum_all();
    let slopes = gradients(loss, &[x, y]);
    let fetches: Vec<Tensor<'_>> =
        functions.iter().copied().chain(slopes.into_iter().flatten()).collect();
    translate_plan("functions", &graph, &fetches, &[], any_gpu());
}

/// Kernels that belong to no plan.
#[test]
fn kernels_of_no_plan_are_translated() {
    for (name, parts) in shaders::ALL {
        let source = shaders::fill(&parts.concat(), &[]);
        let enable = match *name {
            "matmul_cooperative" => shaders::ENABLE_COOPERATIVE_MATRIX,
            _ => "",
        };
        translate(name, &[enable, &source].concat(), &[]);
    }
    let initialize = [shaders::PHILOX, shaders::HALF, shaders::INITIALIZE].concat();
    for (kind, (half, bfloat)) in
        (0..4).flat_map(|kind| [(0, 0), (1, 0), (1, 1)].map(|half| (kind, half)))
    {
        let constants = [("KIND", kind.into()), ("HALF", half.into()), ("BFLOAT", bfloat.into())];
        translate(&format!("initialize {constants:?}"), &initialize, &constants);
    }
    let convert = [shaders::HALF, shaders::CONVERT].concat();
    for from in SourceDType::ALL.map(|from| from as u32) {
        for to in [DType::F32, DType::F16, DType::Bf16, DType::I32, DType::U32] {
            for (transpose, parity) in [(0, 0), (1, 0), (1, 1)] {
                let constants = [
                    ("source_dtype", from.into()),
                    ("variable_dtype", f64::from(SourceDType::from(to) as u32)),
                    ("transpose", transpose.into()),
                    ("parity", parity.into()),
                ];
                translate(&format!("convert {constants:?}"), &convert, &constants);
            }
        }
    }
}
