//! How the program starts and ends: its exit codes, its one clear error, its signals.

use std::net::TcpListener;

use nix::sys::signal::Signal;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::client::{self, Ending};
use crate::support::config::relay;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, program};
use crate::support::log::field;
use crate::support::procfs::is_stopped;
use crate::support::server::{self, finish};
use crate::support::socket::reset;
use crate::support::wait_until;

/// A config that is right but for what a test makes wrong.
fn echo_on(address: &str) -> String {
    format!(
        "[listener.edge]\nbind = [\"{address}\"]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n"
    )
}

#[test]
fn a_port_in_use_is_one_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound listener has an address").to_string();
    let (status, lines) = Gateway::launch(Some(&echo_on(&address)), None).ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let errors = lines.iter().filter(|line| line.contains(&address)).count();
    assert_eq!(errors, 1, "lines that name {address}: {lines:?}");
    assert!(!lines.iter().any(|line| line.contains("panicked")), "{lines:?}");
}

/// A log for programs has nothing but JSON in it, also where the gateway does not start.
#[test]
fn where_the_log_is_json_so_is_what_prevents_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound listener has an address").to_string();
    let json = "[log]\nformat = \"json\"\n";
    let in_use = format!("{}{json}", echo_on(&address));
    let misspelt = format!("{}colour = \"red\"\nbuilt = 1\n{json}", echo_on("127.0.0.1:0"));
    for (config, code, said) in [
        (in_use, 1, vec![&*address]),
        (misspelt, 2, vec!["toml:6: upstream.app.colour", "toml:7: "]),
    ] {
        let (status, lines) = Gateway::launch(Some(&config), None).ended_by_itself();
        assert_eq!(status.code(), Some(code), "{lines:?}");
        let parsed = lines.iter().map(|line| serde_json::from_str::<Value>(line));
        let parsed: Result<Vec<Value>, _> = parsed.collect();
        let parsed = parsed.unwrap_or_else(|error| panic!("{error}: {lines:?}"));
        let errors: Vec<_> = parsed.iter().filter(|line| line["level"] == "ERROR").collect();
        assert_eq!(errors.len(), said.len(), "{lines:?}");
        for (error, said) in errors.iter().zip(said) {
            let message = error["message"].as_str().expect("a message");
            assert!(message.contains(said), "{said}: {message}");
        }
    }
}

#[test]
fn a_second_signal_is_an_error_in_json_as_well() {
    let config = format!(
        "[gateway]\nworkers = 1\nmax_connections = 1000\ndrain_timeout = \"1h\"\n{}\
         [log]\nformat = \"json\"\n",
        echo_on("127.0.0.1:0")
    );
    let gateway = Gateway::start(&config);
    let lines = gateway.wait_for_lines("\"listening\"", 1);
    let line: Value = serde_json::from_str(&lines[0]).expect("JSON");
    let address = line["address"].as_str().and_then(|it| it.parse().ok()).expect("an address");
    let streams: Vec<_> = (0..500).map(|_| client::connect(address)).collect();
    for stream in &streams {
        client::echo(stream, 1, 1);
    }
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for_line("SIGTERM");
    gateway.signal(Signal::SIGINT);
    let (status, lines) = gateway.ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let last: Value = serde_json::from_str(lines.last().expect("a line")).expect("JSON");
    assert_eq!(last["level"], "ERROR", "{lines:?}");
    assert!(lines.iter().all(|line| line.starts_with('{')), "{lines:?}");
}

#[test]
fn the_first_line_says_what_starts_and_from_which_file() {
    let config = echo_on("127.0.0.1:0");
    let gateway = Gateway::start(&config);
    let lines = gateway.lines();
    let first = &lines[0];
    assert!(first.contains(" starting version="), "{lines:?}");
    let path = field(first, "config").expect("a path").to_owned();
    let digest = Sha256::digest(std::fs::read(&path).expect("the config"));
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(field(first, "version"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(field(first, "commit"), option_env!("PORTCULLIS_COMMIT"));
    assert_eq!(field(first, "pid"), Some(&*gateway.pid().to_string()));
    assert_eq!(field(first, "config_sha256"), Some(&*digest));
    gateway.stop();
}

/// A host as it comes has a net.core.somaxconn of 4096, and here its value is whatever it is.
#[test]
fn only_a_chosen_backlog_that_the_kernel_cuts_is_warned_about_and_once() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux has it");
    let most: u64 = most.trim().parse().expect("a number");
    let listener = |name: &str, backlog: &str| {
        format!("[listener.{name}]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{backlog}")
    };
    let upstream = "[upstream.app]\nbuiltin = \"echo\"\n";
    let beyond = format!("backlog = {}\n", most + 1);
    for (backlog, warnings) in [("", 0), (&*beyond, 1)] {
        let listeners = ["one", "two", "three"].map(|name| listener(name, backlog));
        let gateway = Gateway::start(&format!("{}{upstream}", listeners.concat()));
        let lines = gateway.lines();
        let warned =
            lines.iter().filter(|line| line.contains("WARN") && line.contains("somaxconn"));
        let warned: Vec<_> = warned.collect();
        assert_eq!(warned.len(), warnings, "{lines:?}");
        assert!(warned.iter().all(|line| line.contains("one, two, three")), "{lines:?}");
        gateway.stop();
    }
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_line() {
    let config = echo_on("127.0.0.1:0").replace("[upstream", "colour = \"red\"\n[upstream");
    let (status, lines) = Gateway::launch(Some(&config), None).ended_by_itself();
    assert_eq!(status.code(), Some(2), "{lines:?}");
    let named = |line: &String| line.contains("portcullis.toml:4") && line.contains("colour");
    assert!(lines.iter().any(named), "{lines:?}");
}

#[test]
fn a_missing_config_file_is_an_error_of_usage() {
    let arguments = ["run", "--config", "/nonexistent/portcullis.toml"];
    let output = program(None).args(arguments).output();
    let output = output.expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("/nonexistent/portcullis.toml"), "{words}");
}

#[test]
fn either_signal_ends_the_gateway_well() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let gateway = Gateway::start(&echo_on("127.0.0.1:0"));
        let stream = client::connect(gateway.address("edge"));
        client::echo(&stream, 1, 1_000);
        finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
        gateway.wait_for_ended(1);
        gateway.stop_with(signal).expect(&[("closed-by-client", 1)]);
    }
}

#[test]
fn a_gateway_that_ends_counts_what_it_held() {
    const OPEN: u64 = 30;
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..OPEN).map(|_| client::connect(address)).collect();
    for (seed, stream) in (0..).zip(&streams) {
        client::echo(stream, seed, 100);
    }
    gateway.stop().expect(&[("drained", OPEN)]);
}

#[test]
fn a_client_gone_before_its_accept_reaches_no_server() {
    const GONE: usize = 100;
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    gateway.signal(Signal::SIGSTOP);
    wait_until("the gateway to stop", || is_stopped(gateway.pid()));
    crowd(GONE, 10, |_| reset(client::connect(address)));
    gateway.signal(Signal::SIGCONT);
    gateway.wait_for_reason("client-gone", GONE);
    assert_eq!(server.accepted(), 0, "connections that reached the server");
    client::echo(&client::connect(address), 1, 100);
    gateway.wait_for_ended(GONE + 1);
    gateway.stop().expect(&[("client-gone", GONE as u64), ("closed-by-client", 1)]);
}
