//! An upgrade of sessions of TLS in every state: records cut, directions ended, readers stalled.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustls::{ClientConnection, ServerConfig, StreamOwned};

use crate::support::crowd::Marks;
use crate::support::pattern::Pattern;
use crate::support::secured::{At, End, LISTENERS, Stage, Version, serving};
use crate::support::server::{self, Server};
use crate::support::tls::{self, VERSIONS};
use crate::support::{PATIENCE, WATCH, client, wait_until_still};

/// What the server of a client does, which says this first.
const CLIENT_FIRST: u8 = 1;
const SERVER_FIRST: u8 = 2;
const FULL: u8 = 3;
const STALLS: u8 = 4;

/// Bytes of a short stream, and of one that its reader leaves alone for long.
const SHORT: usize = 300_007;
const LONG: usize = 12 << 20;

/// What servers have to know of a test, and what it has to know of them.
#[derive(Default)]
struct Shared {
    marks: Marks,
    /// Bytes that those of [`FULL`] have sent.
    sent_bytes: AtomicU64,
}

/// A server whose connections do as each client says: what it said, and how many bytes came.
fn stateful(configs: Vec<Arc<ServerConfig>>, shared: &Arc<Shared>) -> Server<(u8, usize)> {
    let (turns, shared) = (AtomicUsize::new(0), shared.clone());
    Server::start(move |stream| {
        let turn = turns.fetch_add(1, Ordering::SeqCst);
        let config = configs.get(turn % configs.len().max(1));
        serve(config, stream, &shared)
    })
}

fn serve(config: Option<&Arc<ServerConfig>>, stream: TcpStream, shared: &Shared) -> (u8, usize) {
    let mut end = match config {
        Some(config) => End::Server(Box::new(tls::serve(config, stream))),
        None => End::Plain(stream),
    };
    let mut first = [0];
    end.read_exact(&mut first).expect("a first byte");
    let [what] = first;
    let bytes = match what {
        CLIENT_FIRST => {
            let bytes = end.read_all(1);
            shared.marks.wait(what.into());
            end.send(2, SHORT);
            end.finish();
            bytes
        }
        SERVER_FIRST => {
            end.send(2, SHORT);
            end.finish();
            end.read_all(1)
        }
        FULL => {
            let mut pattern = Pattern::new(2);
            for _ in 0..LONG / 4096 {
                let mut piece = [0; 4096];
                pattern.fill(&mut piece);
                end.write_all(&piece).expect("it is sent");
                shared.sent_bytes.fetch_add(4096, Ordering::SeqCst);
            }
            end.finish();
            end.read_all(1)
        }
        _ => {
            shared.marks.wait(what.into());
            end.read_all(1)
        }
    };
    (what, bytes)
}

/// Those of each listener and version that have said this.
fn clients<'a>(stage: &'a Stage, what: u8) -> impl Iterator<Item = End> + 'a {
    let all = LISTENERS.into_iter().flat_map(|at| VERSIONS.map(|version| (at, version)));
    all.map(move |(at, version): (At, Version)| {
        let stream = match what {
            FULL => client::connect_narrow(stage.address(at)),
            _ => client::connect(stage.address(at)),
        };
        let mut end = stage.client(at, version, stream);
        end.write_all(&[what]).expect("it is sent");
        end.flush().expect("it is sent");
        end
    })
}

/// Sends until no more is taken for a while: how many bytes the session has taken.
fn send_until_stalled(end: &mut End) -> usize {
    let (mut pattern, mut bytes) = (Pattern::new(1), 0);
    // In TLS a write also reads, where it has nothing left to send.
    let wait = |end: &End, time| {
        end.socket().set_write_timeout(Some(time)).expect("a timeout");
        end.socket().set_read_timeout(Some(time)).expect("a timeout");
    };
    wait(end, WATCH);
    let mut piece = [0; 16_384];
    'full: loop {
        pattern.fill(&mut piece);
        let mut rest = &piece[..];
        while !rest.is_empty() {
            match end.write(rest) {
                Ok(taken) => {
                    bytes += taken;
                    rest = &rest[taken..];
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break 'full,
                Err(error) => panic!("a stalled write after {bytes} bytes: {error}"),
            }
        }
    }
    wait(end, PATIENCE);
    bytes
}

#[test]
fn half_closed_and_stalled_sessions_move_with_every_byte() {
    let shared = Arc::new(Shared::default());
    let plain = stateful(Vec::new(), &shared);
    let secure = stateful(VERSIONS.map(serving).to_vec(), &shared);
    let stage = Stage::new(plain.address, secure.address, "[ring]\nsplice_pipes = 0\n");
    let mut client_first: Vec<End> = clients(&stage, CLIENT_FIRST).collect();
    client_first.iter_mut().for_each(|end| {
        end.send(1, 1_000);
        end.finish();
    });
    let mut server_first: Vec<End> = clients(&stage, SERVER_FIRST).collect();
    server_first.iter_mut().for_each(|end| assert_eq!(end.read_all(2), SHORT));
    let mut full: Vec<End> = clients(&stage, FULL).collect();
    let mut stalled: Vec<End> = clients(&stage, STALLS).collect();
    let sent: Vec<usize> = stalled.iter_mut().map(send_until_stalled).collect();
    wait_until_still("servers to stall", || shared.sent_bytes.load(Ordering::SeqCst));
    stage.lineage.upgrade(&[]);
    stage.lineage.upgrade(&[]);
    assert_eq!(stage.lineage.status()["budget"]["used"], 24, "all have moved");
    shared.marks.set(CLIENT_FIRST.into());
    client_first.iter_mut().for_each(|end| assert_eq!(end.read_all(2), SHORT));
    server_first.iter_mut().for_each(|end| {
        end.send(1, 2_000);
        end.finish();
    });
    for end in &mut full {
        crate::support::socket::widen(end.socket());
        assert_eq!(end.read_all(2), LONG);
        end.finish();
    }
    shared.marks.set(STALLS.into());
    stalled.iter_mut().for_each(|end| {
        end.flush().expect("what was taken is sent");
        end.finish();
    });
    let mut outcomes = plain.outcomes(8);
    outcomes.extend(secure.outcomes(16));
    outcomes.sort_unstable();
    let mut expected: Vec<_> = [(CLIENT_FIRST, 1_000), (SERVER_FIRST, 2_000), (FULL, 0)]
        .into_iter()
        .flat_map(|one| [one; 6])
        .chain(sent.into_iter().map(|bytes| (STALLS, bytes)))
        .collect();
    expected.sort_unstable();
    assert_eq!(outcomes, expected);
}

