//! Servers and the choice among them, pure.

mod connections;
mod fleet;
mod plan;
mod room;
mod source;
mod standing;
#[cfg(test)]
mod tests;
mod tried;

use std::cmp::Ordering;
use std::sync::Arc;

pub use crate::config::Balance;
use crate::config::Terms;
pub use fleet::{Fleet, Rules};
use plan::Plan;
pub use room::Room;
pub use source::ClientKey;
use source::NameHash;
pub use standing::{AdminState, Failure, Observed, Standing};
pub use tried::{Lack, Tried};

/// One worker's view of an upstream: what it is and how many connections each server has.
#[derive(Clone, Debug)]
pub struct Servers {
    balance: Balance,
    /// Over all workers.
    pool: Arc<Pool>,
    /// Who may be chosen, as long as nothing changes.
    plan: Plan,
    /// Where the next search begins, so that equals take turns.
    cursor: usize,
    /// By server: turns that it has coming, while weights differ.
    credit: Vec<i64>,
    /// Where chance stands.
    chance: u64,
}

/// The servers of an upstream as they stand, over all workers.
#[derive(Debug)]
pub struct Pool {
    servers: Box<[Arc<Standing>]>,
    /// By server.
    names: Box<[NameHash]>,
    fleet: Arc<Fleet>,
}

/// Of the same servers, counted in the same place: one that was gone and is back begins at 0.
impl PartialEq for Pool {
    fn eq(&self, other: &Pool) -> bool {
        self.names == other.names && self.counts_in(other.servers.iter().cloned())
    }
}

impl Eq for Pool {}

impl Pool {
    /// Whether its servers are counted in these places, in this order.
    pub fn counts_in(&self, standings: impl Iterator<Item = Arc<Standing>>) -> bool {
        let ours = self.servers.iter().map(Arc::as_ptr);
        ours.eq(standings.map(|standing| Arc::as_ptr(&standing)))
    }

    /// Of these servers, with their names, which have this in common; none as long as nobody has
    /// said which they are.
    pub fn new<'a>(
        servers: impl IntoIterator<Item = (&'a str, Arc<Standing>)>,
        fleet: Arc<Fleet>,
    ) -> Pool {
        let named = servers.into_iter().map(|(name, standing)| (NameHash::of(name), standing));
        let (names, servers): (Vec<_>, Vec<_>) = named.unzip();
        Pool { servers: servers.into(), names: names.into(), fleet }
    }
}

