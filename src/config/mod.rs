//! The gateway's configuration: text becomes one checked, typed, immutable [`Config`].

mod address;
mod admin;
mod check;
mod difference;
mod error;
mod file;
mod form;
mod gateway;
mod key;
mod keys;
mod lead;
mod listener;
mod log;
mod loops;
mod manual;
mod read;
mod ring;
mod status;
mod syntax;
mod taken;
mod text;
mod upstream;
mod written;

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use admin::Admin;
pub use check::SECTIONS;
pub use difference::Difference;
pub use error::{ConfigError, ConfigErrors};
pub use gateway::Gateway;
pub use key::{Class, Key, SectionKeys};
pub use listener::{Listener, SocketOptions, Timeouts};
pub use log::{AccessLog, Log};
pub use manual::{documented, man_page};
pub use ring::RingConfig;
pub use status::Status;
pub use upstream::Upstream;

/// A config file is smaller than this; 65,535 servers with names take 4 MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Everything a config file says. A value of this type has been checked as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The section of the process.
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
    /// The section of the log.
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

/// The policy for clients beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLimit {
    /// They wait in the backlog until somebody leaves.
    Queue,
    /// They are accepted and reset at once, so that they go elsewhere.
    Reset,
}

/// The side that answers a connection.
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

pub use crate::base::limits::WEIGHT_MAX as MAX_WEIGHT;

/// How a server is chosen for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest connections.
    LeastConnections,
}

/// An upstream that the gateway answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// Every byte, back.
    Echo,
    /// Nothing; bytes are read and dropped.
    Discard,
    /// Nothing; bytes are not read.
    Hold,
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

/// How important a line of the log is, most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something was lost or cannot go on.
    Error,
    /// Something will go wrong, or did and was mended.
    Warn,
    /// Events that an operator wants to see once.
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
    /// The config of a run without a file: listener `default` on 127.0.0.1:7000, answered by an
    /// echo.
    pub fn embedded() -> Config {
        Config {
            gateway: Gateway::default(),
            ring: RingConfig::default(),
            listeners: vec![Listener::default()],
            upstreams: vec![Upstream::default()],
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
        let config = file::read(&source, &check::ROOT, env, &mut problems)
            .map(|root| check::config(&root, &mut problems));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigErrors::new(problems)),
        }
    }
}
