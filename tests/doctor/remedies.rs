//! What lifts each limit, and that it does.

use portcullis::doctor::Remedy;

use crate::host::{Host, echo, parsed, relay};

/// The commands without which `connections` do not fit.
fn must(host: &Host, config: &portcullis::config::Config, connections: u64) -> Vec<String> {
    let diagnosis = host.diagnose(config, Some(connections));
    diagnosis.prescription.must.iter().map(|remedy| remedy.command(false)).collect()
}

#[test]
fn what_fits_needs_no_change() {
    let host = Host::plain();
    assert_eq!(must(&host, &echo(""), 900_000), [""; 0]);
}

#[test]
fn file_max_is_raised_to_what_is_needed() {
    let host = Host::plain();
    let commands = must(&host, &relay(100, ""), 1_000_000);
    assert_eq!(commands, ["sysctl -w fs.file-max=2005608"]);
    host.set("proc/sys/fs/file-nr", "1000\t0\t2005608\n");
    assert!(host.diagnose(&relay(100, ""), Some(1_000_000)).holds());
}

#[test]
fn ports_are_widened_and_servers_added() {
    let host = Host::plain();
    let commands = must(&host, &relay(1, ""), 100_000);
    assert_eq!(commands[0], "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"");
    assert_eq!(commands[1], "sysctl -w net.ipv4.ip_local_reserved_ports=7000");
    assert!(commands[2].starts_with("add 1 server address or port: 100,000"), "{commands:?}");
    host.set("proc/sys/net/ipv4/ip_local_port_range", "1024\t65535\n");
    host.set("proc/sys/net/ipv4/ip_local_reserved_ports", "7000\n");
    assert!(host.diagnose(&relay(2, ""), Some(100_000)).holds());
}

#[test]
fn descriptors_are_raised_with_nr_open_where_it_caps_them() {
    let mut host = Host::plain();
    host.given.files = (256, 256);
    host.set("proc/sys/fs/nr_open", "256\n");
    let commands = must(&host, &relay(100, ""), 400_000);
    assert_eq!(commands, ["sysctl -w fs.nr_open=4096", "ulimit -n 4096"]);
    host.given.files = (4096, 4096);
    host.set("proc/sys/fs/nr_open", "4096\n");
    assert!(host.diagnose(&relay(100, ""), Some(400_000)).holds());
}

#[test]
fn buffers_are_added_where_the_rings_lack_them() {
    let mut host = Host::plain();
    host.given.files = (4096, 4096);
    let config = |buffers: u32| {
        parsed(&format!(
            "[ring]\nbuffer_count = {buffers}\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\n\
             upstream = \"app\"\n[upstream.app]\nbuiltin = \"echo\"\n"
        ))
    };
    let commands = must(&host, &config(8), 900_000);
    assert_eq!(commands, ["in the config file: ring.buffer_count = 110"]);
    assert!(host.diagnose(&config(110), Some(900_000)).holds());
}

#[test]
fn locked_memory_is_raised_to_what_is_needed() {
    let mut host = Host::unprivileged();
    host.given.memlock_bytes = (64 << 10, 64 << 10);
    let diagnosis = host.diagnose(&echo(""), Some(100_000));
    let [Remedy::Unit { key, value, .. }] = &diagnosis.prescription.must[..] else {
        panic!("{:?}", diagnosis.prescription.must)
    };
    assert_eq!(key, "LimitMEMLOCK");
    host.given.memlock_bytes.1 = value.parse().expect("bytes");
    assert!(host.diagnose(&echo(""), Some(100_000)).holds());
}

#[test]
fn memory_is_given_by_config_machine_or_cgroup() {
    let host = Host::plain();
    host.set("proc/meminfo", "MemAvailable: 1048576 kB\n");
    let commands = must(&host, &echo(""), 210_000);
    assert_eq!(commands, ["in the config file: gateway.memory_limit = \"851MiB\""]);
    assert!(host.diagnose(&echo("memory_limit = \"851MiB\""), Some(210_000)).holds());
    let commands = must(&host, &echo(""), 900_000);
    assert!(commands[0].starts_with("have 4,639 MiB of memory available"), "{commands:?}");
    let host = Host::plain();
    host.set("proc/self/mountinfo", "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    host.set("sys/fs/cgroup/memory.max", "1073741824\n");
    let diagnosis = host.diagnose(&echo(""), Some(900_000));
    let [Remedy::Unit { key, value, .. }] = &diagnosis.prescription.must[..] else {
        panic!("{:?}", diagnosis.prescription.must)
    };
    assert_eq!(key, "MemoryMax");
    host.set("sys/fs/cgroup/memory.max", value);
    assert!(host.diagnose(&echo(""), Some(900_000)).holds());
}

#[test]
fn a_memory_limit_and_too_few_workers_are_set_in_the_config() {
    let host = Host::plain();
    let commands = must(&host, &echo("memory_limit = \"64MiB\""), 100_000);
    assert_eq!(commands, ["in the config file: gateway.memory_limit = \"406MiB\""]);
    let commands = must(&host, &echo("workers = 1"), 20_000_000);
    assert!(commands.contains(&"in the config file: gateway.workers = 2".into()), "{commands:?}");
    let commands = must(&host, &echo(""), 200_000_000);
    assert!(commands.iter().any(|one| one.contains("several gateways")), "{commands:?}");
}

#[test]
fn advice_stands_apart_and_each_setting_once() {
    let host = Host::plain();
    host.set("proc/sys/net/core/somaxconn", "4096\n");
    let text = "[listener.a]\nbind = [\"127.0.0.1:0\"]\nupstream = \"e\"\nbacklog = 5000\n\
                [listener.b]\nbind = [\"127.0.0.1:0\"]\nupstream = \"e\"\nbacklog = 65535\n\
                [upstream.e]\nbuiltin = \"echo\"\n";
    let prescription = host.diagnose(&parsed(text), Some(700_000)).prescription;
    assert_eq!(prescription.must, []);
    let should: Vec<String> = prescription.should.iter().map(|one| one.command(false)).collect();
    let tcp_mem = "sysctl -w net.ipv4.tcp_mem=\"350050 466732 700100\"";
    assert_eq!(should, [tcp_mem, "sysctl -w net.core.somaxconn=65535"]);
    assert_eq!(
        prescription.sysctl_fragment().as_deref(),
        Some("net.ipv4.tcp_mem = 350050 466732 700100\nnet.core.somaxconn = 65535\n")
    );
    assert_eq!(prescription.systemd_fragment(), None);
}
