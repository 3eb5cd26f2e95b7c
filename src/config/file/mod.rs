//! The only place that knows TOML: texts become sections of values that know where they stand.

mod expansion;
mod overlay;

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

pub(super) use overlay::line_of;

use crate::config::address::Fault;
use crate::config::error::ConfigError;
use crate::config::key::SectionKeys;
use crate::config::syntax::{self, Complaint, First};
use expansion::{Expansion, expand_table};
use overlay::Overlay;

/// Longer values are cut in messages.
const MAX_SHOWN_CHARS: usize = 80;

/// Sections with names of which each may stand in any of several files.
const IN_ANY_FILE: [&str; 2] = ["listener", "upstream"];

/// The text of a config file and where its lines begin.
pub(super) struct Source<'a> {
    text: &'a str,
    file_name: &'a str,
    line_starts: Vec<usize>,
    part: Part,
}

/// What a text is of a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// The file that includes others.
    First,
    /// A file that is included.
    Included,
    /// A key that the command line sets.
    Setting,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str, file_name: &'a str) -> Source<'a> {
        let after_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts =
            std::iter::once(0).chain(after_ends.map(|(index, _)| index + 1)).collect();
        Source { text, file_name, line_starts, part: Part::Whole }
    }

    /// Whether this word stands anywhere in it.
    pub(super) fn holds(&self, word: &str) -> bool {
        self.text.contains(word)
    }

    /// The same as a part of a config.
    pub(super) fn with_part(self, part: Part) -> Source<'a> {
        Source { part, ..self }
    }

    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    fn error(&self, place: Option<&Range<usize>>, rule: String, remedy: &str) -> ConfigError {
        ConfigError {
            file: self.file_name.to_owned(),
            line: place.filter(|_| self.part != Part::Setting).map(|span| self.line(span.start)),
            key: None,
            value: None,
            rule,
            remedy: remedy.to_owned(),
            excerpt: None,
        }
    }

    /// The text of the file at `span`, on one line and not too long.
    fn shown(&self, span: &Range<usize>) -> String {
        let written = self.text.get(span.clone()).unwrap_or_default();
        let one_line: String =
            written.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        cut(one_line.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// `text`, not too long for a message.
pub(super) fn cut(text: String) -> String {
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
#[derive(Clone)]
pub(super) struct Value<'a> {
    source: &'a Source<'a>,
    /// The key by itself.
    pub(super) name: String,
    /// The dotted key; a list's for its elements.
    path: String,
    /// Where the key stands, or the element itself.
    place: Range<usize>,
    data: Spanned<DeValue<'a>>,
    /// Keys below it that the command line sets.
    over: Vec<Overlay<'a>>,
}

/// A value that is neither a list nor a table.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Switch(bool),
    Number(u64),
    Text(String),
}

/// The top section of all texts, the first file's first, with every `${VAR}` expanded and every
/// setting in its place; `None` when a text is not TOML or names a variable that is not set.
///
/// # Panics
/// When there is no text.
pub(super) fn read<'a>(
    sources: &'a [Source<'a>],
    root: &'static SectionKeys,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<ConfigError>,
) -> Option<Section<'a>> {
    let (mut values, mut over): (Vec<Value<'a>>, Vec<Overlay<'a>>) = (Vec::new(), Vec::new());
    for source in sources {
        let Some(table) = table(source, env, problems) else { continue };
        match source.part {
            Part::Setting => over.extend(Overlay::of(source, table)),
            _ => values.extend(values_of(source, "", table)),
        }
    }
    if !problems.is_empty() {
        return None;
    }
    values = each_once(values, problems);
    over.into_iter().for_each(|one| one.lay("", &mut values));
    Some(Section { source: &sources[0], path: String::new(), place: None, keys: root, values })
}

/// A text's table, with every `${VAR}` expanded.
fn table<'a>(
    source: &'a Source<'a>,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<ConfigError>,
) -> Option<DeTable<'a>> {
    let (mut table, errors) = DeTable::parse_recoverable(source.text);
    let complaint = |error: &toml::de::Error| Complaint {
        span: error.span().unwrap_or_default(),
        message: error.message().to_owned(),
    };
    if !errors.is_empty() {
        let complaints: Vec<Complaint> = errors.iter().map(complaint).collect();
        problems.push(not_toml(source, syntax::first(source.text, &complaints)));
        return None;
    }
    expand_table(table.get_mut(), "", &Expansion { source, env }, problems);
    Some(table.into_inner())
}

/// The values without those that another file has already.
fn each_once<'a>(values: Vec<Value<'a>>, problems: &mut Vec<ConfigError>) -> Vec<Value<'a>> {
    let mut once: Vec<Value<'a>> = Vec::new();
    for value in values {
        let earlier = once.iter().find(|one| one.name == value.name);
        match earlier.filter(|_| !IN_ANY_FILE.contains(&&*value.name) && value.name != "include") {
            Some(earlier) => problems.push(value.again(&earlier.spot())),
            None => once.push(value),
        }
    }
    once
}

