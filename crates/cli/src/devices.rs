//! `warmstart devices`: what there is to run on.

use crate::Answer;
use crate::error::Failure;
use crate::text::{self, HEADING, styled};
use serde_json::{Value, json};
use std::io::Write;
use warmstart_gpu::{AdapterChoice, AdapterSummary, Gpu, GpuError, GpuOptions, MemoryKind};
use wgpu::Features;

/// List the adapters, what they can do, and how weights would get into their memory
///
/// The first is the one that is used if nothing else is said. WGPU_BACKEND and WGPU_ADAPTER_NAME
/// say otherwise.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart devices
  WGPU_BACKEND=vulkan warmstart devices --json

Exit codes: 0 at least one adapter can be used, 1 there is none, or none that
WGPU_ADAPTER_NAME names, 2 error")]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const FEATURES: [(&str, Features); 4] = [
    ("f16", Features::SHADER_F16),
    ("subgroups", Features::SUBGROUP),
    ("timestamps", Features::TIMESTAMP_QUERY),
    ("cooperative matrices", Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
];

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    // What every other command would begin with, or fail by.
    let used = Gpu::new();
    if let Err(error @ (GpuError::UnknownBackend { .. } | GpuError::BackendNotBuilt { .. })) = used
    {
        // Before anything is listed that was not asked for.
        return Err(error.into());
    }
    let opened: Vec<(AdapterSummary, Result<Gpu, GpuError>)> = Gpu::adapters()
        .into_iter()
        .map(|summary| {
            let adapter = Some(AdapterChoice::Index(summary.index));
            (summary, Gpu::with(&GpuOptions { adapter, ..Default::default() }))
        })
        .collect();
    // A name in the environment may fit none of them.
    let named = !matches!(used, Err(GpuError::NoSuchAdapter { .. }));
    let any = named && opened.iter().any(|(_, gpu)| gpu.is_ok());
    if arguments.json {
        let devices = opened.iter().map(|(summary, gpu)| json_of(summary, gpu));
        text::print_json(out, &Value::Array(devices.collect()))?;
    } else {
        for (at, (summary, gpu)) in opened.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            print(out, summary, gpu)?;
        }
    }
    match used {
        // This says what to install.
        Err(error) if opened.is_empty() => text::say(format_args!("{error}")),
        Err(error @ GpuError::NoSuchAdapter { .. }) => {
            text::say(format_args!("{error}, or unset WGPU_ADAPTER_NAME"));
        }
        _ => {}
    }
    Ok(any.into())
}

/// How a restore fills variables, in words.
fn restore_path(memory: MemoryKind) -> &'static str {
    match memory {
        MemoryKind::Mappable => "from the file straight into the variables, which are mapped",
        MemoryKind::Staged => "from the file into staging buffers, which the device copies",
    }
}

pub fn memory_name(memory: MemoryKind) -> &'static str {
    match memory {
        MemoryKind::Mappable => "shared with the host",
        MemoryKind::Staged => "the device's own",
    }
}

fn print(
    out: &mut dyn Write,
    summary: &AdapterSummary,
    gpu: &Result<Gpu, GpuError>,
) -> Result<(), Failure> {
    writeln!(out, "{}", styled(HEADING, &format!("{}: {summary}", summary.index)))?;
    let mut line = |label: &str, text: String| writeln!(out, "  {label:<10} {text}");
    let gpu = match gpu {
        Ok(gpu) => gpu,
        Err(error) => return Ok(line("unusable", error.to_string())?),
    };
    line("memory", memory_name(gpu.memory()).to_owned())?;
    line("restore", restore_path(gpu.memory()).to_owned())?;
    let has = |&&(_, feature): &&(&str, Features)| summary.features.contains(feature);
    let (has, lacks): (Vec<_>, Vec<_>) = FEATURES.iter().partition(has);
    let names = |of: &[&(&str, Features)]| match of {
        [] => "nothing".to_owned(),
        of => of.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
    };
    line("has", names(&has))?;
    if !lacks.is_empty() {
        line("lacks", names(&lacks))?;
    }
    let limits = gpu.limits();
    line("buffer", format!("at most {}", text::bytes(limits.max_buffer_size)))?;
    let binding = limits.max_storage_buffer_binding_size;
    let buffers = limits.max_storage_buffers_per_shader_stage;
    line("binding", format!("at most {}, {buffers} in one kernel", text::bytes(binding)))?;
    let invocations = limits.max_compute_invocations_per_workgroup;
    let storage = u64::from(limits.max_compute_workgroup_storage_size);
    let groups = limits.max_compute_workgroups_per_dimension;
    line(
        "workgroup",
        format!("{invocations} invocations, {}, {groups} in a dimension", text::bytes(storage)),
    )?;
    Ok(())
}

fn json_of(summary: &AdapterSummary, gpu: &Result<Gpu, GpuError>) -> Value {
    let mut value = json!({
        "index": summary.index,
        "name": summary.name,
        "backend": format!("{:?}", summary.backend).to_lowercase(),
        "type": format!("{:?}", summary.device_type),
        "driver": summary.driver,
    });
    let gpu = match gpu {
        Ok(gpu) => gpu,
        Err(error) => {
            value["unusable"] = json!(error.to_string());
            return value;
        }
    };
    let limits = gpu.limits();
    value["memory"] = json!(match gpu.memory() {
        MemoryKind::Mappable => "mappable",
        MemoryKind::Staged => "staged",
    });
    for (name, feature) in FEATURES {
        value[name.replace(' ', "_")] = json!(summary.features.contains(feature));
    }
    value["limits"] = json!({
        "max_buffer_size": limits.max_buffer_size,
        "max_storage_buffer_binding_size": limits.max_storage_buffer_binding_size,
        "max_storage_buffers_per_shader_stage": limits.max_storage_buffers_per_shader_stage,
        "max_compute_invocations_per_workgroup": limits.max_compute_invocations_per_workgroup,
        "max_compute_workgroup_storage_size": limits.max_compute_workgroup_storage_size,
        "max_compute_workgroups_per_dimension": limits.max_compute_workgroups_per_dimension,
    });
    value
}
