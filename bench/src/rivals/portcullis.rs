//! Portcullis, the one that the others are rivals of: with its defaults, waiting for batches, and
//! over epoll.

use super::{Rival, Room, SECURED_ONLY, UPGRADE_ONLY, Way, any_build};
use crate::result::OURS;

/// Descriptors that it keeps to itself where its sockets are descriptors, too, with two workers and
/// one listener.
const OWN_DESCRIPTORS: u64 = 80;

pub(super) const DEFAULT: Rival = Rival {
    name: OURS,
    program: "portcullis",
    install: "cargo build --release --workspace, or --portcullis PATH",
    config: "portcullis.toml",
    template: include_str!("../../rivals/portcullis.toml"),
    version: &["--version"],
    start: &["run", "--config", "@config@"],
    check: &["check", "--config", "@config@"],
    compiled: None,
    newest_seen: None,
    build: any_build,
    // Its sockets lie in tables of its rings, and it takes as many rings as it needs.
    holds: |_| u64::MAX,
    only: None,
    tls: false,
    way: None,
};

pub(super) const BATCHING: Rival = Rival {
    name: "portcullis-batch",
    config: "portcullis-batch.toml",
    template: include_str!("../../rivals/portcullis-batch.toml"),
    only: Some(&["rate"]),
    ..DEFAULT
};

pub(super) const EPOLL: Rival = Rival {
    name: "portcullis-epoll",
    config: "portcullis-epoll.toml",
    template: include_str!("../../rivals/portcullis-epoll.toml"),
    holds: |room: Room| room.descriptors.saturating_sub(OWN_DESCRIPTORS) / 2,
    ..DEFAULT
};

pub(super) const SECURED: Rival = Rival {
    name: "portcullis-tls",
    config: "portcullis-tls.toml",
    template: include_str!("../../rivals/portcullis-tls.toml"),
    only: SECURED_ONLY,
    tls: true,
    ..DEFAULT
};

/// With an admin socket, by which it is upgraded, and a log of what it does.
pub(super) const UPGRADING: Rival = Rival {
    config: "portcullis-upgrade.toml",
    template: include_str!("../../rivals/portcullis-upgrade.toml"),
    only: UPGRADE_ONLY,
    way: Some(Way::Command),
    ..DEFAULT
};
