//! Handshakes of TLS on connections that are being opened; the ring opens and seals what follows.

use std::collections::HashMap;
use std::io;

use portcullis::base::{Chunk, OpKind, Side};
use portcullis::ring::{Buffers as _, ConnIndex, Operation};
use portcullis::tls::{Connector, ConnectorPlan, Established, Handshake, HandshakeFault, State};
use rustls::pki_types::ServerName;

use super::{End, Event, Net, Stage};

/// How targets are spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Towards {
    pub(crate) plan: ConnectorPlan,
    /// What targets are asked for.
    pub(crate) name: ServerName<'static>,
}

/// The handshakes of a thread that are under way.
pub(super) struct Shakes {
    connector: Connector,
    name: ServerName<'static>,
    by_conn: HashMap<ConnIndex, Shake>,
}

/// One of them.
struct Shake {
    handshake: Handshake,
    /// What is still to be said.
    words: Vec<u8>,
    end: Option<Result<Box<Established>, HandshakeFault>>,
    /// What was said behind the end.
    rest: Vec<u8>,
}

impl Shakes {
    pub(super) fn new(towards: &Towards) -> io::Result<Shakes> {
        let connector = Connector::new(&towards.plan).map_err(io::Error::other)?;
        Ok(Shakes { connector, name: towards.name.clone(), by_conn: HashMap::new() })
    }

    /// The connection is given up.
    pub(super) fn forget(&mut self, conn: ConnIndex) {
        self.by_conn.remove(&conn);
    }

    fn at(&mut self, conn: ConnIndex) -> &mut Shake {
        self.by_conn.get_mut(&conn).expect("its handshake has begun")
    }
}

impl Net {
    /// A connection is there: it is asked for a session, if it is to have one.
    pub(super) fn connected(&mut self, conn: ConnIndex) -> Option<Event> {
        let Some(shakes) = &mut self.shakes else { return Some(self.opened(conn)) };
        let Ok(mut handshake) = shakes.connector.begin(shakes.name.clone()) else {
            return Some(Event::Ended(End::NotSecured(HandshakeFault::Other)));
        };
        let words = handshake.words();
        shakes.by_conn.insert(conn, Shake { handshake, words, end: None, rest: Vec::new() });
        self.links[conn.0 as usize].stage = Stage::Shaking;
        self.speak(conn)
    }

    /// Says the next words of a handshake, or goes on where all are said.
    pub(super) fn speak(&mut self, conn: ConnIndex) -> Option<Event> {
        let shakes = self.shakes.as_mut().expect("only handshakes speak");
        let shake = shakes.at(conn);
        if shake.words.is_empty() {
            return match shake.end {
                Some(_) => Some(self.shaken(conn)),
                None => {
                    self.receive(conn);
                    None
                }
            };
        }
        let bytes = shake.words.len().min(self.ring.buffer_bytes() as usize);
        let link = &mut self.links[conn.0 as usize];
        let chunk = self.ring.fill(bytes as u32, |memory| {
            memory.copy_from_slice(&shake.words[..bytes]);
        });
        let Some(chunk) = chunk else {
            self.starved_sends.push_back((conn, link.generation));
            return None;
        };
        shake.words.drain(..bytes);
        link.sending = Some(chunk);
        self.start(conn, OpKind::Send, Operation::Send(chunk));
        None
    }

    /// What an event of a connection means to its handshake.
    pub(super) fn shake(&mut self, conn: ConnIndex, event: Event) -> Option<Event> {
        match event {
            Event::Sent | Event::MaySend => self.speak(conn),
            Event::Received(chunk) => self.heard(conn, chunk),
            // A peer that is gone did not hear why we refuse it. That is still why.
            Event::Ended(_) if self.shakes.as_mut().is_some_and(|it| it.at(conn).end.is_some()) => {
                Some(self.shaken(conn))
            }
            event => Some(event),
        }
    }

    fn heard(&mut self, conn: ConnIndex, chunk: Chunk) -> Option<Event> {
        let shake = self.shakes.as_mut().expect("only handshakes hear").at(conn);
        let said = self.ring.bytes(chunk);
        let taken = shake.handshake.take(said);
        shake.rest = said[taken.used_bytes..].to_vec();
        shake.words.extend(shake.handshake.words());
        shake.end = match taken.state {
            State::More => None,
            State::Done(established) => Some(Ok(established)),
            State::Failed(fault) => Some(Err(fault)),
        };
        self.ring.release(chunk.buffer);
        self.speak(conn)
    }

    /// A handshake is over.
    fn shaken(&mut self, conn: ConnIndex) -> Event {
        let shakes = self.shakes.as_mut().expect("only handshakes end");
        let shake = shakes.by_conn.remove(&conn).expect("its handshake has begun");
        match shake.end.expect("it has ended") {
            Ok(established) => {
                let life = (conn, self.links[conn.0 as usize].generation);
                self.ring.secure(life, Side::Client, established.session, &shake.rest);
                self.opened(conn)
            }
            Err(fault) => Event::Ended(End::NotSecured(fault)),
        }
    }
}
