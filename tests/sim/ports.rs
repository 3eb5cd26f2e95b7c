//! Connects: how each is answered, and source ports that run out, for a moment or until all is
//! calm.

use std::time::Duration;

use portcullis::base::{Errno, SELF_CONNECT, Side};
use portcullis::ring::Token;

use crate::fault::Fault;
use crate::random::Random;
use crate::ring::SimRing;

/// How a connect may fail at once: by the server, by the way to it, for want of a port, by a rule.
const CONNECT_ERRORS: [Errno; 6] = [
    Errno::ECONNREFUSED,
    Errno::ECONNRESET,
    Errno::EHOSTUNREACH,
    Errno::EADDRNOTAVAIL,
    Errno::EPERM,
    SELF_CONNECT,
];

/// In how many of a hundred connects there is no port. Drawn apart from everything else.
pub fn shortage(seed: u64) -> u8 {
    let short = [1, 5, 9, 12].contains(&(seed % 14));
    if short { Random::new(seed.rotate_left(44)).pick(&[20, 60, 100]) } else { 0 }
}

/// In how many of a hundred sockets the source address is not the host's. Drawn apart, too.
pub fn foreign(seed: u64) -> u8 {
    let foreign = [7, 15].contains(&(seed % 23));
    if foreign { Random::new(seed.rotate_left(48)).pick(&[5, 30, 100]) } else { 0 }
}

/// How long a client may wait for a port.
pub fn queue(seed: u64) -> Duration {
    Duration::from_millis(Random::new(seed.rotate_left(36)).pick(&[60, 700, 5000, 60_000]))
}

impl SimRing {
    /// A connect is submitted.
    pub fn begin_connect(&mut self, token: Token) {
        let index = self.link_at(token.conn, Side::Upstream).expect("a connect has a socket");
        let client = self.link_at(token.conn, Side::Client).expect("a client is there");
        let (now, no_port) = (self.now(), self.lacks_port(client));
        let faults = &mut self.faults;
        let answer = if let Some(answer) = no_port {
            answer
        } else if faults.strikes(Fault::ConnectUnanswered, &mut self.random) {
            (u64::MAX, Ok(()))
        } else if faults.strikes(Fault::ConnectRefused, &mut self.random) {
            (now + self.random.below(20), Err(CONNECT_ERRORS[index % CONNECT_ERRORS.len()]))
        } else if faults.strikes(Fault::ConnectSlow, &mut self.random) {
            (now + self.random.below(1200), Ok(()))
        } else {
            (now + self.random.below(3), Ok(()))
        };
        self.links[index].answer = Some(answer);
    }

    /// The answer to a connect of this client's for which there is no port.
    fn lacks_port(&mut self, client: usize) -> Option<(u64, Result<(), Errno>)> {
        let may = self.faults.may(Fault::OutOfPorts);
        let lacks = may && self.faults.strikes(Fault::OutOfPorts, &mut self.random);
        self.links[client].portless |= lacks;
        lacks.then(|| (self.now(), Err(Errno::EADDRNOTAVAIL)))
    }
}
