//! Connections through the gateway, of which this process has both ends.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use socket2::SockRef;

use crate::ensure;

/// Where the gateway listens, and where it finds its server.
pub(crate) const EDGE: ([u8; 4], u16) = ([127, 0, 0, 1], 7000);
pub(crate) const SERVER: ([u8; 4], u16) = ([127, 0, 0, 1], 9000);

/// After which a peer that says nothing is a failure: a guest may be slow, and never this slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that are on their way at once: the standard library's backlog is 128.
const BATCH: usize = 64;

/// A server behind the gateway, and clients before it.
pub(crate) struct Ends {
    server: TcpListener,
    /// How many connections there have been.
    pub(crate) opened: u64,
}

/// Both ends of a proxied connection.
pub(crate) struct Pair {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
}

impl Ends {
    pub(crate) fn new() -> Result<Ends, Box<dyn Error>> {
        let server = TcpListener::bind(SocketAddr::from(SERVER))?;
        // An accept waits no longer than a read.
        SockRef::from(&server).set_read_timeout(Some(PATIENCE))?;
        Ok(Ends { server, opened: 0 })
    }

    /// So many connections; each client has said its number, and its server has read it.
    pub(crate) fn open(&mut self, count: usize) -> Result<Vec<Pair>, Box<dyn Error>> {
        let mut pairs = Vec::with_capacity(count);
        while pairs.len() < count {
            pairs.extend(self.batch(EDGE.into(), BATCH.min(count - pairs.len()))?);
        }
        Ok(pairs)
    }

    /// The same at another of the gateway's addresses, for a few.
    pub(crate) fn batch(
        &mut self,
        gateway: SocketAddr,
        count: usize,
    ) -> Result<Vec<Pair>, Box<dyn Error>> {
        let mut clients = Vec::with_capacity(count);
        for number in 0..count {
            let mut client = patient(TcpStream::connect(gateway)?)?;
            client.write_all(&(number as u64).to_be_bytes())?;
            clients.push(client);
        }
        let mut servers: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
        for _ in 0..count {
            let (server, _) =
                self.server.accept().map_err(|error| format!("no client comes: {error}"))?;
            let mut server = patient(server)?;
            let mut number = [0; 8];
            server.read_exact(&mut number)?;
            let number = u64::from_be_bytes(number) as usize;
            ensure(number < count && servers[number].is_none(), || format!("client {number}?"))?;
            servers[number] = Some(server);
        }
        self.opened += count as u64;
        let both = clients.into_iter().zip(servers);
        Ok(both.filter_map(|(client, server)| Some(Pair { client, server: server? })).collect())
    }
}

fn patient(stream: TcpStream) -> Result<TcpStream, Box<dyn Error>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Each connection carries bytes of its own to the server, and others back.
pub(crate) fn talk(pairs: &mut [Pair], bytes: usize) -> Result<(), Box<dyn Error>> {
    for (number, pair) in pairs.iter_mut().enumerate() {
        pair.client.write_all(&pattern(number, bytes))?;
    }
    for (number, pair) in pairs.iter_mut().enumerate() {
        arrives(&mut pair.server, &pattern(number, bytes))?;
        pair.server.write_all(&pattern(!number, bytes))?;
    }
    for (number, pair) in pairs.iter_mut().enumerate() {
        arrives(&mut pair.client, &pattern(!number, bytes))?;
    }
    Ok(())
}

/// A prime number of arbitrary bytes: as a period, no multiple of any buffer's size.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..65_521).map(next).collect()
});

/// Bytes that begin elsewhere for each seed. They are copied and not made: an emulated processor is
/// slow at the latter.
pub(crate) fn pattern(seed: usize, bytes: usize) -> Vec<u8> {
    let period = BYTES.len() as u64;
    let start = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % period;
    let mut pattern = BYTES[start as usize..].to_vec();
    while pattern.len() < bytes {
        pattern.extend_from_slice(&BYTES);
    }
    pattern.truncate(bytes);
    pattern
}

/// What comes next is this.
pub(crate) fn arrives(stream: &mut TcpStream, expected: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut read = vec![0; expected.len()];
    stream.read_exact(&mut read)?;
    ensure(read == expected, || format!("other bytes than those sent, of {}", expected.len()))
}

/// What comes next is a FIN.
pub(crate) fn finished(stream: &mut TcpStream) -> Result<(), Box<dyn Error>> {
    match stream.read(&mut [0; 8]) {
        Ok(0) => Ok(()),
        Ok(read) => Err(format!("{read} bytes instead of a FIN").into()),
        Err(error) => Err(format!("{error} instead of a FIN").into()),
    }
}

/// What comes next is a reset.
pub(crate) fn aborted(stream: &mut TcpStream) -> Result<(), Box<dyn Error>> {
    match stream.read(&mut [0; 8]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(format!("{error} instead of a reset").into()),
        Ok(read) => Err(format!("{read} bytes instead of a reset").into()),
    }
}

/// Sends a reset.
pub(crate) fn abort(stream: TcpStream) -> Result<(), Box<dyn Error>> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(())
}

/// Sends a FIN, and can still receive.
pub(crate) fn finish(stream: &TcpStream) -> Result<(), Box<dyn Error>> {
    Ok(stream.shutdown(Shutdown::Write)?)
}
