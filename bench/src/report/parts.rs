//! Tables and charts that comparisons and single results have in common.

use super::chart::latency::{Curve, PERCENTILES};
use super::chart::timeline::{self, Scales};
use super::chart::{self};
use super::page::{Block, Cell, Column, Mark, Size, Table};
use super::palette::{Colour, Palette};
use super::statistics::Row;
use super::timeline::Timeline;
use crate::number;
use crate::result::Outcome;

/// More timelines than this say nothing any more.
const MAX_TIMELINES: usize = 12;

/// What the results call the lateness of the generator itself.
pub(crate) const GENERATOR_LAG: &str = "generator_lag";

/// The cell that names a row.
pub(crate) fn name(row: &Row<'_>, colour: Colour) -> Cell {
    Cell::new(&row.label).note(row.version).colour(colour)
}

/// A key of the results in words.
pub(crate) fn in_words(key: &str) -> String {
    key.replace('_', " ")
}

/// Steps into an object, as a pointer says it (RFC 6901).
pub(crate) fn pointer(steps: &[&str]) -> String {
    steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
}

/// The keys of an object that was measured, over all rounds of all rows.
pub(crate) fn keys(rows: &[Row<'_>], path: &[&str]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let path = pointer(path);
    for outcome in rows.iter().flat_map(Row::counted) {
        let object = outcome.value.pointer(&path).and_then(|value| value.as_object());
        for (key, value) in object.into_iter().flatten() {
            if !value.is_null() && !keys.contains(key) {
                keys.push(key.clone());
            }
        }
    }
    keys
}

/// A column of numbers, all with as many decimals.
pub(crate) fn column(values: &[Option<f64>]) -> Vec<Cell> {
    let decimals = number::decimals(values.iter().flatten().copied());
    let cell = |value: &Option<f64>| match value {
        Some(value) => Cell::new(number::fixed(*value, decimals)),
        None => Cell::absent(),
    };
    values.iter().map(cell).collect()
}

/// Rows from columns.
pub(crate) fn transposed(columns: Vec<Vec<Cell>>) -> Vec<Vec<Cell>> {
    let rows = columns.first().map_or(0, Vec::len);
    (0..rows).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

/// Failures by name, and results that do not count; nothing where all went well.
pub(crate) fn failures(rows: &[Row<'_>], palette: &Palette) -> Vec<Block> {
    let (mut failed, mut doubted) = (Vec::new(), Vec::new());
    for row in rows {
        for (what, count) in row.failures() {
            let count = Cell::new(number::fixed(count as f64, 0));
            failed.push(vec![name(row, palette.of(row.target)), count, Cell::new(what)]);
        }
        for (round, because) in row.doubts() {
            let round = Cell::new(round.to_string());
            doubted.push(vec![name(row, palette.of(row.target)), round, Cell::new(because)]);
        }
    }
    let table = |caption: &str, middle: &str, last: &str, rows: Vec<Vec<Cell>>| {
        let columns = vec![Column::words("Of"), Column::number(middle, ""), Column::words(last)];
        let caption = caption.to_owned();
        let table = Table { caption, columns, rows, notes: Vec::new() };
        (!table.rows.is_empty()).then_some(Block::Table(table))
    };
    let failed = table("Failures, of all rounds", "Times", "What", failed);
    let doubted = table("Invalid rounds, which count nowhere", "Round", "Because", doubted);
    failed.into_iter().chain(doubted).collect()
}

/// One latency by percentile, in microseconds: medians over rounds.
pub(crate) struct Percentiles {
    count: Option<f64>,
    mean: Option<f64>,
    /// As in [`PERCENTILES`].
    pub(crate) micros: Vec<Option<f64>>,
}

impl Percentiles {
    pub(crate) fn of(row: &Row<'_>, latency: &str) -> Percentiles {
        let get = |key: &str| row.spread(&pointer(&["measured", "latency_us", latency, key]));
        let median = |key: &str| get(key).map(|spread| spread.median);
        let fewest = get("count").map_or(f64::INFINITY, |spread| spread.least);
        // Of 500 answers, the 99.9th percentile is the slowest: it would say that twice.
        let is_told = |beyond: f64| beyond == 0.0 || fewest * beyond >= 1.0 - 1e-9;
        let each =
            PERCENTILES.iter().map(|(key, _, beyond)| median(key).filter(|_| is_told(*beyond)));
        Percentiles { count: median("count"), mean: median("mean"), micros: each.collect() }
    }
}

/// The table of such, one row each.
pub(crate) fn percentile_table(caption: String, names: Vec<Cell>, all: &[Percentiles]) -> Block {
    let mut columns =
        vec![Column::words("Of"), Column::number("answers", ""), Column::number("mean", "µs")];
    columns.extend(PERCENTILES.iter().map(|(_, title, _)| Column::number(title, "µs")));
    let of = |get: &dyn Fn(&Percentiles) -> Option<f64>| {
        column(&all.iter().map(get).collect::<Vec<_>>())
    };
    let mut cells = vec![names, of(&|one| one.count), of(&|one| one.mean)];
    cells.extend((0..PERCENTILES.len()).map(|index| of(&|one| one.micros[index])));
    let mut notes = Vec::new();
    if all.iter().any(|one| one.count.is_some() && one.micros.iter().any(Option::is_none)) {
        notes.push("–: fewer answers than this percentile takes.".to_owned());
    }
    Block::Table(Table { caption, columns, rows: transposed(cells), notes })
}

/// Every latency of a work: charts side by side, then tables. `colours` has one for each row.
pub(crate) fn latencies(rows: &[Row<'_>], colours: &[Colour]) -> Vec<Block> {
    let mut names = keys(rows, &["measured", "latency_us"]);
    // The generator's own lateness comes last, as it is no answer of the target's.
    names.sort_by_key(|name| name == GENERATOR_LAG);
    let (mut charts, mut tables) = (Vec::new(), Vec::new());
    for latency in &names {
        let all: Vec<_> = rows.iter().map(|row| Percentiles::of(row, latency)).collect();
        let is_lag = latency == GENERATOR_LAG;
        let title = if is_lag {
            "How late the generator itself was".to_owned()
        } else {
            format!("Latency: {}", in_words(latency))
        };
        if !is_lag {
            let curves: Vec<Curve<'_>> = rows
                .iter()
                .zip(&all)
                .zip(colours)
                .map(|((row, all), colour)| Curve {
                    name: &row.label,
                    colour: *colour,
                    micros: all.micros.clone(),
                })
                .collect();
            charts.push(chart::latency::draw(&title, &curves));
        }
        let names = rows.iter().zip(colours);
        let names = names.map(|(row, colour)| name(row, *colour)).collect();
        tables.push(percentile_table(format!("{title} (medians over rounds)"), names, &all));
    }
    let charts = (!charts.is_empty()).then_some(Block::Charts(charts));
    charts.into_iter().chain(tables).collect()
}

/// How one round of each row went over time: that round whose `figure` is nearest to the median.
pub(crate) fn timelines(rows: &[Row<'_>], figure: Option<&str>, palette: &Palette) -> Vec<Block> {
    let with: Vec<(&Row<'_>, Timeline)> =
        rows.iter().filter_map(|row| Some((row, Timeline::of(typical(row, figure)?)?))).collect();
    if with.is_empty() {
        return Vec::new();
    }
    let size = if with.len() == 1 { Size::Medium } else { Size::Small };
    let scales = with.iter().fold(Scales::default(), |scales, (_, one)| scales.with(one));
    let charts = with.iter().take(MAX_TIMELINES).map(|(row, one)| {
        let version = if row.version.is_empty() { "" } else { " " };
        let title = format!("{}{version}{}, over time", row.label, row.version);
        timeline::draw(&title, size, palette.of(row.target), one, scales)
    });
    let mut blocks = vec![Block::Charts(charts.collect())];
    if with.len() > MAX_TIMELINES {
        let words = format!("The first {MAX_TIMELINES} of {} are drawn.", with.len());
        blocks.push(Block::Text(words));
    }
    blocks.push(Block::Table(phase_table(&with, palette)));
    blocks
}

fn typical<'a>(row: &Row<'a>, figure: Option<&str>) -> Option<&'a Outcome> {
    let median = figure.and_then(|pointer| row.spread(pointer)).map(|spread| spread.median);
    let distance = |outcome: &&Outcome| {
        let value = figure.and_then(|pointer| outcome.number(pointer));
        value.zip(median).map_or(f64::INFINITY, |(value, median)| (value - median).abs())
    };
    row.counted().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

fn phase_table(with: &[(&Row<'_>, Timeline)], palette: &Palette) -> Table {
    let phases: Vec<_> = with
        .iter()
        .flat_map(|(row, one)| one.phases.iter().map(move |phase| (*row, phase)))
        .collect();
    let names = phases.iter().map(|(row, _)| name(row, palette.of(row.target))).collect();
    let words = phases.iter().map(|(_, phase)| Cell::new(in_words(&phase.name))).collect();
    let mut cells = vec![names, words];
    let mut columns = vec![Column::words("Of"), Column::words("Phase")];
    let mut add = |title: &str, unit: &str, get: &dyn Fn(&super::timeline::PhaseOf) -> f64| {
        columns.push(Column::number(title, unit));
        cells.push(column(&phases.iter().map(|(_, phase)| Some(get(phase))).collect::<Vec<_>>()));
    };
    add("from", "s", &|phase| phase.from);
    add("to", "s", &|phase| phase.to);
    add("most open", "", &|phase| phase.most_open);
    add("open at its end", "", &|phase| phase.open_at_end);
    add("done", "", &|phase| phase.done);
    add("done", "1/s", &|phase| phase.done / (phase.to - phase.from).max(1e-9));
    let failed = phases.iter().map(|(_, phase)| {
        let mark = if phase.failed > 0.0 { Mark::Bad } else { Mark::Plain };
        Cell::new(number::fixed(phase.failed, 0)).mark(mark)
    });
    columns.push(Column::number("failed", ""));
    cells.push(failed.collect());
    let caption = "Over time, by phase (of the round that is drawn)".to_owned();
    Table { caption, columns, rows: transposed(cells), notes: Vec::new() }
}
