//! The clients of one thread: each is answered once, sends until nothing moves, and aborts.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis::base::Chunk;
use portcullis::ring::{ConnIndex, ServerId};

use super::held::Held;
use super::{Abort, BUFFERS, Rounds};
use crate::engine::{Event, Net, Phase, Tally, Tick, words};
use crate::load::scenario::ends::chance;
use crate::pattern::{self, Pattern};

/// The first message: its answer says that a server is there.
const MESSAGE_BYTES: u32 = 64;
/// What follows the first message: nobody reads what the server makes of it.
const UNREAD: u8 = b'x';
/// Between two looks at what is still held.
const GLANCE: Duration = Duration::from_millis(200);

/// What a client is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Opening,
    /// The first answer has not come yet.
    Asking,
    /// It sends, and reads nothing.
    Pouring,
    /// It aborted or was lost, and the slot is not free yet.
    Leaving,
    Gone,
}

struct Client {
    step: Step,
    /// Of the first message, and of its answer.
    out: Pattern,
    back: Pattern,
    missing_bytes: u32,
    sent_bytes: u64,
}

/// One thread's clients.
pub(super) struct Clients {
    tally: Tally,
    phase: Phase,
    clients: Vec<Client>,
    /// When each is to abort after the run has begun, the soonest last.
    aborts: Vec<(u64, ConnIndex)>,
    rounds: Rounds,
    round: Option<usize>,
    index: usize,
    threads: usize,
    count: u64,
    pairs: u64,
    bytes: u64,
    seed: u64,
    spread: Duration,
    within: Duration,
    status: Option<SocketAddr>,
    began_nanos: u64,
    /// When what is held was looked at last.
    looked_nanos: u64,
    /// The first thread's: it looks at what is held.
    held: Option<Held>,
    over: bool,
}

impl Clients {
    pub(super) fn new(
        abort: &Abort,
        (index, threads): (usize, usize),
        mine: u64,
        pairs: u64,
        rounds: &Rounds,
    ) -> Clients {
        let gone = |_| Client {
            step: Step::Gone,
            out: Pattern::new(0),
            back: Pattern::new(0),
            missing_bytes: 0,
            sent_bytes: 0,
        };
        Clients {
            tally: Tally::default(),
            phase: Phase::Open,
            clients: (0..mine).map(gone).collect(),
            aborts: Vec::new(),
            rounds: rounds.clone(),
            round: None,
            index,
            threads,
            count: abort.count,
            pairs,
            bytes: abort.bytes,
            seed: abort.seed,
            spread: abort.spread,
            within: abort.within,
            status: abort.status,
            began_nanos: 0,
            looked_nanos: 0,
            held: None,
            over: false,
        }
    }

    /// The number of a client of this round among all.
    fn number(&self, conn: ConnIndex) -> u64 {
        let within = self.index as u64 + u64::from(conn.0) * self.threads as u64;
        self.round.unwrap_or(0) as u64 * self.count + within
    }

    pub(super) fn begin(&mut self, phase: Phase, net: &mut Net) {
        self.phase = phase;
        self.began_nanos = net.nanos();
        self.over = false;
        match phase {
            Phase::Open => self.open(net),
            Phase::Warm => self.each(|clients, conn| clients.pour(conn, net)),
            Phase::Run => self.choose(),
            Phase::Close => self.each(|clients, conn| {
                clients.clients[conn.0 as usize].step = Step::Leaving;
                net.reset(conn);
            }),
            _ => {}
        }
        if let Some(held) = self.held.as_mut().filter(|_| phase == Phase::Count) {
            held.fill();
        }
    }

    fn each(&mut self, mut act: impl FnMut(&mut Clients, ConnIndex)) {
        (0..self.clients.len()).for_each(|index| act(self, ConnIndex(index as u32)));
    }

    /// A round begins.
    fn open(&mut self, net: &mut Net) {
        let round = self.round.map_or(0, |round| round + 1);
        self.round = Some(round);
        self.rounds.begin(round);
        self.held = (self.index == 0).then(Held::begin);
        self.each(|clients, conn| {
            let number = clients.number(conn);
            clients.clients[conn.0 as usize] = Client {
                step: Step::Opening,
                out: Pattern::new(number),
                back: Pattern::new(number),
                missing_bytes: MESSAGE_BYTES,
                sent_bytes: 0,
            };
            net.open(conn, ServerId((number % clients.pairs) as u16));
        });
    }

    /// Sends what goes.
    fn pour(&mut self, conn: ConnIndex, net: &mut Net) {
        let client = &mut self.clients[conn.0 as usize];
        let left = self.bytes.saturating_sub(client.sent_bytes);
        let count = left.min(u64::from(BUFFERS.bytes)) as u32;
        if client.step == Step::Pouring
            && count > 0
            && net.send(conn, count, |bytes| bytes.fill(UNREAD))
        {
            client.sent_bytes += u64::from(count);
        }
    }

