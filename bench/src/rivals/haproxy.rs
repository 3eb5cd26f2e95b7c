//! HAProxy, as it copies and as it splices.

use super::{Rival, Room, SECURED_ONLY, UPGRADE_ONLY, Way, any_build};

/// Descriptors for listeners, threads and whatever else is no connection.
const OWN_DESCRIPTORS: u64 = 250;
/// Twice the `maxpipes` of haproxy-splice.cfg.
const PIPE_DESCRIPTORS: u64 = 1_024;

pub(super) const COPYING: Rival = Rival {
    name: "haproxy",
    program: "haproxy",
    install: "apt-get install -y --no-install-recommends haproxy",
    config: "haproxy.cfg",
    template: include_str!("../../rivals/haproxy.cfg"),
    version: &["-v"],
    // -db: in the foreground, one process.
    start: &["-db", "-f", "@config@"],
    check: &["-c", "-f", "@config@"],
    compiled: None,
    // docs.haproxy.org, of 2026-06-03.
    newest_seen: Some("3.4"),
    build: any_build,
    holds: |room: Room| room.descriptors.saturating_sub(OWN_DESCRIPTORS) / 2,
    only: None,
    tls: false,
    way: None,
};

pub(super) const SPLICING: Rival = Rival {
    name: "haproxy-splice",
    config: "haproxy-splice.cfg",
    template: include_str!("../../rivals/haproxy-splice.cfg"),
    holds: |room: Room| room.descriptors.saturating_sub(OWN_DESCRIPTORS + PIPE_DESCRIPTORS) / 2,
    only: Some(&["bulk-up", "bulk-down"]),
    ..COPYING
};

pub(super) const SECURED: Rival = Rival {
    name: "haproxy-tls",
    config: "haproxy-tls.cfg",
    template: include_str!("../../rivals/haproxy-tls.cfg"),
    only: SECURED_ONLY,
    tls: true,
    ..COPYING
};

/// With a master, which starts new workers when it is told.
pub(super) const UPGRADING: Rival = Rival {
    config: "haproxy-upgrade.cfg",
    template: include_str!("../../rivals/haproxy-upgrade.cfg"),
    start: &["-W", "-f", "@config@"],
    only: UPGRADE_ONLY,
    way: Some(Way::Reload),
    ..COPYING
};
