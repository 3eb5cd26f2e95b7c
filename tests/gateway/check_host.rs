//! `check --host` and `doctor` try what a start would: what it would fail of is a no by both, and
//! what a gateway that runs has is said and is none.

use std::net::{SocketAddr, TcpListener};

use crate::support::command::{Said, command};
use crate::support::gateway::{Gateway, Home, program_as_user};

fn config(bind: &str, rest: &str) -> String {
    format!(
        "[listener.edge]\nbind = [{bind:?}]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n{rest}"
    )
}

const QUIET: &str = "[status]\nbind = \"off\"\n";

fn check(path: &str) -> Said {
    command(&["check", "--host", path])
}

#[test]
fn a_host_that_has_everything_is_a_yes() {
    let home = Home::new();
    let path = home.write("p.toml", &config("127.0.0.1:0", QUIET)).display().to_string();
    let said = check(&path);
    let answer = format!("{path}: ok: 1 listener, 1 upstream; a start on this host can have it\n");
    assert_eq!((said.code, &*said.answer, &*said.complaint), (Some(0), &*answer, ""));
}

#[test]
fn an_address_that_a_program_has_is_a_no_with_its_name() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    for (text, key) in [
        (config(&address.to_string(), QUIET), "listener.edge.bind"),
        (config("127.0.0.1:0", &format!("[status]\nbind = \"{address}\"\n")), "status.bind"),
    ] {
        let home = Home::new();
        let path = home.write("p.toml", &text).display().to_string();
        let said = check(&path);
        let told = format!("{path}: a start on this host fails: {key} = \"{address}\": ");
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.complaint.starts_with(&told), "{said:?}");
        let us = format!("(pid {}) listens there; stop it first", std::process::id());
        assert!(said.complaint.contains(&us) && said.answer.is_empty(), "{said:?}");
        let doctor = command(&["doctor", &path]);
        assert_eq!(doctor.code, Some(1), "{doctor:?}");
        assert!(
            doctor.answer.contains(&format!("A start fails: {key} = \"{address}\"")),
            "{doctor:?}"
        );
        // Without --host it says whether the file is right.
        assert_eq!(command(&["check", &path]).code, Some(0));
    }
    // Nobody came to it meanwhile, and it listens on.
    taken.set_nonblocking(true).expect("an option");
    assert!(taken.accept().is_err());
}

#[test]
fn an_address_of_a_gateway_that_runs_is_said_and_no_lack() {
    let gateway = Gateway::start(&config("127.0.0.1:0", QUIET));
    let address: SocketAddr = gateway.address("edge");
    let home = Home::new();
    let path = home.write("p.toml", &config(&address.to_string(), QUIET)).display().to_string();
    let said = check(&path);
    assert_eq!(said.code, Some(0), "{said:?}");
    let told = format!(
        "{path}: note: listener.edge.bind = \"{address}\": portcullis (pid {})",
        gateway.pid()
    );
    assert!(said.complaint.starts_with(&told), "{said:?}");
    assert!(said.complaint.contains("reload or upgrade goes over"), "{said:?}");
    let doctor = command(&["doctor", &path]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    assert!(doctor.answer.contains("listens there"), "{doctor:?}");
    gateway.stop();
}

#[test]
fn everything_that_a_start_fails_of_is_said_at_once() {
    let home = Home::new();
    let rest = "[admin]\ngroup = \"no-such-group\"\n[access_log]\npath = \"/nowhere/access.log\"\n\
                [gateway]\nmax_connections = 8_000_000\nmemory_limit = \"1GiB\"\n";
    let path = home.write("p.toml", &config("192.0.2.77:7000", &format!("{QUIET}{rest}")));
    let path = path.display().to_string();
    let said = check(&path);
    assert_eq!(said.code, Some(1), "{said:?}");
    let lines: Vec<&str> = said.complaint.lines().collect();
    let keys = [
        "listener.edge.bind = \"192.0.2.77:7000\": this host has ",
        "admin.group = \"no-such-group\": ",
        "access_log.path = \"/nowhere/access.log\": ",
        "gateway.max_connections = 8000000: this host holds",
    ];
    assert_eq!(lines.len(), keys.len(), "{said:?}");
    for (line, key) in lines.iter().zip(keys) {
        let told = format!("{path}: a start on this host fails: {key}");
        assert!(line.starts_with(&told), "{said:?}");
    }
}

#[test]
fn files_and_ports_are_tried_as_this_user() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("no privilege to be another user: not checked");
    }
    const USER: u32 = 61_011;
    let (home, roots) = (Home::new(), Home::new());
    let log = roots.path().join("access.log");
    std::fs::write(&log, "").expect("written");
    let rest = format!(
        "{QUIET}[access_log]\npath = \"{}\"\n[admin]\nsocket = \"{}\"\ngroup = \"0\"\n",
        log.display(),
        roots.path().join("admin.sock").display()
    );
    let path = home.write("p.toml", &config("127.0.0.1:0", &rest)).display().to_string();
    let mut program = program_as_user(USER, ":", home.path());
    program.args(["check", "--host", &path]).env("RUNTIME_DIRECTORY", roots.path());
    let output = program.output().expect("it runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    for key in ["access_log.path = ", "admin.socket = ", "RUNTIME_DIRECTORY = ", "admin.group = "] {
        let told = format!("{path}: a start on this host fails: {key}");
        assert_eq!(words.matches(&told).count(), 1, "{key}: {words}");
    }
}
