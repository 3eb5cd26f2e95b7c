//! A gateway whose clients and servers speak TLS or do not, and their ends of a connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use super::client;
use super::config::upstream;
use super::gateway::{Home, program};
use super::lineage::Lineage;
use super::pattern::Pattern;
use super::server::{self, Server};
use super::tls::{self, ANY, Authority, Ended, VERSIONS, Wish};

/// A listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) name: &'static str,
    /// Its clients speak TLS.
    pub(crate) ends: bool,
    /// The servers behind it do.
    pub(crate) begins: bool,
}

/// Those of a [`Stage`] with servers.
pub(crate) const LISTENERS: [At; 3] = [
    At { name: "edge", ends: true, begins: false },
    At { name: "inner", ends: false, begins: true },
    At { name: "both", ends: true, begins: true },
];

/// The one to whose clients the gateway itself echoes.
pub(crate) const OWN: At = At { name: "own", ends: true, begins: false };

/// The version of a client or a server.
pub(crate) type Version = &'static SupportedProtocolVersion;

/// Gateways, one after the other, with [`LISTENERS`].
pub(crate) struct Stage {
    authority: Authority,
    pub(crate) lineage: Lineage,
}

impl Stage {
    /// Before a server that does not speak TLS, and one that does; with more sections.
    pub(crate) fn new(plain: SocketAddr, secure: SocketAddr, more: &str) -> Stage {
        Stage::by(program(None), plain, secure, more)
    }

    /// The same by this command.
    pub(crate) fn by(command: Command, plain: SocketAddr, secure: SocketAddr, more: &str) -> Stage {
        let (home, authority) = (Home::new(), Authority::new());
        let pair = authority.issue(&["a.example"], 2090).write(&home, "edge");
        let listener = |at: At| {
            let app = match at {
                At { name: "own", .. } => "own",
                At { begins: true, .. } => "secure",
                _ => "plain",
            };
            let pair = if at.ends { format!("{{ {pair} }}") } else { String::new() };
            let tls = if at.ends { format!("tls = {{ certificates = [{pair}] }}\n") } else { pair };
            let name = at.name;
            format!("[listener.{name}]\nbind = [\"127.0.0.1:0\"]\nupstream = \"{app}\"\n{tls}")
        };
        let config = format!(
            "[gateway]\nworkers = 2\nmax_connections = 2000\n{}{}{}{}tls = {{ ca = \"off\" }}\n\
             [upstream.own]\nbuiltin = \"echo\"\n[status]\nbind = \"127.0.0.1:0\"\n{more}",
            LISTENERS.map(listener).concat(),
            listener(OWN),
            upstream("plain", &[plain]),
            upstream("secure", &[secure]),
        );
        Stage { authority, lineage: Lineage::start_with(home, command, &config) }
    }

    pub(crate) fn address(&self, at: At) -> SocketAddr {
        self.lineage.first.address(at.name)
    }

    pub(crate) fn config(&self, version: Version) -> Arc<ClientConfig> {
        Wish { version: Some(version), ..ANY }.client(&self.authority)
    }

    /// So many clients of each listener and version.
    pub(crate) fn clients(&self, each: usize) -> Vec<End> {
        let all = LISTENERS.into_iter().chain([OWN]);
        let all = all.flat_map(|at| VERSIONS.map(|version| (at, version)));
        let all = all.flat_map(|one| (0..each).map(move |_| one));
        all.map(|(at, version)| self.client(at, version, client::connect(self.address(at))))
            .collect()
    }

    /// A client that has shaken hands, if those of its listener do.
    pub(crate) fn client(&self, at: At, version: Version, stream: TcpStream) -> End {
        if !at.ends {
            return End::Plain(stream);
        }
        let mut client = tls::over(&self.config(version), "a.example", stream);
        tls::shake(&mut client).expect("a session");
        End::Client(Box::new(client))
    }
}

/// A server in TLS that echoes: its clients' versions alternate.
pub(crate) fn secure_echo() -> Server<Ended> {
    let configs = VERSIONS.map(serving);
    let turns = AtomicUsize::new(0);
    Server::start(move |stream| {
        let turn = turns.fetch_add(1, Ordering::SeqCst);
        tls::echo_secure(tls::serve(&configs[turn % 2], stream))
    })
}

/// The config of a server in this version.
pub(crate) fn serving(version: Version) -> Arc<ServerConfig> {
    let pair = Authority::new().issue(&["db.example"], 2090);
    Wish { version: Some(version), ..ANY }.server(&pair)
}

/// The far end of a connection, whatever it speaks.
pub(crate) enum End {
    Plain(TcpStream),
    Client(Box<tls::Client>),
    Server(Box<tls::SecureServer>),
}

impl End {
    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            End::Plain(stream) => stream,
            End::Client(tls) => tls,
            End::Server(tls) => tls,
        }
    }

    /// Sends so many bytes of a pattern.
    pub(crate) fn send(&mut self, seed: u64, bytes: usize) {
        let (mut pattern, mut left) = (Pattern::new(seed), bytes);
        while left > 0 {
            let mut piece = vec![0; left.min(50_000)];
            pattern.fill(&mut piece);
            self.write_all(&piece).expect("it is sent");
            left -= piece.len();
        }
        self.flush().expect("it is sent");
    }

    /// Ends its direction.
    pub(crate) fn finish(&mut self) {
        match self {
            End::Plain(_) => {}
            End::Client(tls) => tls::finish(tls),
            End::Server(tls) => {
                tls.conn.send_close_notify();
                tls.flush().expect("it is sent");
            }
        }
        server::finish(self.socket());
    }

    /// Reads a pattern up to its end, which must be a clean one: how many bytes came.
    pub(crate) fn read_all(&mut self, seed: u64) -> usize {
        let (mut pattern, mut piece, mut bytes) = (Pattern::new(seed), vec![0; 65_536], 0);
        loop {
            match self.read(&mut piece).expect("bytes, or a clean end") {
                0 => return bytes,
                got => {
                    pattern.check(&piece[..got]).expect("the bytes that were sent");
                    bytes += got;
                }
            }
        }
    }

    /// Sends so many bytes to something that echoes, and reads them.
    pub(crate) fn echo(&mut self, seed: u64, bytes: usize) {
        self.send(seed, bytes);
        let mut back = vec![0; bytes];
        self.read_exact(&mut back).expect("it comes back");
        Pattern::new(seed).check(&back).expect("the same bytes");
    }

    /// Puts bytes into records of its own, which are not sent.
    pub(crate) fn record(&mut self, data: &[u8]) -> Vec<u8> {
        let mut words = Vec::new();
        let written = match self {
            End::Plain(_) => Err(io::ErrorKind::Unsupported.into()),
            End::Client(tls) => {
                tls.conn.writer().write_all(data).and_then(|()| tls.conn.write_tls(&mut words))
            }
            End::Server(tls) => {
                tls.conn.writer().write_all(data).and_then(|()| tls.conn.write_tls(&mut words))
            }
        };
        written.expect("memory takes it");
        words
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            End::Plain(stream) => stream,
            End::Client(tls) => &tls.sock,
            End::Server(tls) => &tls.sock,
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&self, bytes: &[u8]) {
        self.socket().write_all(bytes).expect("it is sent");
    }
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Read for End {
    fn read(&mut self, memory: &mut [u8]) -> io::Result<usize> {
        self.stream().read(memory)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream().flush()
    }
}
