//! Each limit on a host where it binds: its number and its arithmetic.

use portcullis::config::{Check, Config};
use portcullis::doctor::{Diagnosis, Force};
use portcullis::host::facts::Kernel;

use crate::host::{Host, echo, limit, parsed, relay};

/// That `name` binds at `connections`, and says how.
fn assert_binds(diagnosis: &Diagnosis, name: &str, connections: u64, arithmetic: &str) {
    let binding = diagnosis.binding();
    assert_eq!((binding.name, diagnosis.fits), (name, connections), "{diagnosis}");
    assert_eq!(binding.arithmetic, arithmetic);
    assert_eq!(diagnosis.max_connections(), connections as u32);
    assert!(diagnosis.holds() && diagnosis.asked.is_none());
}

#[test]
fn open_files_less_those_in_use_and_a_reserve() {
    let host = Host::plain();
    assert_binds(
        &host.diagnose(&relay(100, ""), None),
        "fs.file-max",
        (1_000_000 - 1_000 - 4_096 - 2 * 4 * 64) / 2,
        "(1,000,000 − 1,000 in use − 4,096 reserved − 512 of pipes) / 2 files each",
    );
    assert_binds(
        &host.diagnose(&echo(""), None),
        "fs.file-max",
        1_000_000 - 1_000 - 4_096,
        "(1,000,000 − 1,000 in use − 4,096 reserved) / 1 file each",
    );
}

#[test]
fn no_file_free_holds_nobody() {
    let host = Host::plain();
    host.set("proc/sys/fs/file-nr", "5000\t0\t5000\n");
    let diagnosis = host.diagnose(&echo(""), None);
    assert_eq!((diagnosis.fits, diagnosis.holds()), (0, false));
}

#[test]
fn memory_of_the_host_at_what_a_connection_was_measured_to_take() {
    let host = Host::plain();
    host.set("proc/meminfo", "MemAvailable: 1048576 kB\n");
    let buffers = 4 * 1024 * ((16 << 10) + 192);
    // A quarter of what buffers leave.
    let pipes = 4 * 47 * (1 << 20);
    assert_binds(
        &host.diagnose(&relay(100, ""), None),
        "memory",
        ((1 << 30) / 100 * 80 - buffers - pipes) / 8_368,
        "(80 % of 1,024 MiB available − 252 MiB buffers and pipes) / 8,368 bytes each",
    );
    assert_binds(
        &host.diagnose(&echo(""), None),
        "memory",
        ((1 << 30) / 100 * 80 - buffers) / 4_248,
        "(80 % of 1,024 MiB available − 64 MiB buffers) / 4,248 bytes each",
    );
    let logged = "[access_log]\npath = \"stdout\"\n[listener.edge]\nbind = [\"127.0.0.1:7000\"]\n\
                  upstream = \"app\"\n[upstream.app]\nbuiltin = \"echo\"\n";
    assert_binds(
        &host.diagnose(&parsed(logged), None),
        "memory",
        ((1 << 30) / 100 * 80 - buffers - 4 * 16_384 * 320) / 4_248,
        "(80 % of 1,024 MiB available − 84 MiB buffers and access log) / 4,248 bytes each",
    );
}

