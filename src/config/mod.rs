//! The gateway's configuration: text becomes one checked, typed, immutable [`Config`].

mod address;
mod check;
mod control;
mod error;
mod file;
mod keys;
mod listener;
mod loops;
mod read;
mod syntax;
mod taken;
mod upstream;
mod written;

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

pub use error::{ConfigError, ConfigErrors};
pub use keys::{SECTIONS, SectionKeys};

/// A config file is smaller than this; 65,535 servers with names take 4 MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Everything a config file says, checked as a whole: whoever holds one need not check again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What concerns the process.
    pub gateway: Gateway,
    /// Sizes of each worker's ring.
    pub ring: RingConfig,
    /// In the order of the file; at least one.
    pub listeners: Vec<Listener>,
    /// In the order of the file.
    pub upstreams: Vec<Upstream>,
    /// Where the gateway is steered.
    pub admin: Admin,
    /// Where it is seen.
    pub status: Status,
    /// What the log says, and how.
    pub log: Log,
    /// Where a line goes for every connection.
    pub access_log: AccessLog,
    /// SHA-256 of the file that was loaded, in hexadecimal; `None`: there was none.
    pub file_sha256: Option<String>,
}

/// A value that the gateway works out by itself unless somebody fixed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto<T> {
    /// Worked out at the start, from what the host allows.
    Auto,
    /// Written in the file.
    Fixed(T),
}

/// What concerns the process as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Clients held at once over all listeners, 1 to 100,000,000 and 2²⁴ per worker.
    pub max_connections: Auto<u32>,
    /// Bytes of memory, the kernel's and ours, that connections may take, 1 MiB to 1 PiB.
    pub memory_limit: Auto<u64>,
    /// Worker threads, 1 to 1,024.
    pub workers: Auto<u16>,
    /// Whether each worker stays on a core of its own.
    pub pin_workers: Auto<bool>,
    /// From the first signal to the end of the process, at most.
    pub drain_timeout: Duration,
}

impl Default for Gateway {
    fn default() -> Gateway {
        Gateway {
            max_connections: Auto::Auto,
            memory_limit: Auto::Auto,
            workers: Auto::Auto,
            pin_workers: Auto::Auto,
            drain_timeout: Duration::from_secs(25),
        }
    }
}

/// Sizes per worker, divided among its kernel rings when it has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// A power of two, 64 to 32,768.
    pub submission_entries: u32,
    /// A power of two, at least twice `submission_entries`, at most 131,072.
    pub completion_entries: u32,
    /// Bytes in one provided buffer, 1 KiB to 1 MiB.
    pub buffer_bytes: u32,
    /// Provided buffers, 8 to 32,768.
    pub buffer_count: u32,
    /// How long a turn waits for a batch of completions, 10 µs to 10 ms; none does not.
    pub batch_wait: Option<Duration>,
    /// Without a byte in either direction, until a connection waits without a receive.
    pub quiet_after: Duration,
    /// Pipes for splices, and connections that splice, 0 to 4,096.
    pub splice_pipes: u32,
}

impl Default for RingConfig {
    fn default() -> RingConfig {
        RingConfig {
            submission_entries: 4096,
            completion_entries: 16_384,
            buffer_bytes: 16 << 10,
            buffer_count: 1024,
            batch_wait: None,
            quiet_after: Duration::from_secs(10),
            splice_pipes: 64,
        }
    }
}

/// A named set of bound addresses with one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Letters, digits, `-` and `_`; no two listeners share one.
    pub name: String,
    /// At least one; no address twice over all listeners, but for port 0 (any free port). A
    /// wildcard IPv6 address means IPv6 only.
    pub bind: Vec<SocketAddr>,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// Completed handshakes that may wait, per passive socket; 1 to 2³¹ − 1.
    pub backlog: Auto<u32>,
    /// Clients held at once over its addresses, 1 to 100,000,000; `None`: the gateway's limit only.
    pub max_connections: Option<u32>,
    /// What becomes of clients beyond that, or beyond the gateway's limit.
    pub at_limit: AtLimit,
    /// When a connection of this listener ends by itself.
    pub timeouts: Timeouts,
}

