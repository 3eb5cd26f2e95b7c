//! The status page and its stream: whole, live, and bounded in what they cost.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::status::{holding, reading};
use crate::support::client;
use crate::support::command::tell;
use crate::support::http::get;
use crate::support::wait_until;

/// Streams that the gateway has places for.
const STREAMS: usize = 8;
const EVENTS: &[u8] = b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[test]
fn the_page_is_whole_without_its_script_and_may_load_nothing() {
    let (gateway, status, streams) = holding(3);
    let answer = get(status, "/");
    assert_eq!(answer.status, 200);
    let head = answer.head.to_lowercase();
    assert!(head.contains("content-security-policy: default-src 'none';"), "{head}");
    assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
    let page = answer.body;
    assert!(!page.contains("{{") && page.trim_end().ends_with("</html>"));
    for address in ["src=", "href=", "//", "url("] {
        let markup = page.split("<script>").next().expect("what stands before the script");
        assert!(!markup.contains(address), "{address}");
    }
    let limit = reading(status)["budget"]["limit"].as_u64().expect("a number");
    let text: String = page.split("3 / ").nth(1).expect("connections").chars().take(20).collect();
    let shown: String = text.split('<').next().expect("a number").replace(',', "");
    assert_eq!(shown, limit.to_string());
    assert!(page.contains("data-as=\"word\">edge</th>"));
    assert!(page.contains(&gateway.address("edge").to_string()));
    drop(streams);
    gateway.stop();
}

/// A stream of events whose head has been read; `Err`: the status.
fn events(status: SocketAddr) -> Result<BufReader<TcpStream>, String> {
    let mut stream = client::connect(status);
    stream.write_all(EVENTS).expect("sent");
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).expect("a head") > 0, "{head}");
    }
    let status = head.split(' ').nth(1).expect("a status").to_owned();
    if status != "200" {
        return Err(status);
    }
    assert!(head.to_lowercase().contains("content-type: text/event-stream"), "{head}");
    Ok(stream)
}

/// The next event of a stream.
fn event(stream: &mut BufReader<TcpStream>) -> Value {
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert!(stream.read_line(&mut line).expect("a line") > 0, "the stream has ended");
    }
    serde_json::from_str(&line["data: ".len()..]).expect("one JSON object")
}

#[test]
fn streams_bring_readings_and_are_no_more_than_there_are_places_for() {
    let (gateway, status, clients) = holding(2);
    let mut streams: Vec<_> = (0..STREAMS).map(|_| events(status).expect("a place")).collect();
    for stream in &mut streams {
        let (first, second) = (event(stream), event(stream));
        assert_eq!(first["listeners"][0]["open"], 2);
        assert!(first["at_seconds"].as_f64() < second["at_seconds"].as_f64());
    }
    assert_eq!(events(status).map(|_| ()), Err("503".to_owned()));
    assert_eq!(get(status, "/healthz").status, 200);
    // Who goes makes room.
    streams.truncate(1);
    wait_until("a place", || events(status).is_ok());
    // A stream ends in order before its connection's life does.
    let mut rest = String::new();
    streams[0].read_to_string(&mut rest).expect("it is not cut");
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "{}", &rest[rest.len().saturating_sub(99)..]);
    drop(clients);
    gateway.stop();
}

#[test]
fn streams_that_nobody_reads_cost_little_and_lose_their_places() {
    const COST_BYTES_MAX: u64 = 8 << 20;
    let (gateway, status, _) = holding(0);
    let memory = || reading(status)["process"]["resident_memory_bytes"].as_u64().expect("bytes");
    let before = memory();
    let deaf: Vec<TcpStream> = (0..STREAMS).map(|_| client::connect_narrow(status)).collect();
    deaf.iter().for_each(|mut stream| stream.write_all(EVENTS).expect("sent"));
    wait_until("every place to be taken", || events(status).is_err());
    let mut most = 0;
    wait_until("a place", || {
        most = most.max(memory());
        events(status).is_ok()
    });
    assert!(most < before + COST_BYTES_MAX, "{before} bytes before, {most} with the streams");
    drop(deaf);
    gateway.stop();
}

#[test]
fn a_drain_shows_wherever_one_looks() {
    let (gateway, status, mut streams) = holding(50);
    // Long enough to be looked at, however slow the machine is.
    tell(&gateway, &["drain", "--over", "1h"]);
    let mut seen = Value::Null;
    wait_until("the drain's beginning", || {
        seen = reading(status);
        seen["drain"]["draining"] == true
    });
    assert!(seen["drain"]["deadline_seconds"].as_f64() > seen["at_seconds"].as_f64());
    let page = get(status, "/").body;
    assert!(page.contains("data-path=\"stage\" data-as=\"word\">draining, ends within "));
    assert!(page.contains("<h2 id=\"drains\">Drains</h2>") && page.contains(">process</th>"));
    let text = tell(&gateway, &["status"]);
    assert!(text.contains("draining, ends within ") && text.contains("\nprocess "), "{text}");
    streams.clear();
    gateway.stop_has_begun();
}
