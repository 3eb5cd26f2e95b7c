//! A peer that vanished without a word is found, and one that is only silent is not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::network::in_own_network;
use crate::support::pattern::Pattern;
use crate::support::server::Server;

/// An address that is none of loopback's, where peers are probed; in a network of the test's own.
fn elsewhere(own: bool) -> &'static str {
    if !own {
        return "127.0.0.1";
    }
    const ADDRESS: &str = "10.99.0.1";
    let added = Command::new("ip").args(["address", "add", ADDRESS, "dev", "lo"]).status();
    assert!(added.is_ok_and(|added| added.success()), "`ip address add` failed");
    ADDRESS
}

fn echo_with(address: &str, keys: &str) -> String {
    format!(
        "[listener.edge]\nbind = [\"{address}:0\"]\n{keys}upstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n[status]\nbind = \"off\"\n"
    )
}

fn set_link(state: &str) {
    let set = Command::new("ip").args(["link", "set", "lo", state]).status();
    assert!(set.is_ok_and(|set| set.success()), "`ip link set lo {state}` failed");
}

#[test]
fn a_client_whose_link_is_down_gives_its_slot_back() {
    in_own_network(|own| {
        let keys = "keepalive = \"1s\"\nkeepalive_interval = \"1s\"\nkeepalive_probes = 2\n";
        let gateway = Gateway::start(&echo_with(elsewhere(own), keys));
        let client = client::connect(gateway.address("edge"));
        client::echo(&client, 1, 1_000);
        // Without a network of the test's own other programs need the link.
        if !own {
            drop(client);
            gateway.wait_for_ended(1);
            return gateway.stop().expect(&[("closed-by-client", 1)]);
        }
        set_link("down");
        gateway.wait_for_ended(1);
        gateway.stop().expect(&[("client-reset", 1)]);
        drop(client);
    });
}

#[test]
fn a_client_that_answers_probes_stays() {
    in_own_network(|own| {
        let keys = "keepalive = \"1s\"\nkeepalive_interval = \"1s\"\nkeepalive_probes = 1\n\
                    user_timeout = \"2s\"\n";
        let gateway = Gateway::start(&echo_with(elsewhere(own), keys));
        let client = client::connect(gateway.address("edge"));
        client::echo(&client, 1, 1_000);
        std::thread::sleep(Duration::from_secs(4));
        client::echo(&client, 1, 1_000);
        drop(client);
        gateway.wait_for_ended(1);
        gateway.stop().expect(&[("closed-by-client", 1)]);
    });
}

/// Echoes, and ends its direction where it is asked to.
fn server(address: &str) -> Server<()> {
    Server::on(&format!("{address}:0"), |mut stream: TcpStream| {
        let mut bytes = [0; 1000];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            match &bytes[..count] {
                b"end" => stream.shutdown(Shutdown::Write).expect("the first end"),
                echo => stream.write_all(echo).expect("the gateway reads"),
            }
        }
    })
}

/// A relay that no client leaves by itself, with these keys of its upstream.
fn relay_with(server: &Server<()>, keys: &str) -> String {
    format!(
        "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nkeepalive = \"off\"\n\
         half_close_timeout = \"off\"\nupstream = \"app\"\n\
         [upstream.app]\nservers = [\"{}\"]\n{keys}[status]\nbind = \"off\"\n",
        server.address
    )
}

const SOON: &str = "keepalive = \"1s\"\nkeepalive_interval = \"1s\"\nkeepalive_probes = 2\n";

/// Clients of which one never says a word, one had an answer, and one had the server's end.
fn silent_clients(gateway: &Gateway, server: &Server<()>) -> [TcpStream; 3] {
    let clients = [(); 3].map(|()| client::connect(gateway.address("edge")));
    client::echo(&clients[1], 1, 1_000);
    (&clients[2]).write_all(b"end").expect("the gateway reads");
    assert_eq!((&clients[2]).read(&mut [0]).expect("the server's end"), 0);
    crate::support::wait_until("every client has its server", || server.accepted() == 3);
    clients
}

#[test]
fn a_server_whose_link_is_down_ends_its_silent_connections() {
    in_own_network(|own| {
        let server = server(elsewhere(own));
        let gateway = Gateway::start(&relay_with(&server, SOON));
        let clients = silent_clients(&gateway, &server);
        if !own {
            drop(clients);
            gateway.wait_for_ended(3);
            return gateway.stop().expect(&[("closed-by-client", 2), ("closed-by-server", 1)]);
        }
        set_link("down");
        gateway.wait_for_ended(3);
        gateway.stop().expect(&[("upstream-reset", 3)]);
        drop(clients);
    });
}

#[test]
fn without_keepalive_a_server_that_is_gone_is_not_missed() {
    in_own_network(|own| {
        let server = server(elsewhere(own));
        let gateway = Gateway::start(&relay_with(&server, "keepalive = \"off\"\n"));
        let clients = silent_clients(&gateway, &server);
        if own {
            set_link("down");
        }
        // With probes they end after 3 s.
        std::thread::sleep(Duration::from_secs(5));
        let ended =
            gateway.lines().iter().filter(|line| line.contains("connection ended reason=")).count();
        assert_eq!(ended, 0, "{:?}", gateway.lines());
        if own {
            set_link("up");
        }
        drop(clients);
        gateway.wait_for_ended(3);
        gateway.stop().expect(&[("closed-by-client", 2), ("closed-by-server", 1)]);
    });
}

#[test]
fn a_server_that_answers_probes_stays() {
    in_own_network(|own| {
        let server = server(elsewhere(own));
        let keys = "keepalive = \"1s\"\nkeepalive_interval = \"1s\"\nkeepalive_probes = 1\n\
                    user_timeout = \"2s\"\n";
        let gateway = Gateway::start(&relay_with(&server, keys));
        let clients = silent_clients(&gateway, &server);
        std::thread::sleep(Duration::from_secs(4));
        client::echo(&clients[0], 1, 1_000);
        client::echo(&clients[1], 1, 1_000);
        drop(clients);
        gateway.wait_for_ended(3);
        gateway.stop().expect(&[("closed-by-client", 2), ("closed-by-server", 1)]);
    });
}

#[test]
fn nobody_is_probed_on_loopback_where_nobody_goes_unseen() {
    in_own_network(|own| {
        let server = server("127.0.0.1");
        let config = relay_with(&server, SOON).replace("keepalive = \"off\"\n", SOON);
        let gateway = Gateway::start(&config);
        let clients = silent_clients(&gateway, &server);
        if own {
            // Probes would get no answer.
            set_link("down");
        }
        std::thread::sleep(Duration::from_secs(5));
        if own {
            set_link("up");
        }
        client::echo(&clients[1], 2, 1_000);
        drop(clients);
        gateway.wait_for_ended(3);
        gateway.stop().expect(&[("closed-by-client", 2), ("closed-by-server", 1)]);
    });
}

#[test]
fn a_server_that_takes_no_bytes_for_too_long_counts_as_gone() {
    let server = Server::start_narrow(|stream: TcpStream| {
        std::thread::sleep(Duration::from_secs(600));
        drop(stream);
    });
    let gateway = Gateway::start(&relay_with(&server, "user_timeout = \"2s\"\n"));
    let client = client::connect(gateway.address("edge"));
    client::send_until_stalled(&client, &mut Pattern::new(1));
    gateway.wait_for_ended(1);
    gateway.stop().expect(&[("upstream-reset", 1)]);
    drop(client);
}
