//! Fuzzes ClientHellos, by which servers are chosen.

#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::hellos(data));
