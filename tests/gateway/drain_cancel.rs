//! A drain of the process that is cancelled, and the grace before one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::Signal;

use crate::support::client::{self, Ending};
use crate::support::command::{ask, ask_json, tell};
use crate::support::gateway::Gateway;
use crate::support::http::get;
use crate::support::server::{self, Server};
use crate::support::{WATCH, wait_until};

fn config(gateway_keys: &str, server: SocketAddr) -> String {
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 1000\n{gateway_keys}\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [listener.side]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [upstream.app]\nservers = [\"{server}\"]\n[status]\nbind = \"127.0.0.1:0\"\n"
    )
}

fn served(address: SocketAddr) -> TcpStream {
    let mut stream = client::connect(address);
    assert!(is_answered(&stream), "it is not answered");
    stream.flush().expect("nothing waits");
    stream
}

fn is_answered(mut stream: &TcpStream) -> bool {
    stream.write_all(b"?").is_ok() && matches!(stream.read(&mut [0]), Ok(1))
}

fn readiness(gateway: &Gateway) -> u16 {
    get(gateway.status(), "/readyz").status
}

#[test]
fn a_drain_that_is_cancelled_leaves_who_is_there_and_the_gateway_serves_again() {
    let server = server::echo();
    let gateway = Gateway::start(&config("drain_timeout = \"1h\"", server.address));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..200).map(|_| served(address)).collect();
    tell(&gateway, &["listener", "side", "pause"]);
    for round in 1..=3 {
        match round {
            1 => gateway.signal(Signal::SIGTERM),
            _ => drop(tell(&gateway, &["drain", "--over", "1m"])),
        }
        gateway.wait_for_reason("drained", round * 5);
        wait_until("the address to be silent", || {
            TcpStream::connect_timeout(&address, WATCH).is_err()
        });
        assert_eq!(readiness(&gateway), 503);
        let refused = ask(&gateway, &["drain", "--rate", "7/s"]);
        assert!(refused.complaint.contains("drains already"), "{refused:?}");
        let said = tell(&gateway, &["drain", "--cancel"]);
        assert!(said.starts_with("process: cancelled, "), "{said}");
        assert_eq!(readiness(&gateway), 200);
        drop((0..20).map(|_| served(address)).collect::<Vec<_>>());
    }
    let drained = gateway.wait_for_reason("drained", 1).len();
    std::thread::sleep(WATCH);
    assert_eq!(gateway.wait_for_reason("drained", 1).len(), drained, "it goes on draining");
    let alive = streams.iter().filter(|stream| is_answered(stream)).count();
    assert_eq!(alive, 200 - drained);
    assert_eq!(ask_json(&gateway, &["status"])["drain"]["draining"], false);
    // The pause of before holds again.
    let waiting = client::connect(gateway.address("side"));
    (&waiting).write_all(b"?").expect("who waits may send");
    assert!(client::is_silent(&waiting));
    tell(&gateway, &["listener", "side", "resume"]);
    (&waiting).read_exact(&mut [0]).expect("it is served");
    assert_eq!(ask(&gateway, &["drain", "--cancel"]).code, Some(1));
    drop((streams, waiting));
    let all_left = || ask_json(&gateway, &["status"])["drain"]["still_open"] == 0;
    wait_until("all to leave", all_left);
    // A signal counts as the first again.
    gateway.signal(Signal::SIGTERM);
    let report = gateway.stop_has_begun();
    assert_eq!(report.ended["drained"], drained as u64);
    assert_eq!(report.ended.values().sum::<u64>(), report.accepted);
}

#[test]
fn a_cancel_finds_everything_there_although_a_worker_has_nobody_left() {
    let server = server::echo();
    let gateway = Gateway::start(&config("drain_timeout = \"1h\"", server.address));
    let address = gateway.address("edge");
    // One client, so that one of two workers has none; it moves bytes, so that it is spared.
    let stream = served(address);
    tell(&gateway, &["drain"]);
    for _ in 0..10 {
        assert!(is_answered(&stream));
        std::thread::sleep(WATCH / 4);
    }
    tell(&gateway, &["drain", "--cancel"]);
    drop((0..40).map(|_| served(address)).collect::<Vec<_>>());
    assert!(is_answered(&stream));
    drop(stream);
    gateway.wait_for_ended(41);
    gateway.stop().expect(&[("closed-by-client", 41)]);
}

#[test]
fn in_its_grace_a_gateway_is_unready_and_serves() {
    let server = server::echo();
    let gateway = Gateway::start(&config("drain_timeout = \"30s\"", server.address));
    let early = served(gateway.address("edge"));
    let said = tell(&gateway, &["drain", "--grace", "2s"]);
    assert!(said.ends_with("; new clients are served for 2s first"), "{said}");
    let answer = get(gateway.status(), "/readyz");
    assert_eq!((answer.status, answer.body.as_str()), (503, "draining\n"));
    let late = served(gateway.address("edge"));
    assert_eq!(ask_json(&gateway, &["status"])["drains"][0]["name"], "process");
    let report = gateway.stop_has_begun();
    report.expect(&[("drained", 2)]);
    assert!([early, late].iter().all(|stream| client::ending(stream) == Ending::Reset));
}

#[test]
fn the_grace_of_the_config_can_be_cancelled_and_a_second_signal_cuts_it_short() {
    let server = server::echo();
    let keys = "drain_timeout = \"30s\"\ndrain_grace = \"1h\"";
    let gateway = Gateway::start(&config(keys, server.address));
    let stream = served(gateway.address("edge"));
    gateway.signal(Signal::SIGTERM);
    wait_until("readiness to end", || readiness(&gateway) == 503);
    drop(served(gateway.address("edge")));
    tell(&gateway, &["drain", "--cancel"]);
    assert_eq!(readiness(&gateway), 200);
    gateway.signal(Signal::SIGTERM);
    wait_until("readiness to end", || readiness(&gateway) == 503);
    assert!(is_answered(&stream));
    gateway.wait_for_lines("draining still_open=", 3);
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.ended_by_itself().0.code(), Some(1));
}

#[test]
fn streams_in_full_flow_arrive_whole_while_idle_ones_are_drained() {
    const STREAMS: usize = 50;
    const BYTES: usize = 40 * 1000;
    let server = Server::start(|mut stream: TcpStream| {
        if matches!(stream.read(&mut [0; 2]), Ok(2)) {
            for _ in 0..40 {
                stream.write_all(&[b'z'; 1000]).expect("it is taken");
                std::thread::sleep(WATCH / 4);
            }
        }
    });
    let gateway = Gateway::start(&config("drain_timeout = \"20s\"", server.address));
    let address = gateway.address("edge");
    let idle: Vec<_> = (0..100).map(|_| client::connect(address)).collect();
    let mut streams: Vec<_> = (0..STREAMS).map(|_| client::connect(address)).collect();
    for stream in &mut streams {
        stream.write_all(b"go").expect("it is let in");
        stream.read_exact(&mut [0; 1000]).expect("the first bytes");
    }
    gateway.signal(Signal::SIGTERM);
    for stream in &mut streams {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("a clean end");
        assert_eq!(rest.len() + 1000, BYTES);
    }
    drop(streams);
    gateway.wait_for_reason("drained", idle.len());
    let report = gateway.stop_has_begun();
    assert_eq!(report.ended["closed-by-server"], STREAMS as u64);
    assert_eq!(report.ended["drained"], 100);
}
