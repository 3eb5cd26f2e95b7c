//! The gateway's program: started with a config, watched, stopped.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::config::over;
use super::log::{Log, parsed};
use super::wait_until;

/// A running gateway; dropping it kills it.
pub(crate) struct Gateway {
    child: Child,
    log: Log,
    home: Arc<Home>,
}

/// What a gateway said when it had ended.
pub(crate) struct Report {
    pub(crate) accepted: u64,
    /// Clients that were reset in the accept queues.
    pub(crate) queue_reset: u64,
    /// How often connections went quiet.
    pub(crate) quieted: u64,
    /// Bytes that were never copied, and how often a lane of bulk was refused.
    pub(crate) spliced_bytes: u64,
    pub(crate) splices_refused: u64,
    /// How many connections ended, by reason.
    pub(crate) ended: BTreeMap<String, u64>,
}

impl Report {
    /// Asserts that exactly these connections ended, for exactly these reasons.
    pub(crate) fn expect(&self, ended: &[(&str, u64)]) {
        let expected: BTreeMap<_, _> =
            ended.iter().map(|(reason, count)| (reason.to_string(), *count)).collect();
        assert_eq!(self.ended, expected, "connections ended, by reason");
        assert_eq!(self.accepted, expected.values().sum::<u64>(), "connections accepted");
    }

    /// Asserts that this many connections were closed, whichever side was the first.
    pub(crate) fn expect_closed(&self, count: u64) {
        let closed = |reason: &String| reason.starts_with("closed-by-");
        assert!(self.ended.keys().all(closed), "connections ended: {:?}", self.ended);
        assert_eq!(self.ended.values().sum::<u64>(), count, "connections closed");
        assert_eq!(self.accepted, count, "connections accepted");
    }
}

impl Gateway {
    /// Starts a gateway with this config and waits until it accepts. It logs each connection's end.
    pub(crate) fn start(config: &str) -> Self {
        let gateway = Self::launch(Some(config), None);
        gateway.log.wait_for("ready", 1);
        gateway
    }

    /// The same, with no more than this many files for the process.
    pub(crate) fn start_with_open_files(config: &str, open_files: u64) -> Self {
        let gateway = Self::launch(Some(config), Some(open_files));
        gateway.log.wait_for("ready", 1);
        gateway
    }

    /// Starts a gateway and waits for nothing.
    pub(crate) fn launch(config: Option<&str>, open_files: Option<u64>) -> Self {
        // Each gateway has a runtime directory of its own: many run at once.
        Self::launch_in(Home::new(), program(open_files), config)
    }