    /// Chooses the moment of each abort.
    fn choose(&mut self) {
        let spread = self.spread.as_nanos() as u64;
        self.aborts.clear();
        for index in 0..self.clients.len() {
            let conn = ConnIndex(index as u32);
            let after = chance(self.seed, self.number(conn)).checked_rem(spread).unwrap_or(0);
            self.aborts.push((self.began_nanos + after, conn));
        }
        self.aborts.sort_unstable_by_key(|(at, _)| std::cmp::Reverse(*at));
    }

    /// Aborts those who are due; in how many nanoseconds the next one is.
    fn abort(&mut self, net: &mut Net) -> u64 {
        let now = net.nanos();
        while let Some((_, conn)) = self.aborts.pop_if(|(at, _)| *at <= now) {
            let client = &mut self.clients[conn.0 as usize];
            if client.step == Step::Pouring {
                client.step = Step::Leaving;
                self.tally.count("aborted", 1);
                self.rounds.count(|round| round.aborted += 1);
                net.reset(conn);
            }
        }
        self.aborts.last().map_or(u64::MAX, |(at, _)| *at - now)
    }

    fn received(&mut self, conn: ConnIndex, chunk: Chunk, net: &mut Net) {
        let client = &mut self.clients[conn.0 as usize];
        if client.step != Step::Asking {
            return;
        }
        let asked = client.missing_bytes.into();
        if let Err(what) = pattern::take(&mut client.back, asked, net.bytes(chunk)) {
            return self.lose(conn, &what, net);
        }
        client.missing_bytes -= chunk.length_bytes;
        if client.missing_bytes > 0 {
            return net.receive(conn);
        }
        client.step = Step::Pouring;
        net.relax(conn);
        self.tally.count("opened", 1);
        self.rounds.count(|round| round.opened += 1);
    }

    fn ask(&mut self, conn: ConnIndex, net: &mut Net) {
        let client = &mut self.clients[conn.0 as usize];
        client.step = Step::Asking;
        net.expect(conn);
        if net.send(conn, MESSAGE_BYTES, |bytes| client.out.fill(bytes)) {
            client.sent_bytes += u64::from(MESSAGE_BYTES);
        }
        net.receive(conn);
    }

    fn lose(&mut self, conn: ConnIndex, what: &str, net: &mut Net) {
        let client = &mut self.clients[conn.0 as usize];
        let step = match client.step {
            Step::Opening => "open",
            Step::Asking => "first message",
            Step::Pouring => "before the abort",
            Step::Leaving | Step::Gone => return net.close(conn),
        };
        client.step = Step::Leaving;
        self.tally.fail(step, what);
        net.close(conn);
    }

    pub(super) fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        match event {
            Event::Opened => self.ask(conn, net),
            Event::MaySend if self.clients[conn.0 as usize].step == Step::Asking => {
                self.ask(conn, net);
            }
            Event::Sent | Event::MaySend if self.phase == Phase::Warm => self.pour(conn, net),
            Event::Received(chunk) => self.received(conn, chunk, net),
            Event::Ended(end) => self.lose(conn, &words(end), net),
            Event::Overdue => self.lose(conn, "no answer in time (hung)", net),
            Event::Closed => self.clients[conn.0 as usize].step = Step::Gone,
            Event::Sent | Event::MaySend | Event::Accepted(_) => {}
        }
    }

    /// Looks at what is held; whether that is nothing, or the time is over.
    fn look(&mut self, net: &Net) -> bool {
        let now = net.nanos();
        let passed = Duration::from_nanos(now - self.began_nanos);
        let due = now - self.looked_nanos >= GLANCE.as_nanos() as u64;
        let Some(held) = self.held.as_mut() else { return true };
        if !due || self.over {
            return self.over;
        }
        self.looked_nanos = now;
        self.over = held.look(self.status) || passed >= self.within;
        if self.over {
            let held = held.clone();
            self.rounds.count(|round| round.held = Some(held));
        }
        self.over
    }

    pub(super) fn tick(&mut self, net: &mut Net) -> Tick {
        let mut wait = Duration::MAX;
        let done = match self.phase {
            Phase::Open => {
                let settled =
                    |client: &Client| !matches!(client.step, Step::Opening | Step::Asking);
                self.clients.iter().all(settled)
            }
            Phase::Run => {
                wait = Duration::from_nanos(self.abort(net));
                self.clients.iter().all(|client| client.step == Step::Gone)
            }
            Phase::Check => self.look(net),
            Phase::Close => net.open == 0,
            _ => true,
        };
        let dead = self.phase == Phase::Warm && net.open == 0;
        Tick { done, dead, progress: self.tally.get("aborted"), wait }
    }

    pub(super) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
