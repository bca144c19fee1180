//! The arms: where their programs are, and one run of one.

use crate::Outcome;
use peers_common::{Answer, Row};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

/// A peer's program.
pub struct Arm {
    /// Its name in answers.
    pub name: &'static str,
    /// Its name and version in the report.
    pub title: String,
    /// What starts it, or why it cannot be.
    program: Result<Vec<PathBuf>, String>,
}

/// What one run of an arm gave.
pub struct Run {
    /// What it printed.
    pub answer: Answer,
    /// From the start of the process until the answer was there.
    pub elapsed: Duration,
}

/// An arm that says nothing for so long is stopped.
const PATIENCE: Duration = Duration::from_secs(900);

impl Arm {
    /// All arms; the first is the one the others are held against.
    pub fn all() -> Outcome<Vec<Arm>> {
        let folder = env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default();
        let built = |name, title: &str, package| {
            let program = folder.join(format!("peers-{name}{}", env::consts::EXE_SUFFIX));
            let program =
                if program.exists() { Ok(vec![program]) } else { Err("not built".into()) };
            Arm { name, title: format!("{title} {}", locked_version(package)), program }
        };
        let python = python()?;
        let pytorch = |device: Device| {
            let arguments = |python: PathBuf, script| match device {
                Device::Cpu => vec![python, script],
                Device::Cuda => vec![python, script, PathBuf::from("--cuda")],
            };
            let script = env::current_dir()?.join("pytorch.py");
            let program = python.clone().map(|python| arguments(python, script));
            let (name, title) = match device {
                Device::Cpu => ("pytorch", "PyTorch (CPU)"),
                Device::Cuda => ("pytorch-cuda", "PyTorch (CUDA)"),
            };
            Outcome::Ok(Arm { name, title: title.to_owned(), program })
        };
        let mut arms = vec![
            built("warmstart", "warmstart", "warmstart"),
            built("meganeura", "meganeura", "meganeura"),
            built("burn", "burn (wgpu)", "burn"),
            pytorch(Device::Cpu)?,
        ];
        let has_cuda = "import sys, torch; sys.exit(not torch.cuda.is_available())";
        if python.as_ref().is_ok_and(|python| runs(python, has_cuda)) {
            arms.push(pytorch(Device::Cuda)?);
        }
        Ok(arms)
    }

    /// Whether it is a program of this workspace.
    pub fn is_built(&self) -> bool {
        ["warmstart", "meganeura", "burn"].contains(&self.name)
    }

    /// Why it cannot be started, if it cannot.
    pub fn missing(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }

    /// Starts the arm for one row, with all that it may cache in `caches`.
    pub fn run(&self, row: &Row, samples: usize, limit: Duration, caches: &Path) -> Outcome<Run> {
        let program = self.program.as_ref().map_err(String::clone)?;
        let mut errors = tempfile::tempfile()?;
        let start = Instant::now();
        let mut child = Command::new(&program[0])
            .args(&program[1..])
            .args([row.name(), samples.to_string(), limit.as_secs_f64().to_string()])
            .envs(cache_variables(caches))
            // By default warmstart's caches are where the user's are, which some systems find otherwise.
            .env("WARMSTART_CACHE", caches.join("warmstart"))
            .env_remove("WARMSTART_TUNE")
            .env_remove("WARMSTART_COOPERATIVE_MATRIX")
            .env("PEERS_THREADS", threads().to_string())
            // burn keeps its tuning in the `target` folder above the current one, if there is any.
            .current_dir(caches)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone()?)
            .spawn()?;
        let answer = wait_for_answer(&mut child);
        let elapsed = start.elapsed();
        let grace = if answer.is_ok() { Duration::from_secs(30) } else { Duration::ZERO };
        end(&mut child, grace)?;
        let line =
            answer?.ok_or_else(|| format!("it gave no answer: {}", last_line(&mut errors)))?;
        let answer: Answer = serde_json::from_str(&line)?;
        if answer.arm != self.name || answer.row != row.name() {
            return Err(format!("it answered for another arm or row: {line}").into());
        }
        Ok(Run { answer, elapsed })
    }
}

/// How many threads runtimes on the CPU may use.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Everything by which the arms and the drivers below them find their caches.
fn cache_variables(caches: &Path) -> [(&'static str, &Path); 4] {
    [
        ("PEERS_CACHE", caches),
        ("XDG_CACHE_HOME", caches),
        ("MESA_SHADER_CACHE_DIR", caches),
        ("__GL_SHADER_DISK_CACHE_PATH", caches),
    ]
}

/// The first line that looks like an answer. None if the process ends without.
fn wait_for_answer(child: &mut Child) -> Outcome<Option<String>> {
    let output = child.stdout.take().ok_or("the arm's output is not there")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let answer = lines.find(|line| line.starts_with("{\"arm\""));
        // Nobody listens any more if it took too long.
        let _ = sender.send(answer);
        lines.for_each(drop);
    });
    let late = |_| format!("it was stopped after {} s without an answer", PATIENCE.as_secs());
    Ok(receiver.recv_timeout(PATIENCE).map_err(late)?)
}

/// Waits until the process has ended, as it may still be writing its caches; ends it if that takes
/// longer than `grace`.
fn end(child: &mut Child, grace: Duration) -> Outcome<()> {
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() >= grace {
            child.kill()?;
            child.wait()?;
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The last thing that the arm had to say on its standard error.
fn last_line(errors: &mut File) -> String {
    let mut text = Vec::new();
    // What was read until an error is all there is to tell.
    let _ = errors.rewind().and_then(|()| errors.read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("it said nothing").chars().take(300).collect()
}

/// Where PyTorch computes.
#[derive(Clone, Copy)]
enum Device {
    Cpu,
    Cuda,
}

/// The Python that has PyTorch: that of `PEERS_PYTHON`, of set-up.sh, or of the system.
fn python() -> Outcome<Result<PathBuf, String>> {
    let here = env::current_dir()?.join("target/python/bin/python");
    let given = env::var_os("PEERS_PYTHON").map(PathBuf::from);
    let mut candidates = given.into_iter().chain([here, PathBuf::from("python3")]);
    let found = candidates.find(|python| runs(python, "import torch, numpy"));
    Ok(found.ok_or_else(|| "no Python here has torch and numpy".to_owned()))
}

/// Whether a Python runs a line without an error.
fn runs(python: &Path, line: &str) -> bool {
    let mut command = Command::new(python);
    let status = command.args(["-c", line]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A package's version in the lock file that this program was built with.
fn locked_version(package: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let name = format!("name = \"{package}\"\nversion = \"");
    let version = lock.split_once(&name).and_then(|(_, rest)| rest.split_once('"'));
    version.map_or("", |(version, _)| version)
}
