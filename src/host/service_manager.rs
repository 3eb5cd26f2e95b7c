//! What a service manager hears of this process, where it asks to (sd_notify(3)).

use std::io::{self, pipe};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sd_notify::{NotifyState, notify, notify_with_fds, watchdog_enabled};

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

/// Its config is read again; [`say_ready`] follows.
pub fn say_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager does not hear of a reload"),
    }
}

/// Whether there is one that listens.
pub fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// How long it waits for a sign of life before it ends the process; `None`: for ever.
pub fn watchdog() -> Option<Duration> {
    watchdog_enabled()
}

/// What it hears now and then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News<'a> {
    /// What the process does, in a few words.
    pub status: Option<&'a str>,
    /// The process is alive, and does what it should.
    pub is_alive: bool,
    /// Its end comes within this time, unless it says so again.
    pub ends_within: Option<Duration>,
}

/// Says what there is to say.
pub fn say_news(news: News<'_>) {
    let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    let status = news.status.map(NotifyState::Status);
    let alive = news.is_alive.then_some(NotifyState::Watchdog);
    let end = news.ends_within.map(|time| NotifyState::ExtendTimeoutUsec(micros(time)));
    let all: Vec<_> = [status, alive, end].into_iter().flatten().collect();
    if !all.is_empty() {
        say(&all);
    }
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
    if !is_there() {
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
