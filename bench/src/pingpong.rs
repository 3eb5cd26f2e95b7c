//! One message in flight on every connection, back and forth, each answer checked.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde_json::json;

use crate::exchange::{kind, wrong_byte};
use crate::pattern::Pattern;
use crate::{figures, sources};

/// How long a connection may take to open, and the last answers to come.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(crate) struct PingPong {
    /// What to connect to; it must echo
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// The size of a message
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// The target's process, to report its memory
    #[arg(long)]
    target_pid: Option<u32>,
}

/// What one thread saw.
struct Seen {
    nanoseconds: Histogram<u64>,
    failures: BTreeMap<String, u64>,
}

impl PingPong {
    pub(crate) fn run(&self) -> io::Result<bool> {
        let before = figures::all(self.target_pid);
        let mut seen = self.seen_by_none()?;
        let threads = self.threads.clamp(1, self.connections.max(1));
        std::thread::scope(|scope| {
            let start = |thread| scope.spawn(move || self.play(thread, threads));
            let running: Vec<_> = (0..threads).map(start).collect();
            for thread in running {
                let one = thread.join().map_err(|_| io::Error::other("a thread panicked"))??;
                seen.nanoseconds.add(&one.nanoseconds).map_err(io::Error::other)?;
                for (kind, count) in one.failures {
                    *seen.failures.entry(kind).or_default() += count;
                }
            }
            io::Result::Ok(())
        })?;
        let good = seen.failures.is_empty() && !seen.nanoseconds.is_empty();
        let micros = |quantile| seen.nanoseconds.value_at_quantile(quantile) as f64 / 1e3;
        let result = json!({
            "schema": 1, "scenario": "pingpong", "good": good,
            "connections": self.connections, "bytes": self.bytes, "seconds": self.seconds,
            "messages": seen.nanoseconds.len(),
            "messages_per_second": seen.nanoseconds.len() as f64 / self.seconds as f64,
            "microseconds": {"p50": micros(0.5), "p90": micros(0.9), "p99": micros(0.99),
                             "p999": micros(0.999), "max": micros(1.0)},
            "failures": seen.failures,
            "before": before, "after": figures::all(self.target_pid),
        });
        println!("{result}");
        Ok(good)
    }

    fn seen_by_none(&self) -> io::Result<Seen> {
        let longest = 2 * PATIENCE.as_nanos() as u64;
        let nanoseconds = Histogram::new_with_max(longest, 3).map_err(io::Error::other)?;
        Ok(Seen { nanoseconds, failures: BTreeMap::new() })
    }

    /// Plays on every `threads`-th connection from the one numbered `thread`.
    fn play(&self, thread: usize, threads: usize) -> io::Result<Seen> {
        let mut seen = self.seen_by_none()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut players = Vec::new();
        for number in (thread..self.connections).step_by(threads) {
            match Player::new(self.target, number as u64, self.bytes) {
                Ok(player) => {
                    let index = players.len() as u64;
                    epoll.add(&player.stream, EpollEvent::new(EpollFlags::EPOLLIN, index))?;
                    players.push(player);
                }
                Err(error) => *seen.failures.entry(kind("connect", &error)).or_default() += 1,
            }
        }
        let end = Instant::now() + Duration::from_secs(self.seconds);
        for player in &mut players {
            seen.note(player.serve());
        }
        self.play_until(end, &epoll, &mut players, &mut seen)?;
        let unanswered = players.iter().filter(|player| player.playing).count();
        if unanswered > 0 {
            seen.failures.insert("unanswered at the end".to_owned(), unanswered as u64);
        }
        Ok(seen)
    }

    /// Answers each ball until the end, and then waits for those in the air.
    fn play_until(
        &self,
        end: Instant,
        epoll: &Epoll,
        players: &mut [Player],
        seen: &mut Seen,
    ) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let mut playing = players.iter().filter(|player| player.playing).count();
        while playing > 0 && Instant::now() < end + PATIENCE {
            let count = match epoll.wait(&mut events, EpollTimeout::from(100u8)) {
                Err(nix::errno::Errno::EINTR) => continue,
                count => count?,
            };
            for event in &events[..count] {
                let player = &mut players[event.data() as usize];
                if !player.playing {
                    continue;
                }
                let outcome = player.receive(&mut seen.nanoseconds, Instant::now() < end);
                if outcome.is_err() || !player.playing {
                    playing -= 1;
                    player.playing = false;
                    epoll.delete(&player.stream)?;
                }
                seen.note(outcome);
            }
        }
        Ok(())
    }
}

impl Seen {
    fn note(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            *self.failures.entry(kind("message", &error)).or_default() += 1;
        }
    }
}

/// A connection with its message in flight.
struct Player {
    stream: TcpStream,
    out: Pattern,
    back: Pattern,
    message: Vec<u8>,
    /// How much of the answer is still to come.
    missing: usize,
    sent: Instant,
    playing: bool,
}

impl Player {
    fn new(target: SocketAddr, number: u64, bytes: usize) -> io::Result<Self> {
        let stream = sources::open(None, target, PATIENCE)?;
        let (out, back) = (Pattern::new(number), Pattern::new(number));
        let message = vec![0; bytes.max(1)];
        Ok(Self { stream, out, back, message, missing: 0, sent: Instant::now(), playing: false })
    }

    /// Sends the next message.
    fn serve(&mut self) -> io::Result<()> {
        self.out.fill(&mut self.message);
        self.sent = Instant::now();
        self.stream.write_all(&self.message)?;
        self.missing = self.message.len();
        self.playing = true;
        Ok(())
    }

    /// Takes what has come of the answer; when that is all, sends the next if there is to be one.
    fn receive(&mut self, nanoseconds: &mut Histogram<u64>, again: bool) -> io::Result<()> {
        let bytes = self.stream.read(&mut self.message[..self.missing])?;
        if bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.back.check(&self.message[..bytes]).map_err(wrong_byte)?;
        self.missing -= bytes;
        if self.missing > 0 {
            return Ok(());
        }
        nanoseconds.saturating_record(self.sent.elapsed().as_nanos() as u64);
        self.playing = again;
        if again { self.serve() } else { Ok(()) }
    }
}
