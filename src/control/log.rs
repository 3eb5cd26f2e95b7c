//! The log: lines to stderr through a bounded queue, so that no thread waits for a pipe. Its level
//! and format may change while it is written.

use std::fmt;
use std::io::{self, Write};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Layered;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Layer, Registry, reload};

use crate::base::plain;
use crate::config::{Level, Log, LogFormat};
use crate::host::signals;

/// Lines that may wait for stderr; more are dropped. At 200 bytes a line: 3 MB.
const LINES_WAITING: usize = 16_384;

/// Keeps the log alive; dropping it writes what still waits.
#[derive(Debug)]
pub struct LogGuard {
    _guard: WorkerGuard,
    /// For changes.
    pub settings: LogSettings,
}

/// The level and the format of the log, to be changed; cheap to clone.
#[derive(Clone)]
pub struct LogSettings {
    levels: reload::Handle<Targets, Filtered>,
    lines: reload::Handle<Lines, Registry>,
    writer: NonBlocking,
}

impl fmt::Debug for LogSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LogSettings").finish_non_exhaustive()
    }
}

/// Shapes and writes lines.
type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// What the levels filter.
type Filtered = Layered<reload::Layer<Lines, Registry>, Registry>;

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
    let (lines, lines_handle) = reload::Layer::new(lines_of(log, &writer));
    let (levels, levels_handle) = reload::Layer::new(levels_of(log));
    tracing_subscriber::registry().with(lines).with(levels).init();
    let settings = LogSettings { levels: levels_handle, lines: lines_handle, writer };
    LogGuard { _guard: guard, settings }
}

impl LogSettings {
    /// Goes by these from the next line on. A thread that logs at this moment waits for it: each
    /// line takes a read lock, which nobody holds otherwise.
    pub fn set(&self, log: &Log) {
        // It errs only when the subscriber is gone, and with it the log.
        let _ = self.lines.reload(lines_of(log, &self.writer));
        let _ = self.levels.reload(levels_of(log));
    }
}

fn levels_of(log: &Log) -> Targets {
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // The resolver's crates log each question in several lines.
    let others = level.min(LevelFilter::WARN);
    Targets::new().with_target("portcullis", level).with_default(others)
}

fn lines_of(log: &Log, writer: &NonBlocking) -> Lines {
    let (lines, writer) = (tracing_subscriber::fmt::layer().with_ansi(false), writer.clone());
    let lines = lines.with_target(false);
    match log.format {
        LogFormat::Text => Box::new(lines.with_writer(move || Plain(writer.clone()))),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_writer(writer)),
    }
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
