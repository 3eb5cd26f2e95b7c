//! A connection that has gone quiet hears the next byte, and every other end, as before.

use std::thread::sleep;

use crate::support::client::{self, Ending};
use crate::support::config::upstream;
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::pattern::Pattern;
use crate::support::server::{self, finish};
use crate::support::{WATCH, socket};

#[test]
fn quiet_connections_go_on_where_they_were() {
    const CONNECTIONS: usize = 300;
    let server = server::echo();
    let gateway = Gateway::start(&format!(
        "[gateway]\nworkers = 2\nmax_connections = 4000\n[ring]\nquiet_after = \"50ms\"\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{}",
        upstream("app", &[server.address])
    ));
    let address = gateway.address("edge");
    let all_open = std::sync::Barrier::new(CONNECTIONS);
    crowd(CONNECTIONS, CONNECTIONS, |index| {
        let stream = client::connect(address);
        let (mut out, mut back) = (Pattern::new(index as u64), Pattern::new(index as u64));
        for round in 0..4 {
            // All go quiet together.
            all_open.wait();
            sleep(WATCH);
            let bytes = 1 + (index * 997 + round * 4_099) as u64 % 20_011;
            client::send(&stream, &mut out, bytes).expect("a round is sent");
            client::receive(&stream, &mut back, bytes);
        }
        all_open.wait();
        sleep(WATCH);
        if index % 3 == 0 {
            socket::reset(stream);
        } else {
            finish(&stream);
            assert_eq!(client::ending(&stream), Ending::Fin);
        }
    });
    gateway.wait_for_ended(CONNECTIONS);
    let report = gateway.stop();
    report.expect(&[("closed-by-client", 200), ("client-reset", 100)]);
    assert!(report.quieted > 0, "nobody went quiet");
}
