//! Those who may know the servers of an upstream, and what is wrong with their names.

use crate::assert_refused;

/// Origins of servers that are none.
const BAD_ORIGINS: &[(&str, &str)] = &[
    ("srv = \"\"", "upstream.app.srv = \"\": must be the name of SRV records; write it as in"),
    (
        "servers_from = 7",
        "upstream.app.servers_from = 7: must be a file, or members of etcd and a p",
    ),
    (
        "servers_from = {}",
        "upstream.app.servers_from: must be a file, or members of etcd and a pre",
    ),
    ("servers_from = { file = \"x\" }", "servers_from.file = \"x\": must be an absolute path; wri"),
    (
        "servers_from = { fil = \"/x\" }",
        "servers_from.fil = \"/x\": no such key; did you mean file",
    ),
    ("servers_from = { etcd = [], prefix = \"/\" }", "servers_from.etcd = []: must be a file, or"),
    ("servers_from = { etcd = [\"http://e:1\"] }", "etcd needs a prefix, and it has none; write {"),
    ("servers_from = { etcd = [\"https://e:1\"], prefix = \"/\" }", "TLS to etcd is not in this v"),
    ("servers_from = { etcd = [\"e:1\"], prefix = \"/\" }", "must be a URL of http with a port; w"),
    ("servers = [\"10.0.0.1:1\"]\nsrv = \"a.b\"", "srv = \"a.b\": stands beside servers: an upst"),
    (
        "servers = [\"10.0.0.1:1\"]\nremoved_timeout = \"2days\"",
        "must be a duration from 0s to 1day",
    ),
];

#[test]
fn every_bad_origin_is_named_with_what_to_do() {
    for (lines, words) in BAD_ORIGINS {
        assert_refused(&format!("{LISTENER}[upstream.app]\n{lines}"), words);
    }
}

const LISTENER: &str = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n";
