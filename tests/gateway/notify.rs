//! What a service manager hears of a gateway, and in which order.

use std::sync::mpsc::Receiver;

use crate::support::config::OWN_ECHO;
use crate::support::gateway::{Home, program};
use crate::support::lineage::{Lineage, runs};
use crate::support::manager::{Said, manager};
use crate::support::procfs::parent_of;
use crate::support::{PATIENCE, client, wait_until};

#[test]
fn the_main_process_is_named_before_the_old_one_ends_and_only_at_the_commit() {
    let home = Home::new();
    let path = home.path().join("notify");
    let said = manager(&path);
    let next = || said.recv_timeout(PATIENCE).expect("the manager hears");
    let mut command = program(None);
    command.env("NOTIFY_SOCKET", &path);
    let lineage = Lineage::start_with(home, command, OWN_ECHO);
    assert_eq!(next().0, "READY=1");
    let stream = client::connect(lineage.first.address("edge"));
    client::echo(&stream, 1, 100);
    let bad = lineage.ask(&["upgrade", "--binary", "/bin/false"]);
    assert_eq!(bad.code, Some(1));
    let first = lineage.first.pid();
    std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| lineage.upgrade(&[]));
        let mut heard = Vec::new();
        let barrier = loop {
            match next() {
                (text, Some(fd)) => {
                    heard.push(text);
                    break fd;
                }
                (text, None) => heard.push(text),
            }
        };
        // Until the manager has taken what came before, the old process is there.
        assert!(runs(first), "{heard:?}");
        // A main process that is not the manager's own child would be killed where it is to drain.
        let named = heard.iter().find_map(|text| text.strip_prefix("MAINPID="));
        let named = named.and_then(|pid| pid.parse().ok()).expect("it was named");
        let parent = parent_of(named);
        assert!(parent != first && (parent < 2 || parent_of(parent) != first), "{parent}");
        drop(barrier);
        let pid = upgrade.join().expect("it is committed");
        heard.retain(|text| text != "READY=1" && !text.starts_with("STATUS="));
        assert_eq!(heard, [format!("MAINPID={pid}"), "BARRIER=1".to_owned()]);
    });
    wait_until("the predecessor's end", || !runs(first));
    client::echo(&stream, 2, 100);
}

/// The next word of one kind, and what came before it.
fn until(said: &Receiver<Said>, wanted: &str) -> String {
    loop {
        let (text, _) = said.recv_timeout(PATIENCE).expect("the manager hears");
        if text.lines().any(|line| line.starts_with(wanted)) {
            return text;
        }
    }
}

#[test]
fn it_hears_that_the_gateway_lives_what_it_does_and_how_long_its_end_takes() {
    let home = Home::new();
    let path = home.path().join("notify");
    let said = manager(&path);
    let mut command = program(None);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "5000000");
    let config = OWN_ECHO.to_owned() + "[gateway]\ndrain_timeout = \"1h\"\nmax_connections = 100\n";
    let lineage = Lineage::start_with(home, command, &config);
    let first = lineage.first.pid();
    assert_eq!(until(&said, "READY=1"), "READY=1");
    let address = lineage.first.address("edge");
    let streams: Vec<_> = (0..3).map(|_| client::connect(address)).collect();
    streams.iter().for_each(|stream| client::echo(stream, 1, 100));
    assert!(until(&said, "STATUS=ready; 3 connections of 100 open").contains("WATCHDOG=1"));
    until(&said, "WATCHDOG=1");
    assert_eq!(lineage.ask(&["reload"]).code, Some(0));
    assert!(until(&said, "RELOADING=1").contains("MONOTONIC_USEC="));
    assert_eq!(until(&said, "READY=1"), "READY=1");
    // The successor has the watchdog of its predecessor, whose process id was said with it.
    let pid = std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| lineage.upgrade(&[]));
        until(&said, "BARRIER=1");
        upgrade.join().expect("it is committed")
    });
    wait_until("the predecessor's end", || !runs(first));
    while said.try_recv().is_ok() {}
    until(&said, "WATCHDOG=1");
    assert_eq!(lineage.ask(&["drain", "--over", "1h"]).code, Some(0));
    until(&said, "STOPPING=1");
    let draining = until(&said, "EXTEND_TIMEOUT_USEC=");
    assert!(draining.contains("STATUS=draining; "), "{draining}");
    until(&said, "EXTEND_TIMEOUT_USEC=");
    drop(streams);
    wait_until("the gateway's end", || !runs(pid));
}
