//! What a service manager hears of this process, where it asks to (sd_notify(3)).

use std::io::{self, pipe};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sd_notify::{NotifyState, notify, notify_with_fds};

/// For the manager to take what was said before.
const BARRIER_MILLIS: u16 = 5_000;

/// Clients are served.
pub fn say_ready() {
    say(&[NotifyState::Ready]);
}

/// The process ends by and by.
pub fn say_stopping() {
    say(&[NotifyState::Stopping]);
}

/// The service is another process from here on; returns once the manager has taken it, or after a
/// few seconds: this process, which it watches until then, may end.
pub fn say_main_pid(pid: u32) {
    say(&[NotifyState::MainPid(pid)]);
    if let Err(error) = wait() {
        tracing::warn!(%error, "the service manager may take this end for the service's");
    }
}

/// A manager that is not there, or hears nothing, is no reason to end.
fn say(what: &[NotifyState<'_>]) {
    if let Err(error) = notify(what) {
        tracing::warn!(%error, "the service manager hears nothing");
    }
}

/// Until the manager has closed the other end of a pipe: it has then taken all that came before.
fn wait() -> io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    let (reads, writes) = pipe()?;
    notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[writes.as_fd()])?;
    drop(writes);
    let mut ends = [PollFd::new(reads.as_fd(), PollFlags::empty())];
    match poll(&mut ends, PollTimeout::from(BARRIER_MILLIS))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}
