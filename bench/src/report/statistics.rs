//! Rounds of each target in each work, and what they come to.

use std::collections::BTreeMap;

use crate::result::{Better, Figure, Outcome, Role, Run, Series, role};

/// What several rounds gave for one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) rounds: usize,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let rounds = values.len();
        let median = (values[(rounds - 1) / 2] + values[rounds / 2]) / 2.0;
        Some(Spread { median, least, most, rounds })
    }

    /// The ranges have values in common.
    fn meets(self, other: Spread) -> bool {
        self.least <= other.most && other.least <= self.most
    }
}

/// How a row's figure compares with the best one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Best,
    /// Its range meets the best one's.
    Near,
    Behind,
}

/// One kind of work (of a sweep: with one key), as every target did it.
pub(crate) struct Work<'a> {
    pub(crate) id: &'a str,
    pub(crate) title: &'a str,
    /// The key that a sweep set.
    pub(crate) key: Option<&'a str>,
    /// The first one decides.
    pub(crate) figures: Vec<Figure>,
    pub(crate) rows: Vec<Row<'a>>,
}

/// All rounds of one target (of a sweep: with one value).
pub(crate) struct Row<'a> {
    pub(crate) target: &'a str,
    pub(crate) version: &'a str,
    pub(crate) value: Option<String>,
    /// What it is called among its like.
    pub(crate) label: String,
    /// How many rounds were asked for; some may never have been begun.
    pub(crate) planned: usize,
    /// The number of each round, and what came of it.
    pub(crate) rounds: Vec<(u64, &'a Outcome)>,
}

impl<'a> Row<'a> {
    pub(crate) fn spread(&self, pointer: &str) -> Option<Spread> {
        let numbers = self.rounds.iter().filter_map(|(_, outcome)| outcome.number(pointer));
        Spread::of(numbers.collect())
    }

    /// Rounds whose figures count.
    pub(crate) fn counted(&self) -> impl Iterator<Item = &'a Outcome> {
        self.rounds.iter().map(|(_, outcome)| *outcome).filter(|one| one.doubt().is_none())
    }

    /// Rounds that do not count, each with its reason.
    pub(crate) fn doubts(&self) -> impl Iterator<Item = (u64, String)> {
        self.rounds.iter().filter_map(|(round, outcome)| Some((*round, outcome.doubt()?)))
    }

    /// Failures of all rounds by name.
    pub(crate) fn failures(&self) -> BTreeMap<&'a str, u64> {
        let mut sum = BTreeMap::new();
        for (what, count) in self.rounds.iter().flat_map(|(_, outcome)| outcome.failures()) {
            *sum.entry(what).or_default() += count;
        }
        sum
    }

    pub(crate) fn failed(&self) -> bool {
        self.rounds.iter().any(|(_, outcome)| outcome.failed())
    }
}

