//! Which connections are meant: words of a filter become conditions that a worker can check.
//!
//! A word is a key, a sign and a value, such as `idle>5m`; all words must hold. Names of listeners
//! and servers become ids here, so that a check is a comparison of numbers.

mod by;
mod ends;
mod words;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::base::{ListenerId, Millis, ServerId, Side, UniqueId, UpstreamId};
pub use by::By;
use ends::{End, Place};
pub use words::QueryError;

/// Rows when nobody says how many.
pub const ROWS: u32 = 50;
/// Rows at most, per answer.
pub const MOST_ROWS: u32 = 10_000;
/// Words in a filter at most: each is checked for every connection.
pub const MOST_WORDS: usize = 32;

/// Names one life of one connection: what `conns` shows and `kill` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    /// The worker of the connection.
    pub worker: u16,
    /// Its slot.
    pub slot: u32,
    /// Which life of the slot.
    pub generation: u32,
}

impl fmt::Display for ConnId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}-{}", self.worker, self.slot, self.generation)
    }
}

impl FromStr for ConnId {
    type Err = QueryError;

    fn from_str(word: &str) -> Result<ConnId, QueryError> {
        words::conn_id(word)
    }
}

impl FromStr for By {
    type Err = QueryError;

    fn from_str(word: &str) -> Result<By, QueryError> {
        words::by(word)
    }
}

/// Where a connection stands, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its source is at a limit, and it is kept for a while.
    Held,
    /// Its client said nothing yet, before which no server is chosen.
    Silent,
    /// Its first bytes are read, on which its server may depend: a header, a hello, a handshake.
    Preamble,
    /// Its turn to be read, or to shake hands, is awaited.
    Standby,
    /// Its upstream socket is being made.
    Opening,
    /// It waits for a server's answer.
    Connecting,
    /// It waits for room at a server.
    Queued,
    /// It waits for files or memory of the kernel.
    Pressed,
    /// A server failed and the next one is tried.
    Retrying,
    /// Bytes flow.
    Joined,
    /// One side was reset and the other takes its last bytes.
    Delivering,
    /// It is on its way out.
    Ending,
}

impl State {
    /// Every state.
    pub const ALL: [State; 12] = [
        State::Held,
        State::Silent,
        State::Preamble,
        State::Standby,
        State::Opening,
        State::Connecting,
        State::Queued,
        State::Pressed,
        State::Retrying,
        State::Joined,
        State::Delivering,
        State::Ending,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            State::Held => "held",
            State::Silent => "silent",
            State::Preamble => "preamble",
            State::Standby => "standby",
            State::Opening => "opening",
            State::Connecting => "connecting",
            State::Queued => "queued",
            State::Pressed => "pressed",
            State::Retrying => "retrying",
            State::Joined => "joined",
            State::Delivering => "delivering",
            State::Ending => "ending",
        }
    }
}

/// The facts that a worker knows of a connection without asking the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which worker has it.
    pub worker: u16,
    /// Where its client connected.
    pub listener: ListenerId,
    /// Where it goes.
    pub upstream: UpstreamId,
    /// The server that it counts for.
    pub server: Option<ServerId>,
    /// Where it stands.
    pub state: State,
    /// When all this was so.
    pub seen: Millis,
    /// When it was accepted.
    pub opened: Millis,
    /// When a byte of it last moved.
    pub active: Millis,
    /// Bytes delivered to its server.
    pub to_upstream_bytes: u64,
    /// Bytes delivered to its client.
    pub to_client_bytes: u64,
    /// The id in the header that its server gets, where it has one.
    pub unique_id: Option<UniqueId>,
}

impl Facts {
    /// Since its accept.
    pub fn age(&self) -> Duration {
        self.seen.since(self.opened)
    }

    /// Since its last byte.
    pub fn idle(&self) -> Duration {
        self.seen.since(self.active)
    }

    /// Bytes delivered, both ways.
    pub fn moved_bytes(&self) -> u64 {
        self.to_upstream_bytes.saturating_add(self.to_client_bytes)
    }
}

/// Above or below a value, which itself is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range<T> {
    Above(T),
    Below(T),
}

impl<T: PartialOrd> Range<T> {
    fn holds(&self, value: &T) -> bool {
        match self {
            Range::Above(bound) => value > bound,
            Range::Below(bound) => value < bound,
        }
    }
}

