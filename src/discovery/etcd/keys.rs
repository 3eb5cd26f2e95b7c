//! The keys below a prefix as servers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::message::{Bytes, Event, Kind, Pair};
use crate::base::limits::NAMED_MAX;
use crate::config::{ServerSet, Terms};
use crate::discovery::{Bad, Outcome};

/// The most keys; as many as there may be servers.
pub(super) const KEYS_MAX: usize = NAMED_MAX;
/// The longest value of a key; an address has about 50 bytes, a host's name 260.
const VALUE_BYTES_MAX: usize = 4096;

/// Every key that is there, by what follows the prefix.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
    known: BTreeMap<Vec<u8>, Key>,
}

/// A key: the last value that was a server's, and what is wrong with the present one.
#[derive(Debug, Default)]
struct Key {
    value: Vec<u8>,
    good: ServerSet,
    wrong: Option<String>,
}

/// A value with more than an address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    address: String,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default)]
    max_connections: Option<u32>,
    #[serde(default)]
    backup: bool,
}

fn one() -> u32 {
    1
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Keys {
        Keys { prefix: prefix.to_owned(), known: BTreeMap::new() }
    }

    /// These are all keys.
    pub(super) fn replace(&mut self, pairs: Vec<Pair>) -> Result<(), Bad> {
        if pairs.len() > KEYS_MAX {
            return Err(too_many());
        }
        let mut before = std::mem::take(&mut self.known);
        for Pair { key: Bytes(key), value: Bytes(value) } in pairs {
            let name = self.name(key);
            let known = before.remove(&name).unwrap_or_default();
            self.put(name, known, value);
        }
        Ok(())
    }

    /// A key was put or deleted.
    pub(super) fn apply(&mut self, event: Event) -> Result<(), Bad> {
        let name = self.name(event.kv.key.0);
        let known = self.known.remove(&name);
        if event.kind == Kind::Put {
            self.put(name, known.unwrap_or_default(), event.kv.value.0);
        }
        if self.known.len() > KEYS_MAX { Err(too_many()) } else { Ok(()) }
    }

    /// The servers of all keys, in the order of their names.
    pub(super) fn set(&self) -> ServerSet {
        let mut set = ServerSet::default();
        self.known.values().for_each(|key| set.extend(key.good.clone()));
        set
    }

    /// What is the matter with them.
    pub(super) fn bad(&self) -> Option<Bad> {
        if self.known.is_empty() {
            return Some(Bad::new(Outcome::Empty, "no key begins with it"));
        }
        let mut wrong =
            self.known.iter().filter_map(|(name, key)| Some((name, key.wrong.as_ref()?)));
        let (name, because) = wrong.next()?;
        let name = String::from_utf8_lossy(name);
        let more = match wrong.count() {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(Bad::wrong(format!("key {:?}: {because}{more}", format!("{}{name}", self.prefix))))
    }

    /// A key without the prefix, which all have that were asked for.
    fn name(&self, mut key: Vec<u8>) -> Vec<u8> {
        key.drain(..self.prefix.len().min(key.len()));
        key
    }

    fn put(&mut self, name: Vec<u8>, mut key: Key, value: Vec<u8>) {
        if key.value != value || value.is_empty() {
            match server(&name, &value) {
                Ok(set) => (key.good, key.wrong) = (set, None),
                Err(because) => key.wrong = Some(because),
            }
            key.value = if value.len() > VALUE_BYTES_MAX { Vec::new() } else { value };
        }
        self.known.insert(name, key);
    }
}

fn too_many() -> Bad {
    Bad::new(Outcome::TooLarge, format!("more than {KEYS_MAX} keys begin with it"))
}

/// The server that a key stands for.
fn server(name: &[u8], value: &[u8]) -> Result<ServerSet, String> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(format!("its value has more than {VALUE_BYTES_MAX} bytes"));
    }
    if name.is_empty() {
        return Err("no server's name follows the prefix; delete the key".to_owned());
    }
    let name = std::str::from_utf8(name).map_err(|error| error.to_string())?;
    let value = std::str::from_utf8(value).map_err(|error| error.to_string())?.trim();
    if !value.starts_with('{') {
        return ServerSet::one(Some(name), value, Terms::default());
    }
    let Table { address, weight, max_connections, backup } =
        serde_json::from_str(value).map_err(|error| {
            format!("{error}; write {{\"address\": \"10.0.0.1:9000\", \"weight\": 2}}")
        })?;
    ServerSet::one(Some(name), &address, Terms { weight, max_connections, backup })
}
