//! Checks of servers as a file has them, and what is wrong with them.

use std::time::Duration;

use portcullis::config::{CheckKind, OnDown};

use crate::{assert_refused, parse};

/// A file whose upstream has servers and these lines from line 6 on.
fn with(lines: &str) -> String {
    let listener = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n";
    format!("{listener}[upstream.app]\nservers = [\"10.0.0.1:9000\"]\n{lines}")
}

const BAD: &[(&str, &str)] = &[
    (
        "check = true",
        "p.toml:6: upstream.app.check = true: must be a table of [upstream.NAME.check",
    ),
    ("check = \"off\"", "must be a table of [upstream.NAME.check]; write check = { kind = \"conn"),
    ("check = { kind = \"http\" }", "check.kind = \"http\": is not in this version; remove it, or"),
    (
        "check = { kind = \"ping\" }",
        "check.kind = \"ping\": must be \"connect\", \"send-expect\" or \"tls\"",
    ),
    ("check = { path = \"/\" }", "p.toml:6: upstream.app.check.path = \"/\": is not in this vers"),
    ("check = { intervall = \"1s\" }", "check.intervall = \"1s\": no such key; did you mean inter"),
    ("check = { interval = \"1ms\" }", "must be a duration from 100ms to 1h; write it as in \"2s"),
    ("check = { timeout = \"0s\" }", "check.timeout = \"0s\": must be a duration from 10ms to 1m"),
    ("[upstream.app.check]\nrise = 0", "p.toml:7: upstream.app.check.rise = 0: must be 1 to 100; "),
    ("check = { fall = 101 }", "upstream.app.check.fall = 101: must be 1 to 100; write the defaul"),
    ("check = { port = 65536 }", "check.port = 65536: must be 0 to 65535; write the number of a "),
    ("check = { send = 'x' }", "check.send = 'x': belongs to kind = \"send-expect\", and the kind"),
    ("check = { kind = \"send-expect\" }", "p.toml:6: upstream.app.check: has no text to expect:"),
    ("check = { kind = \"send-expect\", expect = 'a\\x' }", "with the escapes \\r, \\n, \\t and"),
    ("check = { kind = \"send-expect\", expect = \"hex:0\" }", "or \"hex:\" and pairs of hexadeci"),
    (
        "on_down = \"close\"",
        "p.toml:6: upstream.app.on_down = \"close\": ends nothing: only checks",
    ),
    (
        "on_down = \"reset\"",
        "upstream.app.on_down = \"reset\": must be \"keep\" or \"close\"; writ",
    ),
    (
        "on_down_over = \"0s\"",
        "upstream.app.on_down_over = \"0s\": must be a duration from 100ms t",
    ),
];

#[test]
fn every_bad_check_is_named_with_what_to_do() {
    for (lines, words) in BAD {
        assert_refused(&with(lines), words);
    }
    let builtin = with("check = {}").replace("servers = [\"10.0.0.1:9000\"]", "builtin = \"echo\"");
    assert_refused(
        &builtin,
        "p.toml:6: upstream.app.check: is for servers, and the gateway itself",
    );
}

#[test]
fn a_check_has_defaults_and_is_off_where_there_is_none() {
    let upstream = |lines: &str| parse(&with(lines)).expect("right").upstreams.remove(0);
    assert_eq!(upstream("").check, None);
    assert_eq!(upstream("").on_down, OnDown::Keep);
    let check = upstream("check = {}").check.expect("there is one");
    assert_eq!((check.kind, check.rise, check.fall, check.port), (CheckKind::Connect, 2, 3, 0));
    assert_eq!((check.interval, check.timeout), (Duration::from_secs(2), Duration::from_secs(1)));
    let text = "[upstream.app.check]\nkind = \"send-expect\"\nsend = 'PING\\r\\n'\nexpect = \"+P\"";
    let check = upstream(text).check.expect("there is one");
    assert_eq!((check.send, check.expect), (b"PING\r\n".to_vec(), b"+P".to_vec()));
}
