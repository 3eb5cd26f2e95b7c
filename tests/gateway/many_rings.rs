//! A worker whose file limit is too small for one kernel ring holds its connections in several.

use std::sync::Barrier;

use crate::support::client::{self, Ending};
use crate::support::config::{over, relay_at_most};
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::procfs::descriptors;
use crate::support::server::{self, finish};

/// Far below the 1,200 sockets of the connections below.
const OPEN_FILES: u64 = 256;
const CONNECTIONS: usize = 600;

#[test]
fn six_hundred_connections_fit_into_256_files() {
    let server = server::echo();
    let config = over("io_uring", &relay_at_most(1_000, &[server.address]));
    let gateway = Gateway::start_with_open_files(&config, OPEN_FILES);
    let address = gateway.address("edge");
    for round in 0..3 {
        let all_open = Barrier::new(CONNECTIONS);
        crowd(CONNECTIONS, CONNECTIONS, |index| {
            let number = (round * CONNECTIONS + index) as u64;
            let stream = client::connect(address);
            client::echo(&stream, number, 100);
            all_open.wait();
            client::echo(&stream, !number, 10_000);
            finish(&stream);
            assert_eq!(client::ending(&stream), Ending::Fin);
        });
        gateway.wait_for_ended((round + 1) * CONNECTIONS);
    }
    assert!(descriptors(gateway.pid()) < OPEN_FILES as usize);
    gateway.stop().expect(&[("closed-by-client", 3 * CONNECTIONS as u64)]);
}
