//! The process between a gateway and its successor, and the successor by it.
//!
//! A service manager waits for the end of a main process that is its own child, and of no other:
//! systemd sends SIGTERM to another one, and SIGKILL in the same moment. So the parent of a
//! successor is a process that does nothing but wait for it, and that is ended at the commit: by
//! that the successor is a child of the service manager, before it is named.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal,
};
use rustix::stdio::dup2_stdin;
use tokio::time::sleep;

use super::channel::{Channel, POLL};
use crate::api::handover::ToPredecessor;
use crate::control::spawner::Spawner;
use crate::courier::Courier;
use crate::host::kernel_files::child_of;
use crate::host::signals::{hold_ends, hold_requests, release};

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
    // A signal for the gateway's whole group is not for who waits; a child's mask is empty.
    hold_requests();
    hold_ends();
    // Without a predecessor nobody has to wait.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut successor = match Command::new(program).args(arguments).spawn() {
        Ok(successor) => successor,
        Err(error) => {
            let words = format!("{}: {error}", program.display());
            let line = io::stdin().lock();
            let line = line.as_fd().try_clone_to_owned()?;
            let refuse = ToPredecessor::Refuse { exit_code: 1, words };
            // One that is gone needs no words.
            let _ = Channel::new(Courier::from_fd(line)?).say(&refuse, &[]);
            return Err(error);
        }
    };
    // The line is the successor's alone: by its end it is known to be gone.
    dup2_stdin(File::open("/dev/null")?)?;
    let status = successor.wait()?;
    if let Some(signal) = status.signal().and_then(Signal::from_named_raw) {
        release();
        kill_process(getpid(), signal)?;
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// A successor's process, and its parent.
#[derive(Debug)]
pub(super) struct Successor {
    foster: Child,
    /// Once it runs.
    process: Option<Process>,
}

/// A process that is known by more than a number, which another one may come to have.
#[derive(Debug)]
struct Process {
    pid: u32,
    descriptor: OwnedFd,
}

impl Process {
    /// The child of a process, if it has one.
    fn of(parent: u32) -> Option<Process> {
        let pid = child_of(parent)?;
        let descriptor = pidfd_open(Pid::from_raw(pid as i32)?, PidfdFlags::empty()).ok()?;
        // Until now it might have been another one's.
        (child_of(parent) == Some(pid)).then_some(Process { pid, descriptor })
    }

    fn is_over(&self) -> bool {
        let mut polled = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|over| over > 0)
    }
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
        let mut successor = Successor { foster: spawner.spawn(command).await?, process: None };
        let mut waited = Duration::ZERO;
        while successor.pid().is_none() && waited < STARTED && !successor.is_over() {
            sleep(POLL).await;
            waited += POLL;
        }
        Ok(successor)
    }

    /// Its number, once it runs.
    pub(super) fn pid(&mut self) -> Option<u32> {
        if self.process.is_none() {
            self.process = Process::of(self.foster.id());
        }
        self.process.as_ref().map(|process| process.pid)
    }

    /// Whether it has ended. Its parent may have been ended before it.
    pub(super) fn is_over(&mut self) -> bool {
        match &self.process {
            Some(process) => process.is_over(),
            None => !matches!(self.foster.try_wait(), Ok(None)),
        }
    }

    /// How it ended, as its parent says; `None`: that does not say yet.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        self.foster.try_wait().ok().flatten()
    }

    /// Ends it.
    pub(super) fn kill(&mut self) {
        // What is gone already needs no signal.
        let _ = match (self.pid(), &self.process) {
            (Some(_), Some(process)) => {
                pidfd_send_signal(&process.descriptor, Signal::KILL).map_err(io::Error::from)
            }
            // Nothing was handed over to one that its parent has yet to start.
            _ => self.foster.kill(),
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
