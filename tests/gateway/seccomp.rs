//! A seccomp filter that refuses any of io_uring's calls is told as one, with what lifts it.

use std::collections::BTreeMap;
use std::process::Output;

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::support::gateway::program;

const CALLS: [(&str, i64); 3] = [
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
];

/// The program under a filter that answers `call` with `errno`. The filter is the thread's that
/// starts it, and nobody else's.
fn under_filter(call: i64, errno: i32, argument: &'static str) -> Output {
    let started = std::thread::spawn(move || {
        let filter = SeccompFilter::new(
            BTreeMap::from([(call, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(errno as u32),
            std::env::consts::ARCH.try_into().expect("an architecture that has filters"),
        );
        let filter = BpfProgram::try_from(filter.expect("a filter")).expect("a program");
        seccompiler::apply_filter(&filter).expect("a filter needs no privilege");
        program(None).arg(argument).output().expect("the program runs")
    });
    started.join().expect("the thread ends")
}

#[test]
fn each_call_that_a_filter_refuses_is_named_by_start_and_doctor() {
    for (name, call) in CALLS {
        for errno in [libc::EPERM, libc::ENOSYS] {
            for argument in ["run", "doctor"] {
                let Output { status, stdout, stderr } = under_filter(call, errno, argument);
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
