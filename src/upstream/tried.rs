//! Which servers a connection has tried.

/// Which servers a connection has tried, and how many it may still try. It goes on where it was
/// when others come or go meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// The first of them; by source the last one.
    first: u16,
    /// From this step on they are still to be tried; 0 before the first.
    steps: u16,
    /// Tries that are left, the one under way among them.
    left: u8,
    lacked: Lack,
}

/// What a server may have been short of for one more connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// Nothing: it had room.
    #[default]
    Nothing,
    /// It has as many as it may.
    Limit,
    /// There is none that serves, and one is waited for.
    Server,
    /// A source port towards it.
    Port,
}

impl Tried {
    /// None of them.
    pub const NONE: Tried = Tried { first: 0, steps: 0, left: 0, lacked: Lack::Nothing };

    /// Whether no server was tried yet.
    pub fn is_fresh(&self) -> bool {
        self.steps == 0
    }

    /// Tries that are left, the one under way among them.
    pub fn left(&self) -> u8 {
        self.left
    }

    /// The last one was tried in vain.
    pub fn fail(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// The last one was not tried after all.
    ///
    /// # Panics
    /// When there is none.
    pub fn take_back(&mut self) {
        self.steps -= 1;
    }

    /// One of them had no room for the connection, and may have some later.
    pub fn lack(&mut self, what: Lack) {
        self.lacked = self.lacked.max(what);
    }

    /// What one of them was short of, so that another try may find room.
    pub fn lacked(&self) -> Lack {
        if !self.is_fresh() && self.left == 0 { Lack::Nothing } else { self.lacked }
    }

    pub(super) fn begin(&mut self, first: usize, left: u8) {
        (self.first, self.steps, self.left) = (first as u16, 1, left);
    }

    pub(super) fn first(&self) -> usize {
        self.first.into()
    }

    /// The last of them, by source.
    pub(super) fn last(&self) -> usize {
        self.first.into()
    }

    /// By source, this one is tried.
    pub(super) fn follow(&mut self, server: usize) {
        (self.first, self.steps) = (server as u16, self.steps.saturating_add(1));
    }

    pub(super) fn steps(&self) -> usize {
        self.steps.into()
    }

    /// The server of this step is tried.
    pub(super) fn go_on(&mut self, step: usize) {
        self.steps = step as u16 + 1;
    }
}
