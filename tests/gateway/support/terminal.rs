//! A terminal with `portcullis top` on it: what it shows, its keys, its end.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};

use super::gateway::Gateway;
use super::screen::Screen;
use super::wait_until;

/// Rows and columns of an ordinary terminal.
pub(crate) const SIZE: (u16, u16) = (24, 80);
const LEAVE_SCREEN: &str = "\x1b[?1049l";

/// A terminal with `top` on it.
pub(crate) struct Terminal {
    top: Child,
    keys: File,
    shown: Arc<Mutex<Shown>>,
    /// Tells the thread that reads the screen to let go of it.
    let_go: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    slave: OwnedFd,
    before: Termios,
}

/// What the program has written.
struct Shown {
    bytes: Vec<u8>,
    screen: Screen,
}

impl Terminal {
    pub(crate) fn showing(gateway: &Gateway) -> Terminal {
        Terminal::sized(SIZE, &gateway.admin_socket())
    }

    /// One of so many rows and columns, for the gateway with this admin socket.
    pub(crate) fn sized(size: (u16, u16), admin: &Path) -> Terminal {
        Terminal::beginning(size, || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
            command.arg("top").arg("--admin").arg(admin);
            command
        })
    }

    /// One on which this command is begun.
    pub(crate) fn beginning(
        (rows, columns): (u16, u16),
        command: impl FnOnce() -> Command,
    ) -> Terminal {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
        // A child with a copy of it would keep the terminal alive.
        fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a descriptor");
        let before = tcgetattr(&slave).expect("a terminal");
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let mut command = command();
        command.env("TERM", "xterm");
        command.stdin(end()).stdout(end()).stderr(end());
        let top = command.spawn().expect("the program runs");
        drop(command);
        let screen = Screen::new(rows.into(), columns.into());
        let shown = Arc::new(Mutex::new(Shown { bytes: Vec::new(), screen }));
        let mut output = File::from(master.try_clone().expect("a descriptor"));
        let (heard, let_go) = (shown.clone(), Arc::new(AtomicBool::new(false)));
        let over = let_go.clone();
        // Ends with the last descriptor of the slave, too.
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while !over.load(Ordering::Relaxed) {
                let mut ends = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
                if poll(&mut ends, PollTimeout::from(20_u8)) == Ok(0) {
                    continue;
                }
                let Ok(count @ 1..) = output.read(&mut bytes) else { return };
                let mut shown = heard.lock().expect("nobody panicked");
                shown.bytes.extend_from_slice(&bytes[..count]);
                shown.screen.take(&bytes[..count]);
            }
        });
        Terminal { top, keys: File::from(master), shown, let_go, reader, slave, before }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().expect("the screen knows what top writes")
    }

    /// Waits until this was written, whether it is still to be seen or not.
    pub(crate) fn wait_for(&self, word: &str) {
        wait_until(word, || String::from_utf8_lossy(&self.shown().bytes).contains(word));
    }

    /// Waits for a screen of which this is true, and gives its lines.
    pub(crate) fn wait_to_show(
        &self,
        what: &str,
        shows: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        wait_until(what, || {
            lines = self.shown().screen.lines().to_vec();
            shows(&lines)
        });
        lines
    }

    /// Waits for a screen with this word, and gives its line.
    pub(crate) fn wait_for_line(&self, word: &str) -> String {
        let has = |line: &&String| line.contains(word);
        let lines = self.wait_to_show(word, |lines| lines.iter().any(|line| has(&line)));
        lines.iter().find(has).expect("it was there").clone()
    }

    /// Asserts that everything was written on the screen, and nothing beside it.
    pub(crate) fn assert_within(&self) {
        assert_eq!(self.shown().screen.strays(), "");
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("a key");
    }

    /// Where keys are written.
    pub(crate) fn keys(&self) -> File {
        self.keys.try_clone().expect("a descriptor")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.top.id()
    }

    pub(crate) fn has_left_the_screen(&self) -> bool {
        String::from_utf8_lossy(&self.shown().bytes).contains(LEAVE_SCREEN)
    }

    /// Closes this side of it.
    pub(crate) fn hang_up(&mut self) {
        self.let_go.store(true, Ordering::Relaxed);
        wait_until("the reader to let go", || self.reader.is_finished());
        self.keys = File::open("/dev/null").expect("it is there");
    }

    /// Waits for the end of `top`.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the end of top", || {
            status = self.top.try_wait().expect("it is our child");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn ends(mut self) {
        assert_eq!(self.code(), Some(0));
        wait_until("the former screen", || self.has_left_the_screen());
        let after = tcgetattr(self.slave.as_fd()).expect("a terminal");
        assert_eq!(after.local_flags, self.before.local_flags);
        assert!(after.local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.top.kill();
        let _ = self.top.wait();
    }
}
