//! What several rounds of each target came to.

use std::collections::BTreeMap;

use serde_json::Value;

use super::work::{Figure, Work};

/// What one measurement gave.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// One for each figure of the work, where the result has it.
    figures: Vec<Option<f64>>,
    /// Whether its figures count.
    counts: bool,
    failures: BTreeMap<String, u64>,
}

impl Record {
    /// Reads a result's line.
    pub(crate) fn of(line: &Value, figures: &[Figure]) -> Record {
        let failures = line["failures"].as_object().into_iter().flatten();
        Record {
            figures: figures.iter().map(|one| line.pointer(one.pointer)?.as_f64()).collect(),
            counts: line["valid"] == true && line["measured"].is_object(),
            failures: failures.map(|(what, n)| (what.clone(), n.as_u64().unwrap_or(0))).collect(),
        }
    }

    fn failed(&self) -> bool {
        !self.failures.is_empty()
    }
}

/// The middle of several values, and the ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = (values[middle] + values[(values.len() - 1) / 2]) / 2.0;
        Some(Spread { median, least, most })
    }
}

/// All rounds of one target in one work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(Vec<Record>);

impl Rounds {
    pub(crate) fn add(&mut self, record: Record) {
        self.0.push(record);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn have_failures(&self) -> bool {
        self.0.iter().any(Record::failed)
    }

    /// Of the figure with this place in the work's list, over the rounds that count.
    pub(crate) fn spread(&self, figure: usize) -> Option<Spread> {
        let counted = self.0.iter().filter(|record| record.counts);
        Spread::of(counted.filter_map(|record| record.figures[figure]).collect())
    }

    /// What is to be known of its rounds beside the figures.
    pub(crate) fn remarks(&self) -> Option<String> {
        let number = |of: fn(&Record) -> bool| self.0.iter().filter(|record| of(record)).count();
        let (failed, counted) = (number(Record::failed), number(|record| record.counts));
        let invalid = number(|record| !record.counts && !record.failed());
        let mut remarks = Vec::new();
        if failed > 0 {
            let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
            for (what, count) in self.0.iter().flat_map(|record| &record.failures) {
                *kinds.entry(what).or_default() += count;
            }
            let kinds = kinds.iter().map(|(what, count)| format!("{count} × {what}"));
            let kinds: Vec<String> = kinds.collect();
            remarks.push(format!("failed {failed} of {}: {}", self.0.len(), kinds.join(", ")));
        }
        if invalid > 0 {
            remarks.push(format!("{invalid} of {} invalid", self.0.len()));
        }
        if counted < self.0.len() && counted > 0 {
            remarks.push(format!("figures of {counted}"));
        }
        (!remarks.is_empty()).then(|| remarks.join("; "))
    }
}

/// One work over all targets.
pub(crate) struct Standing<'a> {
    pub(crate) work: &'a Work,
    /// Names with versions, or a sweep's values, and their rounds.
    pub(crate) rows: Vec<(String, &'a Rounds)>,
    /// The row that the others are compared with.
    pub(crate) reference: Option<usize>,
}

impl Standing<'_> {
    /// How much of the first figure the reference needs for each unit that this row needs.
    pub(crate) fn ratio(&self, row: usize) -> Option<f64> {
        let reference = self.reference.filter(|reference| *reference != row)?;
        self.work.figures.first().filter(|figure| figure.less)?;
        let ours = self.rows[reference].1.spread(0)?.median;
        let theirs = self.rows[row].1.spread(0)?.median;
        (theirs > 0.0).then(|| ours / theirs)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rounds(lines: &[Value]) -> Rounds {
        let work = Work::parse("churn", 1).expect("a work");
        Rounds(lines.iter().map(|line| Record::of(line, &work.figures)).collect())
    }

    fn line(micros: f64, valid: bool, failures: Value) -> Value {
        let part = if valid { "measured" } else { "discarded" };
        json!({
            "valid": valid, "failures": failures,
            part: {"target_cpu_us_per_connection": micros},
        })
    }

    #[test]
    fn what_is_invalid_never_counts() {
        let clean = json!({});
        let all = [
            line(3.0, true, clean.clone()),
            line(900.0, false, clean.clone()),
            line(1.0, true, clean.clone()),
            line(2.0, true, clean),
        ];
        let rounds = rounds(&all);
        assert_eq!(rounds.spread(0), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(rounds.spread(1), None);
        assert_eq!(rounds.remarks().as_deref(), Some("1 of 4 invalid; figures of 3"));
    }

    #[test]
    fn failures_are_the_target_s_and_are_named() {
        let failing = json!({"message: reset (RST)": 2});
        let rounds = rounds(&[line(3.0, true, failing.clone()), line(4.0, true, failing)]);
        let remarks = rounds.remarks().expect("failures");
        assert_eq!(remarks, "failed 2 of 2: 4 × message: reset (RST)");
        assert_eq!(rounds.spread(0).map(|spread| spread.median), Some(3.5));
    }

    #[test]
    fn a_ratio_is_of_the_first_figure() {
        let work = Work::parse("churn", 1).expect("a work");
        let (ours, theirs) =
            (rounds(&[line(30.0, true, json!({}))]), rounds(&[line(60.0, true, json!({}))]));
        let rows = vec![("ours".to_owned(), &ours), ("theirs".to_owned(), &theirs)];
        let standing = Standing { work: &work, rows, reference: Some(0) };
        assert_eq!((standing.ratio(0), standing.ratio(1)), (None, Some(0.5)));
    }
}
