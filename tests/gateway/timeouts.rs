//! Each timeout ends what it is about, gives its reason, and leaves the rest alone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::client::{self, Brought, Ending};
use crate::support::config::relay_with;
use crate::support::crowd::Marks;
use crate::support::gateway::Gateway;
use crate::support::pattern::Pattern;
use crate::support::server::{self, Server, finish};

const BEAT: Duration = Duration::from_millis(150);

/// Waits for the gateway to end a silent connection, in whatever way, and not at once.
fn is_ended_later(mut stream: &TcpStream) {
    let since = Instant::now();
    let ended = stream.read(&mut [0]);
    assert!(matches!(&ended, Ok(0)) || client::is_reset(&ended), "not an ending: {ended:?}");
    let waited = since.elapsed();
    assert!(waited > Duration::from_millis(400), "ended after {waited:?} already");
}

/// Sends a byte at each beat, `beats` times. Whether no pause between two was so long that a
/// timeout of two seconds could rightly have struck: the machine may stop a test for a while.
fn beat(mut stream: &TcpStream, beats: u64, pattern: &mut Pattern) -> bool {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    for _ in 0..beats {
        let mut byte = [0];
        pattern.fill(&mut byte);
        if stream.write_all(&byte).is_err() {
            return longest.max(last.elapsed()) < Duration::from_millis(1_500);
        }
        longest = longest.max(last.elapsed());
        last = Instant::now();
        std::thread::sleep(BEAT);
    }
    longest.max(last.elapsed()) < Duration::from_millis(1_500)
}

#[test]
fn an_idle_connection_ends() {
    let server = server::echo();
    let gateway = Gateway::start(&relay_with("idle_timeout = \"1s\"", &[server.address]));
    let stream = client::connect(gateway.address("edge"));
    client::echo(&stream, 1, 100);
    is_ended_later(&stream);
    gateway.wait_for_reason("idle-timeout", 1);
    gateway.stop().expect(&[("idle-timeout", 1)]);
}

#[test]
fn a_connection_that_is_not_idle_lives_on() {
    let server = server::echo();
    let gateway = Gateway::start(&relay_with("idle_timeout = \"2s\"", &[server.address]));
    let stream = client::connect(gateway.address("edge"));
    let undisturbed = beat(&stream, 30, &mut Pattern::new(1));
    if !undisturbed {
        return eprintln!("this machine paused for too long: nothing to conclude");
    }
    client::receive(&stream, &mut Pattern::new(1), 30);
    finish(&stream);
    assert_eq!(client::ending(&stream), Ending::Fin);
    gateway.wait_for_ended(1);
    gateway.stop().expect(&[("closed-by-client", 1)]);
}

#[test]
fn bytes_to_the_client_alone_keep_a_connection_alive() {
    let server = Server::start(|stream| {
        let undisturbed = beat(&stream, 30, &mut Pattern::new(7));
        finish(&stream);
        undisturbed
    });
    let gateway = Gateway::start(&relay_with("idle_timeout = \"2s\"", &[server.address]));
    let stream = client::connect(gateway.address("edge"));
    let mut arrived = Vec::new();
    let ended = (&stream).read_to_end(&mut arrived);
    if !server.outcomes(1)[0] {
        return eprintln!("this machine paused for too long: nothing to conclude");
    }
    ended.expect("FIN");
    assert_eq!((arrived.len(), Pattern::new(7).check(&arrived)), (30, Ok(())));
    drop(stream);
    gateway.wait_for_ended(1);
    gateway.stop().expect(&[("closed-by-server", 1)]);
}

#[test]
fn a_client_that_says_nothing_ends() {
    let server = server::echo();
    let config = relay_with("first_byte_timeout = \"1s\"", &[server.address]);
    let gateway = Gateway::start(&config);
    is_ended_later(&client::connect(gateway.address("edge")));
    gateway.wait_for_reason("first-byte-timeout", 1);
    gateway.stop().expect(&[("first-byte-timeout", 1)]);
}

