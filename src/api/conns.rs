//! Lists of connections, and their ends by order.

use serde::{Deserialize, Serialize};

use super::{Method, Request};

/// Lists connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListConns {
    /// The words of a filter, separated by blanks; none: every connection.
    #[serde(default)]
    pub filter: String,
    /// `idle`, `age` or `bytes`: the most of it first.
    pub sort: Option<String>,
    /// Rows at most.
    pub limit: Option<u32>,
}

impl Request for ListConns {
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/conns";
    type Answer = Conns;
}

/// Connections that match, and what they were chosen from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Conns {
    /// When the rows were read, in seconds of the gateway's own clock, as in a status document.
    pub at_seconds: f64,
    /// Connections that match, also those without a row.
    pub matched: u64,
    /// Addresses that the kernel did not tell.
    pub nameless: u64,
    /// Connections that are open.
    pub open: u64,
    /// In the order that was asked for.
    pub rows: Vec<Conn>,
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// When the process began, in seconds since 1970: which process it is.
    pub start_time_seconds: Option<f64>,
}

/// Counts connections by what they have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CountConns {
    /// `src`, `server` or `listener`.
    pub by: String,
    /// The words of a filter, separated by blanks; none: every connection.
    #[serde(default)]
    pub filter: String,
    /// Groups at most.
    pub limit: Option<u32>,
}

impl Request for CountConns {
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/conns/count";
    type Answer = ConnCounts;
}

/// How many connections there are of each group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ConnCounts {
    /// What they are counted by.
    pub by: String,
    /// The largest first.
    pub groups: Vec<ConnGroup>,
    /// Connections that match.
    pub matched: u64,
    /// Addresses that the kernel did not tell.
    pub nameless: u64,
    /// Connections that are open.
    pub open: u64,
    /// Connections that match and are in none of these groups.
    pub other_connections: u64,
    /// Further groups, as far as the workers have counted them apart: 65,536 each.
    pub other_groups: u64,
    /// [`super::SCHEMA`].
    pub schema: u32,
}

/// A group of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ConnGroup {
    /// How many it has.
    pub connections: u64,
    /// The address, the server or the listener that they have in common.
    pub name: String,
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Conn {
    /// Since its accept.
    pub age_millis: u64,
    /// The address of its client.
    pub client: Option<String>,
    /// Its id, as a kill takes it.
    pub id: String,
    /// Since its last byte.
    pub idle_millis: u64,
    /// The name of its listener.
    pub listener: String,
    /// The address that its client connected to.
    pub local: Option<String>,
    /// The name of its server, once one is chosen.
    pub server: Option<String>,
    /// The address of its server.
    pub server_address: Option<String>,
    /// The address that the gateway connected from.
    pub source: Option<String>,
    /// Its state, in a word of the filter.
    pub state: String,
    /// How its client speaks TLS, where that ends here.
    pub tls: Option<ConnTls>,
    /// Bytes delivered to its client.
    pub to_client_bytes: u64,
    /// Bytes delivered to its server.
    pub to_upstream_bytes: u64,
    /// The id in the PROXY header that its server gets, where that has one, in 32 digits.
    pub unique_id: Option<String>,
    /// The name of its upstream.
    pub upstream: String,
    /// The peer that has said by a PROXY header whose connection it is, where one has.
    pub via: Option<String>,
    /// The worker that has it.
    pub worker: u16,
}

/// How a client speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ConnTls {
    /// The cipher suite, as OpenSSL names it.
    pub cipher: String,
    /// The common name of its certificate, where it has shown one.
    pub client_name: Option<String>,
    /// The name that it asked for. It is kept for the access log, and of clients that have shown a
    /// certificate with a common name.
    pub server_name: Option<String>,
    /// The version, as in "TLSv1.3".
    pub version: String,
}

/// Ends connections, named by ids or by a filter. An answer ends a bounded number of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kill {
    /// Ids as [`Conn::id`] has them.
    pub ids: Vec<String>,
    /// The words of a filter, separated by blanks.
    pub filter: String,
    /// Ends none, and answers with [`WouldKill`].
    pub dry_run: bool,
    /// Confirms that many may be ended.
    pub yes: bool,
}

impl Request for Kill {
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/kill";
    type Answer = Killed;
}

/// How many connections a kill has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Killed {
    /// Connections that were ended.
    pub killed: u64,
    /// Connections that matched and were not ended yet.
    pub left: u64,
    /// Connections that matched.
    pub matched: u64,
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Ids that name no connection any more.
    pub stale: Vec<String>,
}

/// A kill that ends no connection and says which ones it would end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DryRun(Kill);

impl From<Kill> for DryRun {
    fn from(kill: Kill) -> DryRun {
        DryRun(Kill { dry_run: true, ..kill })
    }
}

impl Request for DryRun {
    const METHOD: Method = Kill::METHOD;
    const PATH: &'static str = Kill::PATH;
    type Answer = WouldKill;
}

/// The connections that a kill would end.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct WouldKill {
    /// The connections that match.
    #[serde(flatten)]
    pub conns: Conns,
    /// Ids that name no connection any more.
    #[serde(default)]
    pub stale: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_on_the_wire_are_these() {
        let conn = Conn { id: "0-1-2".to_owned(), ..Conn::default() };
        let conns = Conns { rows: vec![conn], schema: 1, ..Conns::default() };
        let row = "{\"age_millis\":0,\"client\":null,\"id\":\"0-1-2\",\"idle_millis\":0,\
                   \"listener\":\"\",\"local\":null,\"server\":null,\"server_address\":null,\
                   \"source\":null,\"state\":\"\",\"tls\":null,\"to_client_bytes\":0,\
                   \"to_upstream_bytes\":0,\"unique_id\":null,\"upstream\":\"\",\
                   \"via\":null,\"worker\":0}";
        let head = "\"at_seconds\":0.0,\"matched\":0,\"nameless\":0,\"open\":0";
        let tail = "\"schema\":1,\"start_time_seconds\":null";
        let listed = format!("{{{head},\"rows\":[{row}],{tail}}}");
        assert_eq!(serde_json::to_string(&conns).expect("plain data"), listed);
        let would = WouldKill { conns: conns.clone(), stale: vec!["1-1-1".to_owned()] };
        let text = serde_json::to_string(&would).expect("plain data");
        assert_eq!(text, format!("{{{head},\"rows\":[{row}],{tail},\"stale\":[\"1-1-1\"]}}"));
        assert_eq!(serde_json::from_str::<WouldKill>(&text).expect("the same"), would);
        let killed = Killed { schema: 1, ..Killed::default() };
        assert_eq!(
            serde_json::to_string(&killed).expect("plain data"),
            "{\"killed\":0,\"left\":0,\"matched\":0,\"schema\":1,\"stale\":[]}"
        );
    }

    #[test]
    fn a_dry_run_is_a_kill_that_says_so() {
        let kill = Kill { filter: "idle>1h".to_owned(), ..Kill::default() };
        let text = serde_json::to_string(&DryRun::from(kill.clone())).expect("plain data");
        let heard: Kill = serde_json::from_str(&text).expect("a kill");
        assert_eq!(heard, Kill { dry_run: true, ..kill });
    }

    #[test]
    fn a_request_may_leave_out_what_has_a_default_and_adds_nothing() {
        assert_eq!(serde_json::from_str::<Kill>("{}").expect("a kill"), Kill::default());
        assert!(serde_json::from_str::<Kill>("{\"id\":\"0-1-2\"}").is_err());
        assert!(serde_json::from_str::<ListConns>("{\"filters\":\"\"}").is_err());
    }
}
