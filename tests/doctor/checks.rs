//! What does not bound connections: each check, well and not well.

use portcullis::doctor::{Diagnosis, Verdict, effective_backlog};
use portcullis::host::facts::Kernel;

use crate::host::{Host, echo, parsed, relay};

/// Verdict and words of the check of that name.
fn check(diagnosis: &Diagnosis, name: &str) -> (Verdict, String) {
    let found = diagnosis.checks.iter().find(|check| check.name == name);
    let found = found.unwrap_or_else(|| panic!("no check {name} in {diagnosis}"));
    (found.verdict, found.says.clone())
}

/// The commands of the check of that name.
fn commands(diagnosis: &Diagnosis, name: &str) -> Vec<String> {
    let found = diagnosis.checks.iter().filter(|check| check.name == name);
    found.flat_map(|check| &check.remedies).map(|remedy| remedy.command(false)).collect()
}

#[test]
fn a_plain_host_has_nothing_to_warn_of() {
    let diagnosis = Host::plain().diagnose(&relay(100, ""), None);
    let warned = diagnosis.checks.iter().filter(|check| check.verdict == Verdict::Warning);
    assert_eq!(warned.count(), 0, "{diagnosis}");
}

#[test]
fn a_backlog_is_counted_per_passive_socket_and_in_all() {
    let host = Host::plain();
    let config = parsed(
        "[gateway]\nworkers = 3\n[listener.edge]\nbind = [\"*:7000\"]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n",
    );
    let (verdict, says) = check(&host.diagnose(&config, None), "backlog of edge");
    assert_eq!(verdict, Verdict::Good);
    assert_eq!(says, "65,535 clients may wait at each of 6 passive sockets, 393,210 in all");
    host.set("proc/sys/net/core/somaxconn", "4096\n");
    let diagnosis = host.diagnose(&config, None);
    assert_eq!(effective_backlog(&diagnosis.facts, &config.listeners[0]), 4096);
    let (verdict, says) = check(&diagnosis, "backlog of edge");
    assert_eq!((verdict, says.contains("24,576 in all")), (Verdict::Good, true), "{says}");
    assert!(diagnosis.checks.iter().all(|one| one.name != "net.core.somaxconn"), "{diagnosis}");
}

#[test]
fn one_warning_names_all_listeners_whose_chosen_backlog_is_cut() {
    let listener = |name: &str, port: u16, backlog: &str| {
        format!(
            "[listener.{name}]\nbind = [\"127.0.0.1:{port}\"]\nupstream = \"app\"\n\
             backlog = {backlog}\n"
        )
    };
    let config = [
        listener("one", 7001, "5000"),
        listener("two", 7002, "65535"),
        listener("small", 7003, "100"),
        listener("any", 7004, "\"auto\""),
        "[upstream.app]\nbuiltin = \"echo\"\n".to_owned(),
    ];
    let host = Host::plain();
    host.set("proc/sys/net/core/somaxconn", "4096\n");
    let diagnosis = host.diagnose(&parsed(&config.concat()), None);
    let warned = diagnosis.checks.iter().filter(|one| one.verdict == Verdict::Warning);
    let warned: Vec<&str> = warned.map(|one| one.name.as_str()).collect();
    assert_eq!(warned, ["net.core.somaxconn"], "{diagnosis}");
    let (_, says) = check(&diagnosis, "net.core.somaxconn");
    assert_eq!(says, "it cuts the backlog of one, two");
    let commands = commands(&diagnosis, "net.core.somaxconn");
    assert_eq!(commands, ["sysctl -w net.core.somaxconn=65535"]);
    let (verdict, says) = check(&diagnosis, "backlog of one");
    assert!(verdict == Verdict::Note && says.ends_with("cuts it from 5,000"), "{says}");
}

