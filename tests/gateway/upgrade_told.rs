//! An upgrade: what is known and counted beside connections is known and counted on.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use crate::support::client::{self, Ending};
use crate::support::config::{relay_with, upstream};
use crate::support::growth::{Grown, grown, none_fell};
use crate::support::lineage::Lineage;
use crate::support::server;
use crate::support::unreachable::Refusing;
use crate::support::wait_until;

/// Two servers that are checked, others that a file names, and an access log.
fn config(servers: &[SocketAddr], check: &str, directory: &Path) -> String {
    let (log, names) = (directory.join("access.log"), directory.join("servers"));
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 2000\n[status]\nbind = \"127.0.0.1:0\"\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [access_log]\npath = {log:?}\n{}check = {{ {check} }}\n\
         [upstream.named]\nservers_from = {{ file = {names:?} }}\n",
        upstream("app", servers)
    )
}

#[test]
fn a_server_that_is_down_stays_so_and_no_count_falls() {
    let (server, dead) = (server::echo(), Refusing::new());
    let servers = [server.address, dead.address];
    let directory = tempfile::tempdir().expect("a directory");
    let files = directory.path();
    std::fs::write(files.join("servers"), format!("servers = [\"{}\"]\n", server.address))
        .expect("a file");
    let often = config(&servers, "interval = \"100ms\", fall = 2", files);
    let lineage = Lineage::start(&often);
    let app = || lineage.status()["upstreams"][0]["servers"].clone();
    wait_until("checks to find the dead one", || app()[1]["state"] == "down");
    let address = lineage.first.address("edge");
    (0..10).for_each(|_| client::echo(&client::connect(address), 1, 1_000));
    let status = lineage.first.status();
    let told = ["portcullis_server_checks", "portcullis_search_answers", "portcullis_access_log"];
    let is_told = |all: &Grown| {
        told.iter().all(|name| all.iter().any(|(own, value)| own.starts_with(name) && *value > 0.0))
    };
    wait_until("all to be counted", || is_told(&grown(status)));
    // The next one's first check says nothing by itself.
    let seldom = config(&servers, "interval = \"1h\", fall = 3", files);
    let seldom = lineage.write("seldom.toml", &seldom);
    let (before, because) = (grown(status), app()[1]["because"].clone());
    lineage.upgrade(&["--successor-config", &seldom.display().to_string()]);
    let after = grown(status);
    none_fell(&before, &after);
    let now = app();
    assert_eq!((&now[1]["state"], &now[1]["because"]), (&"down".into(), &because));
    let attempts = now[1]["attempts"].clone();
    (0..20).for_each(|_| client::echo(&client::connect(address), 2, 1_000));
    assert_eq!(app()[1]["attempts"], attempts, "nobody is sent to it");
}

#[test]
fn a_source_has_no_more_connections_than_before() {
    let server = server::echo();
    let limit = "per_source = { max_connections = 3 }\n\
                 accept_proxy = \"from-trusted\"\nproxy_trusted = [\"127.0.0.9\"]";
    let lineage = Lineage::start(&relay_with(limit, &[server.address]));
    let address = lineage.first.address("edge");
    let served = |from: &str, header: &str| {
        let stream = client::from(from, address);
        (&stream).write_all(header.as_bytes()).expect("sent");
        client::echo(&stream, 1, 100);
        stream
    };
    let header = "PROXY TCP4 10.1.1.1 127.0.0.1 4000 80\r\n";
    let whose = [("127.0.0.1:0", ""), ("127.0.0.9:0", header)];
    let mut all: Vec<_> =
        whose.iter().flat_map(|one| (0..3).map(|_| served(one.0, one.1))).collect();
    lineage.upgrade(&[]);
    all.iter().for_each(|stream| client::echo(stream, 2, 100));
    for (from, header) in whose {
        let stream = client::from(from, address);
        // It may be reset already.
        let _ = (&stream).write_all(header.as_bytes());
        assert_eq!(client::ending(&stream), Ending::Reset, "one more than it may have: {from}");
    }
    drop((all.remove(5), all.remove(2)));
    for (from, header) in whose {
        wait_until("the place of one that has left", || {
            let stream = client::from(from, address);
            let _ = (&stream).write_all(header.as_bytes());
            let _ = (&stream).write_all(b"x");
            (&stream).read_exact(&mut [0]).is_ok()
        });
    }
}
