//! What an operator does during a run.

use std::sync::Arc;

use crossbeam::channel::Sender;
use portcullis::base::Millis;
use portcullis::worker::{Account, Adoption, EndLeft, Order};

use super::{REMOVAL, Run};
use crate::drains::PartDrain;
use crate::fault::Fault;
use crate::moves::SimOrder;
use crate::scenario::{Steer, Stop};
use crate::world::Change;

impl Run {
    /// Does what an operator does whose time has come.
    pub(super) fn steer(&mut self) {
        let now = self.now();
        while self.scenario.steers.front().is_some_and(|(at, _)| *at <= now) {
            let (_, steer) = self.scenario.steers.pop_front().expect("the front was looked at");
            let (listener, paused) = match steer {
                Steer::Drain(drain) => {
                    self.drain_part(drain);
                    continue;
                }
                Steer::Cancel => {
                    if self.drains.cancel_part(&self.orders) {
                        self.note_if_open(Fault::PartDrainCancelled);
                    }
                    continue;
                }
                Steer::Weigh(server, weight) => {
                    let Some(servers) = self.world.servers() else { continue };
                    let any_weighs =
                        || (0..servers.count()).any(|it| servers.standing(it).weight() > 0);
                    let was_drained = !any_weighs();
                    servers.standing(server % servers.count()).set_weight(weight);
                    let is_awaited = servers.standing(0).fleet().room().waiting() > 0;
                    if was_drained && is_awaited && any_weighs() {
                        let ring = self.rings().next().expect("there is a worker");
                        ring.faults.note(Fault::ServerAwaited);
                        continue;
                    }
                    if servers.any_open() && !any_weighs() {
                        let ring = self.rings().next().expect("there is a worker");
                        ring.faults.note(Fault::AllServersDrained);
                    }
                    continue;
                }
                Steer::Change(change) => {
                    self.change(change);
                    continue;
                }
                Steer::Pause(listener) => (listener, true),
                Steer::Resume(listener) => (listener, false),
            };
            let Some(id) = self.world.id_of(listener) else { continue };
            self.rings().for_each(|ring| ring.listeners[listener].paused = paused);
            let order = if paused { Order::Pause } else { Order::Resume };
            for orders in &self.orders {
                orders.send(order(id)).expect("a worker listens");
            }
        }
    }

    /// Every worker is told of another topology, if this makes one.
    fn change(&mut self, change: Change) {
        if let Change::Open(listener) = change
            && self.rings().any(|ring| ring.listeners[listener].gate.is_some())
        {
            // Its old sockets are not gone yet.
            let again = (self.now() + 5, Steer::Change(change));
            let steers = &mut self.scenario.steers;
            let at = steers.partition_point(|(at, _)| *at <= again.0);
            return steers.insert(at, again);
        }
        // Who stops takes no change any more.
        if self.stopped.is_some() || !self.world.change(change) {
            return;
        }
        let now = self.now();
        self.rings().for_each(|ring| ring.ends.note_change(change, now));
        for worker in 0..self.workers.len() {
            let topology = Arc::new(self.world.of_worker(worker));
            let counters = self.tallies[worker].adopt(&self.world);
            let tally = self.tallies[worker].clone();
            let listeners = 0..self.scenario.wirings.len();
            let gates: Vec<_> =
                listeners.map(|listener| self.world.gate_of(worker, listener)).collect();
            self.settled[worker] = 0;
            let ring = &mut self.workers[worker].ring().inner;
            ring.ends.tally = tally;
            ring.hand_over(change, &topology, &gates);
            let line = || Account::open(1, None, Millis(0)).1.remove(0);
            let (generation, within, overdue) = (0, REMOVAL, line());
            let settings = self.scenario.settings(&self.notes[worker]);
            let adoption = Adoption { topology, settings, counters, generation, within, overdue };
            let order = Order::Adopt(adoption);
            self.orders[worker].send(order).expect("a worker listens");
        }
        // Servers are given time, in which they may come back.
        self.leaving.push(self.world.gone());
        if self.random.below(2) == 0 {
            for gone in std::mem::take(&mut self.leaving) {
                let (_, lines) = Account::open(self.orders.len(), None, Millis(0));
                for (orders, line) in self.orders.iter().zip(lines) {
                    let order = EndLeft { gone: gone.clone(), within: REMOVAL, line };
                    orders.send(Order::EndLeft(order)).expect("a worker listens");
                }
            }
        }
    }

    /// A part is drained; who stops drains everybody.
    pub(super) fn drain_part(&mut self, drain: PartDrain) {
        let id = drain.listener.map(|listener| self.world.id_of(listener));
        // A listener that is gone has nobody.
        if self.stopped.is_some() || id == Some(None) {
            return;
        }
        let now = self.now();
        self.rings().for_each(|ring| ring.ends.note_drain(now));
        self.note_if_open(Fault::PartDrained);
        self.drains.begin_part(&self.orders, id.flatten(), drain, now);
    }

    pub(super) fn note_if_open(&mut self, fault: Fault) {
        if let Some(ring) = self.rings().find(|ring| !ring.is_quiet()) {
            ring.faults.note(fault);
        }
    }

    /// The drain goes on until nobody is left, or is cancelled and comes again.
    pub(super) fn direct_drain(&mut self, now: u64) {
        self.drains.end_drained(&self.orders, &self.tallies);
        let Some(&(after, again)) = self.scenario.returns.front() else { return };
        if !self.drains.cancel_farewell(&self.orders, &self.tallies, after, now) {
            return;
        }
        self.note_if_open(Fault::DrainCancelled);
        // As the control plane does: the drain has served the clients of paused listeners, too.
        for listener in 0..self.scenario.wirings.len() {
            let is_paused = self.rings().any(|ring| ring.listeners[listener].paused);
            if let Some(id) = self.world.id_of(listener).filter(|_| is_paused) {
                let pause = |worker: &Sender<SimOrder>| worker.send(Order::Pause(id));
                self.orders.iter().for_each(|worker| pause(worker).expect("a worker listens"));
            }
        }
        self.scenario.returns.pop_front();
        self.stopped = None;
        self.scenario.stop = Stop::At(now + again);
    }

    /// What is going on in all rings.
    pub(super) fn dump(&mut self) -> String {
        self.rings().map(|ring| ring.dump()).collect::<Vec<_>>().join("\n")
    }
}
