//! The side that takes over: a new process, until it stands on its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::sleep;

use super::channel::{Broken, Channel, Cut, POLL};
use super::legacy::{take_legacy, take_standings};
use super::tickets::take_ticket_keys;
use crate::api::handover::{self, Legacy, Links, Things, ToPredecessor, ToSuccessor};
use crate::base::Millis;
use crate::config::Server;
use crate::control::change::take_sets;
use crate::control::reopen::Handed;
use crate::control::state::ControlState;
use crate::courier::{Courier, Flags, Link, ProcessLink};
use crate::doctor::count;
use crate::metrics::reading::Severity;
use crate::topology::{Elsewhere, Left};
use crate::worker::{Arrivals, Arrive, Numbers, Order};

/// Between two words that the workers turn.
const BEAT: Duration = Duration::from_millis(100);
/// A worker that has begun no turn for so long does not turn.
const TURN: Duration = Duration::from_secs(1);

/// How long it may take to take in what a predecessor sent before it ended: no more than fits into
/// the buffers of its sockets.
const LAST_IN: Duration = Duration::from_secs(2);

/// A way from a worker of the predecessor, and where the flags of that worker begin.
type Way = (Box<dyn Link<OwnedFd>>, u64);

/// What a successor has of its predecessor before connections come.
#[derive(Debug)]
pub struct Succession {
    /// The line to it.
    pub channel: Arc<Channel>,
    /// Its process.
    pub pid: u32,
    /// Bytes of a record, as both know it.
    pub record_bytes: u16,
    /// What the records' numbers mean here.
    pub numbers: Arc<Numbers>,
    /// A byte for each of its connections.
    pub flags: Arc<Flags>,
    /// What it said of all else.
    pub things: Things,
    /// Its own sockets.
    pub status: Option<(std::net::SocketAddr, std::net::TcpListener)>,
    /// By upstream: what its search has found, where the predecessor's set is another.
    pub found: Vec<(String, Vec<Server>)>,
    /// The admin socket's lock.
    pub admin: Option<(std::path::PathBuf, OwnedFd)>,
}

/// A succession under way.
struct Taking<'a> {
    state: &'a ControlState,
    channel: &'a Channel,
    /// By worker, once connections come.
    arrivals: Vec<Arc<Arrivals>>,
    numbers: Arc<Numbers>,
    /// Connections that are left in the predecessor, and count here.
    elsewhere: Elsewhere,
    is_open: bool,
    cut: Cut,
    next_beat: Millis,
}

impl Succession {
    /// Takes connections over, and everything else, until this process stands on its own.
    ///
    /// # Errors
    /// When the predecessor goes before it has begun to hand connections over.
    pub(in crate::control) async fn take_over(self, state: &ControlState) -> Result<(), String> {
        let Succession { channel, pid, record_bytes, numbers, flags, things, .. } = self;
        let Succession { status, found, admin, .. } = self;
        // What searches find waits.
        let change = state.begin_change().await;
        take_standings(state, &things.standing);
        pause(state, &things.paused);
        let mut taking = Taking {
            state,
            channel: &channel,
            arrivals: Vec::new(),
            numbers,
            elsewhere: Elsewhere::default(),
            is_open: false,
            cut: Cut::default(),
            next_beat: state.now(),
        };
        let workers = state.workers().len() as u32;
        taking.say(&ToPredecessor::Ready { workers }).await?;
        let legacy = loop {
            match channel.hear() {
                Ok(None) => {}
                Ok(Some((ToSuccessor::Links(links), descriptors))) => {
                    taking.arrive(links, descriptors, record_bytes, &flags)?;
                }
                Ok(Some((ToSuccessor::TicketKeys(keys), _))) => take_ticket_keys(state, &keys),
                Ok(Some((ToSuccessor::Switch(left), _))) => {
                    taking.open_doors(&left);
                    taking.say(&ToPredecessor::Switched).await?;
                }
                Ok(Some((ToSuccessor::Left(left), _))) => taking.count_elsewhere(&left),
                Ok(Some((ToSuccessor::Commit(legacy), _))) => break Some(*legacy),
                Ok(Some(_)) => {}
                Err(Broken::Gone) if !taking.arrivals.is_empty() => break None,
                Err(broken) => return Err(broken.to_string()),
            }
            taking.beat()?;
            sleep(POLL).await;
        };
        taking.stand_alone(pid, legacy, Handed { status, admin }).await;
        let mut sets = state.sources().present.sets().as_ref().clone();
        let news = found.into_iter().filter(|(upstream, set)| sets.find(upstream, set.clone()));
        if news.count() > 0
            && let Err(because) = take_sets(state, sets).await
        {
            tracing::error!(because, "servers stay those of the predecessor");
        }
        drop(change);
        Ok(())
    }
}

/// Listeners that operators had paused stay so.
fn pause(state: &ControlState, names: &[String]) {
    let view = state.view();
    for name in names {
        let Ok(id) = view.names.listener(name) else { continue };
        view.set_paused(id, true);
        state.workers().iter().for_each(|worker| worker.order(Order::Pause(id)));
    }
}