/// What becomes of clients beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLimit {
    /// They wait in the backlog until somebody leaves.
    Queue,
    /// They are accepted and reset at once, so that they go elsewhere.
    Reset,
}

impl Listener {
    /// An "auto" backlog: more than any host's `net.core.somaxconn` by default, which cuts it.
    const BACKLOG: u32 = 65_535;

    /// The backlog that the kernel is asked for.
    pub fn asked_backlog(&self) -> u32 {
        match self.backlog {
            Auto::Auto => Listener::BACKLOG,
            Auto::Fixed(clients) => clients,
        }
    }
}

/// When a connection ends by itself; `None` is `"off"`. None is zero, none exceeds ten years.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection to a server to be made: the upstream's `connect_timeout`.
    pub connect: Duration,
    /// From the accept to the client's first byte.
    pub first_byte: Option<Duration>,
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
    /// Without a byte since one side's FIN.
    pub half_close: Option<Duration>,
    /// From the accept to the end, whatever happens.
    pub max_lifetime: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Upstream::CONNECT_TIMEOUT,
            first_byte: None,
            idle: Some(Duration::from_secs(3600)),
            half_close: Some(Duration::from_secs(60)),
            max_lifetime: None,
        }
    }
}

/// A named destination of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Letters, digits, `-` and `_`; no two upstreams share one.
    pub name: String,
    /// Who answers.
    pub kind: UpstreamKind,
    /// For a connection to a server to be made.
    pub connect_timeout: Duration,
}

impl Upstream {
    /// The connect timeout when the file names none.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
}

/// Who answers a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// A server, over a socket of its own.
    Servers {
        /// At least one, in the order of the file.
        servers: Vec<Server>,
        /// How one of them is chosen.
        balance: Balance,
    },
    /// The gateway itself.
    Builtin(Builtin),
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// As written, or the address; no two servers of an upstream share one.
    pub name: String,
    /// Where it listens: never a wildcard, never port 0.
    pub address: SocketAddr,
    /// The local address to connect from, of the same family; `None`: the kernel chooses.
    pub source: Option<IpAddr>,
    /// Its share of new connections, in relation to the others' of the upstream, at most
    /// [`MAX_WEIGHT`]; 0: none.
    pub weight: u32,
}

/// The largest share of new connections that a server may have.
pub const MAX_WEIGHT: u32 = 100;

/// How a server is chosen for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest connections.
    LeastConnections,
}

/// What the gateway answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// Every byte, back.
    Echo,
    /// Nothing; bytes are read and dropped.
    Discard,
    /// Nothing; bytes are not read.
    Hold,
}

/// The unix socket of the commands that change something or name clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it is.
    pub socket: AdminSocket,
    /// Its permissions, at most 0o777.
    pub mode: u32,
    /// The group that owns it, by name or number; `None`: the process's.
    pub group: Option<String>,
}

/// Where an admin socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminSocket {
    /// `admin-PID.sock` beside the locks, in the runtime directory.
    Auto,
    /// Nowhere: only signals steer the gateway.
    Off,
    /// At this absolute path.
    At(PathBuf),
}

impl Admin {
    /// Connections at one time: operators and their scripts.
    pub const CONNECTIONS: usize = 16;
}

impl Default for Admin {
    fn default() -> Admin {
        Admin { socket: AdminSocket::Auto, mode: 0o600, group: None }
    }
}

/// The TCP address that answers what anybody may read: metrics, health, the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where it listens; `None`: nowhere.
    pub bind: Option<SocketAddr>,
    /// Networks whose clients are answered.
    pub allow: Vec<IpNet>,
    /// Names of the host, beside its own, under which it may be asked.
    pub hosts: Vec<String>,
}

impl Status {
    /// Where it listens when the file does not say. A second gateway of the same host goes without.
    pub const BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7001);
    /// Connections at one time: scrapers, balancers and a few people.
    pub const CONNECTIONS: usize = 32;
}

