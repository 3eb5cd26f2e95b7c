//! What the control plane knows and readings are taken from: what stays from the start on, and the
//! view of the present topology.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use super::connects::Connects;
use super::sentry::Sentry;
use super::sets::Sets;
use super::view::View;
use crate::access_log::AccessLogs;
use crate::base::{Clock, GateId, IdMap, ListenerId, ServerId};
use crate::budget::Budget;
use crate::checks::Checks;
use crate::config::{Class, Config};
use crate::control::drains::{Drain, Drains, Of, Undo};
use crate::control::events::Events;
use crate::control::handle::WorkerHandle;
use crate::control::log::LogSettings;
use crate::discovery::{Search, Searches};
use crate::host::facts::Given;
use crate::host::usage::ProcessStart;
use crate::metrics::reading::LastReload;
use crate::metrics::{ListenerCounters, Removed, ServerCounters, reading};
use crate::ring::{PassiveSocket, ServerSocket};
use crate::tls::{Loaded, TicketsMade};
use crate::topology::{self, Asked, Exhausted, GateSpec, Gone, Register, Topology};
use crate::worker::{Account, Adoption, EndLeft, Line, Order, Settings};

/// Everything that a reading is taken from. Taking one makes no worker wait.
#[derive(Debug)]
pub struct Sources {
    /// The gateway's time.
    pub clock: Clock,
    /// The workers.
    pub workers: Arc<[WorkerHandle]>,
    /// The budget of connections.
    pub budget: Arc<Budget>,
    /// The limit that the budget comes from, as the doctor calls it.
    pub bound_by: String,
    /// Facts about the kernel and our own limits, as found at the start.
    pub given: Given,
    /// The workers' rings have slots for connections to servers.
    pub with_upstream: bool,
    /// The level and the format of the log; `None`: nobody has set one up.
    pub log: Option<LogSettings>,
    /// Lines for each connection.
    pub access_log: AccessLogs,
    /// Drains under way.
    pub drains: Drains,
    /// The last events.
    pub events: Arc<Events>,
    /// The start of the process, which does not change.
    pub process_start: ProcessStart,
    /// The present view.
    pub present: Present,
    /// Who finds servers out.
    pub searches: Mutex<Searches>,
    /// Checks of servers.
    pub checks: Mutex<Checks>,
    /// Who watches over servers.
    pub sentry: Mutex<Sentry>,
    /// The connects of the last minute.
    pub connects: Mutex<Connects>,
}

/// The present view and register. Only the control thread takes the lock while the gateway runs.
#[derive(Debug)]
pub struct Present(Mutex<Inside>);

#[derive(Debug)]
struct Inside {
    view: Arc<View>,
    sets: Arc<Sets>,
    last_reload: Option<LastReload>,
    register: Register,
    removed: Removed,
    /// Processor time of the processes that this one goes on from.
    former_cpu_seconds: f64,
    /// The most connections of a client address to one of a listener's, where they are many.
    crowds: BTreeMap<ListenerId, u64>,
}

/// What there is to be next. It is made without any change of what there is.
#[derive(Clone, Debug)]
pub struct Next {
    /// The topology; what stays in it keeps its ids.
    pub topology: Arc<Topology>,
    /// The config as the file has it.
    pub config: Config,
    /// The sets of servers.
    pub sets: Sets,
}

impl Present {
    /// The view at the start, and the sets of servers in it; `register` has given the ids.
    pub fn new(view: View, sets: Sets, register: Register) -> Present {
        let (view, sets, removed) = (Arc::new(view), Arc::new(sets), Removed::default());
        Present(Mutex::new(Inside {
            view,
            sets,
            last_reload: None,
            register,
            removed,
            former_cpu_seconds: 0.0,
            crowds: BTreeMap::new(),
        }))
    }

    /// The last time that the config file was read again.
    pub fn last_reload(&self) -> Option<LastReload> {
        self.inside().last_reload.clone()
    }

    /// The config file was read again.
    pub(in crate::control) fn note_reload(&self, last: LastReload) {
        self.inside().last_reload = Some(last);
    }

    /// The most connections that a client address has to one of each listener's, where they are so
    /// many that they were counted.
    pub(in crate::control) fn crowds(&self) -> BTreeMap<ListenerId, u64> {
        self.inside().crowds.clone()
    }

    /// They were counted.
    pub(in crate::control) fn note_crowds(&self, crowds: BTreeMap<ListenerId, u64>) {
        self.inside().crowds = crowds;
    }

