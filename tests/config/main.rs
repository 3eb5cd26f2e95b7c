//! What the config file promises: its defaults, and errors that name the line.

use std::time::Duration;

use portcullis::config::{Auto, Balance, Config, SECTIONS, UpstreamKind};
use proptest::prelude::*;

mod access;
mod addresses;
mod checks;
mod differences;
mod included;
mod manual;
mod origins;
mod per_source;
mod preambles;
mod settings;
mod syntax;
mod tls;
mod types;
mod written;

fn env(name: &str) -> Option<String> {
    (name == "EDGE").then(|| "127.0.0.1:7443".to_owned())
}

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, "p.toml", &env).map_err(|errors| errors.to_string())
}

/// `lines` around the two sections that every file needs.
fn with(lines: &str) -> String {
    let listener = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n";
    format!("{listener}[upstream.app]\nbuiltin = \"echo\"\n{lines}")
}

const BAD_SECTIONS: &[(&str, &str)] = &[
    // each is appended after line 5 of a good file
    ("[gateway]\nworkers = 0", "p.toml:7: gateway.workers = 0: must be 1 to 1024 or \"auto\"; "),
    ("[gateway]\nworkers = 1025", "p.toml:7: gateway.workers = 1025: must be 1 to 1024"),
    ("[gateway]\nworkers = -1", "p.toml:7: gateway.workers = -1: must be 1 to 1024"),
    ("[gateway]\nworkers = \"all\"", "p.toml:7: gateway.workers = \"all\": must be 1 to 1024"),
    ("[gateway]\nworkers = 1.5", "p.toml:7: gateway.workers = 1.5: must be 1 to 1024"),
    (
        "[gateway]\nworkers = 1\nmax_connections = 16_777_217",
        "p.toml:8: gateway.max_connections = 16_777_217: must be at most 16777216 per worker",
    ),
    ("[gateway]\nmax_connections = 0", "p.toml:7: gateway.max_connections = 0: must be 1 to 1000"),
    ("[gateway]\npin_workers = \"yes\"", "p.toml:7: gateway.pin_workers = \"yes\": must be true,"),
    ("[gateway]\ndrain_timeout = \"0s\"", "p.toml:7: gateway.drain_timeout = \"0s\": must be a d"),
    ("[gateway]\ndrain_timeout = \"off\"", "p.toml:7: gateway.drain_timeout = \"off\": must be a"),
    ("[gateway]\ndrain_timeout = 25", "p.toml:7: gateway.drain_timeout = 25: must be a duration"),
    ("[gateway]\ndrain_timeout = \"11y\"", "p.toml:7: gateway.drain_timeout = \"11y\": must be a"),
    (
        "[gateway]\nmemory_limit = \"1KiB\"",
        "p.toml:7: gateway.memory_limit = \"1KiB\": must be a size, 1MiB to 1PiB, or \"auto\"; ",
    ),
    ("[gateway]\nmemory_limit = \"much\"", "p.toml:7: gateway.memory_limit = \"much\": must be a"),
    ("[gateway]\nworker = 4", "p.toml:7: gateway.worker = 4: no such key; did you mean workers?"),
    ("[gateway]\ncolour = 4", "no such key; remove it, or write one of max_connections, memory_l"),
    ("gateway = 4", "p.toml:6: upstream.app.gateway = 4: no such key"),
    ("[admin]\nsocket = \"sock\"", "p.toml:7: admin.socket = \"sock\": must be \"auto\", \"off\""),
    ("[admin]\nmode = 600", "p.toml:7: admin.mode = 600: must be permissions in octal, in quotes"),
    ("[admin]\nmode = \"1777\"", "p.toml:7: admin.mode = \"1777\": must be permissions in octal"),
    ("[admin]\ngroup = \"\"", "p.toml:7: admin.group = \"\": must be the name or number of a gr"),
    ("[status]\nbind = \"*:7001\"", "p.toml:7: status.bind = \"*:7001\": must be one address; w"),
    (
        "[status]\nbind = 7001",
        "p.toml:7: status.bind = 7001: is a port without an address; write \"127.0.0.1:7001\"",
    ),
    (
        "[status]\nbind = \"0.0.0.0:7000\"",
        "status.bind = \"0.0.0.0:7000\": covers what listener.edge binds on line 2; write another",
    ),
    (
        "[access_log]\npath = \"access.log\"",
        "p.toml:7: access_log.path = \"access.log\": must be \"off\", \"stdout\" or an absolute",
    ),
    ("[access_log]\nempty = \"no\"", "p.toml:7: access_log.empty = \"no\": must be true or false"),
    (
        "[access_log]\nqueue_lines = 0",
        "p.toml:7: access_log.queue_lines = 0: must be 1 to 1048576; write how many lines",
    ),
    ("[status]\nallow = \"10.0.0.0/8\"", "p.toml:7: status.allow = \"10.0.0.0/8\": must be a list"),
    ("[status]\nallow = [\"10.1.0.0/8\"]", "has bits beyond its prefix; write \"10.0.0.0/8\""),
    ("[status]\nallow = [\"all\"]", "p.toml:7: status.allow = \"all\": must be a list of networks"),
    (
        "[status]\nhosts = [\"gate.example:7001\"]",
        "p.toml:7: status.hosts = \"gate.example:7001\": must be a list of host names, each",
    ),
    ("[listner.a]", "p.toml:6: listner: no such key; did you mean listener?"),
    ("[ring]\nsubmission_entries = 100", "p.toml:7: ring.submission_entries = 100: must be a pow"),
    ("[ring]\nsubmission_entries = 32", "p.toml:7: ring.submission_entries = 32: must be a power"),
    ("[ring]\ncompletion_entries = 262144", "must be a power of two, 128 to 131072; write the d"),
    (
        "[ring]\nsubmission_entries = 16384",
        "p.toml:7: ring.submission_entries = 16384: completion_entries (16384) must be at least",
    ),
    (
        "[ring]\nsubmission_entries = 4096\ncompletion_entries = 4096",
        "p.toml:8: ring.completion_entries = 4096: completion_entries (4096) must be at least tw",
    ),
    ("[ring]\nbuffer_size = \"512B\"", "p.toml:7: ring.buffer_size = \"512B\": must be a size, 1K"),
    ("[ring]\nbuffer_size = \"2MiB\"", "p.toml:7: ring.buffer_size = \"2MiB\": must be a size, 1K"),
    ("[ring]\nbuffer_size = \"big\"", "p.toml:7: ring.buffer_size = \"big\": must be a size, 1KiB"),
    ("[ring]\nbuffer_count = 7", "p.toml:7: ring.buffer_count = 7: must be 8 to 32768; write"),
    (
        "[ring]\nbatch_wait = \"1us\"",
        "p.toml:7: ring.batch_wait = \"1us\": must be a duration from 10us to 10ms",
    ),
    (
        "[ring]\nbatch_wait = \"1s\"",
        "p.toml:7: ring.batch_wait = \"1s\": must be a duration from 10us to 10ms, o",
    ),
    (
        "[ring]\nbatch_wait = \"0s\"",
        "p.toml:7: ring.batch_wait = \"0s\": must be a duration from 10us to 10ms",
    ),
    (
        "[log]\nlevel = \"loud\"",
        "p.toml:7: log.level = \"loud\": must be \"error\", \"warn\", \"info\", \"de",
    ),
    ("[log]\nformat = 1", "p.toml:7: log.format = 1: must be \"text\" or \"json\"; write it in"),
    ("[[log]]\nlevel = \"info\"", "must be a section; write [log] on a line of its own"),
    ("[listener.\"a b\"]", "p.toml:6: listener.\"a b\": a name has 1 to 64 letters, digits, - a"),
    ("[listener.b]", "p.toml:6: listener.b: has no bind; write [\"127.0.0.1:7000\"]"),
    ("[listener.b]", "p.toml:6: listener.b: has no upstream; the file has app"),
    ("[upstream.b]", "p.toml:6: upstream.b: has neither servers nor builtin; write servers = ["),
    (
        "[upstream]\nx = 1",
        "p.toml:7: upstream.x = 1: must be a section with a name; write [upstream",
    ),
    ("workers ==", "p.toml:6: is not TOML: "),
    ("send_proxy = \"v2\"", "p.toml:6: upstream.app.send_proxy = \"v2\": is for servers, and the"),
    ("send_proxy = \"v3\"", "send_proxy = \"v3\": must be \"off\", \"v1\" or \"v2\"; write"),
    ("send_proxy_tlvs = [\"crc32c\"]", "are fields of a header of version 2, and none is sent; w"),
    (
        "send_proxy = \"v2\"\nsend_proxy_tlvs = [\"client-cert\"]",
        "has \"client-cert\", which is a part of \"ssl\"; write \"ssl\" beside it, or remove it",
    ),
    ("lazy_wait = \"1s\"", "lazy_wait = \"1s\": waits for nothing: connect is \"eager\"; write co"),
    (
        "balance = \"maglev\"",
        "must be \"round-robin\", \"least-connections\", \"random-two\" or \"so",
    ),
    (
        "builtin = \"hold\"",
        "p.toml:6: upstream.app.builtin: stands here for the second time, after line 5; join",
    ),
    (
        "[listener.edge]\nbacklog = 5\nupstream = \"app\"",
        "p.toml:6: listener.edge: stands here for the second time, after line 1; join the two",
    ),
    ("servers = [\"127.0.0.1:9\"]", "p.toml:5: upstream.app.builtin = \"echo\": stands beside ser"),
    ("connect_attempts = 0", "p.toml:6: upstream.app.connect_attempts = 0: must be 1 to 100; wr"),
    ("connect_timeout = \"off\"", "p.toml:6: upstream.app.connect_timeout = \"off\": must be a d"),
    ("source_addresses = [\"0.0.0.0\"]", "p.toml:6: upstream.app.source_addresses = \"0.0.0.0\":"),
    (
        "source_addresses = [\n\"10.0.0.1\",\n\"10.0.0.1\",\n]",
        "p.toml:8: upstream.app.source_addresses = \"10.0.0.1\": stands there twice; remove one",
    ),
];

