//! Lock files: other users cannot open them, and a start names the lock that stops it.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;

use nix::fcntl::{Flock, FlockArg};

use crate::support::config::OWN_ECHO;
use crate::support::gateway::{Gateway, Home, program};
use crate::support::network::free_port;

#[test]
fn no_file_in_the_runtime_directory_is_open_to_others() {
    let gateway = Gateway::start(OWN_ECHO);
    let directory = gateway.admin_socket().parent().expect("a directory").to_owned();
    let mut locks = 0;
    for entry in std::fs::read_dir(directory).expect("it is readable").flatten() {
        if entry.path().extension().is_some_and(|end| end == "lock") {
            let mode = entry.metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "{:?}", entry.path());
            locks += 1;
        }
    }
    // Of its address, and of its admin socket.
    assert_eq!(locks, 2);
    gateway.stop();
}

#[test]
fn a_lock_on_the_directory_stops_no_start() {
    let home = Home::new();
    let directory = File::open(home.path()).expect("it is there");
    let _held = Flock::lock(directory, FlockArg::LockExclusive).expect("it is free");
    let gateway = Gateway::launch_in(home, program(None), Some(OWN_ECHO));
    gateway.wait_for_line(" ready ");
    gateway.stop();
}

#[test]
fn a_lock_that_another_process_holds_is_named_with_that_process() {
    let home = Home::new();
    let config =
        format!("{OWN_ECHO}\n[admin]\nsocket = \"{}\"\n", home.path().join("admin.sock").display());
    let lock = File::create(home.path().join("admin.sock.lock")).expect("a file");
    let _held = Flock::lock(lock, FlockArg::LockExclusive).expect("it is free");
    let gateway = Gateway::launch_in(home, program(None), Some(&config));
    let (status, lines) = gateway.ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let named = |words: &[&str]| lines.iter().any(|line| words.iter().all(|w| line.contains(w)));
    assert!(named(&["waits for the lock of the admin socket", "admin.sock.lock"]), "{lines:?}");
    let pid = format!("pid {}", std::process::id());
    assert!(named(&["admin.socket = ", &pid, "admin.sock.lock", "stop it first"]), "{lines:?}");
}

#[test]
fn a_lock_of_the_address_that_no_gateway_holds_is_named_too() {
    let home = Home::new();
    let address = format!("127.0.0.1:{}", free_port());
    let network = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
    let network = network.to_string_lossy().replace("net:[", "").replace(']', "");
    let path = home.path().join(format!("{address}@{network}.lock"));
    let _held = Flock::lock(File::create(&path).expect("a file"), FlockArg::LockExclusive);
    let config = OWN_ECHO.replace("127.0.0.1:0\"]\nupstream", &format!("{address}\"]\nupstream"));
    let (status, lines) = Gateway::launch_in(home, program(None), Some(&config)).ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let pid = format!("pid {}", std::process::id());
    let named = |words: &[&str]| lines.iter().any(|line| words.iter().all(|w| line.contains(w)));
    let path = path.display().to_string();
    assert!(named(&["waits for the lock of the address", &path]), "{lines:?}");
    assert!(named(&["listener edge", &pid, &path, "stop it first"]), "{lines:?}");
}
