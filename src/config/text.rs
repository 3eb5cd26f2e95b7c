//! The text of a config file, made piece by piece.

use std::fmt::Display;

use crate::config::file::quoted;

/// What is written so far.
#[derive(Default)]
pub(super) struct Text(pub(super) String);

impl Text {
    pub(super) fn section(&mut self, path: &str) -> &mut Text {
        self.0 += &format!("\n[{path}]\n");
        self
    }

    /// A value that is TOML as it is shown.
    pub(super) fn plain(&mut self, key: &str, value: impl Display) {
        self.0 += &format!("{key} = {value}\n");
    }

    pub(super) fn word(&mut self, key: &str, word: &str) {
        self.plain(key, quoted(word));
    }

    /// A value as its form writes it; `None`: the file leaves the key out.
    pub(super) fn key(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.plain(key, value);
        }
    }
}

/// A list of texts.
pub(super) fn list<T: Display>(texts: impl IntoIterator<Item = T>) -> String {
    let quoted = texts.into_iter().map(|text| quoted(&text.to_string()));
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}
