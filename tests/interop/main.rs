//! Programs that others wrote, joined through the gateway.

#[allow(dead_code, reason = "the tests of the gateway use the rest")]
#[path = "../gateway/support/mod.rs"]
mod support;

mod browser;
mod http;
mod page;
mod program;
mod promtool;
mod redis;
