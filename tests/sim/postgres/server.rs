//! Servers of PostgreSQL: how they take it that they are asked for TLS.

use std::collections::VecDeque;

use portcullis::wire::SSL_REQUEST;

use super::{REQUEST, SERVER, marked};
use crate::hellos::Speech;
use crate::link::Link;
use crate::peer::{Peer, Step};
use crate::random::{Random, mix, pattern};
use crate::ring::SimRing;

/// How a server takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It answers with its first byte, and waits for what comes.
    Answers,
    /// It says more at once.
    SaysMore,
    Mute,
    Resets,
    Closes,
}

/// Makes a server of a peer. Says what its link's key is instead.
pub fn serve(key: u64, peer: &mut Peer) -> u64 {
    let mut random = Random::new(mix(!key));
    let (manner, first) = match random.below(20) {
        0..=10 => (Manner::Answers, b'S'),
        11..=13 => (Manner::Answers, b'N'),
        14 => (Manner::Answers, b'E'),
        15 | 16 => (Manner::SaysMore, b'S'),
        17 => (Manner::Mute, b'E'),
        18 => (Manner::Resets, b'E'),
        _ => (Manner::Closes, b'E'),
    };
    // Some speak first, whatever they are asked.
    if random.percent(95) {
        peer.script.push_front(Step::Answer(manner));
    }
    marked(SERVER, first.into(), key)
}

impl Manner {
    /// What a server does that has been asked, and has read so many bytes.
    pub fn act(self, script: &mut VecDeque<Step>, read_bytes: u64) {
        let steps: &[Step] = match self {
            Manner::Answers => &[Step::Send(1), Step::AwaitBytes(read_bytes + 1)],
            Manner::SaysMore => &[Step::Send(3)],
            Manner::Mute => &[Step::AwaitEnd],
            Manner::Resets => &[Step::Rst],
            Manner::Closes => &[Step::Close],
        };
        steps.iter().rev().for_each(|step| script.push_front(*step));
    }
}

impl SimRing {
    /// By how much the wires of servers are wider than others. What a server is asked goes into its
    /// socket whole, or it is given up.
    pub fn width(&self) -> u64 {
        match (&self.tls, self.speech) {
            (Some(tls), _) => tls.width,
            (None, Some(Speech::Postgres)) => 4,
            (None, _) => 1,
        }
    }
}

impl Link {
    /// Whether a server is asked for TLS, by the gateway or by its client; `None`: it has not read
    /// enough to know.
    pub fn is_asked(&self) -> Option<bool> {
        let own_bytes = self.heading.own_bytes();
        let read_bytes = self.peer.read_bytes;
        let over = self.end.map(|_| false);
        if self.heading.has_request() {
            let is_whole = self.heading.is_request_whole() && read_bytes >= own_bytes;
            return if is_whole { Some(true) } else { over };
        }
        let came = read_bytes.saturating_sub(own_bytes).min(REQUEST);
        let expects = self.expects?;
        let is_other =
            |at: &u64| pattern(expects, self.begins_at + at) != SSL_REQUEST[*at as usize];
        match (0..came).any(|at| is_other(&at)) {
            true => Some(false),
            false if came == REQUEST => Some(true),
            false => over,
        }
    }
}
