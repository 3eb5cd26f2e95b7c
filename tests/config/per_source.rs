//! Limits for the clients of one source.

use std::time::Duration;

use portcullis::config::{Auto, Class, ConnectionRate, PerSource, SourceAction};

use crate::{assert_refused, parse};

/// A listener with a table of these keys, each from line 5 on.
fn listener(keys: &str) -> String {
    let listener = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"";
    format!("{listener}\n[listener.edge.per_source]\n{keys}\n[upstream.app]\nbuiltin = \"echo\"\n")
}

fn limits(keys: &str) -> PerSource {
    let config = parse(&listener(keys)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parse(&config.written()), Ok(config.clone()), "{}", config.written());
    config.listeners[0].per_source.clone().expect("it is there")
}

#[test]
fn limits_have_defaults() {
    let limits = limits("max_connections = 100");
    let PerSource { max_connections, rate, burst, prefix_v4, prefix_v6, .. } = limits;
    assert_eq!((max_connections, rate, burst), (Some(100), None, Auto::Auto));
    assert_eq!((prefix_v4, prefix_v6), (32, 64));
    assert_eq!((limits.action, limits.exempt), (SourceAction::Reset, Vec::new()));
    assert_eq!(limits.wait_at_most, Duration::from_secs(10));
}

#[test]
fn a_table_in_a_line_means_the_same() {
    let line = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n\
        per_source = { rate = \"20/s\", burst = 50 }\n[upstream.app]\nbuiltin = \"echo\"\n";
    let (line, table) = (parse(line), parse(&listener("rate = \"20/s\"\nburst = 50")));
    assert!(line.is_ok());
    assert_eq!(line, table);
}

#[test]
fn a_rate_has_a_time_and_a_burst() {
    for (keys, connections, seconds, burst) in [
        ("rate = \"20/s\"", 20, 1, 20),
        ("rate = \"300/m\"", 300, 60, 5),
        ("rate = \"50/h\"", 50, 3600, 1),
        ("rate = \"100000/s\"\nburst = 7", 100_000, 1, 7),
        ("rate = \"6000000/m\"", 6_000_000, 60, 100_000),
    ] {
        let limits = limits(keys);
        let per = Duration::from_secs(seconds);
        assert_eq!(limits.rate, Some(ConnectionRate { connections, per }), "{keys}");
        assert_eq!(limits.asked_burst(), burst, "{keys}");
    }
}

#[test]
fn limits_that_are_wrong_or_have_no_effect_are_refused() {
    for (keys, fragment) in [
        ("", "p.toml:4: listener.edge.per_source: limits nothing: max_connections and rate are"),
        (
            "max_connections = 0",
            "p.toml:5: listener.edge.per_source.max_connections = 0: must be 1 ",
        ),
        (
            "max_connections = 7\nburst = 5",
            "burst = 5: belongs to a rate, and rate is \"off\"; wri",
        ),
        ("rate = \"20\"", "rate = \"20\": must be connections by s, m or h, as in \"20/s\""),
        ("rate = \"0/s\"", "must be connections by s, m or h"),
        ("rate = \"+1/s\"", "must be connections by s, m or h"),
        ("rate = \"100001/s\"", "100000 in a second at most, or \"off\"; write it as in"),
        ("rate = \"20/d\"", "must be connections by s, m or h"),
        ("rate = 20", "must be connections by s, m or h"),
        ("rate = \"1/m\"\nburst = 61", "takes 1h 1m at this rate to be whole again, and may take"),
        ("rate = \"1/s\"\nprefix_v4 = 33", "prefix_v4 = 33: must be 1 to 32"),
        ("rate = \"1/s\"\nprefix_v6 = 0", "prefix_v6 = 0: must be 1 to 128"),
        ("rate = \"1/s\"\nexempt = [\"x\"]", "exempt = \"x\": must be a list of networks"),
        ("rate = \"1/s\"\naction = \"queue\"", "must be \"reset\", \"wait\" or \"tarpit\"; write"),
        ("rate = \"1/s\"\nwait_at_most = \"5s\"", "belongs to action = \"wait\" or \"tarpit\""),
        ("rate = \"1/s\"\nburts = 5", "no such key; did you mean burst?"),
    ] {
        assert_refused(&listener(keys), fragment);
    }
    assert_refused(
        &listener("rate = \"1/s\"").replace("[listener.edge.per_source]\nrate =", "per_source ="),
        "must be a table of [listener.NAME.per_source]; write per_source = {",
    );
}

#[test]
fn a_change_is_for_new_connections() {
    let [before, after] = ["rate = \"20/s\"", "rate = \"21/s\""].map(|keys| parse(&listener(keys)));
    let differences = before.expect("it is right").differences(&after.expect("it is right"));
    let [one] = &differences[..] else { panic!("{differences:?}") };
    assert_eq!(
        (one.path().as_str(), one.class),
        ("listener.edge.per_source", Class::NewConnections)
    );
}
