//! What is to be added to a ring while it runs: handed over beside the contract, which names it by
//! its id alone.

use crossbeam::channel::{Receiver, Sender, unbounded};

use super::setup::{PassiveSocket, ServerSocket};
use crate::base::{GateId, IdMap, ServerId};

/// Hands gates and servers over to one ring, from any thread. A gate waits for
/// [`Ring::add_gate`](crate::ring::Accepts::add_gate), which takes it; a server is known from then
/// on to [`Ring::add_server`](crate::ring::Operations::add_server), because one that comes back may
/// be handed over while the ring has it. Of two under one id the later one is kept. A ring that has
/// ended drops what it is handed.
#[derive(Clone, Debug)]
pub struct Supplier(Sender<Supply>);

#[derive(Debug)]
enum Supply {
    Gate(GateId, PassiveSocket),
    Server(ServerId, ServerSocket),
}

impl Supplier {
    /// Hands over a passive socket, already listening.
    pub fn gate(&self, gate: GateId, socket: PassiveSocket) {
        self.hand_over(Supply::Gate(gate, socket));
    }

    /// Hands over a server. Nothing of it is checked: where a source is of another family, or the
    /// kernel cannot bind a ring's socket (before Linux 6.11), each open fails with the errno of
    /// the kernel (`EAFNOSUPPORT` or `EINVAL`) and leaves its slot empty.
    pub fn server(&self, server: ServerId, socket: ServerSocket) {
        self.hand_over(Supply::Server(server, socket));
    }

    fn hand_over(&self, supply: Supply) {
        // Without a ring nobody will ask for it.
        let _ = self.0.send(supply);
    }
}

/// The ring's end: gates that were handed over and not added yet, and every server.
pub(in crate::ring) struct Supplies {
    supplier: Supplier,
    /// Without a bound of its own, because it is emptied at each addition and only the control
    /// plane writes. To read it takes no lock.
    incoming: Receiver<Supply>,
    gates: IdMap<GateId, PassiveSocket>,
    servers: IdMap<ServerId, ServerSocket>,
}

impl Supplies {
    /// Nothing.
    pub(in crate::ring) fn new() -> Supplies {
        let (sender, incoming) = unbounded();
        let (gates, servers) = (IdMap::new(), IdMap::new());
        Supplies { supplier: Supplier(sender), incoming, gates, servers }
    }

    /// A handle that passes gates and servers to this ring.
    pub(in crate::ring) fn supplier(&self) -> Supplier {
        self.supplier.clone()
    }

    /// Takes the passive socket that was handed over under this id.
    ///
    /// # Panics
    /// When there is none.
    pub(in crate::ring) fn gate(&mut self, id: GateId) -> PassiveSocket {
        self.collect();
        self.gates.remove(id).unwrap_or_else(|| panic!("nothing was handed over under {id:?}"))
    }

    /// The server that was handed over last under this id.
    ///
    /// # Panics
    /// When there is none.
    pub(in crate::ring) fn server(&mut self, id: ServerId) -> ServerSocket {
        self.collect();
        let server = self.servers.get(id).cloned();
        server.unwrap_or_else(|| panic!("nothing was handed over under {id:?}"))
    }

    fn collect(&mut self) {
        for supply in self.incoming.try_iter() {
            match supply {
                Supply::Gate(id, socket) => drop(self.gates.insert(id, socket)),
                Supply::Server(id, socket) => drop(self.servers.insert(id, socket)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_later_of_two_under_one_id_is_kept() {
        let mut supplies = Supplies::new();
        let supplier = supplies.supplier();
        for port in [1, 2] {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            supplier.server(ServerId(7), ServerSocket { address, sources: Vec::new() });
        }
        assert_eq!(supplies.server(ServerId(7)).address.port(), 2);
        assert_eq!(supplies.server(ServerId(7)).address.port(), 2, "it may come back");
    }

    #[test]
    fn a_socket_that_no_ring_took_is_closed() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let socket: PassiveSocket = Arc::new(socket.into());
        let supplies = Supplies::new();
        let supplier = supplies.supplier();
        supplier.gate(GateId(0), socket.clone());
        drop(supplies);
        supplier.gate(GateId(1), socket.clone());
        assert_eq!(Arc::strong_count(&socket), 1);
    }
}
