//! When a change takes effect: as the config declares it for the key that the change comes from.

use super::diff::{Change, Edit, diff};
use super::{Listener, Route, Topology};
use crate::config::{Class, Timeouts};

/// When the change from one topology to another takes effect: the latest of its parts; `None`:
/// they are the same.
pub fn class_of(old: &Topology, new: &Topology) -> Option<Class> {
    diff(old, new).iter().map(Change::class).max()
}

impl Change {
    /// When it takes effect.
    pub fn class(&self) -> Class {
        match self {
            Change::Listener(edit) => of_listener(edit),
            // Clients come there from now on, or no longer.
            Change::Gate(_) => Class::Live,
            Change::Route(edit) => of_route(edit),
            // A connection stays at the server that was chosen for it.
            Change::Upstream(_) | Change::Server(_) => Class::NewConnections,
        }
    }
}

fn of_listener<I>(edit: &Edit<I, Listener>) -> Class {
    match (&edit.before, &edit.after) {
        // Connections stay on their route.
        (Some(before), Some(after)) if before.route != after.route => Class::NewConnections,
        // A client's socket keeps what it got from the passive socket.
        (Some(before), Some(after)) if !before.sockets.gives_clients_as(&after.sockets) => {
            Class::NewConnections
        }
        // Who has come is who it was, and goes where it went.
        (Some(before), Some(after)) if before.preamble != after.preamble => Class::NewConnections,
        (Some(before), Some(after)) if before.sniffing != after.sniffing => Class::NewConnections,
        // A handshake is made with what there is as it begins.
        (Some(before), Some(after)) if before.tls != after.tls => Class::NewConnections,
        (Some(before), Some(after))
            if (&before.access, &before.per_source) != (&after.access, &after.per_source) =>
        {
            Class::NewConnections
        }
        _ => Class::Live,
    }
}

