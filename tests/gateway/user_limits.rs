//! A limit that counts all processes of a user: a start waits for what the dead hold, or says what
//! the living hold, and the doctor says the same.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use nix::unistd::geteuid;

use crate::support::client;
use crate::support::gateway::{Gateway, Home, program};

const ECHO: &str = "[gateway]\nworkers = 1\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\n\
    upstream = \"app\"\n[upstream.app]\nbuiltin = \"echo\"\n[status]\nbind = \"off\"\n";

/// The program as a user without capabilities, by a copy that this one can reach: each test has a
/// user of its own. Without root's rights the tests' own user has to do.
fn as_user(user: u32, locked_kib: u64, home: &Path) -> Command {
    let copy = home.join("portcullis");
    if !copy.exists() {
        std::fs::copy(program(None).get_program(), &copy).expect("a copy");
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -l {locked_kib} && exec \"$0\" \"$@\"")).arg(&copy);
    if geteuid().is_root() {
        for (path, mode) in [(home, 0o755), (&copy, 0o755)] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours");
            chown(path, Some(user), Some(user)).expect("root may");
        }
        command.uid(user).gid(user);
    }
    command
}

fn launch(user: u32, locked_kib: u64, home: &Arc<Home>) -> Gateway {
    Gateway::launch_in(home.clone(), as_user(user, locked_kib, home.path()), Some(ECHO))
}

#[test]
fn a_start_after_a_kill_waits_for_the_locked_memory_of_the_dead() {
    const USER: u32 = 61_001;
    let home = Home::new();
    for _ in 0..8 {
        // Enough for one at a time.
        let gateway = launch(USER, 1024, &home);
        gateway.wait_for_line(" ready ");
        client::echo(&client::connect(gateway.address("edge")), 1, 100);
        gateway.kill();
    }
}

#[test]
fn a_second_gateway_of_a_user_is_refused_with_what_the_first_holds() {
    const USER: u32 = 61_002;
    let homes = [Home::new(), Home::new()];
    let first = launch(USER, 1024, &homes[0]);
    first.wait_for_line(" ready ");
    let doctor = as_user(USER, 1024, homes[1].path()).arg("doctor").output().expect("it runs");
    let words = String::from_utf8_lossy(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(1), "{words}");
    assert!(words.contains("of this user's other processes"), "{words}");
    let (status, lines) = launch(USER, 1024, &homes[1]).ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let told = |line: &String| line.contains("of this user's other processes");
    assert!(lines.iter().any(told) && !lines.concat().contains("panicked"), "{lines:?}");
    client::echo(&client::connect(first.address("edge")), 1, 100);
    first.wait_for_ended(1);
    first.stop().expect(&[("closed", 1)]);
}
