//! What is still held after a round: by the target, and by the kernel for sockets.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::host::socket_memory_bytes;

/// How long one question to the target may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most that an answer may have.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Less than this, and a share of what the round took, may be the rest of the machine's.
const NOISE_BYTES: i64 = 4 << 20;
const NOISE_SHARE: i64 = 10;

/// What is held at one moment after a round.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// Connections of the target, where it was asked.
    pub(super) connections: Option<u64>,
    /// Why the target gave no answer.
    pub(super) unanswered: Option<String>,
    /// Memory that the kernel holds for TCP sockets: before the round, at its fullest, and now.
    pub(super) before_bytes: i64,
    pub(super) full_bytes: i64,
    pub(super) after_bytes: i64,
}

impl Held {
    /// Before a round.
    pub(super) fn begin() -> Held {
        let before_bytes = socket_memory_bytes().unwrap_or(0);
        Held { before_bytes, full_bytes: before_bytes, ..Held::default() }
    }

    /// When both directions are full.
    pub(super) fn fill(&mut self) {
        self.full_bytes = socket_memory_bytes().unwrap_or(0);
    }

    /// Looks again; whether nothing is held any more.
    pub(super) fn look(&mut self, status: Option<SocketAddr>) -> bool {
        self.after_bytes = socket_memory_bytes().unwrap_or(0);
        match status.map(still_open).transpose() {
            Ok(connections) => (self.connections, self.unanswered) = (connections, None),
            Err(error) => (self.connections, self.unanswered) = (None, Some(error.to_string())),
        }
        self.unanswered.is_none() && self.connections.unwrap_or(0) == 0 && self.is_memory_back()
    }

    /// Whether the kernel holds no more than before, but for what others may have taken.
    pub(super) fn is_memory_back(&self) -> bool {
        let noise = NOISE_BYTES.max((self.full_bytes - self.before_bytes) / NOISE_SHARE);
        self.after_bytes - self.before_bytes <= noise
    }
}

/// Asks a gateway how many connections are open.
fn still_open(status: SocketAddr) -> io::Result<u64> {
    let at = |error: io::Error| io::Error::new(error.kind(), format!("{status}: {error}"));
    let body = get(status).map_err(at)?;
    let reading: Value = serde_json::from_slice(&body).unwrap_or_default();
    let open = reading["drain"]["still_open"].as_u64();
    open.ok_or_else(|| io::Error::other(format!("{status}: no status of a gateway")))
}

fn get(status: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&status, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /status.json HTTP/1.0\r\nHost: {status}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let head = head.ok_or_else(|| io::Error::other("no answer in HTTP"))?;
    Ok(answer.split_off(head + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_back_when_what_is_left_is_noise() {
        let held = |after_bytes| Held { full_bytes: 100 << 20, after_bytes, ..Held::default() };
        assert!(held(9 << 20).is_memory_back() && !held(11 << 20).is_memory_back());
        let little = Held { full_bytes: 1 << 20, after_bytes: 1 << 20, ..Held::default() };
        assert!(little.is_memory_back());
    }
}
