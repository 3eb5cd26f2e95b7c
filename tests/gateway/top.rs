//! `portcullis top` on a terminal: it draws, it obeys, and it leaves the terminal as it was.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

use crate::support::config::OWN_ECHO;
use crate::support::gateway::Gateway;
use crate::support::wait_until;

const LEAVE_SCREEN: &str = "\x1b[?1049l";

/// A terminal with `top` on it.
struct Terminal {
    top: Child,
    keys: File,
    said: Arc<Mutex<String>>,
    slave: OwnedFd,
    before: Termios,
}

impl Terminal {
    fn showing(gateway: &Gateway) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
        let before = tcgetattr(&slave).expect("a terminal");
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.arg("top").arg("--admin").arg(gateway.admin_socket()).env("TERM", "xterm");
        command.stdin(end()).stdout(end()).stderr(end());
        let top = command.spawn().expect("the program runs");
        drop(command);
        let said = Arc::new(Mutex::new(String::new()));
        let mut screen = File::from(master.try_clone().expect("a descriptor"));
        let heard = said.clone();
        // Ends with the last descriptor of the slave.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                heard.lock().expect("nobody panicked").push_str(&text);
            }
        });
        Terminal { top, keys: File::from(master), said, slave, before }
    }

    fn wait_for(&self, word: &str) {
        wait_until(word, || self.said.lock().expect("nobody panicked").contains(word));
    }

    /// Waits for its end, which must be a good one.
    fn ends(mut self) {
        let mut status = None;
        wait_until("the end of top", || {
            status = self.top.try_wait().expect("it is our child");
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0));
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
