//! The least that a proxy's work takes of the kernel on io_uring: a bound, and no rival.

use super::{Rival, Room, any_build};
use crate::result::FLOORS;

/// The most that `floor.c` gives a thread's table of sockets; a connection takes two.
const SLOTS: u64 = 19_000;
/// How full a table may be in the mean: SO_REUSEPORT gives some more than others.
const FILL_PERCENT: u64 = 80;

/// It asks for each receive anew.
pub(super) const SINGLE: Rival = Rival {
    name: FLOORS[0],
    program: "cc",
    install: "apt-get install -y --no-install-recommends gcc libc6-dev",
    config: "floor.c",
    template: include_str!("../../rivals/floor.c"),
    version: &["--version"],
    start: &["@listen_port@", "@server_ports@", "@workers@", "single"],
    check: &["-O2", "-pthread", "-o", "@compiled@", "@config@"],
    compiled: Some("single"),
    newest_seen: None,
    build: any_build,
    holds: |room: Room| {
        let full = if room.workers > 1 { FILL_PERCENT } else { 100 };
        room.descriptors.min(SLOTS) / 2 * room.workers * full / 100
    },
    // Not reset: with it an abort ends as anything does. Nor what is about memory: it saves
    // operations, and others hold an idle connection in less.
    only: Some(&[
        "pingpong",
        "rate",
        "churn",
        "bulk-up",
        "bulk-down",
        "storm",
        "halfclose",
        "halfclose-server",
    ]),
    tls: false,
    way: None,
};

/// It receives until it is told otherwise.
pub(super) const MULTI: Rival = Rival {
    name: FLOORS[1],
    start: &["@listen_port@", "@server_ports@", "@workers@", "multi"],
    compiled: Some("multi"),
    ..SINGLE
};
