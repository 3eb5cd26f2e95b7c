//! Fuzzes records of TLS, with rustls as the second reader.

#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::records::records(data));
