//! The only place that knows TOML: text becomes sections of values that know where they stand.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::config::error::ConfigError;
use crate::config::keys::SectionKeys;

/// Longer values are cut in messages.
const MAX_SHOWN_CHARS: usize = 80;

/// The text of a config file and where its lines begin.
pub(super) struct Source<'a> {
    text: &'a str,
    file_name: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str, file_name: &'a str) -> Source<'a> {
        let after_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts =
            std::iter::once(0).chain(after_ends.map(|(index, _)| index + 1)).collect();
        Source { text, file_name, line_starts }
    }

    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    fn error(&self, place: Option<&Range<usize>>, rule: String, remedy: &str) -> ConfigError {
        ConfigError {
            file: self.file_name.to_owned(),
            line: place.map(|span| self.line(span.start)),
            key: None,
            value: None,
            rule,
            remedy: remedy.to_owned(),
        }
    }

    /// What the file has at `span`, on one line and not too long.
    fn shown(&self, span: &Range<usize>) -> String {
        let written = self.text.get(span.clone()).unwrap_or_default();
        let one_line: String =
            written.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        cut(one_line.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A section: its values in the order of the file.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    /// The dotted key.
    path: String,
    /// Where its header stands; `None`: the file's top, or a section that the file leaves out.
    place: Option<Range<usize>>,
    keys: &'static SectionKeys,
    values: Vec<Value<'a>>,
}

/// A key's value or a list's element.
pub(super) struct Value<'a> {
    source: &'a Source<'a>,
    /// The key by itself.
    pub(super) name: String,
    /// The dotted key; a list's for its elements.
    path: String,
    /// Where the key stands, or the element itself.
    place: Range<usize>,
    data: Spanned<DeValue<'a>>,
}

/// The file's top section, with every `${VAR}` expanded; `None` when the text is not TOML or
/// names a variable that is not set.
pub(super) fn read<'a>(
    source: &'a Source<'a>,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<ConfigError>,
) -> Option<Section<'a>> {
    let (mut table, errors) = DeTable::parse_recoverable(source.text);
    for error in &errors {
        let rule = format!("is not TOML: {}", error.message().replace('\n', ", "));
        problems.push(source.error(error.span().as_ref(), rule, "mend the line"));
    }
    if !errors.is_empty() {
        return None;
    }
    expand_table(table.get_mut(), "", &Expansion { source, env }, problems);
    if !problems.is_empty() {
        return None;
    }
    let keys = &crate::config::keys::ROOT;
    Some(Section::new(source, String::new(), None, keys, table.into_inner()))
}

/// `text` as a file's string that stands for it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.replace("${", "$${")).to_string()
}

/// The word at `key` of `section`, in a text that may have any mistake elsewhere.
pub(super) fn word(text: &str, section: &str, key: &str) -> Option<String> {
    let (table, _) = DeTable::parse_recoverable(text);
    let value = table.get_ref().get(section)?.get_ref().get(key)?;
    value.get_ref().as_str().map(str::to_owned)
}

impl<'a> Section<'a> {
    fn new(
        source: &'a Source<'a>,
        path: String,
        place: Option<Range<usize>>,
        keys: &'static SectionKeys,
        table: DeTable<'a>,
    ) -> Section<'a> {
        let mut values: Vec<Value<'a>> = table
            .into_iter()
            .map(|(key, data)| Value {
                source,
                path: joined(&path, key.get_ref()),
                place: key.span(),
                name: key.into_inner().into_owned(),
                data,
            })
            .collect();
        values.sort_by_key(|value| value.place.start);
        Section { source, path, place, keys, values }
    }

    /// A section that the file leaves out: all defaults.
    pub(super) fn absent(&self, keys: &'static SectionKeys) -> Section<'a> {
        Section::new(self.source, keys.section.to_owned(), None, keys, DeTable::new())
    }

    /// What this section may hold.
    pub(super) fn keys(&self) -> &'static SectionKeys {
        self.keys
    }

    /// The value of `name`, if the file has one.
    ///
    /// # Panics
    /// When `name` is not in the catalogue: it could be neither documented nor spelt wrongly.
    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        assert!(self.keys.known.contains(&name), "{name} is not in the catalogue");
        self.values.iter().find(|value| value.name == name)
    }

    /// Every value, in the order of the file.
    pub(super) fn values(&self) -> &[Value<'a>] {
        &self.values
    }

    /// An error about the section as a whole.
    pub(super) fn error(&self, rule: impl Into<String>, remedy: &str) -> ConfigError {
        let mut error = self.source.error(self.place.as_ref(), rule.into(), remedy);
        error.key = (!self.path.is_empty()).then(|| self.path.clone());
        error
    }
}

