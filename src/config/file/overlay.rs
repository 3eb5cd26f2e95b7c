//! What the command line sets over a file: `KEY=VALUE` in the place of the key's value there.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Source, Value, is_bare, joined, read_as};
use crate::config::error::ConfigError;

/// A key that is set, as it comes to a section.
#[derive(Clone)]
pub(super) struct Overlay<'a> {
    source: &'a Source<'a>,
    /// The names that are left from the section on, the last of the key first.
    names: Vec<String>,
    place: Range<usize>,
    data: Spanned<DeValue<'a>>,
}

/// The line of a file that `setting` stands for. A value that is not TOML is a text.
///
/// # Errors
/// The rule that it breaks, and the remedy.
pub(in crate::config) fn line_of(setting: &str) -> Result<String, (String, &'static str)> {
    const REMEDY: &str = "write it as in --set gateway.workers=2";
    let (key, value) =
        setting.split_once('=').ok_or_else(|| ("has no = and no value".to_owned(), REMEDY))?;
    let (key, value) = (key.trim(), value.trim());
    if !key.split('.').all(is_bare) {
        return Err(("must begin with the key and its sections, with dots".to_owned(), REMEDY));
    }
    Ok(match read_as::<toml::Value>(value) {
        Some(_) => format!("{key} = {value}"),
        None => format!("{key} = {}", toml::Value::String(value.to_owned())),
    })
}

impl<'a> Overlay<'a> {
    /// The key in a table of tables that has no other.
    pub(super) fn of(source: &'a Source<'a>, table: DeTable<'a>) -> Option<Overlay<'a>> {
        let mut names = Vec::new();
        let mut depth = source.text.split('=').next()?.split('.').count();
        let mut next = table.into_iter().next();
        while let Some((key, data)) = next {
            let place = key.span();
            names.insert(0, key.into_inner().into_owned());
            depth -= 1;
            next = match data.get_ref() {
                DeValue::Table(table) if depth > 0 => table.clone().into_iter().next(),
                _ => return Some(Overlay { source, names, place, data }),
            };
        }
        None
    }

    /// The key from the section on, in which it stands within a value.
    pub(super) fn key(&self) -> String {
        self.names.iter().rev().fold(String::new(), |path, name| joined(&path, name))
    }

    /// An error about it, under its whole key.
    pub(super) fn error(&self, key: String, rule: String, remedy: &str) -> ConfigError {
        let value = Some(self.source.shown(&self.data.span()));
        ConfigError { key: Some(key), value, ..self.source.error(None, rule, remedy) }
    }

    /// Puts the key into the section `path` with these values.
    pub(super) fn lay(mut self, path: &str, values: &mut Vec<Value<'a>>) {
        let Some(name) = self.names.pop() else { return };
        let found = values.iter().position(|value| value.name == name);
        let new = |data, over| Value {
            source: self.source,
            path: joined(path, &name),
            name: name.clone(),
            place: self.place.clone(),
            data,
            over,
        };
        let Some(next) = self.names.last() else {
            values.retain(|value| value.name != name);
            let at = found.unwrap_or(values.len()).min(values.len());
            values.insert(at, new(self.data, Vec::new()));
            return;
        };
        // Several files may have sections of this name.
        let has_next = |value: &Value<'_>| value.name == name && value.has(next);
        match values.iter().position(has_next).or(found) {
            Some(at) => values[at].over.push(self),
            None => {
                let table = Spanned::new(0..0, DeValue::Table(DeTable::new()));
                let value = new(table, vec![self.clone()]);
                values.push(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_line_and_a_word_needs_no_quotes() {
        for (setting, line) in [
            ("gateway.workers=2", "gateway.workers = 2"),
            ("log.level = debug", "log.level = \"debug\""),
            ("log.level=\"debug\"", "log.level = \"debug\""),
            ("gateway.drain_timeout=30s", "gateway.drain_timeout = \"30s\""),
            ("admin.mode=0600", "admin.mode = \"0600\""),
            ("a.b=[\"x\"]", "a.b = [\"x\"]"),
            ("a.b=", "a.b = \"\""),
            ("a.b=c=d", "a.b = \"c=d\""),
        ] {
            assert_eq!(line_of(setting).as_deref(), Ok(line), "{setting}");
        }
        for wrong in ["gateway.workers", "", "=2", "a..b=2", "a b=2", "[a]=2", "a\nb=2"] {
            assert!(line_of(wrong).is_err(), "{wrong}");
        }
        // A second line would be another key.
        let two = line_of("a.b=1\nc = 2").expect("one text");
        assert_eq!(DeTable::parse(&two).expect("TOML").get_ref().len(), 1, "{two}");
    }
}
