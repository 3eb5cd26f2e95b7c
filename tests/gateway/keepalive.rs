//! A client that vanished without a word is found, and one that is only silent is not.

use std::process::Command;

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::network::in_own_network;

fn echo_with(keys: &str) -> String {
    format!(
        "[listener.edge]\nbind = [\"127.0.0.1:0\"]\n{keys}upstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n[status]\nbind = \"off\"\n"
    )
}

#[test]
fn a_client_whose_link_is_down_gives_its_slot_back() {
    in_own_network(|own| {
        let keys = "keepalive = \"1s\"\nkeepalive_interval = \"1s\"\nkeepalive_probes = 2\n";
        let gateway = Gateway::start(&echo_with(keys));
        let client = client::connect(gateway.address("edge"));
        client::echo(&client, 1, 1_000);
        // Without a network of the test's own other programs need the link.
        if !own {
            drop(client);
            gateway.wait_for_ended(1);
            return gateway.stop().expect(&[("closed", 1)]);
        }
        let down = Command::new("ip").args(["link", "set", "lo", "down"]).status();
        assert!(down.is_ok_and(|down| down.success()));
        gateway.wait_for_ended(1);
        gateway.stop().expect(&[("client-reset", 1)]);
        drop(client);
    });
}

#[test]
fn a_client_that_answers_probes_stays() {
    in_own_network(|_| {
        let keys = "keepalive = \"1s\"\nkeepalive_interval = \"1s\"\nkeepalive_probes = 1\n\
                    user_timeout = \"2s\"\n";
        let gateway = Gateway::start(&echo_with(keys));
        let client = client::connect(gateway.address("edge"));
        client::echo(&client, 1, 1_000);
        std::thread::sleep(std::time::Duration::from_secs(4));
        client::echo(&client, 1, 1_000);
        drop(client);
        gateway.wait_for_ended(1);
        gateway.stop().expect(&[("closed", 1)]);
    });
}
