//! Reads OpenMetrics text as strictly as its specification asks.

use std::collections::{BTreeMap, BTreeSet};

/// One family of metrics.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) kind: String,
    pub(crate) unit: Option<String>,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

/// One line with a number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// The families of a text by name, or what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Shown>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let mut families = BTreeMap::new();
    let mut present: Option<(String, Shown)> = None;
    for line in body.lines() {
        let said = |problem: &str| format!("{problem}: {line}");
        let Some(comment) = line.strip_prefix("# ") else {
            let sample = sample(line).ok_or_else(|| said("no sample"))?;
            let (_, family) = present.as_mut().ok_or_else(|| said("a sample of no family"))?;
            family.samples.push(sample);
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        let (word, name, rest) = (words.next(), words.next(), words.next().unwrap_or_default());
        let name = name.ok_or_else(|| said("no name"))?;
        match (word, present.as_mut()) {
            (Some("HELP"), _) => {
                if let Some((name, family)) = present.take() {
                    keep(&mut families, name, family)?;
                }
                let family = Shown {
                    kind: String::new(),
                    unit: None,
                    help: rest.to_owned(),
                    samples: Vec::new(),
                };
                present = Some((name.to_owned(), family));
            }
            (Some("TYPE"), Some((of, family))) if of == name && family.kind.is_empty() => {
                rest.clone_into(&mut family.kind);
            }
            (Some("UNIT"), Some((of, family)))
                if of == name && !family.kind.is_empty() && family.samples.is_empty() =>
            {
                family.unit = Some(rest.to_owned());
            }
            _ => return Err(said("out of order")),
        }
    }
    if let Some((name, family)) = present {
        keep(&mut families, name, family)?;
    }
    Ok(families)
}

fn keep(families: &mut BTreeMap<String, Shown>, name: String, family: Shown) -> Result<(), String> {
    check(&name, &family).map_err(|problem| format!("{name}: {problem}"))?;
    match families.insert(name.clone(), family) {
        None => Ok(()),
        Some(_) => Err(format!("{name} comes twice")),
    }
}

fn check(name: &str, family: &Shown) -> Result<(), String> {
    if let Some(unit) = &family.unit
        && !name.ends_with(&format!("_{unit}"))
    {
        return Err(format!("it does not end with its unit, {unit}"));
    }
    let suffixes: &[&str] = match family.kind.as_str() {
        "counter" => &["_total"],
        "gauge" => &[""],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_sum", "_count"],
        other => return Err(format!("no type: {other}")),
    };
    let mut series = BTreeSet::new();
    for sample in &family.samples {
        let suffix = sample.name.strip_prefix(name).unwrap_or("?");
        if !suffixes.contains(&suffix) {
            return Err(format!("{} in a {}", sample.name, family.kind));
        }
        if !series.insert((&sample.name, &sample.labels)) {
            return Err(format!("{sample:?} comes twice"));
        }
        let least = if family.kind == "gauge" { f64::NEG_INFINITY } else { 0.0 };
        if sample.value.is_nan() || sample.value < least {
            return Err(format!("{sample:?}"));
        }
    }
    if family.kind == "histogram" { check_histogram(family) } else { Ok(()) }
}

/// For each set of labels: buckets ascend to +Inf, which is the count.
fn check_histogram(family: &Shown) -> Result<(), String> {
    let mut all: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = sample.labels.clone();
        let bound = labels.remove("le").ok_or("a bucket without le")?;
        let bound = if bound == "+Inf" { Ok(f64::INFINITY) } else { bound.parse() };
        let bound = bound.map_err(|_| format!("le of {sample:?}"))?;
        all.entry(labels).or_default().push((bound, sample.value));
    }
    for (labels, buckets) in all {
        if !buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1) {
            return Err(format!("{buckets:?} do not ascend"));
        }
        let of =
            |suffix| family.samples.iter().find(|s| s.name.ends_with(suffix) && s.labels == labels);
        let count = of("_count").ok_or("no count")?.value;
        let sum = of("_sum").ok_or("no sum")?.value;
        if buckets.last() != Some(&(f64::INFINITY, count)) || (count == 0.0 && sum != 0.0) {
            return Err(format!("{buckets:?}, count {count}, sum {sum}"));
        }
    }
    Ok(())
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, pairs(labels.strip_suffix('}')?)?),
        None => (series, BTreeMap::new()),
    };
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let value = value.parse().ok()?;
    let is_name = !name.is_empty() && name.chars().all(valid);
    is_name.then(|| Sample { name: name.to_owned(), labels, value })
}

/// Labels as they stand between the braces. No value of ours has a quote or a comma.
fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for pair in text.split(',') {
        let (name, value) = pair.split_once("=\"")?;
        let value = value.strip_suffix('"').filter(|value| !value.contains(['"', '\\']))?;
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return None;
        }
    }
    Some(pairs)
}

#[test]
fn what_breaks_the_format_is_found() {
    let good = "# HELP a_seconds x\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
        a_seconds_sum{l=\"1\"} 3\na_seconds_count{l=\"1\"} 2\n\
        a_seconds_bucket{l=\"1\",le=\"0.5\"} 1\na_seconds_bucket{l=\"1\",le=\"+Inf\"} 2\n\
        # HELP b x\n# TYPE b counter\nb_total 1\n# EOF\n";
    assert_eq!(parse(good).map(|families| families.len()), Ok(2));
    for (from, to) in [
        ("# EOF\n", ""),
        ("# EOF\n", "# EOF\n\n"),
        ("b_total", "b"),
        ("b_total 1", "b_total -1"),
        ("b_total 1", "b_total 1\nb_total 1"),
        ("b_total 1", "b_total{l=1} 1"),
        ("b_total 1", "c_total 1"),
        ("# TYPE b counter\n", ""),
        ("# TYPE b counter\n", "# TYPE b counter\n# TYPE b counter\n"),
        ("b_total 1", "b_total 1\n# UNIT b x"),
        ("# UNIT a_seconds seconds", "# UNIT a_seconds bytes"),
        ("_count{l=\"1\"} 2", "_count{l=\"1\"} 3"),
        ("le=\"+Inf\"", "le=\"0.5\""),
        ("le=\"0.5\"} 1", "le=\"0.5\"} 3"),
        ("# HELP b x", "# HELP a_seconds x"),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(parse(&good.replacen(from, to, 1)).is_err(), "{to} for {from}");
    }
}
