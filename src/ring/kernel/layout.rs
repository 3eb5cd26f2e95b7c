//! Which slot of which table the sockets of a connection are in: arithmetic alone.
//!
//! The fixed-file table of a kernel ring holds its client slots first, where alone the kernel
//! allocates, and behind them an upstream slot for each: client slot `n` of `N` has upstream slot
//! `N + n`.

use crate::base::{ConnIndex, Side};

/// How connections are divided among tables: each but the last has the same number of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    connections: u32,
    clients_per_table: u32,
    /// Slots of a client.
    sides: u32,
}

/// A slot of one of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) table: usize,
    pub(super) slot: u32,
}

impl Layout {
    /// Divides `connections` evenly among the fewest tables of at most `clients_max` clients.
    pub(super) fn new(connections: u32, clients_max: u32, with_upstream: bool) -> Layout {
        let clients_per_table = connections.div_ceil(connections.div_ceil(clients_max));
        Layout { connections, clients_per_table, sides: if with_upstream { 2 } else { 1 } }
    }

    /// Connections in all.
    pub(super) fn connections(self) -> u32 {
        self.connections
    }

    /// Tables in all.
    pub(super) fn tables(self) -> u32 {
        self.connections.div_ceil(self.clients_per_table)
    }

    /// Client slots of the table that has most.
    pub(super) fn clients_most(self) -> u32 {
        self.clients_per_table
    }

    /// Client slots of a table.
    pub(super) fn clients(self, table: usize) -> u32 {
        self.clients_per_table.min(self.connections - table as u32 * self.clients_per_table)
    }

    /// Slots of a table.
    pub(super) fn slots(self, table: usize) -> u32 {
        self.sides * self.clients(table)
    }

    /// The slot of one side of a connection. Where there are no upstream slots, an upstream side's
    /// lies behind the table's end.
    ///
    /// # Panics
    /// When there is no such connection.
    pub(super) fn place(self, conn: ConnIndex, side: Side) -> Place {
        assert!(conn.0 < self.connections, "{conn:?} of {} connections", self.connections);
        let (table, client) = (conn.0 / self.clients_per_table, conn.0 % self.clients_per_table);
        let table = table as usize;
        let slot = match side {
            Side::Client => client,
            Side::Upstream => self.clients(table) + client,
        };
        Place { table, slot }
    }

    /// The connection whose client is in a slot.
    ///
    /// # Panics
    /// When it is not a client's slot.
    pub(super) fn conn(self, table: usize, slot: u32) -> ConnIndex {
        assert!(slot < self.clients(table), "slot {slot} is not a client's");
        ConnIndex(table as u32 * self.clients_per_table + slot)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_socket_has_a_slot_of_its_own_and_every_client_slot_names_its_connection() {
        for (connections, clients_max) in [(1, 1), (10, 3), (64, 64), (65, 64), (1_000, 7)] {
            let layout = Layout::new(connections, clients_max, true);
            let mut places = HashSet::new();
            for conn in (0..connections).map(ConnIndex) {
                for side in Side::BOTH {
                    let Place { table, slot } = layout.place(conn, side);
                    assert!(slot < layout.slots(table) && layout.clients(table) <= clients_max);
                    assert!(places.insert((table, slot)));
                    assert_eq!(slot < layout.clients(table), side == Side::Client);
                }
                let Place { table, slot } = layout.place(conn, Side::Client);
                assert_eq!(layout.conn(table, slot), conn);
            }
            let slots: u32 = (0..layout.tables() as usize).map(|table| layout.slots(table)).sum();
            assert_eq!(slots as usize, places.len());
        }
    }
}
