//! The kinds of operations that a connection has in flight.

/// The kinds of operations, one bit each in a side's in-flight set: a side never has two of a kind
/// in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpKind {
    /// Make the upstream socket in its slot.
    Open,
    /// Connect it.
    Connect,
    /// Wait until there is something to read, without a buffer.
    WaitReadable,
    /// Receive into a buffer that the ring picks.
    Receive,
    /// Move what is there into a pipe that the ring picks.
    Splice,
    /// Send a chunk, as much as fits now.
    Send,
    /// Wait until a send can make progress.
    WaitWritable,
    /// End our direction: FIN.
    Shutdown,
    /// Watch for a hang-up or reset, edge-triggered, until cancelled.
    WatchHangup,
    /// Reset the connection at once: RST.
    Reset,
    /// Ask how many bytes the peer has not acknowledged.
    Unacknowledged,
    /// Ask for the addresses at both ends.
    Addresses,
    /// Cancel what waits on the socket.
    Cancel,
    /// Close the slot.
    Close,
}

impl OpKind {
    /// Every kind, in the order of its number.
    pub const ALL: [OpKind; 14] = [
        OpKind::Open,
        OpKind::Connect,
        OpKind::WaitReadable,
        OpKind::Receive,
        OpKind::Splice,
        OpKind::Send,
        OpKind::WaitWritable,
        OpKind::Shutdown,
        OpKind::WatchHangup,
        OpKind::Reset,
        OpKind::Unacknowledged,
        OpKind::Addresses,
        OpKind::Cancel,
        OpKind::Close,
    ];
}

/// The kinds in flight on one side of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight(u16);

impl InFlight {
    /// Nothing.
    pub const NONE: InFlight = InFlight(0);

    /// What waits for the peer and so ends only when the peer moves or somebody cancels it. All
    /// other kinds complete by themselves.
    pub const WAITING: InFlight = InFlight(
        1 << OpKind::Connect as u16
            | 1 << OpKind::WaitReadable as u16
            | 1 << OpKind::Receive as u16
            | 1 << OpKind::WaitWritable as u16
            | 1 << OpKind::WatchHangup as u16,
    );

    /// `kind` and nothing else.
    pub const fn only(kind: OpKind) -> InFlight {
        InFlight(1 << kind as u16)
    }

    /// Those in either.
    pub const fn or(self, kinds: InFlight) -> InFlight {
        InFlight(self.0 | kinds.0)
    }

    /// Nothing is in flight.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// `kind` is in flight.
    pub fn has(self, kind: OpKind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }

    /// Those in both.
    pub fn and(self, kinds: InFlight) -> InFlight {
        InFlight(self.0 & kinds.0)
    }

    /// Each kind in it.
    pub fn kinds(self) -> impl Iterator<Item = OpKind> {
        OpKind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }

    /// Counts `kind` as started.
    ///
    /// # Panics
    /// When one of the kind is in flight already.
    pub fn start(&mut self, kind: OpKind) {
        assert!(!self.has(kind), "{kind:?} started twice");
        self.0 |= 1 << kind as u16;
    }

    /// Counts `kind` as retired.
    ///
    /// # Panics
    /// When none of the kind is in flight.
    pub fn retire(&mut self, kind: OpKind) {
        assert!(self.has(kind), "{kind:?} retired but never started");
        self.0 &= !(1 << kind as u16);
    }
}
