//! A gateway told to end serves whom it has let wait, and closes connections at a pace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use crate::support::client::{self, Ending};
use crate::support::command::tell;
use crate::support::config::upstream;
use crate::support::gateway::{Gateway, Home, program_as_user};
use crate::support::procfs::is_stopped;
use crate::support::server;
use crate::support::{Ends, WATCH, wait_until};

fn config(max_connections: usize, drain_timeout: &str, server: SocketAddr) -> String {
    format!(
        "[gateway]\nworkers = 2\nmax_connections = {max_connections}\n\
         drain_timeout = \"{drain_timeout}\"\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{}",
        upstream("app", &[server])
    )
}

fn ask(address: SocketAddr) -> TcpStream {
    let mut stream = client::connect(address);
    stream.write_all(b"?").expect("a waiting client may send");
    stream
}

/// Whether the stream is answered before its end, and its end.
fn served(mut stream: &TcpStream) -> (bool, Ending) {
    let answered = matches!(stream.read(&mut [0]), Ok(1));
    (answered, if answered { client::ending(stream) } else { Ending::Reset })
}

#[test]
fn who_waits_in_the_accept_queue_is_served_first() {
    const CLIENTS: usize = 50;
    let server = server::echo();
    let gateway = Gateway::start(&config(1_000, "30s", server.address));
    let address = gateway.address("edge");
    gateway.signal(Signal::SIGSTOP);
    wait_until("the gateway to stand still", || is_stopped(gateway.pid()));
    let streams: Vec<_> = (0..CLIENTS).map(|_| ask(address)).collect();
    gateway.signal(Signal::SIGTERM);
    gateway.signal(Signal::SIGCONT);
    for stream in &streams {
        assert_eq!(served(stream), (true, Ending::Reset));
    }
    gateway.stop_has_begun().expect(&[("drained", CLIENTS as u64)]);
}

#[test]
fn who_waits_for_the_limit_is_served_as_the_drain_makes_room() {
    const CLIENTS: usize = 60;
    let server = server::echo();
    let gateway = Gateway::start(&config(10, "60s", server.address));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..CLIENTS).map(|_| ask(address)).collect();
    gateway.signal(Signal::SIGTERM);
    for stream in &streams {
        assert_eq!(served(stream), (true, Ending::Reset));
    }
    gateway.stop_has_begun().expect(&[("drained", CLIENTS as u64)]);
}

#[test]
fn who_still_waits_at_the_deadline_is_reset_and_counted() {
    const CLIENTS: usize = 400;
    let server = server::echo();
    let gateway = Gateway::start(&config(1, "2s", server.address));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..CLIENTS).map(|_| ask(address)).collect();
    gateway.signal(Signal::SIGTERM);
    let outcomes: Vec<_> = streams.iter().map(served).collect();
    let many = outcomes.iter().filter(|(answered, _)| *answered).count();
    assert!((1..CLIENTS).contains(&many), "{many} served");
    assert!(outcomes.iter().all(|one| one.0 || one.1 == Ending::Reset));
    let report = gateway.stop_has_begun();
    assert_eq!(report.accepted, many as u64);
    assert_eq!(report.queue_reset, (CLIENTS - many) as u64);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let server = server::echo();
    let gateway = Gateway::start(&config(1_000, "1h", server.address));
    let address = gateway.address("edge");
    // More than a pace of fifty a second gets through before the second signal.
    let streams: Vec<_> = (0..500).map(|_| ask(address)).collect();
    for mut stream in &streams {
        stream.read_exact(&mut [0]).expect("it is served");
    }
    gateway.signal(Signal::SIGTERM);
    // The second line comes a second after the first: the next signal is no repetition.
    gateway.wait_for_lines("draining still_open=", 2);
    gateway.signal(Signal::SIGTERM);
    let (status, lines) = gateway.ended_by_itself();
    assert_eq!(status.code(), Some(1));
    assert!(lines.iter().any(|line| line.contains("second signal")), "{lines:?}");
}

#[test]
fn the_same_signal_at_once_once_more_forces_nothing() {
    let server = server::echo();
    let gateway = Gateway::start(&config(1_000, "30s", server.address));
    let stream = ask(gateway.address("edge"));
    assert!(matches!((&stream).read(&mut [0]), Ok(1)), "it is not answered");
    // As timeout(1) does: the process, and then its group.
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for_line("draining signal=SIGTERM");
    gateway.signal(Signal::SIGTERM);
    gateway.stop_has_begun().expect(&[("drained", 1)]);
}

