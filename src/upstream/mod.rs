//! Servers and the choice among them, pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crossbeam::utils::CachePadded;

pub use crate::config::Balance;

/// One worker's view of an upstream: what it is and how many connections each server has.
#[derive(Clone, Debug)]
pub struct Servers {
    balance: Balance,
    /// Over all workers.
    pool: Arc<Pool>,
    /// Where the next search begins, so that equals take turns.
    cursor: usize,
    /// By server: turns that it has coming, while weights differ.
    credit: Vec<i64>,
}

/// How the servers of an upstream stand, over all workers.
#[derive(Debug)]
pub struct Pool {
    servers: Box<[Arc<Standing>]>,
    /// Every weight is the same and none is 0: the cursor alone shares evenly.
    even: AtomicBool,
}

/// How one server stands, over all workers.
#[derive(Debug)]
pub struct Standing(CachePadded<Numbers>);

#[derive(Debug)]
struct Numbers {
    /// Connections to it.
    open: AtomicU32,
    /// Its share of new connections; 0: none.
    weight: AtomicU32,
    /// The last weight that was not 0.
    full_weight: AtomicU32,
}

/// Which servers a connection has tried. It goes on where it was when others come or go meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    first: u16,
    /// From this step on they are still to be tried; 0 before the first.
    steps: u16,
}

impl Tried {
    /// None of them.
    pub const NONE: Tried = Tried { first: 0, steps: 0 };

    /// The last one was not tried after all.
    ///
    /// # Panics
    /// When there is none.
    pub fn take_back(&mut self) {
        self.steps -= 1;
    }
}

impl Standing {
    /// Of a server without connections.
    pub fn new(weight: u32) -> Standing {
        Standing(CachePadded::new(Numbers {
            open: AtomicU32::new(0),
            weight: AtomicU32::new(weight),
            full_weight: AtomicU32::new(weight.max(1)),
        }))
    }

    /// Counts a connection to it.
    pub fn opened(&self) {
        self.0.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less.
    ///
    /// # Panics
    /// When there was none.
    pub fn closed(&self) {
        let before = self.0.open.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a server lost a connection that it did not have");
    }

    /// Connections to it now.
    pub fn open(&self) -> u32 {
        self.0.open.load(Ordering::Relaxed)
    }

    /// The share of new connections that it gets; 0: none, it drains.
    pub fn weight(&self) -> u32 {
        self.0.weight.load(Ordering::Relaxed)
    }
}

impl Servers {
    /// An upstream of a server for each weight, without connections.
    ///
    /// # Panics
    /// When there is no weight: the config does not let that through.
    pub fn new(balance: Balance, weights: impl IntoIterator<Item = u32>) -> Servers {
        let standings = weights.into_iter().map(|weight| Arc::new(Standing::new(weight)));
        Servers::over(balance, Arc::new(Pool::new(standings)))
    }

    /// A view of this pool. Views share the counts and the weights.
    pub fn over(balance: Balance, pool: Arc<Pool>) -> Servers {
        Servers { balance, pool, cursor: 0, credit: Vec::new() }
    }

    /// This view with its turns begun at `offset`, so that workers do not move in step.
    pub fn beginning_at(mut self, offset: usize) -> Servers {
        self.cursor = offset % self.count();
        self
    }

    /// How many servers there are.
    pub fn count(&self) -> usize {
        self.pool.servers.len()
    }

    /// The server that a new connection tries first; `None` when each has the weight 0.
    ///
    /// Round-robin gives each server as many turns as its weight in a cycle of as many turns as all
    /// weights. Least connections divides a server's connections by its weight, and equals take
    /// turns by weight.
    pub fn choose(&mut self) -> Option<usize> {
        if !self.pool.even.load(Ordering::Relaxed) {
            return self.choose_by_weight();
        }
        self.credit.clear();
        let chosen = match self.balance {
            Balance::RoundRobin => self.cursor,
            Balance::LeastConnections => {
                self.in_turn().min_by_key(|&server| self.open(server)).expect("there is a server")
            }
        };
        self.cursor = (chosen + 1) % self.count();
        Some(chosen)
    }

