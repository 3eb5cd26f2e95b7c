//! The access log: a line for every connection, that says what its client and its server know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::support::client;
use crate::support::command::{ask_json, tell};
use crate::support::config::relay;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, Home};
use crate::support::http::get;
use crate::support::server::{self, finish};
use crate::support::socket::reset;
use crate::support::unreachable::Refusing;
use crate::support::wait_until;

/// A relay that logs into a file of `home`, with more keys for the log.
fn logging(home: &Home, servers: &[SocketAddr], keys: &str) -> (String, PathBuf) {
    let path = home.path().join("access.log");
    let log = format!("[access_log]\npath = \"{}\"\n{keys}\n", path.display());
    (format!("{}\n[status]\nbind = \"127.0.0.1:0\"\n{log}", relay(servers)), path)
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "a line is torn: {text}");
    text.lines().map(str::to_owned).collect()
}

/// The objects in a log of JSON, so many.
fn wait_for_objects(path: &Path, count: usize) -> Vec<Value> {
    let found = wait_for_lines(path, count);
    assert_eq!(found.len(), count, "{found:?}");
    found.iter().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
}

/// Waits until the log has so many lines.
fn wait_for_lines(path: &Path, count: usize) -> Vec<String> {
    wait_until("the access log's lines", || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().count() >= count && text.ends_with('\n')
    });
    lines(path)
}

#[test]
fn lines_agree_with_what_clients_did() {
    const CLIENTS: u64 = 60;
    let server = server::echo();
    let home = Home::new();
    let (config, path) = logging(&home, &[server.address], "format = \"json\"");
    let gateway = Gateway::start(&config);
    let address = gateway.address("edge");
    let mut expected = BTreeMap::new();
    for number in 1..=CLIENTS {
        let stream = client::connect(address);
        let own = stream.local_addr().expect("an address").to_string();
        client::echo(&stream, number, number * 100);
        let reason = if number % 3 == 0 {
            reset(stream);
            "client-reset"
        } else {
            finish(&stream);
            client::ending(&stream);
            "closed-by-client"
        };
        expected.insert(own, (number * 100, reason));
    }
    let objects = wait_for_objects(&path, CLIENTS as usize);
    let mode = path.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o007, 0, "others cannot read it");
    let name = server.address.to_string();
    let mut ids = BTreeSet::new();
    for object in &objects {
        let word = |key: &str| object[key].as_str().unwrap_or_else(|| panic!("{key} of {object}"));
        let (bytes, reason) = expected.remove(word("client")).expect("a client of its own");
        let moved = ["to_upstream_bytes", "to_client_bytes"].map(|key| object[key].as_u64());
        assert_eq!((moved, word("reason")), ([Some(bytes); 2], reason));
        assert_eq!([word("event"), word("listener"), word("upstream")], ["ended", "edge", "app"]);
        assert_eq!([word("server"), word("server_address")], [name.as_str(); 2]);
        assert_eq!(word("local"), address.to_string());
        let (connect, life) = (&object["connect_seconds"], &object["life_seconds"]);
        assert!(connect.as_f64() > Some(0.0) && connect.as_f64() < life.as_f64(), "{object}");
        assert!(word("opened") < word("time"), "{object}");
        ids.insert(word("id").to_owned());
    }
    assert_eq!(ids.len(), CLIENTS as usize, "each has an id of its own");
    let metrics = get(gateway.status(), "/metrics").body;
    let written = format!("portcullis_access_log_lines_total{{outcome=\"written\"}} {CLIENTS}\n");
    assert!(metrics.contains(&written), "{metrics}");
    gateway.stop();
}

#[test]
fn a_rotation_loses_no_line() {
    const CLIENTS: usize = 400;
    const ROTATIONS: usize = 5;
    let server = server::echo();
    let home = Home::new();
    let (config, path) = logging(&home, &[server.address], "");
    let gateway = Gateway::start(&config);
    let address = gateway.address("edge");
    let old = |rotation: usize| path.with_extension(rotation.to_string());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            crowd(CLIENTS, 8, |index| {
                let stream = client::connect(address);
                client::echo(&stream, index as u64, 50);
            });
        });
        for rotation in 0..ROTATIONS {
            std::fs::rename(&path, old(rotation)).expect("it is there");
            gateway.signal(Signal::SIGUSR1);
            wait_until("the log to be reopened", || path.exists());
        }
    });
    gateway.stop();
    let files = (0..ROTATIONS).map(old).chain([path.clone()]);
    let all: Vec<String> = files.flat_map(|file| lines(&file)).collect();
    assert_eq!(all.len(), CLIENTS);
    assert!(all.iter().all(|line| line.contains(" ended id=")), "{all:?}");
}

/// A client that says nothing and leaves.
fn probe(address: SocketAddr) {
    let stream = client::connect(address);
    finish(&stream);
    client::ending(&stream);
}