impl Servers {
    /// An upstream of a server for each name and weight, without connections.
    pub fn new<'a>(balance: Balance, servers: impl IntoIterator<Item = (&'a str, u32)>) -> Servers {
        let fleet = Arc::new(Fleet::default());
        let standing = |(name, weight)| {
            (name, Arc::new(Standing::new(Terms::of_weight(weight), fleet.clone())))
        };
        let standings: Vec<_> = servers.into_iter().map(standing).collect();
        Servers::over(balance, Arc::new(Pool::new(standings, fleet)))
    }

    /// A view of this pool. Views share the counts and the weights.
    pub fn over(balance: Balance, pool: Arc<Pool>) -> Servers {
        Servers { balance, pool, plan: Plan::default(), cursor: 0, credit: Vec::new(), chance: 0 }
    }

    /// This view with its turns begun at `offset`, so that workers do not move in step.
    pub fn beginning_at(mut self, offset: usize) -> Servers {
        self.cursor = offset % self.count().max(1);
        self.chance = source::mixed(offset as u64);
        self
    }

    /// How many servers there are.
    pub fn count(&self) -> usize {
        self.pool.servers.len()
    }

    /// The server that a new connection tries first; `None` when there is none that may be.
    ///
    /// Round-robin gives each server as many turns as its weight in a cycle of as many turns as all
    /// weights. Least connections divides a server's connections by its weight, and equals take
    /// turns by weight. Random-two does the same with two that it draws by weight. By source a
    /// client has its own.
    fn choose(&mut self, client: ClientKey) -> Option<usize> {
        self.plan.follow(&self.pool.servers, &self.pool.fleet);
        if self.balance == Balance::Source {
            return self.winner(client);
        }
        if let Some(server) = self.plan.on_trial(&self.pool.servers) {
            return Some(server);
        }
        if self.balance == Balance::RandomTwo {
            return self.lighter_of_two();
        }
        if !self.plan.is_even() || self.plan.is_bounded() {
            return match self.balance {
                Balance::RoundRobin => self.take_turn(has_share),
                _ => self.least_loaded(),
            };
        }
        self.credit.clear();
        let chosen = match self.balance {
            Balance::RoundRobin => self.cursor,
            _ => self.in_turn().min_by_key(|&server| self.open(server)).expect("there is a server"),
        };
        self.cursor = (chosen + 1) % self.count();
        Some(chosen)
    }

    fn least_loaded(&mut self) -> Option<usize> {
        let may = |&server: &usize| self.load(server).share > 0;
        let lighter = |&a: &usize, &b: &usize| self.load(a).by_share(self.load(b));
        let first = self.in_turn().filter(may).min_by(lighter)?;
        let least = self.load(first);
        // Others open and close meanwhile; then nobody may be as idle as `first` was.
        let is_least = |load: Load| load.by_share(least).is_le();
        self.take_turn(|load| has_share(load) && is_least(load)).or(Some(first))
    }

    fn lighter_of_two(&mut self) -> Option<usize> {
        let (one, other) = self.plan.draw_two(&mut self.chance)?;
        let (a, b) = (self.load(one), self.load(other));
        match (has_share(a), has_share(b)) {
            (true, true) if b.by_share(a).is_lt() => Some(other),
            (true, _) => Some(one),
            (false, true) => Some(other),
            (false, false) => self.least_loaded(),
        }
    }

    /// The server that is a client's own by its address. One whose rest is over is tried by a
    /// client of its own.
    fn winner(&self, client: ClientKey) -> Option<usize> {
        let (names, plan) = (&self.pool.names, &self.plan);
        let winner = match plan.is_even() && !plan.is_bounded() {
            true => source::winner_of_equals(names, client),
            false => self.next_winner(client, None),
        };
        let draw = |server: usize, share| client.draw(names[server], share);
        let least = winner.map_or(f64::INFINITY, |winner| draw(winner, plan.share(winner)));
        let is_its_own = |server: &usize| draw(*server, self.standing(*server).claim()) < least;
        plan.take_trial(&self.pool.servers, is_its_own).or(winner)
    }

    /// The server that comes next in a client's order, after the last that it has tried.
    fn heir(&self, tried: &Tried, client: ClientKey) -> Option<usize> {
        let names = &self.pool.names;
        let last = tried.last() % self.count().max(1);
        // It may have been ejected since.
        let share = self.pool.servers.get(last)?.claim().max(1);
        let beyond = client.draw(names[last], share);
        self.next_winner(client, Some(beyond))
    }

    /// The winner of the draws beyond this one among the servers that have room.
    fn next_winner(&self, client: ClientKey, beyond: Option<f64>) -> Option<usize> {
        let is_bounded = self.plan.is_bounded();
        let may = |server| !is_bounded || !self.standing(server).connections().is_full();
        source::winner(&self.pool.names, self.plan.shares(), client, beyond, may)
    }

    /// A turn of smooth weighted round-robin among the servers that `may` have one: each gets its
    /// share in credit, and the richest pays all of it back for the turn. So turns of one server
    /// are spread over the cycle.
    fn take_turn(&mut self, may: impl Fn(Load) -> bool) -> Option<usize> {
        self.credit.resize(self.count(), 0);
        let mut handed_out = 0;
        let mut richest: Option<usize> = None;
        for server in self.in_turn() {
            let load = self.load(server);
            if may(load) {
                let share = load.share as i64;
                handed_out += share;
                self.credit[server] += share;
                if richest.is_none_or(|other| self.credit[server] > self.credit[other]) {
                    richest = Some(server);
                }
            }
        }
        self.credit[richest?] -= handed_out;
        richest
    }

    /// Every server, the cursor's first.
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.cursor, self.count());
        (0..count).map(move |step| (first + step) % count)
    }

    /// One that is full gets nothing.
    fn load(&self, server: usize) -> Load {
        let is_full = self.standing(server).connections().is_full();
        let share = if is_full { 0 } else { self.plan.share(server) };
        Load { open: u64::from(self.open(server)), share: u64::from(share) }
    }

    /// The next server that a connection has not tried, for which it counts from here on: the first
    /// of them by `choose`. From there on connections go round, each from a place of its
    /// own by its `turn`: what a server that is down does not take is shared by all others, instead
    /// of coming to its neighbour on top of its own. By source they go on in the client's order.
    /// `None` when all were tried, or as many in vain as may be.
    pub fn next(&mut self, tried: &mut Tried, turn: usize, client: ClientKey) -> Option<usize> {
        self.plan.follow(&self.pool.servers, &self.pool.fleet);
        let may_try = tried.is_fresh() || tried.left() > 0;
        while may_try && let Some(server) = self.candidate(tried, turn, client) {
            if self.standing(server).connections().enter() {
                return Some(server);
            }
        }
        if self.plan.awaits_server() {
            *tried = Tried::NONE;
            tried.lack(Lack::Server);
        } else if self.plan.is_bounded() {
            // Of a try that is left there is no other cause.
            tried.lack(Lack::Limit);
        }
        None
    }

    /// A server that a connection has not tried, which may be full.
    fn candidate(&mut self, tried: &mut Tried, turn: usize, client: ClientKey) -> Option<usize> {
        if tried.is_fresh() {
            let first = self.choose(client)?;
            // A trial is none of the tries among servers that serve.
            let trial = u8::from(self.plan.share(first) == 0);
            tried.begin(first, self.plan.tries().saturating_add(trial));
            return Some(first);
        }
        if self.balance == Balance::Source {
            let heir = self.heir(tried, client)?;
            tried.follow(heir);
            return Some(heir);
        }
        let count = self.count();
        let place = |step: usize| match step {
            0 => tried.first() % count,
            _ => (tried.first() % count + 1 + (turn + step) % (count - 1)) % count,
        };
        // One that had a share may have none by now.
        let step = (tried.steps()..count).find(|step| self.plan.share(place(*step)) > 0)?;
        let server = place(step);
        tried.go_on(step);
        Some(server)
    }

    /// How a server stands.
    pub fn standing(&self, server: usize) -> &Arc<Standing> {
        &self.pool.servers[server]
    }

    /// Counts one connection less.
    pub fn closed(&self, server: usize) {
        self.standing(server).connections().leave();
    }

    /// Whether any server has a connection.
    pub fn any_open(&self) -> bool {
        self.pool.servers.iter().any(|server| server.open() > 0)
    }

    /// Connections to `server` now.
    pub fn open(&self, server: usize) -> u32 {
        self.standing(server).open()
    }
}

/// The load of a server, which the choice compares.
#[derive(Clone, Copy, Debug)]
struct Load {
    open: u64,
    share: u64,
}

impl Load {
    /// Which of two has less to do for its share.
    fn by_share(self, other: Load) -> Ordering {
        (self.open * other.share).cmp(&(other.open * self.share))
    }
}

fn has_share(load: Load) -> bool {
    load.share > 0
}