fn of_route<I>(edit: &Edit<I, Route>) -> Class {
    match (&edit.before, &edit.after) {
        // How long a connect may take is a key of the upstream.
        (Some(before), Some(after)) => {
            let connect = before.timeouts.connect;
            match before.timeouts == (Timeouts { connect, ..after.timeouts.clone() }) {
                true => Class::NewConnections,
                false => Class::Live,
            }
        }
        _ => Class::NewConnections,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::WorkerId;
    use crate::config::{Config, SECTIONS};
    use crate::tls::Loaded;
    use crate::topology::{Asked, GateSpec, Register};

    const LISTENER: &str = "listener.NAME";
    const UPSTREAM: &str = "upstream.NAME";
    const SERVER: &str = "upstream.NAME.servers";

    /// For each key that has more than one value: another one than in [`text`].
    const OTHERS: [(&str, &str, &str); 39] = [
        (LISTENER, "bind", "[\"127.0.0.1:7001\"]"),
        (LISTENER, "upstream", "\"probe\""),
        (LISTENER, "proxy_trusted", "[\"10.0.0.0/8\"]"),
        (LISTENER, "preamble_timeout", "\"7s\""),
        (LISTENER, "sniff", "\"tls\""),
        (LISTENER, "allow", "[\"10.0.0.0/8\"]"),
        (LISTENER, "deny", "[\"10.0.0.0/8\"]"),
        (LISTENER, "per_source", "{ max_connections = 7 }"),
        (LISTENER, "backlog", "77"),
        (LISTENER, "freebind", "true"),
        (LISTENER, "keepalive", "\"off\""),
        (LISTENER, "keepalive_interval", "\"7s\""),
        (LISTENER, "keepalive_probes", "7"),
        (LISTENER, "user_timeout", "\"7s\""),
        (LISTENER, "max_connections", "10"),
        (LISTENER, "at_limit", "\"reset\""),
        (LISTENER, "evict_idle_after", "\"7m\""),
        (LISTENER, "idle_timeout", "\"7m\""),
        (LISTENER, "first_byte_timeout", "\"7s\""),
        (LISTENER, "half_close_timeout", "\"7s\""),
        (LISTENER, "max_lifetime", "\"7h\""),
        (UPSTREAM, "builtin", "\"discard\""),
        (UPSTREAM, "servers", "[\"127.0.0.1:9000\", \"127.0.0.1:9001\"]"),
        (UPSTREAM, "balance", "\"round-robin\""),
        (UPSTREAM, "source_addresses", "[\"127.0.0.1\"]"),
        (UPSTREAM, "connect", "\"lazy\""),
        (UPSTREAM, "send_proxy", "\"v1\""),
        (UPSTREAM, "tls", "{ ca = \"off\" }"),
        (UPSTREAM, "connect_timeout", "\"7s\""),
        (UPSTREAM, "queue_timeout", "\"7s\""),
        (UPSTREAM, "keepalive", "\"7s\""),
        (UPSTREAM, "keepalive_interval", "\"7s\""),
        (UPSTREAM, "keepalive_probes", "7"),
        (UPSTREAM, "user_timeout", "\"7s\""),
        (SERVER, "name", "\"b\""),
        (SERVER, "address", "\"127.0.0.1:9001\""),
        (SERVER, "weight", "7"),
        (SERVER, "max_connections", "7"),
        (SERVER, "backup", "true"),
    ];

    /// Keys that go with another.
    const FIXED: [(&str, &str); 6] = [
        (LISTENER, "accept_proxy"),
        (LISTENER, "route"),
        (LISTENER, "unmatched"),
        (LISTENER, "tls"), // with files: see below
        (UPSTREAM, "lazy_wait"),
        (UPSTREAM, "send_proxy_tlvs"),
    ];

    /// Keys that the topology does not know: the control plane goes by them.
    const ELSEWHERE: [(&str, &str); 13] = [
        (UPSTREAM, "srv"),
        (UPSTREAM, "servers_from"),
        (UPSTREAM, "removed_timeout"),
        (UPSTREAM, "connect_attempts"),
        (UPSTREAM, "eject_after"),
        (UPSTREAM, "eject_for"),
        (UPSTREAM, "max_ejected"),
        (UPSTREAM, "early_end"),
        (UPSTREAM, "all_down"),
        (UPSTREAM, "slow_start"),
        (UPSTREAM, "check"),
        (UPSTREAM, "on_down"),
        (UPSTREAM, "on_down_over"),
    ];

    #[test]
    fn certificates_that_come_or_are_renewed_are_for_new_connections() {
        let files = tempfile::TempDir::new().expect("a directory");
        let path = |name: &str| files.path().join(name).display().to_string();
        let make = || {
            let key = rcgen::KeyPair::generate().expect("a key");
            let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]);
            let certificate = params.and_then(|it| it.self_signed(&key)).expect("a certificate");
            for (label, der) in
                [("CERTIFICATE", certificate.der().to_vec()), ("PRIVATE KEY", key.serialize_der())]
            {
                let text = data_encoding::BASE64.encode(&der);
                let text = format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
                std::fs::write(path(label), text).expect("it is written");
            }
        };
        let (certificate, key) = (path("CERTIFICATE"), path("PRIVATE KEY"));
        let pair = format!("{{ certificate = {certificate:?}, key = {key:?} }}");
        let with = text(LISTENER, "tls", &format!("{{ certificates = [{pair}] }}"));
        let mut register = Register::default();
        let plain = next(&mut register, &Topology::default(), &text("none", "", ""));
        make();
        let first = next(&mut register, &plain, &with);
        assert_eq!(class_of(&plain, &first), Some(Class::NewConnections));
        let same = next(&mut register, &first, &with);
        assert_eq!(class_of(&first, &same), None, "the files are as they were");
        make();
        let renewed = next(&mut register, &same, &with);
        assert_eq!(class_of(&same, &renewed), Some(Class::NewConnections));
    }

    /// A config file in which one key may have another value.
    fn text(section: &str, key: &str, value: &str) -> String {
        let lines = |of: &str, defaults: &[(&str, &str)], between: &str| {
            let mut lines: Vec<(&str, &str)> = defaults.to_vec();
            if of == section {
                lines.retain(|(name, _)| *name != key);
                lines.push((key, value));
            }
            let lines: Vec<String> = lines.iter().map(|(k, v)| format!("{k} = {v}")).collect();
            lines.join(between)
        };
        let server = lines(SERVER, &[("name", "\"a\""), ("address", "\"127.0.0.1:9000\"")], ", ");
        let servers = format!("[{{ {server} }}]");
        let bind = ("bind", "[\"127.0.0.1:7000\"]");
        let listener = lines(LISTENER, &[bind, ("upstream", "\"app\"")], "\n");
        // An upstream has servers or is a builtin.
        let is_builtin = key == "builtin";
        let app = if is_builtin { "" } else { UPSTREAM };
        let app = lines(app, &[("servers", &servers)], "\n");
        let probe = if is_builtin { UPSTREAM } else { "" };
        let probe = lines(probe, &[("builtin", "\"echo\"")], "\n");
        format!("[listener.edge]\n{listener}\n[upstream.app]\n{app}\n[upstream.probe]\n{probe}\n")
    }

    fn next(register: &mut Register, before: &Topology, text: &str) -> Topology {
        let config = Config::parse(text, "test.toml", &|_| None).expect(text);
        let gate = |listener: &crate::config::Listener| GateSpec {
            listener: listener.name.clone(),
            owner: WorkerId(0),
            address: listener.bind[0],
            inherited: false,
            queue_of: WorkerId(0),
        };
        let gates: Vec<GateSpec> = config.listeners.iter().map(gate).collect();
        let Config { listeners, upstreams, .. } = &config;
        let loaded = Loaded::load(&config, std::time::SystemTime::UNIX_EPOCH).expect("no files");
        let asked = Asked { listeners, upstreams, gates: &gates, tls: Some(&loaded) };
        register.next(before, asked).expect("few of each kind")
    }

    #[test]
    fn a_change_takes_effect_when_its_key_says_so() {
        let declared: BTreeSet<(&str, &str)> = SECTIONS
            .iter()
            .filter(|section| [LISTENER, UPSTREAM, SERVER].contains(&section.section))
            .flat_map(|section| section.known().map(|key| (section.section, key)))
            .collect();
        let tried = OTHERS.iter().map(|(section, key, _)| (*section, *key)).chain(FIXED);
        let tried = tried.chain(ELSEWHERE);
        assert_eq!(declared, tried.collect(), "each key is here once");
        for (section, key, value) in OTHERS {
            let mut register = Register::default();
            let before = next(&mut register, &Topology::default(), &text("none", "", ""));
            let after = next(&mut register, &before, &text(section, key, value));
            let keys = SECTIONS.iter().filter(|one| one.section == section);
            let declared = keys.flat_map(|section| section.keys()).find(|one| one.name == key);
            let declared = declared.expect("it was found above").class;
            assert_eq!(class_of(&before, &after), Some(declared), "{key} in {section}");
            assert_eq!(class_of(&after, &after.clone()), None);
        }
    }
}
