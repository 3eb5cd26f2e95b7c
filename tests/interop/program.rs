//! Other people's programs: found, started, ended.

use std::io::{Seek as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::Pid;

use crate::support::wait_until;

/// What the tests here need, as Debian names it.
const INSTALL: &str = "apt-get install redis-server redis-tools nginx-light libnginx-mod-stream \
    haproxy wrk prometheus chromium unbound etcd-server etcd-client openssl curl python3 \
    postgresql postgresql-client golang-go default-jdk-headless mosquitto mosquitto-clients";

/// A command for a program that must be installed.
pub(crate) fn program(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where an ordinary user's PATH does not look.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.map(|folder: PathBuf| folder.join(name)).find(|file| file.is_file());
    Command::new(found.unwrap_or_else(|| panic!("{name} is not installed: {INSTALL}")))
}

/// Runs a command to its end and returns what it said; it must end well.
pub(crate) fn output(command: &mut Command) -> String {
    output_with(command.stdin(Stdio::null()))
}

fn output_with(command: &mut Command) -> String {
    let output = command.output().expect("an installed program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{said}{errors}", output.status);
    said
}

/// The same for a command that reads `input` to its end.
pub(crate) fn output_for(command: &mut Command, input: &[u8]) -> String {
    let mut read_from = tempfile::tempfile().expect("a file");
    read_from.write_all(input).and_then(|()| read_from.rewind()).expect("a file of ours");
    output_with(command.stdin(read_from))
}

/// A server of others; dropping it kills it and removes its folder.
pub(crate) struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    /// Starts a server and waits until it accepts at `address`.
    pub(crate) fn start(command: &mut Command, folder: PathBuf, address: SocketAddr) -> Self {
        Self::start_until(command, folder, || TcpStream::connect(address).is_ok())
    }

    /// Starts a server and waits until it is ready.
    pub(crate) fn start_until(
        command: &mut Command,
        folder: PathBuf,
        mut is_ready: impl FnMut() -> bool,
    ) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut daemon =
            Self { child: command.spawn().expect("an installed program runs"), folder };
        wait_until("the server to be ready", || {
            let ended = daemon.child.try_wait().expect("the server is our child");
            assert!(ended.is_none(), "{command:?} ended at once: {ended:?}");
            is_ready()
        });
        daemon
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An empty folder for one server's files.
pub(crate) fn folder(name: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("portcullis-{name}-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).expect("a folder for a server's files");
    path
}
