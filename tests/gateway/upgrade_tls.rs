//! An upgrade of clients and servers in TLS: their sessions go on in the new process.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use crate::support::client;
use crate::support::config::upstream;
use crate::support::gateway::{Home, program};
use crate::support::lineage::{Lineage, runs};
use crate::support::pattern::Pattern;
use crate::support::server::{self, Server};
use crate::support::tls::{self, ANY, Authority, Ended, VERSIONS, Wish};
use crate::support::wait_until;

/// The listeners, and whether clients and servers of each speak TLS.
const LISTENERS: [(&str, bool, bool); 3] =
    [("edge", true, false), ("inner", false, true), ("both", true, true)];

/// Gateways over servers of which some speak TLS, in one version or the other.
struct Stage {
    authority: Authority,
    lineage: Lineage,
}

impl Stage {
    /// Each listener's servers: one that does not speak TLS, and one that does.
    fn new(plain: SocketAddr, secure: SocketAddr, more: &str) -> Stage {
        let (home, authority) = (Home::new(), Authority::new());
        let config = Stage::config(&home, &authority, plain, secure) + more;
        let lineage = Lineage::start_with(home, program(None), &config);
        Stage { authority, lineage }
    }

    fn config(home: &Home, authority: &Authority, plain: SocketAddr, secure: SocketAddr) -> String {
        let pair = authority.issue(&["a.example"], 2090).write(home, "edge");
        let ends = format!("tls = {{ certificates = [{{ {pair} }}] }}\n");
        let listeners = LISTENERS.map(|(name, is_ended, is_begun)| {
            let app = if is_begun { "secure" } else { "plain" };
            let ends = if is_ended { &*ends } else { "" };
            format!("[listener.{name}]\nbind = [\"127.0.0.1:0\"]\nupstream = \"{app}\"\n{ends}")
        });
        format!(
            "[gateway]\nworkers = 2\nmax_connections = 2000\n{}{}{}tls = {{ ca = \"off\" }}\n\
             [status]\nbind = \"127.0.0.1:0\"\n",
            listeners.concat(),
            upstream("plain", &[plain]),
            upstream("secure", &[secure]),
        )
    }

    fn address(&self, listener: &str) -> SocketAddr {
        self.lineage.first.address(listener)
    }

    fn client(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        Wish { version: Some(version), ..ANY }.client(&self.authority)
    }

    /// A client of a listener, whichever it speaks.
    fn connect(
        &self,
        (listener, is_ended, _): (&str, bool, bool),
        version: &'static SupportedProtocolVersion,
    ) -> Box<dyn Stream> {
        match is_ended {
            true => self.shaken(listener, version),
            false => Box::new(client::connect(self.address(listener))),
        }
    }

    fn shaken(
        &self,
        listener: &str,
        version: &'static SupportedProtocolVersion,
    ) -> Box<tls::Client> {
        Box::new(tls::shaken(&self.client(version), "a.example", self.address(listener)))
    }
}

/// A client that sends and reads, in TLS or without.
trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// Sends so many bytes to something that echoes, and reads them.
fn echo(stream: &mut dyn Stream, seed: u64, bytes: usize) {
    let (mut out, mut back) = (Pattern::new(seed), Pattern::new(seed));
    let mut piece = vec![0; bytes];
    out.fill(&mut piece);
    stream.write_all(&piece).expect("it is sent");
    stream.flush().expect("it is sent");
    stream.read_exact(&mut piece).expect("it comes back");
    back.check(&piece).expect("the same bytes");
}

/// The config of a server in this version.
fn serving(version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
    let pair = Authority::new().issue(&["db.example"], 2090);
    Wish { version: Some(version), ..ANY }.server(&pair)
}

/// A server in TLS that echoes: its clients' versions alternate.
fn secure_echo() -> Server<Ended> {
    let configs = VERSIONS.map(serving);
    let turns = AtomicUsize::new(0);
    Server::start(move |stream| {
        let turn = turns.fetch_add(1, Ordering::SeqCst);
        tls::echo_secure(tls::serve(&configs[turn % 2], stream))
    })
}

#[test]
fn idle_and_busy_clients_in_tls_do_not_notice_two_in_a_row() {
    let (plain, secure) = (server::echo(), secure_echo());
    let stage = Stage::new(plain.address, secure.address, "");
    let all = || LISTENERS.into_iter().flat_map(|at| VERSIONS.map(|version| (at, version)));
    let clients = |each: usize| {
        let some = all().flat_map(|(at, version)| (0..each).map(move |_| (at, version)));
        some.map(|(at, version)| stage.connect(at, version)).collect::<Vec<_>>()
    };
    let mut idle = clients(8);
    idle.iter_mut().for_each(|stream| echo(stream, 1, 10));
    let mut busy = clients(2);
    let (over, said) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pids = std::thread::scope(|scope| {
        for stream in &mut busy {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let number = said.fetch_add(1, Ordering::SeqCst);
                    echo(stream, number as u64, 1 + number * 977 % 60_000);
                }
            });
        }
        let pids = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut pids = vec![stage.lineage.first.pid()];
            for _ in 0..2 {
                let before = said.load(Ordering::SeqCst);
                wait_until("the busy to go on", || said.load(Ordering::SeqCst) > before + 100);
                pids.push(stage.lineage.upgrade(&[]));
                let former = pids[pids.len() - 2];
                wait_until("the predecessor's end", || !runs(former));
            }
            let before = said.load(Ordering::SeqCst);
            wait_until("the busy to go on", || said.load(Ordering::SeqCst) > before + 100);
            pids
        }));
        over.store(true, Ordering::SeqCst);
        pids
    });
    let mut pids = pids.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    pids.dedup();
    assert_eq!(pids.len(), 3, "each is another process: {pids:?}");
    idle.iter_mut().for_each(|stream| echo(stream, 2, 50_000));
    assert_eq!(stage.lineage.status()["budget"]["used"], 60);
    drop((idle, busy));
    // Each session ends as it should: no server hears of a cut.
    let ended = secure.outcomes(40);
    assert!(
        ended.iter().all(|ended| *ended == Ended::Clean || *ended == Ended::Reset),
        "{ended:?}"
    );
}
