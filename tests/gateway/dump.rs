//! The text for a bug report: everything that helps, and nobody's address.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use crate::support::client;
use crate::support::command::{ask, command, tell};
use crate::support::config::upstream;
use crate::support::gateway::{Gateway, Home};
use crate::support::server;

/// A relay to `server`, beside an upstream somewhere else.
fn config(server: SocketAddr) -> String {
    let far = ["192.0.2.77:9000", "[2001:db8::77]:9000"].map(|far| far.parse().expect("one"));
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 500\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [listener.other]\nbind = [\"127.0.0.1:0\"]\nupstream = \"far\"\n{}{}",
        upstream("app", &[server]),
        upstream("far", &far)
    )
}

#[test]
fn a_dump_says_what_runs_how_and_what_happened_last() {
    let server = server::echo();
    let gateway = Gateway::start(&config(server.address));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..20).map(|_| client::connect(address)).collect();
    for stream in &streams {
        client::echo(stream, 1, 1000);
    }
    drop(streams);
    gateway.wait_for_ended(20);
    let text = tell(&gateway, &["dump"]);
    let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(sections[..3], ["doctor", "config", "metrics"]);
    assert_eq!(sections.len(), 5, "and one of each worker: {sections:?}");
    for expected in [
        "fs.file-max",
        "drain_timeout = \"25s\"\n",
        "\n[listener.edge]\n",
        "portcullis_connections_closed_total{listener=\"edge\",reason=\"closed-by-client\"} 20\n",
        " accepted at=",
        "Receive",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(text.matches(" ended reason=closed-by-client").count(), 20, "{text}");
    for word in ["ip4-1:9000", "[ip6-2]:9000"] {
        assert!(text.contains(word), "{word} stands for an address: {text}");
    }
    // The config's part is a file: with addresses for the words, it is right.
    let (_, config) = text.split_once("## config\n").expect("a section");
    let (config, _) = config.split_once("\n## ").expect("a next one");
    let config = config.replace("ip4-1", "127.0.0.1").replace("ip6-2", "::1");
    let home = Home::new();
    let path = home.path().join("again.toml");
    std::fs::write(&path, config).expect("it is writable");
    let said = command(&["check", "--config", &path.display().to_string()]);
    assert_eq!(said.code, Some(0), "{}", said.complaint);
    for hidden in ["192.0.2", "2001:db8"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    gateway.stop();
}

#[test]
fn a_file_is_new_and_its_owners_alone() {
    let home = Home::new();
    let path = home.path().join("dump.txt");
    let name = path.display().to_string();
    let server = server::echo();
    let gateway = Gateway::start(&config(server.address));
    let said = tell(&gateway, &["dump", "--output", &name]);
    assert!(said.starts_with(&name), "{said}");
    let text = std::fs::read_to_string(&path).expect("it is written");
    assert!(text.starts_with("# portcullis ") && text.contains("## worker 1"), "{text}");
    let mode = path.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = ask(&gateway, &["dump", "--output", &name]);
    assert_eq!((again.code, again.answer.as_str()), (Some(1), ""));
    assert!(again.complaint.contains("File exists"), "{}", again.complaint);
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), text);
    gateway.stop();
}
