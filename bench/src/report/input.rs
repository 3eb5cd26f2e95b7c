//! Lines of results from files or stdin, each understood or refused with its place.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::model::{About, Input, Outcome, Run, Series};
use crate::result::SCHEMA;

/// A result of a run of many hours, with its timeline, stays well below.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// Lines over all files.
const MAX_LINES: usize = 100_000;

/// Reads them all; `-` is stdin. An error names the file and the line.
pub(crate) fn read(paths: &[String]) -> Result<Input, String> {
    let mut input = Input::default();
    let mut lines = 0;
    for path in paths {
        let source = if path == "-" { "stdin" } else { path };
        let at = |error: std::io::Error| format!("{source}: {error}; give a file of results");
        let reader: Box<dyn Read> = match path.as_str() {
            "-" => Box::new(stdin()),
            path => Box::new(File::open(path).map_err(at)?),
        };
        read_one(source, BufReader::new(reader), &mut input, &mut lines)?;
    }
    if input.series.iter().all(|one| one.outcomes.is_empty()) && input.singles.is_empty() {
        return Err(format!("{}: not one result; run a scenario first", paths.join(", ")));
    }
    Ok(input)
}

fn read_one(
    source: &str,
    mut reader: impl BufRead,
    input: &mut Input,
    lines: &mut usize,
) -> Result<(), String> {
    // What a line with `run` belongs to: the last header of this very file.
    let first = input.series.len();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut bounded = (&mut reader).take(MAX_LINE_BYTES);
        bounded.read_until(b'\n', &mut line).map_err(|error| format!("{source}: {error}"))?;
        if line.is_empty() {
            break;
        }
        let at = |what: String| format!("{source}:{number}: {what}");
        if line.len() as u64 == MAX_LINE_BYTES {
            return Err(at(format!("a line of more than {} MiB", MAX_LINE_BYTES >> 20)));
        }
        *lines += 1;
        if *lines > MAX_LINES {
            return Err(at(format!("more than {MAX_LINES} lines; report fewer at once")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(value) => input.take(source, value, first).map_err(at)?,
            Err(error) if error.is_eof() && !line.ends_with(b"\n") => {
                let words = at("cut off in its middle, and left out".to_owned());
                input.warnings.push(words);
            }
            Err(error) => return Err(at(format!("no JSON: {error}"))),
        }
    }
    Ok(())
}

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
