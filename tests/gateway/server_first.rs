//! A server may speak before its client has said anything.

use crate::support::client::{self, Ending};
use crate::support::config::relay;
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::pattern::Pattern;
use crate::support::server::{self, finish};

#[test]
fn a_silent_client_is_greeted() {
    const CONNECTIONS: usize = 200;
    const GREETING_BYTES: u64 = 777;
    let server = server::hello_first(42, GREETING_BYTES);
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    crowd(CONNECTIONS, 50, |index| {
        let stream = client::connect(address);
        client::receive(&stream, &mut Pattern::new(42), GREETING_BYTES);
        client::echo(&stream, index as u64, 100);
        finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
    });
    gateway.wait_for_ended(CONNECTIONS);
    gateway.stop().expect(&[("closed-by-client", CONNECTIONS as u64)]);
}