#[test]
fn tls_takes_memory_for_each_session_and_for_handshakes_under_way() {
    let host = Host::plain();
    host.set("proc/meminfo", "MemAvailable: 1048576 kB\n");
    let with = |tls: &str, app: &str| {
        let text = format!(
            "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n{tls}\n\
             [upstream.app]\n{app}\n"
        );
        parsed(&text)
    };
    let edge =
        "[listener.edge.tls]\ncertificates = [{ certificate = \"/a.pem\", key = \"/a.key\" }]";
    let buffers = 4 * 1024 * ((16 << 10) + 192);
    // Of sessions: keys that are expanded, and records that are not whole.
    let sessions = 4096 * 1_300 + (16 << 20);
    assert_binds(
        &host.diagnose(&with(edge, "builtin = \"echo\""), None),
        "memory",
        ((1 << 30) / 100 * 80 - buffers - 4 * (sessions + 1024 * 13_000)) / (4_248 + 128),
        "(80 % of 1,024 MiB available − 199 MiB buffers and TLS) / 4,376 bytes each",
    );
    let few = format!("{edge}\nhandshakes = 16");
    let app = "servers = [\"db.internal:5432\"]\n[upstream.app.tls]";
    let pipes = 4 * 41 * (1 << 20);
    assert_binds(
        &host.diagnose(&with(&few, app), None),
        "memory",
        ((1 << 30) / 100 * 80 - buffers - pipes - 4 * (sessions + 16 * 13_000)) / (8_368 + 2 * 128),
        "(80 % of 1,024 MiB available − 313 MiB buffers, pipes and TLS) / 8,624 bytes each",
    );
}

#[test]
fn a_memory_limit_of_the_config_replaces_the_share_of_what_is_free() {
    let host = Host::plain();
    let config = relay(100, "memory_limit = \"1GiB\"");
    let diagnosis = host.diagnose(&config, None);
    assert_binds(
        &diagnosis,
        "gateway.memory_limit",
        (1 << 30) / 8_368,
        "1,024 MiB / 8,368 bytes each",
    );
    assert!(limit(&diagnosis, "memory").arithmetic.starts_with("(100 % of 16,384 MiB available"));
}

#[test]
fn clients_that_are_named_or_counted_take_more_than_others() {
    let host = Host::plain();
    let named = "accept_proxy = \"required\"\nproxy_trusted = [\"10.0.0.0/8\"]\n";
    let (most, rate) = ("max_connections = 9", "rate = \"9/s\"");
    for (keys, bytes) in [
        (named.to_owned(), 32),
        (format!("per_source = {{ {most} }}\n"), 4 + 16),
        (format!("per_source = {{ {rate} }}\n"), 16),
        (format!("{named}per_source = {{ {most}, {rate} }}\n"), 32 + 4 + 16 + 16),
    ] {
        let text = format!(
            "[gateway]\nmemory_limit = \"1GiB\"\n[listener.plain]\nbind = [\"127.0.0.1:7000\"]\n\
             upstream = \"app\"\n[listener.edge]\nbind = [\"127.0.0.1:7001\"]\n\
             upstream = \"app\"\n{keys}[upstream.app]\nbuiltin = \"echo\"\n"
        );
        let diagnosis = host.diagnose(&parsed(&text), None);
        let held = limit(&diagnosis, "gateway.memory_limit").connections;
        assert_eq!(held, (1 << 30) / (4_248 + bytes), "{keys}");
    }
}

#[test]
fn a_small_file_limit_bounds_the_rings_and_each_ring() {
    let mut host = Host::plain();
    host.given.files = (256, 256);
    // (256 - 64 - 4 eventfds - 4 passive sockets - 4 decoys - 1 lock) / 4 workers = 44 rings of 128
    // pairs each.
    assert_binds(
        &host.diagnose(&relay(100, ""), None),
        "RLIMIT_NOFILE",
        4 * 44 * 128,
        "4 workers × 44 rings (256 descriptors − 64 reserved − 4 to be woken by − 4 listening − 4 \
         to drain with − 1 of locks) × 128 each (256 slots / 2)",
    );
    // Checks of servers have 64 more.
    let mut config = relay(100, "");
    config.upstreams[0].check = Some(Check::default());
    let bound = host.diagnose(&config, None);
    assert_eq!(limit(&bound, "RLIMIT_NOFILE").connections, 4 * 28 * 128, "{bound}");
    assert!(limit(&bound, "RLIMIT_NOFILE").arithmetic.contains("− 128 reserved −"), "{bound}");
}

