//! One thread of a crowd: its connections of each kind, and which of them an event is for.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use portcullis::ring::ConnIndex;

use super::super::outage::Outage;
use super::flows::{Flows, Manner};
use super::ground::Ground;
use super::held::Held;
use super::marks::Marks;
use super::newcomers::Newcomers;
use super::talk::Talk;
use super::{Crowd, flows};
use crate::engine::{Event, Net, Phase, Script, Tally, Tick};
use crate::load::common::share;

/// Between two reads of those who read little, and of those who said FIN.
const SLOW_REST: Duration = Duration::from_millis(250);
const HALF_REST: Duration = Duration::from_millis(100);
/// Newcomers that may be under way at one time: those of so many seconds, within bounds.
const NEWCOMERS_SECONDS: u64 = 5;
const NEWCOMERS: std::ops::RangeInclusive<u64> = 64..=8_192;

/// Newcomers that may be under way at one time.
pub(super) fn newcomers(rate: u64) -> u64 {
    let wanted = rate.saturating_mul(NEWCOMERS_SECONDS);
    if rate == 0 { 0 } else { wanted.clamp(*NEWCOMERS.start(), *NEWCOMERS.end()) }
}

/// One thread's connections.
pub(super) struct Members {
    ground: Ground,
    held: Held,
    talk: Talk,
    bulk: Flows,
    slow: Flows,
    half: Flows,
    newcomers: Newcomers,
    told: bool,
    outage: Outage,
    patience: Duration,
}

impl Members {
    pub(super) fn new(
        crowd: &Crowd,
        marks: Arc<Marks>,
        index: usize,
        threads: usize,
        pairs: usize,
    ) -> Members {
        let ground = Ground::new(marks, index, threads, pairs);
        let beside = crowd.beside.unwrap_or_default();
        let of = |total: u64| share(total, index, threads) as u32;
        let window = crowd.window.div_ceil(threads as u64).max(1);
        let held = Held::new(of(crowd.connections), window, ground.interval(crowd.probes));
        let mut first = held.count();
        let talk = Talk::new(first, of(beside.pingpong), ground.interval(beside.messages));
        first += talk.count();
        let parts = beside.bulk * beside.bulk_bytes.div_ceil(u64::from(flows::PART_BYTES));
        let millis = |rest: Duration| rest.as_nanos() as u64;
        let mut flows = |count: u64, kind, bytes, interval, rest, half_closes| {
            let manner = Manner { kind, bytes, interval, rest: millis(rest), half_closes };
            let flows = Flows::new(first, of(count), manner);
            first += flows.count();
            flows
        };
        let paced = ground.interval(parts);
        let bulk = flows(beside.bulk, "bulk", "bulk_bytes", paced, Duration::ZERO, false);
        let slow = flows(beside.slow, "slow", "slow_bytes", None, SLOW_REST, false);
        let half = flows(beside.halfclose, "halfclose", "halfclose_bytes", None, HALF_REST, true);
        let most = share(newcomers(beside.churn), index, threads) as u32;
        let newcomers = Newcomers::new(first, most, ground.interval(beside.churn));
        let (told, patience) = (crowd.told, crowd.common.patience);
        let outage = Outage::default();
        Members { ground, held, talk, bulk, slow, half, newcomers, told, outage, patience }
    }

    fn is_done(&self, net: &Net) -> bool {
        let flows = [&self.bulk, &self.slow, &self.half];
        let phase = self.ground.phase;
        match phase {
            Phase::Run => self.told && self.ground.marks.is_over(),
            Phase::Close => self.held.is_through() && net.open == 0,
            _ => {
                let still = self.talk.is_still() && self.newcomers.is_still();
                still && self.held.is_through() && flows.iter().all(|all| all.is_still(phase))
            }
        }
    }
}

impl Script for Members {
    fn begin(&mut self, phase: Phase, net: &mut Net) {
        let ground = &mut self.ground;
        ground.phase = phase;
        ground.began = ground.marks.now();
        ground.now = ground.began;
        if phase == Phase::Close {
            ground.leave();
        }
        self.outage.begin();
        self.held.begin(phase, net);
        self.talk.begin(ground, net);
        self.bulk.begin(ground, net);
        self.slow.begin(ground, net);
        self.half.begin(ground, net);
        self.newcomers.begin(phase, net);
        if phase == Phase::Run {
            ground.marks.running.fetch_add(1, SeqCst);
        }
    }

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        let ground = &mut self.ground;
        let talkers = self.held.count() + self.talk.count();
        match conn.0 {
            index if index < self.held.count() => self.held.on(conn, event, ground, net),
            index if index < talkers => self.talk.on(conn, event, ground, net),
            _ if self.bulk.has(conn) => self.bulk.on(conn, event, ground, net),
            _ if self.slow.has(conn) => self.slow.on(conn, event, ground, net),
            _ if self.half.has(conn) => self.half.on(conn, event, ground, net),
            _ => self.newcomers.on(conn, event, ground, net),
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        let ground = &mut self.ground;
        ground.now = ground.marks.now();
        let due = [
            self.held.tick(ground, net),
            self.talk.tick(ground, net),
            self.bulk.tick(ground, net),
            self.slow.tick(ground, net),
            self.half.tick(ground, net),
            self.newcomers.tick(ground, net),
        ];
        let next = due.into_iter().min().unwrap_or(u64::MAX);
        let wait = Duration::from_nanos(next.saturating_sub(ground.now));
        let succeeded = match ground.phase {
            Phase::Open => ground.tally.get("held_opened"),
            Phase::Check => ground.tally.get("held_checked"),
            Phase::Close => ground.tally.get("held_closed_clean"),
            _ => ground.tally.get("messages") + ground.tally.get("new_served"),
        };
        // One that lasts longer than anybody's patience is the end of the target.
        let outage = self.outage.lasts(ground.now, succeeded, &ground.tally, self.patience);
        let dead = ground.phase == Phase::Run && net.open == 0 && outage;
        Tick { done: self.is_done(net), dead, progress: succeeded, wait }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.ground.tally
    }
}
