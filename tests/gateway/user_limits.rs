//! A limit that counts all processes of a user: a start waits for what the dead hold, or says what
//! the living hold, and the doctor says the same.

use std::sync::Arc;

use crate::support::client;
use crate::support::config::over;
use crate::support::gateway::{Gateway, Home, program_as_user};
use crate::support::wait_until;

const ECHO: &str = "[gateway]\nworkers = 1\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\n\
    upstream = \"app\"\n[upstream.app]\nbuiltin = \"echo\"\n[status]\nbind = \"off\"\n";

/// `ulimit` for a megabyte: enough for one gateway.
const LOCKED: &str = "ulimit -l 1024";

fn launch(user: u32, home: &Arc<Home>) -> Gateway {
    let command = program_as_user(user, LOCKED, home.path());
    Gateway::launch_in(home.clone(), command, Some(&over("io_uring", ECHO)))
}

#[test]
fn a_start_after_a_kill_waits_for_the_locked_memory_of_the_dead() {
    const USER: u32 = 61_001;
    let home = Home::new();
    for _ in 0..8 {
        let gateway = launch(USER, &home);
        gateway.wait_for_line(" ready ");
        client::echo(&client::connect(gateway.address("edge")), 1, 100);
        gateway.kill();
    }
}

#[test]
fn a_start_without_threads_to_be_had_is_one_clear_error() {
    // Shells name the limit on processes differently.
    const PROCESSES: &str = "{ ulimit -p 1 || ulimit -u 1; } 2> /dev/null";
    let home = Home::new();
    let command = program_as_user(61_004, PROCESSES, home.path());
    let (status, lines) = Gateway::launch_in(home, command, Some(ECHO)).ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let words = lines.join("\n");
    assert!(words.contains("ulimit -u") && !words.contains("panicked"), "{words}");
}

#[test]
fn a_second_gateway_of_a_user_is_refused_with_what_the_first_holds() {
    const USER: u32 = 61_002;
    let homes = [Home::new(), Home::new()];
    let first = launch(USER, &homes[0]);
    first.wait_for_line(" ready ");
    let config = homes[1].write("p.toml", ECHO);
    let mut doctor = program_as_user(USER, LOCKED, homes[1].path());
    let doctor = doctor.arg("doctor").arg(config).output().expect("it runs");
    let words = String::from_utf8_lossy(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(1), "{words}");
    assert!(words.contains("of this user's other processes"), "{words}");
    let (status, lines) = launch(USER, &homes[1]).ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let told = |line: &String| line.contains("of this user's other processes");
    assert!(lines.iter().any(told) && !lines.concat().contains("panicked"), "{lines:?}");
    client::echo(&client::connect(first.address("edge")), 1, 100);
    first.wait_for_ended(1);
    first.stop().expect(&[("closed-by-client", 1)]);
}

/// Both find the memory free, and only one can have it.
#[test]
fn of_two_that_start_at_once_one_serves_and_the_other_says_the_arithmetic() {
    const USER: u32 = 61_009;
    let homes = [Home::new(), Home::new()];
    let both = homes.each_ref().map(|home| launch(USER, home));
    let serves = |one: &Gateway| one.lines().iter().any(|line| line.contains(" ready "));
    wait_until("one of them serves", || both.iter().any(serves));
    let (mut served, mut refused): (Vec<_>, Vec<_>) = both.into_iter().partition(serves);
    let one = served.pop().expect("one serves");
    let other = refused.pop().expect("the memory is enough for one");
    let (status, lines) = other.ended_by_itself();
    let words = lines.join("\n");
    assert_eq!(status.code(), Some(1), "{words}");
    assert!(words.contains("of this user's other processes"), "{words}");
    assert!(!words.contains("panicked"), "{words}");
    client::echo(&client::connect(one.address("edge")), 1, 100);
}