    /// What a predecessor has counted of listeners that it had no more.
    pub(in crate::control) fn resume_removed(&self, listeners: &reading::Listener) {
        self.inside().removed.resume(listeners);
    }

    /// Processor time that a predecessor has taken, with that of its own predecessors.
    pub(in crate::control) fn resume_cpu(&self, seconds: f64) {
        self.inside().former_cpu_seconds = seconds;
    }

    /// That time.
    pub(in crate::control) fn former_cpu_seconds(&self) -> f64 {
        self.inside().former_cpu_seconds
    }

    /// The sets of servers.
    pub fn sets(&self) -> Arc<Sets> {
        self.inside().sets.clone()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("nobody panics while holding it")
    }

    /// The view of what there is.
    pub fn view(&self) -> Arc<View> {
        self.inside().view.clone()
    }

    /// The view of what there is, and what was counted of what there was.
    pub(super) fn with_removed<T>(&self, use_it: impl FnOnce(&Arc<View>, &mut Removed) -> T) -> T {
        let Inside { view, removed, .. } = &mut *self.inside();
        use_it(view, removed)
    }

    /// What this config, these sets and these gates ask for, with what files have of TLS; `None`:
    /// as it is.
    ///
    /// # Errors
    /// When ids are exhausted.
    pub fn next(
        &self,
        config: Config,
        sets: Sets,
        gates: &[GateSpec],
        tls: Option<&Loaded>,
    ) -> Result<Next, Exhausted> {
        let in_force = sets.in_force(&config);
        let (listeners, upstreams) = (&in_force.listeners, &in_force.upstreams);
        let Inside { view, register, .. } = &mut *self.inside();
        let topology = register.next(&view.topology, Asked { listeners, upstreams, gates, tls })?;
        Ok(Next { topology: Arc::new(topology), config, sets })
    }

    /// Goes over to what was made by [`Present::next`]; says what it is now.
    fn go_over(&self, next: Next, sockets: IdMap<GateId, PassiveSocket>) -> Arc<View> {
        let Next { topology, config, sets } = next;
        let inside = &mut *self.inside();
        let before = inside.view.clone();
        let counters = before.counters.iter().enumerate().map(|(worker, now)| {
            let (listeners, servers) = (topology.listeners.ids(), topology.servers.ids());
            let now = inside.removed.give_back(worker, now, listeners, servers);
            Arc::new(topology.counters(&now))
        });
        let counters: Vec<_> = counters.collect();
        for (worker, (before, after)) in before.counters.iter().zip(&counters).enumerate() {
            inside.removed.keep(worker, before, after);
        }
        let view = Arc::new(before.next(topology, config, sockets, counters));
        inside.view = view.clone();
        inside.sets = Arc::new(sets);
        view
    }
}

impl Sources {
    /// Says the time to the tickets of every listener, some of whose keys are new after that.
    pub(in crate::control) fn rotate_ticket_keys(&self) {
        let now = self.clock.calendar().duration_since(SystemTime::UNIX_EPOCH);
        let now_seconds = now.unwrap_or_default().as_secs();
        for listener in self.view().topology.listeners.values() {
            if let Some(TicketsMade(tickets)) = &listener.tickets {
                tickets.rotate(now_seconds);
            }
        }
    }

    /// The view of what there is.
    pub fn view(&self) -> Arc<View> {
        self.present.view()
    }

    /// Searches for the servers that are asked for, and no others.
    pub(in crate::control) fn follow(&self, asked: Vec<Search>) {
        let sets = self.present.sets();
        let known = |upstream: &str| sets.found(upstream).unwrap_or_default().to_vec();
        self.searches().follow(asked, known);
    }

