//! Ends the connections that an operator chose, at a pace.

use super::pace::Rate;
use super::reach::Reach;
use super::scan::Chosen;
use super::step::Step;
use crate::base::{ConnIndex, Millis};
use crate::conn::Reason;
use crate::worker::question::Reply;

/// Connections that are killed per second at most.
const KILLED_PER_SECOND: u32 = 1000;

/// A kill under way: a scan has chosen which connections it means.
#[derive(Debug)]
pub struct Kill {
    chosen: Chosen,
    pace: Rate,
}

impl Kill {
    /// A kill of the chosen.
    pub fn new(chosen: Chosen, now: Millis) -> Kill {
        Kill { chosen, pace: Rate::per_second(KILLED_PER_SECOND, now) }
    }

    /// Ends the chosen whose turn has come and that still match; is over after the last one.
    /// When nobody listens for the answer any more, the others are spared.
    pub fn step<R: Reach>(&mut self, reach: &mut R) -> Step {
        let Chosen { task, answer, ids } = &mut self.chosen;
        if task.reply.is_closed() {
            return Step::Over;
        }
        while self.pace.take(reach.now()) {
            let Some(id) = ids.pop_front() else { return Step::Over };
            let index = ConnIndex(id.slot);
            let matches = reach.is_living(id)
                && reach.facts(index).is_some_and(|facts| task.query.admits(&facts));
            if matches {
                reach.end(index, Reason::Killed);
                answer.killed += 1;
            } else if task.only.is_some() {
                answer.stale.push(id);
            }
        }
        Step::At(self.pace.turn())
    }

    /// Says how many were ended so far, if the asker still listens.
    pub fn answer(self) {
        let Chosen { task, answer, .. } = self.chosen;
        let _ = task.reply.send(Reply::Done(answer));
    }
}
