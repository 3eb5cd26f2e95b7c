//! What a config that takes another's place changes, key by key.

use portcullis::config::{Class, Config, Difference};

use crate::parse;

const BASE: &str = "\
[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n\
[upstream.app]\nservers = [\"127.0.0.1:9000\", { name = \"b\", address = \"127.0.0.1:9001\" }]\n\
[upstream.spare]\nbuiltin = \"echo\"\n";

fn config(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// What differs when `from` becomes `to` in the base, one each.
fn changed(from: &str, to: &str) -> Vec<Difference> {
    assert!(BASE.contains(from), "{from}");
    config(BASE).differences(&config(&BASE.replacen(from, to, 1)))
}

fn one(from: &str, to: &str) -> Difference {
    let all = changed(from, to);
    let [one] = all.as_slice() else { panic!("{from} to {to} differs in {all:?}") };
    one.clone()
}

#[test]
fn a_config_differs_from_itself_in_nothing() {
    let base = config(BASE);
    assert_eq!(base.differences(&base), []);
    assert_eq!(base.differences(&config(&base.written())), []);
}

#[test]
fn a_key_says_both_values_and_its_class() {
    let difference = one("upstream = \"app\"\n", "upstream = \"app\"\nidle_timeout = \"10m\"\n");
    assert_eq!(difference.path(), "listener.edge.idle_timeout");
    assert_eq!(difference.before.as_deref(), Some("\"1h\""));
    assert_eq!(difference.after.as_deref(), Some("\"10m\""));
    assert_eq!(difference.class, Class::Live);
    let difference = one("[upstream.spare]", "[ring]\nbuffer_count = 512\n[upstream.spare]");
    assert_eq!(difference.path(), "ring.buffer_count");
    assert_eq!(difference.class, Class::Restart);
    let difference = one("upstream = \"app\"", "upstream = \"spare\"");
    assert_eq!(difference.path(), "listener.edge.upstream");
    assert_eq!(difference.class, Class::NewConnections);
}

#[test]
fn a_key_without_a_value_comes_and_goes() {
    let group = BASE.to_owned() + "[admin]\ngroup = \"wheel\"\n";
    let (with, without) = (config(&group), config(BASE));
    let [comes] = &without.differences(&with)[..] else { panic!("one key") };
    assert_eq!((comes.path().as_str(), &comes.before), ("admin.group", &None));
    let [goes] = &with.differences(&without)[..] else { panic!("one key") };
    assert_eq!((goes.path().as_str(), &goes.after), ("admin.group", &None));
}

#[test]
fn servers_are_told_apart_by_name() {
    let weight = one("\"127.0.0.1:9001\" }", "\"127.0.0.1:9001\", weight = 5 }");
    assert_eq!(weight.path(), "upstream.app.servers.b.weight");
    let most = one("\"127.0.0.1:9001\" }", "\"127.0.0.1:9001\", max_connections = 5 }");
    assert_eq!(most.path(), "upstream.app.servers.b.max_connections");
    assert_eq!((most.before.as_deref(), most.after.as_deref()), (Some("off"), Some("5")));
    let backup = one("\"127.0.0.1:9001\" }", "\"127.0.0.1:9001\", backup = true }");
    assert_eq!(
        (backup.path(), backup.after),
        ("upstream.app.servers.b.backup".into(), Some("true".into()))
    );
    assert_eq!((weight.before.as_deref(), weight.after.as_deref()), (Some("1"), Some("5")));
    let moved = one("\"127.0.0.1:9001\"", "\"127.0.0.1:9002\"");
    assert_eq!(moved.path(), "upstream.app.servers.b.address");
    assert_eq!(moved.class, Class::NewConnections);
    let gone = one("\"127.0.0.1:9000\", ", "");
    assert_eq!(gone.path(), "upstream.app.servers.127.0.0.1:9000");
    assert_eq!((gone.before.as_deref(), gone.after), (Some("127.0.0.1:9000"), None));
    let renamed = changed("\"b\"", "\"c\"");
    let paths: Vec<String> = renamed.iter().map(Difference::path).collect();
    assert_eq!(paths, ["upstream.app.servers.c", "upstream.app.servers.b"]);
}

#[test]
fn an_order_is_no_difference() {
    let (first, second) = BASE.split_once("[upstream.app]").expect("two parts");
    let turned = format!("[upstream.app]{second}{first}");
    assert_eq!(config(BASE).differences(&config(&turned)), []);
}

#[test]
fn sections_come_and_go_as_a_whole() {
    let more =
        BASE.to_owned() + "[listener.two]\nbind = [\"127.0.0.1:7002\"]\nupstream = \"app\"\n";
    let (base, more) = (config(BASE), config(&more));
    let [comes] = &base.differences(&more)[..] else { panic!("one section") };
    assert_eq!(
        (comes.path().as_str(), comes.key, comes.class),
        ("listener.two", None, Class::Live)
    );
    let [goes] = &more.differences(&base)[..] else { panic!("one section") };
    assert_eq!((goes.path().as_str(), goes.key, &goes.after), ("listener.two", None, &None));
    assert!(goes.before.is_some());
}

#[test]
fn servers_instead_of_a_builtin_are_each_said() {
    let paths: Vec<String> = changed("builtin = \"echo\"", "servers = [\"127.0.0.1:9\"]")
        .iter()
        .map(Difference::path)
        .collect();
    for path in ["upstream.spare.builtin", "upstream.spare.servers.127.0.0.1:9"] {
        assert!(paths.iter().any(|one| one == path), "{path} in {paths:?}");
    }
}
