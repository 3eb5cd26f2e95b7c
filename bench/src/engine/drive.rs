//! Threads that each drive a script over their connections, phase by phase.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use portcullis::ring::ConnIndex;

use super::net::{Event, Net, NetSetup};
use super::phase::{Phase, Shown, Totals, Until};
use super::progress::Progress;
use super::tally::Tally;
use super::timeline::Timeline;
use crate::host::{Applied, Snapshot};

/// The longest that a thread sleeps before it looks at what phase it is.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// What a thread's connections do.
pub(crate) trait Script {
    /// A phase begins.
    fn begin(&mut self, phase: Phase, net: &mut Net);
    /// Something happened.
    fn on(&mut self, conn: ConnIndex, event: Event, net: &mut Net);
    /// Does what is due now.
    fn tick(&mut self, net: &mut Net) -> Tick;
    /// What was counted so far.
    fn tally(&mut self) -> &mut Tally;
}

/// What a script says between two turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    /// The phase has nothing more to do here.
    pub(crate) done: bool,
    /// Nothing is open, and nothing will be in this phase: a phase of some length ends here.
    pub(crate) dead: bool,
    /// How much of the present phase's work is done, for the progress line.
    pub(crate) progress: u64,
    /// When something is due next.
    pub(crate) wait: Duration,
}

/// A run.
pub(crate) struct Job {
    pub(crate) phases: Vec<(Phase, Until)>,
    pub(crate) threads: usize,
    pub(crate) target_pids: Vec<u32>,
    /// How much each phase's progress counts to, for the ETA.
    pub(crate) goal: u64,
    /// Progress is told once a second; else only at SIGUSR1.
    pub(crate) talks: bool,
    /// Connections speak TLS.
    pub(crate) secured: bool,
    /// To be put back even when the program ends at once.
    pub(crate) applied: Option<Arc<Applied>>,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Before the first phase and after each.
    pub(crate) snapshots: Vec<(Option<Phase>, Snapshot)>,
    pub(crate) timeline: Timeline,
    /// Somebody ended it early.
    pub(crate) interrupted: bool,
    /// The first phase that ended early, and when: nothing was open any more.
    pub(crate) dead: Option<(Phase, Duration)>,
    pub(crate) secured: bool,
    /// Connections that were established, over all threads.
    pub(crate) established: u64,
}

impl Outcome {
    /// The snapshots before the first such phase and after the last one.
    pub(crate) fn around(&self, phase: Phase) -> Option<(&Snapshot, &Snapshot)> {
        let first = self.snapshots.iter().position(|(one, _)| *one == Some(phase))?;
        let last = self.snapshots.iter().rposition(|(one, _)| *one == Some(phase))?;
        Some((&self.snapshots[first - 1].1, &self.snapshots[last].1))
    }

    /// The snapshots before everything and at the end of a phase.
    pub(crate) fn until(&self, phase: Phase) -> Option<(&Snapshot, &Snapshot)> {
        Some((&self.snapshots[0].1, self.around(phase)?.1))
    }
}

/// What all threads of a run see.
struct Shared {
    phases: Vec<Phase>,
    /// Index of the present phase; beyond the last, the run is over.
    present: AtomicUsize,
    shown: Vec<Shown>,
    broken: AtomicBool,
}

/// Raises the soft limit of open files to the hard one: it bounds the slots of one ring.
pub(crate) fn allow_large_tables() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// Blocks the signals that end a run, in this thread and those it starts: they wait until the run
/// hears them. A terminal that goes away is one, unless it was said not to matter (nohup).
pub(crate) fn hold_signals() -> io::Result<SigSet> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGUSR1);
    if !is_ignored(Signal::SIGHUP) {
        signals.add(Signal::SIGHUP);
    }
    signals.thread_block()?;
    Ok(signals)
}

/// By the mask in /proc/self/status, whose lowest bit is signal 1.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

/// What signals asked for.
#[derive(Default)]
struct Asked {
    stop: AtomicBool,
    progress: AtomicBool,
}

/// Stops at the first signal and ends the program at the second; SIGUSR1 asks for a line.
fn hear(signals: SigSet, asked: Arc<Asked>, applied: Weak<Applied>) {
    std::thread::spawn(move || {
        loop {
            match signals.wait() {
                Ok(Signal::SIGUSR1) => asked.progress.store(true, Ordering::Relaxed),
                Ok(_) if asked.stop.swap(true, Ordering::Relaxed) => {
                    if let Some(applied) = applied.upgrade() {
                        applied.put_back();
                    }
                    std::process::exit(1)
                }
                Ok(_) => eprintln!("ending; once more ends at once"),
                Err(_) => return,
            }
        }
    });
}

