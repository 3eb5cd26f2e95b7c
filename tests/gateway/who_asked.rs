//! The log says who asked for what was done: the process at the admin socket, or the signal.

use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use nix::unistd::getuid;

use crate::support::client;
use crate::support::command::{ask, ask_json, tell};
use crate::support::config::{OWN_ECHO, relay};
use crate::support::gateway::Gateway;
use crate::support::http::say_to;
use crate::support::server;

/// The only line with these words.
fn line(gateway: &Gateway, words: &str) -> String {
    let lines = gateway.wait_for_lines(words, 1);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

/// Asserts that the line is of a command of this user.
fn is_by_a_command(line: &str) {
    let pid = line.split(" pid=").nth(1).and_then(|rest| rest.split(' ').next());
    let pid: u32 = pid.and_then(|pid| pid.parse().ok()).unwrap_or_default();
    let who = format!(" uid={} pid={pid} command=\"portcullis\" subject=", getuid());
    assert!(pid > 1 && line.contains(" INFO ") && line.contains(&who), "{line}");
}

#[test]
fn a_line_for_each_change_names_user_process_and_command() {
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let name = format!("app/{}", server.address);
    let streams: Vec<_> = (0..3).map(|_| client::connect(gateway.address("edge"))).collect();
    streams.iter().for_each(|stream| client::echo(stream, 3, 10));
    let listed = ask_json(&gateway, &["conns"]);
    let id = listed["rows"][0]["id"].as_str().expect("an id").to_owned();
    let server = format!("server/{name}");
    for (arguments, words, subject) in [
        (&["listener", "edge", "pause"][..], "paused; its clients", "listener/edge"),
        (&["listener", "edge", "resume"], "resumed", "listener/edge"),
        (&["server", &name, "weight", "3"], "gets new connections, weight 3 after 1", &server),
        (&["server", &name, "drain"], "it gets no new connections", &server),
        (&["servers", "app", "add", "127.0.0.1:9"], "added: 127.0.0.1:9", "upstream/app"),
        (&["kill", &id], "kill by their ids: 1 connection ended", "gateway"),
        (&["kill", "--filter", "listener=edge"], "kill by \"listener=edge\": 2 conn", "gateway"),
        (&["reload"], "nothing differs from the config file", "gateway"),
        (&["dump"], "a dump is made", "gateway"),
        (&["drain", "--share", "30"], "30 %: drains: 0 connections", "gateway"),
        (&["drain", "--grace", "60s"], "draining uid=", "gateway"),
        (&["drain", "--cancel"], "the drain is cancelled; it has ended 0 conn", "gateway"),
    ] {
        ask(&gateway, arguments);
        let line = line(&gateway, words);
        is_by_a_command(&line);
        assert!(line.ends_with(&format!(" subject={subject}")), "{line}");
    }
    gateway.stop();
}

/// The pid is that of who connected, not of anything that the request says.
#[test]
fn a_program_of_ones_own_is_named_as_the_kernel_knows_it() {
    let gateway = Gateway::start(OWN_ECHO);
    let body = "{\"listener\":\"edge\",\"paused\":true}";
    let request = format!(
        "POST /listener HTTP/1.1\r\nhost: x\r\nconnection: close\r\nuid: 77\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let stream = UnixStream::connect(gateway.admin_socket()).expect("it listens");
    assert_eq!(say_to(stream, request.as_bytes()).status, 200);
    let line = line(&gateway, "paused; its clients");
    let who = format!(" uid={} pid={} command=\"", getuid(), std::process::id());
    assert!(line.contains(&who), "{line}");
    gateway.stop();
}

#[test]
fn a_refused_reload_is_an_error_of_who_asked() {
    let gateway = Gateway::start(OWN_ECHO);
    let file = gateway.home().write("portcullis.toml", "[gateway]\nworkres = 2\n");
    assert_eq!(ask(&gateway, &["reload"]).code, Some(2), "{}", file.display());
    let by_command = line(&gateway, "reload refused, nothing was changed: ");
    assert!(by_command.contains(" ERROR ") && by_command.contains("workres"), "{by_command}");
    assert!(by_command.contains(" command=\"portcullis\" "), "{by_command}");
    gateway.signal(Signal::SIGHUP);
    let by_signal = gateway.wait_for_lines("nothing was changed: ", 2)[1].clone();
    assert!(by_signal.ends_with(" signal=SIGHUP subject=gateway"), "{by_signal}");
    gateway.stop();
    assert!(!by_signal.contains("uid="));
}

#[test]
fn what_only_looks_has_no_line() {
    let gateway = Gateway::start(OWN_ECHO);
    let before = gateway.lines().len();
    for arguments in [&["status"][..], &["conns"], &["kill", "--filter", "idle<1h", "--dry-run"]] {
        tell(&gateway, arguments);
    }
    assert_eq!(gateway.lines().len(), before);
    gateway.stop();
}
