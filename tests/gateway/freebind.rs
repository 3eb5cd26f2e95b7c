//! A listener with `freebind` waits for an address that its host does not have yet.

use std::process::Command;

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::network::{free_port, in_own_network};

/// Reserved for documentation (RFC 5737): no host has it.
const NOBODYS: &str = "192.0.2.77";

#[test]
fn clients_are_served_once_the_host_has_the_address() {
    in_own_network(|own| {
        let port = free_port();
        let config = format!(
            "[listener.edge]\nbind = [\"{NOBODYS}:{port}\"]\nfreebind = true\nupstream = \"app\"\n\
             [upstream.app]\nbuiltin = \"echo\"\n[status]\nbind = \"off\"\n"
        );
        let gateway = Gateway::start(&config);
        let mut served = 0;
        // Without a network of the test's own this host keeps its addresses.
        if own {
            let add = ["address", "add", "192.0.2.77/32", "dev", "lo"];
            assert!(Command::new("ip").args(add).status().is_ok_and(|added| added.success()));
            let address = format!("{NOBODYS}:{port}").parse().expect("an address");
            client::echo(&client::connect(address), 1, 1_000);
            gateway.wait_for_ended(1);
            served = 1;
        }
        let ended: &[_] = if served == 1 { &[("closed-by-client", 1)] } else { &[] };
        gateway.stop().expect(ended);
    });
}
