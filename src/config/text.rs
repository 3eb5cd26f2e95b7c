//! Sections and values as a file has them.

use std::fmt::Display;

use crate::config::file::quoted;
use crate::config::key::Key;

/// A section as a file has it, every key in it.
#[derive(Debug)]
pub(super) struct Written {
    /// Its path, with its name.
    pub(super) path: String,
    /// Each key that has a value, and the value.
    pub(super) values: Vec<(&'static Key, String)>,
}

impl Written {
    pub(super) fn new(path: impl Into<String>) -> Written {
        Written { path: path.into(), values: Vec::new() }
    }

    /// Adds the value of the key that `keys` has under this name; `None`: a file leaves it out.
    ///
    /// # Panics
    /// When `keys` has none.
    pub(super) fn key(&mut self, keys: &'static [Key], name: &str, value: Option<String>) {
        let key = keys.iter().find(|key| key.name == name);
        let key = key.unwrap_or_else(|| panic!("{name} is written and not declared"));
        self.values.extend(value.map(|value| (key, value)));
    }

    pub(super) fn with(mut self, write: impl FnOnce(&mut Written)) -> Written {
        write(&mut self);
        self
    }

    pub(super) fn text(&self) -> String {
        let lines = self.values.iter().map(|(key, value)| format!("{} = {value}\n", key.name));
        format!("[{}]\n{}", self.path, lines.collect::<String>())
    }
}

/// A list of texts.
pub(super) fn list<T: Display>(texts: impl IntoIterator<Item = T>) -> String {
    let quoted = texts.into_iter().map(|text| quoted(&text.to_string()));
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}