    /// Starts a gateway whose standard output goes into this file, and waits until it accepts.
    pub(crate) fn start_with_output(config: &str, output: &Path) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg("out=$1; shift; exec \"$0\" \"$@\" >\"$out\"");
        command.arg(program(None).get_program()).arg(output);
        let gateway = Self::launch_in(Home::new(), command, Some(config));
        gateway.log.wait_for("ready", 1);
        gateway
    }

    /// Starts a gateway in a runtime directory that it shares with others, and waits for nothing.
    pub(crate) fn launch_in(home: Arc<Home>, command: Command, config: Option<&str>) -> Self {
        let path = config.map(|config| home.write("portcullis.toml", config));
        Self::launch_with(home, command, path.as_deref())
    }

    /// The same with a config file that is there.
    pub(crate) fn launch_with(home: Arc<Home>, mut command: Command, path: Option<&Path>) -> Self {
        allow_many_files();
        command.arg("run");
        if let Some(path) = path {
            command.arg("--config").arg(path);
        }
        command.env("RUNTIME_DIRECTORY", &home.path).env("XDG_RUNTIME_DIR", &home.path);
        if !command.get_envs().any(|(name, _)| name == "LISTEN_FDS") {
            command.stdin(Stdio::null()).stdout(Stdio::null());
        }
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("the gateway's program starts");
        drop(command); // With it go its copies of sockets that it handed down.
        let log = Log::collect(child.stderr.take().expect("stderr is piped"));
        Self { child, log, home }
    }

    /// The runtime directory, for another gateway.
    pub(crate) fn home(&self) -> Arc<Home> {
        Arc::clone(&self.home)
    }

    /// Waits for lines that hold this, so many.
    pub(crate) fn wait_for_lines(&self, fragment: &str, count: usize) -> Vec<String> {
        self.log.wait_for(fragment, count)
    }

    /// The lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Kills the gateway as `kill -9` does, and waits until it has ended.
    pub(crate) fn kill(mut self) -> Arc<Home> {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
        self.home()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its admin socket is.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        let lines = self.log.wait_for(" admin path=", 1);
        parsed(&lines[0], "path")
    }

    /// Where its status server listens.
    pub(crate) fn status(&self) -> SocketAddr {
        let lines = self.log.wait_for(" status address=", 1);
        parsed(&lines[0], "address")
    }

    /// The addresses that a listener got, in the order of the log.
    pub(crate) fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        let lines = self.log.wait_for(&format!("listening listener={listener} "), 1);
        lines.iter().map(|line| parsed(line, "address")).collect()
    }

    /// The address of a listener that has only one.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let addresses = self.addresses(listener);
        assert_eq!(addresses.len(), 1, "addresses of {listener}: {addresses:?}");
        addresses[0]
    }

    /// Waits until this many connections have ended; returns the lines that say so.
    pub(crate) fn wait_for_ended(&self, count: usize) -> Vec<String> {
        self.log.wait_for("connection ended reason=", count)
    }

    /// Waits until this many connections have ended for this reason.
    pub(crate) fn wait_for_reason(&self, reason: &str, count: usize) -> Vec<String> {
        self.log.wait_for(&format!("connection ended reason={reason} "), count)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("the gateway takes a signal");
    }

    /// Stops the gateway and returns what it counted; it must end well.
    pub(crate) fn stop(self) -> Report {
        self.stop_with(Signal::SIGTERM)
    }

    /// The same, by the signal named.
    pub(crate) fn stop_with(self, signal: Signal) -> Report {
        self.signal(signal);
        self.stop_has_begun()
    }

    /// Waits for the end of a gateway that was told to end; it must end well.
    pub(crate) fn stop_has_begun(mut self) -> Report {
        let status = self.wait_for_exit();
        assert_eq!(status.code(), Some(0), "signal {:?}", status.signal());
        report(&self.log.finish())
    }

    /// Waits until it logs such a line.
    pub(crate) fn wait_for_line(&self, fragment: &str) {
        self.log.wait_for(fragment, 1);
    }

    /// Waits until a gateway that ends by itself has ended: its status and its lines.
    pub(crate) fn ended_by_itself(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.wait_for_exit();
        (status, self.log.finish())
    }

    fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the gateway's exit", || {
            status = self.child.try_wait().expect("the gateway is our child");
            status.is_some()
        });
        status.expect("waited until it is there")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.log.finish();
            let last = &lines[lines.len().saturating_sub(30)..];
            eprintln!("the gateway's last lines of {}:\n{}", lines.len(), last.join("\n"));
        }
    }
}

fn report(lines: &[String]) -> Report {
    let stopped = lines.iter().rev().find(|line| line.contains("stopped accepted="));
    let stopped = stopped.expect("the gateway's last words count what it accepted");
    let reasons = lines.iter().filter(|line| {
        line.contains("ended reason=") && !line.contains("connection ended reason=")
    });
    let ended = reasons.map(|line| (parsed(line, "reason"), parsed(line, "connections")));
    Report {
        accepted: parsed(stopped, "accepted"),
        queue_reset: parsed(stopped, "queue_reset"),
        quieted: parsed(stopped, "quieted"),
        spliced_bytes: parsed(stopped, "spliced_bytes"),
        splices_refused: parsed(stopped, "splices_refused"),
        ended: ended.collect(),
    }
}

