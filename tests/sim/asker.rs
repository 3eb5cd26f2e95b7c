//! Somebody who asks for connections while they come and go, and ends some, and checks the answers.

use std::collections::BTreeSet;

use crossbeam::channel::Sender;
use portcullis::base::Side;
use portcullis::query::{By, ConnId, Names, Query};
use portcullis::worker::{Answer, Candidate, Order, Purpose, Reply, Task};
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

use crate::border::link_of;
use crate::fault::Fault;
use crate::moves::SimOrder;
use crate::random::Random;
use crate::ring::SimRing;
use crate::scenario::Scenario;

/// Questions in a run.
const MOST_QUESTIONS: u32 = 300;
/// Turns of a worker from a question to its answer.
const MOST_TURNS: u32 = 2000;
/// Turns of a worker from the leaving of an asker to the end of the scan for it.
const MOST_TURNS_DESERTED: u32 = 200;

const FILTERS: [&str; 10] = [
    "",
    "",
    "state=joined",
    "idle>20ms",
    "bytes>10B age>5ms",
    "src=10.0.0.0/8",
    "src=10.0.0.0/30 src=10.0.0.0/8",
    "src=192.0.2.0/24",
    "source=0.0.0.0/0",
    "src=10.0.0.0/8 local=127.0.0.1:7000 source=127.0.0.1",
];

/// The asker of one run.
#[derive(Debug)]
pub struct Asker {
    random: Random,
    percent: u64,
    kills: bool,
    asked: u32,
    questions: Vec<Question>,
    /// By worker: turns since somebody last waited for it.
    deserted: Vec<u32>,
    /// By worker: connections that it says it ended.
    pub killed: Vec<u64>,
}

/// A question without an answer.
#[derive(Debug)]
struct Question {
    worker: usize,
    query: Query,
    only: Option<Vec<ConnId>>,
    purpose: Purpose,
    reply: Receiver<Reply>,
    turns: u32,
}

impl Asker {
    pub fn new(scenario: &mut Scenario) -> Asker {
        Asker {
            random: Random::new(scenario.random.next()),
            percent: scenario.asks,
            kills: scenario.kills,
            asked: 0,
            questions: Vec::new(),
            deserted: vec![0; scenario.workers],
            killed: vec![0; scenario.workers],
        }
    }

    /// Perhaps asks a worker that is about to turn.
    pub fn ask(&mut self, worker: usize, orders: &Sender<SimOrder>, ring: &mut SimRing) {
        if self.asked == MOST_QUESTIONS || !self.random.percent(self.percent) {
            return;
        }
        self.asked += 1;
        ring.ends.names_asked = true;
        let random = &mut self.random;
        let sort = random.pick(&["idle", "age", "bytes"]);
        let limit = random.pick(&[1, 2, 5, 10_000]);
        let filter = random.pick(&FILTERS);
        let query = Query::parse(filter, Some(sort), Some(limit), &Names::default());
        let mut query = query.expect("it is right");
        let only = random.percent(20).then(|| some_ids(random, worker, ring));
        let kills = self.kills && random.percent(30);
        let by = random.pick(&By::ALL);
        let counts = random.percent(20);
        let purpose = match (kills, counts) {
            (true, _) => Purpose::Kill,
            (false, true) => Purpose::Count(by),
            (false, false) => Purpose::Show,
        };
        if kills {
            query = query.living();
        }
        let (reply, answer) = oneshot::channel();
        let task = Task { query: query.clone(), only: only.clone(), purpose, reply };
        orders.send(Order::Scan(Box::new(task))).expect("a worker listens");
        self.questions.push(Question { worker, query, only, purpose, reply: answer, turns: 0 });
    }