    /// Who finds servers out.
    pub(in crate::control) fn searches(&self) -> MutexGuard<'_, Searches> {
        self.searches.lock().expect("nobody panics while holding it")
    }

    /// Has servers checked as the present view says, and no others.
    pub(in crate::control) fn follow_checks(&self) {
        let view = self.view();
        self.checks().follow(&view.topology, &view.config.upstreams);
    }

    /// Checks of servers.
    pub(in crate::control) fn checks(&self) -> MutexGuard<'_, Checks> {
        self.checks.lock().expect("nobody panics while holding it")
    }

    /// Who watches over servers.
    pub(in crate::control) fn sentry(&self) -> MutexGuard<'_, Sentry> {
        self.sentry.lock().expect("nobody panics while holding it")
    }

    /// The connects of the last minute.
    pub(in crate::control) fn connects(&self) -> MutexGuard<'_, Connects> {
        self.connects.lock().expect("nobody panics while holding it")
    }

    /// Sums a counter over all listeners that there are or were.
    pub fn over_listeners(&self, counter: &dyn Fn(&ListenerCounters) -> u64) -> u64 {
        self.present.with_removed(|view, removed| {
            let gone: u64 = removed.listeners().map(counter).sum();
            let all = view.counters.iter().flat_map(|counters| counters.listeners.values());
            gone + all.map(|listener| counter(listener)).sum::<u64>()
        })
    }

    /// Sums a counter over all servers that there are or were.
    pub fn over_servers(&self, counter: &dyn Fn(&ServerCounters) -> u64) -> u64 {
        self.present.with_removed(|view, removed| {
            let gone: u64 = removed.servers().map(counter).sum();
            let all = view.counters.iter().flat_map(|counters| counters.servers.values());
            gone + all.map(|server| counter(server)).sum::<u64>()
        })
    }

    /// When the change to another topology takes effect; `None`: it is none.
    pub fn class_of(&self, next: &Topology) -> Option<Class> {
        let class = topology::class_of(&self.view().topology, next);
        // A ring's table has the size that its start gave it.
        let has_slots = self.with_upstream || !next.joins_servers();
        class.map(|class| if has_slots { class } else { Class::Restart })
    }

    /// Goes over to what was made by [`Present::next`]: hands what is new in it to the workers'
    /// rings and has the workers adopt it. `sockets` has those of its new gates. Says what was
    /// taken away; the workers have [`View::generation`] once they have gone over.
    ///
    /// # Panics
    /// When the change takes a start.
    pub fn adopt(&self, next: Next, sockets: IdMap<GateId, PassiveSocket>) -> Gone {
        let topology = next.topology.clone();
        let class = self.class_of(&topology);
        assert_ne!(class, Some(Class::Restart), "the rings have no slots for servers");
        let before = self.view();
        self.supply(&before.topology, &topology, &sockets);
        for listener in topology.listeners.values() {
            if let (Some(quota), Some(limit)) = (&listener.quota, listener.max_connections) {
                quota.set_limit(limit);
            }
        }
        let view = self.present.go_over(next, sockets);
        let within = view.config.gateway.drain_timeout;
        let mut overdues = self.begin_drain(Of::Overdue, "overdue", within).into_iter();
        let gone = self.drains.take_gone(&topology);
        for (nth, (worker, counters)) in self.workers.iter().zip(&view.counters).enumerate() {
            worker.order(Order::Adopt(Adoption {
                topology: topology.clone(),
                settings: Settings::of(&view.config, self.access_log.queue(nth)),
                counters: counters.clone(),
                generation: view.generation,
                within,
                overdue: overdues.next().expect("one each"),
            }));
            gone.iter().for_each(|one| worker.order(Order::Cancel(one.account.clone())));
            // A gate that is new to a paused listener is to be still, too.
            view.paused().for_each(|listener| worker.order(Order::Pause(listener)));
        }
        before.topology.gone(&topology)
    }

    /// Has the workers end the connections of what is gone.
    pub fn end_left(&self, gone: &Gone) {
        if gone.is_empty() {
            return;
        }
        let within = self.view().config.gateway.drain_timeout;
        let lines = self.begin_drain(Of::Removed, "removed", within);
        for (worker, line) in self.workers.iter().zip(lines) {
            worker.order(Order::EndLeft(EndLeft { gone: gone.clone(), within, line }));
        }
    }

    /// Notes a drain that a change begins; gives each worker's line.
    fn begin_drain(&self, of: Of, name: &str, within: Duration) -> Vec<Line> {
        let now = self.clock.now();
        let (account, lines) = Account::open(self.workers.len(), None, now);
        let (deadline, undo) = (now.after(within), Undo::default());
        let name = name.to_owned();
        self.drains.begin(Drain { of, name, begins: now, deadline, rate: None, account, undo });
        lines
    }

    /// Hands over to every ring what is new.
    fn supply(&self, old: &Topology, new: &Topology, sockets: &IdMap<GateId, PassiveSocket>) {
        for WorkerHandle { supplier, .. } in self.workers.iter() {
            for (id, socket) in sockets.iter() {
                supplier.gate(id, socket.clone());
            }
            let is_new = |(id, new): &(ServerId, &Arc<topology::Server>)| {
                old.servers.get(*id).is_none_or(|old| old.sources != new.sources)
            };
            for (id, server) in new.servers.iter().filter(is_new) {
                let (address, sources) = (server.address, server.sources.clone());
                supplier.server(id, ServerSocket { address, sources });
            }
        }
    }
}
