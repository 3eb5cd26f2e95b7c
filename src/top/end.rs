//! The ends of `top` besides its keys: a signal, or a terminal that is gone.
//!
//! Both act from threads of their own. crossterm reads again and again what answers with an error,
//! and never returns; a write to a stopped terminal does not return either.
//!
//! A terminal is gone when it is hung up. It is gone for this program, too, when the shell that
//! began it has taken the terminal back and no parent is left that could give it again (an orphaned
//! process group in the background, setpgid(2)): each read fails with EIO then.

use std::io;
use std::os::fd::AsFd;
use std::process::exit;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::read;
use ratatui::crossterm::terminal::disable_raw_mode;

use super::Message;

/// Between two polls of the terminal: vhangup(2) wakes no poll(2) that waits for POLLHUP alone.
const POLL_TERMINAL_MILLIS: u16 = 500;
/// How long the drawing thread may take to end after a signal.
const GRACE: Duration = Duration::from_secs(5);
/// The exit code of a failure.
const FAILED: i32 = 1;

/// Takes the signals that end a program, so that the terminal is put back first.
///
/// # Errors
/// When they cannot be blocked.
pub(super) fn end_on_signals(sender: Sender<Message>) -> io::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    // Blocked in every thread that comes after, so that only the one that waits gets them.
    signals.thread_block()?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            let _ = sender.send(Message::End);
            thread::sleep(GRACE);
            let _ = disable_raw_mode();
            exit(FAILED);
        }
    });
    Ok(())
}

/// Ends the program once its terminal is gone: nothing is left to put back, or to complain to.
pub(super) fn end_with_the_terminal() {
    thread::spawn(|| {
        while !is_gone() {}
        exit(FAILED);
    });
}

/// Whether one of the terminal's descriptors is hung up, or may not be read any more; the answer no
/// takes [`POLL_TERMINAL_MILLIS`].
fn is_gone() -> bool {
    let (input, output) = (io::stdin(), io::stdout());
    // No events of their own: a hangup and an error are reported always (poll(2)).
    let mut ends = [input.as_fd(), output.as_fd()].map(|fd| PollFd::new(fd, PollFlags::empty()));
    match poll(&mut ends, POLL_TERMINAL_MILLIS) {
        // A read of nothing takes no key, and is judged as any other (job_control of n_tty.c).
        Ok(0) => read(&input, &mut []) == Err(Errno::EIO),
        Ok(_) => true,
        Err(errno) => errno != Errno::EINTR,
    }
}
