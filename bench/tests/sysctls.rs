//! Sysctls are told, set for a run, and put back however it ends; in a network of the test's own.

#[path = "../../tests/gateway/support/network.rs"]
#[allow(dead_code, reason = "the gateway's tests use all of it")]
mod network;
mod support;

use std::fs::{read_to_string, write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use network::in_own_network;
use nix::sys::signal::Signal;
use support::{Run, bench, echo, server, stay};

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const NARROW: &str = "40000\t40099\n";

/// One source and one target: as many connections as there are ports.
const MANY: &[&str] = &["--connections", "150", "--sources", "127.0.0.1"];
const APPLY: &[&str] = &["--apply-sysctls", "--linger", "0s"];
const SHORT: &[&str] = &["--hold", "0s"];

/// Runs the test where only 100 ports are given to connections.
fn in_narrow_network(test: impl FnOnce() + Send) {
    in_own_network(|own| {
        if !own {
            return; // `in_own_network` has said so: sysctls of a shared host are not touched.
        }
        write(RANGE, NARROW).expect("our own range");
        test();
        assert_eq!(read_to_string(RANGE).expect("our own range"), NARROW);
        assert_eq!(read_to_string(RESERVED).expect("our own ports"), "\n");
    });
}

fn hold(target: SocketAddr, more: &[&[&str]]) -> Command {
    let target = target.to_string();
    let mut command = bench(&["hold", "--target", &target, "--max-lag", "1m", "--threads", "1"]);
    command.args(more.concat());
    command
}

#[test]
fn too_few_ports_are_refused_with_the_command_and_the_flag() {
    in_narrow_network(|| {
        let ended = Run::begin(hold(server(echo), &[MANY, SHORT])).end();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        for words in
            ["150 connections do not fit", "--apply-sysctls", "sysctl -w net.ipv4.ip_local_port"]
        {
            assert!(ended.errors.contains(words), "{ended:?}");
        }
    });
}

#[test]
fn what_a_run_needs_is_set_while_it_lasts() {
    in_narrow_network(|| {
        let ended = Run::begin(hold(server(echo), &[MANY, APPLY, SHORT])).end();
        assert!(matches!(ended.code, Some(0 | 3)), "{ended:?}");
        assert_eq!(ended.result()["counts"]["closed_clean"], 150, "{ended:?}");
    });
}

#[test]
fn a_run_that_fails_puts_everything_back() {
    in_narrow_network(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let ended = Run::begin(hold(address, &[MANY, APPLY, SHORT])).end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.errors.contains("ip_local_port_range = 1024 65535"), "{ended:?}");
    });
}

#[test]
fn a_run_that_is_interrupted_puts_everything_back() {
    in_narrow_network(|| {
        let mut run = Run::begin(hold(server(echo), &[MANY, APPLY, &["--hold", "1h"]]));
        run.wait_for("Run ");
        assert_eq!(read_to_string(RANGE).expect("our own range"), "1024\t65535\n");
        run.signal(Signal::SIGINT);
        let ended = run.end();
        assert!(matches!(ended.code, Some(0 | 3)), "{ended:?}");
        assert_eq!(ended.result()["interrupted"], true, "{ended:?}");
    });
}

#[test]
fn a_run_that_is_cut_short_puts_everything_back() {
    in_narrow_network(|| {
        // It waits for the target's FINs, which do not come.
        let patience = ["--hold", "1h", "--patience", "1h"];
        let mut run = Run::begin(hold(server(stay), &[MANY, APPLY, &patience]));
        run.wait_for("Run ");
        run.signal(Signal::SIGINT);
        run.wait_for("once more ends at once");
        run.signal(Signal::SIGHUP);
        let ended = run.end();
        assert_eq!((ended.code, &*ended.output), (Some(1), ""), "{ended:?}");
    });
}

#[test]
fn without_privilege_nothing_is_set_and_one_error_says_so() {
    in_narrow_network(|| {
        // Where the build lies, not everybody may look.
        let place = tempfile::tempdir().expect("a folder");
        let for_all = || PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(place.path(), for_all()).expect("for all");
        let program = place.path().join("portcullis-bench");
        std::fs::copy(env!("CARGO_BIN_EXE_portcullis-bench"), &program).expect("a copy");
        std::fs::set_permissions(&program, for_all()).expect("for all");
        let mut command = Command::new(&program);
        command.args(hold(server(echo), &[MANY, APPLY, SHORT]).get_args()).uid(65_534).gid(65_534);
        let ended = Run::begin(command).end();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        for words in ["run as root", "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\""] {
            assert!(ended.errors.contains(words), "{ended:?}");
        }
    });
}
