//! Half-closes: the client says FIN first, or the server, or both at once, and still all arrives.

use std::collections::VecDeque;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use portcullis::base::Chunk;
use portcullis::ring::{ConnIndex, ServerId};
use serde_json::{Map, json};

use super::ends::{Lives, chance};
use super::outage::{GIVE_UP, Outage};
use crate::engine::{self, End, Event, Net, Phase, Script, Tally, Tick, Until, words};
use crate::load::common::{Buffers, share};
use crate::load::plan::Size;
use crate::load::verdict::Verdict;
use crate::pattern::{self, Asked, HEADER_BYTES, Pattern, Receipt, Request};

/// What one send takes at most.
const SEND_BYTES: u32 = 4_096;
/// Between two questions for a receipt that is not there yet.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// Who says FIN first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum First {
    /// The client, to a target that echoes
    Client,
    /// The server: the client sends only then
    Server,
    /// Neither waits for the other
    Both,
}

/// One end says FIN first, or both at once, and still everything arrives.
#[derive(Args)]
#[command(after_help = "Examples: 1,000 that send, say FIN, and must still get all of it back; and
1,000 whose server says FIN before they send, behind the target a `serve --mode half-close`:
  portcullis-bench halfclose --target 127.0.0.1:7000 --count 1000
  portcullis-bench halfclose --target 127.0.0.1:7000 --count 1000 --first server")]
pub(crate) struct HalfClose {
    #[command(flatten)]
    lives: Lives,
    /// Who says FIN first. For `server` and `both` the target leads to `serve --mode half-close`,
    /// which says on a second connection what it got on the first
    #[arg(long, value_enum, default_value_t = First::Client)]
    first: First,
}

impl HalfClose {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        if self.first == First::Client {
            return self.lives.run("halfclose", false);
        }
        let lives = &self.lives;
        let plan = lives.common.plan(Size::at_once(lives.connections))?;
        let threads = lives.common.threads(lives.connections);
        let phases = vec![
            (Phase::Run, Until::Done),
            (Phase::Check, Until::Done),
            (Phase::Close, Until::Done),
        ];
        let job = lives.common.job(&plan, phases, threads, lives.count);
        let run = run_number();
        let outcome = engine::run(&job, |index| {
            let connections = share(lives.connections, index, threads) as u32;
            let setup = lives.common.setup(&plan, connections, Buffers::for_messages(SEND_BYTES));
            let pairs = setup.servers.len() as u64;
            let parting = Parting {
                tally: Tally::default(),
                first: self.first,
                run,
                left: share(lives.count, index, threads),
                lives: (0..connections).map(|_| Life::VACANT).collect(),
                waiting: VecDeque::new(),
                number: index as u64,
                threads: threads as u64,
                pairs,
                bytes: lives.bytes,
                seed: lives.seed,
                under_way: 0,
                outage: Outage::default(),
            };
            Ok((setup, parting))
        })?;
        let verdict = Verdict {
            scenario: "halfclose",
            // Which server it asks for depends on `first`.
            answers: &[],
            outcome: &outcome,
            measured: Phase::Run,
            asked: json!({
                "count": lives.count, "connections": lives.connections, "bytes": lives.bytes,
                "seed": lives.seed, "first": format!("{:?}", self.first).to_lowercase(),
            }),
            units: vec![("connection", outcome.tally.get("half_closed") as f64)],
            figures: Map::new(),
            max_lag: lives.common.max_lag,
            json: lives.common.json,
            doubts: Vec::new(),
        };
        Ok(verdict.tell())
    }
}

/// A number that no other run has: a server that outlives this one keeps the receipts apart.
fn run_number() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64) ^ u64::from(std::process::id()) << 32
}

/// Where a life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Vacant,
    Opening,
    /// Bytes go both ways.
    Exchanging,
    /// Both have said FIN; the connection goes.
    Parting,
    /// Another connection comes, to ask for the receipt.
    OpeningAgain,
    Asking,
    /// All is known; the second connection goes.
    Leaving,
}

