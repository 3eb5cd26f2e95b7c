//! What may be broken between a ring and its worker, each by one invariant's name, and what the
//! oracle must say of it.

/// What is broken, by the invariant that is to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Nothing: the ring as it is.
    None,
    /// Buffers come home: a release is forgotten.
    KeepsBuffer,
    /// Buffers come home: the data of a completion is forgotten.
    LosesData,
    /// No buffer is released twice.
    ReleasesTwice,
    /// No buffer is released under a send.
    ReleasesEarly,
    /// A parked chunk is not used by its old name.
    UsesOldChunk,
    /// Never two of a kind in flight: sends.
    SendsTwice,
    /// Never two of a kind in flight: receives.
    ReceivesTwice,
    /// Bytes are a prefix: one is left out.
    SkipsByte,
    /// Bytes are a prefix: one is sent again.
    RepeatsByte,
    /// A clean end follows all bytes: the last ones are not sent.
    DropsTail,
    /// RST is RST: the reset is left out and the close sends FIN.
    FinForReset,
    /// RST is RST: a receive's error reads as an end.
    HidesReset,
    /// FIN is FIN: a shutdown becomes a reset.
    ResetForFin,
    /// FIN arrives: a shutdown is left out.
    SkipsShutdown,
    /// What was received is delivered before a reset is passed on.
    AcknowledgesEarly,
    /// Close only when nothing is in flight.
    ClosesEarly,
    /// No operation on an empty slot.
    StartsOnEmpty,
    /// Slots come home: a close is left out.
    KeepsSlot,
    /// Never an accept beyond the permits.
    AcceptsTwice,
    /// Never an accept beyond the slots.
    LiesAboutRoom,
    /// A stop ends: cancels of accepts are left out.
    KeepsAccepting,
    /// No client is left without service.
    LosesClient,
    /// A reset is passed on in time: bytes that are not acknowledged seem to make way for ever.
    DeliversForEver,
    /// No client waits for ever: accepts are not armed.
    DropsAccept,
    /// All ends: cancels are left out.
    DropsCancel,
    /// All ends: a readiness is forgotten.
    DropsReadiness,
    /// What the gateway cuts looks cut: its reset is left out.
    FinAtOurEnd,
    /// All ends: a question for addresses stays open.
    DropsName,
    /// No turn for nothing: a wait for room ends at once.
    Spins,
    /// No turn for nothing: a wait for room ends at once where the peer has sent FIN.
    SpinsOnFin,
    /// A quiet connection waits without a receive: its cancel is left out.
    StaysAlert,
    /// A silent server is probed: its guard is left out.
    SkipsGuard,
    /// Bytes that beat the cancel of a quiet receive are delivered.
    DropsBeaten,
    /// Pipes come home: a release is forgotten.
    KeepsPipe,
    /// A clean end follows all bytes: those of a pipe are dropped.
    DropsPipe,
    /// A pipe holds what its splice said: one more is said.
    MiscountsPipe,
    /// What a quiet connection's splices took comes home.
    KeepsDescriptors,
    /// Bytes are a prefix: a splice begins without what was received ahead.
    ForgetsAhead,
    /// Bytes are a prefix: of what was received ahead, the first is told last.
    SwapsAhead,
    /// Bytes sent are counted, each once: some are reported as none (and an error).
    HidesSent,
    /// Completions of an earlier life are counted.
    HidesStale,
    /// A gate that the topology takes away is given up.
    KeepsGate,
    /// A server that nobody goes to any more is given up.
    KeepsServer,
    /// A server is in the ring before anybody goes there.
    MissesServer,
    /// Bytes are a prefix: what was read before a server was chosen is dropped.
    DropsKept,
    /// Bytes are a prefix: of what was read before, the first is sent last.
    SwapsKept,
    /// A preface has a bound.
    ForgetsPreface,
    /// Nobody is evicted while its bytes move.
    EvictsEarly,
    /// Nobody is evicted for nobody.
    InventsClients,
    /// Nobody waits beside a connection that may be evicted.
    EvictsNever,
    /// A server gets its header: none is sent.
    ForgetsHeader,
    /// It gets one if it is to: another is sent.
    InventsHeader,
    /// It gets it once: it is sent again.
    RepeatsHeader,
    /// A header is right: it says another port.
    SwapsPorts,
    /// Bytes sent are counted, but for headers (broken by the run, not here).
    CountsHeader,
    /// No server hears of a silent client.
    ConnectsEarly,
    /// It does when that has been waited for.
    ForgetsSilent,
    /// A client goes by the route that it asks for.
    ForgetsRoute,
    /// A client that is denied is not let in.
    AdmitsDenied,
    /// A source has no more clients than it may.
    CrowdsSource,
    /// Nobody is kept out for whom no limit is.
    RefusesEarly,
    /// Who waits goes on when its source has room.
    ForgetsHeld,
    /// Nobody is held for longer than the config says.
    HoldsOn,
    /// Nor for less.
    LeavesTarpit,
    /// Sources are left (broken by the run, not here).
    LeaksSource,
    /// Places of those who are read come home (broken by the run, not here).
    LeaksPlace,
    /// Clients that speak TLS are read: their listener ends none.
    ForgetsTls,
    /// Servers that speak TLS are spoken to so.
    ForgetsTlsOut,
    /// A whole stream is closed by close_notify: it is not sent.
    DropsCloseNotify,
    /// What is gathered is whole: a byte of it is forgotten.
    ForgetsGathered,
    /// Permits come home (broken by the run, not here).
    LeaksPermit,
    /// Connections per server come home (broken by the run, not here).
    LeaksServer,
    /// A successor says that bytes may be in hand before it asks for any.
    FlagsNever,
    /// A takeback ends whom the successor had bytes of.
    ResumesInHand,
    /// A slot's flag is its connection's own, not an earlier one's.
    KeepsFlag,
    /// A predecessor lets go of whom has ended in the successor.
    HidesEnded,
    /// Whom a successor refuses stays where it is.
    TakesAll,
    /// References to sockets come home.
    LeaksSocket,
    /// One process at a time reads a socket: the successor lives on at a takeback.
    TwoReaders,
    /// A connection has one permit: one of the predecessor's is counted twice.
    CountsTwice,
    /// A connection of the predecessor counts for its listener's limit.
    CountsForNoLimit,
    /// What was received ahead goes along.
    LosesAhead,
    /// A lent socket's completion is not lost.
    DropsLent,
    /// A lent socket goes on: its ring sends no end.
    ShutsLent,
    /// A peer is not reset for what its connection's other process has.
    SkipsForget,
    /// A ring takes nothing more of a socket that it has lent.
    ReadsOn,
}

