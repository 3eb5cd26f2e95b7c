//! An address has one gateway: a second one is refused, by name of the first.

use std::net::TcpListener;
use std::os::fd::AsRawFd;

use nix::sys::socket::{setsockopt, sockopt};

use crate::support::client;
use crate::support::gateway::{Gateway, Home, program};
use crate::support::network::free_port;
use crate::support::socket;

fn echo_on(bind: &str) -> String {
    format!(
        "[gateway]\nworkers = 2\n[listener.edge]\nbind = [{bind}]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n"
    )
}

/// Waits for a refusal and asserts that its one line says this.
fn refused(gateway: Gateway, fragments: &[&str]) {
    let (status, lines) = gateway.ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let named = |line: &&String| fragments.iter().all(|fragment| line.contains(fragment));
    assert_eq!(lines.iter().filter(named).count(), 1, "{fragments:?} in {lines:?}");
    assert!(!lines.iter().any(|line| line.contains(" ready ")), "{lines:?}");
}

#[test]
fn a_second_run_is_refused_by_the_firsts_pid() {
    let first = Gateway::start(&echo_on("\"127.0.0.1:0\""));
    let address = first.address("edge");
    let (pid, config) = (format!("pid {}", first.pid()), echo_on(&format!("\"{address}\"")));
    let beside = Gateway::launch_in(first.home(), program(None), Some(&config));
    refused(beside, &[&address.to_string(), &pid, ".lock"]);
    // One that keeps its locks elsewhere finds the first by its sockets.
    refused(Gateway::launch(Some(&config), None), &[&address.to_string(), &pid, "portcullis"]);
    client::echo(&client::connect(address), 1, 1_000);
    first.wait_for_ended(1);
    first.stop().expect(&[("closed-by-client", 1)]);
}

#[test]
fn a_wildcard_covers_an_address_of_its_family() {
    let port = free_port();
    let first = Gateway::start(&echo_on(&format!("\"0.0.0.0:{port}\"")));
    let (address, pid) = (format!("127.0.0.1:{port}"), format!("pid {}", first.pid()));
    let config = echo_on(&format!("\"{address}\""));
    refused(Gateway::launch_in(first.home(), program(None), Some(&config)), &[&address, &pid]);
    first.stop();
}

#[test]
fn another_address_is_free_to_take() {
    let first = Gateway::start(&echo_on("\"127.0.0.1:0\""));
    let port = first.address("edge").port();
    let config = echo_on(&format!("\"127.0.0.2:{port}\""));
    let second = Gateway::launch_in(first.home(), program(None), Some(&config));
    second.wait_for_lines(" ready ", 1);
    for gateway in [first, second] {
        client::echo(&client::connect(gateway.address("edge")), 1, 1_000);
        gateway.wait_for_ended(1);
        gateway.stop().expect(&[("closed-by-client", 1)]);
    }
}

#[test]
fn a_killed_gateways_address_is_free_to_take() {
    let first = Gateway::start(&echo_on("\"127.0.0.1:0\""));
    let address = first.address("edge");
    let second = {
        let config = echo_on(&format!("\"{address}\""));
        Gateway::launch_in(first.kill(), program(None), Some(&config))
    };
    second.wait_for_lines(" ready ", 1);
    client::echo(&client::connect(address), 1, 1_000);
    second.wait_for_ended(1);
    second.stop().expect(&[("closed-by-client", 1)]);
}

#[test]
fn a_stranger_that_shares_ports_is_named() {
    // SO_REUSEPORT on the stranger's side would let a bind beside it succeed.
    let fd = socket::unbound(([127, 0, 0, 1], 0).into()).expect("a socket");
    setsockopt(&fd, sockopt::ReusePort, &true).expect("an option");
    let any = nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, 0);
    nix::sys::socket::bind(fd.as_raw_fd(), &any).expect("a free port");
    let stranger = TcpListener::from(fd);
    socket::deepen(&stranger);
    let address = stranger.local_addr().expect("it is bound").to_string();
    let us = format!("pid {}", std::process::id());
    refused(Gateway::launch(Some(&echo_on(&format!("\"{address}\""))), None), &[&address, &us]);
}

#[test]
fn a_directory_that_cannot_be_written_is_one_clear_error() {
    let mut command = program(None);
    let home = Home::new();
    let config = home.write("p.toml", &echo_on("\"127.0.0.1:0\""));
    command.arg("run").arg(config).env("RUNTIME_DIRECTORY", "/dev/null/portcullis");
    let output = command.output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr);
    let errors = words.lines().filter(|line| line.contains("/dev/null/portcullis")).count();
    assert_eq!(errors, 1, "{words}");
    assert!(words.contains("RUNTIME_DIRECTORY"), "{words}");
}
