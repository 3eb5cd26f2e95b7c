//! What the two processes of an upgrade say to each other, as JSON, over a pair of sockets.
//!
//! Both directions of a difference in versions are the same code: fields that are not known are
//! ignored, and those that are missing have their default. A field never changes its meaning.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Secret;
use super::history::History;

/// The version of the protocol that this build speaks.
pub const VERSION: u32 = 1;

/// What a predecessor says.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum ToSuccessor {
    /// Who it is. Comes first.
    Hello(Hello),
    /// What it hands over; then come the descriptors.
    Things(Things),
    /// Carries some of the descriptors.
    Descriptors,
    /// How the workers are joined. The descriptors are with it.
    Links(Links),
    /// Keys of a listener's tickets, by which its clients resume sessions. For a successor that
    /// takes them, before it accepts clients.
    TicketKeys(TicketKeys),
    /// It accepts nobody any more; so many connections are left there.
    Switch(Left),
    /// So many are left now.
    Left(Left),
    /// The successor is to stand on its own from here on.
    Commit(Box<Legacy>),
}

/// What a successor says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum ToPredecessor {
    /// It takes part.
    Welcome(Welcome),
    /// It does not, and ends.
    Refuse {
        /// Its exit code: 2 for a wrong config.
        #[serde(default)]
        exit_code: u8,
        /// Why.
        #[serde(default)]
        words: String,
    },
    /// Everything that can fail has been done.
    Ready {
        /// Its workers.
        #[serde(default)]
        workers: u32,
    },
    /// It accepts clients.
    Switched,
    /// Its workers turn.
    Beat,
    /// It stands on its own.
    Committed,
}

/// How many connections are left, and what they count for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Left {
    /// Connections.
    pub left: u32,
    /// How many of them a route has, by its number in the records.
    pub by_route: Vec<(u16, u32)>,
    /// How many of them a server has, by its number in the records.
    pub by_server: Vec<(u16, u32)>,
}

/// Who the predecessor is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Hello {
    /// The versions of the protocol that it speaks.
    pub min_version: u32,
    /// The newest of them.
    pub max_version: u32,
    /// Bytes of a record.
    pub record_bytes: u16,
    /// Its version and commit.
    pub build: String,
    /// Its process.
    pub pid: u32,
    /// Its workers.
    pub workers: u32,
    /// Connections that are open.
    pub connections: u64,
    /// The zero of its clock, by CLOCK_MONOTONIC.
    pub clock_origin_nanos: u64,
}

/// The successor's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Welcome {
    /// The version that both speak.
    pub version: u32,
    /// Bytes of a record, as both know it.
    pub record_bytes: u16,
    /// Its version and commit.
    pub build: String,
    /// It goes on with the keys of tickets that no file has.
    pub takes_ticket_keys: bool,
    /// It takes clients that have no server yet.
    pub takes_unserved: bool,
}

/// Keys of a listener's tickets that no file has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct TicketKeys {
    /// The listener.
    pub listener: String,
    /// The keys, one behind the other; the first seals.
    pub keys: Secret,
    /// When that was made, in seconds since the epoch.
    pub made_at: u64,
}

/// What is handed over. Descriptors come in the order of the fields: of each passive socket its
/// queues and then its lock, the status socket, the lock of the admin socket, the flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Things {
    /// What the records' numbers of routes mean.
    pub routes: Vec<RouteName>,
    /// What their numbers of servers mean.
    pub servers: Vec<ServerName>,
    /// What it listens on.
    pub passive: Vec<Passive>,
    /// Where its status server listens.
    pub status: Option<SocketAddr>,
    /// The path of its admin socket, if that is in the config, of which the lock is handed over.
    pub admin: Option<PathBuf>,
    /// Descriptors in all.
    pub descriptors: usize,
    /// What operators said, and what is known of servers.
    pub standing: Vec<ServerStanding>,
    /// Listeners that operators have paused.
    pub paused: Vec<String>,
    /// The servers of upstreams whose set the config file does not say.
    pub sets: Vec<FoundSet>,
    /// The text of a config that came over standard input.
    pub config_text: Option<String>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RouteName {
    /// Its number in records.
    pub number: u16,
    /// The listener whose clients take it.
    pub listener: String,
    /// The upstream that it leads to.
    pub upstream: String,
}

