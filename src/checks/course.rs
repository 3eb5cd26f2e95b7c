//! The checks of one server, one after the other, and what they say of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::ask::{Target, ask};
use super::tally::{Outcome, Tally};
use crate::base::Clock;
use crate::base::chance::{jittered, part_of};
use crate::config::Check;
use crate::upstream::{AdminState, Observed, Standing};

/// The first check comes within this time, however long the interval is.
const FIRST_WITHIN: Duration = Duration::from_secs(5);
/// How many times sooner a server is checked while it changes.
const SOONER: u32 = 4;

/// What the checks of a server go by.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) target: Target,
    pub(super) check: Check,
    pub(super) standing: Arc<Standing>,
    pub(super) tally: Arc<Tally>,
    pub(super) places: Arc<Semaphore>,
    pub(super) clock: Clock,
}

impl Course {
    /// Checks the server again and again; never ends.
    pub(super) async fn run(self) {
        // Servers that are new together are not checked together.
        let mut pause = part_of(self.check.interval.min(FIRST_WITHIN));
        let mut row = Row::default();
        for turn in 0.. {
            sleep(pause).await;
            let began = self.clock.now();
            if self.standing.admin() == AdminState::Maintenance {
                row = Row::default();
            } else {
                let place = self.places.acquire().await.expect("the semaphore is never closed");
                let outcome = ask(&self.target, turn, &self.check).await;
                drop(place);
                self.tally.count(&outcome, self.clock.now());
                row.take(&outcome, &self.check, &self.standing, &self.tally);
            }
            let interval = self.check.interval / if row.0 > 0 { SOONER } else { 1 };
            pause = jittered(interval).saturating_sub(self.clock.now().since(began));
        }
    }
}

/// Results in a row that say otherwise than what is observed.
#[derive(Debug, Default)]
struct Row(u32);

impl Row {
    /// Takes a result; it may be the last that makes a server down or up. A server that rests after
    /// failures of its clients stays so while it passes: clients saw what checks do not.
    fn take(&mut self, outcome: &Outcome, check: &Check, standing: &Standing, tally: &Tally) {
        let is_down = standing.observed() == Observed::Down;
        match outcome {
            // Nothing is known.
            Outcome::Unable(_) => return,
            Outcome::Passed if is_down => self.0 += 1,
            Outcome::Failed(_) if !is_down => self.0 += 1,
            Outcome::Passed | Outcome::Failed(_) => self.0 = 0,
        }
        match outcome {
            Outcome::Passed if is_down && self.0 >= check.rise => {
                tally.judge(None);
                standing.set_up();
                self.0 = 0;
            }
            Outcome::Failed(because) if !is_down && self.0 >= check.fall => {
                let kind = check.kind.word();
                tally.judge(Some(match check.fall {
                    1 => format!("a check ({kind}) failed: {because}"),
                    fall => format!("{fall} checks ({kind}) in a row failed: {because}"),
                }));
                standing.set_down();
                self.0 = 0;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Errno, Millis};
    use crate::config::Terms;
    use crate::upstream::{Failure, Fleet, Rules};

    fn taken(row: &mut Row, standing: &Standing, results: &str) -> Vec<Observed> {
        let (check, tally) = (Check { rise: 2, fall: 3, ..Check::default() }, Tally::default());
        let one = |result: char| {
            let outcome = match result {
                '+' => Outcome::Passed,
                '-' => Outcome::Failed("refused".to_owned()),
                _ => Outcome::Unable("no port".to_owned()),
            };
            row.take(&outcome, &check, standing, &tally);
            let is_down = standing.observed() == Observed::Down;
            assert_eq!(tally.told().because.is_some(), is_down, "{result}");
            standing.observed()
        };
        results.chars().map(one).collect()
    }

    #[test]
    fn only_results_in_a_row_change_what_is_observed() {
        use Observed::{Down, Up};
        let standing = Standing::new(Terms::default(), Arc::new(Fleet::default()));
        let mut row = Row::default();
        assert_eq!(taken(&mut row, &standing, "--+--+-"), [Up; 7]);
        assert_eq!(row.0, 1, "it is checked sooner");
        assert_eq!(taken(&mut row, &standing, "?-?-"), [Up, Up, Up, Down]);
        assert_eq!(row.0, 0);
    }

    #[test]
    fn a_server_that_is_down_comes_back_by_checks_alone() {
        use Observed::{Down, Up};
        let fleet = Arc::new(Fleet::default());
        fleet.set_rules(Rules { failures: Some(1), most: 1, ..Rules::default() });
        let standing = Standing::new(Terms::default(), fleet.clone());
        let mut row = Row::default();
        taken(&mut row, &standing, "---");
        standing.failed(Failure::Connect(Errno::ECONNREFUSED), Millis(0));
        standing.joined();
        standing.passed();
        standing.try_again();
        assert_eq!(standing.observed(), Down);
        let (check, tally) = (Check::default(), Tally::default());
        let mut observed = Vec::new();
        for outcome in [Outcome::Passed, Outcome::Failed(String::new()), Outcome::Passed] {
            row.take(&outcome, &check, &standing, &tally);
            observed.push(standing.observed());
        }
        row.take(&Outcome::Passed, &check, &standing, &tally);
        assert_eq!((observed, standing.observed()), (vec![Down; 3], Up));
    }

    #[test]
    fn an_ejected_server_stays_so_while_it_passes_and_is_down_when_it_fails() {
        let fleet = Arc::new(Fleet::default());
        fleet.set_rules(Rules { failures: Some(1), most: 1, ..Rules::default() });
        let standing = Standing::new(Terms::default(), fleet.clone());
        standing.failed(Failure::Connect(Errno::ECONNREFUSED), Millis(0));
        let mut row = Row::default();
        assert_eq!(taken(&mut row, &standing, "+++"), [Observed::Ejected; 3]);
        assert_eq!(taken(&mut row, &standing, "---").last(), Some(&Observed::Down));
        let other = Standing::new(Terms::default(), fleet);
        other.failed(Failure::Silence, Millis(0));
        assert_eq!(other.observed(), Observed::Ejected, "its place among those that rest is free");
    }
}