impl Taking<'_> {
    async fn say(&self, message: &ToPredecessor) -> Result<(), String> {
        match self.channel.tell(message, &[]).await {
            // What it said before is heard first.
            Ok(()) | Err(Broken::Gone) => Ok(()),
            Err(broken) => Err(broken.to_string()),
        }
    }

    /// Connections come from here on.
    fn arrive(
        &mut self,
        Links { flags_at }: Links,
        descriptors: Vec<OwnedFd>,
        record_bytes: u16,
        flags: &Arc<Flags>,
    ) -> Result<(), String> {
        let workers = self.state.workers();
        let mut links: Vec<Vec<Way>> = workers.iter().map(|_| Vec::new()).collect();
        for (pair, (descriptor, at)) in descriptors.into_iter().zip(flags_at).enumerate() {
            let courier = Courier::from_fd(descriptor).map_err(|error| error.to_string())?;
            let link = Box::new(ProcessLink { courier, flags: flags.clone() });
            links[pair % workers.len()].push((link, at));
        }
        for (worker, links) in workers.iter().zip(links) {
            let arrivals = Arc::new(Arrivals::default());
            self.arrivals.push(arrivals.clone());
            let numbers = self.numbers.clone();
            worker.order(Order::Arrive(Box::new(Arrive {
                links,
                record_bytes: record_bytes.into(),
                numbers,
                arrivals,
            })));
        }
        Ok(())
    }

    /// New clients are served here, beside those that are left there.
    fn open_doors(&mut self, left: &handover::Left) {
        let left = self.left_by_ids(left);
        let sources = self.state.sources();
        self.elsewhere.begin(&left, &sources.budget, &self.state.view().topology);
        self.state.workers().iter().for_each(|worker| worker.order(Order::OpenDoors));
        self.is_open = true;
    }

    /// So many are left in the predecessor: the permits of the others are free.
    fn count_elsewhere(&mut self, left: &handover::Left) {
        let left = self.left_by_ids(left);
        let sources = self.state.sources();
        self.elsewhere.shrink(&left, &sources.budget, &self.state.view().topology);
    }

    /// What is left counts for what its numbers mean here, if that is here.
    fn left_by_ids(&self, left: &handover::Left) -> Left {
        let Numbers { routes, servers } = &*self.numbers;
        let by_route = left.by_route.iter();
        let by_server = left.by_server.iter();
        Left {
            all: left.left,
            by_route: by_route.filter_map(|(at, n)| Some((*routes.get(at)?, *n))).collect(),
            by_server: by_server.filter_map(|(at, n)| Some((*servers.get(at)?, *n))).collect(),
        }
    }

    /// Says that all workers turn, while they do.
    fn beat(&mut self) -> Result<(), String> {
        let now = self.state.now();
        if now < self.next_beat {
            return Ok(());
        }
        self.next_beat = now.after(BEAT);
        let is_cut = self.arrivals.iter().any(|one| one.is_cut_off.load(Relaxed));
        if self.cut.is_broken(is_cut, now) {
            let words = "a way from a worker of the predecessor is cut".to_owned();
            let refuse = ToPredecessor::Refuse { exit_code: 1, words: words.clone() };
            // It finds out by our end, otherwise.
            let _ = self.channel.say(&refuse, &[]);
            return Err(words);
        }
        let view = self.state.view();
        let mut beats = view.counters.iter().map(|counters| Millis(counters.beat_millis.get()));
        if beats.all(|beat| now.since(beat) < TURN) {
            match self.channel.say(&ToPredecessor::Beat, &[]) {
                // Where the line is full it has something else to hear.
                Ok(_) | Err(Broken::Gone) => {}
                Err(broken) => return Err(broken.to_string()),
            }
        }
        Ok(())
    }

    /// From here on this process stands on its own; without a legacy its predecessor is gone.
    async fn stand_alone(mut self, pid: u32, legacy: Option<Legacy>, handed: Handed) {
        let state = self.state;
        let is_orphan = legacy.is_none();
        if is_orphan {
            self.take_last_in().await;
        }
        let arrived: u32 = self.arrivals.iter().map(|one| one.taken.load(Relaxed)).sum();
        let arrived = count(arrived.into(), "connection");
        match legacy {
            Some(legacy) => {
                take_legacy(state, legacy).await;
                let words = format!("took over from pid {pid}, with {arrived}");
                state.tell(Severity::Info, "gateway", &words);
            }
            None => {
                let words = format!(
                    "pid {pid} ended before it had handed everything over: {arrived} had moved, \
                     and what had not is cut, {} at its last word",
                    self.elsewhere.all()
                );
                state.tell(Severity::Error, "gateway", &words);
            }
        }
        if !self.is_open {
            self.open_doors(&handover::Left::default());
        }
        self.count_elsewhere(&handover::Left::default());
        if let Some(open) = state.reopen() {
            open.take_over(handed);
        }
        state.ground().sign_locks();
        // Until it has heard this, it could take everything back.
        let _ = self.say(&ToPredecessor::Committed).await;
        if !is_orphan {
            self.keep();
        }
    }

    /// What has come is the workers' alone.
    fn keep(&self) {
        self.state.workers().iter().for_each(|worker| worker.order(Order::Keep));
    }

    /// Has the workers take in what a predecessor that is gone has sent. Those connections count as
    /// being elsewhere until then, so that nobody else gets their permits.
    async fn take_last_in(&self) {
        self.keep();
        let until = self.state.now().after(LAST_IN);
        let all_came = || self.arrivals.iter().all(|one| one.is_over.load(Relaxed));
        while !all_came() && self.state.now() < until {
            sleep(POLL).await;
        }
    }
}
