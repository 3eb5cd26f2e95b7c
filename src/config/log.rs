//! `[log]` and `[access_log]`: what the gateway writes.

use std::path::PathBuf;

use crate::config::form::{AS_IT_STANDS, Choice, Number, Switch, Word};
use crate::config::key::SectionKeys;
use crate::config::keys::keys;
use crate::config::{AccessPath, Level, LogFormat};

pub(super) const LOG: SectionKeys =
    SectionKeys { section: "log", about: "", keys: &[Log::KEYS], later: &[] };

pub(super) const ACCESS_LOG: SectionKeys =
    SectionKeys { section: "access_log", about: "", keys: &[AccessLog::KEYS], later: &[] };

const LEVELS: Choice<Level> = Choice {
    words: &[
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ],
    later: &[],
};

const FORMATS: Choice<LogFormat> =
    Choice { words: &[("text", LogFormat::Text), ("json", LogFormat::Json)], later: &[] };

const PATHS: Word<AccessPath> = Word {
    values: "\"off\", \"stdout\" or an absolute path",
    accept: |word| match word {
        "off" => Some(AccessPath::Off),
        "stdout" => Some(AccessPath::Stdout),
        path => path.starts_with('/').then(|| AccessPath::File(PathBuf::from(path))),
    },
    show: |path| match path {
        AccessPath::Off => "off".into(),
        AccessPath::Stdout => "stdout".into(),
        AccessPath::File(path) => path.to_string_lossy(),
    },
};

keys! {
    /// What the log says, and how.
    Log;

    /// The least important level that is written.
    ///
    /// Write "debug" to see each connection begin and end, "warn" when only trouble matters.
    "level" level: Level = "info", Live, LEVELS, AS_IT_STANDS;

    /// The shape of a line: "text" for people, "json" (one object per line) for what collects logs.
    "format" format: LogFormat = "text", Live, FORMATS, AS_IT_STANDS;
}

keys! {
    /// A line for every connection that ended.
    AccessLog;

    /// Where a line goes for every connection that ended. Its client, listener and server, its
    /// bytes each way, how long it lasted and why it ended.
    ///
    /// Write a path to answer who was connected when; SIGUSR1 opens the file again after rotation
    /// (logrotate: postrotate kill -USR1 PID). Naming clients costs a question to the kernel for
    /// each. In a directory that other users can write to, a link or another user's file is
    /// refused.
    "path" path: AccessPath = "off", Live, PATHS, "write \"/var/log/portcullis/access.log\"";

    /// The shape of a line: "text" for people, "json" (one object per line) for what collects logs.
    "format" format: LogFormat = "text", Live, FORMATS, AS_IT_STANDS;

    /// Whether there is a line for a connection's opening, too.
    ///
    /// Set it when connections last for days and you want to see who holds them.
    "openings" openings: bool = false, Live, Switch, "write it without quotes";

    /// Whether there are lines for connections that carried no byte before their client left.
    ///
    /// Set it when you look for scanners; a balancer's probes are such connections.
    "empty" empty: bool = false, Live, Switch, "write it without quotes";

    /// Lines of one worker that may wait to be written, 320 bytes each. More are dropped and
    /// counted.
    ///
    /// Raise it when portcullis_access_log_lines_total with outcome="dropped" grows.
    "queue_lines" queue_lines: u32 = 16_384, Live, Number(1..=1_048_576),
        "write how many lines may wait while the disk is busy, 320 bytes each";
}
