//! A host whose kernel has no IPv6: a listener of both families serves the one that there is.

use std::net::{IpAddr, Ipv4Addr};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::network::{free_port, has_ipv6};

/// Runs a test in a thread, and with it the programs that it starts, to which socket(2) says what
/// it says after a boot with ipv6.disable=1.
fn without_ipv6(test: impl FnOnce() + Send) {
    let is_ipv6 =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::AF_INET6 as u64);
    let rule = SeccompRule::new(vec![is_ipv6.expect("a condition")]).expect("a rule");
    let filter = SeccompFilter::new(
        [(libc::SYS_socket, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EAFNOSUPPORT as u32),
        std::env::consts::ARCH.try_into().expect("an architecture with seccomp"),
    );
    let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
    let outcome = std::thread::scope(|scope| {
        let filtered = scope.spawn(move || {
            apply_filter(&program).expect("a filter needs no privilege");
            assert!(!has_ipv6());
            test();
        });
        filtered.join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn echo_on(bind: &[String]) -> String {
    format!(
        "[listener.edge]\nbind = {bind:?}\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n[status]\nbind = \"off\"\n"
    )
}

#[test]
fn a_star_serves_ipv4_and_says_so_in_one_line() {
    without_ipv6(|| {
        let port = free_port();
        let gateway = Gateway::start(&echo_on(&[format!("*:{port}")]));
        client::echo(&client::connect((IpAddr::V4(Ipv4Addr::LOCALHOST), port).into()), 1, 1_000);
        let address = format!("[::]:{port}");
        let lines: Vec<String> =
            gateway.lines().into_iter().filter(|line| line.contains(&address)).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("WARN") && lines[0].contains("has no IPv6"), "{lines:?}");
        gateway.wait_for_ended(1);
        gateway.stop().expect(&[("closed-by-client", 1)]);
    });
}

#[test]
fn an_address_that_nothing_stands_in_for_is_refused_with_what_to_write() {
    without_ipv6(|| {
        let port = free_port();
        let wildcards = [format!("[::]:{port}"), format!("[::]:{}", free_port())];
        let single = [format!("0.0.0.0:{port}"), format!("[::1]:{}", free_port())];
        for (bind, told) in [
            (&wildcards[..1], format!("write \"0.0.0.0:{port}\"")),
            (&wildcards[..], format!("write \"0.0.0.0:{port}\"")),
            (&single[..], "this host has no IPv6".to_owned()),
        ] {
            let (status, lines) = Gateway::launch(Some(&echo_on(bind)), None).ended_by_itself();
            assert_eq!(status.code(), Some(1), "{lines:?}");
            assert!(lines.iter().any(|line| line.contains(&told)), "{told}: {lines:?}");
        }
    });
}
