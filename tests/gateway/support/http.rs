//! Asks the status server as a scraper does, byte by byte where a test wants that.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer's status and body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks for `path`, once.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    say(address, request.as_bytes())
}

/// Sends these bytes and takes whatever comes back until the end.
pub(crate) fn say(address: SocketAddr, bytes: &[u8]) -> Answer {
    let stream = TcpStream::connect(address).expect("the status server listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    say_to(stream, bytes)
}

/// The same to a socket that is connected already.
pub(crate) fn say_to(mut stream: impl Read + Write, bytes: &[u8]) -> Answer {
    // It may have answered and closed before it took everything.
    let _ = stream.write_all(bytes);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
