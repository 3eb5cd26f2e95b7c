//! The access log: takes the workers' notes and writes a line for each, on a thread of its own.

mod error;
mod file;
mod line;
mod logs;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::{Clock, Micros, Millis};
use crate::config::{self, AccessPath, LogFormat};
use crate::metrics::reading::{self, Failing};
use crate::worker::AccessQueue;
pub use error::AccessLogError;
use file::append_to;
use line::write_line;
pub use logs::AccessLogs;

/// Between two polls of the queues. A worker that woke the thread instead would make a call to
/// the kernel for each line.
const POLL_QUEUES: Duration = Duration::from_millis(20);
/// Bytes that are gathered before they are written.
const BATCH_BYTES: usize = 256 << 10;
/// Between two warnings about lost lines.
const COMPLAINT: Duration = Duration::from_secs(60);
/// How long a gateway that ends in order waits for the last lines.
pub const LAST_LINES: Duration = Duration::from_secs(3);
/// Between two polls of the writing thread in that time.
const POLL_THREAD: Duration = Duration::from_millis(10);

/// Where the lines go.
#[derive(Debug)]
enum Sink {
    /// Standard output.
    Stdout,
    /// A file that can be reopened.
    File(PathBuf, File),
}

impl Sink {
    /// Opens what the config names; `None`: there is no access log.
    fn open(path: &AccessPath) -> io::Result<Option<Sink>> {
        Ok(match path {
            AccessPath::Off => None,
            AccessPath::Stdout => Some(Sink::Stdout),
            AccessPath::File(path) => Some(Sink::File(path.clone(), append_to(path)?)),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Sink::File(_, file) => file.write_all(bytes),
        }
    }
}

/// A running access log; cheap to clone.
#[derive(Clone, Debug)]
struct AccessLog(Arc<State>);

#[derive(Debug)]
struct State {
    queues: Vec<Arc<AccessQueue>>,
    has_file: bool,
    written: AtomicU64,
    failed: AtomicU64,
    /// The writer sets it, readings look at it; no worker does either.
    failing: Mutex<Option<Failing>>,
    reopen: AtomicBool,
    stop: AtomicBool,
    /// Workers go over to another one, or to none: it ends when none of them has a queue of it.
    is_replaced: AtomicBool,
}

/// An access log and the thread that writes it. Dropped, it ends with the lines that wait.
#[derive(Debug)]
pub struct Writing {
    log: AccessLog,
    thread: JoinHandle<()>,
}

impl Writing {
    /// Opens what the config names, and begins to write what comes out of a queue for each worker;
    /// `None`: the config wants no access log.
    ///
    /// # Errors
    /// When the file cannot be opened for writing, or the thread not be started.
    pub fn open(
        config: &config::AccessLog,
        workers: usize,
        clock: &Clock,
    ) -> Result<Option<Writing>, AccessLogError> {
        let failed = |error| AccessLogError { path: config.path.clone(), error };
        let Some(sink) = Sink::open(&config.path).map_err(failed)? else { return Ok(None) };
        let queue = || Arc::new(AccessQueue::new(config.queue_lines as usize));
        let queues = (0..workers).map(|_| queue()).collect();
        let log = AccessLog(Arc::new(State {
            queues,
            has_file: matches!(sink, Sink::File(..)),
            written: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            failing: Mutex::default(),
            reopen: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            is_replaced: AtomicBool::new(false),
        }));
        let writer = Writer::new(log.clone(), sink, config.format, clock.clone());
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        let thread = thread.spawn(move || writer.run()).map_err(failed)?;
        Ok(Some(Writing { log, thread }))
    }

    /// The queue of a worker.
    pub fn queue(&self, worker: usize) -> Option<Arc<AccessQueue>> {
        self.log.0.queues.get(worker).cloned()
    }

    /// Waits until the thread has ended, for so long at most; says whether it has.
    fn wait(&self, within: Duration) -> bool {
        for _ in 0..within.as_millis() / POLL_THREAD.as_millis() {
            if self.thread.is_finished() {
                return true;
            }
            std::thread::sleep(POLL_THREAD);
        }
        self.thread.is_finished()
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.log.0.stop.store(true, Ordering::SeqCst);
    }
}

impl AccessLog {
    /// Reopens the file, which a rotation has moved away; false when there is no file.
    fn reopen(&self) -> bool {
        self.0.reopen.store(self.0.has_file, Ordering::SeqCst);
        self.0.has_file
    }