struct Life {
    step: Step,
    server: ServerId,
    seed: u64,
    outgoing: Pattern,
    incoming: Pattern,
    asked: bool,
    up_bytes: u64,
    sent_bytes: u64,
    down_bytes: u64,
    received_bytes: u64,
    server_ended: bool,
    receipt: Vec<u8>,
}

impl Life {
    const VACANT: Life = Life {
        step: Step::Vacant,
        server: ServerId(0),
        seed: 0,
        outgoing: Pattern::new(0),
        incoming: Pattern::new(0),
        asked: false,
        up_bytes: 0,
        sent_bytes: 0,
        down_bytes: 0,
        received_bytes: 0,
        server_ended: false,
        receipt: Vec::new(),
    };
}

/// One thread's lives.
struct Parting {
    tally: Tally,
    first: First,
    run: u64,
    /// Lives still to begin.
    left: u64,
    lives: Vec<Life>,
    /// Who asks again, and when.
    waiting: VecDeque<(u64, ConnIndex)>,
    number: u64,
    threads: u64,
    pairs: u64,
    bytes: u64,
    seed: u64,
    under_way: u64,
    outage: Outage,
}

impl Parting {
    fn live(&mut self, conn: ConnIndex, net: &mut Net) {
        let number = self.number;
        self.number += self.threads;
        self.left -= 1;
        self.under_way += 1;
        let server = ServerId((number % self.pairs) as u16);
        self.lives[conn.0 as usize] = Life {
            step: Step::Opening,
            server,
            seed: number,
            outgoing: Pattern::new(number),
            incoming: Pattern::new(number),
            up_bytes: 1 + chance(self.seed, 2 * number) % self.bytes,
            down_bytes: 1 + chance(self.seed, 2 * number + 1) % self.bytes,
            ..Life::VACANT
        };
        net.open(conn, server);
    }

    /// Sends the header, or a question for the receipt; whether it went out.
    fn ask(&mut self, conn: ConnIndex, what: Request, net: &mut Net) -> bool {
        let Life { seed, down_bytes: length_bytes, .. } = self.lives[conn.0 as usize];
        let asked = Asked { what, run: self.run, seed, length_bytes }.to_bytes();
        net.send(conn, HEADER_BYTES as u32, |bytes| bytes.copy_from_slice(&asked))
    }

    /// Sends what is due, and FIN behind it.
    fn go_on(&mut self, conn: ConnIndex, net: &mut Net) {
        let life = &self.lives[conn.0 as usize];
        if life.step != Step::Exchanging || net.is_sending(conn) {
            return;
        }
        if !life.asked {
            self.lives[conn.0 as usize].asked = self.ask(conn, Request::Transfer, net);
            return;
        }
        if self.first == First::Server && !life.server_ended {
            return;
        }
        let life = &mut self.lives[conn.0 as usize];
        let count = (life.up_bytes - life.sent_bytes).min(u64::from(SEND_BYTES)) as u32;
        if count > 0 {
            if net.send(conn, count, |bytes| life.outgoing.fill(bytes)) {
                life.sent_bytes += u64::from(count);
            }
            return;
        }
        net.finish(conn);
        if life.server_ended {
            life.step = Step::Parting;
            net.close(conn);
        }
    }

    fn received(&mut self, conn: ConnIndex, chunk: Chunk, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        if life.step == Step::Asking {
            life.receipt.extend(net.bytes(chunk));
            net.receive(conn);
            return self.hear_receipt(conn, net);
        }
        let asked = life.down_bytes - life.received_bytes;
        life.received_bytes += u64::from(chunk.length_bytes);
        if let Err(what) = pattern::take(&mut life.incoming, asked, net.bytes(chunk)) {
            return self.lose(conn, &what, net);
        }
        net.expect(conn);
        net.receive(conn);
    }

