//! What connections are counted by, and its words.

/// What connections are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The addresses of clients, without their ports.
    Source,
    /// Who holds the sockets at the other end of clients, and where they connected: the pairs of
    /// addresses that have 65,535 connections at most, a port of theirs each.
    Pair,
    /// Servers, or upstreams where none is chosen.
    Server,
    /// Listeners.
    Listener,
}

impl By {
    /// Every one.
    pub const ALL: [By; 4] = [By::Source, By::Pair, By::Server, By::Listener];

    /// Its word, which is the key of a filter.
    pub fn word(self) -> &'static str {
        match self {
            By::Source => "src",
            By::Pair => "pair",
            By::Server => "server",
            By::Listener => "listener",
        }
    }
}