const BAD_LISTENERS: &[(&str, &str)] = &[
    // each stands on line 2 of an otherwise empty listener
    ("bind = \"127.0.0.1:1\"", "p.toml:2: listener.edge.bind = \"127.0.0.1:1\": must be a list"),
    ("bind = []", "p.toml:2: listener.edge.bind = []: must be a list of addresses, at least one"),
    ("bind = [\"x.example:70\"]", "names are not in this version; write an IP address"),
    ("bind = [\"127.0.0.1\"]", "p.toml:2: listener.edge.bind = \"127.0.0.1\": must be an address"),
    ("bind = [7000]", "bind = 7000: is a port without an address; write \"127.0.0.1:7000\""),
    (
        "bind = [\n  \"127.0.0.1:70\",\n  \"127.0.0.1:70\",\n]",
        "p.toml:4: listener.edge.bind = \"127.0.0.1:70\": listener.edge binds it already, on lin",
    ),
    (
        "bind = [\"*:70\", \"[::]:70\"]",
        "listener.edge.bind = \"[::]:70\": listener.edge binds it already, on line 2; write it o",
    ),
    (
        "bind = [\"${EDGE}\", \"127.0.0.1:7443\"]",
        "p.toml:2: listener.edge.bind = \"127.0.0.1:7443\": listener.edge binds it already, on l",
    ),
    ("bind = [\"${NONE}\"]", "p.toml:2: listener.edge.bind = \"${NONE}\": the environment variab"),
    ("bind = [\"${EDGE\"]", "p.toml:2: listener.edge.bind = \"${EDGE\": has a ${ without its };"),
    ("bind = [\"x${EDGE}\"]", "bind = \"x${EDGE}\": names are not in this version; write an IP"),
    ("backlog = 0", "p.toml:2: listener.edge.backlog = 0: must be 1 to 2147483647 or \"auto\"; "),
    ("backlog = 2147483648", "p.toml:2: listener.edge.backlog = 2147483648: must be 1 to 2147483"),
    (
        "at_limit = \"evict\"\nidle_timeout = \"1m\"",
        "p.toml:2: listener.edge.at_limit = \"evict\": finds nobody: evict_idle_after is 1m, an",
    ),
    (
        "at_limit = \"evict\"\nevict_idle_after = \"2h\"",
        "idle_timeout ends connections after 1h; write a shorter evict_idle_after",
    ),
    (
        "evict_idle_after = \"off\"",
        "p.toml:2: listener.edge.evict_idle_after = \"off\": must be a duration above zero",
    ),
    (
        "at_limit = \"wait\"",
        "p.toml:2: listener.edge.at_limit = \"wait\": must be \"queue\", \"reset\" or \"e",
    ),
    ("max_connections = 0", "p.toml:2: listener.edge.max_connections = 0: must be 1 to 1000"),
    ("tls = { key = \"k\" }", "p.toml:2: listener.edge.tls.key = \"k\": no such key; "),
    ("idle_timeout = \"1 fortnight\"", "or \"off\"; write it as in \"30s\" or \"1h\""),
    ("idle_timout = \"1h\"", "p.toml:2: listener.edge.idle_timout = \"1h\": no such key; did you"),
    ("upstream = \"ap\"", "p.toml:2: listener.edge.upstream = \"ap\": there is no upstream of tha"),
    ("upstream = \"ap\"", "; did you mean \"app\"?"),
    ("upstream = 7", "there is no upstream of that name; the file has app, other"),
    (
        "bind = [\"*:9000\"]\nupstream = \"other\"",
        "p.toml:7: upstream.other.servers = \"127.0.0.1:9000\": is listener.edge itself, which le",
    ),
];

