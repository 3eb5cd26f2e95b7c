//! Values of the wrong type, and variables, which take the type of their key.

use std::time::Duration;

use portcullis::config::{Auto, Config, UpstreamKind};

use crate::{all_keys, assert_refused, with};

/// Values in the wrong type, and the remedy.
const WRONG_TYPES: &[(&str, &str)] = &[
    ("[ring]\nbuffer_count = \"512\"", "must be 8 to 32768; write 512, without quotes"),
    ("[gateway]\nmax_connections = \"50_000\"", "; write 50_000, without quotes"),
    ("[gateway]\npin_workers = \"true\"", "; write true, without quotes"),
    ("[access_log]\nempty = \"false\"", "must be true or false; write false, without quotes"),
    ("[admin]\nmode = 660", "must be permissions in octal, in quotes; write \"660\", in quotes"),
    ("[admin]\ngroup = 0", "must be the name or number of a group; write \"0\", in quotes"),
    ("[gateway]\ndrain_timeout = 30", "and up to 10 years; did you mean \"30s\"?"),
    ("[gateway]\ndrain_timeout = \"30\"", "and up to 10 years; did you mean \"30s\"?"),
    ("[gateway]\nworkers = \"Auto\"", "must be 1 to 1024 or \"auto\"; did you mean \"auto\"?"),
    ("[listener.b]\nidle_timeout = 30", ", or \"off\"; did you mean \"30s\"?"),
    ("[ring]\nbuffer_count = \"many\"", "must be 8 to 32768; write how many connections"),
];

#[test]
fn a_value_of_the_wrong_type_is_shown_as_it_should_be() {
    for (lines, fragment) in WRONG_TYPES {
        assert_refused(&with(lines), fragment);
    }
}

fn numbers(name: &str) -> Option<String> {
    let known = [("N", "20_000"), ("B", "true"), ("T", "90s"), ("W", "7"), ("A", "auto")];
    known.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn a_variable_by_itself_takes_the_type_of_its_key() {
    let text = "[gateway]\nmax_connections = \"${N}\"\nworkers = \"${A}\"\n\
        pin_workers = '${B}'\ndrain_timeout = \"${T}\"\n[ring]\nbuffer_count = \"${N}\"\n\
        [listener.edge]\nbind = [\"*:80\"]\nupstream = \"app\"\nmax_connections = \"${N}\"\n\
        [access_log]\nempty = \"${B}\"\n\
        [upstream.app]\nservers = [{ address = \"10.0.0.1:9\", weight = \"${W}\" }]";
    let config = Config::parse(text, "p.toml", &numbers).expect("a good file");
    assert_eq!(config.gateway.max_connections, Auto::Fixed(20_000));
    assert_eq!(
        (config.gateway.workers, config.gateway.pin_workers),
        (Auto::Auto, Auto::Fixed(true))
    );
    assert_eq!(config.gateway.drain_timeout, Duration::from_secs(90));
    assert_eq!((config.ring.buffer_count, config.access_log.empty), (20_000, true));
    assert_eq!(config.listeners[0].max_connections, Some(20_000));
    let UpstreamKind::Servers { set, .. } = &config.upstreams[0].kind else { panic!() };
    assert_eq!(set.servers[0].terms.weight, 7);
    let part = text.replace("workers = \"${A}\"", "workers = \"1${W}\"");
    let message = Config::parse(&part, "p.toml", &numbers).expect_err("a part has no type");
    assert_eq!(message.iter().count(), 1, "{message}");
}

#[test]
fn what_the_environment_says_is_in_no_error() {
    let secret = |name: &str| match name {
        "S" => Some("hunter2".to_owned()),
        "IP" => Some("10.99.88.77".to_owned()),
        "PORT" => Some("10099".to_owned()),
        _ => None,
    };
    let values =
        ["${S}", "${IP}", "${IP}:${PORT}", "${IP}/9", "::1:${PORT}", "\\u0024{S}", "${PORT}"];
    let mut refused = 0;
    for (section, key) in all_keys() {
        for value in values {
            for written in [format!("\"{value}\""), format!("[\"{value}\", \"{value}\"]")] {
                let text = with(&format!("[{section}]\n{key} = {written}\n"));
                let Err(errors) = Config::parse(&text, "p.toml", &secret) else { continue };
                let message = errors.to_string();
                refused += 1;
                for hidden in ["hunter2", "10.99.88.77", "10.64", "10.0.0.0/9", "10099"] {
                    assert!(!message.contains(hidden), "{text}\nsaid\n{message}");
                }
            }
        }
    }
    assert!(refused > 300, "{refused}");
}