    fn hear_receipt(&mut self, conn: ConnIndex, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        let Ok(receipt) = life.receipt[..].try_into().map(Receipt::of) else { return };
        life.receipt.clear();
        let sent_bytes = life.sent_bytes;
        if receipt == Receipt::NOT_YET {
            let again = net.nanos() + ASK_AGAIN.as_nanos() as u64;
            return self.waiting.push_back((again, conn));
        }
        match receipt.complaint("server", sent_bytes) {
            Some(what) => self.lose(conn, &what, net),
            None => {
                self.tally.count("half_closed", 1);
                self.end(conn, net);
            }
        }
    }

    fn ended(&mut self, conn: ConnIndex, end: End, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        let exchanging = end == End::Fin && life.step == Step::Exchanging;
        if exchanging && life.received_bytes == life.down_bytes {
            life.server_ended = true;
            net.expect(conn);
            return self.go_on(conn, net);
        }
        match exchanging {
            true => self.lose(conn, "FIN before all bytes had come", net),
            false => self.lose(conn, &words(end), net),
        }
    }

    fn lose(&mut self, conn: ConnIndex, what: &str, net: &mut Net) {
        let step = match self.lives[conn.0 as usize].step {
            Step::Opening => "open",
            Step::Exchanging => "exchange",
            Step::OpeningAgain | Step::Asking => "receipt",
            Step::Vacant | Step::Parting | Step::Leaving => return net.close(conn),
        };
        self.tally.fail(step, what);
        self.end(conn, net);
    }

    fn end(&mut self, conn: ConnIndex, net: &mut Net) {
        self.lives[conn.0 as usize].step = Step::Leaving;
        self.waiting.retain(|(_, one)| *one != conn);
        self.under_way -= 1;
        net.close(conn);
    }

    fn opened(&mut self, conn: ConnIndex, net: &mut Net) {
        net.expect(conn);
        net.receive(conn);
        let life = &mut self.lives[conn.0 as usize];
        if life.step == Step::Opening {
            life.step = Step::Exchanging;
            self.go_on(conn, net);
        } else {
            life.step = Step::Asking;
            self.ask(conn, Request::Receipt, net);
        }
    }

    /// A slot is free: for the second connection of a life, or for the next life.
    fn closed(&mut self, conn: ConnIndex, net: &mut Net) {
        let life = &mut self.lives[conn.0 as usize];
        if life.step == Step::Parting {
            life.step = Step::OpeningAgain;
            return net.open(conn, life.server);
        }
        life.step = Step::Vacant;
        if self.left > 0 {
            self.live(conn, net);
        }
    }
}

impl Script for Parting {
    fn begin(&mut self, phase: Phase, net: &mut Net) {
        for index in 0..self.lives.len() {
            let conn = ConnIndex(index as u32);
            match phase {
                Phase::Run if self.left > 0 => self.live(conn, net),
                Phase::Close => {
                    (self.left, self.under_way) = (0, 0);
                    self.waiting.clear();
                    self.lives[index].step = Step::Leaving;
                    net.close(conn);
                }
                _ => {}
            }
        }
    }

    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net) {
        match event {
            Event::Opened => self.opened(conn, net),
            Event::MaySend if self.lives[conn.0 as usize].step == Step::Asking => {
                self.ask(conn, Request::Receipt, net);
            }
            Event::Sent | Event::MaySend => self.go_on(conn, net),
            Event::Received(chunk) => self.received(conn, chunk, net),
            Event::Ended(end) => self.ended(conn, end, net),
            Event::Overdue => self.lose(conn, "no answer in time (hung)", net),
            Event::Closed => self.closed(conn, net),
            Event::Accepted(_) => {}
        }
    }

    fn tick(&mut self, net: &mut Net) -> Tick {
        let now = net.nanos();
        while let Some((_, conn)) = self.waiting.front().copied().filter(|one| one.0 <= now) {
            self.waiting.pop_front();
            self.ask(conn, Request::Receipt, net);
        }
        let next = self.waiting.front().map_or(u64::MAX, |(again, _)| *again - now);
        let done = self.left == 0 && self.under_way == 0;
        let progress = self.tally.get("half_closed");
        let dead = self.left > 0 && self.outage.lasts(now, progress, &self.tally, GIVE_UP);
        Tick { done, dead, progress, wait: Duration::from_nanos(next) }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
