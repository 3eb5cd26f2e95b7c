//! Programs that others wrote, joined through the gateway.

#[allow(dead_code, reason = "the tests of the gateway use the rest")]
#[path = "../gateway/support/mod.rs"]
mod support;

mod browser;
mod by_name;
mod etcd;
mod found;
mod haproxy;
mod headers_in;
mod headers_out;
mod hello_out;
mod http;
mod mosquitto;
mod moved;
mod names;
mod nginx;
mod page;
mod peers;
mod postgres;
mod program;
mod promtool;
mod redis;
mod srv;
mod stage;
mod tls;
mod tls_ends;
mod tlsfuzzer;
mod typed;
mod unbound;
