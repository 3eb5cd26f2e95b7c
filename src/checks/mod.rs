//! Checks of servers: each is asked again and again whether it serves, apart from its clients.
//!
//! Every server of an upstream with a `check` has a task of the control thread. A check is a
//! connection of the gateway's own, from the address that connections to the server come from; it
//! is no client's, and no worker knows of it. So many results in a row make a server down, or up
//! again ([`Standing::set_down`], [`Standing::set_up`]): workers see it with their next choice.
//!
//! - `ask` makes one check, and `answer` is what its answer comes to;
//! - `channel` is its stream, with TLS over it where connections of clients have that;
//! - `hello` has the question of a check by TLS, and reads its answer;
//! - `course` has the checks of one server follow each other, and judges by their results;
//! - `tally` has what they came to, for those who show it.

mod answer;
mod ask;
mod channel;
mod course;
mod hello;
mod tally;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_local};

use ask::Target;
use course::Course;
pub use tally::{Tally, Told};

use crate::base::limits::CHECKS_AT_ONCE;
use crate::base::{Clock, ServerId};
use crate::config;
use crate::topology::{Server, Topology, Upstream, WithLine};
use crate::upstream::{Observed, Standing};

/// All checks of a gateway. They end when this is dropped.
#[derive(Debug)]
pub struct Checks {
    running: BTreeMap<ServerId, Running>,
    /// Places of checks under way.
    places: Arc<Semaphore>,
    clock: Clock,
}

/// The checks of one server.
#[derive(Debug)]
struct Running {
    target: Target,
    check: config::Check,
    standing: Arc<Standing>,
    tally: Arc<Tally>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// Whether it is about this server, and no other that has its id by now.
    fn is_of(&self, server: &Server) -> bool {
        Arc::ptr_eq(&self.standing, &server.standing.arc())
    }
}

impl Checks {
    /// None yet.
    pub fn new(clock: Clock) -> Checks {
        Checks { running: BTreeMap::new(), places: Arc::new(Semaphore::new(CHECKS_AT_ONCE)), clock }
    }

    /// Has the servers of a topology checked as these lines say, and no others. Checks that are as
    /// they were go on. A server that is checked no more is up again where it was down: nothing
    /// says so any longer. On a thread that runs a `LocalSet`.
    pub fn follow(&mut self, topology: &Topology, lines: &[config::Upstream]) {
        let mut before = std::mem::take(&mut self.running);
        for WithLine { servers, line, upstream, .. } in topology.with_lines(lines) {
            if line.check.is_none() {
                continue;
            }
            for id in servers {
                let server = &topology.servers[*id];
                let is_known = before.get(id).is_some_and(|running| running.is_of(server));
                let known = is_known.then(|| before.remove(id)).flatten();
                let next = self.next(known, server, (line, upstream));
                self.running.insert(*id, next);
            }
        }
        for ended in before.into_values() {
            if ended.standing.observed() == Observed::Down {
                ended.standing.set_up();
            }
        }
    }

    /// What the checks of a server came to; `None`: it is not checked.
    pub fn told(&self, id: ServerId) -> Option<Told> {
        self.running.get(&id).map(|running| running.tally.told())
    }

    /// Has a server that a predecessor's checks found down be so here, if it is checked: the next
    /// ones say whether it still is.
    pub fn take_down(&self, id: ServerId, because: String) {
        if let Some(running) = self.running.get(&id) {
            running.tally.judge(Some(because));
            running.standing.set_down();
        }
    }

    /// Goes on counting where a predecessor has stopped.
    pub fn count_on(&self, id: ServerId, former: &Told) {
        if let Some(running) = self.running.get(&id) {
            running.tally.count_on(former);
        }
    }

    /// # Panics
    /// When the line asks for no checks.
    fn next(
        &self,
        before: Option<Running>,
        server: &Server,
        (line, upstream): (&config::Upstream, &Upstream),
    ) -> Running {
        let check = line.check.as_ref().expect("it asks for checks");
        let target = Target::of(server, check, line.forwarding.send_proxy, upstream.tls.as_ref());
        let tally = match before {
            Some(same) if same.target == target && same.check == *check => return same,
            Some(other) => other.tally.clone(),
            None => Arc::default(),
        };
        let (check, standing) = (check.clone(), server.standing.arc());
        let course = Course {
            target: target.clone(),
            check: check.clone(),
            standing: standing.clone(),
            tally: tally.clone(),
            places: self.places.clone(),
            clock: self.clock.clone(),
        };
        let task = spawn_local(course.run());
        Running { target, check, standing, tally, task }
    }
}
