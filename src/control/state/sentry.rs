//! The sentry says what becomes of servers, and ends the rests of those that were ejected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humantime_serde::re::humantime::format_duration;

use super::folded::Folded;
use super::view::View;
use crate::base::chance::jittered;
use crate::base::{Millis, ServerId, UpstreamId};
use crate::checks::Checks;
use crate::config;
use crate::control::events::Events;
use crate::metrics::reading::Severity;
use crate::topology::{Server, WithLine};
use crate::upstream::{AdminState, Observed, Standing};

/// Between two looks.
pub(in crate::control) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two clients that try a server, where the first has brought no answer.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How many times the first rest the longest one takes.
const LONGEST_REST: u32 = 32;

/// What the sentry knows.
#[derive(Debug, Default)]
pub struct Sentry {
    servers: BTreeMap<ServerId, Sighting>,
    /// Upstreams of which no server served at some time.
    lost: BTreeMap<UpstreamId, Loss>,
}

/// What a look at the servers goes by.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct Scene<'a> {
    pub(in crate::control) view: &'a View,
    pub(in crate::control) checks: &'a Checks,
    pub(in crate::control) events: &'a Events,
    pub(in crate::control) now: Millis,
    pub(in crate::control) calendar: SystemTime,
}

/// An upstream whose last server was lost.
#[derive(Debug, Default)]
struct Loss {
    /// Since when none serves; `None`: one does again.
    since: Option<Millis>,
    folded: Folded,
}

/// One server as it was seen last.
#[derive(Clone, Debug)]
pub struct Sighting {
    server: Arc<Server>,
    /// What was observed.
    pub observed: Observed,
    /// Since when, by the calendar; `None`: since it is known.
    pub since: Option<SystemTime>,
    /// Why it is not up, in words.
    pub because: Option<String>,
    from: Millis,
    /// Ejections so far, modulo 2³².
    ejections: u32,
    /// Those one after the other but for the first, and the rest of the last.
    rests: u32,
    rest: Duration,
    /// When it may be tried, or tried once more.
    next_try: Millis,
    /// Clients that had been joined to it when it was ejected, and when one more was first seen.
    joined: u32,
    joined_at: Option<Millis>,
    /// When it was ejected or tried last.
    tried: Millis,
    folded: Folded,
}

impl Sighting {
    fn new(server: Arc<Server>, now: Millis) -> Sighting {
        Sighting {
            server,
            observed: Observed::Up,
            since: None,
            because: None,
            from: now,
            ejections: 0,
            rests: 0,
            rest: Duration::ZERO,
            next_try: now,
            joined: 0,
            joined_at: None,
            tried: now,
            folded: Folded::default(),
        }
    }
}

impl Sentry {
    /// What was seen of a server last, if anything was.
    pub fn sighting(&self, id: ServerId) -> Option<&Sighting> {
        self.servers.get(&id)
    }

    /// Looks at all servers once.
    pub(in crate::control) fn look(&mut self, scene: Scene<'_>) {
        let topology = &scene.view.topology;
        self.servers.retain(|id, _| topology.servers.get(*id).is_some());
        self.lost.retain(|id, _| topology.upstreams.get(*id).is_some());
        for WithLine { id, servers, line, .. } in topology.with_lines(&scene.view.config.upstreams)
        {
            let standings = || servers.iter().map(|id| &*topology.servers[*id].standing);
            let serving = standings().filter(|standing| serves(standing)).count();
            for server in servers {
                self.look_at(*server, line, (serving, servers.len()), scene);
            }
            let is_lost = serving == 0 && !servers.is_empty();
            self.look_at_all(id, line, (is_lost, servers.len()), scene);
        }
    }

    fn look_at(
        &mut self,
        id: ServerId,
        line: &config::Upstream,
        serving: (usize, usize),
        scene: Scene<'_>,
    ) {
        let (server, now) = (&scene.view.topology.servers[id], scene.now);
        let seen = self.servers.entry(id).or_insert_with(|| Sighting::new(server.clone(), now));
        if !Arc::ptr_eq(&seen.server, server) {
            seen.server = server.clone();
        }
        let standing = &*server.standing;
        let (observed, ejections) = (standing.observed(), standing.ejections());
        if observed != seen.observed || ejections != seen.ejections {
            seen.ejections = ejections;
            let before = std::mem::replace(&mut seen.observed, observed);
            let because = scene.checks.told(id).map(|told| told.because.unwrap_or_default());
            if let Some((severity, words)) = seen.go(before, because, line, scene) {
                seen.tell(severity, &words, line, serving, scene);
            }
        } else if seen.folded.is_due(now) {
            let (severity, words) = seen.stands();
            seen.tell(severity, &words, line, serving, scene);
        }
        seen.tend(line, now);
        seen.ease_in(line, now);
    }

    /// Says when the last server of an upstream is lost, and when one is there again.
    fn look_at_all(
        &mut self,
        id: UpstreamId,
        line: &config::Upstream,
        (is_lost, of): (bool, usize),
        scene: Scene<'_>,
    ) {
        let now = scene.now;
        if !is_lost && !self.lost.contains_key(&id) {
            return;
        }
        let loss = self.lost.entry(id).or_default();
        let is_due = loss.folded.is_due(now);
        let (severity, words) = match (is_lost, loss.since) {
            (true, Some(_)) | (false, None) if !is_due => return,
            (true, since) => {
                loss.since = since.or(Some(now));
                let clients = line.all_down.fate();
                (Severity::Error, format!("no server is left that serves, of {of}: {clients}"))
            }
            (false, since) => {
                loss.since = None;
                let after = since.map(|since| format!(", after {}", short(now.since(since))));
                (Severity::Info, format!("a server serves again{}", after.unwrap_or_default()))
            }
        };
        if let Some(folded) = loss.folded.may_say(now) {
            let subject = format!("upstream/{}", line.name);
            scene.events.tell(severity, &subject, &(words + &folded));
        }
    }
}