#[test]
fn a_signal_of_another_kind_forces_the_end_at_once() {
    let server = server::echo();
    let gateway = Gateway::start(&config(1_000, "1h", server.address));
    let streams: Vec<_> = (0..500).map(|_| ask(gateway.address("edge"))).collect();
    for mut stream in &streams {
        stream.read_exact(&mut [0]).expect("it is served");
    }
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for_line("draining signal=SIGTERM");
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.ended_by_itself().0.code(), Some(1));
}

#[test]
fn the_first_signal_after_a_drain_by_request_forces_nothing() {
    let server = server::echo();
    let gateway = Gateway::start(&config(1_000, "10s", server.address));
    let stream = ask(gateway.address("edge"));
    assert!(matches!((&stream).read(&mut [0]), Ok(1)), "it is not answered");
    tell(&gateway, &["drain"]);
    gateway.signal(Signal::SIGTERM);
    gateway.stop_has_begun();
}

#[test]
fn a_stream_that_a_drain_cuts_does_not_look_whole() {
    let server = server::Server::start(|mut stream: TcpStream| {
        // More than any socket buffers on the way hold.
        while stream.write_all(&[7; 1 << 16]).is_ok() {}
    });
    let gateway = Gateway::start(&config(1_000, "30s", server.address));
    let stream = client::connect_narrow(gateway.address("edge"));
    (&stream).read_exact(&mut [0; 1000]).expect("bytes come");
    gateway.signal(Signal::SIGTERM);
    let report = gateway.stop_has_begun();
    report.expect(&[("drained", 1)]);
    let mut rest = Vec::new();
    let end = (&stream).read_to_end(&mut rest);
    assert!(end.is_err(), "a clean end after {} bytes", rest.len());
}

#[test]
fn whoever_is_served_before_the_gateway_is_ready_is_not_lost_by_a_signal() {
    let config = "[gateway]\nworkers = 1\nmax_connections = 10\n\
        [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"own\"\n\
        [upstream.own]\nbuiltin = \"echo\"\n";
    for _ in 0..3 {
        let gateway = Gateway::launch(Some(config), None);
        let stream = ask(gateway.address("edge"));
        assert!(matches!((&stream).read(&mut [0]), Ok(1)), "it is not answered");
        gateway.signal(Signal::SIGTERM);
        gateway.stop_has_begun().expect(&[("drained", 1)]);
    }
}

/// As an ordinary user, clients come all the time while the gateway drains: each is served, or
/// waits for an answer to its SYN, or finds the address closed. None is reset after its handshake.
#[test]
fn a_drain_without_privileges_resets_nobody_who_comes_late() {
    let home = Home::new();
    let config = "[gateway]\nworkers = 2\nmax_connections = 1000\ndrain_timeout = \"2s\"\n\
        [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
        [upstream.app]\nbuiltin = \"echo\"\n";
    let command = program_as_user(61_003, "true", home.path());
    let gateway = Gateway::launch_in(home, command, Some(config));
    gateway.wait_for_line(" ready ");
    let address = gateway.address("edge");
    let over = AtomicBool::new(false);
    let come = || {
        let (mut served, mut cut) = (0, 0);
        while !over.load(Ordering::Relaxed) {
            let Ok(mut stream) = TcpStream::connect_timeout(&address, WATCH) else { continue };
            let asked = stream.write_all(b"?");
            match asked.and_then(|()| stream.read(&mut [0])) {
                Ok(1) => served += 1,
                _ => cut += 1,
            }
        }
        (served, cut)
    };
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(come)).collect();
        std::thread::sleep(WATCH);
        gateway.signal(Signal::SIGTERM);
        let report = gateway.stop_has_begun();
        over.store(true, Ordering::Relaxed);
        let outcomes: Vec<_> = clients.into_iter().map(|one| one.join().expect("ends")).collect();
        assert!(outcomes.iter().all(|(served, _)| *served > 0), "{outcomes:?}");
        assert!(outcomes.iter().all(|(_, cut)| *cut == 0), "{outcomes:?}");
        assert_eq!(report.queue_reset, 0);
    });
}