    /// Takes the answers of a worker that has turned.
    pub fn hear(&mut self, worker: usize, ring: &mut SimRing, running: bool) {
        self.deserted[worker] += 1;
        for mut question in std::mem::take(&mut self.questions) {
            if question.worker != worker {
                self.questions.push(question);
                continue;
            }
            match question.reply.try_recv() {
                Ok(Reply::Busy) => {
                    let turns = self.deserted[worker];
                    assert!(turns < MOST_TURNS_DESERTED, "a worker scans for nobody: {question:?}");
                    ring.faults.note(Fault::ListBusy);
                }
                Ok(Reply::Done(answer)) => {
                    self.deserted[worker] = 0;
                    self.killed[worker] += answer.killed;
                    question.check(&answer, ring);
                }
                Err(TryRecvError::Closed) => {
                    assert!(!running, "an asker was left without an answer: {question:?}");
                    ring.faults.note(Fault::AskerLeftAlone);
                }
                Err(TryRecvError::Empty) => {
                    question.turns += 1;
                    self.deserted[worker] = 0;
                    assert!(running, "an asker waits for ever: {question:?}");
                    assert!(question.turns < MOST_TURNS, "an asker waits: {question:?}");
                    // Who kills does not leave, so that what was killed is known.
                    if question.purpose != Purpose::Kill && self.random.percent(5) {
                        ring.faults.note(Fault::AskerGone);
                    } else {
                        self.questions.push(question);
                    }
                }
            }
        }
    }
}

fn some_ids(random: &mut Random, worker: usize, ring: &SimRing) -> Vec<ConnId> {
    let count = random.between(1, 6);
    let ids = (0..count).map(|_| {
        let slot = random.below(u64::from(ring.shape.slots.min(16)) + 2) as u32;
        let life = ring.lives.get(slot as usize).copied().unwrap_or(0);
        let generation = if random.percent(80) { life } else { life + 1 };
        ConnId { worker: worker as u16, slot, generation }
    });
    ids.collect()
}

impl Question {
    /// What is said is true, and no more than was asked for.
    fn check(&self, answer: &Answer, ring: &mut SimRing) {
        let Answer { matched, rows, killed, stale, tally, .. } = answer;
        let Question { query, only, purpose, .. } = self;
        assert!(rows.len() as u64 <= (*matched).min(u64::from(query.limit)), "{answer:?}");
        assert!(*killed <= (*matched).min(u64::from(query.limit)), "{answer:?}");
        assert!(*purpose == Purpose::Kill || *killed == 0, "{answer:?}");
        if let Purpose::Count(by) = *purpose {
            let counted = tally.groups.values().map(|counted| counted.connections).sum::<u64>();
            assert_eq!(counted + tally.ungrouped, *matched, "{answer:?}");
            assert!(
                rows.is_empty() && (matches!(by, By::Source | By::Pair) || tally.ungrouped == 0),
                "{answer:?}"
            );
        } else {
            assert!(tally.groups.is_empty(), "{answer:?}");
        }
        let ids: BTreeSet<String> = rows.iter().map(|one| one.row.id.to_string()).collect();
        let named = |id: &ConnId| only.as_ref().is_none_or(|only| only.contains(id));
        if only.is_none() {
            assert_eq!(ids.len(), rows.len(), "a connection was shown twice: {answer:?}");
        }
        assert!(stale.iter().all(named), "{answer:?}");
        for Candidate { row, .. } in rows {
            assert!(query.admits(&row.facts) && named(&row.id), "{row:?} for {query:?}");
            let client = row.addresses[Side::Client].map(link_of);
            let upstream = row.addresses[Side::Upstream].map(link_of);
            if let Some(client) = client {
                assert!(ring.origin.contains_key(&client), "{row:?} names no client");
            }
            for side in Side::BOTH.into_iter().filter(|side| query.asks(*side)) {
                let found = row.addresses[side].expect("its addresses decided");
                let admits = query.admits_addresses(side, found.local, found.peer);
                assert!(admits, "{row:?} for {query:?}");
            }
            if let (Some(client), Some(upstream)) = (client, upstream) {
                assert_eq!(ring.joined.get(&client), Some(&upstream), "{row:?} joins others");
                let [passed_bytes, _] = ring.links[upstream].passed_bytes();
                let begins_at = ring.links[upstream].begins_at;
                let moved_bytes = row.facts.to_upstream_bytes + begins_at;
                assert!(moved_bytes <= passed_bytes, "{row:?} moved more than {passed_bytes}");
                ring.faults.note(Fault::Listed);
            }
            if client.is_none() {
                ring.faults.note(Fault::ListedUnnamed);
            }
        }
        if !stale.is_empty() {
            ring.faults.note(Fault::StaleId);
        }
        if *killed > 0 {
            ring.faults.note(Fault::Killed);
        }
    }
}