const BAD_SERVERS: &[(&str, &str)] = &[
    ("[]", "p.toml:2: upstream.app.servers = []: must be a list of servers, at least one; write"),
    ("\"127.0.0.1:1\"", "p.toml:2: upstream.app.servers = \"127.0.0.1:1\": must be a list of ser"),
    ("[\"db.example:0\"]", "= \"db.example:0\": has port 0, where no server listens; write"),
    ("[\"db..example:9\"]", "= \"db..example:9\": is no name of a host: labels of 1 to 63 char"),
    (
        "[\"localhost:9\"]",
        "is two addresses, and a server rarely listens at both; write \"127.0.0.1",
    ),
    ("[\"127.0.0.1:0\"]", "= \"127.0.0.1:0\": has port 0, where no server listens; write \"127"),
    ("[\"0.0.0.0:9000\"]", "no address to reach it at; write the server's own address, \"127.0.0"),
    ("[\"*:9000\"]", "= \"*:9000\": is where a server can listen, and no address to reach it at"),
    ("[\"[::ffff:10.0.0.1]:9\"]", "= \"[::ffff:10.0.0.1]:9\": is an IPv4 address in IPv6 clothes"),
    ("[9000]", "p.toml:2: upstream.app.servers = 9000: is a port without an address; write \"127."),
    (
        "[\"10.0.0.1:9\", \"10.0.0.1:9\"]",
        "a server of this upstream has this name already, on line 2;",
    ),
    ("[{ name = \"a\" }]", "p.toml:2: upstream.app.servers: a server has no address; write addr"),
    ("[{ name = \"a/b\", address = \"10.0.0.1:9\" }]", "p.toml:2: upstream.app.servers.name = \"a"),
    (
        "[{ address = \"10.0.0.1:9\", max_connections = 0 }]",
        "p.toml:2: upstream.app.servers.max_connections = 0: must be 1 to 100000000 or \"off\"; w",
    ),
    (
        "[{ address = \"10.0.0.1:9\", backup = \"yes\" }]",
        "p.toml:2: upstream.app.servers.backup = \"yes\": must be true or false; write it witho",
    ),
    (
        "[{ address = \"10.0.0.1:9\", weight = 101 }]",
        "p.toml:2: upstream.app.servers.weight = 101: must be 0 to 100; write 2 for twice",
    ),
    (
        "[{ adress = \"10.0.0.1:9\" }]",
        "upstream.app.servers.adress = \"10.0.0.1:9\": no such key; did you mean address?",
    ),
];