/// A server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ServerName {
    /// Its number in records.
    pub number: u16,
    /// Its upstream.
    pub upstream: String,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: Option<SocketAddr>,
}

/// The passive sockets of an address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Passive {
    /// The listener.
    pub listener: String,
    /// The address as its config has it.
    pub asked: SocketAddr,
    /// The address that it is.
    pub address: SocketAddr,
    /// Somebody else has them, too.
    #[serde(default)]
    pub inherited: bool,
    /// How many there are.
    pub queues: usize,
    /// Where the lock of the address is, if there is one.
    #[serde(default)]
    pub lock: Option<PathBuf>,
}

/// How a server stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ServerStanding {
    /// Its upstream.
    pub upstream: String,
    /// Its name.
    pub name: String,
    /// The weight that an operator gave it; `None`: its line's.
    pub weight: Option<u32>,
    /// What an operator said of it: `drain`, `maintenance`, or nothing.
    pub admin: Option<String>,
    /// Checks found it down, for this reason.
    pub down: Option<String>,
}

/// A set of servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct FoundSet {
    /// The upstream.
    pub upstream: String,
    /// An operator put it in place of the file's list; otherwise a search has found it.
    pub is_by_hand: bool,
    /// Its revision.
    pub revision: u64,
    /// The set, as it is written in a file of servers.
    pub text: String,
}

/// How the workers are joined: pair `k` belongs to worker `k % n` of each process's `n`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Links {
    /// By pair: where the flags of the predecessor's worker begin.
    pub flags_at: Vec<u64>,
}

/// What a predecessor leaves.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Legacy {
    /// Its last status document; `None`: it has none.
    pub reading: Option<serde_json::Value>,
    /// Its samples of the last minutes, the oldest first.
    pub samples: Option<History>,
    /// How servers stand.
    pub standing: Vec<ServerStanding>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_ignored_and_what_is_missing_has_its_default() {
        let text = r#"{"say":"hello","min_version":1,"max_version":9,"colour":"red"}"#;
        let ToSuccessor::Hello(hello) = serde_json::from_str(text).expect("a later version's")
        else {
            panic!("it is a hello");
        };
        assert_eq!((hello.max_version, hello.workers), (9, 0));
        let beat = serde_json::to_string(&ToPredecessor::Beat).expect("plain data");
        assert_eq!(beat, r#"{"say":"beat"}"#);
        let welcome: ToPredecessor =
            serde_json::from_str(r#"{"say":"welcome","version":1}"#).expect("a former version's");
        let ToPredecessor::Welcome(welcome) = welcome else { panic!("it takes part") };
        assert!(!welcome.takes_ticket_keys && !welcome.takes_unserved);
        let refuse: ToPredecessor =
            serde_json::from_str(r#"{"say":"refuse","words":"no"}"#).expect("a former version's");
        assert_eq!(refuse, ToPredecessor::Refuse { exit_code: 0, words: "no".to_owned() });
    }
    #[test]
    fn keys_of_tickets_are_read_as_they_were_written_and_not_shown() {
        let keys = Secret(b"secret".to_vec().into());
        let said = ToSuccessor::TicketKeys(TicketKeys { keys, ..TicketKeys::default() });
        let text = serde_json::to_string(&said).expect("plain data");
        let expected = r#"{"say":"ticket-keys","listener":"","keys":"c2VjcmV0","made_at":0}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<ToSuccessor>(&text).ok().as_ref(), Some(&said));
        let shown = format!("{said:?}");
        assert!(shown.contains("Secret(6 bytes)") && !shown.contains("115, 101"), "{shown}");
        let wrong = serde_json::from_str::<Secret>("\"c2VjcmV0!\"").expect_err("no Base64");
        assert!(!wrong.to_string().contains("c2V"), "{wrong}");
    }
}