#[test]
fn a_client_that_has_said_something_may_be_silent() {
    let server = server::echo();
    let config = relay_with("first_byte_timeout = \"2s\"", &[server.address]);
    let gateway = Gateway::start(&config);
    let talking = client::connect(gateway.address("edge"));
    client::echo(&talking, 1, 1);
    let silent = client::connect(gateway.address("edge"));
    is_ended_later(&silent);
    client::echo(&talking, 2, 1_000);
    finish(&talking);
    assert_eq!(client::ending(&talking), Ending::Fin);
    gateway.wait_for_ended(2);
    gateway.stop().expect(&[("closed-by-client", 1), ("first-byte-timeout", 1)]);
}

#[test]
fn a_half_closed_connection_without_a_byte_ends() {
    let marks = Arc::new(Marks::default());
    let over = Arc::clone(&marks);
    let server = Server::start(move |stream| {
        assert_eq!(client::ending(&stream), Ending::Fin);
        over.wait(0);
    });
    let gateway = Gateway::start(&relay_with("half_close_timeout = \"1s\"", &[server.address]));
    let stream = client::connect(gateway.address("edge"));
    finish(&stream);
    is_ended_later(&stream);
    gateway.wait_for_reason("half-close-timeout", 1);
    marks.set(0);
    gateway.stop().expect(&[("half-close-timeout", 1)]);
}

#[test]
fn the_half_close_timeout_begins_with_the_fin_and_not_with_the_last_byte() {
    let server = Server::start(|stream| {
        assert_eq!(client::ending(&stream), Ending::Fin);
        std::thread::sleep(Duration::from_millis(500));
        (&stream).write_all(b"!").expect("the client still listens");
    });
    let gateway = Gateway::start(&relay_with("half_close_timeout = \"5s\"", &[server.address]));
    let stream = client::connect(gateway.address("edge"));
    // Silent for longer than the timeout, as most connections are, and then done.
    std::thread::sleep(Duration::from_millis(5_500));
    finish(&stream);
    let mut answer = Vec::new();
    (&stream).read_to_end(&mut answer).expect("a clean end");
    assert_eq!(answer, b"!");
    gateway.wait_for_ended(1);
    gateway.stop().expect(&[("closed-by-client", 1)]);
}

#[test]
fn a_long_upload_after_the_servers_fin_is_not_cut() {
    const BEATS: u64 = 30;
    let server = Server::start(|stream| {
        finish(&stream);
        client::receive_all(&stream, &mut Pattern::new(3))
    });
    let gateway = Gateway::start(&relay_with("half_close_timeout = \"2s\"", &[server.address]));
    let stream = client::connect(gateway.address("edge"));
    assert_eq!(client::ending(&stream), Ending::Fin);
    if !beat(&stream, BEATS, &mut Pattern::new(3)) {
        return eprintln!("this machine paused for too long: nothing to conclude");
    }
    finish(&stream);
    assert_eq!(server.outcomes(1), [Brought { bytes: BEATS, ending: Ending::Fin }]);
    gateway.wait_for_ended(1);
    gateway.stop().expect(&[("closed-by-server", 1)]);
}

#[test]
fn even_a_busy_connection_ends_at_its_greatest_age() {
    let server = server::echo();
    let gateway = Gateway::start(&relay_with("max_lifetime = \"2s\"", &[server.address]));
    let since = Instant::now();
    let mut stream = client::connect(gateway.address("edge"));
    let mut byte = [7];
    while stream.write_all(&byte).is_ok() && stream.read_exact(&mut byte).is_ok() {
        assert!(since.elapsed() < Duration::from_secs(60), "still alive after a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(since.elapsed() > Duration::from_secs(1), "ended long before its time");
    gateway.wait_for_reason("max-lifetime", 1);
    gateway.stop().expect(&[("max-lifetime", 1)]);
}
