//! The harness's own server, and the scenarios that need one of its kind.

mod support;

use nix::sys::signal::Signal;
use support::{Ended, Run, bench};

/// A server at work, and its address.
fn serve(mode: &str) -> (Run, String) {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--threads", "2", "--mode", mode];
    let mut run = Run::begin(bench(&arguments));
    let line = run.wait_for("serving");
    let address = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:"));
    (run, address.expect("its address").to_owned())
}

/// Ends it; its counters.
fn end(run: Run) -> serde_json::Value {
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