impl Mutation {
    /// What the runs in TLS must show.
    pub const OF_TLS: [Mutation; 4] = [
        Mutation::ForgetsTls,
        Mutation::ForgetsTlsOut,
        Mutation::DropsCloseNotify,
        Mutation::ForgetsGathered,
    ];

    /// What the runs with handovers must show.
    pub const OF_HANDOVERS: [Mutation; 14] = [
        Mutation::FlagsNever,
        Mutation::ResumesInHand,
        Mutation::KeepsFlag,
        Mutation::HidesEnded,
        Mutation::TakesAll,
        Mutation::LeaksSocket,
        Mutation::TwoReaders,
        Mutation::CountsTwice,
        Mutation::CountsForNoLimit,
        Mutation::LosesAhead,
        Mutation::DropsLent,
        Mutation::ShutsLent,
        Mutation::SkipsForget,
        Mutation::ReadsOn,
    ];

    /// Everything that the oracle must notice.
    pub const BROKEN: [Mutation; 68] = [
        Mutation::KeepsBuffer,
        Mutation::LosesData,
        Mutation::ReleasesTwice,
        Mutation::ReleasesEarly,
        Mutation::UsesOldChunk,
        Mutation::SendsTwice,
        Mutation::ReceivesTwice,
        Mutation::SkipsByte,
        Mutation::RepeatsByte,
        Mutation::DropsTail,
        Mutation::FinForReset,
        Mutation::HidesReset,
        Mutation::ResetForFin,
        Mutation::SkipsShutdown,
        Mutation::AcknowledgesEarly,
        Mutation::ClosesEarly,
        Mutation::StartsOnEmpty,
        Mutation::KeepsSlot,
        Mutation::AcceptsTwice,
        Mutation::LiesAboutRoom,
        Mutation::KeepsAccepting,
        Mutation::LosesClient,
        Mutation::DeliversForEver,
        Mutation::DropsAccept,
        Mutation::DropsCancel,
        Mutation::DropsReadiness,
        Mutation::FinAtOurEnd,
        Mutation::DropsName,
        Mutation::Spins,
        Mutation::SpinsOnFin,
        Mutation::StaysAlert,
        Mutation::SkipsGuard,
        Mutation::DropsBeaten,
        Mutation::KeepsPipe,
        Mutation::DropsPipe,
        Mutation::MiscountsPipe,
        Mutation::KeepsDescriptors,
        Mutation::ForgetsAhead,
        Mutation::SwapsAhead,
        Mutation::HidesSent,
        Mutation::HidesStale,
        Mutation::KeepsGate,
        Mutation::KeepsServer,
        Mutation::MissesServer,
        Mutation::DropsKept,
        Mutation::SwapsKept,
        Mutation::ForgetsPreface,
        Mutation::EvictsEarly,
        Mutation::InventsClients,
        Mutation::EvictsNever,
        Mutation::ForgetsHeader,
        Mutation::InventsHeader,
        Mutation::RepeatsHeader,
        Mutation::SwapsPorts,
        Mutation::CountsHeader,
        Mutation::ConnectsEarly,
        Mutation::ForgetsSilent,
        Mutation::ForgetsRoute,
        Mutation::AdmitsDenied,
        Mutation::CrowdsSource,
        Mutation::RefusesEarly,
        Mutation::ForgetsHeld,
        Mutation::HoldsOn,
        Mutation::LeavesTarpit,
        Mutation::LeaksSource,
        Mutation::LeaksPlace,
        Mutation::LeaksPermit,
        Mutation::LeaksServer,
    ];

