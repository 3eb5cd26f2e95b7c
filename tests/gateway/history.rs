//! The gateway keeps ten minutes of its figures, a sample each second.

use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::support::client;
use crate::support::config::upstream;
use crate::support::gateway::Gateway;
use crate::support::http::{get, say_to};
use crate::support::unreachable::Refusing;
use crate::support::{server, wait_until};

const FIGURES: [&str; 8] = [
    "accepted",
    "at_seconds",
    "closed",
    "connect_failures",
    "open",
    "refused",
    "to_client_bytes",
    "to_upstream_bytes",
];

fn history(gateway: &Gateway) -> Value {
    let answer = get(gateway.status(), "/history.json");
    assert_eq!(answer.status, 200);
    serde_json::from_str(&answer.body).expect("JSON")
}

fn list(history: &Value, figure: &str) -> Vec<f64> {
    let list = history[figure].as_array().expect(figure).iter();
    list.map(|number| number.as_f64().expect("a number")).collect()
}

fn last(history: &Value, figure: &str) -> f64 {
    *list(history, figure).last().expect("a sample")
}

#[test]
fn each_second_has_a_sample_of_what_was_counted() {
    let (server, nobody) = (server::echo(), Refusing::new());
    let gateway = Gateway::start(&format!(
        "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [listener.dead]\nbind = [\"127.0.0.1:0\"]\nupstream = \"gone\"\n\
         [status]\nbind = \"127.0.0.1:0\"\n{}{}",
        upstream("app", &[server.address]),
        upstream("gone", &[nobody.address])
    ));
    let streams: Vec<_> = (0..3).map(|_| client::connect(gateway.address("edge"))).collect();
    streams.iter().for_each(|stream| client::echo(stream, 5, 100));
    client::expect_reset(client::try_connect(gateway.address("dead")), b"?");
    let mut seen = history(&gateway);
    wait_until("a sample of all that happened", || {
        seen = history(&gateway);
        last(&seen, "closed") == 1.0 && last(&seen, "to_client_bytes") == 300.0
    });
    assert_eq!((last(&seen, "accepted"), last(&seen, "open")), (4.0, 3.0));
    assert_eq!((last(&seen, "refused"), last(&seen, "to_upstream_bytes")), (0.0, 300.0));
    assert!(last(&seen, "connect_failures") >= 1.0, "{seen}");
    drop(streams);
    wait_until("three more samples", || {
        let samples = list(&history(&gateway), "open").len();
        samples >= list(&seen, "open").len() + 3
    });
    let later = history(&gateway);
    assert_eq!((last(&later, "open"), last(&later, "closed")), (0.0, 4.0));
    let samples = list(&later, "open").len();
    for figure in FIGURES {
        let list = list(&later, figure);
        assert_eq!(list.len(), samples, "{figure}");
        assert!(figure == "open" || list.is_sorted(), "{figure} fell: {list:?}");
    }
    let began = later["clock_began_seconds_since_1970"].as_f64().expect("a time");
    assert!(later["schema"] == 1 && began > 1.7e9, "{began}");

    // The admin socket has the same, and names the gateway.
    let request = b"GET /history.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let stream = UnixStream::connect(gateway.admin_socket()).expect("it listens");
    let answer: Value = serde_json::from_str(&say_to(stream, request).body).expect("JSON");
    assert_eq!(answer["gateway"]["pid"], gateway.pid());
    assert!(list(&answer, "open").len() >= samples);
    gateway.stop();
}
