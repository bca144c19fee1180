//! How fast a checkpoint gets into the memory of variables, beside the ceilings of this machine in
//! the same run.
//!
//! Each round runs every arm once, so that what else the machine does hits all of them alike.
//! `WARMSTART_BENCH_FULL=1` adds rows of 1 GiB. What is measured lives in `warmstart-measure`;
//! `warmstart bench restore` shows a part of it.

mod report;

use warmstart_gpu::GpuOptions;
use warmstart_measure::{Devices, Workload, threads};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` says `--bench`, and after it what to run; `cargo test` only wants to know that
    // this builds and starts.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |argument: &String| argument.starts_with('-') || "restore".contains(&**argument);
    if !arguments.iter().any(|argument| argument == "--bench") || !arguments.iter().all(wanted) {
        return Ok(());
    }
    let full = std::env::var_os("WARMSTART_BENCH_FULL").is_some_and(|value| value == "1");
    let devices = Devices::open(&GpuOptions::default())?;
    let gpu = &devices.own;
    println!("restore: on {}, variables filled by {:?}", gpu.summary(), gpu.memory());
    println!(
        "{} threads. GB/s: median round, slowest and fastest. Of ceiling: of the fastest way to \
         read the file\ninto the same kind of memory without a device (through staging buffers: \
         of the copy out of them\nwhere that is slower), by medians (by fastest rounds). MiB: \
         peak resident memory above the\nvariables' own, mapped pages of the file included.",
        threads()
    );
    let directory = tempfile::tempdir()?;
    let mut loads: Vec<(&str, usize, u64, usize)> = vec![
        ("1 x 1 MiB", 1, 1 << 20, 9),
        ("64 x 4 MiB", 64, 4 << 20, 5),
        ("10000 x 4 KiB", 10_000, 4 << 10, 3),
    ];
    if full {
        loads.push(("256 x 4 MiB", 256, 4 << 20, 3));
        let largest = gpu.limits().max_storage_buffer_binding_size.min(1 << 30);
        loads.push(("the largest that one binding holds", 1, largest >> 20 << 20, 3));
    }
    for (name, count, each, rounds) in loads {
        let mut workload = Workload::new(gpu, directory.path(), count, each)?;
        report::report(name, &mut workload, &devices, rounds)?;
    }
    Ok(())
}
