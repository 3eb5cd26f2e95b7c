//! The servers of an upstream as a set: read, and changed.

use serde::{Deserialize, Serialize};

use super::{Method, Request};

/// Asks for the servers of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ListServers {
    /// Its name.
    pub upstream: String,
}

impl Request for ListServers {
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/servers";
    type Answer = ServerList;
}

/// The servers of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ServerList {
    /// An operator's list is in place of the config file's.
    pub by_hand: bool,
    /// Who knows them: `servers`, or another origin as the config file has it.
    pub origin: String,
    /// Of the list: another one with each change of it.
    pub revision: u64,
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Those that are in use.
    pub servers: Vec<ListedServer>,
    /// The text of the list, as a change takes it.
    pub text: String,
    /// Which servers are not known at present, and why.
    pub trouble: Option<String>,
    /// The name of the upstream.
    pub upstream: String,
}

/// A server that is in use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ListedServer {
    /// Where it listens.
    pub address: String,
    /// It gets clients only while no other server serves.
    #[serde(default)]
    pub backup: bool,
    /// The most connections that it may have; `None`: any number.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// Its name.
    pub name: String,
    /// Connections to it.
    pub open: u32,
    /// Its state in a word, as the status has it.
    #[serde(default)]
    pub state: String,
    /// Its share of new connections now; 0: none.
    pub weight: u32,
}

/// Changes the list of an upstream's servers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SetServers {
    /// The change.
    pub change: ListChange,
    /// What it is based on: it is refused when the list has become another one.
    #[serde(default)]
    pub on: BasedOn,
    /// The name of the upstream.
    pub upstream: String,
}

/// The list that a change is based on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BasedOn {
    /// That of the revision which the change's own text names; without one, any.
    #[default]
    Text,
    /// Any.
    Any,
    /// That of this revision.
    Revision(u64),
}

impl Request for SetServers {
    const METHOD: Method = Method::Post;
    const PATH: &'static str = "/servers";
    type Answer = ServersSet;
}

/// A change of a list of servers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ListChange {
    /// Put this list in its place, the text of a file of servers.
    Set {
        /// What errors call the file.
        file: String,
        /// The text; a revision in it is what the change is based on.
        text: String,
    },
    /// Add one.
    Add {
        /// Its address with a port, or a host's name with one.
        address: String,
        /// Its name; `None`: its address.
        name: Option<String>,
        /// Its weight.
        weight: u32,
        /// The most connections that it may have; `None`: any number.
        #[serde(default)]
        max_connections: Option<u32>,
        /// It gets clients only while no other server serves.
        #[serde(default)]
        backup: bool,
    },
    /// Remove these, by name.
    Remove(Vec<String>),
    /// Give one another weight.
    Weight {
        /// Its name.
        name: String,
        /// Its weight.
        weight: u32,
    },
}

/// A list of servers that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ServersSet {
    /// Lines that it has now and had not, by name.
    pub added: Vec<String>,
    /// Connections of servers that are no longer in use.
    pub leaving: u64,
    /// Lines that it no longer has, by name.
    pub removed: Vec<String>,
    /// The revision of the list now.
    pub revision: u64,
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// The name of the upstream.
    pub upstream: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_on_the_wire_are_these() {
        let change = ListChange::Weight { name: "b".to_owned(), weight: 3 };
        let on = BasedOn::Revision(2);
        let request = SetServers { change, on, upstream: "app".to_owned() };
        let text = serde_json::to_string(&request).expect("plain data");
        assert_eq!(
            text,
            "{\"change\":{\"weight\":{\"name\":\"b\",\"weight\":3}},\"on\":{\"revision\":2},\
             \"upstream\":\"app\"}"
        );
        let removal = serde_json::to_string(&ListChange::Remove(vec!["b".to_owned()]));
        assert_eq!(removal.expect("plain data"), "{\"remove\":[\"b\"]}");
    }
}
