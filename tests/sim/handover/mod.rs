//! Runs in which connections go from the worker of one process to that of another.
//!
//! The rings of both are over one simulated kernel (`shared`), whose sockets are in the ring of the
//! process whose turn it is. The workers are real; `control` says to them what the control planes
//! of both processes say, in their order and with all that may go wrong, and `courier` is the way
//! between them. `books` has what must hold meanwhile, `judge` what must have come of everybody.
//!
//! They have seeds of their own: `SIM_SEED=$((1 << 42 | 7))` is the seventh. `SIM_HANDOVER_SEEDS`
//! runs more of them, from `SIM_HANDOVER_FROM` on.

mod books;
mod control;
mod courier;
mod judge;
mod plan;
mod run;
mod seen;
mod shared;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::mutation::Mutation;
pub use run::run;
use seen::Sight;

/// The seeds of these runs have this bit.
pub const SEEDS: u64 = 1 << 42;

/// Runs these seeds, and holds that everything happened in some of them.
pub fn sweep(seeds: Range<u64>) {
    let sums = Mutex::new([0; Sight::ALL.len()]);
    let (turns, clients) = (AtomicU64::new(0), AtomicU64::new(0));
    let took = crate::sweep_by(
        seeds.clone(),
        |seed| run(seed, Mutation::None, false),
        |report| {
            turns.fetch_add(report.turns, Ordering::Relaxed);
            clients.fetch_add(report.clients, Ordering::Relaxed);
            let mut sums = sums.lock().unwrap();
            sums.iter_mut().zip(report.seen).for_each(|(sum, one)| *sum += one);
        },
    );
    let seeds = seeds.end - seeds.start;
    println!("{seeds} seeds in {took:?}, {turns:?} turns, {clients:?} clients");
    let names = Sight::ALL.iter().map(|one| format!("{one:?}"));
    crate::all_happened("sights", names, &sums.into_inner().unwrap());
}

/// Whether a run is one of these.
pub fn are_drawn(seed: u64) -> bool {
    seed & SEEDS > 0
}
