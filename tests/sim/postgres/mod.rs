//! Runs in which clients speak PostgreSQL: they ask for TLS, or for encryption by GSSAPI, and their
//! servers are asked the same before they get a byte of theirs.
//!
//! They have seeds of their own, so that all others mean what they meant before there were any:
//! `SIM_SEED=$((1 << 41 | 7))` is the seventh.

mod judge;
mod server;

use portcullis::config::{self, AcceptProxy, Preamble, Sniff, Unmatched};
use portcullis::conn::Wiring;
use portcullis::wire::SSL_REQUEST;

use crate::hellos::{self, WITHIN};
use crate::peer::Step;
use crate::random::Random;
use crate::scenario::{Knock, Steer};
use crate::world::Change;

pub use judge::{Seen, judge};
pub use server::{Manner, serve};

/// The seeds of these runs have this bit.
pub const SEEDS: u64 = 1 << 41;

/// The topmost bits of the key of a link whose peer speaks so, as a client or as a server. Behind
/// them is what a client begins with, or a server's first byte.
const CLIENT: u64 = 0x9057;
const SERVER: u64 = 0x9058;
const MARK_BITS: u32 = 48;
const BEGIN_BITS: u32 = 40;

/// Bytes of a request for encryption.
const REQUEST: u64 = SSL_REQUEST.len() as u64;
const GSS_REQUEST: [u8; 8] = *b"\0\0\0\x08\x04\xd2\x16\x30";
const PLAIN: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0anna\0\0";
const CANCEL: &[u8] = b"\0\0\0\x10\x04\xd2\x16\x2eprockey.";

/// What clients begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Ssl,
    Gss,
    Hello,
    Plain,
    Cancel,
}

use Part::{Cancel, Gss, Hello, Plain, Ssl};

/// How clients begin, of which the last is any bytes.
const BEGINS: [&[Part]; 11] = [
    &[Ssl, Hello],
    &[Gss, Ssl, Hello],
    &[Hello],
    &[Gss, Hello],
    &[Gss, Plain],
    &[Plain],
    &[Cancel],
    &[Ssl, Plain],
    &[Ssl, Ssl],
    &[Gss, Gss],
    &[],
];

impl Part {
    fn bytes(self, key: u64) -> &'static [u8] {
        match self {
            Ssl => &SSL_REQUEST,
            Gss => &GSS_REQUEST,
            Hello => hellos::of(key),
            Plain => PLAIN,
            Cancel => CANCEL,
        }
    }
}

/// Whether a run is one of these.
pub fn are_drawn(seed: u64) -> bool {
    seed & SEEDS > 0
}

fn marked(mark: u64, begin: u64, key: u64) -> u64 {
    mark << MARK_BITS | begin << BEGIN_BITS | key & ((1 << BEGIN_BITS) - 1)
}

/// The key of a link whose client begins so.
pub fn key_of(key: u64, begin: usize) -> u64 {
    marked(CLIENT, begin as u64, key)
}

/// What the client of a link begins with; other links' keys are random, and a few look like one.
fn begin_of(key: u64) -> Option<&'static [Part]> {
    let begin = key >> BEGIN_BITS & 0xff;
    BEGINS.get(begin as usize).copied().filter(|_| key >> MARK_BITS == CLIENT)
}

/// The byte at `offset` of what a peer sends, if that is of what it begins with.
pub fn byte(key: u64, offset: u64) -> Option<u8> {
    if key >> MARK_BITS == SERVER {
        return (offset == 0).then_some((key >> BEGIN_BITS) as u8);
    }
    let mut left = offset as usize;
    for part in begin_of(key)? {
        let bytes = part.bytes(key);
        match bytes.get(left) {
            Some(byte) => return Some(*byte),
            None => left -= bytes.len(),
        }
    }
    None
}

/// What a client is answered where its begin is read.
pub fn answers(key: u64) -> Vec<u8> {
    match begin_of(key) {
        Some([Ssl, ..]) => b"S".to_vec(),
        Some([Gss, Ssl, ..]) => b"NS".to_vec(),
        Some([Gss, ..]) => b"N".to_vec(),
        _ => Vec::new(),
    }
}

/// Whether a client's name is read where its begin is read so.
pub fn says_name(key: u64, sniff: Sniff) -> bool {
    match begin_of(key) {
        Some([Hello]) => sniff != Sniff::Off,
        Some(parts) => sniff == Sniff::Postgres && parts.contains(&Hello),
        None => false,
    }
}

/// What a listener is asked for from its start, or by a change: as clients of PostgreSQL begin, or
/// a hello alone, or nothing; before that perhaps a header that none of them is trusted with.
pub fn obey(listener: &mut config::Listener, nth: usize) {
    let network = "192.0.2.0/24".parse().expect("a network");
    let is_headed = nth % 2 == 1;
    let accept_proxy = if is_headed { AcceptProxy::FromTrusted } else { AcceptProxy::Off };
    listener.preamble = Preamble { accept_proxy, proxy_trusted: vec![network], timeout: WITHIN };
    let (sniff, unmatched) = match nth / 2 {
        0 | 1 => (Sniff::Postgres, Unmatched::Upstream),
        2 => (Sniff::Postgres, Unmatched::Refuse),
        3 => (Sniff::Tls, Unmatched::Upstream),
        _ => (Sniff::Off, Unmatched::Upstream),
    };
    (listener.sniffing.sniff, listener.sniffing.unmatched) = (sniff, unmatched);
}

const WAYS: u64 = 10;

/// When listeners read in another way.
pub fn changes(seed: u64, listeners: usize) -> Vec<(u64, Steer)> {
    let mut random = Random::new(!seed.rotate_left(28));
    let changes = are_drawn(seed) && random.percent(50);
    let count = if changes { random.between(1, 8) } else { 0 };
    let one = |_| {
        let listener = random.below(listeners as u64) as usize;
        let change = Change::Reread(listener, random.below(WAYS) as usize);
        (random.between(0, 1000), Steer::Change(change))
    };
    (0..count).map(one).collect()
}

/// Clients begin so, most of them in whole and with patience.
pub fn speak(seed: u64, knocks: &mut [Knock], wirings: &[Wiring]) {
    let mut random = Random::new(seed.rotate_left(28));
    for knock in knocks.iter_mut().filter(|knock| wirings[knock.listener] == Wiring::Pair) {
        let begin = random.pick(&[0, 0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        knock.begin = Some(begin);
        let mut steps = begins(&mut random, key_of(0, begin));
        if random.percent(15) {
            steps.truncate(random.below(steps.len() as u64 + 1) as usize);
        }
        steps.into_iter().rev().for_each(|step| knock.peer.script.push_front(step));
    }
}

fn begins(random: &mut Random, key: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    let is_early = random.percent(10);
    let answers = answers(key).len();
    for (nth, part) in begin_of(key).expect("it is a client's").iter().enumerate() {
        let mut left = part.bytes(key).len() as u64;
        while left > 0 {
            let some = random.between(1, left);
            let piece = random.pick(&[left, left, some]);
            steps.push(Step::Send(piece));
            left -= piece;
            if left > 0 || random.percent(20) {
                steps.push(Step::Pause(random.pick(&[1, 5, 50, 200])));
            }
        }
        if nth < answers && !is_early {
            steps.push(Step::AwaitAnswer(nth as u64 + 1));
        }
    }
    steps
}
