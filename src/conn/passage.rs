//! Whether a lane's bytes are copied through buffers or spliced through pipes, and for how long.

/// Receives in a row that fill their buffer before a lane asks for splices.
const FULL_RECEIVES: u8 = 4;
/// The same once the ring has refused, so that not every message asks.
const FULL_RECEIVES_IF_REFUSED: u8 = 60;
/// Splices in a row that bring less than a buffer holds, each after a wait, before a lane goes back
/// to receives.
const THIN_SPLICES: u8 = 4;
/// Receives, each after a wait, before a lane that was quiet keeps one armed.
const SELDOM_RECEIVES: u8 = 8;

/// How a lane's bytes pass.
///
/// ```text
///            enough full receives              a wait is over
///   Copied(n) ──────────────────► Spliced(n) ◄────────────────► Woken(n) ──► Leaving
///      ▲  ▲                           │        it brought bytes    │  thin      │
///      │  └───────────────────────────┴────────────────────────────┘            │
///      └────────────── refused, or nothing was there ◄──────────────────────────┘
///
///            went quiet
///   Copied ◄────────────► Seldom(n): a wait before each receive, since one that is armed and
///          enough receives           brings nothing is cancelled, which takes longer than it saves
/// ```
///
/// One byte, since a connection has two and is to stay small: the state above, and below it how
/// many receives or splices are still to come until it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passage(u8);

/// Three of its highest values are states of their own.
const COUNT: u8 = 0x3f;
const SPLICED: u8 = 0x40;
const WOKEN: u8 = 0x80;
const LEAVING: u8 = 0xc0;
/// The same bits, with a count.
const SELDOM: u8 = LEAVING;

impl Passage {
    /// By the worker, out of what it keeps of a preface; then by receives.
    pub(super) const KEPT: Passage = Passage(0);
    /// The same, and a header of ours goes before it.
    pub(super) const KEPT_HEADED: Passage = Passage(COUNT - 1);
    /// By receives, and a header of ours goes before what the first one brings.
    pub(super) const HEADED: Passage = Passage(COUNT);
    /// By receives, as every lane begins.
    pub(super) const COPIED: Passage = Passage(FULL_RECEIVES);
    /// The same, after the ring refused a splice.
    pub(super) const REFUSED: Passage = Passage(FULL_RECEIVES_IF_REFUSED);
    /// By receives, once their source, the server, has agreed to what it is asked.
    pub(super) const ASKED: Passage = Passage(COUNT - 2);
    /// By receives, each behind a wait: nothing has moved for a while.
    pub(super) const QUIET: Passage = Passage(SELDOM | SELDOM_RECEIVES);

    /// What comes next was read before the join.
    pub(super) fn is_kept(self) -> bool {
        matches!(self, Passage::KEPT | Passage::KEPT_HEADED)
    }

    /// The server gets a header of ours first.
    pub(super) fn is_headed(self) -> bool {
        matches!(self, Passage::HEADED | Passage::KEPT_HEADED)
    }

    /// The same with what was read before the join.
    pub(super) fn keeping(self) -> Passage {
        if self.is_headed() { Passage::KEPT_HEADED } else { Passage::KEPT }
    }

    /// The same once the server has its header.
    pub(super) fn behind_header(self) -> Passage {
        match self {
            Passage::HEADED => Passage::COPIED,
            Passage::KEPT_HEADED => Passage::KEPT,
            other => other,
        }
    }

    /// Nothing is to come before what its source says.
    pub(super) fn is_plain(self) -> bool {
        let is_first = self.is_kept() || self.is_headed() || self == Passage::ASKED;
        !is_first
    }

    fn state(self) -> u8 {
        self.0 & !COUNT
    }

    fn count(self) -> u8 {
        self.0 & COUNT
    }

    /// By receives: nothing of the lane's lies in a pipe.
    pub(super) fn is_copied(self) -> bool {
        self.state() == 0 || self.is_seldom()
    }

    /// A wait goes before the next receive.
    pub(super) fn is_seldom(self) -> bool {
        self.state() == SELDOM && self.count() > 0
    }

    /// Nothing has moved for a while. A lane that was refused stays so.
    pub(super) fn rest(&mut self) {
        let is_copied = self.state() == 0 && (1..=FULL_RECEIVES).contains(&self.count());
        if is_copied || self.is_seldom() {
            *self = Passage::QUIET;
        }
    }

    /// The next bytes are to be spliced.
    pub(super) fn is_spliced(self) -> bool {
        matches!(self.state(), SPLICED | WOKEN)
    }

    /// A wait has just said that there is something.
    pub(super) fn is_woken(self) -> bool {
        self.state() == WOKEN
    }

    /// A wait for bytes is over.
    pub(super) fn wake(&mut self) {
        if self.state() == SPLICED {
            self.0 = WOKEN | self.count();
        }
    }

    /// Bytes came; `full` if they were as many as a buffer holds.
    pub(super) fn brought(&mut self, full: bool) {
        self.0 = match (self.state(), self.count(), full) {
            (0, 1, true) => SPLICED | THIN_SPLICES,
            (0, left, true) => left - 1,
            (0, left, false) => left.max(FULL_RECEIVES),
            (WOKEN, 1, false) => LEAVING,
            (WOKEN, left, false) => SPLICED | (left - 1),
            (SPLICED | WOKEN, _, true) => SPLICED | THIN_SPLICES,
            (SPLICED, left, false) => SPLICED | left,
            (SELDOM, 1.., true) => FULL_RECEIVES - 1,
            (SELDOM, 1, false) => Passage::COPIED.0,
            (SELDOM, left @ 2.., false) => SELDOM | (left - 1),
            (_, _, _) => panic!("bytes of a lane that leaves: {self:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_full_receives_in_a_row_make_a_lane_splice() {
        let mut passage = Passage::COPIED;
        for full in [true, true, true, false, true, true, true] {
            passage.brought(full);
            assert!(passage.is_copied());
        }
        passage.brought(true);
        assert!(passage.is_spliced());
    }

    #[test]
    fn four_thin_waits_in_a_row_make_it_receive_again() {
        let mut passage = Passage(SPLICED | THIN_SPLICES);
        for full in [false, false, false, true, false, false, false] {
            passage.wake();
            passage.brought(full);
            passage.brought(false);
            assert!(passage.is_spliced());
        }
        passage.wake();
        passage.brought(false);
        assert!(!passage.is_spliced() && !passage.is_copied());
    }

    #[test]
    fn a_lane_that_was_quiet_waits_before_its_first_receives() {
        let mut passage = Passage::COPIED;
        passage.rest();
        for _ in 1..SELDOM_RECEIVES {
            passage.brought(false);
            assert!(passage.is_seldom() && passage.is_copied());
        }
        passage.rest();
        assert_eq!(passage, Passage::QUIET, "it begins to count again");
        passage.brought(true);
        assert!(!passage.is_seldom(), "a full buffer is not the last");
        let mut refused = Passage::REFUSED;
        refused.rest();
        assert_eq!(refused, Passage::REFUSED);
    }

    #[test]
    fn a_refused_lane_asks_seldom() {
        let mut passage = Passage::REFUSED;
        passage.brought(false);
        let asks = (1..).find(|_| {
            passage.brought(true);
            passage.is_spliced()
        });
        assert_eq!(asks, Some(u32::from(FULL_RECEIVES_IF_REFUSED)));
    }
}
