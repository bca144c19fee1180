//! Ctrl-C asks runs to stop, rather than ending the process; a second one ends it.
//!
//! The handler sets flags that a run asks before each step; nothing else happens in it, but that a
//! second signal ends the process there. Handlers are of the process and stay, since what was there
//! before them does not come back: while no run listens, they end it too. What was ignored when the
//! process began (`program &` in a script) is left so, where Linux tells.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What asked a run to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interrupt {
    /// Ctrl-C, which is the signal SIGINT.
    CtrlC,
    /// The signal SIGTERM: of `kill`, of a scheduler that wants the machine back, or of a system
    /// that shuts down.
    Terminate,
}

impl Interrupt {
    /// The exit code by which a shell knows of a program that ended so: 130 or 143.
    pub fn exit_code(self) -> u8 {
        match self {
            Interrupt::CtrlC => 130,
            Interrupt::Terminate => 143,
        }
    }
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Interrupt::CtrlC => "Ctrl-C",
            Interrupt::Terminate => "SIGTERM",
        })
    }
}

/// The exit code of what was asked for, or 0.
static ASKED: AtomicUsize = AtomicUsize::new(0);
/// Whether a signal ends the process at once: nothing listens, or it has been asked before.
static AT_ONCE: AtomicBool = AtomicBool::new(true);
/// How many runs listen.
static LISTENING: Mutex<usize> = Mutex::new(0);

fn listening() -> MutexGuard<'static, usize> {
    // A number is never half changed.
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Listening(());

impl Listening {
    /// `None` where the process is not to be interrupted, or the system does not let it listen: then
    /// signals do what they did.
    pub fn begin() -> Option<Listening> {
        static HANDLERS: OnceLock<bool> = OnceLock::new();
        let installed = HANDLERS.get_or_init(|| install().is_ok_and(|installed| installed));
        if !installed {
            return None;
        }
        let mut count = listening();
        *count += 1;
        // Whoever has asked one run to stop wants the next one to do so, too.
        AT_ONCE.store(ASKED.load(SeqCst) != 0, SeqCst);
        Some(Listening(()))
    }

    /// What asked to stop, if anything did.
    pub fn asked(&self) -> Option<Interrupt> {
        let code = ASKED.load(SeqCst);
        [Interrupt::CtrlC, Interrupt::Terminate]
            .into_iter()
            .find(|interrupt| usize::from(interrupt.exit_code()) == code)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut count = listening();
        *count -= 1;
        if *count == 0 {
            AT_ONCE.store(true, SeqCst);
        }
    }
}

/// Handlers are never taken away again, since what was there before would not come back. They look
/// for who listens instead.
fn install() -> io::Result<bool> {
    let mut any = false;
    for (signal, interrupt) in [(SIGINT, Interrupt::CtrlC), (SIGTERM, Interrupt::Terminate)] {
        if is_ignored(signal) {
            continue;
        }
        let code = interrupt.exit_code();
        // They are followed in this order: what ends the process must not see what comes after it.
        flag::register_conditional_shutdown(signal, i32::from(code), &AT_ONCE)?;
        flag::register(signal, &AT_ONCE)?;
        flag::register_usize(signal, &ASKED, usize::from(code))?;
        any = true;
    }
    Ok(any)
}

/// Whether the process began with a signal ignored: a script's `program &` is not to be stopped by the
/// Ctrl-C that is meant for what runs beside it. Only Linux tells without unsafe code.
fn is_ignored(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}