fn values_of<'a>(source: &'a Source<'a>, path: &str, table: DeTable<'a>) -> Vec<Value<'a>> {
    let value = |(key, data): (Spanned<Cow<'a, str>>, Spanned<DeValue<'a>>)| Value {
        source,
        path: joined(path, key.get_ref()),
        place: key.span(),
        name: key.into_inner().into_owned(),
        data,
        over: Vec::new(),
    };
    let mut values: Vec<Value<'a>> = table.into_iter().map(value).collect();
    values.sort_by_key(|value| value.place.start);
    values
}

/// What `read` takes from a section in which each key is set to its default.
///
/// # Panics
/// When one of the defaults is wrong.
pub(super) fn defaults<T>(
    keys: &'static SectionKeys,
    read: impl FnOnce(&Section<'_>, &mut Vec<ConfigError>) -> T,
) -> T {
    let set = keys.keys().filter_map(|key| Some(format!("{} = {}\n", key.name, key.default?)));
    let text: String = set.collect();
    let source = Source::new(&text, "the defaults");
    let table = DeTable::parse(&text).expect("defaults are TOML");
    let section = Section::new(&source, String::new(), None, keys, table.into_inner());
    let mut problems = Vec::new();
    let value = read(&section, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    value
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

fn not_toml(source: &Source<'_>, first: First) -> ConfigError {
    let First { place, rule, remedy, again } = first;
    if let Some((key, line)) = earlier(source, place).filter(|_| again) {
        let rule = format!("stands here for the second time, after line {line}");
        let remedy = "join the two, or give this one another name";
        let error = source.error(Some(&(place..place)), rule, remedy);
        return ConfigError { key: Some(key), ..error };
    }
    let error = source.error(Some(&(place..place)), format!("is not TOML: {rule}"), &remedy);
    ConfigError { excerpt: Some(syntax::excerpt(source.text, place)), ..error }
}

/// The dotted key at `place`, and the line above where it stands for the first time.
fn earlier(source: &Source<'_>, place: usize) -> Option<(String, usize)> {
    let (start, line) = syntax::line_at(source.text, place);
    let before = &source.text[..start];
    let mut path = match line.trim_start().starts_with('[') {
        true => Vec::new(),
        false => before.lines().rev().find_map(header).unwrap_or_default(),
    };
    path.extend(names(DeTable::parse(line).ok()?.get_ref(), Some(place - start)));
    let table = DeTable::parse(before).ok()?;
    let (mut table, mut first) = (table.get_ref(), 0);
    for (depth, name) in path.iter().enumerate() {
        let (key, value) = table.get_key_value(name.as_str())?;
        first = key.span().start;
        table = match value.get_ref() {
            DeValue::Table(inner) => inner,
            DeValue::Array(all) => match all.last()?.get_ref() {
                DeValue::Table(last) => last,
                _ => table,
            },
            _ if depth + 1 == path.len() => table,
            _ => return None,
        };
    }
    let key = path.iter().fold(String::new(), |path, name| joined(&path, name));
    Some((key, source.line(first)))
}

/// The names in a line that is the header of a section.
fn header(line: &str) -> Option<Vec<String>> {
    let is_header = line.trim_start().starts_with('[');
    is_header.then(|| Some(names(DeTable::parse(line).ok()?.get_ref(), None)))?
}

/// The names of a table within a table, and so on, up to the one at `place`.
fn names(table: &DeTable<'_>, place: Option<usize>) -> Vec<String> {
    let mut names = Vec::new();
    let mut next = table.iter().next();
    while let Some((key, value)) = next {
        names.push(key.get_ref().clone().into_owned());
        next = match value.get_ref() {
            DeValue::Table(inner) if place != Some(key.span().start) => inner.iter().next(),
            _ => None,
        };
    }
    names
}

impl<'a> Section<'a> {
    fn new(
        source: &'a Source<'a>,
        path: String,
        place: Option<Range<usize>>,
        keys: &'static SectionKeys,
        table: DeTable<'a>,
    ) -> Section<'a> {
        let values = values_of(source, &path, table);
        Section { source, path, place, keys, values }
    }

    /// A section that the file leaves out: all defaults.
    pub(super) fn absent(&self, keys: &'static SectionKeys) -> Section<'a> {
        Section::new(self.source, keys.section.to_owned(), None, keys, DeTable::new())
    }

    /// The keys that this section may have.
    pub(super) fn keys(&self) -> &'static SectionKeys {
        self.keys
    }

    /// The value of `name`, if the file has one.
    ///
    /// # Panics
    /// When `name` is not in the catalogue: it could be neither documented nor spelt wrongly.
    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        assert!(self.keys.known().any(|known| known == name), "{name} is not in the catalogue");
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
            over: Vec::new(),
        };
        Some(array.iter().map(element).collect())
    }

    /// The section, when it is one.
    pub(super) fn section(&self, keys: &'static SectionKeys) -> Option<Section<'a>> {
        let DeValue::Table(table) = self.data.get_ref() else { return None };
        let place = Some(self.place.clone());
        let mut section = Section::new(self.source, self.path.clone(), place, keys, table.clone());
        self.over.iter().for_each(|one| one.clone().lay(&self.path, &mut section.values));
        Some(section)
    }

    /// Whether it is a section that has this key.
    fn has(&self, name: &str) -> bool {
        matches!(self.data.get_ref(), DeValue::Table(table) if table.contains_key(name))
    }

    /// Where it stands, in words that follow "on".
    pub(super) fn spot(&self) -> String {
        let Source { file_name, part, .. } = self.source;
        let line = self.source.line(self.place.start);
        match part {
            Part::Whole => format!("line {line}"),
            Part::First | Part::Included => format!("line {line} of {file_name}"),
            Part::Setting => "the command line".to_owned(),
        }
    }

    /// The part of the config that it stands in.
    pub(super) fn part(&self) -> Part {
        self.source.part
    }

    /// Another file has it already, at this spot.
    pub(super) fn again(&self, earlier: &str) -> ConfigError {
        let rule = format!("stands here for the second time, after {earlier}");
        let error = self.error(rule, "join the two, or give this one another name");
        ConfigError { value: None, ..error }
    }

    /// Settings of parts of a value that is no section.
    pub(super) fn parts_set(&self) -> Vec<ConfigError> {
        let is_table = matches!(self.data.get_ref(), DeValue::Table(_));
        let parts = self.over.iter().filter(|_| !is_table);
        let error = |part: &Overlay<'_>| {
            let key = format!("{}.{}", self.path, part.key());
            let rule = format!("stands within the value on {}, which has no keys", self.spot());
            part.error(key, rule, &format!("set {} as a whole", self.path))
        };
        parts.map(error).collect()
    }

    /// A text as it is, and anything else as the file has it.
    pub(super) fn text(&self) -> String {
        self.read().unwrap_or_else(|| self.source.shown(&self.data.span()))
    }

    /// An error about this value, which it shows as the file has it: what the environment puts in
    /// a variable's place may be a secret.
    pub(super) fn error(&self, rule: impl Into<String>, remedy: &str) -> ConfigError {
        let mut error = self.source.error(Some(&self.place), rule.into(), remedy);
        error.key = Some(self.path.clone());
        error.value = match self.data.get_ref() {
            DeValue::Table(_) => None,
            _ => Some(self.source.shown(&self.data.span())),
        };
        error
    }

    /// An error whose remedy may show what this value should be.
    pub(super) fn fault(&self, fault: &Fault) -> ConfigError {
        let instead = fault.instead.as_deref().filter(|_| !self.holds_variable());
        self.error(fault.must, instead.unwrap_or(fault.remedy))
    }

    /// Whether the environment had a part in it. An escape may hide a variable.
    pub(super) fn holds_variable(&self) -> bool {
        let written = self.source.text.get(self.data.span()).unwrap_or_default();
        written.contains("${") || written.contains('\\')
    }

    /// Whether it is one variable and nothing else, as in `"${NAME}"`.
    pub(super) fn is_variable(&self) -> bool {
        let written = self.source.text.get(self.data.span()).unwrap_or_default();
        let text = written.trim_matches(['"', '\'']);
        let name = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
        name.is_some_and(|name| !name.contains(['{', '}']))
    }

    /// What somebody may have meant who wrote this value with quotes too many or too few, without
    /// a unit, or in capitals; each as it would stand in the file.
    pub(super) fn alternatives(&self) -> Vec<String> {
        let quoted = |text: String| format!("{text:?}");
        match self.data.get_ref() {
            DeValue::String(text) => {
                let text = text.trim();
                vec![text.to_owned(), quoted(format!("{text}s")), quoted(text.to_lowercase())]
            }
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                let text = self.text().replace('_', "");
                vec![quoted(text.clone()), quoted(format!("{text}s"))]
            }
            _ => Vec::new(),
        }
    }

    /// Whether it stands in quotes.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.data.get_ref(), DeValue::String(_))
    }
}

/// Reads a value of a file as a `T`.
pub(super) fn read_as<T: DeserializeOwned>(written: &str) -> Option<T> {
    T::deserialize(ValueDeserializer::parse(written).ok()?).ok()
}

/// `path.key`, the key in quotes where TOML needs them.
fn joined(path: &str, key: &str) -> String {
    let key = match is_bare(key) {
        true => Cow::Borrowed(key),
        false => Cow::Owned(cut(format!("{key:?}"))),
    };
    if path.is_empty() { key.into_owned() } else { format!("{path}.{key}") }
}

/// Whether TOML needs no quotes around this key.
fn is_bare(key: &str) -> bool {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !key.is_empty() && key.chars().all(bare)
}
