//! A line of results, understood or refused.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::model::{About, Input, Outcome, Run, Series};
use super::origin::SCHEMA;

impl Input {
    /// Puts a line where it belongs; `first` is where this file's series begin.
    pub(crate) fn take(&mut self, source: &str, value: Value, first: usize) -> Result<(), String> {
        let Some(scenario) = value["scenario"].as_str() else {
            return Err("no `scenario`: not a result of portcullis-bench".to_owned());
        };
        if value["schema"] != SCHEMA {
            let found = &value["schema"];
            return Err(format!("schema {found} is not known; this program reads schema {SCHEMA}"));
        }
        let begin = |about| Series { source: source.to_owned(), about, outcomes: Vec::new() };
        if value.get("about").is_some() {
            let about: About = part(&value, "about")?;
            self.series.push(begin(Some(about)));
            return Ok(());
        }
        for key in ["good", "valid"] {
            if !value[key].is_boolean() {
                return Err(format!("a result of {scenario} without `{key}`"));
            }
        }
        let run = value.get("run").map(|_| part::<Run>(&value, "run")).transpose()?;
        let outcome = Outcome { scenario: scenario.to_owned(), value };
        match run {
            Some(run) => {
                if self.series.len() == first {
                    self.series.push(begin(None));
                }
                let series = self.series.last_mut().expect("there is one");
                series.outcomes.push((run, outcome));
            }
            None => self.singles.push(outcome),
        }
        Ok(())
    }
}

fn part<T: DeserializeOwned>(value: &Value, key: &str) -> Result<T, String> {
    T::deserialize(&value[key]).map_err(|error| format!("`{key}`: {error}"))
}
