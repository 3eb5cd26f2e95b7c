//! The servers' addresses, in memory that queued entries name.

use std::net::SocketAddr;
use std::rc::Rc;

use nix::sys::socket::SockaddrStorage;

use super::setup::ServerSocket;
use crate::base::{IdMap, ServerId, Source};

/// Servers by id. An address neither moves nor changes from [`Servers::add`] until
/// [`Servers::forget`], for which it is behind an `Rc` whose clones nobody has.
pub(in crate::ring) struct Servers {
    present: IdMap<ServerId, Rc<Server>>,
    /// Removed, but an entry not submitted yet may still name them.
    leaving: Vec<Rc<Server>>,
}

/// Where a server listens, and the addresses that its sockets are bound to.
pub(in crate::ring) struct Server {
    pub(in crate::ring) address: SockaddrStorage,
    sources: Box<[SockaddrStorage]>,
}

impl Server {
    /// This one of its source addresses, if it has any.
    pub(in crate::ring) fn source(&self, Source(number): Source) -> Option<&SockaddrStorage> {
        self.sources.get(usize::from(number) % self.sources.len().max(1))
    }
}

impl Servers {
    /// These, of which each has an id of its own.
    pub(in crate::ring) fn new(servers: &[(ServerId, ServerSocket)]) -> Servers {
        let mut known = Servers { present: IdMap::new(), leaving: Vec::new() };
        for (id, server) in servers {
            known.add(*id, server);
        }
        known
    }

    /// Takes a server in, in place of the one that has its id.
    pub(in crate::ring) fn add(&mut self, id: ServerId, server: &ServerSocket) {
        let sources = server.sources.iter().map(|source| SocketAddr::new(*source, 0).into());
        let server = Server { address: server.address.into(), sources: sources.collect() };
        self.leaving.extend(self.present.insert(id, Rc::new(server)));
    }

    /// Gives a server up. Its address lives until [`Servers::forget`].
    ///
    /// # Panics
    /// When there is none.
    pub(in crate::ring) fn remove(&mut self, id: ServerId) {
        let server = self.present.remove(id).unwrap_or_else(|| panic!("there is no {id:?}"));
        self.leaving.push(server);
    }

    /// Frees what was removed. Every entry that named it must have been submitted: the kernel
    /// copies an address when it takes the entry (io_connect_prep, io_bind_prep).
    pub(in crate::ring) fn forget(&mut self) {
        self.leaving.clear();
    }

    /// The server of this id.
    ///
    /// # Panics
    /// When there is none.
    pub(in crate::ring) fn get(&self, id: ServerId) -> &Server {
        &self.present[id]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_where_it_is_until_it_is_forgotten() {
        let server = |port| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            ServerSocket { address, sources: Vec::new() }
        };
        let mut servers = Servers::new(&[(ServerId(3), server(1))]);
        let address = &raw const servers.get(ServerId(3)).address;
        servers.remove(ServerId(3));
        servers.add(ServerId(3), &server(2));
        servers.add(ServerId(500), &server(3));
        assert!(std::ptr::eq(address, &raw const servers.leaving[0].address));
        assert!(!std::ptr::eq(address, &raw const servers.get(ServerId(3)).address));
        servers.forget();
        assert!(servers.leaving.is_empty());
    }
}
