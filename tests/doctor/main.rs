//! What the doctor says of hosts that a test has built.

mod cgroup;
mod checks;
mod command;
mod host;
mod limits;
mod remedies;
mod report;
mod scope;
