//! The side that hands over: the steps of an upgrade. `takeback` takes everything back.

mod progress;
mod takeback;

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::sleep;

use self::progress::Progress;
use super::channel::{Broken, Channel, Cut, DESCRIPTORS, POLL};
use super::foster::Successor;
use super::legacy::legacy;
use super::plan::{Failure, Plan};
use super::things::Bundle;
use super::tickets::tell_ticket_keys;
use crate::api::handover::{Hello, Left, Links, ToPredecessor, ToSuccessor, VERSION};
use crate::api::upgrade::{Step, Upgraded};
use crate::base::{Millis, version};
use crate::control::state::ControlState;
use crate::control::underway::{Departing, Handover};
use crate::courier::{Courier, Flags, Link, ProcessLink};
use crate::doctor::count;
use crate::host::service_manager::say_main_pid;
use crate::metrics::reading::Severity;
use crate::wire::handover::RECORD_BYTES;
use crate::worker::{Depart, Departures, Order};

/// For the successor to be ready: rings for a million connections take some seconds.
const READY: Duration = Duration::from_secs(60);
/// For an answer that takes no work.
const ANSWER: Duration = Duration::from_secs(5);
/// A successor whose workers turn says so each 100 ms.
const BEAT: Duration = Duration::from_secs(2);
/// Over which those that cannot move are ended.
const END_REST: Duration = Duration::from_secs(2);
/// For the successor to stand on its own: it takes counters and sockets over.
const COMMIT: Duration = Duration::from_secs(10);
/// Passes over all connections before new clients are the successor's.
const PASSES: u32 = 2;
/// The successor starts, and makes everything ready.
pub(super) const FIRST_STEP: &str = "ready";

/// An upgrade under way.
pub(super) struct Handing<'a> {
    state: &'a ControlState,
    plan: Plan,
    /// As others see it.
    handover: Arc<Handover>,
    successor: Option<Successor>,
    channel: Option<Channel>,
    /// Once it is ready.
    flags: Option<Arc<Flags>>,
    departures: Departing,
    cut: Cut,
    /// The last beat, once there is one.
    beat: Option<Millis>,
    takes_ticket_keys: bool,
    takes_unserved: bool,
    has_committed: bool,
    /// Connections that are still here, as the successor was told.
    told_left: Left,
    ended: u64,
    /// Those that are over.
    steps: Vec<Step>,
    /// The one that is under way, and since when.
    step: &'static str,
    since: Millis,
}