/// The program under test: this package's, or the one that PORTCULLIS_BINARY names.
pub(crate) fn program(open_files: Option<u64>) -> Command {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_portcullis"));
    let path = std::env::var_os("PORTCULLIS_BINARY").map_or(built, PathBuf::from);
    let Some(open_files) = open_files else { return Command::new(path) };
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {open_files} && exec \"$0\" \"$@\"")).arg(path);
    command
}

/// The program as a user without capabilities, after a shell's `first`, by a copy that the user can
/// reach; each test has a user of its own. Without root's rights the tests' own user has to do.
pub(crate) fn program_as_user(user: u32, first: &str, home: &Path) -> Command {
    let copy = home.join("portcullis");
    if !copy.exists() {
        std::fs::copy(program(None).get_program(), &copy).expect("a copy");
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{first} && exec \"$0\" \"$@\"")).arg(&copy);
    if geteuid().is_root() {
        for path in [home, &copy] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("ours");
            chown(path, Some(user), Some(user)).expect("root may");
        }
        command.uid(user).gid(user);
    }
    command
}

/// The program in a mount namespace of its own, where /etc has this default config alone, or is
/// empty; `None`: making one needs a privilege, or unshare(1), that this host does not have.
pub(crate) fn program_with_etc(config: Option<&Path>) -> Option<Command> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg(if geteuid().is_root() { "-m" } else { "-rm" });
        command
    };
    let possible = unshare().args(["mount", "-t", "tmpfs", "none", "/etc"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("no privilege or no unshare(1) for an /etc of its own: not checked");
        return None;
    }
    let copy = config.map_or_else(String::new, |path| {
        format!("cp {} /etc/portcullis/portcullis.toml && ", path.display())
    });
    let mut command = unshare();
    command.args(["sh", "-c"]).arg(format!(
        "mount -t tmpfs none /etc && mkdir /etc/portcullis && {copy}exec \"$0\" \"$@\""
    ));
    command.arg(program(None).get_program());
    Some(command)
}

/// The same as [`program`], handed one or two passive sockets the way a service manager does. The
/// shell moves them to where they belong and becomes the program, so that LISTEN_PID is right.
pub(crate) fn activated_program(sockets: &[&TcpListener]) -> Command {
    let script = "exec 3<&0 4>&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(program(None).get_program());
    let clone = |socket: &TcpListener| OwnedFd::from(socket.try_clone().expect("a descriptor"));
    command.stdin(clone(sockets[0]));
    // What is beyond the count is not looked at.
    command.stdout(sockets.get(1).map_or_else(Stdio::null, |socket| clone(socket).into()));
    command.env("LISTEN_FDS", sockets.len().to_string());
    command
}

/// The tests' own clients and servers take ordinary descriptors: as many as the host allows.
fn allow_many_files() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit of open files");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the soft limit may be the hard one");
}

/// A directory for one gateway's files, removed with it.
pub(crate) struct Home {
    path: PathBuf,
}

impl Home {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a config file there; unless it says otherwise, the log has each connection's end, and
    /// connections go over what `PORTCULLIS_TEST_IO` says: the whole suite runs over epoll so.
    pub(crate) fn write(&self, name: &str, config: &str) -> PathBuf {
        let path = self.path.join(name);
        let io = std::env::var("PORTCULLIS_TEST_IO").ok().filter(|_| !config.contains("\nio = "));
        let config = io.map_or_else(|| config.to_owned(), |io| over(&io, config));
        let level = if config.contains("[log]") { "" } else { "\n[log]\nlevel = \"debug\"\n" };
        std::fs::write(&path, format!("{config}{level}")).expect("the config is written");
        path
    }

    pub(crate) fn new() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("portcullis-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory for the gateway's files");
        Arc::new(Self { path })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.path));
    }
}
