//! Inside a guest: a gateway and both ends of its connections, with a line for each check.
//!
//! The first argument says what `io = "auto"` must come to on this kernel. The lines are read by
//! `tests/kernels/console.rs`.

mod gateway;
mod pairs;
mod starts;
mod traffic;
mod verbs;

use std::error::Error;
use std::time::Instant;

use gateway::Gateway;
use pairs::Ends;

/// What a check says of itself where it holds, and what is wrong where it does not.
type Outcome = Result<String, Box<dyn Error>>;

/// A check fails with these words unless this holds.
fn ensure(holds: bool, says: impl FnOnce() -> String) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(says().into()) }
}

/// Runs a check and prints its line.
fn check(name: &str, run: impl FnOnce() -> Outcome) -> bool {
    let begun = Instant::now();
    let outcome = run();
    let seconds = begun.elapsed().as_secs_f64();
    match &outcome {
        Ok(says) => println!("CHECK {name} | ok | {seconds:.1} | {says}"),
        Err(why) => println!("CHECK {name} | FAILED | {seconds:.1} | {why}"),
    }
    outcome.is_ok()
}

fn main() {
    let io = std::env::args().nth(1).unwrap_or_default();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // What the firmware has printed ends no line.
    println!("\nRELEASE {}", release.trim());
    let mut ends = match Ends::new() {
        Ok(ends) => ends,
        Err(error) => return println!("CHECK server | FAILED | 0.0 | {error}"),
    };
    check("check", starts::check);
    check("doctor", || starts::doctor(&io));
    check("asked for io_uring", || starts::asked_for_rings(&io, &mut ends));
    let mut started = None;
    check("start", || starts::start(&io, &mut started));
    if let Some(gateway) = started {
        serve(&gateway, &mut ends);
        check("drain", || verbs::drain(gateway, &mut ends));
    }
    check("upgrade", || verbs::upgrade(&io, &mut ends));
}

/// What one gateway does for its clients, and whether it has counted all of that.
fn serve(gateway: &Gateway, ends: &mut Ends) {
    ends.opened = 0;
    check("held", || traffic::held(gateway, ends));
    check("half-closes", || traffic::half_closes(ends));
    check("resets", || traffic::resets(ends));
    check("bulk", || traffic::bulk(ends));
    check("ping-pong", || traffic::ping_pong(ends));
    check("churn", || traffic::churn(ends));
    check("counts", || traffic::counts(gateway, ends));
    check("reload", || verbs::reload(gateway, ends));
}
