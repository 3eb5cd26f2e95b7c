//! Drains: of the process, of a part of it, of a share; and the end of one.

use serde::{Deserialize, Serialize};

use super::{Method, Request};

/// The most connections per second that a drain can be held to: beyond it, time alone bounds it.
pub const RATE_MAX: u32 = 1_000_000;
/// The longest time of a drain, and of its grace.
pub const DRAIN_MAX_SECONDS: u64 = 366 * 86_400;

/// Asks for a drain: without a part and a share, of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Drain {
    /// For how long the process still serves new clients first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_millis: Option<u64>,
    /// Over this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_millis: Option<u64>,
    /// `listener/NAME`, `server/UPSTREAM/NAME` or `upstream/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Connections per second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// So many in a hundred, the longest idle. New connections go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
}

impl Request for Drain {
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/drain";
    type Answer = Draining;
}

/// A drain that begins, or is under way already.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Draining {
    /// What drains, as the status calls it.
    pub drain: String,
    /// Always true.
    pub draining: bool,
    /// For so long new clients are served first.
    pub grace_seconds: f64,
    /// Connections that it has to end.
    pub open: u64,
    /// After the grace it takes so long.
    pub over_seconds: f64,
    /// Connections per second at most.
    pub rate: Option<u32>,
    /// [`super::SCHEMA`].
    pub schema: u32,
}

/// Asks for the end of a drain: without a part, of the process's, or else of the share of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct CancelDrain {
    /// As in [`Drain::part`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

impl Request for CancelDrain {
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/drain/cancel";
    type Answer = Cancelled;
}

/// A drain that is cancelled: connections that it has not ended stay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Cancelled {
    /// What has drained, as the status called it.
    pub drain: String,
    /// Connections that it has ended.
    pub ended: u64,
    /// Connections that stay.
    pub left: u64,
    /// [`super::SCHEMA`].
    pub schema: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_on_the_wire_are_these() {
        let text = |value: &Drain| serde_json::to_string(value).expect("plain data");
        assert_eq!(text(&Drain::default()), "{}");
        let part = Some("listener/edge".to_owned());
        let drain = Drain { over_millis: Some(600_000), part, rate: Some(5), ..Drain::default() };
        assert_eq!(text(&drain), "{\"over_millis\":600000,\"part\":\"listener/edge\",\"rate\":5}");
        let draining = Draining {
            drain: "process".to_owned(),
            draining: true,
            grace_seconds: 0.0,
            open: 7,
            over_seconds: 25.0,
            rate: None,
            schema: 1,
        };
        assert_eq!(
            serde_json::to_string(&draining).expect("plain data"),
            "{\"drain\":\"process\",\"draining\":true,\"grace_seconds\":0.0,\"open\":7,\
             \"over_seconds\":25.0,\"rate\":null,\"schema\":1}"
        );
    }
}
