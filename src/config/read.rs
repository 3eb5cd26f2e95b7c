//! Typed values out of a section, each held to its rule.

use std::ops::RangeInclusive;
use std::time::Duration;

use humantime_serde::Serde;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::Auto;
use crate::config::error::ConfigError;
use crate::config::file::{Section, Value, read_as};
use crate::config::keys::SectionKeys;

/// Which durations a key takes.
pub(super) struct Durations {
    pub(super) range: RangeInclusive<Duration>,
    /// The same in words.
    pub(super) must: &'static str,
}

/// Up to ten years: longer than any uptime, and far from where sums of times could overflow.
pub(super) const ANY_DURATION: Durations = Durations {
    range: Duration::from_nanos(1)..=Duration::from_secs(315_576_000),
    must: "must be a duration above zero and up to 10 years",
};

const NAME_RULE: &str = "a name has 1 to 64 letters, digits, - and _";
pub(super) const LATER_RULE: &str = "is not in this version";

/// A number or a word.
#[derive(Deserialize)]
#[serde(untagged)]
enum OrWord<T> {
    Value(T),
    Word(String),
}

/// Says what a value must be and what to write; both end up in the error.
#[derive(Clone, Copy)]
pub(super) struct Rule<'r> {
    pub(super) must: &'r str,
    pub(super) remedy: &'r str,
}

