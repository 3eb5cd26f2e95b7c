//! An upgrade that fails disconnects nobody: everything is as it was.

use std::net::TcpStream;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::client::{self, Ending};
use crate::support::config::{over, relay};
use crate::support::gateway::program;
use crate::support::http::get;
use crate::support::lineage::{Lineage, runs, signal};
use crate::support::pattern::Pattern;
use crate::support::procfs::parent_of;
use crate::support::server::{self, Server};
use crate::support::wait_until;

/// A gateway with clients, each of which has been served.
struct Stage {
    server: Server<()>,
    lineage: Lineage,
    clients: Vec<TcpStream>,
}

impl Stage {
    fn new() -> Stage {
        let server = server::echo();
        let lineage = Lineage::start(&relay(&[server.address]));
        let address = lineage.first.address("edge");
        let clients: Vec<_> = (0..40).map(|_| client::connect(address)).collect();
        clients.iter().for_each(|stream| client::echo(stream, 1, 100));
        Stage { server, lineage, clients }
    }

    /// The first gateway serves everybody, and new clients.
    fn is_as_it_was(&self) {
        self.clients.iter().for_each(|stream| client::echo(stream, 2, 5_000));
        client::echo(&client::connect(self.lineage.first.address("edge")), 3, 100);
        assert_eq!(self.lineage.pid(), self.lineage.first.pid());
        let pids = self.lineage.successors();
        wait_until("the successors to be gone", || !pids.iter().any(|pid| runs(*pid)));
    }

    /// The end of one that was begun: it must be taken back, for this reason.
    fn taken_back(&self, upgrade: Child, because: &str) {
        let output = upgrade.wait_with_output().expect("it is our child");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("taken back: ") && said.contains(because), "{said}");
        assert!(said.contains("40 connections are back, nobody was lost"), "{said}");
    }
}

#[test]
fn what_is_wrong_before_anything_moves_touches_nothing_and_is_said() {
    let stage = Stage::new();
    let lineage = &stage.lineage;
    let bad = lineage.write("bad.toml", "[gateway]\nworkes = 2\n");
    let said = lineage.ask(&["upgrade", "--successor-config", &bad.display().to_string()]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.complaint.contains("did you mean workers?"), "{said:?}");
    let renamed = relay(&[stage.server.address]).replace("listener.edge", "listener.other");
    let renamed = lineage.write("renamed.toml", &renamed);
    let few =
        relay(&[stage.server.address]).replace("max_connections = 4000", "max_connections = 8");
    let few = lineage.write("few.toml", &few);
    let path = |path: &std::path::Path| path.display().to_string();
    for (arguments, words) in [
        (["--successor-config", &path(&renamed)], "listener edge"),
        (["--successor-config", &path(&few)], "40 connections are open"),
        (["--binary", "/bin/false"], "exit status: 1"),
        (["--binary", "/nonexistent/portcullis"], "No such file"),
    ] {
        let said = lineage.ask(&[&["upgrade"], &arguments[..]].concat());
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.answer.contains(words), "{said:?}");
        assert!(said.answer.contains("nothing was touched"), "{said:?}");
        stage.is_as_it_was();
    }
    lineage.upgrade(&[]);
    stage.clients.iter().for_each(|stream| client::echo(stream, 4, 100));
}

#[test]
fn a_successor_that_dies_on_probation_loses_nobody_and_the_next_one_succeeds() {
    let stage = Stage::new();
    for (nth, how) in [Signal::SIGKILL, Signal::SIGSTOP].into_iter().enumerate() {
        let upgrade = stage.lineage.begin(&[]);
        let pid = stage.lineage.wait_for_probation(nth + 1);
        signal(pid, how);
        let because = if how == Signal::SIGKILL { "SIGKILL" } else { "stands still" };
        stage.taken_back(upgrade, because);
        stage.is_as_it_was();
    }
    stage.lineage.upgrade(&[]);
    stage.clients.iter().for_each(|stream| client::echo(stream, 4, 100));
}

