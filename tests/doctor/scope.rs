//! Whose a limit is: the host's, the network namespace's, the container's, the process's.

use portcullis::doctor::Scope;
use portcullis::host::facts::Namespace;

use crate::host::{Host, limit, relay};

/// Figures of the whole machine are not shown to a network namespace of one's own.
fn own_network() -> Host {
    let host = Host::plain();
    host.remove("proc/sys/net/ipv4/tcp_mem");
    host
}

#[test]
fn a_network_namespace_of_its_own_is_told_from_the_hosts() {
    let plain = Host::plain();
    assert_eq!(plain.facts().network.namespace, Namespace::Host);
    let diagnosis = plain.diagnose(&relay(1, ""), None);
    assert_eq!(limit(&diagnosis, "source ports").scope, Scope::Host);
    let own = own_network();
    assert_eq!(own.facts().network.namespace, Namespace::Own);
    let diagnosis = own.diagnose(&relay(1, ""), None);
    assert_eq!(limit(&diagnosis, "source ports").scope, Scope::NetworkNamespace);
    assert!(diagnosis.limits.iter().all(|limit| limit.name != "tcp_mem"));
    own.remove("proc/sys/net/core/somaxconn");
    assert_eq!(own.facts().network.namespace, Namespace::Unknown);
}

#[test]
fn each_limit_says_whose_it_is() {
    let diagnosis = Host::plain().diagnose(&relay(1, "memory_limit = \"1GiB\""), None);
    for (name, scope) in [
        ("fs.file-max", Scope::Host),
        ("memory", Scope::Host),
        ("tcp_mem", Scope::Host),
        ("RLIMIT_NOFILE", Scope::Process),
        ("gateway.memory_limit", Scope::Config),
        ("ring.buffer_count", Scope::Config),
    ] {
        assert_eq!(limit(&diagnosis, name).scope, scope, "{name}");
    }
}

#[test]
fn a_container_is_known_by_its_namespaces_or_its_marker() {
    let host = Host::plain();
    assert!(!host.facts().process.container);
    host.set(".dockerenv", "");
    assert!(!host.facts().process.container, "the first pid namespace is no container's");
    host.link("proc/self/ns/pid", "pid:[4026532001]");
    assert!(host.facts().process.container);
    host.remove("proc/self/ns/pid");
    assert!(host.facts().process.container, "by its marker");
    let host = Host::plain();
    host.link("proc/self/ns/user", "user:[4026532001]");
    assert!(host.facts().process.container);
}

#[test]
fn capabilities_in_another_user_namespace_do_not_lift_locked_memory() {
    let host = Host::plain();
    assert_eq!(host.facts().process.memlock_bytes, None);
    host.link("proc/self/ns/user", "user:[4026532001]");
    assert_eq!(host.facts().process.memlock_bytes, Some(8 << 20));
}

#[test]
fn commands_say_where_they_are_to_be_run() {
    let host = own_network();
    host.link("proc/self/ns/pid", "pid:[4026532001]");
    let diagnosis = host.diagnose(&relay(100, ""), Some(1_000_000));
    let commands: Vec<String> =
        diagnosis.prescription.must.iter().map(|one| one.command(true)).collect();
    let files = "sysctl -w fs.file-max=2005608  # on the host, not in the container";
    assert!(commands.iter().any(|command| command == files), "{commands:#?}");
    let diagnosis = host.diagnose(&relay(20, ""), Some(1_000_000));
    let ports = "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"  # in this network \
                 namespace (docker: --sysctl)";
    let text = diagnosis.to_string();
    assert!(text.contains(ports), "{text}");
}
