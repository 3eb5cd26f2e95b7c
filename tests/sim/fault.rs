//! The kinds of faults, how often each is to happen in a run, and how often it did.

use crate::random::Random;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What can go wrong, or merely otherwise than expected.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Fault { $($(#[doc = $doc])+ $name,)+ }

        impl Fault {
            pub const ALL: &[Fault] = &[$(Fault::$name,)+];
        }
    };
}

faults! {
    /// A receive got less than there was room and data for.
    ShortRead,
    /// A send took less than it was given.
    ShortWrite,
    /// A send found no room at all.
    SendWouldBlock,
    /// A send was refused for want of kernel memory.
    SendNoMemory,
    /// A receive was told that no buffer is free although one was.
    ReceiveNoBuffer,
    /// A receive found the pool truly empty.
    PoolExhausted,
    /// A socket got no ordinary descriptor for its splices.
    InstallRefused,
    /// A splice found every pipe in use.
    PipesExhausted,
    /// A splice took less than there was.
    ShortSplice,
    /// A splice found nothing.
    SpliceWouldBlock,
    /// A splice found nothing although a wait said that there is something, as with urgent data.
    SpliceBlind,
    /// A splice took the last bytes before a FIN.
    FinBehindPipe,
    /// Less came out of a pipe than was in it.
    ShortSpliceOut,
    /// Nothing came out of a pipe for want of room.
    PipeStalled,
    /// A socket was reset while bytes for it lay in a pipe.
    ResetWithPipe,
    /// A connection that had spliced went back to copying.
    BackToCopies,
    /// A receive did not wait, because its socket has a descriptor that does not.
    ReceiveWouldBlock,
    /// The memory for parked chunks was at its bound.
    ParkRefused,
    /// No file for an upstream socket.
    OpenNoFile,
    /// No file for an accepted client.
    AcceptNoFile,
    /// A server refused, or there was no way to it.
    ConnectRefused,
    /// A server never answered.
    ConnectUnanswered,
    /// A server's answer took long.
    ConnectSlow,
    /// A connect succeeded although its cancel was under way.
    ConnectBeatsCancel,
    /// A client was reset while it waited in the accept queue.
    ResetQueued,
    /// A client was reset before it was joined.
    ResetBeforeJoin,
    /// A joined peer sent RST.
    ResetJoined,
    /// A peer sent FIN and then RST.
    FinThenReset,
    /// A peer closed with bytes it had not read, which sends RST.
    CloseUnread,
    /// A peer answered bytes with RST because it had closed.
    SendToClosed,
    /// A server spoke first.
    ServerFirst,
    /// A peer read on after its own FIN.
    HalfClosed,
    /// A socket's error went to another operation: this receive saw a clean end.
    ErrorElsewhere,
    /// A cancel found what it looked for.
    CancelFound,
    /// A cancel found nothing: ENOENT.
    CancelMissed,
    /// A cancel came when an operation was past cancelling: EALREADY.
    CancelLate,
    /// A cancel's answer came before the completion of what it cancelled.
    CancelAnsweredFirst,
    /// A cancel's answer came after it.
    CancelAnsweredLast,
    /// An operation went on after its first cancel and ended at the second.
    CancelEscaped,
    /// Data was received although the receive's cancel was under way.
    DataBeatsCancel,
    /// A receive was cancelled because its connection was quiet.
    WentQuiet,
    /// Data was received although the receive of a quiet connection was being cancelled, and went
    /// on its way.
    DataBeatsQuiet,
    /// A slot was given to a new client before its close was heard of.
    AcceptOvertakesClose,
    /// A client was accepted after the cancel of its accept.
    AcceptAfterCancel,
    /// An accept stayed silent while clients waited.
    AcceptSilent,
    /// The kernel ended a multishot accept together with a client.
    AcceptEnded,
    /// The kernel ended a watch for hang-ups.
    WatchEnded,
    /// A listener's queue was full when a client knocked.
    BacklogFull,
    /// More had completed than the completion queue could show.
    CompletionsFull,
    /// A completion was late.
    Delayed,
    /// Completions came in another order than the kernel's.
    Permuted,
    /// A completion of an earlier life of a slot.
    Stale,
    /// The clock jumped ahead.
    ClockJump,
    /// A stop order came while connections were open.
    StopInFlight,
    /// A drain began while connections were open.
    DrainInFlight,
    /// The addresses of a side could not be had.
    NameRefused,
    /// The addresses of a side were found when its peer had left already.
    NameOfTheDeparted,
    /// Somebody was shown connections with the addresses of both sides.
    Listed,
    /// A connection was shown that ended before its addresses were known.
    ListedUnnamed,
    /// Somebody asked for connections while another did.
    ListBusy,
    /// Somebody asked for connections and did not wait for the answer.
    AskerGone,
    /// An asker waited when the worker returned.
    AskerLeftAlone,
    /// Somebody named a connection that was gone.
    StaleId,
    /// Somebody ended connections.
    Killed,
    /// A client knocked at a paused listener.
    KnockWhilePaused,
    /// A client was accepted after its listener's pause had begun.
    AcceptAfterPause,
    /// A pause was carried out by every worker and clients waited.
    PausedWithClients,
    /// Every server's weight was taken away while connections were open.
    AllServersDrained,
    /// A drain of everybody was cancelled while connections were open.
    DrainCancelled,
    /// The drain of a part began while connections were open.
    PartDrained,
    /// It was cancelled before it was over.
    PartDrainCancelled,
    /// A connection's opening and end were noted for the access log.
    Noted,
    /// Notes were dropped because nobody took them.
    NotesDropped,
    /// A receive went on by itself and took bytes that nobody had asked for.
    TakenAhead,
    /// It took an end.
    EndTakenAhead,
    /// It took an error, which no send and no poll meets then.
    ErrorTakenAhead,
    /// What was received ahead was parked, because buffers were scarce.
    AheadParked,
    /// A splice got what was received ahead.
    AheadSpliced,
    /// A close discarded what was received ahead.
    AheadDiscarded,
    /// A connection was held by a peer that never reads, never ends or never answers until the
    /// worker was stopped.
    HeldForEver,
    /// The same, and clients waited in a queue because of it.
    HeldUp,
    /// A side was reset while the other's peer never reads, never ends or never answers.
    ResetAcrossHolder,
    /// A worker's process was stopped for a while, and the world went on.
    Paused,
    /// A turn that had nothing to do ended long after its time.
    TurnLate,
    /// A wait for room ended although nothing fits.
    WritableForNothing,
    /// A wait for room ended on a socket whose peer has sent FIN.
    WritableAfterFin,
    /// A wait for bytes ended although there is nothing.
    ReadableForNothing,
    /// More than two workers shared the budget.
    ManyWorkers,
    /// A listener was taken away while accepts were armed on it.
    ClosedWhileArmed,
    /// A client was accepted by a gate that the topology no longer had.
    AcceptAfterClose,
    /// A listener came again.
    ListenerReturned,
    /// A server was taken away while somebody connected to it.
    DroppedWhileConnecting,
    /// A listener with clients got another upstream.
    RedirectedInFlight,
    /// A server got another name while there were clients.
    ServerRenamed,
    /// A client was read before a server was chosen for it.
    ReadBeforeServer,
    /// A client left before it had said enough.
    GoneInPreface,
    /// A client did not say enough in time.
    PrefaceTooLate,
    /// A client that had not said enough was ended by an order.
    EndedInPreface,
    /// A client said what nobody understands.
    PrefaceRefused,
    /// A client was reset, as its address could not be found out.
    Unmet,
    /// A client waited until another one had been read.
    PlaceAwaited,
    /// It waited for longer than its preface may take.
    StoodByForLong,
    /// Others had all places while one was held that had been read.
    PlaceLeft,
    /// An idle connection made way for a client that waited at the gateway's limit.
    Evicted,
    /// The same at a listener's limit.
    EvictedByQuota,
    /// The client waited at another worker.
    EvictedElsewhere,
    /// A server had been silent for so long that it was probed.
    ServerProbed,
    /// The time was bounded that bytes to a server stay unacknowledged.
    BytesBounded,
    /// A socket refused to be guarded.
    GuardRefused,
    /// A connect found no source port.
    OutOfPorts,
    /// A client that had waited for one was joined.
    PortCame,
    /// The source address was not one of the host's.
    NoSourceAddress,
    /// A client had waited for a server that serves when there was one.
    ServerAwaited,
    /// A server got a header.
    Headed,
    /// It came in several pieces.
    HeadedInPieces,
    /// It came in one piece with its client's bytes.
    HeadedWithBytes,
    /// It came although its client had said nothing.
    HeadedInSilence,
    /// It came to a server that was not its client's first.
    HeadedAfresh,
    /// No buffer was free for it at first.
    HeadedLater,
    /// It said no addresses, as these could not be had.
    HeadedUnknown,
    /// It said addresses that a preface had said.
    HeadedByPreface,
    /// A connection ended in the midst of it.
    HeadingCut,
    /// Servers were told of clients otherwise while there were some.
    Retold,
    /// A server was connected to although its client had said nothing for so long.
    SilenceOver,
    /// A client left that had said nothing, and no server heard of it.
    GoneInSilence,
    /// One was reset.
    ResetInSilence,
    /// A timeout ended it.
    SilentTooLong,
    /// An order did.
    EndedInSilence,
    /// A silent client said something and ended at once.
    SpokeAndEnded,
    /// A client went to another route of its listener.
    Rerouted,
    /// The same by the name in its hello.
    ReroutedByHello,
    /// The clients of a listener were read in another way while one had said a part of it.
    RereadInPreface,
    /// A client left that had said what is for one decoder and not what is for the next.
    GoneBetween,
    /// A client was not read by a decoder that is for others.
    CameDirectly,
    /// A client was denied by its own address.
    DeniedMet,
    /// The same by the address that its header says.
    DeniedByHeader,
    /// One was reset at the limits of its source.
    RefusedBySource,
    /// One waited to the end of its time for its source to have room.
    WaitedInVain,
    /// One sat in a tarpit to the end of its time.
    SatInTarpit,
    /// One that had waited went on.
    WentOn,
    /// The same with its header read before.
    WentOnRead,
    /// The same with its direction ended meanwhile.
    WentOnEnded,
    /// One was reset by its peer while it was held.
    ResetWhileHeld,
    /// One was ended by an order or a timeout that had been held.
    EndedWhileHeld,
    /// One came for which there are no limits, though there are some for others.
    CameExempt,
    /// A source had clients at several workers.
    SourceElsewhere,
    /// A listener's rules and limits changed while clients of it were held.
    RekeptWhileHeld,
}

impl Fault {
    /// All but those of an operator's doing and those of receives that go on, which stand last:
    /// another one of those changes no seed's meaning.
    pub const DRAWN: &[Fault] = Fault::ALL.split_at(Fault::KnockWhilePaused as usize).0;
}

/// How many kinds there are.
pub const KINDS: usize = Fault::ALL.len();

/// The dice of one run and what they showed.
#[derive(Clone, Debug)]
pub struct Faults {
    percent: [u8; KINDS],
    pub fired: [u64; KINDS],
    /// No dice any more: the run is to come to its end.
    pub calm: bool,
}

impl Faults {
    /// Every kind is left out of half of the runs, so that runs differ in character.
    pub fn new(random: &mut Random) -> Faults {
        let mut percent = [0; KINDS];
        for rate in &mut percent[..Fault::DRAWN.len()] {
            if random.percent(50) {
                *rate = random.between(1, 25) as u8;
            }
        }
        Faults { percent, fired: [0; KINDS], calm: false }
    }

    /// With another one, as often in a hundred.
    pub fn with(mut self, fault: Fault, percent: u8) -> Faults {
        self.percent[fault as usize] = percent;
        self
    }

    /// Whether `fault` may happen in this run at all.
    pub fn may(&self, fault: Fault) -> bool {
        self.percent[fault as usize] > 0
    }

    /// Whether `fault` happens now. Whoever makes it happen notes it.
    pub fn roll(&self, fault: Fault, random: &mut Random) -> bool {
        !self.calm && random.percent(u64::from(self.percent[fault as usize]))
    }

    /// As [`Faults::roll`], noted at once.
    pub fn strikes(&mut self, fault: Fault, random: &mut Random) -> bool {
        let strikes = self.roll(fault, random);
        if strikes {
            self.note(fault);
        }
        strikes
    }

    pub fn note(&mut self, fault: Fault) {
        self.fired[fault as usize] += 1;
    }
}
