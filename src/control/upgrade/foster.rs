//! The process between a gateway and its successor, and the successor by it.
//!
//! A service manager waits for the end of a main process that is its own child, and of no other:
//! systemd sends SIGTERM to another one, and SIGKILL in the same moment. So the parent of a
//! successor is a process that does nothing but wait for it, and that is ended at the commit: by
//! that the successor is a child of the service manager, before it is named.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use rustix::process::{Signal as ParentDeath, set_parent_process_death_signal};
use rustix::stdio::dup2_stdin;
use tokio::time::sleep;

use super::channel::{Channel, POLL};
use crate::api::handover::ToPredecessor;
use crate::control::spawner::Spawner;
use crate::courier::Courier;
use crate::host::kernel_files::child_of;

/// The hidden command by which this program is such a process.
pub const FOSTER: &str = "foster";
/// For the kernel to start both.
const STARTED: Duration = Duration::from_secs(10);

/// Starts the successor as this process's child, with its standard input, and waits for it; ends
/// as it has ended.
///
/// # Errors
/// When it cannot be started. Who waits at the other end of standard input has heard so.
pub fn foster(program: &Path, arguments: &[OsString]) -> io::Result<u8> {
    // Without a predecessor nobody has to wait.
    set_parent_process_death_signal(Some(ParentDeath::KILL))?;
    let mut successor = match Command::new(program).args(arguments).spawn() {
        Ok(successor) => successor,
        Err(error) => {
            let words = format!("{}: {error}", program.display());
            let line = io::stdin().lock();
            let line = std::os::fd::AsFd::as_fd(&line).try_clone_to_owned()?;
            let refuse = ToPredecessor::Refuse { exit_code: 1, words };
            // One that is gone needs no words.
            let _ = Channel::new(Courier::from_fd(line)?).say(&refuse, &[]);
            return Err(error);
        }
    };
    // The line is the successor's alone: by its end it is known to be gone.
    dup2_stdin(File::open("/dev/null")?)?;
    let status = successor.wait()?;
    if let Some(signal) = status.signal().and_then(|signal| Signal::try_from(signal).ok()) {
        kill(getpid(), signal)?;
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// A successor's process.
#[derive(Debug)]
pub(super) struct Successor {
    foster: Child,
    /// Once it runs.
    pid: Option<u32>,
}

impl Successor {
    /// Starts this program, with a line to it as its standard input.
    ///
    /// # Errors
    /// When the kernel has no process for it.
    pub(super) async fn start(
        spawner: &Spawner,
        program: PathBuf,
        arguments: Vec<OsString>,
        line: Courier,
    ) -> io::Result<Successor> {
        // The program that runs, whatever lies in its place by now.
        let mut command = Command::new("/proc/self/exe");
        command.arg(FOSTER).arg(program).args(arguments).stdin(Stdio::from(line.into_fd()));
        // The watchdog that the service manager has for this process is its own in time.
        command.env_remove("WATCHDOG_PID");
        let mut successor = Successor { foster: spawner.spawn(command).await?, pid: None };
        let mut waited = Duration::ZERO;
        while successor.pid().is_none() && waited < STARTED && successor.ended()?.is_none() {
            sleep(POLL).await;
            waited += POLL;
        }
        Ok(successor)
    }

    /// Its number, while it has one that is known.
    pub(super) fn pid(&mut self) -> Option<u32> {
        self.pid = self.pid.or_else(|| child_of(self.foster.id()));
        self.pid
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When that was asked before.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.foster.try_wait()
    }

    /// Ends it, if it has not ended.
    pub(super) fn kill(&mut self) {
        if !matches!(self.ended(), Ok(None)) {
            return;
        }
        // Its parent has not waited for it, or is about to end. Gone already: nobody to signal.
        let _ = match self.pid() {
            Some(pid) => kill(Pid::from_raw(pid as i32), Signal::SIGKILL).map_err(io::Error::from),
            None => self.foster.kill(),
        };
    }

    /// It is the child of the system's first process, or of its user's service manager, from here
    /// on.
    pub(super) fn release(mut self) {
        let ended = self.foster.kill().and_then(|()| self.foster.wait());
        if let Err(error) = ended {
            tracing::warn!(%error, "the successor's parent goes on");
        }
    }
}
