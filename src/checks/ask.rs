//! One check: a connection to a server, a question where there is one, and the answer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use humantime_serde::re::humantime::format_duration;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::answer::{Verdict, text_in};
use super::channel::{Channel, Fault};
use super::hello;
use super::tally::Outcome;
use crate::base::{Errno, SELF_CONNECT};
use crate::config::{ANSWER_MAX_BYTES, Check, CheckKind, SendProxy};
use crate::tls::UpstreamMaterials;
use crate::topology::Server;
use crate::upstream::Failure;
use crate::wire::{self, Ends};

/// Bytes of an answer that are shown.
const SHOWN_MAX_BYTES: usize = 64;

/// To where a check connects, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    address: SocketAddr,
    sources: Vec<IpAddr>,
    /// The header that the server expects before all else.
    header: SendProxy,
    /// How it is spoken to, if in TLS.
    tls: Option<Arc<UpstreamMaterials>>,
}

impl Target {
    /// The place of a server that its check asks.
    pub(super) fn of(
        server: &Server,
        check: &Check,
        header: SendProxy,
        tls: Option<&Arc<UpstreamMaterials>>,
    ) -> Target {
        let mut address = server.address;
        if check.port != 0 {
            address.set_port(check.port);
        }
        Target { address, sources: server.sources.clone(), header, tls: tls.cloned() }
    }

    /// The address that this turn's check comes from; `None`: the kernel chooses.
    fn source(&self, turn: usize) -> Option<IpAddr> {
        self.sources.get(turn % self.sources.len().max(1)).copied()
    }
}

/// How far a check had come when its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Connect,
    Shake,
    /// Whether the server takes our certificate, or that there is none.
    Shown,
    Answer,
}

/// Makes one check. It takes the time of its timeout at most. Source addresses take turns.
pub(super) async fn ask(target: &Target, turn: usize, check: &Check) -> Outcome {
    let socket = match open(target, turn) {
        Ok(socket) => socket,
        Err(error) => return Outcome::Unable(words(&error)),
    };
    let (mut step, mut answer) = (Step::Connect, Vec::new());
    let over = timeout(check.timeout, steps(socket, target, check, &mut step, &mut answer)).await;
    let time = format_duration(check.timeout);
    match (over, step) {
        (Ok(outcome), _) => outcome,
        (Err(_), Step::Connect) => Outcome::Failed(format!("no answer to the connect in {time}")),
        (Err(_), Step::Shake) => Outcome::Failed(format!("no end of the TLS handshake in {time}")),
        // A server need not say that it takes it.
        (Err(_), Step::Shown) => Outcome::Passed,
        (Err(_), Step::Answer) => Outcome::Failed(instead(check, &answer, &format!("in {time}"))),
    }
}

async fn steps(
    socket: TcpSocket,
    target: &Target,
    check: &Check,
    step: &mut Step,
    answer: &mut Vec<u8>,
) -> Outcome {
    let stream = match socket.connect(target.address).await {
        Ok(stream) => stream,
        Err(error) if is_ours(&error) => return Outcome::Unable(words(&error)),
        Err(error) => return Outcome::Failed(words(&error)),
    };
    if reached_itself(&stream) {
        return Outcome::Failed(Failure::Connect(SELF_CONNECT).to_string());
    }
    let mut question = header(target.header, &stream);
    let mut channel = match &target.tls {
        None => Channel::plain(stream),
        Some(tls) => {
            *step = Step::Shake;
            let first = std::mem::take(&mut question);
            match Channel::secure(stream, &first, tls, target.address).await {
                Ok(channel) => channel,
                Err(fault) => return Outcome::Failed(unshaken(&fault)),
            }
        }
    };
    if target.tls.is_some() && check.kind != CheckKind::SendExpect {
        *step = Step::Shown;
        return match channel.refusal().await {
            Some(fault) => Outcome::Failed(unshaken(&fault)),
            None => Outcome::Passed,
        };
    }
    match check.kind {
        // Whether the header arrives says no more than the connect did.
        CheckKind::Connect => {
            let _ = channel.say(&question).await;
            return Outcome::Passed;
        }
        CheckKind::SendExpect => question.extend_from_slice(&check.send),
        CheckKind::Tls => question.extend_from_slice(&hello::client_hello()),
    }
    *step = Step::Answer;
    // A server that has answered already may not read any more; then its answer says what it is.
    let sent = channel.say(&question).await;
    let read = read(&mut channel, check, answer).await;
    match (read, sent) {
        (Ok(Verdict::Passed), _) => Outcome::Passed,
        (Ok(Verdict::Failed(because)), _) => Outcome::Failed(because),
        (Ok(Verdict::Other), _) => Outcome::Failed(instead(check, answer, "at first")),
        (Ok(Verdict::More), _) if answer.len() >= ANSWER_MAX_BYTES => {
            Outcome::Failed(instead(check, answer, "in 4 KiB"))
        }
        (Ok(Verdict::More), Ok(())) => Outcome::Failed(instead(check, answer, "before it closed")),
        (Err(error), _) | (Ok(Verdict::More), Err(error)) => {
            Outcome::Failed(instead(check, answer, &format!("before {}", words(&error))))
        }
    }
}

