//! Clients: how a test connects, what it sends, how a connection ended.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::pattern::Pattern;
use super::{PATIENCE, WATCH, socket};

/// How the other end finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Fin,
    Reset,
}

/// What a connection brought until it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Brought {
    pub(crate) bytes: u64,
    pub(crate) ending: Ending,
}

/// Connects; every wait on the stream is bounded.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    try_connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"))
}

/// The same for a connection that may be refused or reset.
pub(crate) fn try_connect(address: SocketAddr) -> io::Result<TcpStream> {
    bounded(TcpStream::connect_timeout(&address, PATIENCE)?)
}

/// Connects from a source that several connections may share; port 0 lets the kernel choose.
pub(crate) fn connect_from(source: SocketAddr, target: SocketAddr) -> TcpStream {
    let connected = try_connect_from(source, target);
    connected.unwrap_or_else(|error| panic!("connect from {source} to {target}: {error}"))
}

/// The same for a connection that may be refused or reset.
pub(crate) fn try_connect_from(source: SocketAddr, target: SocketAddr) -> io::Result<TcpStream> {
    bounded(socket::connect(socket::bound(source)?, target)?)
}

/// The same from a source that is written out.
pub(crate) fn from(source: &str, target: SocketAddr) -> TcpStream {
    connect_from(source.parse().expect("an address"), target)
}

/// Connects with small buffers, so that few bytes are enough to stall the connection.
pub(crate) fn connect_narrow(target: SocketAddr) -> TcpStream {
    let fd = socket::unbound(target).expect("a socket");
    socket::narrow(&fd);
    let stream = socket::connect(fd, target).expect("connect");
    bounded(stream).expect("a connected socket takes timeouts")
}

/// Bounds every wait on the stream, and sends small writes at once.
pub(crate) fn bounded(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends the next `bytes` of the pattern, in writes of odd sizes.
pub(crate) fn send(mut stream: &TcpStream, pattern: &mut Pattern, bytes: u64) -> io::Result<()> {
    const SIZES: [usize; 7] = [1, 1459, 4096, 16_385, 7, 65_537, 16_384];
    let mut buffer = vec![0; 65_537];
    let (mut left, mut turn) = (bytes, 0);
    while left > 0 {
        let size = left.min(SIZES[turn % SIZES.len()] as u64) as usize;
        pattern.fill(&mut buffer[..size]);
        stream.write_all(&buffer[..size])?;
        left -= size as u64;
        turn += 1;
    }
    Ok(())
}

/// Sends the pattern until no more is taken for a while; returns how many bytes were.
pub(crate) fn send_until_stalled(mut stream: &TcpStream, pattern: &mut Pattern) -> u64 {
    stream.set_write_timeout(Some(WATCH)).expect("a timeout");
    let mut chunk = vec![0; 16_384];
    let mut sent = 0;
    'stalled: loop {
        pattern.fill(&mut chunk);
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(bytes) => {
                    sent += bytes as u64;
                    rest = &rest[bytes..];
                }
                Err(error) if is_timeout(&error) => break 'stalled,
                Err(error) => panic!("a stalled write after {sent} bytes: {error}"),
            }
        }
    }
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    sent
}

/// Reads exactly `bytes` and compares them with the pattern's next.
pub(crate) fn receive(mut stream: &TcpStream, pattern: &mut Pattern, bytes: u64) {
    let mut buffer = vec![0; 65_536];
    let mut left = bytes;
    while left > 0 {
        let size = left.min(buffer.len() as u64) as usize;
        let got = match stream.read(&mut buffer[..size]) {
            Ok(0) => panic!("FIN with {left} of {bytes} bytes to come"),
            Ok(got) => got,
            Err(error) => panic!("{error} with {left} of {bytes} bytes to come"),
        };
        check(pattern, &buffer[..got]);
        left -= got as u64;
    }
}

/// Reads to the end, comparing with the pattern: how much came, and how it ended.
pub(crate) fn receive_all(mut stream: &TcpStream, pattern: &mut Pattern) -> Brought {
    let mut buffer = vec![0; 65_536];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Brought { bytes, ending: Ending::Fin },
            Ok(got) => {
                check(pattern, &buffer[..got]);
                bytes += got as u64;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Brought { bytes, ending: Ending::Reset };
            }
            Err(error) => panic!("neither a byte nor an ending after {bytes} bytes: {error}"),
        }
    }
}

/// How a connection that brings no byte ends.
pub(crate) fn ending(mut stream: &TcpStream) -> Ending {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(0) => Ending::Fin,
        Ok(_) => panic!("byte {} where an ending was due", byte[0]),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ending::Reset,
        Err(error) => panic!("no ending: {error}"),
    }
}

/// A reset is what the client gets, whatever it says: before its connect is done, or after it.
pub(crate) fn expect_reset(connected: io::Result<TcpStream>, says: &[u8]) {
    let told = connected.and_then(|mut stream| {
        stream.write_all(says)?;
        stream.read(&mut [0])
    });
    match told {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        // A write that came after the reset was read by nobody.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        other => panic!("{other:?} where a reset was due"),
    }
}

/// Sends a pattern's first bytes to something that echoes, and compares what comes back.
pub(crate) fn echo(stream: &TcpStream, seed: u64, bytes: u64) {
    let (mut out, mut back) = (Pattern::new(seed), Pattern::new(seed));
    send(stream, &mut out, bytes).expect("an echo's request is sent");
    receive(stream, &mut back, bytes);
}

/// These clients, each of which has asked for one byte.
pub(crate) fn asking(clients: impl Iterator<Item = TcpStream>) -> Vec<TcpStream> {
    let asking: Vec<_> = clients.collect();
    for mut stream in &asking {
        stream.write_all(b"?").expect("a waiting client may send");
    }
    asking
}

/// Waits for the byte that a client has asked for.
pub(crate) fn hear(mut stream: &TcpStream) {
    stream.read_exact(&mut [0]).expect("it is served in the end");
}

/// Whether nothing at all comes for a while: no byte, no ending.
pub(crate) fn is_silent(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(WATCH)).expect("a timeout");
    let silent = matches!(stream.read(&mut [0]), Err(error) if is_timeout(&error));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    silent
}

/// Whether reading found a reset.
pub(crate) fn is_reset(read: &io::Result<usize>) -> bool {
    matches!(read, Err(error) if error.kind() == ErrorKind::ConnectionReset)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn check(pattern: &mut Pattern, arrived: &[u8]) {
    if let Err(place) = pattern.check(arrived) {
        panic!("the byte at {place} is not the one that was sent");
    }
}
