//! `portcullis top` on a terminal: it draws, it obeys, and it leaves the terminal as it was.

use std::io::{ErrorKind, Read, Write, copy};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::client;
use crate::support::config::OWN_ECHO;
use crate::support::gateway::{Gateway, Home};
use crate::support::terminal::{SIZE, Terminal};
use crate::support::wait_until;

#[test]
fn it_draws_and_ends_with_a_key() {
    let gateway = Gateway::start(OWN_ECHO);
    for key in ["q", "\x1b", "\x03"] {
        let mut terminal = Terminal::showing(&gateway);
        terminal.wait_for("accept queue");
        assert!(!terminal.has_left_the_screen());
        terminal.press(key);
        terminal.ends();
    }
    gateway.stop();
}

#[test]
fn it_ends_with_a_signal_and_puts_the_terminal_back() {
    let gateway = Gateway::start(OWN_ECHO);
    let terminal = Terminal::showing(&gateway);
    terminal.wait_for("accept queue");
    kill(Pid::from_raw(terminal.pid() as i32), Signal::SIGTERM).expect("it takes a signal");
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
    terminal.hang_up();
    assert_eq!(terminal.code(), Some(1));
    gateway.stop();
}

/// The program that began it is killed, and the shell takes the terminal back: each read of `top`
/// fails from here on, and nothing is hung up.
#[test]
fn it_ends_when_the_shell_has_taken_the_terminal_back() {
    let gateway = Gateway::start(OWN_ECHO);
    let home = gateway.home();
    let pids = ["between", "top"].map(|name| home.path().join(name));
    let [between, top] = pids.each_ref().map(|path| path.display().to_string());
    let begun = "\"$0\" top --admin \"$1\" < /dev/tty";
    let job = format!("echo $$ > {between}; {begun} & echo $! > {top}; wait");
    let script = format!("set -m; sh -c '{job}' \"$0\" \"$1\"; echo taken-back; exec sleep 300");
    let mut terminal = Terminal::beginning(SIZE, || {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "bash", "-c", &script, env!("CARGO_BIN_EXE_portcullis")]);
        command.arg(gateway.admin_socket());
        command
    });
    terminal.wait_for("accept queue");
    let [between, top] = pids.map(|path| {
        let text = std::fs::read_to_string(path).expect("the shell wrote it");
        text.trim().parse::<i32>().expect("a pid")
    });
    kill(Pid::from_raw(between), Signal::SIGKILL).expect("it is ours");
    terminal.wait_for("taken-back");
    terminal.press("\r");
    // The process that takes orphans over may leave it as a zombie.
    wait_until("the end of top", || {
        let stat = std::fs::read_to_string(format!("/proc/{top}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
    });
    gateway.stop();
}

#[test]
fn it_ends_with_a_signal_while_a_key_is_held_down() {
    let gateway = Gateway::start(OWN_ECHO);
    let terminal = Terminal::showing(&gateway);
    terminal.wait_for("accept queue");
    let mut keys = terminal.keys();
    let over = Arc::new(AtomicBool::new(false));
    let (held, pid) = (over.clone(), terminal.pid());
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
    let mut terminal = Terminal::sized(SIZE, &path);
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
    terminal.press("q");
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
    terminal.press("q");
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
