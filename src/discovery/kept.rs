//! The last good servers of each upstream, on disk.
//!
//! An upstream has a file of its own, `NAME.servers` in the state directory: a set of servers as an
//! operator writes one, which `servers_from` could take as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use nix::fcntl::OFlag;

use super::aside::aside;
use super::file::read;
use crate::config::{Server, ServerSet};

/// Where servers are is for nobody else to know.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The end of the gateway waits as long for sets that are on their way to the disk.
const LAST_SETS: Duration = Duration::from_secs(1);

/// Keeps sets on a thread aside: a disk may be slow. While it is, the newest set of each upstream
/// waits and no other. Dropped, it waits for the last of them, a bounded time.
#[derive(Debug, Default)]
pub(super) struct Keeper(Arc<Shared>);

/// What the thread has, too.
#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// The thread has nothing more to do.
    is_done: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By upstream: where to, and what.
    sets: BTreeMap<String, (PathBuf, Vec<Server>)>,
    /// A thread is at work.
    is_at_work: bool,
    /// Upstreams whose last set could not be kept.
    failing: BTreeSet<String>,
}

impl Keeper {
    /// Keeps the servers of an upstream in `directory` soon.
    pub(super) fn keep(&self, directory: &Path, upstream: &str, servers: &[Server]) {
        let mut waiting = self.0.waiting();
        waiting.sets.insert(upstream.to_owned(), (directory.to_owned(), servers.to_vec()));
        if std::mem::replace(&mut waiting.is_at_work, true) {
            return;
        }
        let shared = self.0.clone();
        if let Err(because) = aside("keep-servers", move || while shared.keep_one() {}) {
            // The set waits for the next one.
            waiting.is_at_work = false;
            waiting.fails(upstream, &because);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let is_at_work = |waiting: &mut Waiting| waiting.is_at_work;
        let last = self.0.is_done.wait_timeout_while(self.0.waiting(), LAST_SETS, is_at_work);
        let (waiting, _) = last.expect("nobody panics while holding it");
        if waiting.is_at_work {
            tracing::warn!("the last servers are not on the disk yet, and are not waited for");
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody panics while holding it")
    }

    /// Keeps one of the sets that wait, if there is one.
    fn keep_one(&self) -> bool {
        let next = {
            let mut waiting = self.waiting();
            let next = waiting.sets.pop_first();
            waiting.is_at_work = next.is_some();
            next
        };
        let Some((upstream, (directory, servers))) = next else {
            self.is_done.notify_all();
            return false;
        };
        match keep(&directory, &upstream, &servers) {
            Ok(()) => {
                if self.waiting().failing.remove(&upstream) {
                    tracing::info!(upstream, "its servers are kept for a start again");
                }
            }
            Err(error) => {
                self.waiting().fails(&upstream, &format!("{error}; check state_directory"));
            }
        }
        true
    }
}

impl Waiting {
    /// The set of an upstream could not be kept. The log hears of the first of several.
    fn fails(&mut self, upstream: &str, because: &str) {
        if self.failing.insert(upstream.to_owned()) {
            tracing::warn!(upstream, because, "its servers are not kept for a start");
        }
    }
}

/// Keeps the servers of an upstream in `directory`, which is made if it is not there. A reader
/// finds the old servers or the new ones, also after a loss of power. Where it fails, what was kept
/// before is there as it was; the error names the file.
fn keep(directory: &Path, upstream: &str, servers: &[Server]) -> io::Result<()> {
    let text = ServerSet::of(servers.to_vec()).written(0);
    // Another process may keep its own at the same time, as a predecessor that drains.
    let draft = directory.join(format!(".{upstream}.{}", std::process::id()));
    let aim = path(directory, upstream);
    let kept = write(directory, &draft, &text).and_then(|()| {
        fs::rename(&draft, &aim)?;
        File::open(directory)?.sync_all()
    });
    kept.map_err(|error| {
        let _ = fs::remove_file(&draft);
        io::Error::new(error.kind(), format!("{}: {error}", aim.display()))
    })
}

fn write(directory: &Path, draft: &Path, text: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    let mut file = options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The servers of an upstream that were kept; none when there are none, or the file is damaged.
pub fn kept(directory: &Path, upstream: &str) -> Vec<Server> {
    let path = path(directory, upstream);
    if !path.exists() {
        return Vec::new();
    }
    let name = path.display().to_string();
    let set = read(&path).map_err(|bad| format!("{name}: {}", bad.because)).and_then(|text| {
        let set = ServerSet::parse(&text, &name)
            .map_err(|errors| errors.iter().next().expect("there is one").to_string())?;
        Ok(set.0.servers)
    });
    set.unwrap_or_else(|because| {
        tracing::warn!(upstream, because, "the servers that were kept cannot be read");
        Vec::new()
    })
}

/// A name of an upstream is letters, digits, - and _: it leads to no other directory.
fn path(directory: &Path, upstream: &str) -> PathBuf {
    directory.join(format!("{upstream}.servers"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Terms;
    use crate::discovery::heard::{on_a_local_set, until};

    fn servers(addresses: &[&str]) -> Vec<Server> {
        let server = |it: &&str| {
            let set = ServerSet::one(Some(&format!("db.internal:{it}")), it, Terms::of_weight(3))
                .expect("right");
            set.servers[0].clone()
        };
        addresses.iter().map(server).collect()
    }

    #[test]
    fn what_is_kept_is_there_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("not/there/yet");
        assert_eq!(kept(&state, "app"), [], "nothing is kept");
        for all in [servers(&["10.0.0.1:9000", "[fd00::1]:9000"]), servers(&["10.0.0.2:1"])] {
            keep(&state, "app", &all).expect("kept");
            assert_eq!(kept(&state, "app"), all);
            assert_eq!(kept(&state, "ap"), []);
        }
        let files = fs::read_dir(&state).expect("a directory");
        let files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        assert_eq!(files, [state.join("app.servers")], "nothing else is left");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(mode(&files[0]) & 0o777, FILE_MODE);
        assert_eq!(mode(&state) & 0o777, DIRECTORY_MODE);
    }

    #[test]
    fn the_newest_of_several_sets_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        fs::write(&state, "in the way").expect("a file");
        let keeper = Keeper::default();
        on_a_local_set(async {
            keeper.keep(&state, "app", &servers(&["10.0.0.1:9000"]));
            until(|| !keeper.0.waiting().failing.is_empty()).await;
            fs::remove_file(&state).expect("out of the way");
            for port in 1..=100 {
                keeper.keep(&state, "app", &servers(&[&format!("10.0.0.1:{port}")]));
                keeper.keep(&state, "other", &servers(&[&format!("10.0.0.2:{port}")]));
            }
            until(|| !keeper.0.waiting().is_at_work).await;
        });
        assert_eq!(kept(&state, "app"), servers(&["10.0.0.1:100"]));
        assert_eq!(kept(&state, "other"), servers(&["10.0.0.2:100"]));
        assert!(keeper.0.waiting().failing.is_empty());
    }

    #[test]
    fn the_last_sets_are_on_the_disk_when_the_keeper_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let keeper = Keeper::default();
        for nth in 0..20 {
            keeper.keep(directory.path(), &format!("app{nth}"), &servers(&["10.0.0.1:9000"]));
        }
        drop(keeper);
        for nth in 0..20 {
            let all = kept(directory.path(), &format!("app{nth}"));
            assert_eq!(all, servers(&["10.0.0.1:9000"]), "app{nth}");
        }
    }

    #[test]
    fn what_is_damaged_is_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("app.servers");
        keep(directory.path(), "app", &servers(&["10.0.0.1:9000"])).expect("kept");
        let whole = fs::read(&file).expect("kept");
        // The last two bytes close the list.
        for length in 0..whole.len() - 2 {
            fs::write(&file, &whole[..length]).expect("written");
            assert_eq!(kept(directory.path(), "app"), [], "{length} bytes");
        }
        for bytes in [&b"servers = [\"db.internal:9000\"]"[..], b"\xff\xfe", b"servers = []"] {
            fs::write(&file, bytes).expect("written");
            assert_eq!(kept(directory.path(), "app"), []);
        }
        keep(directory.path(), "app", &servers(&["10.0.0.1:9000"])).expect("kept");
        assert_eq!(fs::read(&file).expect("kept"), whole);
    }

    #[test]
    fn what_cannot_be_kept_leaves_what_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let all = servers(&["10.0.0.1:9000"]);
        keep(directory.path(), "app", &all).expect("kept");
        let draft = directory.path().join(format!(".app.{}", std::process::id()));
        fs::create_dir(&draft).expect("something in the way");
        let error =
            keep(directory.path(), "app", &servers(&["10.0.0.2:1"])).expect_err("in the way");
        assert!(error.to_string().contains("app.servers: "), "{error}");
        assert_eq!(kept(directory.path(), "app"), all);
        let file = directory.path().join("app.servers");
        let error = keep(&file, "app", &all).expect_err("no directory");
        assert!(error.to_string().contains("app.servers/app.servers: "), "{error}");
    }
}
