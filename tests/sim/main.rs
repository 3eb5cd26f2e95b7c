//! The worker over a simulated kernel: every fault from a seed, and an oracle that keeps the books.
//!
//! `cargo test --test sim` runs many seeds. `SIM_SEEDS=100000` runs more of them, and
//! `SIM_SEED=7 cargo test --test sim one_seed -- --nocapture` runs one and prints what happens.

mod accepts;
mod acts;
mod ahead;
mod asker;
mod border;
mod buffers;
mod contract;
mod counts;
mod drains;
mod ends;
mod evictions;
mod fault;
mod forwarding;
mod gates;
mod guards;
mod handover;
mod heading;
mod held;
mod hellos;
mod keepers;
mod kernel;
mod link;
mod moved;
mod moves;
mod mutant;
mod mutation;
mod notes;
mod oracle;
mod panics;
mod peer;
mod pipes;
mod ports;
mod postgres;
mod prefaces;
mod random;
mod regressions;
mod ring;
mod run;
mod scenario;
mod secure;
mod sources;
mod tally;
mod transfer;
mod unkind;
mod world;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fault::{Fault, KINDS};
use mutation::Mutation;
use run::{Report, run};
use secure::Seen;
use tally::Tally;

/// Seeds that a plain `cargo test` runs.
const SEEDS: u64 = 2500;

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

fn failure(seed: u64, message: &str) -> String {
    format!(
        "seed {seed} fails: {message}\n\
         repeat it: SIM_SEED={seed} cargo test --test sim one_seed -- --nocapture"
    )
}

#[test]
fn one_seed_with_a_trace_when_asked_for() {
    let Some(seed) = from_environment("SIM_SEED") else { return };
    if handover::are_drawn(seed) {
        match handover::run(seed, Mutation::None, true) {
            Ok(report) => return println!("seed {seed} holds: {report:?}"),
            Err(message) => panic!("{}", failure(seed, &message)),
        }
    }
    match run(seed, Mutation::None, true) {
        Ok(report) => println!("seed {seed} holds: {report:?}"),
        Err(message) => panic!("{}", failure(seed, &message)),
    }
}

/// Runs these seeds on all cores, and says how long that took. A run that fails fails all.
fn sweep(seeds: Range<u64>, note: impl Fn(Report) + Sync) -> Duration {
    sweep_by(seeds, |seed| run(seed, Mutation::None, false), note)
}

fn sweep_by<R>(
    seeds: Range<u64>,
    run: impl Fn(u64) -> Result<R, String> + Sync,
    note: impl Fn(R) + Sync,
) -> Duration {
    let next = AtomicU64::new(seeds.start);
    let failures = Mutex::new(Vec::new());
    let began = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failures.lock().unwrap().len() >= 20 {
                        return;
                    }
                    match run(seed) {
                        Ok(report) => note(report),
                        Err(message) => failures.lock().unwrap().push((seed, message)),
                    }
                }
            });
        }
    });
    let took = began.elapsed();
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    let failures: Vec<String> = failures.iter().map(|(s, message)| failure(*s, message)).collect();
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    took
}

/// Holds that each of these happened, and says how often.
fn all_happened(what: &str, names: impl Iterator<Item = String>, sums: &[u64]) {
    let named: Vec<_> = names.zip(sums).collect();
    named.iter().for_each(|(name, sum)| println!("{sum:>9} {name}"));
    let never: Vec<_> = named.iter().filter(|(_, sum)| **sum == 0).map(|(name, _)| name).collect();
    assert!(never.is_empty(), "{what} that never happened: {never:?}");
}

/// Runs these seeds, and holds that in some of them each of `all` happened.
fn sweep_until_seen<S: Debug, const N: usize>(
    seeds: Range<u64>,
    all: &[S; N],
    seen_in: impl Fn(&Report) -> [u64; N] + Sync,
) {
    let sums = Mutex::new([0; N]);
    let took = sweep(seeds.clone(), |report| {
        let mut sums = sums.lock().unwrap();
        sums.iter_mut().zip(seen_in(&report)).for_each(|(sum, one)| *sum += one);
    });
    println!("{} seeds in {took:?}", seeds.end - seeds.start);
    let names = all.iter().map(|one| format!("{one:?}"));
    all_happened("sights", names, &sums.into_inner().unwrap());
}

