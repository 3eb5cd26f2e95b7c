//! Fuzzes what workers say to each other in a handover.

#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::handover::handover(data));
