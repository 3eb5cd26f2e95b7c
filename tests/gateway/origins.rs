//! Servers of a file beside the config: followed while it changes, kept for a start without it.

use std::fs::{self, remove_file, rename, set_permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::command::{ask_json, tell};
use crate::support::config::relay;
use crate::support::gateway::Gateway;
use crate::support::server::{self, Server};
use crate::support::{WATCH, client, wait_until};

/// A directory with the file of the servers, and with what is kept.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a directory"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("app.servers")
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn config(&self) -> String {
        let from = format!("servers_from = {{ file = {:?} }}", self.file());
        let state = format!("[gateway]\nstate_directory = {:?}\n", self.state());
        relay(&[]).replace("servers = []", &from).replace("[gateway]\n", &state)
    }

    /// Replaces the file in one go.
    fn write(&self, servers: &[&Server<()>]) {
        let addresses: Vec<_> = servers.iter().map(|one| one.address.to_string()).collect();
        let draft = self.0.path().join("draft");
        fs::write(&draft, format!("servers = {addresses:?}\n")).expect("a draft");
        rename(draft, self.file()).expect("replaced");
    }
}

fn servers(gateway: &Gateway) -> Vec<SocketAddr> {
    let status = ask_json(gateway, &["status"]);
    let servers = status["upstreams"][0]["servers"].as_array().expect("a list");
    let address = |server: &serde_json::Value| server["address"].as_str().expect("a text").parse();
    servers.iter().map(|server| address(server).expect("an address")).collect()
}

fn wait_for_servers(gateway: &Gateway, expected: &[&Server<()>]) {
    let expected: Vec<SocketAddr> = expected.iter().map(|one| one.address).collect();
    wait_until("the servers of the file", || servers(gateway) == expected);
}

/// A client whose bytes come back.
fn echoed(gateway: &Gateway) -> TcpStream {
    let stream = client::connect(gateway.address("edge"));
    client::echo(&stream, 7, 1_000);
    stream
}

#[test]
fn the_servers_of_a_file_are_used_as_it_changes() {
    let place = Place::new();
    let [one, two] = [(); 2].map(|()| server::echo());
    let gateway = Gateway::start(&place.config());
    assert_eq!(servers(&gateway), [], "the file is not there yet");
    gateway.wait_for_lines("No such file", 1);

    place.write(&[&one]);
    wait_for_servers(&gateway, &[&one]);
    let early = echoed(&gateway);
    place.write(&[&one, &two]);
    wait_for_servers(&gateway, &[&one, &two]);
    let later = echoed(&gateway);
    assert_eq!((one.accepted(), two.accepted()), (1, 1), "the emptiest is chosen");

    for bad in ["", "servers = []", "servers = [\"10.0.0.1\"]"] {
        fs::write(place.file(), bad).expect("written in place");
        std::thread::sleep(WATCH);
        wait_for_servers(&gateway, &[&one, &two]);
    }
    gateway.wait_for_lines("the last good ones stay in use", 2);
    remove_file(place.file()).expect("removed");
    std::thread::sleep(WATCH);
    wait_for_servers(&gateway, &[&one, &two]);

    place.write(&[&two]);
    wait_for_servers(&gateway, &[&two]);
    gateway.wait_for_lines("answers again", 2);
    client::echo(&early, 8, 1_000);
    client::echo(&later, 9, 1_000);
    drop((early, later));
    gateway.stop();
}

#[test]
fn servers_that_are_found_during_a_drain_are_used_after_its_cancel() {
    let place = Place::new();
    let [one, two, three] = [(); 3].map(|()| server::echo());
    place.write(&[&one]);
    let gateway = Gateway::start(&place.config());
    wait_for_servers(&gateway, &[&one]);
    tell(&gateway, &["drain", "--grace", "1h"]);
    for newer in [&two, &three] {
        place.write(&[newer]);
        // It is read half a second later.
        std::thread::sleep(WATCH * 3);
        assert_eq!(servers(&gateway), [one.address], "nothing changes in a drain");
    }
    let during = echoed(&gateway);
    tell(&gateway, &["drain", "--cancel"]);
    wait_for_servers(&gateway, &[&three]);
    let after = echoed(&gateway);
    assert_eq!([&one, &two, &three].map(|one| one.accepted()), [1, 0, 1]);
    place.write(&[&two]);
    wait_for_servers(&gateway, &[&two]);
    client::echo(&during, 8, 1_000);
    drop((during, after));
    gateway.stop();
}

#[test]
fn servers_that_were_kept_are_used_by_a_start_without_the_file() {
    let place = Place::new();
    let [one, two] = [(); 2].map(|()| server::echo());
    place.write(&[&one]);
    let gateway = Gateway::start(&place.config());
    wait_for_servers(&gateway, &[&one]);
    place.write(&[&two, &one]);
    wait_for_servers(&gateway, &[&two, &one]);
    let kept = place.state().join("app.servers");
    let is_kept = || {
        let text = fs::read_to_string(&kept).unwrap_or_default();
        text.contains(&two.address.to_string())
    };
    wait_until("the servers to be kept", is_kept);
    gateway.kill();

    remove_file(place.file()).expect("removed");
    let gateway = Gateway::start(&place.config());
    gateway.wait_for_lines("those of the last run are used", 1);
    assert_eq!(servers(&gateway), [two.address, one.address]);
    drop(echoed(&gateway));
    place.write(&[&one]);
    wait_for_servers(&gateway, &[&one]);
    gateway.stop();

    fs::write(&kept, "servers = [").expect("damaged");
    remove_file(place.file()).expect("removed");
    let gateway = Gateway::start(&place.config());
    gateway.wait_for_lines("the servers that were kept cannot be read", 1);
    assert_eq!(servers(&gateway), []);
    gateway.stop();
}

#[test]
fn a_state_directory_that_cannot_be_written_is_said_once() {
    let place = Place::new();
    let [one, two] = [(); 2].map(|()| server::echo());
    fs::write(place.state(), "no directory").expect("a file");
    set_permissions(place.state(), PermissionsExt::from_mode(0o400)).expect("its owner's");
    place.write(&[&one]);
    let gateway = Gateway::start(&place.config());
    gateway.wait_for_lines("its servers are not kept for a start", 1);
    place.write(&[&one, &two]);
    wait_for_servers(&gateway, &[&one, &two]);
    place.write(&[&two]);
    wait_for_servers(&gateway, &[&two]);
    remove_file(place.state()).expect("out of the way");
    place.write(&[&one]);
    gateway.wait_for_lines("its servers are kept for a start again", 1);
    let said = gateway.lines();
    let said = said.iter().filter(|line| line.contains("not kept")).count();
    assert_eq!(said, 1);
    gateway.stop();
}