#[test]
fn connections_whose_descriptors_do_not_arrive_stay() {
    let server = server::echo();
    let one = relay(&[server.address]).replace("workers = 2", "workers = 1");
    let one = over("io_uring", &one);
    let lineage = Lineage::start(&one);
    let address = lineage.first.address("edge");
    let clients: Vec<_> = (0..40).map(|_| client::connect(address)).collect();
    clients.iter().for_each(|stream| client::echo(stream, 1, 100));
    // Room for its own descriptors, and not for the 64 of a full batch on its way.
    let wrapped = format!(
        "#!/bin/sh\nulimit -n 80\nexec '{}' \"$@\"\n",
        program(None).get_program().display()
    );
    let path = lineage.first.home().write("few", &wrapped);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("it is ours");
    let fewer = lineage.write("fewer.toml", &one.replace("= 4000", "= 50")).display().to_string();
    let program = path.display().to_string();
    let said = lineage.ask(&["upgrade", "--binary", &program, "--successor-config", &fewer]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.answer.contains(" is cut") && said.answer.contains("nobody was lost"), "{said:?}");
    clients.iter().for_each(|stream| client::echo(stream, 2, 5_000));
    lineage.upgrade(&[]);
    clients.iter().for_each(|stream| client::echo(stream, 3, 5_000));
}

#[test]
fn who_was_answered_by_a_successor_that_dies_a_while_later_lives_on() {
    let stage = Stage::new();
    let upgrade = stage.lineage.begin(&[]);
    let pid = stage.lineage.wait_for_probation(1);
    stage.clients.iter().for_each(|stream| client::echo(stream, 5, 5_000));
    // Ten times as long as a receive waits there.
    std::thread::sleep(Duration::from_secs(1));
    signal(pid, Signal::SIGKILL);
    stage.taken_back(upgrade, "SIGKILL");
    stage.is_as_it_was();
}

#[test]
fn a_successor_whose_parent_has_died_is_ended_before_anybody_is_taken_back() {
    let stage = Stage::new();
    let upgrade = stage.lineage.begin(&[]);
    let pid = stage.lineage.wait_for_probation(1);
    let foster = parent_of(pid);
    assert_eq!(parent_of(foster), stage.lineage.first.pid());
    // As for a whole process group: who waits is not meant.
    signal(foster, Signal::SIGINT);
    signal(foster, Signal::SIGTERM);
    stage.clients.iter().for_each(|stream| client::echo(stream, 5, 100));
    assert_eq!(parent_of(pid), foster, "it waits on");
    signal(foster, Signal::SIGKILL);
    wait_until("the parent's end", || parent_of(pid) != foster);
    // Long enough for receives there to have ended.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(stage.lineage.ask(&["upgrade", "--abort"]).code, Some(0));
    stage.taken_back(upgrade, "an operator aborted it");
    assert!(!runs(pid), "two would read");
    stage.is_as_it_was();
}