impl<'a> Value<'a> {
    /// The value as a `T`, when it is one.
    pub(super) fn read<T: Deserialize<'a>>(&self) -> Option<T> {
        T::deserialize(ValueDeserializer::from(self.data.clone())).ok()
    }

    /// The elements, when it is a list.
    pub(super) fn elements(&self) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(array) = self.data.get_ref() else { return None };
        let element = |data: &Spanned<DeValue<'a>>| Value {
            source: self.source,
            name: self.name.clone(),
            path: self.path.clone(),
            place: data.span(),
            data: data.clone(),
        };
        Some(array.iter().map(element).collect())
    }

    /// The section, when it is one.
    pub(super) fn section(&self, keys: &'static SectionKeys) -> Option<Section<'a>> {
        let DeValue::Table(table) = self.data.get_ref() else { return None };
        let place = Some(self.place.clone());
        Some(Section::new(self.source, self.path.clone(), place, keys, table.clone()))
    }

    /// An error about this value, which it shows as the file has it.
    pub(super) fn error(&self, rule: impl Into<String>, remedy: &str) -> ConfigError {
        let mut error = self.source.error(Some(&self.place), rule.into(), remedy);
        error.key = Some(self.path.clone());
        error.value = match self.data.get_ref() {
            DeValue::Table(_) => None,
            DeValue::String(text) => {
                let written = self.source.shown(&self.data.span());
                let expanded = cut(format!("{text:?}"));
                let same = !written.contains("${") || written == expanded;
                Some(if same { written } else { format!("{written}, which is {expanded}") })
            }
            _ => Some(self.source.shown(&self.data.span())),
        };
        error
    }
}

/// `path.key`, the key in quotes where TOML needs them.
fn joined(path: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let plain = !key.is_empty() && key.chars().all(bare);
    let key = if plain { Cow::Borrowed(key) } else { Cow::Owned(cut(format!("{key:?}"))) };
    if path.is_empty() { key.into_owned() } else { format!("{path}.{key}") }
}

struct Expansion<'a> {
    source: &'a Source<'a>,
    env: &'a dyn Fn(&str) -> Option<String>,
}

fn expand_table(
    table: &mut DeTable<'_>,
    path: &str,
    with: &Expansion<'_>,
    problems: &mut Vec<ConfigError>,
) {
    for (key, value) in table.iter_mut() {
        expand_value(value, &joined(path, key.get_ref()), with, problems);
    }
}

fn expand_value(
    value: &mut Spanned<DeValue<'_>>,
    path: &str,
    with: &Expansion<'_>,
    problems: &mut Vec<ConfigError>,
) {
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(table) => expand_table(table, path, with, problems),
        DeValue::Array(array) => {
            for element in array.iter_mut() {
                expand_value(element, path, with, problems);
            }
        }
        DeValue::String(text) if text.contains("${") => match expanded(text, with.env) {
            Ok(result) => *text = Cow::Owned(result),
            Err((rule, remedy)) => {
                let mut error = with.source.error(Some(&span), rule, remedy);
                error.key = Some(path.to_owned());
                error.value = Some(with.source.shown(&span));
                problems.push(error);
            }
        },
        _ => {}
    }
}

/// `text` with `${VAR}` replaced and `$${` as `${`; or the rule it breaks and the remedy.
fn expanded(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, (String, &'static str)> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        if let Some(escaped) = before.strip_suffix('$') {
            result.push_str(escaped);
            result.push_str("${");
            rest = &from[2..];
            continue;
        }
        let (name, after) = from[2..].split_once('}').ok_or_else(|| {
            ("has a ${ without its }".to_owned(), "close it, or write $${ for the two characters")
        })?;
        let set = env(name).ok_or_else(|| {
            let rule = format!(
                "the environment variable {} is not set",
                cut(name.escape_debug().collect())
            );
            (rule, "set it, or write $${ for the two characters")
        })?;
        result.push_str(before);
        result.push_str(&set);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("127.0.0.1".to_owned()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_once_and_can_be_escaped() {
        for (text, result) in [
            ("${HOST}:70", "127.0.0.1:70"),
            ("a${HOST}${HOST}", "a127.0.0.1127.0.0.1"),
            ("${NESTED}", "${HOST}"),
            ("$${HOST}", "${HOST}"),
            ("$HOST $ }", "$HOST $ }"),
        ] {
            assert_eq!(expanded(text, &env).as_deref(), Ok(result), "{text}");
        }
        assert!(expanded("${HOST", &env).is_err());
        assert!(expanded("${}", &env).is_err());
    }
}
