//! Metrics of what changes while the gateway runs: its config, and the servers that others know.

use super::{Family, Shown, Value};

pub(super) const FAMILIES: &[Family] = &[
    Family::gauge(
        "portcullis_config_generation",
        &[],
        "Which topology runs: 1 at the start, one more at each reload or change of servers",
        |reading, out| reading.config.generation.show(&[], out),
    ),
    Family::gauge(
        "portcullis_config_last_reload_successful",
        &[],
        "1 when the last reload was carried out, or there was none; 0 when it was refused",
        |reading, out| {
            let is_good = reading.config.last_reload.as_ref().is_none_or(|one| one.successful);
            is_good.show(&[], out);
        },
    ),
    Family::gauge(
        "portcullis_config_last_reload_timestamp_seconds",
        &[],
        "When the config file was last read again, in seconds since 1970; 0: never",
        |reading, out| {
            let last = reading.config.last_reload.as_ref();
            last.map_or(0.0, |one| one.at_seconds_since_1970).show(&[], out);
        },
    ),
    Family::counter(
        "portcullis_search_answers",
        &["upstream", "outcome"],
        "Answers about an upstream's servers: good, or why the last good servers stay",
        |reading, out| {
            for upstream in &reading.upstreams {
                let Some(search) = &upstream.search else { continue };
                for (outcome, count) in &search.answers {
                    out(&[&upstream.name, outcome], Value::Count(*count));
                }
            }
        },
    ),
    Family::gauge(
        "portcullis_search_failing",
        &["upstream"],
        "1 while answers about an upstream's servers are of no use, 0 while they are good",
        |reading, out| {
            for upstream in &reading.upstreams {
                if let Some(search) = &upstream.search {
                    search.trouble.is_some().show(&[&upstream.name], out);
                }
            }
        },
    ),
    Family::gauge(
        "portcullis_search_last_good_timestamp_seconds",
        &["upstream"],
        "When an answer about an upstream's servers was last good, in seconds since 1970; 0: never",
        |reading, out| {
            for upstream in &reading.upstreams {
                if let Some(search) = &upstream.search {
                    let last = search.last_good_seconds_since_1970;
                    last.unwrap_or(0.0).show(&[&upstream.name], out);
                }
            }
        },
    ),
];
