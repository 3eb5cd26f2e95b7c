//! The harness's own server, and the scenarios that need one of its kind.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::{Ended, PATIENCE, Run, bench};

/// A server at work, and its address.
fn serve(mode: &str) -> (Run, String) {
    serve_as(&["--listen", "127.0.0.1:0", "--threads", "2", "--mode", mode])
}

/// One with these flags, and the first of its addresses.
fn serve_as(flags: &[&str]) -> (Run, String) {
    let mut run = Run::begin(bench(&[&["serve"], flags].concat()));
    let line = run.wait_for("serving");
    let address = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:"));
    (run, address.expect("its address").to_owned())
}

/// Ends it; its counters.
fn end(run: Run) -> Value {
    run.signal(Signal::SIGINT);
    let ended = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.result()["counts"].take()
}

fn ask(scenario: &str, target: &str, more: &[&str]) -> Ended {
    let common = [scenario, "--target", target, "--threads", "2", "--max-lag", "1m"];
    Run::begin(bench(&[&common, more].concat())).end()
}

#[track_caller]
fn expect_good(ended: &Ended) {
    assert!(matches!(ended.code, Some(0 | 3)), "{ended:?}");
    assert_eq!(ended.result()["good"], true, "{ended:?}");
}

const PINGPONG: &[&str] = &["--connections", "10", "--seconds", "1"];
const HOLD: &[&str] = &["--connections", "10", "--hold", "0s", "--linger", "0s"];
const CHURN: &[&str] = &["--connections", "4", "--seconds", "1"];

#[test]
fn a_greeting_is_waited_for_and_checked() {
    let (server, address) = serve("hello-first");
    for (scenario, flags) in [("pingpong", PINGPONG), ("hold", HOLD), ("churn", CHURN)] {
        expect_good(&ask(scenario, &address, &[flags, &["--hello-first"]].concat()));
    }
    let unasked = ask("hold", &address, HOLD);
    assert_eq!(unasked.code, Some(1), "it was not told of the greeting: {unasked:?}");
    end(server);
    let (server, address) = serve("echo");
    for (scenario, flags) in [("pingpong", PINGPONG), ("hold", HOLD), ("churn", CHURN)] {
        let flags = [flags, &["--hello-first", "--patience", "1s"]].concat();
        let silent = ask(scenario, &address, &flags);
        assert!(silent.output.contains("greeting: no answer in time (hung)"), "{silent:?}");
        assert_eq!(silent.code, Some(1), "{silent:?}");
    }
    end(server);
}

/// What the counters are, once they are as they should be.
fn counters(address: &str, ready: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut line = String::new();
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.read_to_string(&mut line).expect("a line of text");
        let told: Value = serde_json::from_str(&line).expect("JSON");
        if ready(&told) {
            return told;
        }
        assert!(Instant::now() < deadline, "the counters stay {told}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn counters_are_told_to_whoever_asks() {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--stats", "127.0.0.1:0"];
    let mut server = Run::begin(bench(&arguments));
    let line = server.wait_for("serving");
    let address = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:"));
    let address = address.expect("its address");
    let stats = server.wait_for("stats on").split_whitespace().last().map(str::to_owned);
    let stats = stats.expect("its address");

    let none = counters(&stats, |_| true);
    assert_eq!((&none["open"], &none["counts"]["accepted"]), (&json!(0), &json!(0)), "{none}");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"12345").expect("it is open");
    stream.read_exact(&mut [0; 5]).expect("an echo");
    let one = counters(&stats, |told| told["counts"]["sent_bytes"] == 5);
    assert_eq!((&one["open"], &one["counts"]["received_bytes"]), (&json!(1), &json!(5)), "{one}");
    drop(stream);
    counters(&stats, |told| told["open"] == 0 && told["counts"]["closed"] == 1);

    let aborted = ask("churn", address, &[CHURN, &["--reset"]].concat());
    let lives = aborted.result()["counts"]["lives"].as_u64().expect("a count");
    let all = counters(&stats, |told| told["counts"]["closed"] == lives + 1);
    assert_eq!(all["counts"]["ended_by_fin"], 1, "{all}");
    assert_eq!(all["counts"]["ended_by_reset"], lives, "{all}");
    assert_eq!(all["counts"]["accepted"], lives + 1, "{all}");

    server.signal(Signal::SIGUSR1);
    server.wait_for(&format!("0 open, {} done", lives + 1));
    assert_eq!(end(server)["accepted"], lives + 1);
}

