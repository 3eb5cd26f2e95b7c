//! Accepts that never bring more clients than there are slots.

use portcullis::ring::{AcceptMode, Accepts as _, GateId, KernelRing};

/// Single accepts armed for one listener, at most: what one turn takes from its queue.
const CREDITS_MAX: u32 = 256;

/// Turns after which accepts that have not ended are cancelled again: one that is just bringing a
/// client escapes a cancel.
const TURNS_BETWEEN_CANCELS: u32 = 16;

/// How clients are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Everything that comes: there is room for a whole burst.
    Multishot,
    /// By credits, one for each slot.
    Single,
    /// Accepts were cancelled; when they are gone, a new part of the table is chosen.
    Turning,
    Stopped,
}

/// A thread's accepts.
pub(super) struct Accepts {
    mode: Mode,
    /// Accepts armed, by listener.
    armed: Box<[u32]>,
    /// Turns since accepts were cancelled.
    turning: u32,
    /// The listener that gets the next part's first credit: the last slots go round.
    first: usize,
}

impl Accepts {
    pub(super) fn new(listeners: usize) -> Accepts {
        let mode = if listeners == 0 { Mode::Stopped } else { Mode::Turning };
        Accepts { mode, armed: vec![0; listeners].into_boxed_slice(), turning: 0, first: 0 }
    }

    pub(super) fn accepted(&mut self, listener: GateId, more: bool) {
        self.armed[usize::from(listener.0)] -= u32::from(!more);
    }

    pub(super) fn ended(&mut self, listener: GateId) {
        self.armed[usize::from(listener.0)] -= 1;
    }

    /// Arms what there is room for.
    pub(super) fn arm(&mut self, ring: &mut KernelRing) {
        let armed: u32 = self.armed.iter().sum();
        let burst = ring.accept_burst();
        match self.mode {
            Mode::Stopped => return,
            Mode::Multishot if ring.accept_room() < burst => {
                return self.cancel(ring, Mode::Turning);
            }
            // Credits of listeners that nobody comes to would hold the last slots of this part.
            Mode::Single
                if ring.accept_room() < burst
                    && ring.best_accept_room() >= burst.min(2 * ring.accept_room().max(1)) =>
            {
                self.cancel(ring, Mode::Turning);
            }
            Mode::Turning if armed > 0 => {
                self.turning += 1;
                if self.turning.is_multiple_of(TURNS_BETWEEN_CANCELS) {
                    self.cancel(ring, Mode::Turning);
                }
            }
            _ => {}
        }
        if armed == 0 {
            ring.retarget_accepts();
            let open_water = ring.accept_room() >= burst;
            self.mode = if open_water { Mode::Multishot } else { Mode::Single };
            self.first = (self.first + 1) % self.armed.len();
        }
        match self.mode {
            Mode::Multishot => self.arm_each(ring, AcceptMode::Multishot, 1, u32::MAX),
            Mode::Single => {
                let room = ring.accept_room().saturating_sub(armed);
                let share = ring.accept_room().div_ceil(self.armed.len() as u32).min(CREDITS_MAX);
                self.arm_each(ring, AcceptMode::Single, share, room);
                if self.starves(ring) {
                    self.cancel(ring, Mode::Turning);
                }
            }
            Mode::Turning | Mode::Stopped => {}
        }
    }

    fn arm_each(&mut self, ring: &mut KernelRing, mode: AcceptMode, each: u32, mut room: u32) {
        let many = self.armed.len();
        for index in (0..many).map(|step| (self.first + step) % many) {
            while self.armed[index] < each && room > 0 {
                ring.accept(GateId(index as u16), mode);
                (self.armed[index], room) = (self.armed[index] + 1, room - 1);
            }
        }
    }

    /// Clients wait at a listener without a credit, and the others' credits hold every slot.
    fn starves(&self, ring: &KernelRing) -> bool {
        let waits = |index| ring.accept_queue(GateId(index as u16)).is_ok_and(|many| many > 0);
        ring.best_accept_room() > 0
            && (0..self.armed.len()).any(|index| self.armed[index] == 0 && waits(index))
    }

    fn cancel(&mut self, ring: &mut KernelRing, mode: Mode) {
        for index in 0..self.armed.len() {
            ring.cancel_accepts(GateId(index as u16));
        }
        (self.mode, self.turning) = (mode, 0);
    }
}
