//! What people write on the command line, and what they get on a terminal.

mod support;

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use nix::pty::openpty;
use support::{PATIENCE, Run, bench, echo, server};

#[test]
fn durations_sizes_and_counts_have_one_grammar() {
    let target = server(echo).to_string();
    for (scenario, flags, asked) in [
        (
            "pingpong",
            &["--connections", "2", "--bytes", "1KiB", "--seconds", "500ms", "--rate", "1k"][..],
            &[("connections", 2.0), ("bytes", 1024.0), ("seconds", 0.5), ("rate", 1000.0)][..],
        ),
        // Plain numbers mean what they always did.
        (
            "pingpong",
            &["--connections", "2", "--bytes", "64", "--seconds", "1"],
            &[("connections", 2.0), ("bytes", 64.0), ("seconds", 1.0)],
        ),
        (
            "bulk",
            &["--connections", "2", "--bytes", "4KiB", "--seconds", "1s"],
            &[("bytes", 4096.0), ("seconds", 1.0)],
        ),
        (
            "churn",
            &["--connections", "2", "--bytes", "1kB", "--seconds", "500ms"],
            &[("bytes", 1000.0), ("seconds", 0.5)],
        ),
        (
            "reset",
            &["--count", "0.04k", "--connections", "4", "--bytes", "1KiB"],
            &[("count", 40.0), ("bytes", 1024.0)],
        ),
        (
            "hold",
            &["--connections", "4", "--hold", "1", "--warm", "4kB", "--linger", "0s"],
            &[("hold_seconds", 1.0), ("warm_bytes", 4000.0)],
        ),
    ] {
        let common = [scenario, "--target", &target, "--threads", "1", "--max-lag", "1m"];
        let ended = Run::begin(bench(&[&common, flags].concat())).end();
        let result = ended.result();
        assert_eq!(result["good"], true, "{ended:?}");
        for (key, value) in asked {
            assert_eq!(result["asked"][key].as_f64(), Some(*value), "{key}: {result}");
        }
    }
}

#[test]
fn an_amount_that_is_none_is_refused_with_what_to_write() {
    for (flag, text, remedy) in [
        ("--connections", "0", "from 1 to"),
        ("--connections", "many", "10k"),
        ("--bytes", "2GiB", "from 1 to 1048576"),
        ("--seconds", "soon", "2s"),
        ("--patience", "1 fortnight", "2s"),
        ("--target", "nowhere", "HOST:PORT"),
        ("--target", "no-such-host.invalid:7000", "give an address"),
    ] {
        let target = ["--target", "127.0.0.1:9"];
        let flags = [&["pingpong", flag, text], &target[if flag == "--target" { 2 } else { 0 }..]];
        let ended = Run::begin(bench(&flags.concat())).end();
        assert_eq!(ended.code, Some(2), "{flag} {text}: {ended:?}");
        assert!(ended.errors.contains(remedy), "{flag} {text}: {ended:?}");
    }
}

#[test]
fn a_target_has_a_name() {
    let target = format!("localhost:{}", server(echo).port());
    let flags = ["pingpong", "--target", &target, "--connections", "2", "--seconds", "1s"];
    let ended = Run::begin(bench(&[&flags[..], &["--max-lag", "1m"]].concat())).end();
    assert_eq!(ended.result()["good"], true, "{ended:?}");
}

/// What a run writes on a terminal.
fn on_a_terminal(flags: &[&str]) -> String {
    let terminal = openpty(None, None).expect("a terminal");
    let mut command = bench(flags);
    command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::from(terminal.slave));
    let mut child = command.spawn().expect("the program runs");
    drop(command); // With it the last end of the terminal but the program's own.
    let mut text = Vec::new();
    // The end of a terminal reads as EIO.
    let _ = File::from(terminal.master).take(1 << 20).read_to_end(&mut text);
    let begun = std::time::Instant::now();
    while child.try_wait().expect("a child of ours").is_none() {
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_terminal_gets_a_table_and_json_where_it_is_asked_for() {
    let target = server(echo).to_string();
    let own = std::process::id().to_string();
    let flags = ["pingpong", "--target", &target, "--connections", "2", "--seconds", "1s"];
    let flags = [&flags[..], &["--target-pid", &own]].concat();
    let table = on_a_terminal(&flags);
    for words in ["pingpong", "messages", "/s", "p99", "bytes each way", "CPU of the target", " s,"]
    {
        assert!(table.contains(words), "{words}: {table}");
    }
    assert!(!table.contains('{'), "{table}");
    let json = on_a_terminal(&[&flags[..], &["--json"]].concat());
    let result: serde_json::Value = serde_json::from_str(json.trim()).expect("JSON");
    assert_eq!(result["scenario"], "pingpong", "{json}");
}
