//! Crowds whose transfers end by a reset: what arrives, and what the gateway has left of them.

use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use super::client::{self, Brought, Ending};
use super::crowd::{Marks, crowd};
use super::gateway::{Gateway, Report};
use super::pattern::Pattern;
use super::procfs::descriptors;
use super::server::{Server, greet, introduce};
use super::socket::{reset, taken_bytes};
use super::wait_until;

/// How many connections transfer side by side, where none waits for another.
const AT_ONCE: usize = 20;

/// A gateway before a server, and the descriptors that it had before anybody came.
struct Stage {
    gateway: Gateway,
    before: usize,
    address: SocketAddr,
}

impl Stage {
    fn new(gateway: Gateway) -> Stage {
        let (before, address) = (descriptors(gateway.pid()), gateway.address("edge"));
        Stage { gateway, before, address }
    }

    /// Waits until all connections have ended, for these reasons and without a trace.
    fn clear(self, ended: &[(&str, u64)]) -> Report {
        self.gateway.wait_for_ended(ended.iter().map(|(_, count)| *count as usize).sum());
        wait_until("its descriptors to be as before", || {
            descriptors(self.gateway.pid()) == self.before
        });
        let report = self.gateway.stop();
        report.expect(ended);
        report
    }
}

/// Clients send to servers that never read, until nothing more is taken; then the servers reset.
pub(crate) fn server_resets(
    count: usize,
    connect: impl Fn(SocketAddr) -> TcpStream + Sync,
    start: impl FnOnce(SocketAddr) -> Gateway,
) -> Report {
    let marks = Arc::new(Marks::default());
    let stalled = Arc::clone(&marks);
    let server = Server::start_narrow(move |stream| {
        stalled.wait(greet(&stream));
        reset(stream);
    });
    let stage = Stage::new(start(server.address));
    crowd(count, count, |index| {
        let stream = connect(stage.address);
        introduce(&stream, index as u64);
        client::send_until_stalled(&stream, &mut Pattern::new(index as u64));
        marks.set(index as u64);
        assert_eq!(client::ending(&stream), Ending::Reset);
    });
    stage.clear(&[("upstream-reset", count as u64)])
}

/// Servers that read only once their client has set its mark: which one it was, what it brought.
pub(crate) fn receives_once_set(marks: &Arc<Marks>) -> Server<(u64, Brought)> {
    let marks = Arc::clone(marks);
    Server::start_narrow(move |stream| {
        let number = greet(&stream);
        marks.wait(number);
        (number, client::receive_all(&stream, &mut Pattern::new(number)))
    })
}

/// Clients send to servers that do not read yet, until nothing more is taken, and reset: all that
/// was taken from them arrives, and then the reset.
pub(crate) fn client_resets_before_slow_server(
    count: usize,
    connect: impl Fn(SocketAddr) -> TcpStream + Sync,
    start: impl FnOnce(SocketAddr) -> Gateway,
) -> Report {
    let marks = Arc::new(Marks::default());
    let server = receives_once_set(&marks);
    let stage = Stage::new(start(server.address));
    let taken = Mutex::new(vec![0; count]);
    crowd(count, count, |index| {
        let stream = connect(stage.address);
        introduce(&stream, index as u64);
        client::send_until_stalled(&stream, &mut Pattern::new(index as u64));
        taken.lock().unwrap()[index] = taken_bytes(&stream) - 8;
        reset(stream);
        marks.set(index as u64);
    });
    let taken = taken.into_inner().unwrap();
    for (number, brought) in server.outcomes(count) {
        let taken = taken[number as usize];
        assert_eq!(brought.ending, Ending::Reset);
        assert!(brought.bytes >= taken, "{} of {taken} bytes arrived", brought.bytes);
    }
    stage.clear(&[("client-reset", count as u64)])
}

/// Clients, and as many servers, send so many bytes and reset: what each of them brought, which
/// ends by the reset. `wait` comes between the last byte and the reset.
pub(crate) fn sender_resets(
    count: usize,
    bytes: u64,
    wait: fn(&TcpStream),
    start: impl FnOnce(SocketAddr) -> Gateway,
) -> (Vec<Brought>, Report) {
    let transfer = move |stream: TcpStream, number: u64, sends: bool| {
        let mut pattern = Pattern::new(number);
        if !sends {
            return Some(client::receive_all(&stream, &mut pattern));
        }
        client::send(&stream, &mut pattern, bytes).expect("sent");
        wait(&stream);
        reset(stream);
        None
    };
    let server = Server::start(move |stream| {
        let number = greet(&stream);
        transfer(stream, number, !number.is_multiple_of(2))
    });
    let stage = Stage::new(start(server.address));
    let brought = Mutex::new(Vec::new());
    crowd(count, AT_ONCE, |index| {
        let number = index as u64;
        let stream = client::connect(stage.address);
        introduce(&stream, number);
        let one = transfer(stream, number, number.is_multiple_of(2));
        brought.lock().unwrap().extend(one);
    });
    let mut brought = brought.into_inner().unwrap();
    brought.extend(server.outcomes(count).into_iter().flatten());
    assert_eq!(brought.len(), count);
    assert!(brought.iter().all(|one| one.ending == Ending::Reset), "{brought:?}");
    let half = count as u64 / 2;
    (brought, stage.clear(&[("client-reset", half), ("upstream-reset", half)]))
}