/// The condition of one word of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Address(End, Place),
    Idle(Range<Duration>),
    Age(Range<Duration>),
    Bytes(Range<u64>),
    Upstream(UpstreamId),
    Server(ServerId),
    Listener(ListenerId),
    State(State),
    Worker(u16),
    /// It is not on its way out.
    Living,
}

/// Which of the matching connections come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The longest idle.
    #[default]
    Idle,
    /// The oldest.
    Age,
    /// Connections that moved most bytes.
    Bytes,
}

/// The names that filters may use, each list in the order of the config.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// How many workers there are.
    pub workers: usize,
    /// Listeners.
    pub listeners: Vec<(ListenerId, String)>,
    /// Upstreams.
    pub upstreams: Vec<UpstreamNames>,
}

impl Names {
    /// The id of a listener.
    ///
    /// # Errors
    /// When there is none of that name: which there are.
    pub fn listener(&self, name: &str) -> Result<ListenerId, QueryError> {
        words::listener(name, name, self)
    }

    /// The id of an upstream.
    ///
    /// # Errors
    /// When there is none of that name: which there are.
    pub fn upstream(&self, name: &str) -> Result<UpstreamId, QueryError> {
        words::upstream(name, name, self).map(|upstream| upstream.id)
    }

    /// The id of a server: `UPSTREAM/SERVER`.
    ///
    /// # Errors
    /// When there is none of that title: which there are.
    pub fn server(&self, title: &str) -> Result<ServerId, QueryError> {
        words::one_server(title, self)
    }
}

/// An upstream and its servers.
#[derive(Clone, Debug)]
pub struct UpstreamNames {
    /// Its id.
    pub id: UpstreamId,
    /// The upstream's own name.
    pub name: String,
    /// Its servers; a builtin has none.
    pub servers: Vec<(ServerId, String)>,
}

/// The title of a server with its upstream, or of a whole upstream: `UPSTREAM/SERVER`.
pub fn server_title(upstream: &str, server: Option<&str>) -> String {
    server.map_or_else(|| upstream.to_owned(), |server| format!("{upstream}/{server}"))
}

/// The names of the upstream, which has no stroke in it, and of the server in a title.
pub fn split_server(title: &str) -> (&str, Option<&str>) {
    title.split_once('/').map_or((title, None), |(upstream, server)| (upstream, Some(server)))
}

/// Which connections are meant, which of them come first, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    conditions: Vec<Condition>,
    /// Which come first.
    pub sort: Sort,
    /// How many are shown.
    pub limit: u32,
}

impl Query {
    /// Every connection; `limit` of them are shown.
    pub fn all(limit: u32) -> Query {
        Query { limit, ..Query::default() }
    }

    /// Reads words separated by blanks, and how to sort and cut what they match.
    ///
    /// # Errors
    /// For the first word that is wrong: which, what the rule is, and what to write.
    pub fn parse(
        filter: &str,
        sort: Option<&str>,
        limit: Option<u32>,
        names: &Names,
    ) -> Result<Query, QueryError> {
        Ok(Query {
            conditions: words::conditions(filter, names)?,
            sort: sort.map_or(Ok(Sort::default()), words::sort)?,
            limit: words::limit(limit.unwrap_or(ROWS))?,
        })
    }

    /// No word narrows it: every connection is meant.
    pub fn is_open(&self) -> bool {
        self.conditions.is_empty()
    }

    /// The same without those that are on their way out.
    pub fn living(mut self) -> Query {
        self.conditions.push(Condition::Living);
        self
    }

