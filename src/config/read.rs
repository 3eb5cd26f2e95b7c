//! Reads the contents of a section: keys, sections within it, typed values, lists.

use std::collections::HashMap;

use crate::config::error::{ConfigError, LATER_RULE};
use crate::config::file::{Section, Value};
use crate::config::form::Form;
use crate::config::key::SectionKeys;

const NAME_RULE: &str = "a name has 1 to 64 letters, digits, - and _";
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
        let later = self.keys().later;
        let known: Vec<&str> = self.keys().known().collect();
        for value in self.values() {
            problems.extend(value.parts_set());
            let name = value.name.as_str();
            if later.contains(&name) {
                problems.push(value.error(LATER_RULE, "remove it"));
            } else if !known.contains(&name) {
                let remedy = match nearest(name, &known) {
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
        let mut sections = Vec::new();
        let mut once: HashMap<String, String> = HashMap::new();
        // Several files may have some.
        for value in self.values().iter().filter(|value| value.name == name) {
            let Some(all) = value.section(keys) else {
                problems.push(value.error("must be sections with names", &remedy));
                continue;
            };
            for child in all.values() {
                if let Some(earlier) = once.get(&child.name) {
                    problems.push(child.again(earlier));
                    continue;
                }
                once.insert(child.name.clone(), child.spot());
                if !is_name(&child.name) {
                    problems.push(child.error(NAME_RULE, "choose a name of these characters"));
                }
                match child.section(keys) {
                    Some(section) => {
                        section.check_keys(problems);
                        sections.push((child.name.clone(), section));
                    }
                    None => problems.push(child.error("must be a section with a name", &remedy)),
                }
            }
        }
        sections
    }

    /// The value of `name` in its form; `None` when it is absent or wrong.
    pub(super) fn value<T>(
        &self,
        name: &str,
        form: &impl Form<T>,
        remedy: &str,
        problems: &mut Vec<ConfigError>,
    ) -> Option<T> {
        form.read(self.get(name)?, remedy, problems)
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
