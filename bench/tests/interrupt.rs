//! Whatever a run is doing, Ctrl-C ends it with a result of what was measured.

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{PATIENCE, Run, bench, echo, free_address, server};

/// Every scenario as something that does not end by itself, and the words on stderr by which it is
/// in the middle of it.
const RUNS: &[(&str, &[&str], &str)] = &[
    ("hold", &["--connections", "20", "--hold", "1h"], "Run "),
    ("pingpong", &["--connections", "4", "--seconds", "3600"], "Run "),
    ("churn", &["--connections", "4", "--seconds", "3600", "--rate", "100"], "Run "),
    ("storm", &["--connections", "20"], "Open "),
    ("halfclose", &["--count", "1000000000", "--bytes", "100"], "Run "),
    ("reset", &["--count", "1000000000", "--bytes", "100"], "Run "),
    ("abort", &["--count", "20", "--spread", "1h"], "Run "),
    ("limit", &["--connections", "20", "--settle", "1h"], "Run "),
    ("slow", &["--connections", "4", "--seconds", "3600", "--who", "writer"], "Run "),
    ("restart", &["--connections", "4", "--seconds", "3600"], "Run "),
    ("bulk", &["--connections", "2", "--seconds", "3600"], "Run "),
    ("crowd", &["--connections", "4", "--beside", "churn:20", "--seconds", "3600"], "Run "),
];

/// What reads results or runs other programs, and the program's own help.
const NO_RUNS: &[&str] = &["serve", "report", "compare", "upgrade", "sweep", "help"];

/// The names in the program's own help.
fn scenarios() -> Vec<String> {
    let help = Run::begin(bench(&["--help"])).end();
    let (_, list) = help.output.split_once("Commands:\n").expect("a list of commands");
    let lines = list.lines().take_while(|line| !line.trim().is_empty());
    // What goes on in a second line is indented further.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

/// Says nothing, so that what opens does not end.
fn silence(mut client: TcpStream) {
    client.set_read_timeout(Some(PATIENCE)).expect("more than nothing");
    while client.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
}

#[test]
fn every_scenario_ends_by_an_interrupt_with_its_result() {
    for name in scenarios().iter().filter(|name| !NO_RUNS.contains(&name.as_str())) {
        let run = RUNS.iter().find(|(known, ..)| known == name);
        let (_, flags, words) = run.unwrap_or_else(|| panic!("{name} is not tested here"));
        let target = server(if name == "storm" { silence } else { echo }).to_string();
        let common = [name, "--threads", "1", "--patience", "1h"];
        // One brings its own servers.
        let own = free_address();
        let places = if name == "abort" {
            ["--target", &own, "--listen", &own].to_vec()
        } else {
            vec!["--target", &target]
        };
        let mut run = Run::begin(bench(&[&common, &places[..], *flags].concat()));
        run.wait_for(words);
        run.signal(Signal::SIGINT);
        let ended = run.end();
        // 3: on a machine that is busy with other tests the generator may be the bottleneck.
        assert!(matches!(ended.code, Some(0 | 3)), "{name}: {ended:?}");
        let result = ended.result();
        assert_eq!(
            (&result["interrupted"], &result["good"]),
            (&true.into(), &true.into()),
            "{name}"
        );
        let measured = if result["valid"] == true { "measured" } else { "discarded" };
        assert!(result["counts"].is_object() && result[measured].is_object(), "{name}: {result}");
        let points = result[measured]["timeline"]["points"].as_array();
        assert!(points.is_some_and(|points| !points.is_empty()), "{name}: {result}");
    }
}

#[test]
fn a_server_ends_by_an_interrupt_with_its_counters() {
    for mode in ["echo", "sink", "source", "hello-first", "half-close"] {
        let mut run = Run::begin(bench(&["serve", "--listen", "127.0.0.1:0", "--mode", mode]));
        let line = run.wait_for("serving");
        let address = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:"));
        // Somebody who is there does not keep it.
        let client = TcpStream::connect(address.expect("its address")).expect("it listens");
        std::thread::sleep(Duration::from_millis(50));
        run.signal(Signal::SIGINT);
        let ended = run.end();
        assert_eq!(ended.code, Some(0), "{mode}: {ended:?}");
        assert!(ended.result()["counts"].is_object(), "{mode}: {ended:?}");
        drop(client);
    }
}
