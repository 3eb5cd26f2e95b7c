//! A gateway that does not run for a while takes its own silence for nobody else's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::client;
use crate::support::command::ask;
use crate::support::config::relay_with;
use crate::support::gateway::Gateway;
use crate::support::procfs::is_stopped;
use crate::support::server;
use crate::support::wait_until;

const CLIENTS: usize = 600;
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Clients that send a byte in the middle of a pause that is longer than the idle timeout, while
/// less than that has passed since.
fn pause(gateway: &Gateway, clients: &[TcpStream]) {
    gateway.signal(Signal::SIGSTOP);
    wait_until("the gateway to stop", || is_stopped(gateway.pid()));
    sleep(IDLE_TIMEOUT);
    for mut client in clients {
        client.write_all(b"!").expect("the kernel takes a byte");
    }
    sleep(IDLE_TIMEOUT / 2);
    gateway.signal(Signal::SIGCONT);
}

#[test]
fn clients_that_have_sent_meanwhile_are_not_idle() {
    let server = server::echo();
    let keys = format!("idle_timeout = \"{}s\"", IDLE_TIMEOUT.as_secs());
    let gateway = Gateway::start(&relay_with(&keys, &[server.address]));
    let address = gateway.address("edge");
    let clients: Vec<_> = (0..CLIENTS).map(|_| client::connect(address)).collect();
    for client in &clients {
        client::echo(client, 3, 10);
    }
    pause(&gateway, &clients);
    for client in &clients {
        (&*client).read_exact(&mut [0]).expect("the byte comes back");
    }
}

#[test]
fn a_kill_of_idle_ones_spares_them() {
    let server = server::echo();
    let gateway = Gateway::start(&relay_with("", &[server.address]));
    let address = gateway.address("edge");
    let clients: Vec<_> = (0..CLIENTS).map(|_| client::connect(address)).collect();
    for client in &clients {
        client::echo(client, 3, 10);
    }
    pause(&gateway, &clients);
    let said = ask(&gateway, &["kill", "--filter", "idle>2500ms"]);
    assert!(said.answer.starts_with("0 connections ended"), "{said:?}");
}