/// Carries one direction of a connection, from the first stream to the second.
type Carry = fn(TcpStream, TcpStream);

/// Something between the bench and a server: how it carries what clients say, and servers.
fn between(server: &str, up: Carry, down: Carry) -> String {
    let server: SocketAddr = server.parse().expect("an address");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(server) else { return };
            let clones = (client.try_clone().expect("a clone"), server.try_clone().expect("one"));
            std::thread::spawn(move || up(client, server));
            std::thread::spawn(move || down(clones.1, clones.0));
        }
    });
    address.to_string()
}

/// As it should be.
fn carry(from: TcpStream, to: TcpStream) {
    carry_with(from, to, |bytes| bytes.to_vec());
}

fn carry_with(mut from: TcpStream, mut to: TcpStream, mut change: impl FnMut(&[u8]) -> Vec<u8>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&change(&bytes[..count])).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Takes one FIN for the end of both directions.
fn end_both(from: TcpStream, to: TcpStream) {
    let other = (from.try_clone().expect("a clone"), to.try_clone().expect("a clone"));
    carry(from, to);
    let _ = other.0.shutdown(Shutdown::Both);
    let _ = other.1.shutdown(Shutdown::Both);
}

/// Does not pass on what comes behind the header of a transfer and its first byte.
fn lose_the_rest(from: TcpStream, to: TcpStream) {
    let mut left = 33;
    carry_with(from, to, |bytes| {
        if bytes.starts_with(b"PCRECPT2") {
            left = usize::MAX;
        }
        let kept = bytes.len().min(left);
        left -= kept;
        bytes[..kept].to_vec()
    });
}

/// Flips a bit of the first byte behind the header.
fn flip(from: TcpStream, to: TcpStream) {
    let mut seen = 0;
    carry_with(from, to, |bytes| {
        let mut bytes = bytes.to_vec();
        if let Some(byte) = 32_usize.checked_sub(seen).and_then(|at| bytes.get_mut(at)) {
            *byte ^= 4;
        }
        seen += bytes.len();
        bytes
    });
}

/// No slot stays with an address that nobody comes to.
#[test]
fn all_slots_are_for_whoever_comes() {
    let addresses = ["--listen", "127.0.0.1:0"].repeat(16);
    let slots = ["--threads", "1", "--connections", "64"];
    let (server, first) = serve_as(&[&addresses[..], &slots].concat());
    let all = ["--connections", "64", "--hold", "0s", "--linger", "0s"];
    expect_good(&ask("hold", &first, &all));
    assert_eq!(end(server)["accepted"], 64);
}

const ENDS: &[&str] = &["--count", "60", "--connections", "8"];

#[test]
fn whoever_says_fin_first_everything_arrives() {
    let (server, address) = serve("half-close");
    let proxy = between(&address, carry, carry);
    for first in ["server", "both"] {
        for target in [&address, &proxy] {
            let ended = ask("halfclose", target, &[ENDS, &["--first", first]].concat());
            expect_good(&ended);
            assert_eq!(ended.result()["counts"]["half_closed"], 60, "{ended:?}");
        }
    }
    let counts = end(server);
    assert_eq!(counts["ended_by_fin"], 4 * 2 * 60, "two connections for each: {counts}");
}

#[test]
fn a_half_close_that_is_spoilt_is_told() {
    let (server, address) = serve("half-close");
    for (up, down, first, failure) in [
        // The client's bytes find nobody: a reset, or silence and a receipt that says too little.
        // Where both say FIN at once, all may have arrived before.
        (carry as Carry, end_both as Carry, "server", None),
        (lose_the_rest, carry, "server", Some("receipt: bytes were lost")),
        (lose_the_rest, carry, "both", Some("receipt: bytes were lost")),
        (flip, carry, "server", Some("receipt: wrong bytes at the server: corrupted at byte 0")),
        (carry, flip, "server", Some("exchange: wrong bytes: ")),
    ] {
        let target = between(&address, up, down);
        let few = ["--count", "8", "--connections", "8", "--patience", "3s", "--first", first];
        let ended = ask("halfclose", &target, &few);
        assert_eq!(ended.code, Some(1), "{first}: {ended:?}");
        assert!(ended.output.contains(failure.unwrap_or_default()), "{first}: {ended:?}");
    }
    end(server);
}
