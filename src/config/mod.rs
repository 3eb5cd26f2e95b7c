//! The gateway's configuration: text becomes one checked, typed, immutable [`Config`].

mod access;
mod address;
mod admin;
mod check;
mod clients;
mod difference;
mod error;
mod file;
mod form;
mod forwarding;
mod gateway;
mod guards;
mod key;
mod keys;
mod lead;
mod listener;
mod log;
mod loops;
mod manual;
mod networks;
mod per_source;
mod preamble;
mod read;
mod resolver;
mod ring;
mod server_check;
mod server_set;
mod sniffing;
mod source;
mod status;
mod syntax;
mod taken;
mod text;
mod texts;
mod tls;
mod upstream;
mod written;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use access::Access;
pub use admin::Admin;
pub use check::SECTIONS;
pub use clients::{
    AcceptProxy, ConnectWhen, ConnectionRate, SendProxy, Sniff, SourceAction, Tlv, Unmatched,
};
pub use difference::Difference;
pub use error::{ConfigError, ConfigErrors};
pub use forwarding::Forwarding;
pub use gateway::Gateway;
pub use guards::Guards;
pub use key::{Class, Key, SectionKeys};
pub use listener::{Listener, SocketOptions, Timeouts};
pub use log::{AccessLog, Log};
pub use manual::{documented, man_page};
pub use networks::NetworkList;
pub use per_source::PerSource;
pub use preamble::Preamble;
pub use resolver::Resolver;
pub use ring::RingConfig;
pub use server_check::{ANSWER_MAX_BYTES, Check, CheckKind};
pub use server_set::{Named, ServerSet};
pub use sniffing::{NamedRoute, Sniffing};
pub use source::{ConfigSource, DEFAULT_FILE, Place};
pub use status::Status;
pub use tls::{
    CertificatePair, ClientCertificate, ListenerTls, ServerCa, TlsVersion, UnknownName, UpstreamTls,
};
pub use upstream::Upstream;

/// A config file is smaller than this; 65,535 servers with names take 4 MiB.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

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
    /// How names of servers are asked for.
    pub resolver: Resolver,
    /// Where the gateway is steered.
    pub admin: Admin,
    /// Where it is seen.
    pub status: Status,
    /// The section of the log.
    pub log: Log,
    /// Where a line goes for every connection.
    pub access_log: AccessLog,
    /// SHA-256 of the files that were read, one behind the other, in hexadecimal; `None`: there was
    /// none.
    pub file_sha256: Option<String>,
    /// These files, as errors call them.
    pub files: Vec<String>,
}

/// A value that the gateway works out by itself unless somebody fixed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto<T> {
    /// Worked out at the start, from what the host allows.
    Auto,
    /// Written in the file.
    Fixed(T),
}

/// How the gateway reaches the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// By io_uring where the host lets it, by epoll elsewhere.
    Auto,
    /// By io_uring.
    IoUring,
    /// By epoll.
    Epoll,
}

/// What becomes of connections whose listener or server is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRemoval {
    /// They end at a pace.
    Drain,
    /// They stay.
    Keep,
}

/// Where the gateway keeps what must outlive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateDirectory {
    /// Where the service manager says, or nowhere.
    Auto,
    /// Nowhere.
    Off,
    /// At this absolute path.
    At(PathBuf),
}

/// The policy for clients beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLimit {
    /// They wait in the backlog until somebody leaves.
    Queue,
    /// They are accepted and reset at once, so that they go elsewhere.
    Reset,
    /// They wait, and the connections that have been idle for longest make way for them.
    Evict,
}

impl AtLimit {
    /// Every policy.
    pub const ALL: [AtLimit; 3] = [AtLimit::Queue, AtLimit::Reset, AtLimit::Evict];

    /// What becomes of clients beyond a limit, in words.
    pub fn fate(self) -> &'static str {
        match self {
            AtLimit::Queue => "new clients wait in the backlog until others leave",
            AtLimit::Reset => "new clients are reset",
            AtLimit::Evict => "the connections that are idle for longest make way for new clients",
        }
    }
}

/// What is done with clients of an upstream of which no server serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum AllDown {
    /// They are sent to servers all the same, as if all served.
    #[default]
    TryAll,
    /// They are reset at once.
    Refuse,
    /// They wait for one that serves, for a time.
    Wait,
}