/// Runs a job: `make` makes each thread's connections and script, on that thread.
pub(crate) fn run<S: Script>(
    job: &Job,
    make: impl Fn(usize) -> io::Result<(NetSetup, S)> + Sync,
) -> io::Result<Outcome> {
    let asked = Arc::new(Asked::default());
    let applied = job.applied.as_ref().map_or_else(Weak::new, Arc::downgrade);
    hear(hold_signals()?, asked.clone(), applied);
    let shared = Shared {
        phases: job.phases.iter().map(|(phase, _)| *phase).collect(),
        present: AtomicUsize::new(usize::MAX),
        shown: (0..job.threads).map(|_| Shown::default()).collect(),
        broken: AtomicBool::new(false),
    };
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..job.threads)
            .map(|index| {
                let (shared, make, total) = (&shared, &make, &total);
                scope.spawn(move || {
                    let result = make(index).and_then(|(setup, mut script)| {
                        drive(setup, &mut script, shared, index)?;
                        let tally = std::mem::take(script.tally());
                        total.lock().expect("no thread panicked").add(tally);
                        Ok(())
                    });
                    if result.is_err() {
                        shared.broken.store(true, Ordering::Relaxed);
                    }
                    result
                })
            })
            .collect();
        let (snapshots, timeline, dead) = conduct(job, &shared, &asked);
        shared.present.store(usize::MAX - 1, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| io::Error::other("a thread panicked"))??;
        }
        let tally = std::mem::take(&mut *total.lock().expect("no thread panicked"));
        let interrupted = asked.stop.load(Ordering::Relaxed);
        let established =
            shared.shown.iter().map(|one| one.established.load(Ordering::Relaxed)).sum();
        let secured = job.secured;
        Ok(Outcome { tally, snapshots, timeline, interrupted, dead, secured, established })
    })
}

/// Snapshots, the timeline, and the first phase that ended early with when.
type Conducted = (Vec<(Option<Phase>, Snapshot)>, Timeline, Option<(Phase, Duration)>);

/// Leads the threads through the phases; an interrupt leads straight to `Close`, and ends there.
fn conduct(job: &Job, shared: &Shared, asked: &Asked) -> Conducted {
    let stop = &asked.stop;
    let ready = |one: &Shown| one.thread_id.load(Ordering::Relaxed) != 0;
    while !shared.shown.iter().all(ready) && !shared.broken.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut progress = Progress::new();
    let mut snapshots = vec![(None, snapshot(job, shared))];
    let mut timeline = Timeline::new();
    let started = Instant::now();
    let mut dead = None;
    for (index, (phase, until)) in job.phases.iter().enumerate() {
        if stop.load(Ordering::Relaxed) && *phase != Phase::Close {
            continue;
        }
        let begun = Instant::now();
        progress.begin(*phase, *until, job.goal);
        shared.present.store(index, Ordering::Relaxed);
        let is_over = || {
            let all = shared.shown.iter().all(|one| one.done.load(Ordering::Relaxed) > index);
            match until {
                Until::Done => all,
                Until::Elapsed(span) => begun.elapsed() >= *span,
            }
        };
        let was_stopped = stop.load(Ordering::Relaxed);
        while !is_over() && !shared.broken.load(Ordering::Relaxed) {
            if stop.load(Ordering::Relaxed) != was_stopped {
                break;
            }
            if shared.shown.iter().all(|one| one.dead.load(Ordering::Relaxed) == index + 1) {
                eprintln!("{phase:?}: nothing is open any more");
                dead = dead.or(Some((*phase, begun.elapsed())));
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            let now = asked.progress.swap(false, Ordering::Relaxed);
            let totals = || Totals::of(&shared.shown, index);
            progress.show(totals, now, job.talks);
            timeline.look(started.elapsed(), *phase, totals);
        }
        snapshots.push((Some(*phase), snapshot(job, shared)));
    }
    progress.end(Totals::of(&shared.shown, usize::MAX));
    (snapshots, timeline, dead)
}

fn snapshot(job: &Job, shared: &Shared) -> Snapshot {
    let ids = shared.shown.iter().map(|one| one.thread_id.load(Ordering::Relaxed));
    let lags = shared.shown.iter().map(|one| one.lag_nanos.swap(0, Ordering::Relaxed));
    let lag = Duration::from_nanos(lags.max().unwrap_or(0));
    Snapshot::take(&job.target_pids, &ids.collect::<Vec<_>>(), lag)
}

/// One thread's loop.
fn drive<S: Script>(
    setup: NetSetup,
    script: &mut S,
    shared: &Shared,
    index: usize,
) -> io::Result<()> {
    let mut net = Net::new(setup)?;
    let shown = &shared.shown[index];
    shown.thread_id.store(nix::unistd::gettid().as_raw() as usize, Ordering::Relaxed);
    let mut present = usize::MAX;
    loop {
        let wanted = shared.present.load(Ordering::Relaxed);
        if wanted != present && wanted != usize::MAX {
            let Some(phase) = shared.phases.get(wanted) else { return Ok(()) };
            present = wanted;
            script.begin(*phase, &mut net);
        }
        let mut wait = LONGEST_SLEEP;
        if present != usize::MAX {
            let tick = script.tick(&mut net);
            wait = wait.min(tick.wait);
            shown.open.store(u64::from(net.open), Ordering::Relaxed);
            shown.progress.store(tick.progress, Ordering::Relaxed);
            shown.phase.store(present, Ordering::Release);
            shown.failed.store(script.tally().failed, Ordering::Relaxed);
            shown.dead.store(if tick.dead { present + 1 } else { 0 }, Ordering::Relaxed);
            shown.established.store(net.established, Ordering::Relaxed);
            if tick.done {
                shown.done.store(present + 1, Ordering::Relaxed);
            }
        }
        let late = net.turn(wait)?;
        shown.lag_nanos.fetch_max(late.as_nanos() as u64, Ordering::Relaxed);
        while let Some((conn, event)) = net.next() {
            script.on(conn, event, &mut net);
            if let Event::Received(chunk) = event {
                net.release(chunk);
            }
        }
    }
}
