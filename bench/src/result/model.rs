//! What lines of results say, as far as a report needs it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What came in: comparisons in their order, and results that stand alone.
#[derive(Default)]
pub(crate) struct Input {
    pub(crate) series: Vec<Series>,
    pub(crate) singles: Vec<Outcome>,
    /// What was left out, and why.
    pub(crate) warnings: Vec<String>,
}

/// Results that are to be compared with each other.
pub(crate) struct Series {
    /// The file it came from.
    pub(crate) source: String,
    /// Absent when the line that says it was not among the input.
    pub(crate) about: Option<About>,
    pub(crate) outcomes: Vec<(Run, Outcome)>,
}

/// What was compared: where, when and how.
#[derive(Deserialize)]
pub(crate) struct About {
    pub(crate) kernel: String,
    pub(crate) cores: u64,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) command: String,
    pub(crate) started: String,
    #[serde(default)]
    pub(crate) ulimit_nofile: Value,
    #[serde(default)]
    pub(crate) sysctls: BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
    #[serde(default)]
    pub(crate) skipped: Vec<Skipped>,
    #[serde(default)]
    pub(crate) notes: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) config: Option<String>,
}

/// A target that was not there to be measured.
#[derive(Deserialize)]
pub(crate) struct Skipped {
    pub(crate) name: String,
    pub(crate) because: String,
    pub(crate) install: Option<String>,
}

/// Which part of a series a result is.
#[derive(Clone, Deserialize)]
pub(crate) struct Run {
    pub(crate) work: String,
    pub(crate) title: String,
    pub(crate) target: String,
    pub(crate) version: Option<String>,
    pub(crate) round: u64,
    pub(crate) rounds: u64,
    /// What to read off; the first one decides.
    #[serde(default)]
    pub(crate) figures: Vec<Figure>,
    /// What a sweep gave to the target.
    pub(crate) setting: Option<Setting>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Setting {
    pub(crate) key: String,
    value: Value,
}

impl Setting {
    pub(crate) fn value(&self) -> String {
        text(&self.value)
    }
}

/// A number of a result, and what it means.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Figure {
    /// Where it stands in the result (RFC 6901).
    pub(crate) pointer: String,
    pub(crate) title: String,
    unit: Option<String>,
    pub(crate) better: Option<Better>,
}

impl Figure {
    pub(crate) fn new(pointer: String, title: String, unit: &str, better: Better) -> Figure {
        Figure { pointer, title, unit: Some(unit.to_owned()), better: Some(better) }
    }

    pub(crate) fn unit(&self) -> &str {
        self.unit.as_deref().unwrap_or("")
    }

    /// The unit and the direction, as they stand below the title.
    pub(crate) fn legend(&self) -> String {
        let better = match self.better {
            Some(Better::Less) => "less is better",
            Some(Better::More) => "more is better",
            None => "",
        };
        let parts = [self.unit(), better].into_iter().filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(", ")
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Less,
    More,
}

/// The result of one scenario.
#[derive(Clone)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) value: Value,
}

impl Outcome {
    /// Why its figures do not count; `None` when they do.
    pub(crate) fn doubt(&self) -> Option<String> {
        if self.value["valid"] != true {
            let because = self.value["invalid_because"].as_array().map(Vec::as_slice);
            let words: Vec<String> = because.unwrap_or(&[]).iter().map(text).collect();
            let said = !words.is_empty();
            return Some(if said { words.join("; ") } else { "no reason is given".to_owned() });
        }
        if self.value["interrupted"] == true {
            return Some("interrupted before its end".to_owned());
        }
        (!self.value["measured"].is_object()).then(|| "it holds no figures".to_owned())
    }

    /// Something went wrong that is the target's doing.
    pub(crate) fn failed(&self) -> bool {
        self.value["good"] != true
    }

    /// A number, if its figures count.
    pub(crate) fn number(&self, pointer: &str) -> Option<f64> {
        let value = self.value.pointer(pointer)?.as_f64()?;
        self.doubt().is_none().then_some(value)
    }

    /// A part that was measured, if its figures count.
    pub(crate) fn measured(&self, part: &str) -> Option<&Value> {
        let value = self.value["measured"].get(part)?;
        self.doubt().is_none().then_some(value)
    }

    /// Failures by name.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&str, u64)> {
        let all = self.value["failures"].as_object().into_iter().flatten();
        all.map(|(what, count)| (what.as_str(), count.as_u64().unwrap_or(0)))
    }

    /// What it was asked, in words.
    pub(crate) fn asked(&self) -> String {
        let all = self.value["asked"].as_object().into_iter().flatten();
        let words = all.map(|(what, value)| format!("{} {}", what.replace('_', " "), text(value)));
        words.collect::<Vec<_>>().join(" · ")
    }

    pub(crate) fn command(&self) -> Option<&str> {
        self.value["command"].as_str()
    }
}

/// A value as people read it: a string without its quotes.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
