//! `portcullis top` on a terminal: it draws, it obeys, and it leaves the terminal as it was.

use std::fs::File;
use std::io::{ErrorKind, Read, Write, copy};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

use crate::support::client;
use crate::support::config::OWN_ECHO;
use crate::support::gateway::{Gateway, Home};
use crate::support::wait_until;

const LEAVE_SCREEN: &str = "\x1b[?1049l";

/// A terminal with `top` on it.
struct Terminal {
    top: Child,
    keys: File,
    said: Arc<Mutex<String>>,
    /// Tells the thread that reads the screen to let go of it.
    let_go: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    slave: OwnedFd,
    before: Termios,
}

impl Terminal {
    fn showing(gateway: &Gateway) -> Terminal {
        Terminal::asking(&gateway.admin_socket())
    }

    fn asking(admin: &Path) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
        // A child with a copy of it would keep the terminal alive.
        fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a descriptor");
        let before = tcgetattr(&slave).expect("a terminal");
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.arg("top").arg("--admin").arg(admin).env("TERM", "xterm");
        command.stdin(end()).stdout(end()).stderr(end());
        let top = command.spawn().expect("the program runs");
        drop(command);
        let said = Arc::new(Mutex::new(String::new()));
        let mut screen = File::from(master.try_clone().expect("a descriptor"));
        let (heard, let_go) = (said.clone(), Arc::new(AtomicBool::new(false)));
        let over = let_go.clone();
        // Ends with the last descriptor of the slave, too.
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while !over.load(Ordering::Relaxed) {
                let mut ends = [PollFd::new(screen.as_fd(), PollFlags::POLLIN)];
                if poll(&mut ends, PollTimeout::from(20_u8)) == Ok(0) {
                    continue;
                }
                let Ok(count @ 1..) = screen.read(&mut bytes) else { return };
                let text = String::from_utf8_lossy(&bytes[..count]);
                heard.lock().expect("nobody panicked").push_str(&text);
            }
        });
        Terminal { top, keys: File::from(master), said, let_go, reader, slave, before }
    }

    fn wait_for(&self, word: &str) {
        wait_until(word, || self.said.lock().expect("nobody panicked").contains(word));
    }

    /// Waits for its end.
    fn code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the end of top", || {
            status = self.top.try_wait().expect("it is our child");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Waits for its end, which must be a good one.
    fn ends(mut self) {
        assert_eq!(self.code(), Some(0));
        self.wait_for(LEAVE_SCREEN);
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

#[test]
fn it_draws_and_ends_with_a_key() {
    let gateway = Gateway::start(OWN_ECHO);
    for key in ["q", "\x1b", "\x03"] {
        let mut terminal = Terminal::showing(&gateway);
        terminal.wait_for("accept queue");
        assert!(!terminal.said.lock().expect("nobody panicked").contains(LEAVE_SCREEN));
        terminal.keys.write_all(key.as_bytes()).expect("a key");
        terminal.ends();
    }
    gateway.stop();
}

#[test]
fn it_ends_with_a_signal_and_puts_the_terminal_back() {
    let gateway = Gateway::start(OWN_ECHO);
    let terminal = Terminal::showing(&gateway);
    terminal.wait_for("accept queue");
    kill(Pid::from_raw(terminal.top.id() as i32), Signal::SIGTERM).expect("it takes a signal");
    terminal.ends();
    gateway.stop();
}

/// Its side of the terminal is closed, as sshd and tmux do when they end. SIGHUP comes only where
/// the terminal is a session's own, and here it is not.
#[test]
fn it_ends_with_its_terminal() {
    let gateway = Gateway::start(OWN_ECHO);
    let mut terminal = Terminal::showing(&gateway);
    terminal.wait_for("accept queue");
    terminal.let_go.store(true, Ordering::Relaxed);
    let nowhere = File::open("/dev/null").expect("it is there");
    drop(std::mem::replace(&mut terminal.keys, nowhere));
    assert_eq!(terminal.code(), Some(1));
    assert!(terminal.reader.is_finished());
    gateway.stop();
}

#[test]
fn it_ends_with_a_signal_while_a_key_is_held_down() {
    let gateway = Gateway::start(OWN_ECHO);
    let terminal = Terminal::showing(&gateway);
    terminal.wait_for("accept queue");
    let mut keys = terminal.keys.try_clone().expect("a descriptor");
    let over = Arc::new(AtomicBool::new(false));
    let (held, pid) = (over.clone(), terminal.top.id());
    let holder = thread::spawn(move || {
        let mut pressed = 0_u64;
        while !held.load(Ordering::Relaxed) {
            // Only what there is room for: nobody takes them after the end.
            let mut ends = [PollFd::new(keys.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut ends, PollTimeout::from(10_u8)) == Ok(1) {
                keys.write_all(b"\x1b[B").expect("a key");
                pressed += 1;
                if pressed == 1_000 {
                    kill(Pid::from_raw(pid as i32), Signal::SIGTERM).expect("it takes a signal");
                }
            }
        }
        pressed
    });
    terminal.ends();
    over.store(true, Ordering::Relaxed);
    assert!(holder.join().expect("it only writes") >= 1_000);
    gateway.stop();
}

/// An admin socket in front of a gateway's, which answers as that does, but never with a list of
/// connections; those who ask for one are kept.
fn without_lists(gateway: &Gateway, path: &Path) -> Arc<Mutex<Vec<UnixStream>>> {
    let kept: Arc<Mutex<Vec<UnixStream>>> = Arc::default();
    let (listener, admin, waiting) =
        (UnixListener::bind(path).expect("a socket"), gateway.admin_socket(), kept.clone());
    // Ends with the process that runs the tests.
    thread::spawn(move || {
        for asker in listener.incoming() {
            let (mut asker, admin) = (asker.expect("a client"), admin.clone());
            let mut head = [0; 4096];
            let count = asker.read(&mut head).expect("a request");
            if head.starts_with(b"GET /conns") {
                waiting.lock().expect("nobody panicked").push(asker);
                continue;
            }
            let mut asked = UnixStream::connect(admin).expect("the gateway listens");
            asked.write_all(&head[..count]).expect("asked");
            thread::spawn(move || {
                // Until the gateway is tired of waiting for another request.
                let _ = copy(&mut asked, &mut asker);
                let _ = asker.shutdown(Shutdown::Both);
            });
        }
    });
    kept
}

#[test]
fn figures_go_on_while_nobody_answers_with_connections() {
    let gateway = Gateway::start(OWN_ECHO);
    let home = Home::new();
    let path = home.path().join("admin.sock");
    let kept = without_lists(&gateway, &path);
    let mut terminal = Terminal::asking(&path);
    terminal.wait_for("accept queue");
    let kept_count = || kept.lock().expect("nobody panicked").len();
    wait_until("a list to be asked for", || kept_count() == 1);
    drop(client::connect(gateway.address("edge")));
    // A row of a table that was not there before: elsewhere, only what differs is written.
    terminal.wait_for("closed");
    let mut asker = kept.lock().expect("nobody panicked")[0].try_clone().expect("a descriptor");
    asker.set_nonblocking(true).expect("an option");
    let waits = asker.read(&mut [0]).expect_err("it waits for its list still");
    assert_eq!((waits.kind(), kept_count()), (ErrorKind::WouldBlock, 1));
    terminal.keys.write_all(b"q").expect("a key");
    terminal.ends();
    gateway.stop();
}

#[test]
fn it_outlives_its_gateway_and_says_so() {
    let gateway = Gateway::start(OWN_ECHO);
    let mut terminal = Terminal::showing(&gateway);
    terminal.wait_for("accept queue");
    gateway.stop();
    // "gone" stands where "live" stood, and of that only what differs is written.
    terminal.wait_for("gon");
    terminal.keys.write_all(b"q").expect("a key");
    terminal.ends();
}

#[test]
fn without_a_terminal_it_names_the_command_that_needs_none() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let output = command.arg("top").stdin(Stdio::null()).output().expect("the program runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("portcullis status"), "{words}");
}
