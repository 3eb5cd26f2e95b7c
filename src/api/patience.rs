//! How long the ends of a request wait: times of which one must contain others.

use std::time::Duration;

/// For a permit to query the workers: the kill of another request may end 10,000 connections at
/// 1,000 a second.
pub const PERMIT: Duration = Duration::from_secs(12);
/// For the answers of the workers to one request.
pub const WORKERS: Duration = Duration::from_secs(25);
/// For the workers to carry a change out; after that the answer says that they have not.
pub const CHANGE: Duration = Duration::from_secs(2);
/// For every worker to go over to another config; after that the answer says who has not.
pub const GO_OVER: Duration = Duration::from_secs(1);
/// For the workers to recall their recent past; a worker that stands still recalls nothing.
pub const RECALL: Duration = Duration::from_secs(2);
/// For an answer, at the client: longer than the gateway takes at most, so that it is the gateway
/// that says what takes so long.
pub const CLIENT: Duration = Duration::from_secs(40);
/// For the answer of each gateway of which one is to be chosen: the others are not held up by one
/// that stands still.
pub const SURVEY: Duration = Duration::from_secs(2);
/// For the outcome of an upgrade, whose steps have bounds of their own.
pub const UPGRADE: Duration = Duration::from_secs(1800);
/// From the start of a connection to the control plane to its end: a client that wants more time
/// connects again.
pub const CONNECTION: Duration = Duration::from_secs(60);

const _: () = {
    assert!(PERMIT.as_secs() + WORKERS.as_secs() < CLIENT.as_secs());
    assert!(CHANGE.as_secs() < CLIENT.as_secs());
    assert!(GO_OVER.as_secs() + CHANGE.as_secs() < CLIENT.as_secs());
    assert!(RECALL.as_secs() < CLIENT.as_secs());
    assert!(CLIENT.as_secs() < CONNECTION.as_secs());
};
