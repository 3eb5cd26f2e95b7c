//! What the gateway's own code costs on the path of a byte and in the life of a connection.
//!
//! `cargo bench -p portcullis-bench` measures; `cargo test --benches -p portcullis-bench` runs each
//! once. No kernel takes part: what a system call costs, the scenarios measure.

mod choice;
mod conn;
mod ring;
mod source;
mod tls;
mod token;
mod wire;
mod worker;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    paths,
    token::times,
    conn::times,
    worker::times,
    choice::times,
    source::times,
    wire::times,
    tls::times
);
criterion_main!(paths);
