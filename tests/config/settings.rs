//! Keys that the command line sets over a file.

use std::time::Duration;

use portcullis::config::{Auto, Config, Level, UpstreamKind};

use crate::{all_keys, with};

fn set(text: &str, settings: &[&str]) -> Result<Config, String> {
    let settings: Vec<String> = settings.iter().map(|&one| one.to_owned()).collect();
    let env = |name: &str| (name == "N").then(|| "7".to_owned());
    Config::parse_with(text, "p.toml", &settings, &env).map_err(|errors| errors.to_string())
}

#[test]
fn a_setting_takes_the_place_of_the_files_value() {
    let text = with("[gateway]\nworkers = 4\ndrain_timeout = \"1s\"\n");
    let config = set(
        &text,
        &[
            "gateway.workers=2",
            "gateway.workers=3",
            "gateway.max_connections=\"${N}\"",
            "log.level=debug",
            "listener.edge.idle_timeout=30s",
            "listener.edge.bind=[\"127.0.0.1:9\"]",
            "upstream.app={ servers = [\"10.0.0.1:9\"] }",
            "upstream.app.connect_timeout=2s",
            "upstream.app.check.kind=connect",
        ],
    );
    let config = config.expect("it is right");
    assert_eq!(config.gateway.workers, Auto::Fixed(3));
    assert_eq!(config.gateway.max_connections, Auto::Fixed(7));
    assert_eq!(config.gateway.drain_timeout, Duration::from_secs(1));
    assert_eq!(config.log.level, Level::Debug);
    let edge = &config.listeners[0];
    assert_eq!(edge.timeouts.idle, Some(Duration::from_secs(30)));
    assert_eq!(edge.bind, ["127.0.0.1:9".parse().expect("an address")]);
    assert!(matches!(config.upstreams[0].kind, UpstreamKind::Servers { .. }));
    assert!(config.upstreams[0].check.is_some());
    assert_eq!(edge.timeouts.connect, Duration::from_secs(2));
}

#[test]
fn a_setting_may_make_sections() {
    let config = set(
        "",
        &["listener.a.bind=[\"*:9\"]", "listener.a.upstream=b", "upstream.b.builtin=discard"],
    );
    let config = config.expect("nothing is missing");
    assert_eq!((&*config.listeners[0].name, &*config.upstreams[0].name), ("a", "b"));
}

#[test]
fn a_wrong_setting_is_named_as_what_it_is() {
    for (setting, expected) in [
        ("gateway.workers=0", "--set: gateway.workers = 0: must be 1 to 1024 or \"auto\"; write"),
        ("gateway.workers=many", "--set: gateway.workers = \"many\": must be 1 to 1024"),
        ("gateway.worker=1", "--set: gateway.worker = 1: no such key; did you mean workers?"),
        ("gatway.workers=1", "--set: gatway: no such key; did you mean gateway?"),
        ("gateway=1", "--set: gateway = 1: must be a section; write [gateway]"),
        ("listener.edge.bind.x=1", "--set: listener.edge.bind.x = 1: stands within the value on "),
        ("listener.edge.bind=127.0.0.1:9", "--set: listener.edge.bind = \"127.0.0.1:9\": must be"),
        ("status.bind=127.0.0.1:7000", "listener.edge binds it already, on line 2"),
        ("listener.b.upstream=app", "--set: listener.b: has no bind; write"),
        ("include=[\"x.toml\"]", "--set: include = [\"x.toml\"]: is read from the file alone; w"),
        ("log.level=\"${NONE}\"", "--set: log.level = \"${NONE}\": the environment variable NONE"),
        ("workers", "--set = \"workers\": has no = and no value; write it as in --set gateway.wo"),
        ("a b=1", "--set = \"a b=1\": must begin with the key and its sections, with dots; write"),
    ] {
        let message = set(&with(""), &[setting]);
        let message = message.expect_err(setting);
        assert!(message.contains(expected), "{setting}:\n{message}\ninstead of\n{expected}");
    }
    let text = with("[gateway]\nworkers = 1\n");
    let message = set(&text, &["gateway.workers.x=1"]).expect_err("no part of a number");
    assert!(
        message.contains("--set: gateway.workers.x = 1: stands within the value on line 7"),
        "{message}"
    );
    assert!(message.contains("set gateway.workers as a whole"), "{message}");
    // The file's own error is not hidden, and one that is set over is gone.
    let wrong = with("[gateway]\nworkers = 0\n");
    assert!(set(&wrong, &["log.level=debug"]).is_err());
    assert!(set(&wrong, &["gateway.workers=1"]).is_ok());
    let bind = set(&with(""), &["listener.edge.bind=[\"*:1\", \"*:1\"]"]).expect_err("twice");
    assert!(bind.contains("listener.edge binds it already, on the command line"), "{bind}");
}

/// Whatever the key and the value, there is an answer.
#[test]
fn no_setting_makes_the_parser_panic() {
    for (section, key) in all_keys() {
        let section = section.replace("listener.a", "listener.edge");
        for value in ["1", "true", "x", "[]", "{}", "\"\"", "", "'", "[1", "1979-05-27"] {
            for path in [format!("{section}.{key}"), format!("{section}.{key}.x.y"), key.into()] {
                let _ = set(&with(""), &[&format!("{path}={value}")]);
            }
        }
    }
}
