//! Servers that may be gone: from when on they are probed.

use std::time::Duration;

use portcullis::base::{Errno, Guard, Side};
use portcullis::config::Guards;
use portcullis::ring::ConnIndex;

use crate::fault::Fault;
use crate::oracle::is_quiet;
use crate::random::Random;
use crate::ring::SimRing;

/// What shows that a server is gone, if anything does. Drawn apart from everything else.
pub fn guards(seed: u64) -> Guards {
    let mut random = Random::new(seed.rotate_left(28));
    let mut some = |remainders: [u64; 3], longest: u64| {
        let millis = Duration::from_millis(random.between(20, longest));
        remainders.contains(&(seed % 10)).then_some(millis)
    };
    let (keepalive, user_timeout) = (some([1, 4, 8], 900), some([3, 4, 9], 9000));
    Guards { keepalive, user_timeout, ..Guards::default() }
}

/// In how many of a hundred a socket refuses.
pub fn refusals(seed: u64) -> u8 {
    if seed % 3 == 1 { 30 } else { 0 }
}

impl SimRing {
    /// Sets the options of a guard.
    pub fn guard(&mut self, link: usize, guard: Guard) -> Result<u64, Errno> {
        assert!(self.links[link].established, "link {link} is guarded and is not connected");
        if let Guard::Silence { .. } = guard {
            assert!(!self.links[link].probed, "link {link} is to be probed twice");
            self.links[link].probed = true;
            self.faults.note(Fault::ServerProbed);
        } else {
            self.faults.note(Fault::BytesBounded);
        }
        match self.faults.strikes(Fault::GuardRefused, &mut self.random) {
            true => Err(Errno::EPERM),
            false => Ok(0),
        }
    }
}

/// No server is silent for longer than `after` and not probed. Many take turns.
pub fn check_probed(ring: &SimRing, after: Option<Duration>) {
    const SLACK_MILLIS: u64 = 2500;
    let Some(after) = after else { return };
    let most = after.as_millis() as u64 + SLACK_MILLIS;
    for (client, upstream) in &ring.joined {
        let slots = &ring.slots[Side::Client as usize];
        let Some(slot) = slots.iter().position(|link| *link == Some(*client)) else { continue };
        let conn = ConnIndex(slot as u32);
        let is_there = ring.link_at(conn, Side::Upstream) == Some(*upstream);
        let silent = is_there && is_quiet(ring, conn, 0, most);
        assert!(!silent || ring.links[*upstream].probed, "a silent server is not probed: {slot}");
    }
}
