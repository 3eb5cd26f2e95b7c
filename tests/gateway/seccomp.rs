//! A seccomp filter that refuses any of io_uring's calls is named as one, with what lifts it, and
//! leaves epoll.

use std::collections::BTreeMap;
use std::process::Output;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::support::client;
use crate::support::command::ask_json;
use crate::support::config::{OWN_ECHO, over};
use crate::support::gateway::{Gateway, Home, program};

const CALLS: [(&str, i64); 3] = [
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
];

/// What `act` does under a filter that answers `call` with `errno`.
fn under_filter<T: Send + 'static>(
    call: i64,
    errno: i32,
    act: impl FnOnce() -> T + Send + 'static,
) -> T {
    under_rules(call, Vec::new(), errno, act)
}

/// The same where one of `rules` holds, or there is none. The filter is its thread's and that of
/// the programs that it starts, and nobody else's.
fn under_rules<T: Send + 'static>(
    call: i64,
    rules: Vec<SeccompRule>,
    errno: i32,
    act: impl FnOnce() -> T + Send + 'static,
) -> T {
    let started = std::thread::spawn(move || {
        let filter = SeccompFilter::new(
            BTreeMap::from([(call, rules)]),
            SeccompAction::Allow,
            SeccompAction::Errno(errno as u32),
            std::env::consts::ARCH.try_into().expect("an architecture that has filters"),
        );
        let filter = BpfProgram::try_from(filter.expect("a filter")).expect("a program");
        seccompiler::apply_filter(&filter).expect("a filter needs no privilege");
        act()
    });
    started.join().expect("the thread ends")
}

#[test]
fn each_call_that_a_filter_refuses_is_named_by_start_and_doctor() {
    let home = Home::new();
    let config = home.write("fixed.toml", &over("io_uring", OWN_ECHO));
    for (name, call) in CALLS {
        for errno in [libc::EPERM, libc::ENOSYS] {
            for argument in ["run", "doctor"] {
                let config = config.clone();
                let Output { status, stdout, stderr } = under_filter(call, errno, move || {
                    let mut program = program(None);
                    program.arg(argument).arg("--config").arg(config);
                    program.output().expect("the program runs")
                });
                let words = [stdout, stderr].concat();
                let words = String::from_utf8_lossy(&words);
                assert_eq!(status.code(), Some(1), "{argument}: {words}");
                let named = format!("a seccomp filter refuses {name}");
                assert!(words.contains(&named) && words.contains("=@aio"), "{argument}: {words}");
                assert!(!words.contains(" lacks "), "{argument}: {words}");
            }
        }
    }
}

#[test]
fn a_gateway_that_is_refused_io_uring_serves_over_epoll_and_says_so_once() {
    for (name, call) in CALLS {
        let config = over("auto", OWN_ECHO);
        let gateway = under_filter(call, libc::EPERM, move || Gateway::start(&config));
        let stream = client::connect(gateway.address("edge"));
        client::echo(&stream, 1, 100_000);
        let says = format!("a seccomp filter refuses {name}");
        let warnings: Vec<String> =
            gateway.lines().into_iter().filter(|line| line.contains(&says)).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let warning = &warnings[0];
        assert!(warning.contains("WARN") && warning.contains("over epoll"), "{warning}");
        let status = ask_json(&gateway, &["status"]);
        assert_eq!(status["io"]["by"], "epoll");
        assert!(status["io"]["refused"].as_str().is_some_and(|why| why.contains(&says)));
        drop(stream);
        gateway.stop();
    }
}

#[test]
fn a_filter_that_refuses_restrictions_alone_is_warned_of_once_and_costs_nothing_else() {
    // IORING_REGISTER_RESTRICTIONS and _ENABLE_RINGS (linux/io_uring.h).
    for registration in [11, 12] {
        let (length, equal) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        let condition = SeccompCondition::new(1, length, equal, registration);
        let rule = SeccompRule::new(vec![condition.expect("a condition")]).expect("a rule");
        let call = libc::SYS_io_uring_register;
        let gateway = under_rules(call, vec![rule], libc::EPERM, || Gateway::start(OWN_ECHO));
        let stream = client::connect(gateway.address("edge"));
        client::echo(&stream, 1, 100_000);
        assert_eq!(ask_json(&gateway, &["status"])["io"]["by"], "io_uring");
        let warned = |line: &String| line.contains("WARN") && line.contains("operations of rings");
        let lines: Vec<String> = gateway.lines().into_iter().filter(warned).collect();
        assert!(matches!(&lines[..], [line] if line.contains("EPERM")), "{lines:?}");
        drop(stream);
        gateway.stop();
    }
}

/// A kernel confines only threads that can gain no privileges, as each worker's is for that.
#[test]
fn each_worker_asks_to_be_confined_and_no_other_thread_does() {
    for io in ["io_uring", "epoll"] {
        let gateway = Gateway::start(&over(io, &format!("[gateway]\nworkers = 2\n{OWN_ECHO}")));
        let threads = format!("/proc/{}/task", gateway.pid());
        let mut asked = Vec::new();
        for thread in std::fs::read_dir(threads).expect("its threads") {
            let thread = thread.expect("a thread").path();
            let read = |file| std::fs::read_to_string(thread.join(file)).expect("it runs");
            if read("status").contains("NoNewPrivs:\t1") {
                asked.push(read("comm").trim().to_owned());
            }
        }
        asked.sort_unstable();
        assert_eq!(asked, ["worker-0", "worker-1"], "over {io}");
        gateway.stop();
    }
}

#[test]
fn doctor_says_what_bounds_a_gateway_over_epoll() {
    let home = Home::new();
    let config = home.write("p.toml", OWN_ECHO);
    let said = under_filter(libc::SYS_io_uring_setup, libc::ENOSYS, move || {
        program(None).arg("doctor").arg(config).output().expect("the program runs")
    });
    let words = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said.status.code(), Some(0), "{words}");
    assert!(words.contains("over epoll") && words.contains("a seccomp filter refuses"), "{words}");
    assert!(words.contains("a connection, over epoll"), "{words}");
}

#[test]
fn the_profile_that_ships_allows_all_three() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/host/seccomp.json");
    let text = std::fs::read_to_string(path).expect("it ships");
    let profile: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO", "what it does not name is refused");
    let rules = profile["syscalls"].as_array().expect("a list of rules");
    for (call, _) in CALLS {
        let always = rules.iter().any(|rule| {
            let conditions = ["args", "includes", "excludes"];
            let names = rule["names"].as_array().expect("names");
            rule["action"] == "SCMP_ACT_ALLOW"
                && names.iter().any(|name| name == call)
                && conditions.iter().all(|condition| rule.get(condition).is_none())
        });
        assert!(always, "{call} is not always allowed");
    }
}