#[test]
fn a_ring_that_can_do_more_than_it_is_used_for_is_warned_of() {
    let name = "operations of rings";
    let mut host = Host::plain();
    for (confines, how) in [(false, "by ring"), (true, "by thread")] {
        host.given.kernel.confines = confines;
        let diagnosis = host.diagnose(&echo(""), None);
        assert_eq!(check(&diagnosis, name).0, Verdict::Good);
        assert!(diagnosis.to_string().contains(how), "{diagnosis}");
    }
    host.given.kernel.unrestricted = Some("EPERM".into());
    let diagnosis = host.diagnose(&echo(""), None);
    assert_eq!(check(&diagnosis, name).0, Verdict::Warning);
    let words = commands(&diagnosis, name).concat();
    assert!(words.contains("EPERM") && words.contains("RESTRICTIONS"), "{words}");
    host.given.kernel = Kernel::over_epoll(None);
    let diagnosis = host.diagnose(&echo(""), None);
    assert!(diagnosis.checks.iter().all(|one| one.name != name), "no ring: {diagnosis}");
}

#[test]
fn bulk_is_copied_where_descriptors_or_the_pages_of_pipes_are_short() {
    let name = "ring.splice_pipes";
    let host = Host::plain();
    host.set("proc/sys/fs/pipe-user-pages-soft", "16384\n");
    let bound = |host: &Host, config| {
        let diagnosis = host.diagnose(&config, Some(1000));
        let about = diagnosis.checks.iter().any(|check| check.name == name);
        about.then(|| (check(&diagnosis, name), commands(&diagnosis, name)))
    };
    assert_eq!(bound(&host, relay(1, "")), None, "who may do everything is not bound");

    let host = Host::unprivileged();
    host.set("proc/sys/fs/pipe-user-pages-soft", "16384\n");
    // 4 workers x 64 pipes x 256 pages.
    let ((verdict, says), commands) = bound(&host, relay(1, "")).expect("a check");
    assert_eq!(verdict, Verdict::Note);
    assert!(says.contains("may hold 16,384 pages and ours 65,536"), "{says}");
    assert_eq!(commands, ["sysctl -w fs.pipe-user-pages-soft=65536"]);
    assert_eq!(bound(&host, echo("")), None, "nothing is spliced");
    host.set("proc/sys/fs/pipe-user-pages-soft", "0\n");
    assert_eq!(bound(&host, relay(1, "")), None, "0 is no limit");

    let mut host = Host::plain();
    host.given.files = (1024, 1024);
    // 64 and 10 of the process, a lock, and 4 workers x (1 wake-up, 1 listener, 1 to drain with, 1
    // ring, 4 x 64 of pipes, 128).
    let ((_, says), commands) = bound(&host, relay(1, "")).expect("a check");
    assert!(says.contains("for want of descriptors"), "{says}");
    assert_eq!(commands, ["ulimit -n 1627"]);
}

#[test]
fn syns_are_lost_without_cookies() {
    let host = Host::plain();
    host.set("proc/sys/net/ipv4/tcp_syncookies", "0\n");
    let (verdict, says) = check(&host.diagnose(&echo(""), None), "net.ipv4.tcp_syncookies");
    assert!(verdict == Verdict::Warning && says.contains("more than 2,048"), "{says}");
}

#[test]
fn waiting_clients_move_when_migration_is_on() {
    let host = Host::plain();
    let name = "net.ipv4.tcp_migrate_req";
    assert_eq!(check(&host.diagnose(&echo(""), None), name).0, Verdict::Good);
    host.set("proc/sys/net/ipv4/tcp_migrate_req", "0\n");
    assert_eq!(check(&host.diagnose(&echo(""), None), name).0, Verdict::Note);
    host.remove("proc/sys/net/ipv4/tcp_migrate_req");
    let diagnosis = host.diagnose(&echo(""), None);
    assert!(diagnosis.checks.iter().all(|check| check.name != name));
    assert_eq!(diagnosis.facts.unread, [""; 0], "an older kernel has no such file");
}

#[test]
fn resting_ports_bound_the_connections_a_second() {
    let host = Host::plain();
    let name = "net.ipv4.tcp_tw_reuse";
    for (value, verdict) in [("0", Verdict::Warning), ("1", Verdict::Good), ("2", Verdict::Note)] {
        host.set("proc/sys/net/ipv4/tcp_tw_reuse", value);
        assert_eq!(check(&host.diagnose(&relay(2, ""), None), name).0, verdict, "{value}");
    }
    let (_, says) = check(&host.diagnose(&relay(2, ""), None), name);
    assert!(says.contains("941 connections a second"), "{says}");
    let builtin = host.diagnose(&echo(""), None);
    assert!(builtin.checks.iter().all(|check| check.name != name));
}