/// The header by which a server knows a check for what it is. Version 1 has no word for that, but
/// for one that the protocol advises against: it has the check's own addresses.
fn header(version: SendProxy, stream: &TcpStream) -> Vec<u8> {
    let mut header = Vec::new();
    match (version, stream.local_addr(), stream.peer_addr()) {
        (SendProxy::V1, Ok(source), Ok(destination)) => {
            wire::proxy_line(Ends { source, destination }, &mut header);
        }
        (SendProxy::V2, ..) => wire::proxy_local(&mut header),
        _ => {}
    }
    header
}

/// A socket for a connect from a source of the target. It is reset in its end, so that no TIME_WAIT
/// keeps a port that a client's connection could have.
fn open(target: &Target, turn: usize) -> io::Result<TcpSocket> {
    let socket = match target.address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_zero_linger()?;
    socket.set_nodelay(true)?;
    if let Some(source) = target.source(turn) {
        // The port is chosen at connect, when the whole four-tuple counts (Linux 4.2).
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    Ok(socket)
}

/// Reads until the answer tells whether the server serves, or can tell it no more.
async fn read(channel: &mut Channel, check: &Check, answer: &mut Vec<u8>) -> io::Result<Verdict> {
    loop {
        let before = answer.len();
        let came = channel.hear(answer).await?;
        answer.truncate(ANSWER_MAX_BYTES);
        let verdict = match check.kind {
            CheckKind::Tls => hello::judge(answer),
            _ => text_in(answer, before, &check.expect),
        };
        let is_all = came == 0 || answer.len() >= ANSWER_MAX_BYTES;
        if is_all || verdict != Verdict::More {
            return Ok(verdict);
        }
    }
}

/// Why a handshake has failed.
fn unshaken(fault: &Fault) -> String {
    match fault {
        Fault::Tls(fault) => Failure::Tls(*fault).to_string(),
        Fault::Ended => "it closed the connection in the TLS handshake".to_owned(),
        Fault::Stream(error) => format!("{} in the TLS handshake", words(error)),
    }
}

/// Whether the kernel joined the connect to its own socket: where nobody listens at a port from
/// which connects come, that is a simultaneous open (RFC 9293, 3.5), and succeeds.
fn reached_itself(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => (local.ip(), local.port()) == (peer.ip(), peer.port()),
        // A peer that has reset it already is another.
        _ => false,
    }
}

/// Whether a connect failed for want of something here: ports, memory, an address.
fn is_ours(error: &io::Error) -> bool {
    const OURS: [Errno; 4] =
        [Errno::EADDRNOTAVAIL, Errno::ENOBUFS, Errno::ENOMEM, Errno::EADDRINUSE];
    error.raw_os_error().is_some_and(|errno| OURS.contains(&Errno::from_raw(errno)))
}

fn words(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) => Failure::Connect(errno).to_string(),
        None => error.to_string(),
    }
}

/// What was answered in place of what was expected.
fn instead(check: &Check, answer: &[u8], until: &str) -> String {
    let expected = match check.kind {
        CheckKind::Tls => "a ServerHello".to_owned(),
        _ => shown(&check.expect),
    };
    match answer {
        [] => format!("no answer {until}, expected {expected}"),
        answer => format!("answered {} {until}, expected {expected}", shown(answer)),
    }
}

