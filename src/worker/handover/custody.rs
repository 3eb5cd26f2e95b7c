//! Where a connection was that has come, and that its predecessor could take back.

use crate::courier::Flag;

/// Where a connection was, and what its flag says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Custody {
    pub(super) way: u16,
    pub(super) slot: u32,
    pub(super) flag: Flag,
    /// The predecessor cannot go on with what it has, once something of it was in hand here. It
    /// came with bytes in hand, which would be sent again; or with a session, whose keys would seal
    /// two records with one number.
    pub(super) is_final: bool,
    /// It came without a server, and the predecessor would begin with it where it stood: its flag
    /// is final once something of it was received here, or anything sent.
    pub(super) is_unserved: bool,
}

impl Custody {
    /// Of what has come on this way, from this slot.
    pub(super) fn of(way: usize, slot: u32) -> Custody {
        let way = u16::try_from(way).expect("a process has fewer workers");
        Custody { way, slot, flag: Flag::Idle, is_final: false, is_unserved: false }
    }

    /// The same of a client without a server.
    pub(super) fn unserved(self) -> Custody {
        Custody { is_unserved: true, ..self }
    }
}
