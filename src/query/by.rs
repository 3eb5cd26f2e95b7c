//! What connections are counted by, and its words.

/// What connections are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The addresses of clients, without their ports.
    Source,
    /// Servers, or upstreams where none is chosen.
    Server,
    /// Listeners.
    Listener,
}

impl By {
    /// Every one.
    pub const ALL: [By; 3] = [By::Source, By::Server, By::Listener];

    /// Its word, which is the key of a filter.
    pub fn word(self) -> &'static str {
        match self {
            By::Source => "src",
            By::Server => "server",
            By::Listener => "listener",
        }
    }
}