fn shown(bytes: &[u8]) -> String {
    match bytes.get(..SHOWN_MAX_BYTES) {
        Some(first) if bytes.len() > SHOWN_MAX_BYTES => format!("\"{}…\"", first.escape_ascii()),
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

    use super::*;
    use crate::config::CheckKind;

    fn check(send: &str, expect: &str) -> Check {
        Check {
            kind: CheckKind::SendExpect,
            timeout: Duration::from_millis(200),
            send: send.into(),
            expect: expect.into(),
            ..Check::default()
        }
    }

    /// What a check comes to at a server that handles its one connection so.
    fn asked(check: &Check, handle: impl FnOnce(std::net::TcpStream) + Send + 'static) -> Outcome {
        asked_in(None, check, handle)
    }

    /// The same at a server that is spoken to in TLS, if it is.
    fn asked_in(
        tls: Option<Arc<UpstreamMaterials>>,
        check: &Check,
        handle: impl FnOnce(std::net::TcpStream) + Send + 'static,
    ) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let target = Target { address, sources: Vec::new(), header: SendProxy::Off, tls };
        let server = std::thread::spawn(move || handle(listener.accept().expect("a check").0));
        let outcome = on_a_runtime(ask(&target, 0, check));
        server.join().expect("the server does not panic");
        outcome
    }

    fn on_a_runtime<T>(task: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().expect("a runtime").block_on(task)
    }

    fn failed(words: &str) -> Outcome {
        Outcome::Failed(words.to_owned())
    }

    #[test]
    fn an_answer_passes_however_it_is_cut() {
        let outcome = asked(&check("PING\r\n", "+PONG"), |mut stream| {
            stream.read_exact(&mut [0; 6]).expect("a question");
            for part in ["-hello\r\n+P", "ON", "G\r\n"] {
                stream.write_all(part.as_bytes()).expect("it is read");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        assert_eq!(outcome, Outcome::Passed);
    }

    #[test]
    fn what_was_answered_instead_is_said() {
        let close = |answer: &'static str| {
            asked(&check("", "+OK"), move |mut stream| {
                stream.write_all(answer.as_bytes()).expect("it is read");
            })
        };
        assert_eq!(close(""), failed("no answer before it closed, expected \"+OK\""));
        let answered = "answered \"-NO\\r\\n\" before it closed, expected \"+OK\"";
        assert_eq!(close("-NO\r\n"), failed(answered));
        let silent = asked(&check("", "+OK"), |mut stream| drop(stream.read(&mut [0])));
        assert_eq!(silent, failed("no answer in 200ms, expected \"+OK\""));
        let long = asked(&check("", "+OK"), |mut stream| {
            let _ = stream.write_all(&[b'x'; 3 * ANSWER_MAX_BYTES]);
        });
        let shown = "x".repeat(SHOWN_MAX_BYTES);
        assert_eq!(long, failed(&format!("answered \"{shown}…\" in 4 KiB, expected \"+OK\"")));
    }

    #[test]
    fn a_tls_check_asks_for_a_server_hello() {
        let tls =
            Check { kind: CheckKind::Tls, timeout: Duration::from_millis(200), ..Check::default() };
        let answered = |answer: &'static [u8]| {
            asked(&tls, move |mut stream| {
                let mut hello = [0; 5];
                stream.read_exact(&mut hello).expect("a ClientHello");
                assert_eq!(hello[..3], [22, 3, 1]);
                let mut rest = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
                stream.read_exact(&mut rest).expect("all of it");
                stream.write_all(answer).expect("it is read");
            })
        };
        assert_eq!(answered(&[22, 3, 3, 0, 4, 2, 0, 0, 0]), Outcome::Passed);
        let alert = answered(&[21, 3, 3, 0, 2, 2, 40]);
        assert_eq!(alert, failed("TLS alert 40 in answer to a ClientHello"));
        let plain = "answered \"-ERR\\r\\n\" at first, expected a ServerHello";
        assert_eq!(answered(b"-ERR\r\n"), failed(plain));
        assert_eq!(answered(b""), failed("no answer before it closed, expected a ServerHello"));
    }

    /// A server's side of TLS with a certificate for this name, and what verifies it. `asks`: its
    /// clients need a certificate that is signed by that one.
    fn tls_for(name: &str, asks: bool) -> (Arc<ServerConfig>, RootCertStore) {
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a pair");
        let certificate = pair.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("it is one");
        let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("there are some");
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone().into(), provider);
        let builder = match asks {
            true => builder.with_client_cert_verifier(clients.build().expect("an authority")),
            false => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_single_cert(vec![certificate], key).expect("they belong together");
        config.send_tls13_tickets = 0;
        (Arc::new(config), roots)
    }

    #[test]
    fn a_check_by_tls_of_a_server_that_is_spoken_to_in_tls_is_that_handshake() {
        let tls =
            Check { kind: CheckKind::Tls, timeout: Duration::from_secs(5), ..Check::default() };
        let serve = |asks: bool, name: &str| {
            let (config, roots) = tls_for("db.internal", asks);
            let server_name = Some(name.to_owned().try_into().expect("a name"));
            let roots = Some(Arc::new(roots));
            let materials = UpstreamMaterials { roots, identity: None, server_name };
            asked_in(Some(Arc::new(materials)), &tls, move |stream| {
                let conn = ServerConnection::new(config).expect("a session");
                let mut stream = StreamOwned::new(conn, stream);
                let read = stream.read(&mut [0]);
                stream.conn.send_close_notify();
                let _ = stream.flush();
                assert!(matches!(read, Ok(0) | Err(_)), "it is asked nothing: {read:?}");
            })
        };
        assert_eq!(serve(false, "db.internal"), Outcome::Passed);
        let for_others = "TLS failed: it showed a certificate that is for other names";
        assert_eq!(serve(false, "db.example.com"), failed(for_others));
        // It says so when the handshake is over for us.
        let refused = "TLS failed: it refused our certificate, or to go on without one";
        assert_eq!(serve(true, "db.internal"), failed(refused));
    }

    #[test]
    fn a_server_that_is_spoken_to_in_tls_is_checked_in_tls() {
        let (config, roots) = tls_for("db.internal", false);
        let materials = |name: &str| {
            Some(Arc::new(UpstreamMaterials {
                roots: Some(Arc::new(roots.clone())),
                identity: None,
                server_name: Some(name.to_owned().try_into().expect("a name")),
            }))
        };
        let serve = |name: &str, check: &Check, answer: &'static str| {
            let config = config.clone();
            asked_in(materials(name), check, move |stream| {
                let conn = ServerConnection::new(config).expect("a session");
                let mut stream = StreamOwned::new(conn, stream);
                let mut question = [0; 6];
                if !answer.is_empty() && stream.read_exact(&mut question).is_ok() {
                    assert_eq!(&question, b"PING\r\n");
                    stream.write_all(answer.as_bytes()).expect("it is read");
                }
                // Until it is gone.
                let _ = stream.read(&mut question);
            })
        };
        let connect = Check { timeout: Duration::from_secs(5), ..Check::default() };
        assert_eq!(serve("db.internal", &connect, ""), Outcome::Passed);
        let asks = Check { timeout: Duration::from_secs(5), ..check("PING\r\n", "+PONG") };
        assert_eq!(serve("db.internal", &asks, "+PONG\r\n"), Outcome::Passed);
        let other = Check { timeout: Duration::from_millis(300), ..asks };
        let answered = "answered \"-NO\" in 300ms, expected \"+PONG\"";
        assert_eq!(serve("db.internal", &other, "-NO"), failed(answered));
        let for_others = "TLS failed: it showed a certificate that is for other names";
        assert_eq!(serve("db.example.com", &connect, ""), failed(for_others));
        let plain = asked_in(materials("db.internal"), &connect, |mut stream| {
            stream.write_all(b"+OK hello\r\n").expect("it is read");
            let _ = stream.read(&mut [0; 500]);
        });
        assert_eq!(plain, failed("TLS failed: it said something that is not TLS"));
        let gone = asked_in(materials("db.internal"), &connect, |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
        });
        assert_eq!(gone, failed("it closed the connection in the TLS handshake"));
        let short = Check { timeout: Duration::from_millis(100), ..Check::default() };
        let silent = asked_in(materials("db.internal"), &short, |mut stream| {
            while stream.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {}
        });
        assert_eq!(silent, failed("no end of the TLS handshake in 100ms"));
    }

    #[test]
    fn a_refusal_is_the_servers_and_a_foreign_source_is_ours() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("bound");
        let outcome = |source: Option<&str>| {
            let sources = source.map(|source| source.parse().expect("an address"));
            let sources = sources.into_iter().collect();
            let target = Target { address, sources, header: SendProxy::Off, tls: None };
            on_a_runtime(ask(&target, 7, &Check::default()))
        };
        assert_eq!(outcome(Some("127.0.0.9")), Outcome::Passed);
        let Outcome::Unable(because) = outcome(Some("192.0.2.1")) else { panic!("it was made") };
        assert!(because.contains("EADDRNOTAVAIL"), "{because}");
        drop(free);
        assert_eq!(outcome(None), failed("Connection refused (ECONNREFUSED)"));
    }
}