    /// Whether a connection is meant, the addresses of its sockets left aside.
    pub fn admits(&self, facts: &Facts) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Address(..) => true,
            Condition::Idle(range) => range.holds(&facts.idle()),
            Condition::Age(range) => range.holds(&facts.age()),
            Condition::Bytes(range) => range.holds(&facts.moved_bytes()),
            Condition::Upstream(upstream) => facts.upstream == *upstream,
            Condition::Server(server) => facts.server == Some(*server),
            Condition::Listener(listener) => facts.listener == *listener,
            Condition::State(state) => facts.state == *state,
            Condition::Worker(worker) => facts.worker == *worker,
            Condition::Living => facts.state != State::Ending,
        })
    }

    /// Whether a worker can have any that is meant.
    pub fn admits_worker(&self, index: usize) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Worker(worker) => usize::from(*worker) == index,
            _ => true,
        })
    }

    /// Whether the addresses of this side decide.
    pub fn asks(&self, side: Side) -> bool {
        let decides = |condition: &Condition| match condition {
            Condition::Address(end, _) => end.side() == side,
            _ => false,
        };
        self.conditions.iter().any(decides)
    }

    /// Whether a connection whose socket on this side has these addresses, the gateway's and the
    /// peer's, is meant, all else left aside.
    pub fn admits_addresses(
        &self,
        side: Side,
        local: SocketAddr,
        peer: Option<SocketAddr>,
    ) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Address(end, place) if end.side() == side => match end {
                End::Local(_) => place.has(local),
                End::Peer(_) => peer.is_some_and(|peer| place.has(peer)),
            },
            _ => true,
        })
    }

    /// The key that sorts: the greatest comes first.
    pub fn sort_key(&self, facts: &Facts) -> u64 {
        match self.sort {
            Sort::Idle => !facts.active.0,
            Sort::Age => !facts.opened.0,
            Sort::Bytes => facts.moved_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let upstream = |id, name: &str, servers: &[(u16, &str)]| UpstreamNames {
            id: UpstreamId(id),
            name: name.to_owned(),
            servers: servers.iter().map(|(id, name)| (ServerId(*id), (*name).into())).collect(),
        };
        Names {
            workers: 2,
            listeners: vec![(ListenerId(4), "edge".into()), (ListenerId(1), "inner".into())],
            upstreams: vec![
                upstream(3, "app", &[(7, "a"), (2, "10.0.0.1:80")]),
                upstream(0, "echo", &[]),
            ],
        }
    }

    const FACTS: Facts = Facts {
        worker: 1,
        listener: ListenerId(4),
        upstream: UpstreamId(3),
        server: Some(ServerId(2)),
        state: State::Joined,
        seen: Millis(1_000_000),
        opened: Millis(400_000),
        active: Millis(690_000),
        to_upstream_bytes: 1 << 20,
        to_client_bytes: 1,
        unique_id: None,
    };

    fn parse(filter: &str) -> Result<Query, QueryError> {
        Query::parse(filter, None, None, &names())
    }

    #[test]
    fn all_words_must_hold() {
        for (filter, holds) in [
            ("", true),
            ("idle>5m", true),
            ("idle<5m", false),
            ("age>9m59s age<10m1s", true),
            ("age>10m", false),
            ("bytes>1MiB", true),
            ("bytes<1MiB", false),
            ("bytes>1048576", true),
            ("bytes>1048577", false),
            ("server=app", true),
            ("server=app/10.0.0.1:80", true),
            ("server=app/a", false),
            ("server=echo", false),
            ("listener=edge state=joined worker=1", true),
            ("listener=edge state=joined worker=0", false),
            ("listener=inner", false),
            ("state=ending", false),
        ] {
            assert_eq!(parse(filter).expect(filter).admits(&FACTS), holds, "{filter}");
        }
    }

    #[test]
    fn who_is_ending_is_left_out_where_only_the_living_are_meant() {
        let ending = Facts { state: State::Ending, ..FACTS };
        assert!(Query::all(1).admits(&ending) && !Query::all(1).living().admits(&ending));
        assert!(Query::all(1).living().admits(&FACTS));
    }

    #[test]
    fn the_longest_idle_the_oldest_and_the_busiest_come_first() {
        let other =
            Facts { opened: Millis(399_999), active: Millis(690_001), to_client_bytes: 0, ..FACTS };
        for (sort, first) in [("idle", FACTS), ("age", other), ("bytes", FACTS)] {
            let query = Query::parse("", Some(sort), None, &names()).expect("it is right");
            let sort_key = |facts: &Facts| query.sort_key(facts);
            assert!(sort_key(&first) > sort_key(&FACTS).min(sort_key(&other)), "{sort}");
        }
    }

    #[test]
    fn a_title_survives_the_round_trip() {
        for names in
            [("app", None), ("app", Some("a")), ("app", Some("[::1]:80")), ("a", Some("b/c"))]
        {
            assert_eq!(split_server(&server_title(names.0, names.1)), names);
        }
    }

    #[test]
    fn an_id_survives_the_round_trip() {
        let id = ConnId { worker: 3, slot: 16_777_215, generation: 7 };
        assert_eq!(id.to_string(), "3-16777215-7");
        assert_eq!(id.to_string().parse::<ConnId>().expect("an id"), id);
        for word in ["", "1", "1-2", "1-2-3-4", "a-2-3", "1-2-x", "-1-2-3", "65536-1-1", "+1-2-3"] {
            assert!(word.parse::<ConnId>().is_err(), "{word}");
        }
    }
}
