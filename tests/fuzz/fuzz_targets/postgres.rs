//! Fuzzes how PostgreSQL clients begin.

#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::postgres_begins(data));
