//! Works measured round by round, while targets take turns.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::rig::{Rig, Stop};
use super::target::Target;
use super::upgrade;
use super::work::{UPGRADE, Work};
use crate::number;
use crate::report;
use crate::result::{Input, Outcome};

/// How often a measurement whose generator was the bottleneck is made.
const ATTEMPTS: u32 = 3;
/// What a measurement takes beyond its seconds, as long as none was made.
const OVERHEAD: Duration = Duration::from_secs(3);

pub(crate) struct Series<'a> {
    pub(crate) rig: Rig,
    pub(crate) targets: &'a [Target],
    pub(crate) works: &'a [Work],
    pub(crate) rounds: u32,
    /// Where results go, line by line.
    pub(crate) out: Box<dyn Write>,
    /// The same, as a report reads them.
    results: Input,
    /// Measurements made, and how long those of each work took.
    done: usize,
    took: BTreeMap<usize, (u32, Duration)>,
}

impl<'a> Series<'a> {
    pub(crate) fn new(
        rig: Rig,
        targets: &'a [Target],
        works: &'a [Work],
        rounds: u32,
        out: Box<dyn Write>,
    ) -> Series<'a> {
        let (results, took) = (Input::default(), BTreeMap::new());
        Series { rig, targets, works, rounds, out, results, done: 0, took }
    }

    /// Writes the line, measures everything, and tells what came of it.
    pub(crate) fn run(mut self, first_line: &Value) -> io::Result<ExitCode> {
        self.write(first_line.clone())?;
        let mut end = Ok(());
        for round in 1..=self.rounds {
            end = self.round(round);
            if end.is_err() {
                break;
            }
            if round < self.rounds {
                eprintln!("after round {round} of {}:", self.rounds);
                self.standings().iter().for_each(|work| eprintln!("  {}", report::brief(work)));
            }
        }
        let works = self.standings();
        works.iter().for_each(|work| eprint!("\n{}", report::table(work)));
        let rows = || works.iter().flat_map(|work| &work.rows);
        let failed = rows().any(report::Row::failed);
        let invalid = rows().any(|row| row.doubts().next().is_some());
        match end {
            Err(Stop::Broken(error)) => Err(error),
            Err(Stop::Interrupted) => {
                eprintln!("\ninterrupted: what is above is what was measured");
                Ok(ExitCode::from(1))
            }
            Ok(()) if failed => Ok(ExitCode::from(1)),
            Ok(()) if invalid => Ok(ExitCode::from(3)),
            Ok(()) => Ok(ExitCode::SUCCESS),
        }
    }

    fn round(&mut self, round: u32) -> Result<(), Stop> {
        let (works, targets) = (self.works, self.targets);
        for (at, work) in works.iter().enumerate() {
            for target in order(round, targets.len()) {
                if !self.is_measured(work, &targets[target]) {
                    continue;
                }
                let begun = Instant::now();
                let line = self.measure(work, &targets[target], round)?;
                self.write(line)?;
                self.done += 1;
                let took = self.took.entry(at).or_default();
                *took = (took.0 + 1, took.1 + begun.elapsed());
                self.tell(round, at, target);
            }
        }
        Ok(())
    }

    /// Whether this target does this work here.
    fn is_measured(&self, work: &Work, target: &Target) -> bool {
        target.suits(work) && target.holds(self.rig.room) >= work.connections
    }

    /// A measurement; again, if the generator was its bottleneck.
    fn measure(&mut self, work: &Work, target: &Target, round: u32) -> Result<Value, Stop> {
        let mut attempt = 1;
        let measured = loop {
            let measured = match &target.proxy {
                Some(proxy) if work.family == UPGRADE => {
                    upgrade::measure(&mut self.rig, proxy, work)?
                }
                _ => self.rig.measure(work, target)?,
            };
            let valid = measured.line["valid"] == true || measured.line["good"] == false;
            if valid || attempt == ATTEMPTS {
                break measured;
            }
            attempt += 1;
        };
        let mut line = measured.line;
        line["run"] = json!({
            "work": work.name, "title": work.title, "target": target.name,
            "version": target.number(), "round": round, "rounds": self.rounds,
            "attempt": attempt, "figures": work.figures,
        });
        if let Some(setting) = target.setting() {
            line["run"]["setting"] = json!({"key": setting.key, "value": setting.value});
        }
        if let Some(backend) = measured.backend {
            line["run"]["backend"] = backend;
        }
        Ok(line)
    }

    fn write(&mut self, line: Value) -> io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()?;
        self.results.take("", line, 0).map_err(io::Error::other)
    }

    /// One line about what was just measured, and how long the rest will take.
    fn tell(&self, round: u32, at: usize, target: usize) {
        let work = &self.works[at];
        let outcomes = self.results.series.last().map(|series| &series.outcomes);
        let Some((_, outcome)) = outcomes.and_then(|all| all.last()) else { return };
        let said = said(work, outcome);
        let (total, left) = self.left(round, at);
        let eta = humantime::format_duration(Duration::from_secs(left.as_secs()));
        eprintln!(
            "[{}/{total}, ETA {eta}] round {round}, {}, {}: {said}",
            self.done,
            work.name,
            self.targets[target].row()
        );
    }

    /// How many measurements there are in all, and how long those to come will take.
    fn left(&self, round: u32, present: usize) -> (usize, Duration) {
        let (mut total, mut left) = (0, Duration::ZERO);
        for (at, work) in self.works.iter().enumerate() {
            let measured = |target: &&Target| self.is_measured(work, target);
            let each = self.targets.iter().filter(measured).count() as u32;
            total += (each * self.rounds) as usize;
            let (count, took) = self.took.get(&at).copied().unwrap_or_default();
            let mean =
                if count > 0 { took / count } else { Duration::from_secs(work.seconds) + OVERHEAD };
            let begun = u32::from(at < present) * each + (round - 1) * each;
            let of_present =
                if at == present { count.saturating_sub((round - 1) * each) } else { 0 };
            left += mean * (each * self.rounds).saturating_sub(begun + of_present);
        }
        (total, left)
    }

    /// Every work with what its targets reached.
    fn standings(&self) -> Vec<report::Work<'_>> {
        self.results.series.iter().flat_map(report::Work::all).collect()
    }
}

