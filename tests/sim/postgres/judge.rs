//! What must hold of clients and servers of PostgreSQL while they are asked and answered, and what
//! came of it when a run is over.

use portcullis::base::{ConnIndex, Operation, Side};
use portcullis::config::{AllDown, Sniff, Terms};
use portcullis::conn::{Reason, Wiring};
use portcullis::metrics::ConnectFailure;
use portcullis::ring::Token;

use super::{GSS_REQUEST, Hello, REQUEST, Ssl, answers, begin_of};
use crate::forwarding::Version;
use crate::hellos;
use crate::link::Link;
use crate::random::pattern;
use crate::ring::SimRing;
use crate::scenario::Scenario;
use crate::tally::Tally;

/// The first byte of a hello.
const HANDSHAKE: u8 = 22;

macro_rules! seen {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What happened to clients, and to servers that were asked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Seen { $($(#[doc = $doc])+ $name,)+ }

        impl Seen {
            pub const ALL: [Seen; [$(Seen::$name),+].len()] = [$(Seen::$name),+];
        }
    };
}

seen! {
    /// A client was answered, and joined to a server that agreed.
    Agreed,
    /// The same behind an answer to a request for GSSAPI.
    AgreedBehindGss,
    /// Without one: it went on without TLS, or with a hello at once.
    WentOnWithout,
    /// Its own request came to its server, as nobody read it.
    PassedOn,
    /// It was not the first server that was asked for this client.
    AskedAfresh,
    /// A server got a header before the request.
    HeadedAndAsked,
    /// A client said more behind its request before it was answered.
    Early,
    /// One said no hello behind its answer.
    NotTls,
    /// One asked twice for GSSAPI.
    GssTwice,
    /// One was refused by a listener that takes no others.
    Refused,
    /// One left behind its answer.
    GoneAnswered,
    /// One said too little behind it.
    LateAnswered,
    /// One was ended by an order behind it.
    EndedAnswered,
    /// No server agreed.
    NobodyAgreed,
    /// A server that was asked refused.
    SaidNo,
    /// One said more than an answer.
    SaidMore,
    /// One agreed and was not heard.
    SaidInVain,
    /// One said nothing at all.
    SaidNothing,
    /// One was reset by its peer.
    ResetAsked,
    /// One closed.
    ClosedAsked,
    /// One had a part of what it was to be asked.
    AskedInPart,
    /// A worker counted a server that has no TLS.
    CountedNoTls,
}

impl SimRing {
    fn shown(&self, link: usize) -> u64 {
        self.gate.shown.get(&link).copied().unwrap_or(0)
    }

    /// How many sockets were opened for a client.
    fn opened_for(&self, client: usize) -> u32 {
        self.telling.clients.get(&client).map_or(0, |told| told.opened)
    }

    /// The client of a server, which may not be joined to it.
    pub fn client_of(&self, server: usize) -> Option<usize> {
        let slot = self.slots[Side::Upstream as usize].iter().position(|it| *it == Some(server))?;
        self.link_at(ConnIndex(slot as u32), Side::Client)
    }

    /// How many of a client's bytes are requests that the gateway has answered.
    pub fn answered_bytes(&self, client: usize) -> u64 {
        self.links[client].heading.words_came() * REQUEST
    }

    /// Whether a client was told to go on with a hello.
    fn is_agreed(&self, client: usize) -> bool {
        let Link { key, heading, .. } = &self.links[client];
        let came = heading.words_came() as usize;
        came > 0 && answers(*key)[came - 1] == b'S'
    }

    /// Whether the server of this client is to be asked.
    pub fn is_to_ask(&self, client: usize) -> bool {
        self.is_agreed(client)
    }

    /// The worker goes on with a server: whether that is because it has agreed. Before that, it
    /// waits for the answer.
    pub fn has_agreed(&self, server: usize) -> bool {
        let Link { key, heading, joined, .. } = &self.links[server];
        if *joined || !heading.has_request() {
            return true;
        }
        let is_asked = heading.is_request_whole();
        assert!(is_asked, "server link {server} is listened to before it was asked all");
        match self.shown(server) {
            0 => false,
            1 if pattern(*key, 0) == b'S' => true,
            shown => panic!("server link {server} did not agree, with {shown} bytes, and goes on"),
        }
    }

    /// An operation starts: words to a client are the answer that is due, and the worker has seen
    /// the request and nothing behind it.
    pub fn check_words(&self, token: Token, operation: Operation) {
        let (Operation::Send(chunk), Side::Client) = (operation, token.side) else { return };
        let Some(client) = self.link_at(token.conn, token.side) else { return };
        let link = &self.links[client];
        if link.joined || link.secure.is_some() || self.is_builtin(client) {
            return;
        }
        let came = link.heading.words_came();
        let words = self.buffers.bytes(chunk);
        let due = answers(link.key).get(came as usize).copied();
        assert_eq!(words, due.as_slice(), "words to client {client}");
        let (shown, asked) = (self.shown(client), (came + 1) * REQUEST);
        assert_eq!(shown, asked, "client {client} is answered with other bytes than its request");
    }

    fn is_builtin(&self, client: usize) -> bool {
        self.origin.get(&client).is_none_or(|it| self.wirings[*it] != Wiring::Pair)
    }

    /// A server is asked for a client, which has been read in one of these ways.
    pub(crate) fn check_begin(&self, client: usize, versions: &[Version], was_closed: bool) {
        let Link { key, heading, .. } = &self.links[client];
        let Some(parts) = begin_of(*key) else { return };
        let (came, due) = (heading.words_came(), answers(*key));
        let reads = |one: &Version| one.sniff_of(self.origin[&client]) == Some(Sniff::Postgres);
        let is_read = versions.iter().all(reads) && !was_closed;
        let is_answered = came == due.len() as u64;
        assert!(!is_read || is_answered, "client {client} has asked and has no answer");
        if !self.is_agreed(client) {
            return;
        }
        let asked_bytes = came * REQUEST;
        let is_hello = parts.get(came as usize) == Some(&Hello);
        let least = asked_bytes + hellos::of(*key).len() as u64;
        let is_whole = is_hello && self.shown(client) >= least;
        assert!(is_whole, "a server is asked for client {client}, which has said no hello");
    }

    /// Why a client was refused, which said this.
    fn fault_of(&self, client: usize, may_refuse: bool) -> Option<Seen> {
        let link = &self.links[client];
        let (key, from) = (link.key, self.answered_bytes(client));
        let said: Vec<u8> = (from..self.shown(client)).map(|at| pattern(key, at)).collect();
        let is_request = |request: &[u8]| said.starts_with(request);
        let is_early = said.len() > REQUEST as usize;
        match &said[..] {
            [first, ..] if self.is_agreed(client) && *first != HANDSHAKE => Some(Seen::NotTls),
            _ if is_early && (is_request(Ssl.bytes(key)) || is_request(&GSS_REQUEST)) => {
                Some(Seen::Early)
            }
            _ if from > 0 && is_request(&GSS_REQUEST) => Some(Seen::GssTwice),
            [_, ..] if may_refuse => Some(Seen::Refused),
            _ => None,
        }
    }

    /// What became of a client.
    fn fate(&self, client: usize, scenario: &Scenario) -> Option<Seen> {
        let link = &self.links[client];
        begin_of(link.key)?;
        let is_agreed = self.is_agreed(client);
        let reason = self.ends.of(client)?.reason;
        if self.joined.contains_key(&client) {
            let is_asking = pattern(link.key, 0) == 0 && begin_of(link.key)?.contains(&Ssl);
            return match link.heading.words_came() {
                2 => Some(Seen::AgreedBehindGss),
                1 if is_agreed => Some(Seen::Agreed),
                1 => Some(Seen::WentOnWithout),
                _ => is_asking.then_some(Seen::PassedOn),
            };
        }
        match reason {
            Reason::BadPreamble => {
                let is_unmet = link.unnamed && self.shown(client) == 0;
                let may_refuse = self.may_refuse(client);
                let fault = self.fault_of(client, may_refuse);
                let is_wrong = is_unmet || fault.is_some();
                assert!(is_wrong, "client {client} is refused, and has said nothing wrong");
                fault
            }
            Reason::NoServer if is_agreed => {
                self.check_tried(client, scenario);
                Some(Seen::NobodyAgreed)
            }
            Reason::ClientGone if is_agreed => Some(Seen::GoneAnswered),
            Reason::PreambleTimeout if is_agreed => Some(Seen::LateAnswered),
            Reason::Drained | Reason::Stopped | Reason::Killed if is_agreed => {
                Some(Seen::EndedAnswered)
            }
            _ => None,
        }
    }

    /// Every server was tried for a client that had none, or as many as may be.
    fn check_tried(&self, client: usize, scenario: &Scenario) {
        let Scenario { terms, all_down, attempts, servers, is_steered, .. } = scenario;
        let are_equal = terms.iter().all(|its| *its == Terms::default());
        if *is_steered || !are_equal || *all_down != AllDown::TryAll {
            return;
        }
        let most = if *attempts > 0 { *attempts } else { u32::MAX };
        let (opened, due) = (self.opened_for(client), most.min(*servers as u32));
        assert!(opened >= due, "{opened} servers were tried for client {client}, not {due}");
    }

    /// What became of a server that was to be asked.
    fn fate_asked(&self, server: usize) -> Option<Seen> {
        let link = &self.links[server];
        let first = pattern(link.key, 0);
        if !link.heading.has_request() || link.joined {
            return None;
        }
        Some(match self.shown(server) {
            1 if first == b'S' => Seen::SaidInVain,
            1 => Seen::SaidNo,
            2.. => Seen::SaidMore,
            0 if !link.heading.is_request_whole() => Seen::AskedInPart,
            0 if link.rst_in => Seen::ResetAsked,
            0 if link.fin_in => Seen::ClosedAsked,
            0 => Seen::SaidNothing,
        })
    }
}

/// What came of a ring's clients and servers, once its worker has returned.
pub fn judge(ring: &SimRing, counters: &Tally, scenario: &Scenario, sums: &mut [u64]) {
    let mut see = |seen: Seen| sums[seen as usize] += 1;
    for &client in ring.origin.keys() {
        ring.fate(client, scenario).into_iter().for_each(&mut see);
        if let Some(server) = ring.joined.get(&client)
            && ring.links[*server].heading.has_request()
        {
            if ring.opened_for(client) > 1 {
                see(Seen::AskedAfresh);
            }
            if ring.links[*server].heading.is_whole() {
                see(Seen::HeadedAndAsked);
            }
        }
    }
    let asked = (0..ring.links.len()).filter_map(|link| ring.fate_asked(link));
    let fates: Vec<Seen> = asked.collect();
    fates.iter().for_each(|seen| see(*seen));
    let without = counters.over_servers(|one| one.failed[ConnectFailure::NoTls as usize].get());
    let said = fates.iter().filter(|seen| [Seen::SaidNo, Seen::SaidMore].contains(seen)).count();
    // A server whose own handshake of TLS fails is counted so, too.
    let is_server =
        |(link, it): &(usize, &Link)| it.secure.is_some() && !ring.origin.contains_key(link);
    let shook = ring.links.iter().enumerate().filter(is_server).count();
    let most = said + shook;
    assert!(without <= most as u64, "{without} servers without TLS, {said} said so");
    if without > 0 {
        see(Seen::CountedNoTls);
    }
}
