//! The servers of one thread: each echoes, and reads nothing more while its send blocks.

use std::time::Duration;

use portcullis::ring::ConnIndex;

use super::{Abort, Rounds};
use crate::engine::{End, Event, Net, Phase, Tally, Tick};

/// Both directions are full when every server blocks and none has received anything for so long.
const STILL: Duration = Duration::from_secs(1);

/// One thread's servers.
pub(super) struct Servers {
    tally: Tally,
    phase: Phase,
    /// By slot: somebody is there whose end has not been seen.
    live: Vec<bool>,
    rounds: Rounds,
    /// Rounds that have begun.
    round: usize,
    within: Duration,
    fill: Duration,
    began_nanos: u64,
    /// When something was received last.
    moved_nanos: u64,
}

impl Servers {
    pub(super) fn new(abort: &Abort, slots: u32, rounds: &Rounds) -> Servers {
        Servers {
            tally: Tally::default(),
            phase: Phase::Open,
            live: vec![false; slots as usize],
            rounds: rounds.clone(),
            round: 0,
            within: abort.within,
            fill: abort.fill,
            began_nanos: 0,
            moved_nanos: 0,
        }
    }

    fn all_live(&self) -> impl Iterator<Item = ConnIndex> + '_ {
        let live = self.live.iter().enumerate().filter(|(_, live)| **live);
        live.map(|(index, _)| ConnIndex(index as u32))
    }

    pub(super) fn begin(&mut self, phase: Phase, net: &mut Net) {
        self.phase = phase;
        self.began_nanos = net.nanos();
        self.moved_nanos = self.began_nanos;
        match phase {
            Phase::Open => {
                self.rounds.begin(self.round);
                self.round += 1;
            }
            Phase::Count => {
                let blocked = self.all_live().filter(|conn| net.is_sending(*conn)).count() as u64;
                self.rounds.count(|round| round.blocked += blocked);
            }
            // The next round begins with nobody of this one, nor does the program end with one.
            Phase::Linger | Phase::Close => {
                let left: Vec<ConnIndex> = self.all_live().collect();
                if phase == Phase::Linger {
                    self.rounds.count(|round| round.nothing += left.len() as u64);
                }
                for conn in left {
                    self.live[conn.0 as usize] = false;
                    net.reset(conn);
                }
            }
            _ => {}
        }
    }

    fn ended(&mut self, conn: ConnIndex, end: End, net: &mut Net) {
        if std::mem::take(&mut self.live[conn.0 as usize]) {
            self.rounds.count(|round| match end {
                End::Reset => round.reset += 1,
                End::Fin | End::CutOff => round.clean += 1,
                End::NotOpened(_) | End::NotConnected(_) | End::NotSecured(_) | End::Error(_) => {
                    round.error += 1
                }
            });
        }
        net.close(conn);
    }

    pub(super) fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        match event {
            Event::Accepted(_) => {
                self.live[conn.0 as usize] = true;
                self.rounds.count(|round| round.accepted += 1);
                net.receive(conn);
            }
            Event::Received(chunk) => {
                self.moved_nanos = net.nanos();
                net.send_back(conn, chunk);
            }
            Event::Sent => net.receive(conn),
            Event::Ended(end) => self.ended(conn, end, net),
            Event::Opened | Event::MaySend | Event::Overdue | Event::Closed => {}
        }
    }

    pub(super) fn tick(&mut self, net: &mut Net) -> Tick {
        let now = net.nanos();
        let passed = Duration::from_nanos(now - self.began_nanos);
        let done = match self.phase {
            Phase::Warm => {
                let still = Duration::from_nanos(now - self.moved_nanos) >= STILL;
                let full = still && self.all_live().all(|conn| net.is_sending(conn));
                full || passed >= self.fill
            }
            Phase::Check => passed >= self.within || !self.live.contains(&true),
            Phase::Linger => passed >= self.within || net.open == 0,
            Phase::Close => net.open == 0,
            _ => true,
        };
        let dead = self.phase == Phase::Warm && net.open == 0;
        Tick { done, dead, progress: 0, wait: Duration::MAX }
    }

    pub(super) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
