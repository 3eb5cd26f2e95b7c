//! What happened in these runs: each of it must, in some seed.

use super::courier::Happened;
use super::plan::Step;

/// What may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Sight {
    Shutting,
    Switching,
    Resting,
    RestEnding,
    Proving,
    Committing,
    TakingBack,
    Orphaned,
    Committed,
    SuccessorDied,
    PredecessorDied,
    Stopped,
    RestEnded,
    /// Connections lived on in a successor.
    Moved,
    /// Clients did that had no server yet.
    UnservedMoved,
    /// Connections with bytes in hand were lost with it.
    Lost,
    /// A connection that nobody had bytes of was taken back.
    TakenBack,
    /// A predecessor still waited for bytes that its successor waits for.
    WaitKept,
    /// The way between workers was full, lost descriptors, spoilt bytes, brought what is not known,
    /// or a batch in pieces.
    WayFull,
    WayLost,
    WaySpoilt,
    WayStrange,
    WayPieces,
}

impl Sight {
    pub const ALL: [Sight; 23] = [
        Sight::Shutting,
        Sight::Switching,
        Sight::Resting,
        Sight::RestEnding,
        Sight::Proving,
        Sight::Committing,
        Sight::TakingBack,
        Sight::Orphaned,
        Sight::Committed,
        Sight::SuccessorDied,
        Sight::PredecessorDied,
        Sight::Stopped,
        Sight::RestEnded,
        Sight::Moved,
        Sight::UnservedMoved,
        Sight::Lost,
        Sight::TakenBack,
        Sight::WaitKept,
        Sight::WayFull,
        Sight::WayLost,
        Sight::WaySpoilt,
        Sight::WayStrange,
        Sight::WayPieces,
    ];

    pub fn of(step: Step) -> Sight {
        match step {
            Step::Moving | Step::Shutting => Sight::Shutting,
            Step::Switching => Sight::Switching,
            Step::Resting => Sight::Resting,
            Step::Ending => Sight::RestEnding,
            Step::Proving => Sight::Proving,
            Step::Committing => Sight::Committing,
            Step::TakingBack => Sight::TakingBack,
            Step::Orphaned => Sight::Orphaned,
        }
    }
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(pub [u64; Sight::ALL.len()]);

impl Seen {
    pub fn note(&mut self, sight: Sight) {
        self.add(sight, 1);
    }

    pub fn add(&mut self, sight: Sight, times: u64) {
        self.0[sight as usize] += times;
    }

    pub fn has(&self, sight: Sight) -> bool {
        self.0[sight as usize] > 0
    }

    pub fn note_lost(&mut self, lost: u32) {
        self.add(Sight::Lost, lost.into());
    }

    pub fn note_happened(&mut self, happened: Happened) {
        let Happened { full, lost, spoilt, strange, pieces } = happened;
        self.add(Sight::WayFull, full);
        self.add(Sight::WayLost, lost);
        self.add(Sight::WaySpoilt, spoilt);
        self.add(Sight::WayStrange, strange);
        self.add(Sight::WayPieces, pieces);
    }
}

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub seen: [u64; Sight::ALL.len()],
    pub turns: u64,
    pub clients: u64,
}