#[test]
fn a_second_one_is_refused_and_an_abort_takes_the_first_back() {
    let stage = Stage::new();
    let said = stage.lineage.ask(&["upgrade", "--abort"]);
    assert_eq!(said.code, Some(1), "there is none: {said:?}");
    let upgrade = stage.lineage.begin(&[]);
    stage.lineage.wait_for_probation(1);
    let said = stage.lineage.ask(&["upgrade"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.complaint.contains("an upgrade is under way"), "{said:?}");
    assert_eq!(stage.lineage.ask(&["upgrade", "--abort"]).code, Some(0));
    stage.taken_back(upgrade, "an operator aborted it");
    stage.is_as_it_was();
}

#[test]
fn one_shows_how_far_it_is_until_it_is_over() {
    let server = server::echo();
    let config = relay(&[server.address]) + "[status]\nbind = \"127.0.0.1:0\"\n";
    let lineage = Lineage::start(&config);
    let address = lineage.first.address("edge");
    let clients: Vec<_> = (0..40).map(|_| client::connect(address)).collect();
    clients.iter().for_each(|stream| client::echo(stream, 1, 100));
    assert!(lineage.status().get("upgrade").is_none());
    let upgrade = lineage.begin(&["--json"]);
    let pid = lineage.wait_for_probation(1);
    let progress = &lineage.status()["upgrade"];
    let told = ["step", "successor", "moved", "left"].map(|key| progress[key].clone());
    assert_eq!(told, [json!("probation"), json!(pid), json!(40), json!(0)]);
    let first = "upgrading, probation, 40 moved, 0 left";
    let text = lineage.ask(&["status"]).answer;
    assert!(text.lines().next().is_some_and(|line| line.contains(first)), "{text}");
    let status = lineage.first.status();
    let page = get(status, "/").body;
    assert!(page.contains("data-as=\"word\">upgrading, probation, 40 moved, 0 left</b>"), "{page}");
    let metrics = get(status, "/metrics").body;
    for (place, count) in [("moved", 40), ("left", 0)] {
        let line = format!("portcullis_upgrade_connections_{place} {count}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert_eq!(lineage.ask(&["upgrade", "--abort"]).code, Some(0));
    let output = upgrade.wait_with_output().expect("it is our child");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer in JSON");
    assert_eq!(
        ["moved", "back", "lost"].map(|key| answer[key].clone()),
        [40, 40, 0].map(Value::from)
    );
    let steps = answer["steps"].as_array().expect("they are a list").iter();
    let steps: Vec<_> = steps.filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(steps, ["ready", "move", "switch", "rest", "probation", "taken back"]);
    assert!(lineage.status().get("upgrade").is_none());
}

#[test]
fn a_drain_takes_an_upgrade_back_first() {
    let stage = Stage::new();
    let upgrade = stage.lineage.begin(&[]);
    let pid = stage.lineage.wait_for_probation(1);
    stage.lineage.first.signal(Signal::SIGTERM);
    stage.taken_back(upgrade, "the gateway is to end");
    wait_until("the successor's end", || !runs(pid));
    stage.lineage.first.wait_for_line("draining still_open=");
    drop(stage.clients);
    wait_until("the gateway's end", || !runs(stage.lineage.first.pid()));
}

#[test]
fn a_successor_whose_predecessor_dies_goes_on_by_itself() {
    let stage = Stage::new();
    let upgrade = stage.lineage.begin(&[]);
    let pid = stage.lineage.wait_for_probation(1);
    stage.lineage.first.signal(Signal::SIGKILL);
    let output = upgrade.wait_with_output().expect("it is our child");
    assert_eq!(output.status.code(), Some(1), "nobody can say how it came out");
    stage.lineage.first.wait_for_line("40 connections had moved");
    stage.clients.iter().for_each(|stream| client::echo(stream, 2, 5_000));
    client::echo(&client::connect(stage.lineage.first.address("edge")), 3, 100);
    wait_until("the successor to answer", || stage.lineage.ask(&["status"]).code == Some(0));
    assert_eq!(stage.lineage.pid(), pid);
}

#[test]
fn who_came_with_bytes_in_hand_is_cut_when_the_successor_dies_and_gets_none_twice() {
    let sent = Arc::new(AtomicU64::new(0));
    let read = Arc::new(AtomicBool::new(false));
    let (due, is_read) = (sent.clone(), read.clone());
    let server = Server::start(move |stream| {
        wait_until("the client to stall", || due.load(Ordering::SeqCst) > 0);
        client::receive(&stream, &mut Pattern::new(1), due.load(Ordering::SeqCst));
        is_read.store(true, Ordering::SeqCst);
        client::ending(&stream)
    });
    let ring = "[ring]\nsplice_pipes = 0\nquiet_after = \"100ms\"\n";
    let lineage = Lineage::start(&(relay(&[server.address]) + ring));
    let stalled = client::connect(lineage.first.address("edge"));
    let bytes = client::send_until_stalled(&stalled, &mut Pattern::new(1));
    // Each move sends once more what fits, until nothing does.
    for _ in 0..2 {
        lineage.upgrade(&[]);
    }
    let upgrade = lineage.begin(&[]);
    let pid = lineage.wait_for_probation(3);
    sent.store(bytes, Ordering::SeqCst);
    wait_until("the server to read all", || read.load(Ordering::SeqCst));
    // By then nothing of it is in the successor's hands; what it came with was.
    std::thread::sleep(Duration::from_millis(500));
    signal(pid, Signal::SIGKILL);
    let output = upgrade.wait_with_output().expect("it is our child");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("taken back: ") && said.contains("1 lost"), "{said}");
    assert_eq!(server.outcomes(1), [Ending::Reset], "a byte more would be one twice");
    assert_eq!(client::ending(&stalled), Ending::Reset);
}
