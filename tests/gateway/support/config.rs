//! Configs that many tests share.

use std::net::SocketAddr;

/// One listener, `edge`, that the gateway itself echoes to, and a status server, on free ports.
pub(crate) const OWN_ECHO: &str = "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
    [upstream.app]\nbuiltin = \"echo\"\n[status]\nbind = \"127.0.0.1:0\"\n";

/// One listener, `edge`, on a free port, and one upstream, `app`, with these servers.
pub(crate) fn relay(servers: &[SocketAddr]) -> String {
    relay_at_most(4_000, servers)
}

/// The same, for no more than this many connections.
pub(crate) fn relay_at_most(max_connections: usize, servers: &[SocketAddr]) -> String {
    edge(max_connections, "", servers)
}

/// The same, with more keys for the listener.
pub(crate) fn relay_with(listener_keys: &str, servers: &[SocketAddr]) -> String {
    edge(4_000, listener_keys, servers)
}

fn edge(max_connections: usize, listener_keys: &str, servers: &[SocketAddr]) -> String {
    format!(
        "[gateway]\nworkers = 2\nmax_connections = {max_connections}\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{listener_keys}\n{}",
        upstream("app", servers)
    )
}

/// An upstream's section.
pub(crate) fn upstream(name: &str, servers: &[SocketAddr]) -> String {
    let servers: Vec<_> = servers.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[upstream.{name}]\nservers = [{}]\n", servers.join(", "))
}

/// The same config, by this value of `gateway.io`, whatever `PORTCULLIS_TEST_IO` says: a test of
/// what is so by the nature of io_uring alone, as locked memory and slots beyond RLIMIT_NOFILE are,
/// names "io_uring" and runs as that.
pub(crate) fn over(io: &str, config: &str) -> String {
    let key = format!("io = \"{io}\"\n");
    match config.find("[gateway]\n") {
        Some(place) => {
            let (before, after) = config.split_at(place + "[gateway]\n".len());
            format!("{before}{key}{after}")
        }
        None => format!("{config}\n[gateway]\n{key}"),
    }
}
