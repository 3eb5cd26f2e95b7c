//! A reading as text: strict OpenMetrics, the older format, and JSON that comes back.

use portcullis::metrics::{Format, Reading, families, openmetrics, plain_text};

use crate::example::reading;
use crate::exposition::parse;

#[test]
fn the_exposition_is_strict_openmetrics_with_every_family() {
    let text = openmetrics(&reading());
    let shown = parse(&text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
    for family in families() {
        let there = shown.get(family.name).unwrap_or_else(|| panic!("{} is missing", family.name));
        assert_eq!(there.kind, family.kind.word(), "{}", family.name);
        assert_eq!(there.unit.as_deref(), family.unit.map(|unit| unit.word()), "{}", family.name);
        assert_eq!(there.help, format!("{}.", family.help));
    }
    assert_eq!(shown.len(), families().count());
    for line in [
        "portcullis_build_info{version=\"9.9.9\",commit=\"abc\"} 1\n",
        "portcullis_connections_limit{listener=\"tight\"} 3\n",
        "portcullis_drain_remaining_seconds -2.5\n",
        "portcullis_host_max_files 9223372036854775807\n",
        "process_cpu_seconds_total 1.25\n",
        "portcullis_connections_closed_total{listener=\"edge\",reason=\"client-reset\"} ",
        "portcullis_connect_seconds_bucket{le=\"0.001\",upstream=\"app\"} ",
        "portcullis_server_connections_open{upstream=\"app\",server=\"[::1]:9000\"} ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_older_format_has_the_same_samples_under_the_names_of_samples() {
    let (new, old) = (openmetrics(&reading()), plain_text(&reading()));
    let samples = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(samples(&new), samples(&old));
    assert!(old.contains("# TYPE portcullis_connections_accepted_total counter\n"));
    assert!(old.contains("# TYPE portcullis_build_info gauge\n"));
    assert!(!old.contains("# EOF") && !old.contains("# UNIT"));
    assert_eq!(old.matches("# TYPE").count(), families().count());
}

#[test]
fn a_reading_without_listeners_or_workers_is_an_exposition_too() {
    let empty = Reading {
        workers: Vec::new(),
        listeners: Vec::new(),
        upstreams: Vec::new(),
        process: Default::default(),
        host: Default::default(),
        ..reading()
    };
    parse(&openmetrics(&empty)).expect("an exposition");
}

#[test]
fn a_document_comes_back_as_the_reading_that_it_was() {
    let document = serde_json::to_string(&reading()).expect("a document");
    assert!(document.starts_with("{\"schema\":1,"), "{document}");
    assert_eq!(serde_json::from_str::<Reading>(&document).expect("a reading"), reading());
}

#[test]
fn openmetrics_is_for_those_who_name_it() {
    for (accept, format) in [
        (None, Format::Text),
        (Some("*/*"), Format::Text),
        (Some("text/plain;version=0.0.4;q=1,*/*;q=0.1"), Format::Text),
        (Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"), Format::OpenMetrics),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept:?}");
    }
}
