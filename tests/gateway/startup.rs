//! How the program starts and ends: its exit codes, its one clear error, its signals.

use std::net::TcpListener;

use nix::sys::signal::Signal;

use crate::support::client::{self, Ending};
use crate::support::config::relay;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, program};
use crate::support::network::in_own_network;
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
        gateway.stop_with(signal).expect(&[("closed", 1)]);
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
fn without_a_config_it_echoes_on_port_7000() {
    in_own_network(|own| {
        if !own && TcpListener::bind("127.0.0.1:7000").is_err() {
            return eprintln!("port 7000 is taken here: not checked");
        }
        let gateway = Gateway::start_without_config();
        let stream = client::connect(([127, 0, 0, 1], 7000).into());
        client::echo(&stream, 1, 10_000);
        finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
        gateway.stop();
    });
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
    gateway.stop().expect(&[("client-gone", GONE as u64), ("closed", 1)]);
}