#[test]
fn a_listeners_port_among_the_outgoing_ones_is_to_be_reserved() {
    let host = Host::plain();
    host.set("proc/sys/net/ipv4/ip_local_port_range", "1024\t65535\n");
    host.set("proc/sys/net/ipv4/ip_local_reserved_ports", "8080\n");
    let name = "net.ipv4.ip_local_port_range";
    let diagnosis = host.diagnose(&relay(1, ""), None);
    let (verdict, says) = check(&diagnosis, name);
    assert!(verdict == Verdict::Warning && says.ends_with("a listener's port: 7000"), "{says}");
    let reserve = "sysctl -w net.ipv4.ip_local_reserved_ports=\"8080,7000\"";
    assert_eq!(commands(&diagnosis, name), [reserve]);
    host.set("proc/sys/net/ipv4/ip_local_reserved_ports", "7000-7010\n");
    assert_eq!(check(&host.diagnose(&relay(1, ""), None), name).0, Verdict::Good);
}

#[test]
fn a_quota_and_few_tasks_are_said() {
    let host = Host::plain();
    let mount = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    host.set("proc/self/mountinfo", mount);
    host.set("sys/fs/cgroup/cpu.max", "250000 100000\n");
    host.set("sys/fs/cgroup/pids.max", "20\n");
    host.set("sys/fs/cgroup/pids.current", "10\n");
    let diagnosis = host.diagnose(&echo(""), None);
    let (verdict, says) = check(&diagnosis, "cores");
    assert_eq!(
        (verdict, says.as_str()),
        (Verdict::Note, "the cgroup's quota is 2.5 of them: 2 workers")
    );
    assert_eq!(check(&diagnosis, "tasks of the cgroup").0, Verdict::Warning);
    let set = "systemctl set-property portcullis.service TasksMax=44";
    assert_eq!(commands(&diagnosis, "tasks of the cgroup"), [set]);
}

#[test]
fn a_filter_and_a_forbidden_io_uring_are_said() {
    let mut host = Host::plain();
    host.set("proc/self/status", "CapEff:\t0\nSeccomp:\t2\nCpus_allowed_list:\t0\n");
    host.set("proc/sys/kernel/io_uring_disabled", "1\n");
    let diagnosis = host.diagnose(&echo(""), None);
    assert_eq!(check(&diagnosis, "seccomp").0, Verdict::Note);
    assert_eq!(check(&diagnosis, "kernel.io_uring_disabled").0, Verdict::Good);
    host.given.kernel.refused = Some("forbidden".into());
    let diagnosis = host.diagnose(&echo(""), None);
    assert_eq!(check(&diagnosis, "kernel.io_uring_disabled").0, Verdict::Warning);
    assert_eq!(check(&diagnosis, "kernel").0, Verdict::Warning);
    host.given.kernel.refused = None;
    host.given.kernel.addresses = false;
    assert_eq!(check(&host.diagnose(&echo(""), None), "kernel").0, Verdict::Note);
}

#[test]
fn what_cannot_be_read_is_named() {
    let host = Host::plain();
    host.remove("proc/sys/fs/file-nr");
    let diagnosis = host.diagnose(&echo(""), None);
    assert_eq!(diagnosis.facts.unread, ["proc/sys/fs/file-nr"]);
    assert_eq!(check(&diagnosis, "unread").0, Verdict::Warning);
}

#[test]
fn a_wait_for_batches_is_without_effect_over_epoll() {
    let mut host = Host::plain();
    let config = relay(1, "workers = 2\n[ring]\nbatch_wait = \"200us\"");
    let is_there = |host: &Host| {
        let diagnosis = host.diagnose(&config, None);
        let mut checks = diagnosis.checks.iter();
        checks.any(|one| one.name == "ring.batch_wait" && one.verdict == Verdict::Warning)
    };
    assert!(!is_there(&host));
    host.given.kernel = Kernel::over_epoll(None);
    assert!(is_there(&host));
}
