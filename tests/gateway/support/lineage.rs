//! A gateway and its successors: the first is a test's child, the others are its children's.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command::{Said, command};
use super::gateway::{Gateway, Home, program};
use super::log::parsed;
use super::wait_until;

/// A gateway and its successors, which share a log and an admin socket. Dropped, all are killed.
pub(crate) struct Lineage {
    pub(crate) first: Gateway,
    socket: PathBuf,
}

impl Lineage {
    /// Starts the first with this config, and waits until it accepts.
    pub(crate) fn start(config: &str) -> Lineage {
        Lineage::start_with(Home::new(), program(None), config)
    }

    /// The same in this runtime directory, by this command.
    pub(crate) fn start_with(home: Arc<Home>, command: Command, config: &str) -> Lineage {
        let socket = home.path().join("fixed.sock");
        let config = with_admin(config, &socket);
        let first = Gateway::launch_in(home, command, Some(&config));
        first.wait_for_line(" ready with ");
        Lineage { first, socket }
    }

    /// Writes another config file, with the same admin socket.
    pub(crate) fn write(&self, name: &str, config: &str) -> PathBuf {
        self.first.home().write(name, &with_admin(config, &self.socket))
    }

    /// Asks whoever has the admin socket.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Said {
        let socket = self.socket.display().to_string();
        command(&[arguments, &["--admin", &socket]].concat())
    }

    /// Upgrades with a short probation; it must be committed.
    pub(crate) fn upgrade(&self, arguments: &[&str]) -> u32 {
        let said = self.ask(&[&["upgrade", "--probation", "300ms"], arguments].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.answer.starts_with("upgraded: "), "{said:?}");
        self.pid()
    }

    /// Begins an upgrade whose probation is long, unless the arguments say otherwise.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = program(None);
        command.args(["upgrade", "--admin"]).arg(&self.socket);
        let probation =
            if arguments.contains(&"--probation") { &[][..] } else { &["--probation", "10m"] };
        command.args(probation).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// The process that answers at the admin socket.
    pub(crate) fn pid(&self) -> u32 {
        let status = self.status();
        status["gateway"]["pid"].as_u64().expect("an answer names its process") as u32
    }

    /// Its status document.
    pub(crate) fn status(&self) -> serde_json::Value {
        let said = self.ask(&["status", "--json"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        serde_json::from_str(&said.answer).expect("an answer in JSON")
    }

    /// The successors that were started, the oldest first.
    pub(crate) fn successors(&self) -> Vec<u32> {
        let lines = self.first.lines();
        let started = lines.iter().filter(|line| line.contains("the successor starts pid="));
        started.map(|line| parsed(line, "pid")).collect()
    }

    /// Waits until so many successors have been started and the last is on probation.
    pub(crate) fn wait_for_probation(&self, count: usize) -> u32 {
        self.first.wait_for_lines("the successor is on probation", count);
        *self.successors().last().expect("it was started")
    }
}

fn with_admin(config: &str, socket: &Path) -> String {
    format!("{config}\n[admin]\nsocket = \"{}\"\n", socket.display())
}

/// Whether a process runs: one that has ended and is not waited for does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Sends a signal to a successor.
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).expect("the successor takes a signal");
}

impl Drop for Lineage {
    fn drop(&mut self) {
        for pid in self.successors().into_iter().filter(|pid| runs(*pid)) {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            if !std::thread::panicking() {
                wait_until("a successor's end", || !runs(pid));
            }
        }
    }
}
