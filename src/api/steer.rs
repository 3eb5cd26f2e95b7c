//! Changes while the gateway runs: listeners that pause, servers that get no new connections.

use serde::{Deserialize, Serialize};

use super::{Method, Request};

/// Pauses a listener, or resumes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SetListener {
    /// Its name.
    pub listener: String,
    /// Its clients wait in the backlog.
    pub paused: bool,
}

impl Request for SetListener {
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/listener";
    type Answer = ListenerState;
}

/// A listener after a change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ListenerState {
    /// Its name.
    pub listener: String,
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Whether it accepts.
    pub state: Accepting,
}

/// How far a pause or its end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accepting {
    /// Clients are let in.
    Open,
    /// No client will be let in once every worker has heard of it.
    Pausing,
    /// Clients wait in the backlog.
    Paused,
    /// Clients are let in again by the workers that have heard of it.
    Resuming,
}

impl Accepting {
    /// Its word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Accepting::Open => "open",
            Accepting::Pausing => "pausing",
            Accepting::Paused => "paused",
            Accepting::Resuming => "resuming",
        }
    }
}

/// Changes the share of new connections that a server gets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SetServer {
    /// `UPSTREAM/NAME`.
    pub server: String,
    /// The share that it is to get.
    pub share: Share,
}

impl Request for SetServer {
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/server";
    type Answer = ServerState;
}

/// A share of an upstream's new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// None; it is checked on.
    Drain,
    /// None, and nobody checks on it.
    Maintenance,
    /// Its share; where it has no weight, the one that it had before.
    Ready,
    /// This weight.
    Weight(u32),
}

/// A server after a change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ServerState {
    /// Connections to it.
    pub open: u32,
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// `UPSTREAM/NAME`.
    pub server: String,
    /// Whether it gets new connections.
    pub state: Receiving,
    /// Its share of new connections; 0: none.
    pub weight: u32,
}

/// Whether a server gets new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Receiving {
    /// It gets its share.
    Ready,
    /// It gets none.
    Draining,
    /// It gets none, and nobody checks on it.
    Maintenance,
}

impl Receiving {
    /// Its word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Receiving::Ready => "ready",
            Receiving::Draining => "draining",
            Receiving::Maintenance => "maintenance",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &impl Serialize) -> String {
        serde_json::to_string(value).expect("plain data")
    }

    #[test]
    fn the_keys_on_the_wire_are_these() {
        let listener = "edge".to_owned();
        let paused = ListenerState { listener, schema: 1, state: Accepting::Paused };
        assert_eq!(text(&paused), "{\"listener\":\"edge\",\"schema\":1,\"state\":\"paused\"}");
        let server = "app/a".to_owned();
        let ready = ServerState { open: 2, schema: 1, server, state: Receiving::Ready, weight: 3 };
        assert_eq!(
            text(&ready),
            "{\"open\":2,\"schema\":1,\"server\":\"app/a\",\"state\":\"ready\",\"weight\":3}"
        );
    }

    #[test]
    fn words_are_those_of_the_wire() {
        let all = [Accepting::Open, Accepting::Pausing, Accepting::Paused, Accepting::Resuming];
        for state in all {
            assert_eq!(text(&state), format!("\"{}\"", state.word()));
        }
        for state in [Receiving::Ready, Receiving::Draining, Receiving::Maintenance] {
            assert_eq!(text(&state), format!("\"{}\"", state.word()));
        }
        let shares = [Share::Drain, Share::Maintenance, Share::Ready, Share::Weight(2)];
        assert_eq!(text(&shares), "[\"drain\",\"maintenance\",\"ready\",{\"weight\":2}]");
    }
}
