//! Text from elsewhere gives the terminal no orders: its control characters are spelled out.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::support::command::{Said, command};
use crate::support::gateway::{Gateway, Home, program};

/// Clears the screen, in seven and in eight bits.
const ORDERS: &str = "\u{1b}[2J\u{9b}2J";
const SPELLED: &str = r"\u{1b}[2J\u{9b}2J";

/// What a command says of a server that answers so, once.
fn answered(path: &Path, status: &str, body: &str, arguments: &[&str]) -> Said {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).expect("a socket");
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server = thread::spawn(move || {
        let (mut asker, _) = listener.accept().expect("a client");
        let _ = asker.read(&mut [0; 4096]);
        let _ = asker.write_all(answer.as_bytes());
        let _ = asker.read(&mut [0; 4096]);
    });
    let path = path.display().to_string();
    let said = command(&[arguments, &["--admin", &path]].concat());
    server.join().expect("it answers once");
    said
}

#[test]
fn a_servers_answer_and_its_refusal_are_spelled_out_and_json_is_as_it_is() {
    let home = Home::new();
    let path = home.path().join("admin.sock");
    let row = format!(
        "{{\"schema\":1,\"matched\":1,\"open\":1,\"rows\":[{{\"id\":\"0-1-1\",\
         \"client\":\"{}\\n\"}}]}}",
        ORDERS.replace('\u{1b}', "\\u001b")
    );
    let said = answered(&path, "200 OK", &row, &["conns"]);
    assert!(said.answer.contains(&format!(r"{SPELLED}\u{{a}}")), "{:?}", said.answer);
    assert!(!said.answer.contains(['\u{1b}', '\u{9b}']), "{:?}", said.answer);

    let said = answered(&path, "200 OK", &row, &["conns", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said.answer).expect("JSON");
    assert_eq!(json["rows"][0]["client"], format!("{ORDERS}\n"));

    let body = format!("no: {ORDERS}");
    for (status, code) in [("409 Conflict", 1), ("400 Bad Request", 2)] {
        let said = answered(&path, status, &body, &["drain"]);
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(said.complaint.contains(&format!("no: {SPELLED}")), "{said:?}");
        assert!(!said.complaint.contains(['\u{1b}', '\u{9b}']), "{said:?}");
    }

    for arguments in [&["dump"][..], &["dump", "--output", "file"]] {
        let file = home.path().join("dump.txt").display().to_string();
        let arguments: Vec<&str> =
            arguments.iter().map(|&word| if word == "file" { &*file } else { word }).collect();
        let said = answered(&path, "200 OK", &body, &arguments);
        let written = std::fs::read_to_string(&file).unwrap_or(said.answer);
        assert_eq!(written.trim_end(), format!("no: {SPELLED}"));
    }
}

#[test]
fn the_name_of_a_process_that_has_the_port_is_spelled_out() {
    let home = Home::new();
    let named = home.path().join("\u{1b}[2J\nx");
    std::os::unix::fs::symlink("/bin/sleep", &named).expect("a link");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut stranger = Command::new(named);
    // It ends by itself where this test does not come to its end.
    let mut stranger =
        stranger.arg("60").stdin(OwnedFd::from(listener)).spawn().expect("it starts");
    let config = format!(
        "[listener.edge]\nbind = [\"{address}\"]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n"
    );
    let (status, lines) = Gateway::launch_in(home, program(None), Some(&config)).ended_by_itself();
    stranger.kill().expect("it is our child");
    stranger.wait().expect("it is our child");
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let spelled = |line: &String| line.contains(r"\u{1b}[2J\u{a}x");
    assert!(lines.iter().any(spelled), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains('\u{1b}')), "{lines:?}");
}

#[test]
fn a_path_in_the_log_is_spelled_out() {
    let home = Home::new();
    let path = home.path().join("a\u{1b}[2J.sock").display().to_string();
    let config = format!(
        "{}\n[admin]\nsocket = \"{}\"\n",
        crate::support::config::OWN_ECHO,
        path.replace('\u{1b}', "\\u001b")
    );
    let gateway = Gateway::launch_in(home, program(None), Some(&config));
    gateway.wait_for_line(r"a\u{1b}[2J.sock");
    // Before, a signal ends the start.
    gateway.wait_for_line(" ready ");
    assert!(!gateway.lines().iter().any(|line| line.contains('\u{1b}')));
    gateway.stop();
}
