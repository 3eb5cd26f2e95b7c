//! What a PromQL expression names: metrics, and the labels that it asks of them.

use std::collections::BTreeSet;

use portcullis::metrics::{Family, Kind, families};

/// Labels that a scrape adds, and that of a histogram's buckets.
const ADDED: [&str; 3] = ["job", "instance", "le"];
/// What a scraper itself makes.
const SCRAPERS: [&str; 1] = ["up"];
/// Words of the language before a list of labels.
const LISTS: [&str; 5] = ["by", "without", "on", "ignoring", "group_left"];

/// The families that `expression` names, or what it asks for that there is not.
pub(crate) fn check(expression: &str) -> Result<BTreeSet<&'static str>, String> {
    let words = words(expression);
    let mut named = BTreeSet::new();
    let mut labels = BTreeSet::new();
    for (index, word) in words.iter().enumerate() {
        match words.get(index + 1).map(String::as_str) {
            Some("(") if LISTS.contains(&word.as_str()) => {
                let list = words[index + 2..].iter().take_while(|word| *word != ")");
                labels.extend(list.filter(|word| *word != ",").cloned());
            }
            Some("{") => {
                let family = family(word)?;
                named.extend(family.map(|family| family.name));
                for label in matched(&words[index + 2..]) {
                    if !has(family, &label) {
                        return Err(format!("{word} has no label {label}"));
                    }
                }
            }
            _ if word.starts_with("portcullis_") || word.starts_with("process_") => {
                named.extend(family(word)?.map(|family| family.name));
            }
            _ => {}
        }
    }
    let all = || families().filter(|family| named.contains(family.name));
    match labels.iter().find(|label| !all().any(|family| has(Some(family), label))) {
        Some(label) => Err(format!("none of {named:?} has the label {label}")),
        None => Ok(named),
    }
}

/// The family that a sample's name belongs to; `None`: the scraper's own.
fn family(sample: &str) -> Result<Option<&'static Family>, String> {
    if SCRAPERS.contains(&sample) {
        return Ok(None);
    }
    let is_of = |family: &&Family| {
        let of_histogram = ["_bucket", "_sum", "_count"];
        let suffix = sample.strip_prefix(family.name);
        match family.kind {
            Kind::Histogram => suffix.is_some_and(|suffix| of_histogram.contains(&suffix)),
            _ => sample == family.sample_name(),
        }
    };
    let found = families().find(is_of).ok_or_else(|| format!("there is no {sample}"))?;
    Ok(Some(found))
}

fn has(family: Option<&Family>, label: &str) -> bool {
    ADDED.contains(&label) || family.is_some_and(|family| family.labels.contains(&label))
}

/// The labels of a selector's matchers, up to its closing brace.
fn matched(words: &[String]) -> Vec<String> {
    let inside: Vec<_> = words.iter().take_while(|word| *word != "}").collect();
    inside.split(|word| *word == ",").filter_map(|m| m.first().map(|&l| l.clone())).collect()
}

/// Names, numbers and signs; quoted text is one sign.
fn words(expression: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let mut words = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => rest[1..].find('"').map_or(rest.len(), |at| at + 2),
            c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        words.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    words
}

#[test]
fn what_the_catalogue_does_not_have_is_found() {
    let good = "sum by (listener, reason) (rate(portcullis_connections_closed_total{reason!=\"x\", \
        job=~\"$job\"}[5m])) / on (instance) portcullis_budget_used > 0.5 and up{job=\"p\"} == 0";
    let named = ["portcullis_budget_used", "portcullis_connections_closed"];
    assert_eq!(check(good), Ok(named.into()));
    for bad in [
        "portcullis_connections_closed",
        "portcullis_connect_seconds",
        "portcullis_no_such_thing",
        "process_cpu_seconds",
        "portcullis_budget_used{listener=\"a\"}",
        "portcullis_connections_closed_total{side=\"a\"}",
        "sum by (worker) (portcullis_connections_closed_total)",
        "down{job=\"a\"}",
    ] {
        assert!(check(bad).is_err(), "{bad}");
    }
}