impl<'a> Work<'a> {
    /// Every work of a series, in the order of its first result; targets in the order in which
    /// the series names them.
    pub(crate) fn all(series: &'a Series) -> Vec<Work<'a>> {
        let mut works: Vec<Work<'a>> = Vec::new();
        for (run, outcome) in &series.outcomes {
            let key = run.setting.as_ref().map(|setting| setting.key.as_str());
            let known = works.iter().position(|work| work.id == run.work && work.key == key);
            let place = known.unwrap_or(works.len());
            if known.is_none() {
                let (id, title) = (run.work.as_str(), run.title.as_str());
                works.push(Work { id, title, key, figures: Vec::new(), rows: Vec::new() });
            }
            works[place].take(run, outcome);
        }
        let named = series.about.iter().flat_map(|about| &about.targets);
        let order: Vec<&str> = named.map(|target| target.name.as_str()).collect();
        let place = |target: &str| order.iter().position(|name| *name == target);
        for work in &mut works {
            work.rows.sort_by_key(|row| place(row.target).unwrap_or(usize::MAX));
            work.label_rows();
        }
        works
    }

    fn take(&mut self, run: &'a Run, outcome: &'a Outcome) {
        for figure in &run.figures {
            if !self.figures.iter().any(|known| known.pointer == figure.pointer) {
                self.figures.push(figure.clone());
            }
        }
        let value = run.setting.as_ref().map(|setting| setting.value());
        let known = self.rows.iter().position(|row| row.target == run.target && row.value == value);
        let place = known.unwrap_or(self.rows.len());
        if known.is_none() {
            let (target, version) = (run.target.as_str(), run.version.as_deref().unwrap_or(""));
            let (label, rounds) = (String::new(), Vec::new());
            self.rows.push(Row { target, version, value, label, planned: 0, rounds });
        }
        let row = &mut self.rows[place];
        row.rounds.push((run.round, outcome));
        row.planned = row.planned.max(row.rounds.len()).max(run.rounds as usize);
    }

    /// A target's name; in a sweep the value, with the target where there are several.
    fn label_rows(&mut self) {
        let only = self.targets().len() == 1;
        for row in &mut self.rows {
            row.label = match &row.value {
                None => row.target.to_owned(),
                Some(value) if only => value.clone(),
                Some(value) => format!("{value}, {}", row.target),
            };
        }
    }

    /// Every target once.
    pub(crate) fn targets(&self) -> Vec<&'a str> {
        let mut targets: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !targets.contains(&row.target) {
                targets.push(row.target);
            }
        }
        targets
    }

    /// Every value of a sweep once, in the order of its first result.
    pub(crate) fn values(&self) -> Vec<&str> {
        let mut values: Vec<&str> = Vec::new();
        for value in self.rows.iter().filter_map(|row| row.value.as_deref()) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    /// CPU per unit of work belongs to every comparison, whether it was asked for or not.
    pub(crate) fn find_processor_time(&mut self) {
        if self.figures.iter().any(|figure| figure.pointer.contains("target_cpu")) {
            return;
        }
        let counted = self.rows.iter().flat_map(Row::counted);
        let measured = counted.filter_map(|outcome| outcome.value["measured"].as_object());
        let keys = measured.flat_map(|object| object.iter());
        let keys = keys.filter(|(_, value)| value.is_number()).map(|(key, _)| key.as_str());
        let mut found: Vec<Figure> = Vec::new();
        for key in keys {
            let Some(unit) = key.strip_prefix("target_cpu_us_per_") else { continue };
            let pointer = format!("/measured/{key}");
            let title = format!("CPU per {}", unit.replace('_', " "));
            let figure = Figure::new(pointer, title, "µs", Better::Less);
            if !found.contains(&figure) {
                found.push(figure);
            }
        }
        self.figures.extend(found);
    }

    /// How each row stands in this figure. A bound is never best, nor is who failed while others
    /// did not.
    pub(crate) fn standings(&self, figure: &Figure) -> Vec<Standing> {
        let of =
            |row: &Row<'_>| row.spread(&figure.pointer).filter(|_| role(row.target) != Role::Bound);
        let all: Vec<Option<Spread>> = self.rows.iter().map(of).collect();
        let clean = |(row, spread): (&Row<'_>, &Option<Spread>)| spread.filter(|_| !row.failed());
        let mut candidates: Vec<Option<Spread>> = self.rows.iter().zip(&all).map(clean).collect();
        if candidates.iter().all(Option::is_none) {
            candidates = all;
        }
        let present = candidates.iter().flatten().copied();
        let better = |a: Spread, b: Spread| match figure.better {
            Some(Better::More) => {
                if b.median > a.median {
                    b
                } else {
                    a
                }
            }
            Some(Better::Less) | None => {
                if b.median < a.median {
                    b
                } else {
                    a
                }
            }
        };
        // Who is alone is not the best of anything.
        let is_contest = figure.better.is_some() && present.clone().count() > 1;
        let best = present.reduce(better).filter(|_| is_contest);
        let standing = |one: &Option<Spread>| match one.zip(best) {
            Some((own, best)) if own.median == best.median => Standing::Best,
            Some((own, best)) if own.meets(best) => Standing::Near,
            _ => Standing::Behind,
        };
        candidates.iter().map(standing).collect()
    }

    /// What others are compared with: our own row (in a sweep, with the same value).
    pub(crate) fn reference(&self, row: &Row<'_>) -> Option<&Row<'a>> {
        self.rows.iter().find(|one| role(one.target) == Role::Ours && one.value == row.value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bound_is_never_best() {
        let outcome = |target: &str, figure: f64| {
            let run = json!({
                "work": "churn", "title": "churn", "target": target, "round": 1, "rounds": 1,
                "figures": [{"pointer": "/measured/x", "title": "x", "better": "less"}],
            });
            let value = json!({"good": true, "valid": true, "measured": {"x": figure}});
            let run: Run = serde_json::from_value(run).expect("a run");
            (run, Outcome { scenario: "churn".to_owned(), value })
        };
        let targets = ["direct", "floor", "floor-multi", "portcullis", "nginx"];
        let outcomes = targets.iter().zip([1.0, 2.0, 3.0, 4.0, 5.0]);
        let outcomes = outcomes.map(|(target, figure)| outcome(target, figure)).collect();
        let series = Series { source: String::new(), about: None, outcomes };
        let work = Work::all(&series).remove(0);
        let standings = work.standings(&work.figures[0]);
        let names: Vec<&str> = work.rows.iter().map(|row| row.target).collect();
        assert_eq!(names, targets);
        let mut expected = [Standing::Behind; 5];
        expected[3] = Standing::Best;
        assert_eq!(standings, expected);
    }

    #[test]
    fn a_median_has_as_many_above_as_below() {
        for (values, median) in
            [(vec![3.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 3.0, 2.0], 2.5), (vec![7.0], 7.0)]
        {
            let spread = Spread::of(values.clone()).expect("values");
            assert_eq!((spread.median, spread.rounds), (median, values.len()), "{values:?}");
            assert!(values.contains(&spread.least) && values.contains(&spread.most));
        }
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
