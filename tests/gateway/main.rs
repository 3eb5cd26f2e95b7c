//! The gateway's behaviour from outside: its program, real sockets, the real kernel.

mod support;

mod access_log;
mod activation;
mod builtins;
mod conns;
mod control_plane;
mod counts;
mod drain;
mod dump;
mod families;
mod half_close;
mod kill;
mod limit;
mod listeners;
mod many_rings;
mod moving;
mod page;
mod predecessor;
mod relay;
mod reset;
mod reset_stalled;
mod second_run;
mod seed;
mod seed_limits;
mod self_check;
mod server_first;
mod short_connections;
mod slow_reader;
mod source_ports;
mod startup;
mod status;
mod steering;
mod timeouts;
mod top;
mod upstream_down;
