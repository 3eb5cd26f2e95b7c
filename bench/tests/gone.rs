//! A run ends when nothing is open any more, and says so.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use support::{Run, bench, free_address};

/// Every scenario as something that would go on for an hour, and whether a target that refuses all
/// is a failure of the run.
const RUNS: &[(&str, &[&str], bool)] = &[
    ("hold", &["--connections", "20", "--hold", "1h"], true),
    ("pingpong", &["--connections", "4", "--seconds", "1h"], true),
    ("pingpong", &["--connections", "4", "--seconds", "1h", "--rate", "100"], true),
    ("churn", &["--connections", "4", "--seconds", "1h"], true),
    ("churn", &["--connections", "4", "--seconds", "1h", "--rate", "100"], true),
    ("storm", &["--connections", "20"], true),
    ("halfclose", &["--count", "1G", "--bytes", "100"], true),
    ("halfclose", &["--count", "1G", "--bytes", "100", "--first", "server"], true),
    ("reset", &["--count", "1G", "--bytes", "100"], true),
    // Refusal is what this one counts.
    ("limit", &["--connections", "20", "--settle", "1h"], false),
    ("slow", &["--connections", "4", "--seconds", "1h"], true),
    ("restart", &["--connections", "4", "--seconds", "1h"], true),
    ("bulk", &["--connections", "2", "--seconds", "1h"], true),
    ("crowd", &["--connections", "4", "--beside", "churn:50", "--seconds", "1h"], true),
];

#[test]
fn a_target_that_refuses_everybody_ends_every_run() {
    let target = free_address();
    for (name, flags, fails) in RUNS {
        let common = [name, "--target", &target, "--threads", "2", "--patience", "1s"];
        let ended = Run::begin(bench(&[&common, *flags].concat())).end();
        let result = ended.result();
        let expected = if *fails { Some(1) } else { Some(0) };
        assert_eq!(ended.code, expected, "{name}: {ended:?}");
        assert_eq!(result["good"], !fails, "{name}: {result}");
        assert_eq!(result["valid"], !fails, "{name}: {result}");
        assert_eq!(result["interrupted"], false, "{name}: {result}");
    }
}

#[test]
fn a_target_that_refuses_everybody_ends_the_rounds_of_abort() {
    let (target, servers) = (free_address(), free_address());
    let flags = ["abort", "--target", &target, "--listen", &servers, "--count", "10"];
    let ended = Run::begin(bench(&flags)).end();
    assert_eq!((ended.code, &ended.result()["valid"]), (Some(1), &false.into()), "{ended:?}");
}

/// Echoes so many messages to each of its clients, and then is gone altogether.
fn mortal(clients: usize, messages: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        let mut all: Vec<TcpStream> = listener.incoming().flatten().take(clients).collect();
        drop(listener);
        let mut bytes = [0; 64];
        for _ in 0..messages {
            for client in &mut all {
                let read = client.read_exact(&mut bytes);
                if read.and_then(|()| client.write_all(&bytes)).is_err() {
                    return;
                }
            }
        }
        all.iter().for_each(|client| drop(client.shutdown(Shutdown::Both)));
    });
    address
}

#[test]
fn a_target_that_dies_ends_the_run_and_its_figures_do_not_count() {
    let target = mortal(4, 100);
    let flags = ["pingpong", "--target", &target, "--connections", "4", "--seconds", "1h"];
    let ended = Run::begin(bench(&flags)).end();
    let result = ended.result();
    assert_eq!((ended.code, &result["valid"]), (Some(1), &false.into()), "{result}");
    let because = result["invalid_because"].to_string();
    assert!(because.contains("nothing was open any more"), "{result}");
    assert_eq!(result["counts"]["answered"], 400, "{result}");
}
