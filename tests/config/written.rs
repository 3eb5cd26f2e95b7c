//! A config that is written is the same when it is read.

use std::path::Path;

use portcullis::config::SECTIONS;

use crate::parse;

/// A config for which no value is the default's.
const ALL_OTHERWISE: &str = r#"
[gateway]
max_connections = 5000
memory_limit = "2GiB"
workers = 3
pin_workers = false
drain_timeout = "1h 2m 3s 4ms"
drain_grace = "5s"
on_removal = "keep"
state_directory = "/var/lib/x"
[ring]
submission_entries = 2048
completion_entries = 8192
buffer_size = "5000B"
buffer_count = 100
batch_wait = "200us"
quiet_after = "3s"
splice_pipes = 7
[listener.a]
bind = ["*:7000", "[::1]:7001"]
upstream = "two"
accept_proxy = "from-trusted"
proxy_trusted = ["10.0.0.0/8", "::1/128"]
preamble_timeout = "7s"
allow = ["10.0.0.0/8", "192.0.2.7"]
deny = ["10.1.0.0/16", "2001:db8::/32"]
backlog = 77
freebind = true
max_connections = 12
at_limit = "reset"
evict_idle_after = "90s"
sniff = "tls"
unmatched = "refuse"
first_byte_timeout = "1s"
idle_timeout = "off"
half_close_timeout = "off"
max_lifetime = "30days"
[listener.a.per_source]
max_connections = 77
rate = "300/m"
burst = 7
prefix_v4 = 24
prefix_v6 = 48
exempt = ["10.0.0.0/8", "::1"]
action = "tarpit"
wait_at_most = "7s"
[listener.c]
bind = ["127.0.0.1:7444"]
upstream = "one"
[listener.c.tls]
certificates = [{ certificate = "/a.pem", key = "/a.key" }]
unknown_name = "refuse"
min_version = "1.3"
alpn = ["h2", "http/1.1"]
client_ca = "/ca.pem"
client_certificate = "optional"
ticket_keys = "/tickets.key"
handshakes = 7
[listener.b]
bind = ["127.0.0.1:7443"]
upstream = "one"
sniff = "tls"
[[listener.b.route]]
server_names = ["*.Example.com", "b.example."]
alpn = ["h2"]
upstream = "two"
[upstream.one]
builtin = "hold"
connect_timeout = "7s"
[upstream.two]
servers = ["10.0.0.1:9000", { name = "n", address = "[::1]:90", weight = 0 }]
balance = "round-robin"
connect = "lazy"
lazy_wait = "1s"
send_proxy = "v2"
send_proxy_tlvs = ["received", "alpn"]
source_addresses = ["10.0.0.9", "::1"]
removed_timeout = "off"
[upstream.three]
servers = [
    "DB.internal.:5432",
    { name = "d", address = "db:1", weight = 2, max_connections = 9, backup = true },
]
on_down = "close"
on_down_over = "1m"
[upstream.three.check]
kind = "send-expect"
interval = "5s"
timeout = "300ms"
rise = 1
fall = 7
port = 8080
send = 'hex:00ff'
expect = "a\\\\b\r\n$${x}"
[upstream.four]
srv = "_mqtt._tcp.example.org"
[upstream.five]
servers_from = { file = "/etc/five.servers" }
[upstream.five.tls]
server_name = "db.internal"
ca = "/ca.pem"
certificate = "/own.pem"
key = "/own.key"
[upstream.six]
servers_from = { etcd = ["http://10.0.0.1:2379", "http://etcd.internal:2379"], prefix = "/six/" }
[resolver]
servers = ["127.0.0.53:53"]
min_ttl = "2s"
max_ttl = "3s"
timeout = "1500ms"
max_addresses = 77
[admin]
socket = "/run/a \"b\" $${c}.sock"
mode = "0620"
group = "wheel"
[status]
bind = "off"
allow = ["10.0.0.0/8"]
hosts = ["gate.example"]
[log]
level = "trace"
format = "json"
[access_log]
path = "/var/log/x.log"
format = "json"
openings = true
empty = true
queue_lines = 99
"#;

#[test]
fn a_config_that_is_written_is_the_same_when_it_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |path: &Path| std::fs::read_to_string(path).expect("it is there");
    let examples = std::fs::read_dir(root.join("config/examples")).expect("there are examples");
    let examples = examples.map(|file| text(&file.expect("a readable folder").path()));
    let documented = text(&root.join("config/portcullis.toml"));
    for text in examples.chain([documented, ALL_OTHERWISE.to_owned()]) {
        let config = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
        let written = config.written();
        let again = parse(&written).unwrap_or_else(|errors| panic!("{errors}\n{written}"));
        assert_eq!(again, config, "{written}");
    }
    let written = parse(ALL_OTHERWISE).expect("it is right").written();
    for key in SECTIONS[1..].iter().flat_map(|section| section.known()) {
        assert!(written.contains(&format!("{key} = ")), "{key}: {written}");
    }
}
