//! A file with a set of servers, read again when it is replaced or edited.
//!
//! The file at the path is looked at four times a second, without reading it: its device, inode,
//! size and times. inotify would save these system calls, but it watches a file, not a path. A link
//! that is switched, a directory that is replaced (as Kubernetes does with a ConfigMap) and a file
//! system of the network would each need a look all the same.
//!
//! A file that has changed is read once it has stayed as it is from one look to the next: a program
//! that empties a file and fills it again is not met in between.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::time::sleep;

use super::aside::aside;
use super::bad::Bad;
use super::stamp::{Stamp, stamp};
use super::{Outcome, SetSink};
use crate::config::{ConfigError, MAX_FILE_BYTES, ServerSet};

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// Looks without a change after which a file is read.
const SETTLED: u32 = 1;
/// Looks after which it is read again: a second writer may have come within one tick of the file
/// system's clock, which leaves no trace in the times.
const SETTLED_LONG: u32 = 8;
/// Looks after which it is read in any case, for file systems whose times cannot be relied on.
const IN_ANY_CASE: u32 = 240;

/// Says the set of the file at `path` whenever it is another; never ends.
pub(super) async fn follow(path: &Path, sink: &SetSink) {
    look_again(path, BETWEEN_LOOKS, sink).await;
}

async fn look_again(path: &Path, between_looks: Duration, sink: &SetSink) {
    let of = format!("file {}", path.display());
    let mut watched = Watched::new(path);
    loop {
        let (after, news) = watched.looked_at().await;
        watched = after;
        match news {
            Some(Ok(set)) => {
                sink.found(set);
                sink.speaker.good(&of);
            }
            Some(Err(bad)) => sink.speaker.bad(&of, &bad),
            None => {}
        }
        sleep(between_looks).await;
    }
}

/// A path that is looked at again and again.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    seen: Option<Stamp>,
    /// Looks since it was last another.
    unchanged: u32,
}

/// What a look finds; `None`: nothing else than before.
type News = Option<Result<ServerSet, Bad>>;

impl Watched {
    fn new(path: &Path) -> Watched {
        Watched { path: path.to_owned(), seen: None, unchanged: 0 }
    }

    /// Has a thread look at the file: a file system of the network can hang, and the control plane
    /// must not. Where there is no thread, the next look is as the first.
    async fn looked_at(mut self) -> (Watched, News) {
        let again = Watched::new(&self.path);
        let looked = aside("servers-file", move || {
            let news = self.look();
            (self, news)
        });
        match looked {
            Ok(looked) => looked.await.expect("a look does not panic"),
            Err(because) => (again, Some(Err(Bad::failed(because)))),
        }
    }

    /// Looks at the file, and reads it when it is due.
    fn look(&mut self) -> News {
        let is_first = self.seen.is_none();
        let is_due = self.is_due(stamp(&self.path));
        // A start does not wait for the second look where the first finds a set.
        let news = (is_first || is_due).then(|| read_set(&self.path));
        news.filter(|news| is_due || news.is_ok())
    }

    fn is_due(&mut self, stamp: Stamp) -> bool {
        if self.seen.as_ref() == Some(&stamp) {
            self.unchanged += 1;
        } else {
            (self.seen, self.unchanged) = (Some(stamp), 0);
        }
        if self.unchanged == IN_ANY_CASE {
            self.unchanged = SETTLED_LONG;
            return true;
        }
        [SETTLED, SETTLED_LONG].contains(&self.unchanged)
    }
}

fn read_set(path: &Path) -> Result<ServerSet, Bad> {
    let text = read(path)?;
    if text.trim().is_empty() {
        return Err(Bad::new(Outcome::Empty, "has nothing in it"));
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let (set, _) = ServerSet::parse(&text, &name).map_err(|errors| {
        let first = errors.iter().next().expect("there is one").clone();
        let is_empty = first.key.as_deref() == Some("servers")
            && first.value.as_deref().is_some_and(|value| value.replace(' ', "") == "[]");
        let outcome = if is_empty { Outcome::Empty } else { Outcome::Wrong };
        // A log line has no room for the line with a caret below it.
        Bad::new(outcome, ConfigError { excerpt: None, ..first }.to_string())
    })?;
    Ok(set)
}

/// The text of the plain file at `path`, of bounded length.
pub(super) fn read(path: &Path) -> Result<String, Bad> {
    // Opening a pipe would wait for a writer.
    let flags = OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits()).open(path).map_err(Bad::failed)?;
    let found = file.metadata().map_err(Bad::failed)?;
    if !found.is_file() {
        return Err(Bad::wrong("is no plain file"));
    }
    let too_large =
        || Bad::new(Outcome::TooLarge, format!("is larger than {MAX_FILE_BYTES} bytes"));
    if found.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(Bad::failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(Bad::wrong)
}

#[cfg(test)]
mod tests;
