//! The keys of etcd below a prefix, by its JSON gateway: read once, then watched.
//!
//! A session with one member of the cluster reads all keys, at a revision of the cluster, and
//! watches from the next revision on: nothing lies in between. It ends within a minute, and the
//! next one begins with all keys again. So whatever a watch may lose is known by then at the
//! latest: a member hangs, or is cut off from its cluster; a revision was compacted away; a proxy
//! lets a stream die. etcd's own notes of progress come every ten minutes by default, also from a
//! member that is cut off.

mod keys;
mod member;
mod message;

use std::time::Duration;

use tokio::time::{sleep, timeout};

use self::keys::Keys;
use self::member::{Member, Watch, addresses};
use super::SetSink;
use super::bad::Bad;
use super::dns::Dns;
use crate::base::chance::random;

/// A session's time, and as much again by chance: gateways do not ask all at once.
const SESSION: Duration = Duration::from_secs(30);
/// For a member to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Changes within this time become one set.
const JOINED: Duration = Duration::from_millis(50);
/// Between a session and the next; doubled with each that fails, up to [`BETWEEN_MOST`].
const BETWEEN: Duration = Duration::from_millis(100);
const BETWEEN_MOST: Duration = Duration::from_secs(5);

/// Says the set of the keys below `prefix` whenever it is another; never ends.
pub(super) async fn follow(endpoints: &[String], prefix: &str, dns: &Dns, sink: &SetSink) {
    Follower::new(prefix, SESSION, dns, sink).follow(endpoints).await;
}

/// Knows the keys, from session to session.
struct Follower<'a> {
    prefix: &'a str,
    session: Duration,
    dns: &'a Dns,
    sink: &'a SetSink,
    /// What the log calls it.
    of: String,
    keys: Keys,
}

impl<'a> Follower<'a> {
    fn new(prefix: &'a str, session: Duration, dns: &'a Dns, sink: &'a SetSink) -> Follower<'a> {
        let (of, keys) = (format!("etcd {prefix}"), Keys::new(prefix));
        Follower { prefix, session, dns, sink, of, keys }
    }

    /// Holds sessions with one member after the other; with the same one while it answers.
    async fn follow(&mut self, endpoints: &[String]) {
        let (mut turn, mut failures) = (0, 0);
        loop {
            let endpoint = &endpoints[turn % endpoints.len()];
            match self.session(endpoint).await {
                Ok(()) => failures = 0,
                Err(bad) => {
                    (turn, failures) = (turn + 1, failures + 1);
                    self.failed(endpoint, &bad, failures >= endpoints.len());
                }
            }
            sleep(between(failures, random())).await;
        }
    }

    /// A session with a member, to its end in time.
    async fn session(&mut self, endpoint: &str) -> Result<(), Bad> {
        let mut addresses = addresses(endpoint, self.dns).await?;
        // A name may stand for several members, of which some are silent.
        let first = random() % addresses.len() as u64;
        addresses.rotate_left(first as usize);
        let (mut member, connection) = in_time(Member::connect(endpoint, &addresses)).await?;
        let talk = async {
            let all = in_time(member.range(self.prefix)).await?;
            self.keys.replace(all.kvs)?;
            self.say_set();
            let watch = in_time(member.watch(self.prefix, all.header.revision + 1)).await?;
            self.say();
            let more = self.session.mul_f64(random() as f64 / u64::MAX as f64);
            let ended = timeout(self.session + more, self.watch(watch)).await.unwrap_or(Ok(()));
            // Some of the changes may still have waited for others.
            self.say_set();
            ended
        };
        tokio::select! {
            ended = talk => ended,
            never = connection => match never {},
        }
    }

    /// Takes changes as they come. Ends without an error where some were compacted away.
    async fn watch(&mut self, mut watch: Watch) -> Result<(), Bad> {
        while self.change(&mut watch).await? {
            let more = async {
                while self.change(&mut watch).await? {}
                Ok(())
            };
            match timeout(JOINED, more).await {
                Ok(ended) => return ended,
                Err(_) => self.say(),
            }
        }
        Ok(())
    }

    /// Waits for changes and takes them; `false`: they were compacted away.
    async fn change(&mut self, watch: &mut Watch) -> Result<bool, Bad> {
        loop {
            let answer = watch.next().await?;
            if answer.canceled && answer.compact_revision > 0 {
                return Ok(false);
            }
            if answer.canceled {
                return Err(Bad::failed(format!("it ended the watch: {}", answer.cancel_reason)));
            }
            if !answer.events.is_empty() {
                answer.events.into_iter().try_for_each(|event| self.keys.apply(event))?;
                return Ok(true);
            }
        }
    }

    fn say_set(&self) {
        self.sink.found(self.keys.set());
    }

    fn say(&self) {
        self.say_set();
        match self.keys.bad() {
            Some(bad) => self.sink.speaker.bad(&self.of, &bad),
            None => self.sink.speaker.good(&self.of),
        }
    }

    /// One member is not the cluster: there is trouble when none of them answers.
    fn failed(&self, endpoint: &str, bad: &Bad, is_last: bool) {
        if is_last {
            self.sink.speaker.bad(&self.of, &bad.at(endpoint));
        } else {
            let because = &bad.because;
            let (upstream, of) = (&self.sink.speaker.upstream, &self.of);
            tracing::info!(upstream, of, endpoint, because, "the next member of etcd is asked");
        }
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Bad>>) -> Result<T, Bad> {
    let nothing = |_| Bad::failed(format!("no answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, answer).await.map_err(nothing)?
}

/// The time between two sessions after so many failures in a row.
fn between(failures: usize, chance: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16) as u32;
    let most = BETWEEN.saturating_mul(1 << doublings).min(BETWEEN_MOST);
    most / 2 + (most / 2).mul_f64(chance as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests;