fn assert_refused(text: &str, fragment: &str) {
    let message = parse(text).expect_err(text);
    let found = message.lines().filter(|line| line.contains(fragment)).count();
    assert_eq!(found, 1, "{text}\nsaid\n{message}\ninstead of once\n{fragment}");
}

#[test]
fn every_bad_value_is_named_with_its_line_and_what_to_do() {
    for (lines, fragment) in BAD_SECTIONS {
        assert_refused(&with(lines), fragment);
    }
    for (line, fragment) in BAD_LISTENERS {
        let rest = "[upstream.app]\nbuiltin = \"echo\"\n[upstream.other]\nservers = [";
        let text = format!("[listener.edge]\n{line}\n{rest}\"127.0.0.1:9000\"]");
        assert_refused(&text, fragment);
    }
    for (servers, fragment) in BAD_SERVERS {
        let rest = "[listener.edge]\nbind = [\"*:7000\"]\nupstream = \"app\"";
        assert_refused(&format!("[upstream.app]\nservers = {servers}\n{rest}"), fragment);
    }
    assert_refused(
        "",
        "p.toml: there is no listener; write [listener.NAME] with bind and upstream",
    );
    assert_refused("listener = 1", "p.toml:1: listener = 1: must be sections with names; write");
    assert_refused("[listener]\nbind = []", "p.toml:2: listener.bind = []: must be a section with");
}

#[test]
fn all_that_is_wrong_is_said_at_once_in_the_order_of_lines() {
    let text = with("[log]\nlevel = 3\n[gateway]\nworkers = 0\ncolour = 1");
    let message = parse(&text).expect_err("three errors");
    let places: Vec<&str> = message.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(places, ["log.level", "gateway.workers", "gateway.colour"], "{message}");
}

