//! A config as the text of a file that means the same, every key in it.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use humantime_serde::re::humantime::format_duration;

use super::file::quoted;
use super::{
    AccessLog, AccessPath, Admin, AdminSocket, AtLimit, Auto, Balance, Builtin, Config, Gateway,
    Level, Listener, Log, LogFormat, RingConfig, Server, Status, Timeouts, Upstream, UpstreamKind,
};

impl Config {
    /// The text of a file that gives this config again, but for the file's own digest: defaults are
    /// written, variables are what they stood for.
    pub fn written(&self) -> String {
        let Config {
            gateway,
            ring,
            listeners,
            upstreams,
            admin,
            status,
            log,
            access_log,
            file_sha256: _,
        } = self;
        let mut out = Text::default();
        out.gateway(gateway);
        out.ring(ring);
        for listener in listeners {
            out.listener(listener, &upstreams[listener.upstream].name);
        }
        for upstream in upstreams {
            out.upstream(upstream);
        }
        out.admin(admin);
        out.status(status);
        out.log(log);
        out.access_log(access_log);
        out.0.trim_end().to_owned()
    }
}

/// What is written so far.
#[derive(Default)]
struct Text(String);

impl Text {
    fn section(&mut self, path: &str) {
        self.0 += &format!("\n[{path}]\n");
    }

    /// A value that is TOML as it is shown.
    fn plain(&mut self, key: &str, value: impl Display) {
        self.0 += &format!("{key} = {value}\n");
    }

    fn word(&mut self, key: &str, word: &str) {
        self.plain(key, quoted(word));
    }

    fn words<T: Display>(&mut self, key: &str, words: impl IntoIterator<Item = T>) {
        let words = words.into_iter().map(|word| quoted(&word.to_string()));
        self.plain(key, format!("[{}]", words.collect::<Vec<_>>().join(", ")));
    }

    fn auto<T: Display>(&mut self, key: &str, value: Auto<T>) {
        match value {
            Auto::Auto => self.word(key, "auto"),
            Auto::Fixed(value) => self.plain(key, value),
        }
    }

    fn duration(&mut self, key: &str, value: impl Into<Option<Duration>>) {
        let text = value.into().map(|duration| format_duration(duration).to_string());
        self.word(key, text.as_deref().unwrap_or("off"));
    }

    fn path(&mut self, key: &str, path: &Path) {
        self.word(key, &path.display().to_string());
    }

    fn gateway(&mut self, gateway: &Gateway) {
        let Gateway { max_connections, memory_limit, workers, pin_workers, drain_timeout } =
            gateway;
        self.section("gateway");
        self.auto("max_connections", *max_connections);
        match memory_limit {
            Auto::Auto => self.word("memory_limit", "auto"),
            Auto::Fixed(bytes) => self.word("memory_limit", &format!("{bytes}B")),
        }
        self.auto("workers", *workers);
        self.auto("pin_workers", *pin_workers);
        self.duration("drain_timeout", *drain_timeout);
    }

    fn ring(&mut self, ring: &RingConfig) {
        let RingConfig {
            submission_entries,
            completion_entries,
            buffer_bytes,
            buffer_count,
            batch_wait,
            quiet_after,
            splice_pipes,
        } = ring;
        self.section("ring");
        self.plain("submission_entries", submission_entries);
        self.plain("completion_entries", completion_entries);
        self.word("buffer_size", &format!("{buffer_bytes}B"));
        self.plain("buffer_count", buffer_count);
        self.duration("batch_wait", *batch_wait);
        self.duration("quiet_after", *quiet_after);
        self.plain("splice_pipes", splice_pipes);
    }

    fn listener(&mut self, listener: &Listener, upstream_name: &str) {
        let Listener { name, bind, upstream: _, backlog, max_connections, at_limit, timeouts } =
            listener;
        // Its connect timeout is the upstream's.
        let Timeouts { connect: _, first_byte, idle, half_close, max_lifetime } = timeouts;
        self.section(&format!("listener.{name}"));
        self.words("bind", bind);
        self.word("upstream", upstream_name);
        self.auto("backlog", *backlog);
        match max_connections {
            None => self.word("max_connections", "off"),
            Some(clients) => self.plain("max_connections", clients),
        }
        let at_limit = match at_limit {
            AtLimit::Queue => "queue",
            AtLimit::Reset => "reset",
        };
        self.word("at_limit", at_limit);
        self.duration("first_byte_timeout", *first_byte);
        self.duration("idle_timeout", *idle);
        self.duration("half_close_timeout", *half_close);
        self.duration("max_lifetime", *max_lifetime);
    }

    fn upstream(&mut self, upstream: &Upstream) {
        let Upstream { name, kind, connect_timeout } = upstream;
        self.section(&format!("upstream.{name}"));
        match kind {
            UpstreamKind::Builtin(builtin) => {
                let builtin = match builtin {
                    Builtin::Echo => "echo",
                    Builtin::Discard => "discard",
                    Builtin::Hold => "hold",
                };
                self.word("builtin", builtin);
            }
            UpstreamKind::Servers { servers, balance } => {
                let lines: Vec<String> = servers.iter().map(server).collect();
                self.plain("servers", format!("[\n    {},\n]", lines.join(",\n    ")));
                let mut sources: Vec<IpAddr> = servers.iter().filter_map(|it| it.source).collect();
                sources.sort_unstable();
                sources.dedup();
                self.words("source_addresses", sources);
                let balance = match balance {
                    Balance::RoundRobin => "round-robin",
                    Balance::LeastConnections => "least-connections",
                };
                self.word("balance", balance);
            }
        }
        self.duration("connect_timeout", *connect_timeout);
    }

    fn admin(&mut self, Admin { socket, mode, group }: &Admin) {
        self.section("admin");
        match socket {
            AdminSocket::Auto => self.word("socket", "auto"),
            AdminSocket::Off => self.word("socket", "off"),
            AdminSocket::At(path) => self.path("socket", path),
        }
        self.word("mode", &format!("{mode:04o}"));
        if let Some(group) = group {
            self.word("group", group);
        }
    }

    fn status(&mut self, Status { bind, allow, hosts }: &Status) {
        self.section("status");
        let bind = bind.map(|bind| bind.to_string());
        self.word("bind", bind.as_deref().unwrap_or("off"));
        self.words("allow", allow);
        self.words("hosts", hosts);
    }

    fn log(&mut self, Log { level, format }: &Log) {
        self.section("log");
        let level = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        self.word("level", level);
        self.format(*format);
    }

    fn format(&mut self, format: LogFormat) {
        let format = match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        self.word("format", format);
    }

    fn access_log(&mut self, log: &AccessLog) {
        let AccessLog { path, format, openings, empty, queue_lines } = log;
        self.section("access_log");
        match path {
            AccessPath::Off => self.word("path", "off"),
            AccessPath::Stdout => self.word("path", "stdout"),
            AccessPath::File(path) => self.path("path", path),
        }
        self.format(*format);
        self.plain("openings", openings);
        self.plain("empty", empty);
        self.plain("queue_lines", queue_lines);
    }
}

fn server(server: &Server) -> String {
    let Server { name, address, source: _, weight } = server;
    let (name, address) = (quoted(name), quoted(&address.to_string()));
    format!("{{ name = {name}, address = {address}, weight = {weight} }}")
}
