//! Several gateways on a host: a command asks the one that is meant, and says which it was.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::gateway::{Gateway, Home, program};
use crate::support::procfs::is_stopped;
use crate::support::wait_until;

fn config(listener: &str, socket: &str) -> String {
    format!(
        "[gateway]\nworkers = 1\nmax_connections = 10\n[listener.{listener}]\n\
         bind = [\"127.0.0.1:0\"]\nupstream = \"own\"\n[upstream.own]\nbuiltin = \"echo\"\n\
         [admin]\nsocket = \"{socket}\"\n[status]\nbind = \"off\"\n"
    )
}

fn start(home: &Arc<Home>, file: &str, listener: &str, socket: &str) -> (Gateway, PathBuf) {
    let path = home.write(file, &config(listener, socket));
    let gateway = Gateway::launch_with(Arc::clone(home), program(None), Some(&path));
    gateway.wait_for_line(" ready ");
    (gateway, path)
}

/// A command of an operator in a shell whose environment says no more than where gateways are.
fn say(home: &Home, variable: Option<&Path>, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program(None);
    command.args(arguments).env("RUNTIME_DIRECTORY", home.path()).current_dir(home.path());
    match variable {
        Some(path) => command.env("PORTCULLIS_ADMIN", path),
        None => command.env_remove("PORTCULLIS_ADMIN"),
    };
    let Output { status, stdout, stderr } = command.output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").expect("it is readable").trim().to_owned()
}

#[test]
fn a_fixed_socket_in_the_directory_or_elsewhere_is_found() {
    let (home, elsewhere) = (Home::new(), Home::new());
    for path in [home.path().join("edge.sock"), elsewhere.path().join("edge.sock")] {
        let (gateway, _) = start(&home, "a.toml", "edge", &path.display().to_string());
        let (code, answer, complaint) = say(&home, None, &["status"]);
        assert_eq!((code, complaint.as_str()), (Some(0), ""));
        assert!(answer.contains(&format!("\npid {} on ", gateway.pid())), "{answer}");
        gateway.stop();
        let left = std::fs::read_dir(home.path()).expect("it is readable").flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().contains("sock")), "{left:?}");
    }
}

#[test]
fn which_of_several_is_meant_must_be_said_and_the_answer_says_it() {
    let (home, elsewhere) = (Home::new(), Home::new());
    let fixed = elsewhere.path().join("fixed.sock");
    let (first, first_file) = start(&home, "first.toml", "edge", &fixed.display().to_string());
    let (second, second_file) = start(&home, "second.toml", "inner", "auto");
    // What a dead one left behind is passed over.
    drop(UnixListener::bind(home.path().join("dead.sock")).expect("a socket"));
    symlink(home.path().join("nothing"), home.path().join("admin-1.sock")).expect("a link");

    let (code, answer, words) = say(&home, None, &["drain"]);
    assert_eq!((code, answer.as_str()), (Some(2), ""), "nobody is to guess: {words}");
    for (gateway, file, listener) in
        [(&first, &first_file, "edge"), (&second, &second_file, "inner")]
    {
        let (pid, address) = (gateway.pid(), gateway.address(listener));
        let row = format!("  pid {pid}, {}, {listener} {address}\n    --admin ", file.display());
        assert!(words.contains(&row), "{row} in {words}");
    }
    for how in ["--config FILE", "--admin PATH", "PORTCULLIS_ADMIN=PATH"] {
        assert!(words.contains(how), "{words}");
    }
    assert!(!words.contains("dead.sock") && !words.contains("admin-1.sock"), "{words}");

    let name = |gateway: &Gateway, file: &Path| {
        format!("portcullis: pid {} on {}, {}\n", gateway.pid(), hostname(), file.display())
    };
    let pause = |listener| ["listener", listener, "pause", "--config"];
    // By the config file: as it was given, by a link, and from where it lies.
    symlink(&first_file, home.path().join("link.toml")).expect("a link");
    for file in [first_file.to_str().expect("text"), "first.toml", "link.toml"] {
        let (code, answer, complaint) = say(&home, None, &[&pause("edge")[..], &[file]].concat());
        assert_eq!((code, answer.as_str()), (Some(0), "edge: paused\n"), "{complaint}");
        assert_eq!(complaint, name(&first, &first_file));
    }
    // A refusal says who refuses.
    let (code, _, complaint) = say(&home, None, &[&pause("edge")[..], &["second.toml"]].concat());
    assert_eq!(code, Some(2));
    assert!(complaint.contains(&name(&second, &second_file)), "{complaint}");
    // By the environment, which the command line overrides.
    let (_, answer, _) = say(&home, Some(&fixed), &["conns", "--json"]);
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let gateway = &answer["gateway"];
    assert_eq!(gateway["pid"], first.pid());
    assert_eq!(gateway["host"], hostname());
    assert_eq!(gateway["config"], first_file.display().to_string());
    for arguments in [
        &["reload", "--json", "--config", "second.toml"][..],
        &["status", "--json", "--config", "second.toml"],
    ] {
        let (_, answer, _) = say(&home, Some(&fixed), arguments);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["gateway"]["pid"], second.pid());
    }
    let (_, _, complaint) = say(&home, None, &["dump", "--admin", fixed.to_str().expect("text")]);
    assert_eq!(complaint, name(&first, &first_file));
    // None runs it, or there is no such file.
    let stranger = home.write("third.toml", &config("edge", "auto"));
    let (code, _, words) = say(&home, None, &["status", "--config", "third.toml"]);
    assert_eq!(code, Some(2));
    assert!(words.contains(&format!("runs {}; these are there:", stranger.display())), "{words}");
    assert!(words.contains(&format!("pid {}, ", first.pid())), "{words}");
    let (code, _, words) = say(&home, None, &["status", "--config", "none.toml"]);
    assert!(code == Some(2) && words.contains("--config none.toml: "), "{words}");
    first.stop();
    // Of two, one is left: nothing needs to be said.
    let (code, answer, _) = say(&home, None, &["drain"]);
    assert!(code == Some(0) && answer.starts_with("draining, "), "{answer}");
    second.stop_has_begun();
}

#[test]
fn one_that_stands_still_is_listed_and_keeps_nobody_from_the_other() {
    let home = Home::new();
    let (first, _) = start(&home, "first.toml", "edge", "auto");
    let (second, _) = start(&home, "second.toml", "inner", "auto");
    first.signal(Signal::SIGSTOP);
    wait_until("the gateway to stand still", || is_stopped(first.pid()));
    let (code, _, words) = say(&home, None, &["status"]);
    assert_eq!(code, Some(2));
    assert!(words.contains(&format!("pid {}, it did not answer: ", first.pid())), "{words}");
    let (code, ..) = say(&home, None, &["status", "--config", "second.toml"]);
    assert_eq!(code, Some(0));
    first.signal(Signal::SIGCONT);
    first.stop();
    second.stop();
}

#[test]
fn a_gateway_without_an_admin_socket_is_known_by_its_locks() {
    let home = Home::new();
    let (gateway, _) = start(&home, "a.toml", "edge", "off");
    let (code, _, words) = say(&home, None, &["status"]);
    assert_eq!(code, Some(1));
    let (pid, address) = (gateway.pid(), gateway.address("edge"));
    let row =
        format!("pid {pid} has {address} and no admin socket there: its admin.socket is \"off\"");
    assert!(words.contains(&row), "{words}");
    gateway.stop();
}