#[test]
fn what_is_written_is_what_comes_out() {
    let text = "[gateway]\nmax_connections = 1_000_000\nworkers = 4\npin_workers = false\n\
        memory_limit = \"8GiB\"\n\
        [listener.edge]\nbind = [\"${EDGE}\", \"*:80\"]\nupstream = \"app\"\n\
        idle_timeout = \"off\"\n\
        [upstream.other]\nbuiltin = \"hold\"\n\
        [upstream.app]\nservers = [\"10.0.0.1:9\",\
        { name = \"b\", address = \"[fd00::1]:9\", weight = 7 }]\n\
        source_addresses = [\"10.0.0.9\", \"10.0.0.8\"]\n\
        connect_timeout = \"1500ms\"\nbalance = \"round-robin\"";
    let config = parse(text).expect("a good file");
    assert_eq!(config.gateway.max_connections, Auto::Fixed(1_000_000));
    assert_eq!(config.gateway.workers, Auto::Fixed(4));
    assert_eq!(config.gateway.memory_limit, Auto::Fixed(8 << 30));
    assert_eq!(config.gateway.pin_workers, Auto::Fixed(false));
    let edge = &config.listeners[0];
    let bound: Vec<String> = edge.bind.iter().map(ToString::to_string).collect();
    assert_eq!(bound, ["127.0.0.1:7443", "0.0.0.0:80", "[::]:80"]);
    assert_eq!((edge.upstream, edge.timeouts.idle), (1, None));
    assert_eq!(edge.timeouts.connect, Duration::from_millis(1500));
    let UpstreamKind::Servers { set, balance, .. } = &config.upstreams[1].kind else {
        panic!("{:?} has no servers", config.upstreams[1])
    };
    let servers = &set.servers;
    let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!((names, *balance), (vec!["10.0.0.1:9", "b"], Balance::RoundRobin));
    let sources = |server: usize| config.upstreams[1].sources_for(servers[server].address);
    let both: Vec<String> = sources(0).map(|source| source.to_string()).collect();
    assert_eq!((both, sources(1).count()), (vec!["10.0.0.9".to_owned(), "10.0.0.8".to_owned()], 0));
    assert_eq!((servers[0].terms.weight, servers[1].terms.weight), (1, 7));
}

#[test]
fn a_free_port_may_be_asked_for_many_times() {
    let text = with("[listener.b]\nbind = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\nupstream = \"app\"");
    assert_eq!(parse(&text).expect("a good file").listeners[1].bind.len(), 2);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let path = std::path::Path::new("/nowhere/p.toml");
    let message = Config::load(path).expect_err("no file").to_string();
    assert!(message.starts_with("/nowhere/p.toml: cannot be read: No such file"), "{message}");
}

#[test]
fn a_loaded_file_is_known_by_its_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.toml");
    let text = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n\
        [upstream.app]\nbuiltin = \"echo\"\n";
    std::fs::write(&path, text).expect("written");
    let config = Config::load(&path).expect("it parses");
    let digest = "6d3e95f15bee71a124b5b16ad7fea9ab99254a6786047abd510b31c472ef1dd2";
    assert_eq!(config.file_sha256.as_deref(), Some(digest), "as sha256sum prints it");
    assert_eq!(parse(text).expect("it parses").file_sha256, None);
}

/// A file of the repository.
fn repository_file(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_examples_parse() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples");
    let files = std::fs::read_dir(path).expect("there are examples");
    let paths: Vec<_> = files.map(|file| file.expect("a readable folder").path()).collect();
    assert!(paths.len() >= 3, "{paths:?}");
    for path in paths {
        Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s).{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_value_of_a_known_key_makes_the_parser_panic(
        key in prop::sample::select(all_keys()),
        value in prop_oneof![
            "[-0-9a-z\"\\[\\]{}=:.*${}_, \n]{0,40}",
            "\"[-0-9a-z\\[\\]:.*${}]{0,20}\"",
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
        ],
    ) {
        let (section, key) = key;
        let text = format!("[{section}]\n{key} = {value}\n");
        if let Err(message) = parse(&text) {
            prop_assert!(message.starts_with("p.toml:"), "{}", message);
        }
    }
}

fn all_keys() -> Vec<(String, &'static str)> {
    let mut keys = Vec::new();
    for one in SECTIONS.into_iter().filter(|one| !one.section.is_empty()) {
        let path = one.section.replace("NAME.servers", "a.b").replace("NAME", "a");
        keys.extend(one.known().chain(one.later.iter().copied()).map(|key| (path.clone(), key)));
    }
    keys
}
