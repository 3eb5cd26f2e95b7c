//! The status server answers under its own names only, whatever address a name leads to.

use crate::support::config::OWN_ECHO;
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, say};

const READABLE: [&str; 4] = ["/", "/metrics", "/status.json", "/events"];
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

fn ask(gateway: &Gateway, path: &str, host: &str) -> Answer {
    let request = format!("HEAD {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    say(gateway.status(), request.as_bytes())
}

#[test]
fn a_name_that_is_not_the_hosts_gets_403_except_for_probes() {
    let gateway = Gateway::start(OWN_ECHO);
    for path in READABLE {
        assert_eq!(ask(&gateway, path, "evil.example:7001").status, 403, "{path}");
    }
    for path in PROBES {
        assert_eq!(ask(&gateway, path, "evil.example:7001").status, 200, "{path}");
    }
    let requests = [
        "GET /metrics HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
        "GET http://evil.example/metrics HTTP/1.1\r\nhost: localhost\r\n\
         connection: close\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\
         connection: close\r\n\r\n",
    ];
    for request in requests {
        let answer = say(gateway.status(), request.as_bytes());
        assert_eq!(answer.status, 403, "{request}");
        for word in ["\"evil.example\"", "status.hosts"] {
            assert!(answer.body.contains(word), "{}", answer.body);
        }
    }
    gateway.stop();
}

#[test]
fn addresses_localhost_the_own_name_and_listed_names_are_answered() {
    let config = OWN_ECHO.replace("[status]", "[status]\nhosts = [\"Metrics.example\"]");
    let gateway = Gateway::start(&config);
    let own = nix::sys::utsname::uname().expect("a kernel").nodename().to_owned();
    let own = own.into_string().expect("a name");
    for host in ["127.0.0.1:7001", "[::1]:7001", "10.9.8.7", "localhost", &own, "metrics.example"] {
        for path in READABLE.iter().take(3).chain(&PROBES) {
            assert_eq!(ask(&gateway, path, host).status, 200, "{host} {path}");
        }
    }
    let old = say(gateway.status(), b"GET /metrics HTTP/1.0\r\n\r\n");
    assert_eq!(old.status, 200, "HTTP/1.0 has no Host");
    gateway.stop();
}