    /// What a failure must say, so that the invariant itself has noticed.
    pub fn symptom(self) -> &'static str {
        match self {
            Mutation::None => "nothing",
            Mutation::KeepsBuffer => "did not come home",
            Mutation::LosesData | Mutation::DropsBeaten => "clean end",
            Mutation::ReleasesTwice => "released",
            Mutation::ReleasesEarly => "was released while a send uses it",
            Mutation::UsesOldChunk => "released",
            Mutation::SendsTwice | Mutation::ReceivesTwice => "two of a kind",
            Mutation::SkipsByte | Mutation::RepeatsByte => "is not byte",
            Mutation::ForgetsAhead | Mutation::SwapsAhead => "is not byte",
            Mutation::DropsTail => "a clean end after",
            Mutation::FinForReset => "reset",
            Mutation::HidesReset => "clean end that the source did not send",
            Mutation::ResetForFin => "reset",
            Mutation::SkipsShutdown => "still going",
            Mutation::AcknowledgesEarly => "the reset overtook bytes",
            Mutation::ClosesEarly => "is in flight",
            Mutation::StartsOnEmpty => "on a slot that is filled: false",
            Mutation::KeepsSlot => "slot",
            Mutation::AcceptsTwice => "permits",
            Mutation::LiesAboutRoom => "without a slot",
            Mutation::KeepsAccepting => "still stopping",
            Mutation::LosesClient => "still going",
            Mutation::DeliversForEver => "was reset and its connection is held",
            Mutation::DropsAccept => "still going",
            Mutation::DropsCancel => "still going",
            Mutation::DropsReadiness => "still going",
            Mutation::FinAtOurEnd => "our own end in mid-stream looks like a FIN",
            Mutation::DropsName => "still going",
            Mutation::Spins | Mutation::SpinsOnFin => "turns for nothing",
            Mutation::StaysAlert => "a receive waits on a quiet connection",
            Mutation::SkipsGuard => "a silent server is not probed",
            Mutation::KeepsPipe => "while a pipe holds bytes",
            Mutation::DropsPipe => "a clean end after",
            Mutation::MiscountsPipe => "the pipe holds",
            Mutation::KeepsDescriptors => "descriptors on a quiet connection",
            Mutation::HidesSent => "were miscounted",
            Mutation::HidesStale => "stale",
            Mutation::KeepsGate => "other gates than the topology",
            Mutation::KeepsServer => "other servers than the topology",
            Mutation::MissesServer => "is not in the ring",
            Mutation::DropsKept | Mutation::SwapsKept => "is not byte",
            Mutation::ForgetsPreface => "has a preface without an end",
            Mutation::EvictsEarly => "was ended before its time",
            Mutation::InventsClients => "evicted for clients that are not there",
            Mutation::EvictsNever => "waits beside an idle connection",
            Mutation::ForgetsHeader => "has no header",
            Mutation::InventsHeader | Mutation::RepeatsHeader => "is not byte",
            Mutation::SwapsPorts => "the header of a server says",
            Mutation::CountsHeader => "bytes to servers were miscounted",
            Mutation::ConnectsEarly => "before its first byte",
            Mutation::ForgetsSilent => "is silent, and no server is asked",
            Mutation::ForgetsRoute => "of another route than its name's",
            Mutation::AdmitsDenied => "which is denied, was let in",
            Mutation::CrowdsSource => "clients of one source",
            Mutation::RefusesEarly => "is held without a limit",
            Mutation::ForgetsHeld => "waits though its source has room",
            Mutation::HoldsOn => "is held beyond its time",
            Mutation::LeavesTarpit => "was held for less than its time",
            Mutation::LeaksSource => "sources did not come home",
            Mutation::LeaksPlace => "places did not come home",
            Mutation::ForgetsTls => "in its handshake",
            Mutation::ForgetsTlsOut | Mutation::ForgetsGathered => "of the gateway's is wrong",
            Mutation::DropsCloseNotify => "without close_notify",
            Mutation::LeaksPermit => "permits did not come home",
            Mutation::LeaksServer => "connections did not come home",
            of_handovers => of_handovers.symptom_of_handovers(),
        }
    }

    fn symptom_of_handovers(self) -> &'static str {
        match self {
            Mutation::FlagsNever => "says idle",
            Mutation::ResumesInHand | Mutation::LosesAhead => "is not byte",
            Mutation::KeepsFlag => "says ended",
            Mutation::HidesEnded => "is kept for who ended",
            Mutation::TakesAll => "connections end with the predecessor",
            Mutation::LeaksSocket => "it leaks",
            Mutation::TwoReaders => "two processes use",
            Mutation::CountsTwice => "permits",
            Mutation::CountsForNoLimit => "connections of listener",
            Mutation::DropsLent => "not taken back",
            Mutation::ShutsLent => "clean end",
            Mutation::SkipsForget => "from nowhere",
            Mutation::ReadsOn => "is not byte",
            other => panic!("{other:?} is of no handover"),
        }
    }
}