    fn choose_by_weight(&mut self) -> Option<usize> {
        let weighs = |&server: &usize| self.weight(server) > 0;
        let first = match self.balance {
            Balance::RoundRobin => return self.take_turn(weighs_anything),
            Balance::LeastConnections => self.in_turn().filter(weighs).min_by(|&a, &b| {
                let (a, b) = (self.load(a), self.load(b));
                (a.open * b.weight).cmp(&(b.open * a.weight))
            })?,
        };
        let least = self.load(first);
        // Others open and close meanwhile; then nobody may be as idle as `first` was.
        let is_least = |load: Load| load.open * least.weight <= least.open * load.weight;
        self.take_turn(|load| weighs_anything(load) && is_least(load)).or(Some(first))
    }

    /// A turn of smooth weighted round-robin among the servers that `may` have one: each gets its
    /// weight in credit, and the richest pays all of it back for the turn. So turns of one server
    /// are spread over the cycle.
    fn take_turn(&mut self, may: impl Fn(Load) -> bool) -> Option<usize> {
        self.credit.resize(self.count(), 0);
        let mut handed_out = 0;
        let mut richest: Option<usize> = None;
        for server in self.in_turn() {
            let load = self.load(server);
            if may(load) {
                let weight = load.weight as i64;
                handed_out += weight;
                self.credit[server] += weight;
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

    fn load(&self, server: usize) -> Load {
        Load { open: u64::from(self.open(server)), weight: u64::from(self.weight(server)) }
    }

    /// The next server that a connection has not tried, the first of them by [`Servers::choose`].
    /// From there on connections go round, each from a place of its own by its `turn`: what a
    /// server that is down does not take is shared by all others, instead of coming to its
    /// neighbour on top of its own.
    pub fn next(&mut self, tried: &mut Tried, turn: usize) -> Option<usize> {
        if tried.steps == 0 {
            tried.first = self.choose()? as u16;
        }
        let count = self.count();
        let first = usize::from(tried.first) % count;
        let place = |step: usize| match step {
            0 => first,
            _ => (first + 1 + (turn + step) % (count - 1)) % count,
        };
        let mut untried = usize::from(tried.steps)..count;
        // The first was just chosen; a later one may drain.
        let step = untried.find(|&step| step == 0 || self.weight(place(step)) > 0)?;
        tried.steps = step as u16 + 1;
        Some(place(step))
    }

    /// How a server stands.
    pub fn standing(&self, server: usize) -> &Arc<Standing> {
        &self.pool.servers[server]
    }

    /// Counts a connection to `server`.
    pub fn opened(&self, server: usize) {
        self.standing(server).opened();
    }

    /// Counts one less.
    pub fn closed(&self, server: usize) {
        self.standing(server).closed();
    }

    /// Whether any server has a connection.
    pub fn any_open(&self) -> bool {
        self.pool.servers.iter().any(|server| server.open() > 0)
    }

    /// Connections to `server` now.
    pub fn open(&self, server: usize) -> u32 {
        self.standing(server).open()
    }

    /// The share of new connections that `server` gets; 0: none, it drains.
    pub fn weight(&self, server: usize) -> u32 {
        self.standing(server).weight()
    }

    /// Gives `server` another share, for all workers. Only one thread may.
    pub fn set_weight(&self, server: usize, weight: u32) {
        let Standing(numbers) = &**self.standing(server);
        numbers.weight.store(weight, Ordering::Relaxed);
        if weight > 0 {
            numbers.full_weight.store(weight, Ordering::Relaxed);
        }
        self.pool.compare_weights();
    }

    /// Gives `server` the share back that it had before it drained. Only one thread may.
    pub fn restore_weight(&self, server: usize) {
        let Standing(numbers) = &**self.standing(server);
        self.set_weight(server, numbers.full_weight.load(Ordering::Relaxed));
    }
}

/// The load of a server, which the choice compares.
#[derive(Clone, Copy, Debug)]
struct Load {
    open: u64,
    weight: u64,
}

fn weighs_anything(load: Load) -> bool {
    load.weight > 0
}

impl Pool {
    /// Of these servers.
    ///
    /// # Panics
    /// When there is none: the config does not let that through.
    pub fn new(servers: impl IntoIterator<Item = Arc<Standing>>) -> Pool {
        let servers: Box<[_]> = servers.into_iter().collect();
        assert!(!servers.is_empty(), "an upstream has at least one server");
        let pool = Pool { servers, even: AtomicBool::new(false) };
        pool.compare_weights();
        pool
    }

    /// Works out whether weights differ.
    fn compare_weights(&self) {
        let first = self.servers[0].weight();
        let even = first > 0 && self.servers.iter().all(|server| server.weight() == first);
        self.even.store(even, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn even(balance: Balance, count: usize) -> Servers {
        Servers::new(balance, vec![1; count])
    }

    /// How many of `turns` choices each server gets; each choice is open until the last.
    fn shares(servers: &mut Servers, turns: u32) -> Vec<u32> {
        let mut shares = vec![0; servers.count()];
        for _ in 0..turns {
            let chosen = servers.choose().expect("somebody has a weight");
            servers.opened(chosen);
            shares[chosen] += 1;
        }
        for (server, share) in shares.iter().enumerate() {
            (0..*share).for_each(|_| servers.closed(server));
        }
        shares
    }

    #[test]
    fn round_robin_takes_turns() {
        let mut servers = even(Balance::RoundRobin, 3).beginning_at(1);
        assert_eq!([1, 2, 0, 1], [(); 4].map(|()| servers.choose().expect("a server")));
    }

    #[test]
    fn least_connections_evens_out_and_equals_take_turns() {
        let servers = even(Balance::LeastConnections, 3);
        servers.opened(0);
        servers.opened(0);
        servers.opened(1);
        let mut other_worker = servers.clone();
        for _ in 0..6 {
            let chosen = other_worker.choose().expect("a server");
            other_worker.opened(chosen);
        }
        assert_eq!([3, 3, 3], [0, 1, 2].map(|server| servers.open(server)));
        assert_eq!([0, 1, 2, 0], {
            let mut equals = even(Balance::LeastConnections, 3);
            [(); 4].map(|()| equals.choose().expect("a server"))
        });
    }

    #[test]
    fn a_cycle_has_as_many_turns_of_each_server_as_its_weight() {
        let weights = [[1, 1, 1], [5, 1, 1], [100, 99, 1], [2, 0, 3], [0, 0, 7], [4, 4, 2]];
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            for (weights, offset) in weights.into_iter().flat_map(|w| [(w, 0), (w, 1), (w, 2)]) {
                let mut servers = Servers::new(balance, weights).beginning_at(offset);
                let cycle = weights.iter().sum();
                for _ in 0..3 {
                    let shares = shares(&mut servers, cycle);
                    assert_eq!(shares, weights, "{balance:?} from {offset}");
                }
            }
        }
    }

    #[test]
    fn a_heavy_servers_turns_are_spread() {
        let mut servers = Servers::new(Balance::RoundRobin, [100, 50]);
        let turns: Vec<usize> = (0..150).filter_map(|_| servers.choose()).collect();
        assert!(turns.windows(3).all(|turns| turns.contains(&1)), "{turns:?}");
    }

    #[test]
    fn idle_servers_take_turns_by_weight_under_least_connections() {
        let mut servers = Servers::new(Balance::LeastConnections, [3, 1]);
        let mut turns = [0; 2];
        (0..40).for_each(|_| turns[servers.choose().expect("a server")] += 1);
        assert_eq!(turns, [30, 10]);
    }

    #[test]
    fn a_drained_server_is_not_chosen_and_comes_back_with_its_weight() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            let control = Servers::new(balance, [2, 1]);
            let mut worker = control.clone();
            control.set_weight(0, 0);
            assert_eq!(shares(&mut worker, 10), [0, 10]);
            control.set_weight(1, 0);
            assert_eq!(worker.choose(), None, "nobody is left");
            control.restore_weight(0);
            control.restore_weight(1);
            assert_eq!([control.weight(0), control.weight(1)], [2, 1]);
            let both = shares(&mut worker, 300);
            assert!(both[0].abs_diff(200) <= 10, "{both:?}");
        }
    }

    #[test]
    fn a_server_that_began_without_a_weight_comes_back_with_one() {
        let servers = Servers::new(Balance::RoundRobin, [0, 3]);
        servers.restore_weight(0);
        assert_eq!(servers.weight(0), 1);
    }
}
