//! Fuzzes requests to the admin socket, and the host that a request names.

#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::admin(data));
