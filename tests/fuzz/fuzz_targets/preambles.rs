//! Fuzzes what clients say before their servers hear of them.

#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::preambles(data));