impl Default for Status {
    fn default() -> Status {
        let loopback = IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
        let allow = vec![loopback, IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST))];
        Status { bind: Some(Status::BIND), allow, hosts: Vec::new() }
    }
}

/// What the log says, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is written.
    pub level: Level,
    /// The shape of a line.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: Level::Info, format: LogFormat::Text }
    }
}

/// A line for every connection that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where it goes.
    pub path: AccessPath,
    /// The shape of a line.
    pub format: LogFormat,
    /// There is a line for a connection's opening, too.
    pub openings: bool,
    /// There are lines for connections that carried no byte before their client left.
    pub empty: bool,
    /// Lines of one worker that may wait to be written; more are dropped.
    pub queue_lines: u32,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessPath {
    /// Nowhere: there is none.
    Off,
    /// To the process's standard output.
    Stdout,
    /// Into the file with this absolute path, at its end.
    File(PathBuf),
}

impl Default for AccessLog {
    fn default() -> AccessLog {
        AccessLog {
            path: AccessPath::Off,
            format: LogFormat::Text,
            openings: false,
            empty: false,
            queue_lines: 16_384,
        }
    }
}

/// How important a line of the log is, most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something was lost or cannot go on.
    Error,
    /// Something will go wrong, or did and was mended.
    Warn,
    /// What an operator wants to see once.
    Info,
    /// Each connection.
    Debug,
    /// Each event.
    Trace,
}

/// The shape of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

impl Config {
    /// What runs without a file: listener `default` on 127.0.0.1:7000, answered by an echo.
    pub fn embedded() -> Config {
        let upstream = Upstream {
            name: "default".to_owned(),
            kind: UpstreamKind::Builtin(Builtin::Echo),
            connect_timeout: Upstream::CONNECT_TIMEOUT,
        };
        let listener = Listener {
            name: "default".to_owned(),
            bind: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 7000))],
            upstream: 0,
            backlog: Auto::Auto,
            max_connections: None,
            at_limit: AtLimit::Queue,
            timeouts: Timeouts::default(),
        };
        Config {
            gateway: Gateway::default(),
            ring: RingConfig::default(),
            listeners: vec![listener],
            upstreams: vec![upstream],
            admin: Admin::default(),
            status: Status::default(),
            log: Log::default(),
            access_log: AccessLog::default(),
            file_sha256: None,
        }
    }

    /// Reads and checks the file at `path`, with the process's environment.
    ///
    /// # Errors
    /// Everything that is wrong with the file, in the order of its lines.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        let file_name = path.display().to_string();
        let unreadable = |rule: String, remedy: &str| {
            ConfigErrors::from(ConfigError {
                file: file_name.clone(),
                line: None,
                key: None,
                value: None,
                rule,
                remedy: remedy.to_owned(),
                excerpt: None,
            })
        };
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| {
                let rule = format!("cannot be read: {error}");
                unreadable(rule, "name a file that this user can read")
            })?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let rule = format!("is larger than {MAX_FILE_BYTES} bytes");
            return Err(unreadable(rule, "name a config file"));
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| unreadable(error.to_string(), "save the file as UTF-8"))?;
        let config = Config::parse(&text, &file_name, &|name| std::env::var(name).ok())?;
        let digest = Sha256::digest(&text);
        let hexadecimal = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Config { file_sha256: Some(hexadecimal), ..config })
    }

    /// The log's format that the file at `path` asks for, whatever else is wrong with it.
    pub fn log_format(path: &Path) -> LogFormat {
        let mut text = String::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
        match read.ok().and_then(|_| file::word(&text, "log", "format")).as_deref() {
            Some("json") => LogFormat::Json,
            _ => LogFormat::Text,
        }
    }

    /// Checks `text`; `file_name` is what errors call it, `env` what `${VAR}` stands for.
    ///
    /// # Errors
    /// Everything that is wrong with the text, in the order of its lines.
    pub fn parse(
        text: &str,
        file_name: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigErrors> {
        let source = file::Source::new(text, file_name);
        let mut problems = Vec::new();
        let config =
            file::read(&source, env, &mut problems).map(|root| check::config(&root, &mut problems));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigErrors::new(problems)),
        }
    }
}