impl<'a> Handing<'a> {
    pub(super) fn new(state: &'a ControlState, plan: Plan, handover: Arc<Handover>) -> Handing<'a> {
        Handing {
            state,
            plan,
            handover,
            successor: None,
            channel: None,
            flags: None,
            departures: Departing::default(),
            cut: Cut::default(),
            beat: None,
            takes_ticket_keys: false,
            takes_unserved: false,
            has_committed: false,
            told_left: Left::default(),
            ended: 0,
            steps: Vec::new(),
            step: FIRST_STEP,
            since: state.now(),
        }
    }

    /// Hands everything over, or takes everything back.
    pub(super) async fn carry_out(mut self) -> Upgraded {
        let open = count(self.state.open(), "connection");
        let binary = self.plan.binary.display();
        self.say(Severity::Info, &format!("an upgrade begins, to {binary}: {open} are open"));
        match self.hand_over().await {
            Ok(()) => self.committed(),
            Err(failure) => self.take_back(failure).await,
        }
    }

    fn say(&self, severity: Severity, words: &str) {
        self.state.tell(severity, "gateway", words);
    }

    /// The step that was under way is over.
    fn leave_step(&mut self) {
        let (step, now) = (self.step, self.state.now());
        let seconds = now.since(self.since).as_secs_f64();
        self.since = now;
        tracing::info!(step, seconds, "upgrade");
        self.steps.push(Step { seconds, step: step.to_owned() });
    }

    fn enter_step(&mut self, step: &'static str) {
        self.leave_step();
        self.step = step;
        self.handover.enter(step);
    }

    async fn hand_over(&mut self) -> Result<(), Failure> {
        self.start().await?;
        let workers = self.make_ready().await?;
        self.enter_step("move");
        self.begin_move(workers).await?;
        self.first_passes().await?;
        self.enter_step("switch");
        self.switch().await?;
        self.enter_step("rest");
        self.rest().await?;
        self.enter_step("probation");
        self.probation().await?;
        self.enter_step("commit");
        self.commit().await?;
        self.leave_step();
        Ok(())
    }

    /// Starts the successor.
    async fn start(&mut self) -> Result<(), Failure> {
        let Plan { binary, config, .. } = &self.plan;
        let (ours, theirs) = Courier::pair().map_err(|error| format!("a socket pair: {error}"))?;
        let mut arguments = vec![OsString::from("run")];
        arguments.extend(config.arguments());
        arguments.push("--successor".into());
        let spawner = self.state.spawner().ok_or_else(|| "nothing starts processes".to_owned())?;
        let started = Successor::start(spawner, binary.clone(), arguments, theirs).await;
        let mut successor = started.map_err(|error| format!("a process for it: {error}"))?;
        if let Some(pid) = successor.pid() {
            tracing::info!(pid, "the successor starts");
            self.handover.started(pid);
        }
        self.successor = Some(successor);
        self.channel = Some(Channel::new(ours));
        Ok(())
    }

    /// Everything that can fail in the successor; says how many workers it has.
    async fn make_ready(&mut self) -> Result<u32, Failure> {
        let until = self.state.now().after(READY);
        let view = self.state.view();
        let clock = &self.state.sources().clock;
        let hello = Hello {
            min_version: VERSION,
            max_version: VERSION,
            record_bytes: RECORD_BYTES as u16,
            build: version::LINE.to_owned(),
            pid: std::process::id(),
            workers: view.counters.len() as u32,
            connections: self.state.open(),
            clock_origin_nanos: clock.origin_nanos(),
        };
        self.tell(&ToSuccessor::Hello(hello)).await?;
        let welcome = self.wait_for(until, "says nothing", |said| match said {
            ToPredecessor::Welcome(welcome) => Some(welcome),
            _ => None,
        });
        let welcome = welcome.await?;
        tracing::info!(build = welcome.build, version = welcome.version, "the successor answers");
        self.takes_ticket_keys = welcome.takes_ticket_keys;
        self.takes_unserved = welcome.takes_unserved;
        let flags = self.flags().map_err(|error| format!("flags: {error}"))?;
        let bundle = Bundle::of(self.state, &self.plan.config)
            .map_err(|error| format!("descriptors: {error}"))?;
        self.tell(&ToSuccessor::Things(bundle.things.clone())).await?;
        let channel = self.channel.as_ref().expect("it has started");
        for some in bundle.descriptors(&flags).chunks(DESCRIPTORS) {
            let sent = channel.tell(&ToSuccessor::Descriptors, some).await;
            sent?;
        }
        let workers = self.wait_for(until, "is not ready", |said| match said {
            ToPredecessor::Ready { workers } => Some(workers),
            _ => None,
        });
        let workers = workers.await?;
        self.beat = Some(self.state.now());
        self.flags = Some(Arc::new(flags));
        Ok(workers)
    }

    /// Flags that lie so far apart by worker.
    fn stride(&self) -> u64 {
        let view = self.state.view();
        view.counters.iter().map(|counters| counters.slots.get()).max().unwrap_or(0)
    }

    fn flags(&self) -> std::io::Result<Flags> {
        Flags::new(self.stride() * self.state.workers().len() as u64)
    }

    /// Joins the workers of both processes, and has connections depart.
    async fn begin_move(&mut self, workers: u32) -> Result<(), Failure> {
        let own = self.state.workers().len();
        let pairs = own.max(workers as usize);
        if pairs > DESCRIPTORS {
            return Err(format!(
                "{pairs} workers: an upgrade takes {DESCRIPTORS} at most: write fewer \
                 gateway.workers"
            )
            .into());
        }
        let (stride, flags) = (self.stride(), self.flags.clone().expect("it is ready"));
        let mut links: Vec<Vec<Box<dyn Link<_>>>> = (0..own).map(|_| Vec::new()).collect();
        let (mut theirs, mut flags_at) = (Vec::new(), Vec::new());
        for pair in 0..pairs {
            let (courier, other) =
                Courier::pair().map_err(|error| format!("a socket pair: {error}"))?;
            links[pair % own].push(Box::new(ProcessLink { courier, flags: flags.clone() }));
            flags_at.push(stride * (pair % own) as u64);
            theirs.push(other);
        }
        let descriptors: Vec<_> = theirs.iter().map(std::os::fd::AsFd::as_fd).collect();
        let channel = self.channel.as_ref().expect("it has started");
        let sent = channel.tell(&ToSuccessor::Links(Links { flags_at }), &descriptors).await;
        sent?;
        for (nth, (worker, links)) in self.state.workers().iter().zip(links).enumerate() {
            let departures = Arc::new(Departures::default());
            self.departures.join(departures.clone());
            let flags_at = stride * nth as u64;
            let takes_unserved = self.takes_unserved;
            let depart = Depart { links, flags_at, takes_unserved, departures };
            worker.order(Order::Depart(Box::new(depart)));
        }
        self.handover.departs(&self.departures);
        Ok(())
    }

    /// Every connection has been asked. That takes as long as it takes, while some move.
    async fn first_passes(&mut self) -> Result<(), Failure> {
        let mut progress = Progress::new(self.plan.timeout, self.state.now());
        self.wait_until(
            |departures, now| progress.stands_still(departures.moved(), now),
            "not all connections were asked, and none moves any more: a longer --timeout gives it \
             more time",
            |departures| departures.passes.load(Relaxed) >= PASSES,
        )
        .await
    }

    /// From here on new clients are the successor's.
    async fn switch(&mut self) -> Result<(), Failure> {
        self.order_all(|| Order::ShutDoors);
        let until = self.state.now().after(ANSWER);
        let is_shut = |departures: &Departures| departures.is_shut.load(Relaxed);
        let is_late = |_: &Departing, now| now >= until;
        self.wait_until(is_late, "a worker goes on accepting", is_shut).await?;
        if let Some(channel) = self.channel.as_ref().filter(|_| self.takes_ticket_keys) {
            tell_ticket_keys(self.state, channel).await?;
        }
        self.told_left = self.departures.rest();
        self.tell(&ToSuccessor::Switch(self.told_left.clone())).await?;
        let switched = self.wait_for(until, "does not accept", |said| match said {
            ToPredecessor::Switched => Some(()),
            _ => None,
        });
        switched.await
    }

    /// Those that could not move are tried again, and then ended.
    async fn rest(&mut self) -> Result<(), Failure> {
        let until = self.state.now().after(self.plan.timeout);
        self.wait_for_rest(until).await?;
        let left = self.left();
        if left > 0 {
            let words = format!("{} cannot move: to be ended", count(left.into(), "connection"));
            self.say(Severity::Warning, &words);
            self.ended = left.into();
            self.order_all(|| Order::EndRest(END_REST));
            let until = self.state.now().after(2 * END_REST);
            self.wait_for_rest(until).await?;
        }
        if !self.is_all_moved() {
            let left = count(self.left().into(), "connection");
            return Err(format!("{left} neither moved nor ended in time").into());
        }
        self.tell_left().await
    }

    /// Until nobody is left, or then.
    async fn wait_for_rest(&mut self, until: Millis) -> Result<(), Failure> {
        while !self.is_all_moved() && self.state.now() < until {
            self.look()?;
            self.tell_left().await?;
            sleep(POLL).await;
        }
        Ok(())
    }

    fn is_all_moved(&self) -> bool {
        self.left() == 0 && self.departures.all(|one| one.is_still.load(Relaxed))
    }

    async fn tell_left(&mut self) -> Result<(), Failure> {
        let left = self.departures.rest();
        if left != self.told_left {
            self.tell(&ToSuccessor::Left(left.clone())).await?;
            self.told_left = left;
        }
        Ok(())
    }

    /// The successor serves for a while before it is alone.
    async fn probation(&mut self) -> Result<(), Failure> {
        let until = self.state.now().after(self.plan.probation);
        let (moved, left) = (count(self.departures.moved(), "connection"), self.left());
        self.say(
            Severity::Info,
            &format!("{moved} moved, {left} left; the successor is on probation"),
        );
        while self.state.now() < until {
            self.look()?;
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        self.has_committed = true;
        let legacy = Box::new(legacy(self.state));
        self.tell(&ToSuccessor::Commit(legacy)).await?;
        let until = self.state.now().after(COMMIT);
        // It answers when it has time.
        self.beat = None;
        let committed = self.wait_for(until, "does not stand on its own", |said| match said {
            ToPredecessor::Committed => Some(()),
            _ => None,
        });
        committed.await
    }

    /// The successor has everything.
    fn committed(mut self) -> Upgraded {
        if let Some(open) = self.state.reopen() {
            open.leave();
        }
        let successor = self.successor.as_mut().and_then(Successor::pid);
        // The service manager takes it for its own child when it hears of it.
        self.successor.take().into_iter().for_each(Successor::release);
        successor.into_iter().for_each(say_main_pid);
        let (moved, ended) = (self.departures.moved(), self.ended);
        let seconds: f64 = self.steps.iter().map(|step| step.seconds).sum();
        let pid = successor.unwrap_or_default();
        let mut words = format!("{} moved to pid {pid}", count(moved, "connection"));
        if ended > 0 {
            words += &format!(", {ended} could not and were ended");
        }
        words += &format!("; it took {seconds:.1} s");
        self.say(Severity::Info, &format!("the upgrade is committed: {words}"));
        let Handing { steps, .. } = self;
        Upgraded { committed: true, ended, moved, steps, successor, words, ..Upgraded::default() }
    }

    fn order_all(&self, order: impl Fn() -> Order) {
        self.state.workers().iter().for_each(|worker| worker.order(order()));
    }

    fn left(&self) -> u32 {
        u32::try_from(self.departures.left()).unwrap_or(u32::MAX)
    }

    async fn tell(&mut self, message: &ToSuccessor) -> Result<(), Failure> {
        let channel = self.channel.as_ref().expect("it has started");
        let told = channel.tell(message, &[]).await;
        if let Err(Broken::Gone) = told {
            // It may have said why.
            self.look()?;
        }
        Ok(told?)
    }

    /// Until every worker is so far, or that is late.
    async fn wait_until(
        &mut self,
        mut is_late: impl FnMut(&Departing, Millis) -> bool,
        otherwise: &str,
        is_so_far: impl Fn(&Departures) -> bool,
    ) -> Result<(), Failure> {
        while !self.departures.all(&is_so_far) {
            if is_late(&self.departures, self.state.now()) {
                return Err(otherwise.to_owned().into());
            }
            self.look()?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Looks whether the successor is still well.
    fn look(&mut self) -> Result<(), Failure> {
        while self.hear()?.is_some() {}
        let is_cut = !self.departures.all(|one| !one.is_cut_off.load(Relaxed));
        match self.cut.is_broken(is_cut && !self.has_committed, self.state.now()) {
            true => Err("a way to a worker of the successor is cut".to_owned().into()),
            false => Ok(()),
        }
    }

    /// Until the successor says what is waited for.
    async fn wait_for<T>(
        &mut self,
        until: Millis,
        otherwise: &str,
        is_it: impl Fn(ToPredecessor) -> Option<T>,
    ) -> Result<T, Failure> {
        loop {
            while let Some(said) = self.hear()? {
                if let Some(it) = is_it(said) {
                    return Ok(it);
                }
            }
            if self.state.now() >= until {
                return Err(format!("the successor {otherwise} in time").into());
            }
            sleep(POLL).await;
        }
    }

    /// What the successor says next, if it is well and nobody wants the upgrade to end.
    fn hear(&mut self) -> Result<Option<ToPredecessor>, Failure> {
        if let Some(because) = self.handover.aborted().filter(|_| !self.has_committed) {
            return Err(because.into());
        }
        let channel = self.channel.as_ref().expect("it has started");
        let said = channel.hear()?.map(|(said, _)| said);
        let now = self.state.now();
        match (&said, self.beat) {
            (Some(ToPredecessor::Refuse { exit_code, words }), _) => {
                let words = format!("the successor refuses: {words}");
                let wrong_config = *exit_code == 2;
                return Err(Failure { words, wrong_config, is_gone: false });
            }
            (Some(_), Some(_)) => self.beat = Some(now),
            (None, Some(beat)) if now.since(beat) > BEAT => {
                return Err(format!("the successor stands still for {} s", BEAT.as_secs()).into());
            }
            _ => {}
        }
        Ok(said)
    }
}