#[test]
fn probes_and_openings_have_lines_where_they_are_wanted() {
    for (keys, expected) in [
        ("", &["ended"][..]),
        ("empty = true", &["ended", "ended"]),
        ("openings = true", &["ended", "opened", "opened"]),
        ("empty = true\nopenings = true", &["ended", "ended", "opened", "opened"]),
    ] {
        let server = server::echo();
        let home = Home::new();
        let (config, path) = logging(&home, &[server.address], keys);
        let gateway = Gateway::start(&config);
        let address = gateway.address("edge");
        probe(address);
        let stream = client::connect(address);
        let own = format!(" client={} ", stream.local_addr().expect("an address"));
        client::echo(&stream, 1, 10);
        if keys.contains("openings") {
            let opened = wait_for_lines(&path, 2);
            let opened = opened.iter().any(|line| line.contains(&own) && !line.contains("reason"));
            assert!(opened, "it is said while the connection is open");
        }
        drop(stream);
        gateway.wait_for_ended(2);
        gateway.stop();
        let mut events: Vec<String> = Vec::new();
        for line in lines(&path) {
            events.push(line.split(' ').nth(1).expect("an event").to_owned());
        }
        events.sort_unstable();
        assert_eq!(events, expected, "{keys}");
        let ended: Vec<String> =
            lines(&path).into_iter().filter(|line| line.contains(" ended ")).collect();
        assert!(ended.iter().any(|line| line.contains(&own)), "{ended:?}");
    }
}

#[test]
fn whoever_found_no_server_has_a_line_though_it_carried_no_byte() {
    let home = Home::new();
    let dead = Refusing::new();
    let (config, path) = logging(&home, &[dead.address], "");
    let gateway = Gateway::start(&config);
    let stream = client::try_connect(gateway.address("edge"));
    gateway.wait_for_reason("no-server", 1);
    drop(stream);
    gateway.stop();
    let lines = lines(&path);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].ends_with(" to_upstream_bytes=0 to_client_bytes=0 reason=no-server"));
    assert!(lines[0].contains(" connect_seconds=- "), "{lines:?}");
}

/// The number of lines that the metrics give for this outcome.
fn count(gateway: &Gateway, outcome: &str) -> u64 {
    let metrics = get(gateway.status(), "/metrics").body;
    let name = format!("portcullis_access_log_lines_total{{outcome=\"{outcome}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.expect("a metric of the access log").parse().expect("a number")
}

#[test]
fn a_reader_that_does_not_read_stalls_nobody() {
    const CLIENTS: usize = 1_500;
    let server = server::echo();
    let home = Home::new();
    let pipe = home.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
    // Open for both, so that nobody waits for the other end; nothing is read.
    let mut reader = OpenOptions::new().read(true).write(true).open(&pipe).expect("it is there");
    let log = "[access_log]\npath = \"stdout\"\nqueue_lines = 16\n";
    let status = "[status]\nbind = \"127.0.0.1:0\"\n";
    let config = format!("{}\n{status}{log}", relay(&[server.address]));
    let gateway = Gateway::start_with_output(&config, &pipe);
    let address = gateway.address("edge");
    crowd(CLIENTS, 8, |index| client::echo(&client::connect(address), index as u64, 100));
    gateway.wait_for_ended(CLIENTS);
    // A pipe holds 64 KiB, two queues 16 lines each.
    let (written, dropped) = (count(&gateway, "written"), count(&gateway, "dropped"));
    assert!(dropped > 0 && written + dropped <= CLIENTS as u64, "{written} and {dropped}");
    client::echo(&client::connect(address), 1, 100);
    let mut some = [0; 1000];
    reader.read_exact(&mut some).expect("lines");
    assert!(String::from_utf8_lossy(&some).contains(" ended id="));
    // It ends although nobody takes the last lines.
    gateway.stop();
}

#[test]
fn a_full_disk_shows_in_status_until_there_is_room() {
    let server = server::echo();
    let home = Home::new();
    let (config, path) = logging(&home, &[server.address], "");
    symlink("/dev/full", &path).expect("a link");
    let gateway = Gateway::start(&config);
    let address = gateway.address("edge");
    let trouble = || {
        let said = tell(&gateway, &["status"]);
        said.lines().find(|line| line.starts_with("access log: ")).map(str::to_owned)
    };
    assert_eq!(trouble(), None);
    client::echo(&client::connect(address), 1, 100);
    wait_until("the line that is lost", || trouble().is_some());
    let said = trouble().expect("it was there");
    assert!(said.starts_with("access log: not written for "), "{said}");
    assert!(said.ends_with("(No space left on device (os error 28)), 1 line lost"), "{said}");
    let failing = &ask_json(&gateway, &["status"])["access_log"]["failing"];
    assert!(failing["since_seconds"].is_number(), "{failing}");
    std::fs::remove_file(&path).expect("the link is ours");
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_for_line("reopened");
    client::echo(&client::connect(address), 2, 100);
    wait_for_lines(&path, 1);
    wait_until("the end of the trouble", || {
        trouble().as_deref() == Some("access log: 1 line lost")
    });
    gateway.stop();
}

#[test]
fn a_file_that_cannot_be_written_is_one_clear_error() {
    let home = Home::new();
    for (path, said) in [
        (PathBuf::from("/proc/nothing/access.log"), "there is no directory /proc/nothing"),
        (home.path().to_owned(), "a directory lies there"),
        (home.path().join("pipe"), "write \"stdout\" and connect that to one"),
    ] {
        let _ = mkfifo(&home.path().join("pipe"), Mode::S_IRUSR);
        let log = format!("[access_log]\npath = \"{}\"\n", path.display());
        let config = format!("{}\n{log}", relay(&[SocketAddr::from(([127, 0, 0, 1], 1))]));
        let (status, lines) = Gateway::launch(Some(&config), None).ended_by_itself();
        assert_eq!(status.code(), Some(1), "{lines:?}");
        let named = |line: &String| line.contains("access_log.path = ") && line.contains(said);
        assert_eq!(lines.iter().filter(|line| named(line)).count(), 1, "{lines:?}");
    }
}