#[test]
fn every_seed_keeps_the_books_and_every_fault_fires() {
    let seeds = from_environment("SIM_SEEDS").unwrap_or(SEEDS);
    let fired = Mutex::new([0; KINDS]);
    let rare = Mutex::new([0; counts::RARE]);
    let (turns, clients) = (AtomicU64::new(0), AtomicU64::new(0));
    let took = sweep(0..seeds, |report| {
        turns.fetch_add(report.turns, Ordering::Relaxed);
        clients.fetch_add(report.clients, Ordering::Relaxed);
        let mut fired = fired.lock().unwrap();
        fired.iter_mut().zip(report.fired).for_each(|(sum, one)| *sum += one);
        let mut rare = rare.lock().unwrap();
        rare.iter_mut().zip(report.rare).for_each(|(sum, one)| *sum += one);
    });
    println!("{seeds} seeds in {took:?}, {turns:?} turns, {clients:?} clients");
    let names = Fault::ALL.iter().map(|fault| format!("{fault:?}"));
    all_happened("faults", names, &fired.into_inner().unwrap());
    let names = counts::rare(&Tally::default()).map(|(name, _)| name.to_owned());
    all_happened("counts", names.into_iter(), &rare.into_inner().unwrap());
}

/// Seeds of runs in TLS, where all run.
const TLS_SEEDS: u64 = 400;

#[test]
fn every_seed_of_tls_keeps_the_books_and_everything_happens() {
    let seeds = from_environment("SIM_TLS_SEEDS").unwrap_or(TLS_SEEDS);
    let seeds = secure::SEEDS..secure::SEEDS + seeds;
    sweep_until_seen(seeds, &Seen::ALL, |report| report.seen);
}

/// Seeds of runs in which connections go to another process, where all run.
const HANDOVER_SEEDS: u64 = 400;

#[test]
fn every_seed_of_a_handover_keeps_the_books_and_everything_happens() {
    let seeds = from_environment("SIM_HANDOVER_SEEDS").unwrap_or(HANDOVER_SEEDS);
    let first = handover::SEEDS + from_environment("SIM_HANDOVER_FROM").unwrap_or(0);
    handover::sweep(first..first + seeds);
}

/// Seeds of runs in which clients speak PostgreSQL, where all run.
const POSTGRES_SEEDS: u64 = 600;

#[test]
fn every_seed_of_postgresql_keeps_the_books_and_everything_happens() {
    let seeds = from_environment("SIM_POSTGRES_SEEDS").unwrap_or(POSTGRES_SEEDS);
    let seeds = postgres::SEEDS..postgres::SEEDS + seeds;
    sweep_until_seen(seeds, &postgres::Seen::ALL, |report| report.asked);
}

#[test]
fn a_seed_means_the_same_run_every_time() {
    for seed in 0..20 {
        assert_eq!(run(seed, Mutation::None, false), run(seed, Mutation::None, false));
        let again = || handover::run(handover::SEEDS | seed, Mutation::None, false);
        assert_eq!(again(), again());
        for apart in [secure::SEEDS, postgres::SEEDS] {
            let seed = apart | seed;
            assert_eq!(run(seed, Mutation::None, false), run(seed, Mutation::None, false));
        }
    }
}

#[test]
fn the_oracle_notices_every_mutant() {
    let escaped = escaped(&Mutation::BROKEN, 0);
    assert!(escaped.is_empty(), "mutants that nobody noticed: {escaped:?}");
}

#[test]
fn the_oracle_notices_every_mutant_of_tls() {
    let escaped = escaped(&Mutation::OF_TLS, secure::SEEDS);
    assert!(escaped.is_empty(), "mutants that nobody noticed: {escaped:?}");
}

#[test]
fn the_oracle_notices_every_mutant_of_handovers() {
    let run = |seed, mutation| handover::run(seed, mutation, false);
    let escaped = escaped_by(run, &Mutation::OF_HANDOVERS, handover::SEEDS, HANDOVER_SEEDS);
    assert!(escaped.is_empty(), "mutants that nobody noticed: {escaped:?}");
}

/// Those of these mutants that no seed from this one on shows.
fn escaped(mutants: &[Mutation], first: u64) -> Vec<Mutation> {
    escaped_by(|seed, mutation| run(seed, mutation, false), mutants, first, SEEDS)
}

fn escaped_by<R>(
    run: impl Fn(u64, Mutation) -> Result<R, String>,
    mutants: &[Mutation],
    first: u64,
    seeds: u64,
) -> Vec<Mutation> {
    let is_escaped = |mutation: &Mutation| {
        let is_its = |message: String| message.contains(mutation.symptom());
        let caught = (first..first + seeds).find(|&seed| run(seed, *mutation).is_err_and(is_its));
        println!("{mutation:?}: {caught:?}");
        caught.is_none()
    };
    mutants.iter().copied().filter(is_escaped).collect()
}
