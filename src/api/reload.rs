//! A reload: the config file is read again, and the gateway becomes what it says.

use serde::{Deserialize, Serialize};

use super::{Method, Request};

/// Asks for a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Reload {
    /// Take what can change while the gateway runs, though other keys cannot.
    #[serde(default)]
    pub allow_partial: bool,
    /// Say what would change, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Take the file's word where an operator's is another: weights, drained servers, pauses.
    #[serde(default)]
    pub reset: bool,
}

impl Request for Reload {
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/reload";
    type Answer = Reloaded;
}

/// What a reload changed, or would.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Reloaded {
    /// The gateway is what the file says, or was already.
    pub applied: bool,
    /// What an operator has made different from the file, in a line each; `reset` takes the file's
    /// word.
    pub by_hand: Vec<String>,
    /// Key by key.
    pub changes: Vec<Change>,
    /// The change was made, and this part of it has not been carried out in time.
    pub failed: Option<String>,
    /// The file that was read.
    pub file: String,
    /// Which config runs now: one more at each reload that changes something.
    pub generation: u64,
    /// Connections that are open.
    pub open: u64,
    /// Why nothing was changed; `None`: something was, or it was only asked about.
    pub refused: Option<String>,
    /// [`super::SCHEMA`].
    pub schema: u32,
}

/// A key whose value is another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Change {
    /// What the file says now; `None`: nothing any more.
    pub after: Option<String>,
    /// What it said; `None`: nothing.
    pub before: Option<String>,
    /// Open connections that it ends, in time.
    pub ends: u64,
    /// The dotted key, or a section that comes or goes as a whole.
    pub key: String,
    /// What else there is to know of it.
    pub note: Option<String>,
    /// Whom it concerns.
    pub takes: Takes,
}

/// Whom a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takes {
    /// Everybody, at once.
    Live,
    /// Connections that begin afterwards.
    NewConnections,
    /// Nobody before the gateway starts again.
    Restart,
}

impl Takes {
    /// Its words for people.
    pub fn words(self) -> &'static str {
        match self {
            Takes::Live => "at once",
            Takes::NewConnections => "new connections",
            Takes::Restart => "needs `portcullis upgrade`",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_on_the_wire_are_these() {
        let change = Change {
            after: Some("5".to_owned()),
            before: None,
            ends: 0,
            key: "upstream.app.servers.b.weight".to_owned(),
            note: None,
            takes: Takes::NewConnections,
        };
        let text = serde_json::to_string(&change).expect("plain data");
        assert_eq!(
            text,
            "{\"after\":\"5\",\"before\":null,\"ends\":0,\
             \"key\":\"upstream.app.servers.b.weight\",\"note\":null,\"takes\":\"new-connections\"}"
        );
        let asked: Reload = serde_json::from_str("{}").expect("every field has a default");
        assert_eq!(asked, Reload::default());
    }
}
