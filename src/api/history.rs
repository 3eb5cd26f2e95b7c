//! Ten minutes of a gateway's figures, a sample each second.

use serde::{Deserialize, Serialize};

use super::{Method, Request};

/// Asks for the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AskHistory {}

impl Request for AskHistory {
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/history.json";
    type Answer = History;
}

/// The samples of the last ten minutes, a list for each figure. The figures of one sample stand at
/// the same place of each list; the oldest sample comes first.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct History {
    /// Clients accepted since the start, those among them that a limit then reset.
    pub accepted: Vec<u64>,
    /// When each sample was taken, in seconds of the gateway's own clock, as in a status document.
    pub at_seconds: Vec<f64>,
    /// When that clock read 0, in seconds since 1970.
    pub clock_began_seconds_since_1970: f64,
    /// Connections that ended since the start.
    pub closed: Vec<u64>,
    /// Attempts to connect to servers that failed since the start.
    pub connect_failures: Vec<u64>,
    /// Connections open at that moment.
    pub open: Vec<u64>,
    /// Clients not served since the start.
    pub refused: Vec<u64>,
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Bytes delivered to clients since the start.
    pub to_client_bytes: Vec<u64>,
    /// Bytes delivered to servers since the start.
    pub to_upstream_bytes: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_on_the_wire_are_these() {
        let history = History { open: vec![3], schema: 1, ..History::default() };
        let text = "{\"accepted\":[],\"at_seconds\":[],\"clock_began_seconds_since_1970\":0.0,\
                    \"closed\":[],\"connect_failures\":[],\"open\":[3],\"refused\":[],\
                    \"schema\":1,\"to_client_bytes\":[],\"to_upstream_bytes\":[]}";
        assert_eq!(serde_json::to_string(&history).expect("plain data"), text);
        assert_eq!(serde_json::from_str::<History>(text).expect("the same"), history);
    }
}
