//! Redis behind the gateway answers its own benchmark without an error.

use std::net::{Ipv4Addr, SocketAddr};

use crate::program::{Daemon, folder, output, program};
use crate::support::config::relay;
use crate::support::gateway::Gateway;
use crate::support::network::free_port;

fn redis_server() -> (Daemon, SocketAddr) {
    let (folder, port) = (folder("redis"), free_port());
    let mut command = program("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--port").arg(port.to_string()).arg("--dir").arg(&folder);
    let address = (Ipv4Addr::LOCALHOST, port).into();
    (Daemon::start(&mut command, folder, address), address)
}

fn cli(port: u16, words: &[&str]) -> String {
    let mut command = program("redis-cli");
    output(command.arg("-p").arg(port.to_string()).args(words)).trim_end().to_owned()
}

#[test]
fn the_redis_benchmark_ends_without_an_error() {
    let (_server, address) = redis_server();
    let gateway = Gateway::start(&relay(&[address]));
    let port = gateway.address("edge").port();
    let mut command = program("redis-benchmark");
    command.arg("-p").arg(port.to_string()).args(["-c", "50", "-n", "20000", "-P", "4"]);
    let said = output(command.args(["-d", "1000", "-t", "set,get,lpush,lpop,mset", "--csv"]));
    println!("{said}");
    for name in ["SET", "GET", "LPUSH", "LPOP", "MSET"] {
        assert!(said.contains(&format!("\"{name}")), "no result of {name}:\n{said}");
    }
    assert!(!said.to_lowercase().contains("error"), "{said}");
    let errors = cli(port, &["info", "errorstats"]);
    assert!(!errors.contains("errorstat_"), "the server counted errors: {errors}");
    let ended = gateway.stop().ended;
    let bad = ended
        .keys()
        .find(|reason| !["closed-by-client", "client-reset"].contains(&reason.as_str()));
    assert_eq!(bad, None, "{ended:?}");
}

#[test]
fn what_redis_was_told_it_tells() {
    let (_server, address) = redis_server();
    let gateway = Gateway::start(&relay(&[address]));
    let port = gateway.address("edge").port();
    let value: String = (0..40_000).map(|digit| char::from(b'a' + (digit % 23) as u8)).collect();
    assert_eq!(cli(port, &["set", "key", &value]), "OK");
    assert_eq!(cli(port, &["get", "key"]), value);
    assert_eq!(cli(address.port(), &["get", "key"]), value, "asked without the gateway");
}
