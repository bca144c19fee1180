//! How fast a checkpoint gets into the memory of variables, beside the ceilings of this machine in
//! the same run.
//!
//! Each round runs every arm once, so that what else the machine does hits all of them alike.
//! `WARMSTART_BENCH_FULL=1` adds rows of 1 GiB.

#[cfg(target_os = "linux")]
mod arms;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod resources;
#[cfg(target_os = "linux")]
mod ways;
#[cfg(target_os = "linux")]
mod workload;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use warmstart_gpu::{Gpu, GpuOptions, MemoryKind};

    // `cargo bench` says `--bench`, and after it what to run; `cargo test` only wants to know that
    // this builds and starts.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |argument: &String| argument.starts_with('-') || "restore".contains(&**argument);
    if !arguments.iter().any(|argument| argument == "--bench") || !arguments.iter().all(wanted) {
        return Ok(());
    }
    let full = std::env::var_os("WARMSTART_BENCH_FULL").is_some_and(|value| value == "1");
    let gpu = Gpu::new()?;
    let staged = GpuOptions { memory: Some(MemoryKind::Staged), ..GpuOptions::default() };
    let gpus = [gpu.clone(), Gpu::with(&staged)?];
    println!("restore: on {}, variables filled by {:?}", gpu.summary(), gpu.memory());
    println!(
        "{} threads. GB/s: median round, slowest and fastest. Of ceiling: of the fastest way to \
         read the file\ninto the same kind of memory without a device, by medians (by fastest \
         rounds). MiB: peak resident\nmemory above the variables' own, mapped pages of the file \
         included.",
        ways::threads()
    );
    let directory = tempfile::tempdir()?;
    let mut loads: Vec<(usize, u64, usize)> =
        vec![(1, 1 << 20, 9), (64, 4 << 20, 5), (10_000, 4 << 10, 3)];
    if full {
        loads.push((256, 4 << 20, 3));
        let largest = gpu.limits().max_storage_buffer_binding_size.min(1 << 30);
        loads.push((1, largest >> 20 << 20, 3));
    }
    for (count, each, rounds) in loads {
        let mut workload = workload::Workload::new(&gpu, directory.path(), count, each)?;
        report::report(&mut workload, &gpus, rounds)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!(
        "The restore benchmark needs Linux: it asks /proc for memory, and the system what its \
         cache holds."
    );
}
