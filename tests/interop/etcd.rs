//! The servers of an upstream are what etcd says, whatever becomes of etcd.

use std::net::{Ipv4Addr, SocketAddr};

use tempfile::TempDir;

use crate::program::{Daemon, folder, output, program};
use crate::support::command::ask_json;
use crate::support::config::relay;
use crate::support::gateway::Gateway;
use crate::support::network::free_port;
use crate::support::{WATCH, client, server, wait_until};
use crate::unbound::Unbound;

const PREFIX: &str = "/portcullis/app/";

/// A cluster of one member, which can end and come back.
struct Etcd {
    port: u16,
    peers: u16,
    data: TempDir,
    running: Option<Daemon>,
}

impl Etcd {
    fn start() -> Etcd {
        let data = tempfile::tempdir().expect("a folder");
        let mut etcd = Etcd { port: free_port(), peers: free_port(), data, running: None };
        etcd.begin();
        etcd
    }

    /// Starts it with the data that it has.
    fn begin(&mut self) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let (clients, peers) = (url(self.port), url(self.peers));
        let mut command = program("etcd");
        command.arg("--data-dir").arg(self.data.path()).args([
            "--logger",
            "zap",
            "--log-level",
            "error",
        ]);
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        self.running = Some(Daemon::start(&mut command, folder("etcd"), address));
    }

    /// Kills it as `kill -9` does.
    fn kill(&mut self) {
        self.running = None;
    }

    /// Lets it answer at another port for a while, where the gateway does not ask.
    fn elsewhere(&mut self, change: impl FnOnce(&Etcd)) {
        let port = std::mem::replace(&mut self.port, free_port());
        self.begin();
        change(self);
        self.kill();
        self.port = port;
    }

    fn ctl(&self, words: &[&str]) -> String {
        let mut command = program("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints=127.0.0.1:{}", self.port));
        output(command.args(words)).trim().to_owned()
    }

    fn put(&self, name: &str, value: &str) {
        self.ctl(&["put", &format!("{PREFIX}{name}"), value]);
    }

    fn delete(&self, name: &str) {
        self.ctl(&["del", &format!("{PREFIX}{name}")]);
    }

    /// Has it forget every revision but the present one.
    fn compact(&self) {
        let status = self.ctl(&["get", PREFIX, "-w", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        self.ctl(&["compaction", &status["header"]["revision"].to_string(), "--physical"]);
    }

    /// Its keys and values.
    fn servers(&self) -> Vec<(String, String)> {
        let said = self.ctl(&["get", "--prefix", PREFIX]);
        let lines: Vec<&str> = said.lines().collect();
        let pair = |pair: &[&str]| (pair[0].replace(PREFIX, ""), pair[1].to_owned());
        lines.chunks(2).map(pair).collect()
    }

    /// A config whose upstream asks it.
    fn config(&self) -> String {
        self.config_by("127.0.0.1")
    }

    /// The same, where a member's URL has this host.
    fn config_by(&self, host: &str) -> String {
        let from = format!(
            "servers_from = {{ etcd = [\"http://{host}:{}\"], prefix = \"{PREFIX}\" }}",
            self.port
        );
        relay(&[]).replace("servers = []", &from)
    }
}

/// The names and addresses of the gateway's servers.
fn servers(gateway: &Gateway) -> Vec<(String, String)> {
    let status = ask_json(gateway, &["status"]);
    let servers = status["upstreams"][0]["servers"].as_array().expect("a list").clone();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let mut servers: Vec<_> =
        servers.iter().map(|server| (text(&server["name"]), text(&server["address"]))).collect();
    servers.sort();
    servers
}

fn wait_for_servers(gateway: &Gateway, etcd: &Etcd) {
    let expected = etcd.servers();
    wait_until(&format!("{} servers of etcd", expected.len()), || servers(gateway) == expected);
}

#[test]
fn servers_come_go_and_change_with_their_keys() {
    let etcd = Etcd::start();
    let (one, two) = (server::echo(), server::echo());
    let (first, second) = (one.address.to_string(), two.address.to_string());
    etcd.put("one", &first);
    let gateway = Gateway::start(&etcd.config());
    wait_for_servers(&gateway, &etcd);
    client::echo(&client::connect(gateway.address("edge")), 1, 1_000);

    etcd.put("two", &second);
    wait_for_servers(&gateway, &etcd);
    etcd.delete("one");
    wait_for_servers(&gateway, &etcd);
    client::echo(&client::connect(gateway.address("edge")), 2, 1_000);
    assert_eq!((one.accepted(), two.accepted()), (1, 1));
    etcd.put("two", &first);
    wait_for_servers(&gateway, &etcd);

    // A server that lives as long as its lease.
    let lease = etcd.ctl(&["lease", "grant", "2"]);
    let lease = lease.split(' ').nth(1).expect("an id");
    let key = format!("{PREFIX}leased");
    etcd.ctl(&["put", &key, "10.0.0.9:9", &format!("--lease={lease}")]);
    wait_until("the leased server", || servers(&gateway).iter().any(|(name, _)| name == "leased"));
    wait_until("its end", || etcd.servers().len() == 1);
    wait_for_servers(&gateway, &etcd);

    // What is wrong or empty takes no server away.
    let good = [("two".to_owned(), first.clone())];
    etcd.put("two", "nowhere");
    gateway.wait_for_lines(": wrong: ", 1);
    etcd.delete("two");
    std::thread::sleep(WATCH);
    assert_eq!(servers(&gateway), good);
    etcd.put("three", &format!("{{\"address\": \"{first}\", \"weight\": 3}}"));
    wait_until("the server that came back", || {
        servers(&gateway) == [("three".to_owned(), first.clone())]
    });
    client::echo(&client::connect(gateway.address("edge")), 3, 1_000);
    gateway.stop();
}

#[test]
fn a_member_is_found_by_a_name_that_the_resolver_knows() {
    let etcd = Etcd::start();
    let server = server::echo();
    etcd.put("one", &server.address.to_string());
    let dns = Unbound::start(&[]);
    let resolver = format!("[resolver]\nservers = [\"{}\"]\n", dns.address());
    let gateway = Gateway::start(&format!("{}\n{resolver}", etcd.config_by("etcd.test")));
    gateway.wait_for_lines("says that there is no such name", 1);
    dns.reload(&["etcd.test. 60 IN A 127.0.0.1"]);
    wait_for_servers(&gateway, &etcd);
    client::echo(&client::connect(gateway.address("edge")), 1, 1_000);
    gateway.wait_for_lines("answers again", 1);
    gateway.stop();
}

#[test]
fn nothing_is_lost_while_etcd_is_gone() {
    let mut etcd = Etcd::start();
    let server = server::echo();
    etcd.put("echo", &server.address.to_string());
    for name in ["a", "b", "c"] {
        etcd.put(name, "10.0.0.1:9");
        etcd.delete(name);
    }
    let gateway = Gateway::start(&etcd.config());
    wait_for_servers(&gateway, &etcd);
    let connected = client::connect(gateway.address("edge"));
    client::echo(&connected, 1, 1_000);

    etcd.kill();
    gateway.wait_for_lines("the last good ones stay in use", 1);
    client::echo(&client::connect(gateway.address("edge")), 2, 1_000);
    etcd.begin();
    wait_until("etcd to answer", || etcd.servers().len() == 1);
    gateway.wait_for_lines("answers again", 1);
    etcd.put("later", &server.address.to_string());
    wait_for_servers(&gateway, &etcd);

    // Changes and a compaction that the gateway cannot see.
    etcd.kill();
    gateway.wait_for_lines("the last good ones stay in use", 2);
    etcd.elsewhere(|etcd| {
        etcd.delete("later");
        for port in 1..=20 {
            etcd.put("changed", &format!("127.0.0.1:{port}"));
        }
        etcd.delete("changed");
        etcd.put("new", &server.address.to_string());
        etcd.compact();
    });
    etcd.begin();
    wait_for_servers(&gateway, &etcd);
    assert_eq!(servers(&gateway).len(), 2);
    client::echo(&connected, 1, 1_000);
    gateway.stop();
}

#[test]
fn servers_are_those_of_etcd_after_many_changes_and_kills() {
    let mut etcd = Etcd::start();
    etcd.put("s0", "10.0.0.1:1");
    let gateway = Gateway::start(&etcd.config());
    for round in 1..=4 {
        for change in 0..30 {
            let name = format!("s{}", (change * 7 + round) % 10);
            match (change + round) % 3 {
                0 => etcd.delete(&name),
                _ => etcd.put(&name, &format!("10.0.{round}.1:{}", change + 1)),
            }
        }
        if round % 2 == 0 {
            etcd.compact();
        }
        etcd.kill();
        etcd.begin();
        wait_until("etcd to answer", || !etcd.servers().is_empty());
    }
    wait_for_servers(&gateway, &etcd);
    gateway.stop();
}
