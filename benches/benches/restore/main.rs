//! How fast a checkpoint gets into the memory of variables, beside the ceilings of this machine in
//! the same run.
//!
//! Each round runs every arm once, so that what else the machine does hits all of them alike. Rates
//! are of the median round. `WARMSTART_BENCH_FULL=1` adds rows of 1 GiB.

#[cfg(target_os = "linux")]
mod arms;
#[cfg(target_os = "linux")]
mod resources;
#[cfg(target_os = "linux")]
mod ways;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    arms::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!(
        "The restore benchmark needs Linux: it asks /proc for memory, and the page cache what it holds."
    );
}