#[test]
fn a_file_limit_of_20000_holds_what_files_and_memory_allow() {
    let host = Host::plain();
    let diagnosis = host.diagnose(&relay(100, ""), None);
    assert!(diagnosis.fits > 490_000, "{diagnosis}");
    assert!(limit(&diagnosis, "RLIMIT_NOFILE").connections > 100_000_000);
    assert_eq!(diagnosis.shape.table_entries, 20_000);
    // 497,196 / 4, a quarter and 4,096 more, in rings of 10,000 pairs.
    assert_eq!((diagnosis.shape.workers, diagnosis.shape.rings_per_worker), (4, 14));
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one_and_nr_open_caps_it() {
    let mut host = Host::plain();
    host.given.files = (256, 1_000_000);
    host.set("proc/sys/fs/nr_open", "4096\n");
    assert_eq!(host.facts().files_limit(), 4_096);
    let diagnosis = host.diagnose(&relay(100, ""), None);
    assert_eq!(diagnosis.shape.table_entries, 4_096);
}

#[test]
fn a_table_has_a_million_slots_at_most() {
    let mut host = Host::plain();
    host.given.files = (1 << 30, 1 << 30);
    host.set("proc/sys/fs/nr_open", "1073741824\n");
    let diagnosis = host.diagnose(&relay(100, ""), None);
    assert_eq!((diagnosis.shape.table_entries, diagnosis.shape.rings_per_worker), (1 << 20, 1));
}

#[test]
fn each_of_several_rings_takes_two_buffers() {
    let mut host = Host::plain();
    host.given.files = (1024, 1024);
    let text = "[ring]\nbuffer_count = 8\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\n\
                upstream = \"app\"\n[upstream.app]\nbuiltin = \"echo\"\n";
    assert_binds(
        &host.diagnose(&parsed(text), None),
        "ring.buffer_count",
        4 * 4 * 1024,
        "4 workers × 4 rings (8 buffers / 2 each) × 1,024 each",
    );
}

#[test]
fn rings_are_locked_memory_without_the_capability() {
    let mut host = Host::unprivileged();
    host.given.memlock_bytes = (1 << 20, 4 << 20);
    let diagnosis = host.diagnose(&relay(100, ""), None);
    let binding = diagnosis.binding();
    assert_eq!(binding.name, "RLIMIT_MEMLOCK", "{diagnosis}");
    assert!(binding.arithmetic.starts_with("4,096 KiB of locked memory"), "{binding:?}");
    assert!((10_000..400_000).contains(&diagnosis.fits), "{binding:?}");
    host.given.memlock_bytes = (1 << 20, u64::MAX);
    assert_eq!(host.diagnose(&relay(100, ""), None).binding().name, "fs.file-max");
}

#[test]
fn what_others_of_the_user_have_locked_is_not_there_to_take() {
    let mut host = Host::unprivileged();
    host.given.memlock_bytes = (4 << 20, 4 << 20);
    let alone = host.diagnose(&relay(100, ""), None).fits;
    host.given.locked_elsewhere_bytes = 2 << 20;
    let diagnosis = host.diagnose(&relay(100, ""), Some(alone));
    assert!(diagnosis.fits < alone && !diagnosis.holds(), "{diagnosis}");
    let told = "4,096 KiB of locked memory without CAP_IPC_LOCK − 2,048 KiB of this user's other";
    assert!(diagnosis.binding().arithmetic.starts_with(told), "{diagnosis}");
    assert!(diagnosis.to_string().contains("LimitMEMLOCK=6291456"), "{diagnosis}");
}

#[test]
fn what_a_gateway_that_drains_gives_back_is_there_to_take() {
    let mut host = Host::plain();
    let limit = |host: &Host, name: &str| {
        let diagnosis = host.diagnose(&relay(100, ""), None);
        let limit = diagnosis.limits.iter().find(|limit| limit.name == name).cloned();
        limit.expect("there is such a limit")
    };
    let (files, memory) = (limit(&host, "fs.file-max"), limit(&host, "memory"));
    host.given.leaving_connections = 10_000;
    let (more_files, more_memory) = (limit(&host, "fs.file-max"), limit(&host, "memory"));
    assert_eq!(more_files.connections, files.connections + 10_000);
    let more = more_memory.connections - memory.connections;
    assert!((7_990..=8_010).contains(&more), "80 % of 10,000: {more}");
    let told = "in use + 20,000 of a gateway that drains − ";
    assert!(more_files.arithmetic.contains(told), "{more_files:?}");
    assert!(more_memory.arithmetic.contains(" of a gateway that drains − "), "{more_memory:?}");
}

#[test]
fn sixty_four_kilobytes_of_locked_memory_hold_nobody() {
    let mut host = Host::unprivileged();
    host.given.memlock_bytes = (64 << 10, 64 << 10);
    let diagnosis = host.diagnose(&echo(""), None);
    assert_eq!((diagnosis.binding().name, diagnosis.fits), ("RLIMIT_MEMLOCK", 0));
}

#[test]
fn ports_to_connect_from_for_each_pair_of_source_and_server() {
    let host = Host::plain();
    let ports = |servers| host.diagnose(&relay(servers, ""), None);
    assert_binds(
        &ports(1),
        "source ports",
        28_232,
        "28,232 ports (32768 to 60999, 0 reserved) × 1 pair of source and server",
    );
    assert_eq!(ports(3).fits, 3 * 28_232);
    host.set("proc/sys/net/ipv4/ip_local_reserved_ports", "80,33000-33099,60999,60999\n");
    assert!(limit(&ports(1), "source ports").arithmetic.starts_with("28,130 ports"));
    assert!(host.diagnose(&echo(""), None).limits.iter().all(|one| one.name != "source ports"));
}

#[test]
fn one_server_under_two_upstreams_has_its_ports_once() {
    let host = Host::plain();
    let config = |second: &str| {
        parsed(&format!(
            "[listener.a]\nbind = [\"127.0.0.1:0\"]\nupstream = \"a\"\n\
             [listener.b]\nbind = [\"127.0.0.1:0\"]\nupstream = \"b\"\n\
             [upstream.a]\nservers = [\"10.0.0.1:9000\"]\n[upstream.b]\n{second}\n"
        ))
    };
    let held = |second| {
        let diagnosis = host.diagnose(&config(second), None);
        let ports = limit(&diagnosis, "source ports");
        (ports.connections, ports.force)
    };
    assert_eq!(held("servers = [\"10.0.0.1:9000\"]"), (28_232, Force::Hard));
    let elsewhere = "servers = [\"10.0.0.1:9000\"]\nsource_addresses = [\"10.0.0.9\"]";
    assert_eq!(held(elsewhere), (2 * 28_232, Force::Hard));
    // Clients of the echo need no port, so ports do not bound all clients.
    assert_eq!(held("builtin = \"echo\""), (28_232, Force::Advisory));
}

#[test]
fn tracked_connections_and_queued_bytes_are_advice() {
    let host = Host::plain();
    host.set("proc/sys/net/netfilter/nf_conntrack_max", "262144\n");
    host.set("proc/sys/net/netfilter/nf_conntrack_count", "144\n");
    let diagnosis = host.diagnose(&relay(100, "max_connections = 400_000"), None);
    let tracked = limit(&diagnosis, "nf_conntrack_max");
    assert_eq!((tracked.connections, tracked.force), (131_000, Force::Advisory));
    let queued = limit(&diagnosis, "tcp_mem");
    assert_eq!((queued.connections, queued.force), (600_000, Force::Advisory));
    assert!(diagnosis.holds() && diagnosis.max_connections() == 400_000);
    let exceeded: Vec<_> = diagnosis.exceeded().map(|limit| limit.name).collect();
    assert_eq!(exceeded, ["nf_conntrack_max"]);
    host.set("proc/sys/net/netfilter/nf_conntrack_count", "0\n");
    let untracked = host.diagnose(&relay(100, "max_connections = 400_000"), None);
    assert_eq!(untracked.exceeded().count(), 0);
}

#[test]
fn a_worker_names_sixteen_million_connections() {
    let mut host = Host::plain();
    host.given.files = (1 << 20, 1 << 20);
    host.set("proc/sys/fs/file-nr", "0\t0\t9223372036854775807\n");
    host.set("proc/meminfo", "MemAvailable: 9000000000000 kB\n");
    assert_binds(
        &host.diagnose(&echo("workers = 2"), None),
        "gateway.workers",
        2 << 24,
        "min(2 workers × 16,777,216 each, 100,000,000 in all)",
    );
    assert_eq!(host.diagnose(&echo("workers = 9"), None).fits, 100_000_000);
}

#[test]
fn no_io_uring_holds_nobody() {
    let mut host = Host::plain();
    host.given.kernel.refused = Some("a seccomp filter refuses io_uring: allow it".into());
    let diagnosis = host.diagnose(&Config::embedded(), Some(1));
    assert_eq!((diagnosis.binding().name, diagnosis.holds()), ("io_uring", false));
    assert!(diagnosis.refusal().contains("a seccomp filter"), "{}", diagnosis.refusal());
}

#[test]
fn source_addresses_need_a_kernel_that_binds() {
    let mut host = Host::plain();
    host.given.kernel.source_addresses = false;
    assert!(host.diagnose(&relay(1, ""), None).holds());
    let text = "[listener.a]\nbind = [\"127.0.0.1:0\"]\nupstream = \"a\"\n[upstream.a]\n\
                servers = [\"10.0.0.1:9000\"]\nsource_addresses = [\"10.0.0.9\"]\n";
    let diagnosis = host.diagnose(&parsed(text), None);
    assert_eq!((diagnosis.binding().name, diagnosis.fits), ("io_uring", 0));
}

#[test]
fn a_number_that_does_not_fit_is_refused_with_the_arithmetic_and_the_remedy() {
    let host = Host::plain();
    let diagnosis = host.diagnose(&relay(1, ""), Some(50_000));
    assert!(!diagnosis.holds());
    let refusal = diagnosis.refusal();
    for words in [
        "28,232 = min(source ports 28,232, fs.file-max 497,196, ",
        "28,232 ports (32768 to 60999, 0 reserved) × 1 pair",
        "To hold 50,000: sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"",
    ] {
        assert!(refusal.contains(words), "{refusal}");
    }
}

#[test]
fn a_number_in_the_config_is_not_refused_for_want_of_ports_but_warned_about() {
    let diagnosis = Host::plain().diagnose(&relay(1, "max_connections = 50_000"), None);
    assert!(diagnosis.holds());
    let exceeded: Vec<_> = diagnosis.exceeded().map(|limit| limit.name).collect();
    assert_eq!(exceeded, ["source ports"]);
}

#[test]
fn the_question_of_the_command_line_goes_before_the_config() {
    let host = Host::plain();
    let config = relay(1, "max_connections = 50_000");
    assert!(host.diagnose(&config, Some(28_232)).holds());
    assert!(!host.diagnose(&config, Some(28_233)).holds());
}

#[test]
fn an_empty_host_is_bounded_by_what_is_assumed() {
    let mut host = Host::plain();
    host.given.files = (1024, 1024);
    let root = tempfile::tempdir().expect("a directory");
    let facts = portcullis::host::facts::Facts::read(root.path(), host.given.clone());
    assert!(facts.unread.len() > 5, "{:?}", facts.unread);
    let diagnosis = Diagnosis::new(facts, &echo(""), None);
    assert_eq!(diagnosis.binding().name, "memory", "{diagnosis}");
    assert!(diagnosis.binding().arithmetic.contains("1,024 MiB assumed"), "{diagnosis}");
}

#[test]
fn over_epoll_descriptors_bound_all_connections_together() {
    let mut host = Host::plain();
    host.given.files = (20_000, 20_000);
    host.given.kernel = Kernel::over_epoll(Some("a filter refuses io_uring: allow it".into()));
    let diagnosis = host.diagnose(&relay(100, ""), None);
    let limit = limit(&diagnosis, "RLIMIT_NOFILE");
    assert!((9_800..10_000).contains(&limit.connections), "{limit:?}");
    assert!(limit.arithmetic.ends_with("/ 2 sockets a connection, over epoll"), "{limit:?}");
    for other in ["RLIMIT_MEMLOCK", "ring.buffer_count", "io_uring"] {
        assert!(diagnosis.limits.iter().all(|one| one.name != other), "{other}");
    }
}

fn over_epoll() -> Host {
    let mut host = Host::plain();
    host.given.kernel = Kernel::over_epoll(None);
    host
}

#[test]
fn over_epoll_every_socket_takes_a_watch_of_the_user() {
    let host = over_epoll();
    let watches = "fs.epoll.max_user_watches";
    let without = host.diagnose(&relay(100, ""), None);
    assert!(without.limits.iter().all(|one| one.name != watches), "where nobody says");
    host.set("proc/sys/fs/epoll/max_user_watches", "5008\n");
    let diagnosis = host.diagnose(&relay(100, ""), None);
    // Of 5,008 the wakers and the passive sockets of 4 workers take 8; then 2 a connection.
    assert_eq!((diagnosis.binding().name, diagnosis.binding().connections), (watches, 2_500));
    let asked = host.diagnose(&relay(100, "max_connections = 4000"), None);
    assert!(!asked.holds(), "{asked}");
    assert!(asked.to_string().contains("sysctl -w fs.epoll.max_user_watches=16000"), "{asked}");
    let mut other = Host::plain();
    other.given.kernel.epoll = false;
    other.set("proc/sys/fs/epoll/max_user_watches", "5008\n");
    let over_io_uring = other.diagnose(&relay(100, ""), None);
    assert!(over_io_uring.limits.iter().all(|one| one.name != watches), "{over_io_uring}");
}

#[test]
fn over_epoll_clients_who_are_reset_at_the_limit_have_descriptors_too() {
    let mut host = over_epoll();
    host.given.files = (1_024, 1_024);
    let found = |config: &Config| limit(&host.diagnose(config, None), "RLIMIT_NOFILE").clone();
    let text = |policy: &str| {
        let listener = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n";
        format!("{listener}{policy}\n[upstream.app]\nbuiltin = \"echo\"\n")
    };
    let queue = found(&parsed(&text("")));
    let reset = found(&parsed(&text("at_limit = \"reset\"")));
    assert!(!queue.arithmetic.contains("reset at the limit"), "{queue:?}");
    assert!(reset.arithmetic.contains(" of clients reset at the limit"), "{reset:?}");
    assert!((600..queue.connections).contains(&reset.connections), "{reset:?}");
}

#[test]
fn where_passive_sockets_of_all_cores_take_every_descriptor_fewer_workers_hold() {
    let mut host = Host::plain();
    host.given.files = (1_024, 1_024);
    let binds: Vec<String> = (0..300).map(|nth| format!("\"127.0.0.1:{}\"", 7000 + nth)).collect();
    let config = |workers: &str| {
        parsed(&format!(
            "[gateway]\n{workers}\n[listener.edge]\nbind = [{}]\nupstream = \"app\"\n\
             [upstream.app]\nbuiltin = \"echo\"\n",
            binds.join(", ")
        ))
    };
    let diagnosis = host.diagnose(&config(""), None);
    assert_eq!((diagnosis.shape.workers, diagnosis.holds()), (1, true), "{diagnosis}");
    assert!(diagnosis.to_string().contains("memory and descriptors suffice for 1 worker"));
    assert!(!host.diagnose(&config("workers = 2"), None).holds());
}
