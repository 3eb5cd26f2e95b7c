//! The lines that a gateway writes, as they come.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use super::PATIENCE;

/// Collects a program's lines in a thread of its own, so that its pipe never fills.
pub(crate) struct Log {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    pub(crate) fn collect(pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                writer.state.lock().unwrap().lines.push(line);
                writer.changed.notify_all();
            }
            writer.state.lock().unwrap().ended = true;
            writer.changed.notify_all();
        });
        Self { shared, reader: Some(reader) }
    }

    /// Every line so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().lines.clone()
    }

    /// Waits until `count` lines hold `fragment`, and returns those.
    pub(crate) fn wait_for(&self, fragment: &str, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let (mut found, mut seen) = (Vec::new(), 0);
        let mut state = self.shared.state.lock().unwrap();
        loop {
            found.extend(state.lines[seen..].iter().filter(|l| l.contains(fragment)).cloned());
            seen = state.lines.len();
            if found.len() >= count {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let why = if state.ended { "the program ended" } else { "waited in vain" };
            if state.ended || left.is_zero() {
                drop(state);
                panic!("{} of {count} lines with \"{fragment}\": {why}", found.len());
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Every line, once the program has ended.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log's reader does not panic");
        }
        self.lines()
    }
}

/// The value of `key=value` in a line.
pub(crate) fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// The value of `key=value` in a line that must have it, parsed.
pub(crate) fn parsed<T: std::str::FromStr>(line: &str, key: &str) -> T {
    field(line, key)
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no usable {key}= in \"{line}\""))
}
