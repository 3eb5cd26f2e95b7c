//! What the tests of the bench stand on: runs of the program, and servers for them.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long a test waits for something that must happen: far beyond what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A server that treats each client so, on a thread of its own, for as long as the test runs.
pub(crate) fn server(treat: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || treat(client));
        }
    });
    address
}

/// An address on which nobody listens.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

pub(crate) fn echo(mut client: TcpStream) {
    give_back(&mut client);
}

/// Answers, and does not end when the client does.
pub(crate) fn stay(mut client: TcpStream) {
    give_back(&mut client);
    std::thread::sleep(PATIENCE);
}

fn give_back(client: &mut TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        if client.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

/// The program, with a scenario and its flags.
pub(crate) fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-bench"));
    command.args(arguments);
    command
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    /// The one result on stdout.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        let parsed = serde_json::from_str(&self.output);
        parsed.unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The program at work, ended with the test.
pub(crate) struct Run {
    child: Child,
    output: Option<JoinHandle<String>>,
    lines: Receiver<String>,
    errors: String,
}

impl Run {
    pub(crate) fn begin(mut command: Command) -> Run {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut stdout = child.stdout.take().expect("a pipe");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let output = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).expect("text");
            text
        });
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Run { child, output: Some(output), lines, errors: String::new() }
    }

    /// The first line on stderr that holds `words`, once it is there.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {words:?}: {}", self.errors)
            };
            self.errors += &format!("{line}\n");
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it still runs");
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status.code();
            }
            self.lines.try_iter().for_each(|line| self.errors += &format!("{line}\n"));
            assert!(Instant::now() < deadline, "it does not end: {}", self.errors);
            std::thread::sleep(Duration::from_millis(10));
        };
        let output = self.output.take().expect("once").join().expect("text");
        let rest: Vec<String> = self.lines.iter().collect();
        Ended { code, output, errors: std::mem::take(&mut self.errors) + &rest.join("\n") }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
