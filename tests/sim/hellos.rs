//! Clients that begin with a TLS hello, which the worker reads itself where the config says so at
//! that moment, among changes of that.

use std::sync::OnceLock;
use std::time::Duration;

use portcullis::config::{self, AcceptProxy, Preamble, Sniff};
use portcullis::conn::Wiring;
use portcullis::wire::Pattern;

use crate::fault::Fault;
use crate::peer::Step;
use crate::postgres;
use crate::random::Random;
use crate::ring::SimRing;
use crate::scenario::{Knock, Steer};
use crate::world::Change;

/// The topmost bits of the key of a link whose peer begins with a hello.
const MARK: u64 = 0x71c5;
const MARK_BITS: u32 = 48;
/// The names that clients ask for; the first has a route of its own.
const NAMES: [&str; 2] = ["other.example.com", "its.example.com"];

/// What clients begin with, which workers read themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Hellos.
    Tls,
    /// What clients of PostgreSQL say.
    Postgres,
}

impl Speech {
    pub fn of_run(seed: u64) -> Option<Speech> {
        match are_drawn(seed) {
            _ if postgres::are_drawn(seed) => Some(Speech::Postgres),
            true => Some(Speech::Tls),
            false => None,
        }
    }

    /// Clients of a run begin so.
    pub fn begin(self, seed: u64, knocks: &mut [Knock], wirings: &[Wiring]) {
        match self {
            Speech::Tls => speak(seed, knocks, wirings),
            Speech::Postgres => postgres::speak(seed, knocks, wirings),
        }
    }

    /// A listener reads this from its start, or by a change.
    pub fn obey(self, listener: &mut config::Listener, nth: usize) {
        match self {
            Speech::Tls => obey(listener, nth),
            Speech::Postgres => postgres::obey(listener, nth),
        }
    }
}

/// How long a hello may take.
pub const WITHIN: Duration = Duration::from_millis(700);

/// Whether clients of a run begin with hellos. Drawn apart, and not in the runs of `regressions`.
pub fn are_drawn(seed: u64) -> bool {
    [3, 11, 17].contains(&(seed % 29)) && !postgres::are_drawn(seed)
}

/// The name that has a route of its own.
pub fn routed() -> Pattern {
    NAMES[0].parse().expect("a name")
}

/// The key of a link whose peer begins with a hello.
pub fn key_of(key: u64) -> u64 {
    key & ((1 << MARK_BITS) - 1) | MARK << MARK_BITS
}

/// Whether a client asks for the name that has a route of its own.
pub fn asks(key: u64) -> bool {
    key.is_multiple_of(2)
}

/// The byte at `offset` of what a peer sends, if that is of a hello.
pub fn byte(key: u64, offset: u64) -> Option<u8> {
    let is_hello = key >> MARK_BITS == MARK;
    is_hello.then(|| of(key).get(offset as usize).copied()).flatten()
}

/// The hello of a client with this key.
pub fn of(key: u64) -> &'static [u8] {
    static HELLOS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let [other, its] = HELLOS.get_or_init(|| NAMES.map(hello));
    if asks(key) { other } else { its }
}

/// A hello that asks for this name: RFC 8446, 4.1.2, and RFC 6066, 3.
fn hello(name: &str) -> Vec<u8> {
    let long = |bytes: Vec<u8>| [(bytes.len() as u16).to_be_bytes().to_vec(), bytes].concat();
    let entry = [vec![0], long(name.as_bytes().to_vec())].concat();
    let extensions = [vec![0, 0], long(long(entry))].concat();
    let body =
        [vec![3, 3], vec![7; 32], vec![0], vec![0, 2, 0x13, 1], vec![1, 0], long(extensions)];
    let handshake = [vec![1, 0], long(body.concat())].concat();
    [vec![22, 3, 1], long(handshake)].concat()
}

/// What a listener is asked for from its start, or by a change: nothing, a hello, or a header that
/// none of these clients is trusted with, and then perhaps a hello.
fn obey(listener: &mut config::Listener, nth: usize) {
    let network = "192.0.2.0/24".parse().expect("a network");
    let is_headed = nth % 2 == 1;
    let accept_proxy = if is_headed { AcceptProxy::FromTrusted } else { AcceptProxy::Off };
    listener.preamble = Preamble { accept_proxy, proxy_trusted: vec![network], timeout: WITHIN };
    listener.sniffing.sniff = if nth < 4 { Sniff::Tls } else { Sniff::Off };
}

/// How many ways there are, of which the later read no hello.
const WAYS: u64 = 6;

/// When listeners read in another way.
pub fn changes(seed: u64, listeners: usize) -> Vec<(u64, Steer)> {
    let mut random = Random::new(!seed.rotate_left(24));
    let count = if are_drawn(seed) { random.between(0, 8) } else { 0 };
    let one = |_| {
        let listener = random.below(listeners as u64) as usize;
        let change = Change::Reread(listener, random.below(WAYS) as usize);
        (random.between(0, 1000), Steer::Change(change))
    };
    (0..count).map(one).collect()
}

/// Most clients say all of a hello, some a part of it.
fn speak(seed: u64, knocks: &mut [Knock], wirings: &[Wiring]) {
    let mut random = Random::new(seed.rotate_left(24));
    for knock in knocks.iter_mut().filter(|knock| wirings[knock.listener] == Wiring::Pair) {
        if random.percent(80) {
            let bytes = random.pick(&[30, 84, 86, 86, 100]);
            let pause = Step::Pause(random.pick(&[1, 50, 200]));
            let first = random.between(1, bytes - 1);
            let steps = [Step::Send(first), pause, Step::Send(bytes - first)];
            steps.into_iter().rev().for_each(|step| knock.peer.script.push_front(step));
        }
    }
}

impl SimRing {
    /// A listener's clients are read in another way.
    pub fn note_reread(&mut self, listener: usize) {
        let is_read = |client: &usize| {
            let link = &self.links[*client];
            link.received_bytes > 0 && !link.closed && !self.joined.contains_key(client)
        };
        let mut its = self.origin.iter().filter(|(_, of)| **of == listener);
        if its.any(|(client, _)| is_read(client)) {
            self.faults.note(Fault::RereadInPreface);
        }
    }

    /// Whether a client's name is read where its listener reads so.
    pub fn says_name(&self, client: usize, sniff: Sniff) -> bool {
        match self.speech {
            Some(Speech::Tls) => sniff == Sniff::Tls,
            Some(Speech::Postgres) => postgres::says_name(self.links[client].key, sniff),
            None => false,
        }
    }

    /// Whether a client begins with a hello, or asks for TLS, which may be read.
    pub fn says_hello(&self, client: usize) -> bool {
        let wiring = self.origin.get(&client).map(|listener| self.wirings[*listener]);
        self.speech.is_some() && wiring == Some(Wiring::Pair)
    }
}
