//! Nginx behind the gateway answers wrk without an error.

use std::net::{Ipv4Addr, SocketAddr};

use crate::program::{Daemon, folder, output, program};
use crate::support::config::relay;
use crate::support::gateway::Gateway;
use crate::support::network::free_port;

/// Nginx with one page of 20 kB, in the foreground, with every file in a folder of its own.
fn nginx() -> (Daemon, SocketAddr) {
    let (folder, port) = (folder("nginx"), free_port());
    std::fs::write(folder.join("page.html"), "0123456789abcdef\n".repeat(1_200)).expect("a page");
    let path = folder.display();
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr error;\n\
         events {{ worker_connections 2000; }}\n\
         http {{ access_log off; root {path}; keepalive_requests 1000;\n\
         client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
         fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;\n\
         scgi_temp_path {path}/scgi; server {{ listen 127.0.0.1:{port}; }} }}\n"
    );
    std::fs::write(folder.join("nginx.conf"), config).expect("a config");
    let mut command = program("nginx");
    command.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf"));
    command.args(["-e", "stderr"]);
    let address = (Ipv4Addr::LOCALHOST, port).into();
    (Daemon::start(&mut command, folder, address), address)
}

/// Runs wrk and asserts that each request was answered, and answered well.
fn wrk(address: SocketAddr, headers: &[&str]) {
    let mut command = program("wrk");
    command.args(["-t2", "-c100", "-d4s", "--timeout", "30s"]);
    for header in headers {
        command.args(["-H", header]);
    }
    let said = output(command.arg(format!("http://{address}/page.html")));
    println!("{said}");
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in "));
    let requests = requests.and_then(|(count, _)| count.parse::<u64>().ok());
    assert!(requests.is_some_and(|count| count > 0), "{said}");
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
}

#[test]
fn wrk_is_answered_on_connections_that_stay_open() {
    let (_server, address) = nginx();
    let gateway = Gateway::start(&relay(&[address]));
    wrk(gateway.address("edge"), &[]);
}

#[test]
fn wrk_is_answered_on_a_connection_for_each_request() {
    let (_server, address) = nginx();
    let gateway = Gateway::start(&relay(&[address]));
    wrk(gateway.address("edge"), &["Connection: close"]);
}
