//! What the threads of a crowd share: marks that come on stdin, and moments that are looked at
//! when all is over.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How often somebody who waits for the threads looks.
const GLANCE: Duration = Duration::from_millis(5);
/// Before all held ones are checked, which is a load of its own: what was asked before has its
/// answer then.
const SETTLE: Duration = Duration::from_millis(250);
/// What a connection that is lost with its side of a window may be late.
const FORGIVEN_LATE: Duration = Duration::from_secs(2);

/// A time in which something was done to the target. Moments are nanoseconds of the crowd's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) begun: u64,
    /// `None`: it goes on.
    pub(super) ended: Option<u64>,
    /// Nanoseconds from its begin in which connections moved.
    pub(super) moving: u64,
    /// What is lost is no failure, except for held ones that were not asked meanwhile.
    pub(super) forgiving: bool,
}

/// What goes on at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    Usual,
    /// Something is done to the target.
    Window,
    /// All held ones are checked, which is a load of its own.
    Check,
}

/// A message and when it was due, how long its answer took.
pub(super) type Asked = (u64, u64);

/// What the threads share.
pub(super) struct Marks {
    epoch: Instant,
    threads: u64,
    windows: RwLock<Vec<Window>>,
    /// When all held ones are checked while it runs, from when to when.
    sweeps: RwLock<Vec<(u64, u64)>>,
    /// Threads that are in the phase that is measured.
    pub(super) running: AtomicU64,
    /// Checks of all held connections: those asked for, and those done, by each thread.
    checks: AtomicU64,
    pub(super) checked: AtomicU64,
    over: AtomicBool,
    /// Of the held, those that are there, and those that were lost.
    pub(super) held: AtomicU64,
    pub(super) held_lost: AtomicU64,
    pub(super) failed: AtomicU64,
    /// Messages that were due in a window, and when newcomers were served.
    asked: Mutex<Vec<Asked>>,
    served: Mutex<Vec<u64>>,
}

impl Marks {
    pub(super) fn new(threads: usize) -> Marks {
        Marks {
            epoch: Instant::now(),
            threads: threads as u64,
            windows: RwLock::default(),
            sweeps: RwLock::default(),
            running: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            over: AtomicBool::new(false),
            held: AtomicU64::new(0),
            held_lost: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            asked: Mutex::default(),
            served: Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    pub(super) fn windows(&self) -> Vec<Window> {
        self.windows.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What goes on at this moment.
    pub(super) fn time_of(&self, at: u64) -> Time {
        let windows = self.windows.read().unwrap_or_else(PoisonError::into_inner);
        if windows.iter().rev().any(|window| window.holds(at)) {
            return Time::Window;
        }
        let sweeps = self.sweeps.read().unwrap_or_else(PoisonError::into_inner);
        let is_swept = sweeps.iter().rev().any(|(begun, ended)| (*begun..=*ended).contains(&at));
        if is_swept { Time::Check } else { Time::Usual }
    }

    /// Since when what is lost now is no failure, if it is none.
    pub(super) fn forgives_since(&self) -> Option<u64> {
        let now = self.now();
        let late = FORGIVEN_LATE.as_nanos() as u64;
        let windows = self.windows.read().unwrap_or_else(PoisonError::into_inner);
        let is_late = |one: &Window| one.ended.is_some_and(|ended| now > ended + late);
        windows.iter().find(|one| one.forgiving && !is_late(one)).map(|one| one.begun)
    }

    pub(super) fn checks_asked(&self) -> u64 {
        self.checks.load(SeqCst)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Takes what a thread has seen.
    pub(super) fn take(&self, asked: Vec<Asked>, served: Vec<u64>) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).extend(asked);
        self.served.lock().unwrap_or_else(PoisonError::into_inner).extend(served);
    }

    /// What all have seen; the moments of the served in their order.
    pub(super) fn taken(&self) -> (Vec<Asked>, Vec<u64>) {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        let served = &mut *self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let mut served = std::mem::take(served);
        served.sort_unstable();
        (asked, served)
    }

    /// Hears what stdin says, on a thread of its own, and answers each line on stdout; the run is
    /// over when it ends.
    pub(super) fn hear(self: &Arc<Marks>) {
        let marks = self.clone();
        std::thread::spawn(move || {
            marks.wait_for(|| marks.running.load(SeqCst) == marks.threads);
            say(&json!({"said": "ready", "held": marks.held.load(SeqCst)}));
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                say(&marks.obey(line.trim()));
            }
            marks.over.store(true, SeqCst);
        });
    }

    /// A check of all, begun at that moment, ends at this one.
    fn sweep(&self, begun: u64, ended: u64) {
        let mut sweeps = self.sweeps.write().unwrap_or_else(PoisonError::into_inner);
        sweeps.retain(|(at, _)| *at != begun);
        sweeps.push((begun, ended));
    }

    fn wait_for(&self, is_so: impl Fn() -> bool) {
        while !is_so() {
            std::thread::sleep(GLANCE);
        }
    }

    /// Does what a line asks for; the answer.
    fn obey(&self, line: &str) -> Value {
        let now = self.now();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "begin" | "forgive" => {
                let forgiving = word == "forgive";
                let window = Window { begun: now, ended: None, moving: 0, forgiving };
                self.windows.write().unwrap_or_else(PoisonError::into_inner).push(window);
            }
            "end" => {
                let mut all = self.windows.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(window) = all.last_mut() {
                    window.ended = Some(now);
                    window.moving = (rest.parse().unwrap_or(0.0_f64) * 1e9) as u64;
                }
            }
            "check" => {
                std::thread::sleep(SETTLE);
                let now = self.now();
                self.sweep(now, u64::MAX);
                let wanted = (self.checks.fetch_add(1, SeqCst) + 1) * self.threads;
                self.wait_for(|| self.checked.load(SeqCst) >= wanted);
                self.sweep(now, self.now());
            }
            _ => return json!({"said": line, "unknown": true}),
        }
        let count = |of: &AtomicU64| of.load(SeqCst);
        json!({
            "said": word, "held": count(&self.held), "held_lost": count(&self.held_lost),
            "failed": count(&self.failed),
        })
    }
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    // A reader that is gone wants no answer.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

impl Window {
    pub(super) fn holds(&self, at: u64) -> bool {
        at >= self.begun && self.ended.is_none_or(|ended| at <= ended)
    }

    /// Whether connections moved at this moment.
    pub(super) fn is_moving_at(&self, at: u64) -> bool {
        self.holds(at) && at <= self.begun + self.moving
    }
}
