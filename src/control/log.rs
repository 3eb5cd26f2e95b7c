//! Sets the log up: lines to stderr through a bounded queue, so that no thread waits for a pipe.

use std::io::{self, Write};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;

use crate::base::plain;
use crate::config::{Level, Log, LogFormat};
use crate::host::signals;

/// Lines that may wait for stderr; more are dropped. At 200 bytes a line: 3 MB.
const LINES_WAITING: usize = 16_384;

/// Keeps the log alive; dropping it writes what still waits.
#[derive(Debug)]
pub struct LogGuard(#[allow(dead_code, reason = "held for its drop")] WorkerGuard);

/// Starts logging as the config says. What only [`signals::hold_requests`] holds back stays so.
///
/// # Panics
/// When called twice in a process.
pub fn start(log: &Log) -> LogGuard {
    // The log's thread inherits a mask that blocks them, so that none is delivered to it.
    signals::hold_ends();
    let (writer, guard): (NonBlocking, WorkerGuard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    signals::release_ends();
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_target(false);
    match log.format {
        LogFormat::Text => lines.with_writer(move || Plain(writer.clone())).init(),
        LogFormat::Json => lines.json().flatten_event(true).with_writer(writer).init(),
    }
    LogGuard(guard)
}

/// Lines for a terminal: tracing-subscriber 0.3 escapes control characters in the message alone,
/// and a field holds names and paths from elsewhere.
struct Plain<W>(W);

impl<W: Write> Write for Plain<W> {
    /// A call has whole lines.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.write_all(plain(&String::from_utf8_lossy(lines)).as_bytes())?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