/// Whether a server takes clients when all is well, and nothing speaks against it.
pub(in crate::control) fn serves(standing: &Standing) -> bool {
    let is_meant = standing.admin() == AdminState::Ready && standing.weight() > 0;
    is_meant && standing.observed() == Observed::Up && !standing.is_failing()
}

fn subject(line: &config::Upstream, server: &Server) -> String {
    format!("server/{}/{}", line.name, server.name)
}

/// To a tenth of a second.
fn short(time: Duration) -> String {
    format_duration(Duration::from_millis(time.as_millis() as u64 / 100 * 100)).to_string()
}

impl Sighting {
    /// It is seen otherwise than before. Says what there is to say of it. `failed_checks`: why
    /// checks call it down; `None`: there are none.
    fn go(
        &mut self,
        before: Observed,
        failed_checks: Option<String>,
        line: &config::Upstream,
        scene: Scene<'_>,
    ) -> Option<(Severity, String)> {
        let now = scene.now;
        let lasted = now.since(self.from);
        let standing = &*self.server.standing;
        let is_rest = |observed| matches!(observed, Observed::Ejected | Observed::Trial);
        if !(is_rest(before) && is_rest(self.observed)) {
            (self.from, self.since) = (now, Some(scene.calendar));
        }
        match self.observed {
            Observed::Ejected => {
                // One that served for longer than it had rested begins with a short rest again.
                let is_fresh = before == Observed::Up && lasted > self.rest;
                self.rests = if is_fresh { 0 } else { self.rests + 1 };
                let doubled = 1 << self.rests.min(LONGEST_REST.ilog2());
                self.rest = jittered(line.eject_for * doubled);
                self.next_try = now.after(self.rest);
                (self.joined, self.joined_at, self.tried) = (standing.joined_count(), None, now);
                self.because = standing.last_failure().map(|(_, failure)| failure.to_string());
                if before == Observed::Up {
                    return Some(self.stands());
                }
                let (subject, because) = (subject(line, &self.server), self.because.as_deref());
                tracing::debug!(subject, because, rest = short(self.rest), "fails again");
                None
            }
            Observed::Trial => {
                let subject = subject(line, &self.server);
                tracing::debug!(subject, "its rest is over: one client tries it");
                None
            }
            Observed::Down => {
                self.because = failed_checks;
                Some(self.stands())
            }
            Observed::Up => {
                self.because = None;
                let words = match failed_checks {
                    None if before == Observed::Down => "is checked no more, and counts as up",
                    _ => "serves again",
                };
                let (address, after) = (self.server.address, short(lasted));
                Some((Severity::Info, format!("{address} {words} after {after}")))
            }
        }
    }

    /// What it is now, in words.
    fn stands(&self) -> (Severity, String) {
        let (because, address) = (self.because.as_deref().unwrap_or_default(), self.server.address);
        match self.observed {
            Observed::Up => (Severity::Info, format!("{address} serves")),
            Observed::Down => (Severity::Warning, format!("is down: {because}; {address}")),
            Observed::Ejected | Observed::Trial => {
                let rest = short(self.rest);
                let words =
                    format!("is ejected: {because}; {address} gets no new clients for {rest}");
                (Severity::Warning, words)
            }
        }
    }

    /// Says it, unless too much was said of this server.
    fn tell(
        &mut self,
        severity: Severity,
        words: &str,
        line: &config::Upstream,
        (serving, of): (usize, usize),
        scene: Scene<'_>,
    ) {
        let Some(folded) = self.folded.may_say(scene.now) else { return };
        let subject = subject(line, &self.server);
        let words = format!("{words}, {serving} of {of} serve{folded}");
        scene.events.tell(severity, &subject, &words);
    }

    /// A server that is back gets a part of its share that grows with time. It has the least of it
    /// already while it rests, so that nothing floods it before the next look.
    fn ease_in(&self, line: &config::Upstream, now: Millis) {
        let part = match (line.slow_start, self.observed) {
            (Some(time), Observed::Up) if self.since.is_some() => {
                now.since(self.from).as_secs_f64() / time.as_secs_f64()
            }
            (None, _) | (_, Observed::Up) => 1.0,
            _ => 0.0,
        };
        self.server.standing.set_part(part);
    }

    /// What is due for a server as it is.
    fn tend(&mut self, line: &config::Upstream, now: Millis) {
        let standing = &*self.server.standing;
        match self.observed {
            Observed::Up | Observed::Down => return,
            Observed::Ejected if line.eject_after.is_none() => {
                standing.set_up();
                return;
            }
            Observed::Ejected | Observed::Trial if now >= self.next_try => {
                (self.next_try, self.tried) = (now.after(TRY_EVERY), now);
                standing.try_again();
            }
            Observed::Ejected | Observed::Trial => {}
        }
        // Who was joined to it and stays is an answer, too.
        if standing.joined_count() != self.joined && self.joined_at.is_none() {
            self.joined_at = Some(now);
        }
        let early_end = line.early_end.unwrap_or_default() + LOOK_EVERY;
        if self.joined_at.is_some_and(|at| now.since(at) >= early_end) {
            let failed = standing.last_failure().map(|(at, _)| at);
            if failed.is_none_or(|at| at < self.tried) {
                standing.passed();
            }
            (self.joined, self.joined_at) = (standing.joined_count(), None);
        }
    }
}
