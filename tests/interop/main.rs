//! Programs that others wrote, joined through the gateway.

#[allow(dead_code, reason = "the tests of the gateway use the rest")]
#[path = "../gateway/support/mod.rs"]
mod support;

mod http;
mod program;
mod promtool;
mod redis;