impl<'a> Section<'a> {
    /// Refuses every key that is not known, by name when it is planned, with the nearest one when
    /// it looks like a slip.
    pub(super) fn check_keys(&self, problems: &mut Vec<ConfigError>) {
        let SectionKeys { known, later, .. } = self.keys();
        for value in self.values() {
            let name = value.name.as_str();
            if later.contains(&name) {
                problems.push(value.error(LATER_RULE, "remove it"));
            } else if !known.contains(&name) {
                let remedy = match nearest(name, known) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("remove it, or write one of {}", known.join(", ")),
                };
                problems.push(value.error("no such key", &remedy));
            }
        }
    }

    /// The section `name` of this one, all defaults when the file leaves it out.
    pub(super) fn section(
        &self,
        keys: &'static SectionKeys,
        problems: &mut Vec<ConfigError>,
    ) -> Section<'a> {
        let found = self.get(keys.section).and_then(|value| {
            let section = value.section(keys);
            if section.is_none() {
                let remedy = format!("write [{}] on a line of its own", keys.section);
                problems.push(value.error("must be a section", &remedy));
            }
            section
        });
        let section = found.unwrap_or_else(|| self.absent(keys));
        section.check_keys(problems);
        section
    }

    /// The sections `name.*` of this one, each with the name that the file chose.
    pub(super) fn named_sections(
        &self,
        name: &str,
        keys: &'static SectionKeys,
        problems: &mut Vec<ConfigError>,
    ) -> Vec<(String, Section<'a>)> {
        let remedy = format!("write [{}] with a name of your choice above it", keys.section);
        let Some(value) = self.get(name) else { return Vec::new() };
        let Some(all) = value.section(keys) else {
            problems.push(value.error("must be sections with names", &remedy));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for child in all.values() {
            if !is_name(&child.name) {
                let error = child.error(NAME_RULE, "choose a name of these characters");
                problems.push(error);
            }
            match child.section(keys) {
                Some(section) => {
                    section.check_keys(problems);
                    sections.push((child.name.clone(), section));
                }
                None => problems.push(child.error("must be a section with a name", &remedy)),
            }
        }
        sections
    }

    /// The value of `name` as `accept` takes it; `default` when it is absent or wrong. One variable
    /// by itself takes the type of the key.
    fn read<T: DeserializeOwned, U>(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        default: U,
        rule: Rule<'_>,
        accept: impl Fn(T) -> Option<U>,
    ) -> U {
        let Some(value) = self.get(name) else { return default };
        if let Some(taken) = value.read::<T>().and_then(&accept) {
            return taken;
        }
        let take = |written: String| Some((read_as(&written).and_then(&accept)?, written));
        let remedy = match value.alternatives().into_iter().find_map(take) {
            Some((taken, meant)) if value.is_variable() && !is_text(&meant) => return taken,
            Some((_, meant)) if !value.holds_variable() => meant_instead(value, &meant),
            _ => rule.remedy.to_owned(),
        };
        problems.push(value.error(rule.must, &remedy));
        default
    }

    /// A whole number in `range`.
    pub(super) fn number<T: TryFrom<u64>>(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        default: T,
        range: RangeInclusive<u64>,
        remedy: &str,
    ) -> T {
        let must = format!("must be {} to {}", range.start(), range.end());
        self.read(problems, name, default, Rule { must: &must, remedy }, |number: u64| {
            range.contains(&number).then(|| T::try_from(number).ok()).flatten()
        })
    }

    /// A power of two in `range`.
    pub(super) fn power_of_two(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        default: u32,
        range: RangeInclusive<u32>,
        remedy: &str,
    ) -> u32 {
        let must = format!("must be a power of two, {} to {}", range.start(), range.end());
        self.read(problems, name, default, Rule { must: &must, remedy }, |number: u32| {
            (number.is_power_of_two() && range.contains(&number)).then_some(number)
        })
    }

    /// A whole number in `range`, or "auto", which is the default.
    pub(super) fn auto_number<T: TryFrom<u64>>(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        range: RangeInclusive<u64>,
        remedy: &str,
    ) -> Auto<T> {
        let must = format!("must be {} to {} or \"auto\"", range.start(), range.end());
        let rule = Rule { must: &must, remedy };
        self.read(problems, name, Auto::Auto, rule, |written: OrWord<u64>| match written {
            OrWord::Word(word) => (word == "auto").then_some(Auto::Auto),
            OrWord::Value(number) if range.contains(&number) => {
                T::try_from(number).ok().map(Auto::Fixed)
            }
            OrWord::Value(_) => None,
        })
    }

    /// A whole number in `range`, or "off", which is the default.
    pub(super) fn number_or_off(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        range: RangeInclusive<u32>,
        remedy: &str,
    ) -> Option<u32> {
        let must = format!("must be {} to {} or \"off\"", range.start(), range.end());
        let rule = Rule { must: &must, remedy };
        self.read(problems, name, None, rule, |written: OrWord<u32>| match written {
            OrWord::Word(word) => (word == "off").then_some(None),
            OrWord::Value(number) => range.contains(&number).then_some(Some(number)),
        })
    }

    /// `true` or `false`.
    pub(super) fn switch(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        default: bool,
    ) -> bool {
        let rule = Rule { must: "must be true or false", remedy: "write it without quotes" };
        self.read(problems, name, default, rule, Some)
    }

    /// `true`, `false`, or "auto", which is the default.
    pub(super) fn auto_bool(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        remedy: &str,
    ) -> Auto<bool> {
        let rule = Rule { must: "must be true, false or \"auto\"", remedy };
        self.read(problems, name, Auto::Auto, rule, |written: OrWord<bool>| match written {
            OrWord::Word(word) => (word == "auto").then_some(Auto::Auto),
            OrWord::Value(fixed) => Some(Auto::Fixed(fixed)),
        })
    }

    /// A duration.
    pub(super) fn duration(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        default: Duration,
        remedy: &str,
    ) -> Duration {
        let Durations { range, must } = ANY_DURATION;
        self.read(problems, name, default, Rule { must, remedy }, |written: Serde<Duration>| {
            Some(written.into_inner()).filter(|duration| range.contains(duration))
        })
    }

    /// A duration, or "off".
    pub(super) fn duration_or_off(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        default: Option<Duration>,
        Durations { range, must }: Durations,
        remedy: &str,
    ) -> Option<Duration> {
        let must = format!("{must}, or \"off\"");
        let rule = Rule { must: &must, remedy };
        self.read(problems, name, default, rule, |written: OrWord<Serde<Duration>>| match written {
            OrWord::Word(word) => (word == "off").then_some(None),
            OrWord::Value(written) => {
                Some(written.into_inner()).filter(|duration| range.contains(duration)).map(Some)
            }
        })
    }

    /// A size in bytes; `rule` says which ones `range` allows.
    pub(super) fn size(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        default: u32,
        range: RangeInclusive<u32>,
        rule: Rule<'_>,
    ) -> u32 {
        self.read(problems, name, default, rule, |size: bytesize::ByteSize| {
            u32::try_from(size.as_u64()).ok().filter(|bytes| range.contains(bytes))
        })
    }

    /// A size in bytes, or "auto", which is the default; `rule` says which ones `range` allows.
    pub(super) fn auto_size(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        range: RangeInclusive<u64>,
        rule: Rule<'_>,
    ) -> Auto<u64> {
        self.read(problems, name, Auto::Auto, rule, |written: OrWord<bytesize::ByteSize>| {
            match written {
                OrWord::Word(word) => (word == "auto").then_some(Auto::Auto),
                OrWord::Value(size) => {
                    Some(size.as_u64()).filter(|bytes| range.contains(bytes)).map(Auto::Fixed)
                }
            }
        })
    }

    /// One of `words`. One of `later` is refused as not built yet.
    pub(super) fn choice<T: Copy>(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        default: T,
        words: &[(&str, T)],
        later: &[&str],
    ) -> T {
        let Some(value) = self.get(name) else { return default };
        let written = value.read::<String>();
        let written = written.as_deref().unwrap_or_default();
        if let Some((_, choice)) = words.iter().find(|(word, _)| *word == written) {
            return *choice;
        }
        let list = alternatives(words.iter().map(|(word, _)| *word));
        problems.push(if later.contains(&written) {
            value.error(LATER_RULE, &format!("remove it, or write {list}"))
        } else {
            value.error(format!("must be {list}"), "write it in quotes as it stands here")
        });
        default
    }

    /// A text that `accept` takes.
    pub(super) fn word<T>(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        default: T,
        rule: Rule<'_>,
        accept: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.read(problems, name, default, rule, |written: String| accept(&written))
    }

    /// Elements of a list, `None` when it is absent or no list.
    pub(super) fn list(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        rule: Rule<'_>,
    ) -> Option<Vec<Value<'a>>> {
        let value = self.get(name)?;
        let elements = value.elements();
        if elements.is_none() {
            problems.push(value.error(rule.must, rule.remedy));
        }
        elements
    }

    /// Elements of a list that must have some; empty when it is absent or wrong.
    pub(super) fn filled_list(
        &self,
        problems: &mut Vec<ConfigError>,
        name: &str,
        rule: Rule<'_>,
    ) -> Vec<Value<'a>> {
        let elements = self.list(problems, name, rule);
        if let (Some([]), Some(value)) = (elements.as_deref(), self.get(name)) {
            problems.push(value.error(rule.must, rule.remedy));
        }
        elements.unwrap_or_default()
    }
}

/// What to write instead of `value`, and what the difference is.
fn meant_instead(value: &Value<'_>, meant: &str) -> String {
    match (value.is_text(), is_text(meant)) {
        (true, false) => format!("write {meant}, without quotes"),
        (false, true) if meant.trim_matches('"') == value.text() => {
            format!("write {meant}, in quotes")
        }
        _ => format!("did you mean {meant}?"),
    }
}

/// Whether a value as it stands in a file is in quotes.
fn is_text(written: &str) -> bool {
    written.starts_with('"')
}

/// `"a", "b" or "c"`.
fn alternatives<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let quoted: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    match quoted.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        all => all.concat(),
    }
}

/// The one of `words` that `slip` was probably meant to be.
pub(super) fn nearest<'w>(slip: &str, words: &[&'w str]) -> Option<&'w str> {
    words
        .iter()
        .map(|word| (strsim::jaro_winkler(slip, word), *word))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// A listener's or upstream's name: it appears in commands, paths and metric labels.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}
