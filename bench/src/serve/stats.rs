//! The server's counters, for whoever connects to ask.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::Tally;
use crate::result::SCHEMA;

/// What is counted, beside who is there now.
const NAMES: [&str; 7] = [
    "accepted",
    "received_bytes",
    "sent_bytes",
    "ended_by_fin",
    "ended_by_reset",
    "ended_by_error",
    "closed",
];
/// How long somebody who asks may take to take the answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// A pause after a connection that could not be accepted, lest a lack of files keeps a core busy.
const PAUSE: Duration = Duration::from_millis(100);

/// One thread's counters, as of its last turn.
#[derive(Debug, Default)]
pub(super) struct Counters {
    open: AtomicU64,
    counts: [AtomicU64; NAMES.len()],
}

impl Counters {
    pub(super) fn show(&self, tally: &Tally, open: u32) {
        self.open.store(open.into(), Ordering::Relaxed);
        for (name, count) in NAMES.iter().zip(&self.counts) {
            count.store(tally.get(name), Ordering::Relaxed);
        }
    }
}

/// All threads' counters.
fn told(threads: &[Arc<Counters>]) -> Value {
    let sum = |of: &dyn Fn(&Counters) -> u64| threads.iter().map(|one| of(one)).sum::<u64>();
    let count = |index: usize| sum(&|one| one.counts[index].load(Ordering::Relaxed));
    let counts: BTreeMap<_, _> =
        NAMES.iter().enumerate().map(|(index, name)| (*name, count(index))).collect();
    let open = sum(&|one| one.open.load(Ordering::Relaxed));
    json!({"schema": SCHEMA, "scenario": "serve", "open": open, "counts": counts})
}

/// Answers each connection to `address` with one line, until the program ends.
pub(super) fn answer(address: SocketAddr, threads: Vec<Arc<Counters>>) -> io::Result<()> {
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    let listener = TcpListener::bind(address).map_err(failed)?;
    eprintln!("stats on {}", listener.local_addr()?);
    std::thread::spawn(move || {
        loop {
            match listener.accept() {
                // Who leaves without the answer did not want it.
                Ok((client, _)) => drop(tell(client, &told(&threads))),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    });
    Ok(())
}

fn tell(mut client: TcpStream, counters: &Value) -> io::Result<()> {
    client.set_write_timeout(Some(PATIENCE))?;
    client.write_all(format!("{counters}\n").as_bytes())
}
