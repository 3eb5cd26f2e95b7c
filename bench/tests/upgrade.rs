//! `crowd`, `upgrade` and `compare upgrade`: whoever is held, talks, streams and comes is counted,
//! and what is lost is said.

mod runs;
mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use runs::{Run, portcullis, run, wait_until};
use support::{Run as Load, bench, echo, server};

/// Every kind of load, few of each.
const BESIDE: &str = "pingpong:20@400,churn:40,bulk:3@256KiB,slow:4,halfclose:4";
/// Other tests may keep the generator from its connections, and an answer for a while.
const USUAL: [&str; 4] = ["--patience", "60s", "--beside", BESIDE];

#[track_caller]
fn count(result: &Value, what: &str) -> u64 {
    result["counts"][what].as_u64().unwrap_or(0)
}

/// Each kind did something.
#[track_caller]
fn all_took_part(result: &Value) {
    for what in ["messages", "new_served", "bulk_bytes", "slow_bytes", "half_closed_whole"] {
        assert!(count(result, what) > 0, "{what}: {result}");
    }
}

#[test]
fn a_crowd_is_checked_before_and_after() {
    let target = server(echo).to_string();
    let flags = ["crowd", "--target", &target, "--connections", "30", "--seconds", "8s"];
    let lag = ["--max-lag", "1m"];
    let ended = Load::begin(bench(&[&flags[..], &USUAL, &lag].concat())).end();
    let result = ended.result();
    assert_eq!((ended.code, &result["failures"]), (Some(0), &serde_json::json!({})), "{ended:?}");
    assert_eq!((count(&result, "held_opened"), count(&result, "held_checked")), (30, 30));
    all_took_part(&result);
}

#[test]
fn a_crowd_that_is_cut_off_has_failed() {
    // Each answers twice, and then ends: the first message, and whatever comes next.
    let target = server(|mut client| {
        use std::io::{Read, Write};
        let mut bytes = [0; 32];
        if client.read_exact(&mut bytes).is_ok() && client.write_all(&bytes).is_ok() {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    });
    let target = target.to_string();
    let flags = ["crowd", "--target", &target, "--connections", "10", "--seconds", "2s"];
    let ended = Load::begin(bench(&[&flags[..], &["--probes", "0", "--max-lag", "1m"]].concat()));
    let ended = ended.end();
    let result = ended.result();
    assert_eq!((ended.code, count(&result, "held_lost")), (Some(1), 10), "{ended:?}");
    assert_eq!(result["failures"]["held, idle: ended early (FIN)"], 10, "{result}");
}

/// The arguments of `upgrade`, with the gateway of this build.
fn upgrade<'a>(program: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let flags = ["upgrade", "--portcullis", program, "--connections", "200"];
    [&flags[..], &USUAL, more].concat()
}

#[test]
fn two_upgrades_lose_nothing() {
    let program = portcullis();
    let program = program.to_str().expect("text");
    let outcome =
        run(&upgrade(program, &["--upgrades", "2", "--probation", "300ms", "--pause", "2s"]));
    assert!(matches!(outcome.code, Some(0 | 3)), "{:?}: {}", outcome.code, outcome.errors);
    let result = &outcome.lines[0];
    assert_eq!((&result["scenario"], &result["good"]), (&"upgrade".into(), &true.into()));
    assert_eq!((count(result, "held_checked"), count(result, "held_lost")), (200, 0), "{result}");
    assert_eq!(count(result, "new_lost"), 0, "{result}");
    all_took_part(result);
    let part = if result["valid"] == true { "measured" } else { "discarded" };
    let upgrades = result[part]["upgrades"].as_array().expect("a list");
    assert_eq!(upgrades.len(), 2, "{result}");
    for one in upgrades {
        assert_eq!(one["answer"]["committed"], true, "{one}");
        assert!(one["answer"]["moved"].as_u64() >= Some(200), "{one}");
        // The third is the parent of the new one until the commit.
        assert_eq!(one["peak"]["processes"], 3, "{one}");
        assert_eq!(one["after"]["processes"], 1, "{one}");
        assert_ne!(one["from_pid"], one["to_pid"], "{one}");
        assert!(one["window"]["messages_us"]["count"].as_u64() > Some(0), "{one}");
    }
    for words in ["upgrade 2 of 2", "200 opened, 200 right afterwards, 0 lost", "in the window"] {
        assert!(outcome.errors.contains(words), "{words}: {}", outcome.errors);
    }
}

