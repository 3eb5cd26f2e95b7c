//! Ends connections that an operator chose, at a pace.

use std::collections::VecDeque;
use std::time::Duration;

use super::Worker;
use super::question::{Answer, Reply, Task};
use crate::base::{ConnIndex, Millis};
use crate::conn::Reason;
use crate::query::ConnId;
use crate::ring::Ring;

/// Connections that are killed per second at most.
const KILLED_PER_SECOND: u32 = 1000;
/// How much time a kill makes up for when its worker was late.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A kill under way: a walk has chosen whom it means.
#[derive(Debug)]
pub(super) struct Kill {
    task: Task,
    answer: Answer,
    chosen: VecDeque<ConnId>,
    /// When the next one's turn is.
    turn: Millis,
}

impl Kill {
    pub(super) fn new(task: Task, answer: Answer, chosen: VecDeque<ConnId>, now: Millis) -> Kill {
        Kill { task, answer, chosen, turn: now }
    }

    /// When the next one's turn is.
    pub(super) fn turn(&self) -> Millis {
        self.turn
    }

    /// Says how many were ended so far, if somebody still wants to know.
    pub(super) fn answer(self) {
        let _ = self.task.reply.send(Reply::Done(self.answer));
    }
}

impl<R: Ring> Worker<R> {
    /// Ends those of the chosen whose turn has come and who still match, and answers when all
    /// were dealt with. When nobody listens for the answer any more, the others are spared.
    pub(super) fn kill_due(&mut self) {
        let Some(mut kill) = self.kill.take() else { return };
        if kill.task.reply.is_closed() {
            return;
        }
        let earliest = self.now.0.saturating_sub(CATCH_UP.as_millis() as u64);
        kill.turn = Millis(kill.turn.0.max(earliest));
        while kill.turn <= self.now {
            let Some(id) = kill.chosen.pop_front() else { return kill.answer() };
            kill.turn = kill.turn.after(Duration::from_secs(1) / KILLED_PER_SECOND);
            let index = ConnIndex(id.slot);
            let matches = self.is_living(id)
                && self.facts(index).is_some_and(|facts| kill.task.query.admits(&facts));
            if matches {
                self.end(index, Reason::Killed);
                kill.answer.killed += 1;
            } else if kill.task.only.is_some() {
                kill.answer.stale.push(id);
            }
        }
        self.kill = Some(kill);
    }
}
