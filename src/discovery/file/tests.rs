//! The file is what an operator, a program or a cluster makes of it.

use std::fs::{self, OpenOptions, create_dir, remove_dir_all, remove_file, rename};
use std::io::Write;
use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;
use tokio::task::spawn_local;

use super::*;
use crate::discovery::heard::{Heard, on_a_local_set};

const A: &str = "10.0.0.1:9000";
const B: &str = "10.0.0.2:9000";
const NAME: &str = "db.internal:9000";

fn list(places: &[&str]) -> String {
    format!("servers = {places:?}\n")
}

/// Follows `app.servers` in a directory, faster than usual.
fn followed(directory: &TempDir) -> (PathBuf, Heard) {
    let path = directory.path().join("app.servers");
    let (sink, heard) = Heard::new();
    let followed = path.clone();
    spawn_local(async move { look_again(&followed, Duration::from_millis(5), &sink).await });
    (path, heard)
}

/// Replaces the file by another one, as editors and `mv` do.
fn replace(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).expect("a draft");
    rename(&draft, path).expect("replaced");
}

#[test]
fn a_file_that_is_replaced_or_edited_is_read_again() {
    on_a_local_set(async {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, heard) = followed(&directory);
        heard.until_trouble("app.servers: No such file").await;
        replace(&path, &list(&[A]));
        heard.until(&[A]).await;
        heard.until_trouble("").await;
        replace(&path, &list(&[A, B]));
        heard.until(&[A, B]).await;
        fs::write(&path, list(&[NAME, B])).expect("edited in place");
        heard.until(&[B, NAME]).await;
        remove_file(&path).expect("removed");
        heard.until_trouble("No such file").await;
        heard.until(&[B, NAME]).await;
        fs::write(&path, list(&[A])).expect("back");
        heard.until(&[A]).await;
        heard.until_trouble("").await;
    });
}

#[test]
fn a_file_that_is_half_written_takes_no_server_away() {
    on_a_local_set(async {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, mut heard) = followed(&directory);
        fs::write(&path, list(&[A, B])).expect("written");
        heard.until(&[A, B]).await;
        heard.sets.mark_unchanged();
        let text = list(&[B, A, NAME]);
        let mut file =
            OpenOptions::new().write(true).truncate(true).open(&path).expect("it is there");
        heard.until_trouble("has nothing in it").await;
        let (first, second) = text.split_at(20);
        file.write_all(first.as_bytes()).expect("half of it");
        heard.until_trouble("app.servers:1").await;
        assert!(!heard.sets.has_changed().expect("it is followed"), "{:?}", heard.places());
        file.write_all(second.as_bytes()).expect("the other half");
        heard.until(&[B, A, NAME]).await;
        heard.until_trouble("").await;
    });
}

#[test]
fn what_is_no_set_leaves_the_last_good_one() {
    on_a_local_set(async {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, heard) = followed(&directory);
        replace(&path, &list(&[A]));
        heard.until(&[A]).await;
        let large = format!("{}{}", list(&[B]), "#".repeat(MAX_FILE_BYTES as usize));
        for (text, outcome, words) in [
            ("servers = [\n]", Outcome::Empty, "app.servers:1: servers = "),
            (" \n", Outcome::Empty, "has nothing in it"),
            ("servers = [\"10.0.0.1\"]", Outcome::Wrong, "app.servers:1: servers = \"10.0.0.1\""),
            ("servers = [", Outcome::Wrong, "is not TOML: the [ has no ]"),
            ("", Outcome::Empty, "has nothing in it"),
            (&large, Outcome::TooLarge, "is larger than 16777216 bytes"),
        ] {
            let before = heard.health.answers(outcome);
            replace(&path, text);
            heard.until_trouble(words).await;
            assert!(heard.health.answers(outcome) > before, "{text:.20} {:?}", heard.health);
            assert_eq!(heard.places(), [A]);
        }
        remove_file(&path).expect("removed");
        mkfifo(&path, Mode::S_IRWXU).expect("a pipe");
        heard.until_trouble("is no plain file").await;
        remove_file(&path).expect("removed");
        create_dir(&path).expect("a directory");
        heard.until_trouble("is no plain file").await;
        assert_eq!(heard.places(), [A]);
    });
}

/// Kubernetes mounts a ConfigMap so: a link to a file below a link to a directory.
#[test]
fn links_that_are_switched_lead_to_the_new_file() {
    on_a_local_set(async {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let (path, heard) = followed(&directory);
        for (version, places) in [("one", [A]), ("two", [B]), ("three", [A])] {
            create_dir(at(version)).expect("a directory");
            fs::write(at(version).join("app.servers"), list(&places)).expect("written");
            symlink(version, at("draft")).expect("a link");
            rename(at("draft"), at("..data")).expect("switched");
            if version == "one" {
                symlink("..data/app.servers", &path).expect("a link");
            }
            heard.until(&places).await;
        }
        remove_dir_all(at("three")).expect("removed");
        heard.until_trouble("No such file").await;
        assert_eq!(heard.places(), [A]);
    });
}

#[test]
fn a_directory_may_come_later() {
    on_a_local_set(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("later/app.servers");
        let (sink, heard) = Heard::new();
        let followed = path.clone();
        spawn_local(async move { follow(&followed, &sink).await });
        heard.until_trouble("No such file").await;
        create_dir(directory.path().join("later")).expect("a directory");
        fs::write(&path, list(&[A])).expect("written");
        heard.until(&[A]).await;
        heard.until_trouble("").await;
    });
}

#[test]
fn a_file_is_read_when_it_has_settled() {
    let mut watched = Watched::new(Path::new(""));
    let mut dues = |stamps: &[i64]| -> Vec<bool> {
        stamps.iter().map(|stamp| watched.is_due(Ok([*stamp; 7]))).collect()
    };
    assert_eq!(dues(&[1, 1, 1, 2, 3, 3, 3]), [false, true, false, false, false, true, false]);
    let more = dues(&[3; 600]);
    let due: Vec<usize> = (0..600).filter(|look| more[*look]).collect();
    assert_eq!(due, [5, 237, 469], "8 looks after it changed, and once a minute");
}