#[test]
fn a_killed_successor_loses_nobody_who_was_idle() {
    let program = portcullis();
    let program = program.to_str().expect("text");
    let outcome = run(&upgrade(program, &["--kill-at", "probation", "--probation", "2s"]));
    assert!(matches!(outcome.code, Some(0 | 3)), "{:?}: {}", outcome.code, outcome.errors);
    let result = &outcome.lines[0];
    let with_it = count(result, "held_lost_with_a_successor");
    assert_eq!(count(result, "held_checked") + with_it, 200, "{result}");
    let part = if result["valid"] == true { "measured" } else { "discarded" };
    let upgrades = result[part]["upgrades"].as_array().expect("a list");
    let committed: Vec<_> = upgrades.iter().map(|one| &one["answer"]["committed"]).collect();
    assert_eq!(committed, [false, true], "{result}");
    assert!(upgrades[0]["killed"].is_u64() && upgrades[1]["killed"].is_null(), "{result}");
}

/// The process in the line about the gateway, once it is there.
fn gateway(errors: &str) -> Option<i32> {
    let line = errors.lines().find(|line| line.starts_with("gateway: "))?;
    line.rsplit_once("pid ")?.1.parse().ok()
}

#[test]
fn a_gateway_that_dies_is_a_failure_with_words() {
    let program = portcullis();
    let program = program.to_str().expect("text");
    let run = Run::start(&upgrade(program, &["--pause", "100s"]));
    wait_until("the crowd to be there", || run.errors().contains("\nRun "));
    let pid = gateway(&run.errors()).expect("a line names it");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    let outcome = run.end();
    assert_eq!(outcome.code, Some(1), "{}", outcome.errors);
    let result = &outcome.lines[0];
    assert_eq!((&result["good"], count(result, "held_lost")), (&false.into(), 200), "{result}");
    assert!(outcome.errors.contains("the gateway has ended (signal: 9"), "{}", outcome.errors);
    assert!(outcome.errors.contains("FAILED"), "{}", outcome.errors);
}

#[test]
fn a_gateway_that_runs_is_upgraded() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, server) = (support::free_address(), server(echo));
    let admin = folder.path().join("admin.sock");
    let config = format!(
        "[listener.edge]\nbind = [\"{address}\"]\nupstream = \"app\"\n\
         [upstream.app]\nservers = [\"{server}\"]\n\
         [admin]\nsocket = \"{}\"\n[status]\nbind = \"off\"\n",
        admin.display()
    );
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, config).expect("a file");
    let program = portcullis();
    let mut command = std::process::Command::new(&program);
    command.arg("run").arg("--config").arg(&path);
    let mut gateway = Load::begin(command);
    gateway.wait_for("ready with");
    let (program, admin) = (program.display().to_string(), admin.display().to_string());
    let target = ["--target", &address, "--admin", &admin, "--probation", "300ms"];
    let outcome = run(&upgrade(&program, &target));
    let result = &outcome.lines[0];
    let part = if result["valid"] == true { "measured" } else { "discarded" };
    let one = &result[part]["upgrades"][0];
    let last = one["to_pid"].as_i64().expect("it is there") as i32;
    kill(Pid::from_raw(last), Signal::SIGKILL).expect("the successor runs");
    assert!(matches!(outcome.code, Some(0 | 3)), "{:?}: {}", outcome.code, outcome.errors);
    assert_eq!((&one["answer"]["committed"], count(result, "held_checked")), (&true.into(), 200));
    assert_eq!(one["after"]["processes"], 1, "{one}");
}

#[test]
fn portcullis_is_compared_with_those_that_are_there() {
    let program = portcullis();
    let outcome = run(&[
        "compare",
        "upgrade",
        "--portcullis",
        program.to_str().expect("text"),
        "--targets",
        "portcullis",
        "--connections",
        "100",
        "--churn",
        "20",
        "--rounds",
        "1",
        "--grace",
        "2s",
    ]);
    assert!(matches!(outcome.code, Some(0 | 3)), "{:?}: {}", outcome.code, outcome.errors);
    let line = &outcome.lines[1];
    assert_eq!((&line["scenario"], &line["good"]), (&"upgrade".into(), &true.into()), "{line}");
    assert_eq!(count(line, "held_checked"), 100, "{line}");
    assert_eq!(line["run"]["figures"][0]["pointer"], "/measured/survived_percent", "{line}");
    assert!(outcome.errors.contains("survive the old process"), "{}", outcome.errors);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_starts() {
    for (flags, words) in [
        (&["upgrade", "--beside", "pingpong:5"][..], "CONNECTIONS@MESSAGES_PER_SECOND"),
        (&["upgrade", "--target", "127.0.0.1:1"], "--admin"),
        (&["upgrade", "--portcullis", "/nowhere"], "/nowhere is no file"),
        (&["compare", "upgrade", "--targets", "squid"], "squid"),
        (&["compare", "upgrade", "--haproxy", "/nowhere", "--targets", "haproxy"], "/nowhere"),
    ] {
        let ended = Load::begin(bench(flags)).end();
        assert_eq!(ended.code, Some(2), "{flags:?}: {ended:?}");
        assert!(ended.errors.contains(words), "{flags:?}: {ended:?}");
    }
}