    /// The counts of written and lost lines so far.
    fn counts(&self) -> reading::AccessLog {
        let State { written, failed, failing, .. } = &*self.0;
        reading::AccessLog {
            written: written.load(Ordering::Relaxed),
            dropped: self.dropped(),
            failed: failed.load(Ordering::Relaxed),
            failing: failing.lock().expect("nobody panics while holding it").clone(),
        }
    }

    /// No worker has a queue of it any more, and so none puts anything into one.
    fn is_left(&self) -> bool {
        let State { is_replaced, queues, .. } = &*self.0;
        let is_left = is_replaced.load(Ordering::SeqCst)
            && queues.iter().all(|queue| Arc::strong_count(queue) == 1);
        // With what the last holder had put there before it let go.
        fence(Ordering::Acquire);
        is_left
    }

    fn dropped(&self) -> u64 {
        self.0.queues.iter().map(|queue| queue.dropped()).sum()
    }

    /// How the last write went.
    fn enter(&self, outcome: &io::Result<()>, now: Micros) {
        let mut failing = self.0.failing.lock().expect("nobody panics while holding it");
        *failing = outcome.as_ref().err().map(|error| Failing {
            since_seconds: failing.as_ref().map_or(now.0 as f64 / 1e6, |it| it.since_seconds),
            because: error.to_string(),
        });
    }
}

struct Writer {
    log: AccessLog,
    sink: Sink,
    format: LogFormat,
    clock: Clock,
    text: Vec<u8>,
    /// The last write failed, perhaps within a line.
    torn: bool,
    complained: Option<Millis>,
    /// Lines lost that were complained about.
    lost: u64,
}

impl Writer {
    fn new(log: AccessLog, sink: Sink, format: LogFormat, clock: Clock) -> Writer {
        let text = Vec::with_capacity(BATCH_BYTES);
        Writer { log, sink, format, clock, text, torn: false, complained: None, lost: 0 }
    }

    fn run(mut self) {
        loop {
            // What was noted before is there once this says so.
            let stop = self.log.0.stop.load(Ordering::SeqCst) || self.log.is_left();
            if self.log.0.reopen.swap(false, Ordering::SeqCst) {
                self.reopen();
            }
            let wrote = self.write_batch();
            self.complain();
            if !wrote && stop {
                return;
            }
            if !wrote {
                std::thread::sleep(POLL_QUEUES);
            }
        }
    }

    /// Writes a bounded number of lines; false when there was none.
    fn write_batch(&mut self) -> bool {
        let began = self.clock.began();
        self.text.clear();
        if self.torn {
            self.text.push(b'\n');
        }
        let mut count = 0;
        for queue in &self.log.0.queues {
            let share = self.text.len() + BATCH_BYTES / self.log.0.queues.len();
            while self.text.len() < share {
                let Some(note) = queue.take() else { break };
                write_line(&mut self.text, self.format, &note, began);
                count += 1;
            }
        }
        if count == 0 {
            return false;
        }
        let outcome = self.sink.write(&self.text);
        self.log.enter(&outcome, self.clock.micros());
        self.torn = outcome.is_err();
        let counter = if self.torn { &self.log.0.failed } else { &self.log.0.written };
        counter.fetch_add(count, Ordering::Relaxed);
        if let Err(error) = outcome
            && self.may_complain()
        {
            tracing::error!(%error, "the access log cannot be written; lines are lost");
        }
        true
    }

    fn reopen(&mut self) {
        let Sink::File(path, file) = &mut self.sink else { return };
        match append_to(path) {
            Ok(new) => {
                *file = new;
                self.torn = false;
                tracing::info!(path = %path.display(), "the access log was reopened");
            }
            Err(error) => {
                let path = path.display();
                tracing::error!(%path, %error, "the access log goes on in the file that it has");
            }
        }
    }

    /// Says from time to time that lines were dropped.
    fn complain(&mut self) {
        let dropped = self.log.dropped();
        if dropped > self.lost && self.may_complain() {
            let lines = dropped - self.lost;
            tracing::warn!(lines, "the access log was too slow for them; they were dropped");
            self.lost = dropped;
        }
    }

    fn may_complain(&mut self) -> bool {
        let now = self.clock.now();
        let may = self.complained.is_none_or(|then| now.since(then) >= COMPLAINT);
        if may {
            self.complained = Some(now);
        }
        may
    }
}
