//! Names, units and labels follow the conventions, and a number of every field is shown.

use std::collections::BTreeSet;

use portcullis::metrics::{Kind, Value, families};

use crate::example::reading;

/// The labels that a family may have; an info has what it says.
const LABELS: [&str; 10] = [
    "certificate",
    "worker",
    "listener",
    "upstream",
    "server",
    "reason",
    "side",
    "outcome",
    "drain",
    "network",
];

#[test]
fn every_family_is_named_by_the_conventions() {
    let mut names = BTreeSet::new();
    for family in families() {
        let name = family.name;
        assert!(names.insert(name), "{name} comes twice");
        assert!(name.starts_with("portcullis_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        for suffix in ["_total", "_info", "_count", "_sum", "_bucket", "_created"] {
            assert!(!name.ends_with(suffix), "{name} brings {suffix} itself");
        }
        match family.unit {
            Some(unit) => assert!(name.ends_with(&format!("_{}", unit.word())), "{name}"),
            None => assert!(!name.ends_with("_seconds") && !name.ends_with("_bytes"), "{name}"),
        }
        assert!(family.kind != Kind::Histogram || family.unit.is_some(), "{name} has no unit");
        let help = family.help;
        let begins = help.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit());
        assert!(begins && !help.ends_with('.') && help.is_ascii(), "{name}: {help}");
        if family.kind != Kind::Info {
            let strange = family.labels.iter().find(|label| !LABELS.contains(label));
            assert_eq!(strange, None, "a label of {name}");
        }
    }
    assert!(names.len() > 40, "only {} families", names.len());
}

#[test]
fn no_series_comes_twice_and_every_value_is_of_its_kind() {
    let reading = reading();
    for family in families() {
        let mut series = BTreeSet::new();
        (family.read)(&reading, &mut |labels, value| {
            assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
            let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
            assert!(series.insert(labels), "{} has a series twice", family.name);
            let is_durations = matches!(value, Value::Durations(_));
            assert_eq!(is_durations, family.kind == Kind::Histogram, "{}", family.name);
        });
        assert!(!series.is_empty(), "{} shows nothing", family.name);
    }
}

/// A number of the reading that no family shows would be counted for nothing. Each of the example's
/// is another one, from 1001 on.
#[test]
fn every_number_of_a_reading_is_shown() {
    let reading = reading();
    let mut shown = BTreeSet::new();
    for family in families() {
        (family.read)(&reading, &mut |_, value| match value {
            Value::Count(count) => drop(shown.insert(count)),
            Value::Number(number) => drop(shown.insert((number * 4.0) as u64)),
            Value::Durations(durations) => {
                shown.extend(&durations.counts);
                shown.insert((durations.sum_seconds * 8.0) as u64);
            }
        });
    }
    let document = serde_json::to_string(&reading).expect("a document");
    let (open, used) = (reading.drain.still_open, &reading.upstreams[0].connect);
    // What drains have ended is among what listeners have closed.
    let ended = reading.drains.iter().map(|drain| drain.ended);
    let of_nobody = used.counts.iter().copied().chain([(used.sum_seconds * 8.0) as u64, open]);
    let of_nobody = of_nobody.chain(ended);
    let of_nobody: BTreeSet<u64> = of_nobody.collect();
    let all = 1001..=reading.upstreams[1].connect.sum_seconds as u64 * 8;
    let hidden: Vec<u64> =
        all.filter(|number| !shown.contains(number) && !of_nobody.contains(number)).collect();
    assert!(hidden.is_empty(), "{hidden:?} of {document}");
}