/// What a client says first, in records of at most so many bytes.
fn hello_in(tls: &mut ClientConnection, record_bytes: usize) -> Vec<u8> {
    let mut words = Vec::new();
    tls.write_tls(&mut words).expect("memory takes it");
    let (head, message) = words.split_at(5);
    let record = |part: &[u8]| [&head[..3], &(part.len() as u16).to_be_bytes(), part].concat();
    message.chunks(record_bytes).flat_map(record).collect()
}

#[test]
fn half_a_hello_moves_with_what_has_come() {
    let echo = server::echo();
    let stage = Stage::new(echo.address, echo.address, "");
    let at = LISTENERS[0];
    let mut clients = Vec::new();
    for version in VERSIONS {
        for (record_bytes, cut) in [(16_000, 3), (16_000, 5), (16_000, 100), (60, 65), (60, 70)] {
            let name = "a.example".try_into().expect("a name");
            let mut tls = ClientConnection::new(stage.config(version), name).expect("a client");
            let hello = hello_in(&mut tls, record_bytes);
            let stream = client::connect(stage.address(at));
            (&stream).write_all(&hello[..cut]).expect("it is sent");
            clients.push((tls, stream, hello[cut..].to_vec()));
        }
    }
    let (_, last, _) = clients.last().expect("there are some");
    assert!(client::is_silent(last), "what has come is read by now");
    for _ in 0..2 {
        let said = stage.lineage.ask(&["upgrade", "--probation", "300ms"]);
        let words = format!("{} connections moved", clients.len());
        assert!(said.answer.contains(&words) && !said.answer.contains("could not"), "{said:?}");
    }
    assert_eq!(echo.accepted(), 0, "nobody has a server");
    for (tls, mut stream, rest) in clients {
        stream.write_all(&rest).expect("it is sent");
        let mut end = End::Client(Box::new(StreamOwned::new(tls, stream)));
        end.echo(1, 50_000);
    }
}

#[test]
fn a_record_that_is_cut_is_whole_in_the_new_process() {
    // A server that echoes; in TLS it answers the first byte with a record and a part of another.
    let marks = Arc::new(Marks::default());
    let (configs, due) = (VERSIONS.map(serving), marks.clone());
    let turns = AtomicUsize::new(0);
    let secure = Server::start(move |stream| {
        let config = &configs[turns.fetch_add(1, Ordering::SeqCst) % 2];
        let mut end = End::Server(Box::new(tls::serve(config, stream)));
        let mut said = [0; 5];
        end.read_exact(&mut said).expect("a client speaks");
        let words = [end.record(&said), end.record(&[7; 5_000])].concat();
        let (now, later) = words.split_at(words.len() - 3_000);
        end.send_raw(now);
        due.wait(0);
        end.send_raw(later);
        end.finish();
        end.read_all(3)
    });
    let plain = server::echo();
    let stage = Stage::new(plain.address, secure.address, "");
    let mut clients = Vec::new();
    for at in LISTENERS {
        for (version, cut) in
            VERSIONS.into_iter().flat_map(|one| [1, 4, 5, 30].map(|cut| (one, cut)))
        {
            let mut end = stage.client(at, version, client::connect(stage.address(at)));
            if !at.ends {
                end.write_all(b"hello").expect("it is sent");
                clients.push((at, end, Vec::new()));
                continue;
            }
            let (whole, part) = (end.record(b"hello"), end.record(&[3; 40]));
            end.send_raw(&[&whole[..], &part[..cut]].concat());
            clients.push((at, end, part[cut..].to_vec()));
        }
    }
    for (_, end, _) in &mut clients {
        let mut back = [0; 5];
        end.read_exact(&mut back).expect("it comes back");
        assert_eq!(&back, b"hello");
    }
    stage.lineage.upgrade(&[]);
    stage.lineage.upgrade(&[]);
    marks.set(0);
    for (at, end, rest) in &mut clients {
        if at.begins {
            let mut said = vec![0; 5_000];
            end.read_exact(&mut said).expect("the rest of a record");
            assert_eq!(said, [7; 5_000]);
        }
        end.send_raw(rest);
        if !at.begins {
            let mut back = [0; 40];
            end.read_exact(&mut back).expect("it comes back");
            assert_eq!(back, [3; 40]);
        }
    }
}