/// What came of one measurement.
fn said(work: &Work, outcome: &Outcome) -> String {
    if outcome.failed() {
        return format!("failed: {}", report::named(outcome.failures()));
    }
    if let Some(doubt) = outcome.doubt() {
        return format!("invalid: {doubt}");
    }
    let figure = work.figures.first();
    let value = figure.and_then(|figure| Some((figure, outcome.number(&figure.pointer)?)));
    value.map_or("done".to_owned(), |(figure, value)| {
        format!("{} {} {}", figure.title, number::alone(value), figure.unit())
    })
}

/// In which order targets take their turns: each round begins with another, and every second one
/// goes backwards, so that none always comes after the same.
fn order(round: u32, targets: usize) -> Vec<usize> {
    let first = (round as usize - 1) % targets.max(1);
    let forwards = round % 2 == 1;
    let place = |index| if forwards { first + index } else { first + targets - index };
    (0..targets).map(|index| place(index) % targets).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_target_always_comes_after_the_same_one() {
        for targets in [3, 4, 6] {
            let orders: Vec<Vec<usize>> = (1..=4).map(|round| order(round, targets)).collect();
            for order in &orders {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..targets).collect::<Vec<_>>());
            }
            let firsts: Vec<usize> = orders.iter().map(|order| order[0]).collect();
            assert!(firsts.windows(2).all(|pair| pair[0] != pair[1]), "{firsts:?}");
            let before = |order: &[usize], target| {
                let place = order.iter().position(|one| *one == target)?;
                place.checked_sub(1).map(|place| order[place])
            };
            for target in 0..targets {
                let all: Vec<_> = orders.iter().map(|order| before(order, target)).collect();
                assert!(all.iter().any(|one| *one != all[0]), "{target}: {all:?}");
            }
        }
        assert_eq!((order(1, 1), order(2, 1)), (vec![0], vec![0]));
    }
}