/// What becomes of the connections of a server that checks find down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDown {
    /// They stay.
    Keep,
    /// They end at a pace.
    Close,
}

impl AllDown {
    /// What becomes of its clients, in words.
    pub fn fate(self) -> &'static str {
        match self {
            AllDown::TryAll => "its clients are sent to servers all the same",
            AllDown::Refuse => "its clients are reset",
            AllDown::Wait => "its clients wait",
        }
    }
}

/// The side that answers a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// A server, over a socket of its own.
    Servers {
        /// As the file lists them; nobody where another origin knows them.
        set: ServerSet,
        /// Who knows them.
        origin: Origin,
        /// How one of them is chosen.
        balance: Balance,
    },
    /// The gateway itself.
    Builtin(Builtin),
}

impl UpstreamKind {
    /// Servers that the config lists.
    pub fn listed(servers: Vec<Server>, balance: Balance) -> UpstreamKind {
        UpstreamKind::Servers { set: ServerSet::of(servers), origin: Origin::List, balance }
    }
}

/// Who knows the servers of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The config file, until an operator says otherwise.
    List,
    /// The SRV records of this name.
    Srv(String),
    /// The file at this absolute path.
    File(PathBuf),
    /// An etcd cluster.
    Etcd {
        /// Where its members answer, each as `HOST:PORT`.
        endpoints: Vec<String>,
        /// What the keys of the servers begin with.
        prefix: String,
    },
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// As written, or the address; no two servers of an upstream share one.
    pub name: String,
    /// Where it listens: never a wildcard, never port 0.
    pub address: SocketAddr,
    /// What else its line says of it.
    pub terms: Terms,
}

/// What a line of a list says of a server beside its name and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Its share of new connections, in relation to the others' of the upstream, at most
    /// [`MAX_WEIGHT`]; 0: none.
    pub weight: u32,
    /// The most connections that it may have, those under way among them; `None`: any number.
    pub max_connections: Option<u32>,
    /// It gets connections only while no other server of the upstream serves.
    pub backup: bool,
}

impl Terms {
    /// Those of a line that says no more than a weight.
    pub const fn of_weight(weight: u32) -> Terms {
        Terms { weight, max_connections: None, backup: false }
    }
}

impl Default for Terms {
    fn default() -> Terms {
        Terms::of_weight(1)
    }
}

pub use crate::base::limits::WEIGHT_MAX as MAX_WEIGHT;

/// How a server is chosen for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest connections.
    LeastConnections,
    /// The one with fewer connections of two that are drawn.
    RandomTwo,
    /// The client's own, by its address.
    Source,
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
            resolver: Resolver::default(),
            admin: Admin::default(),
            status: Status::default(),
            log: Log::default(),
            access_log: AccessLog::default(),
            file_sha256: None,
            files: Vec::new(),
        }
    }

    /// The upstream of this name.
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|one| one.name == name)
    }

    /// The listener of this name.
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|one| one.name == name)
    }

    /// Reads and checks the file at `path` and those that it includes, with the process's
    /// environment.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of files and their lines.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        let place = Place::File(path.to_owned());
        ConfigSource { place, settings: Vec::new() }.load()
    }

    /// Whether a connection to `server` comes to the socket that is bound to `bound`.
    pub fn reaches(server: SocketAddr, bound: SocketAddr) -> bool {
        address::reaches(server, bound)
    }

    /// Checks `text`, and reads the files that it includes and those of networks that it names.
    /// `file_name` is what errors call it, and the place from which it includes; `env` is what
    /// `${VAR}` stands for.
    ///
    /// # Errors
    /// Everything that is wrong with the text, in the order of its lines.
    pub fn parse(
        text: &str,
        file_name: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigErrors> {
        Config::parse_with(text, file_name, &[], env)
    }

    /// The same with keys that are set over the text, each as `KEY=VALUE`.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse_with(
        text: &str,
        file_name: &str,
        settings: &[String],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigErrors> {
        let path = Some(Path::new(file_name));
        let texts = source::Texts { text, name: file_name, path };
        texts.checked(settings, env).map(|read| read.config)
    }
}
