//! The section of a result that stands alone.

use serde_json::Value;

use super::chart::latency::{self, Curve};
use super::memory;
use super::page::{Block, Cell, Column, Mark, Section, Table};
use super::palette::{Colour, Palette, in_turn};
use super::parts::{GENERATOR_LAG, Percentiles, in_words, keys, percentile_table, timelines};
use super::statistics::Row;
use crate::number;
use crate::result::{Outcome, text};

/// Parts of `measured` that are shown otherwise than as numbers in a table.
const SHOWN_ELSEWHERE: [&str; 3] = ["latency_us", "timeline", "states"];

/// `number` tells it from others of its scenario.
pub(crate) fn section(outcome: &Outcome, number: usize) -> Section {
    let row = Row {
        target: "",
        version: "",
        value: None,
        label: outcome.scenario.clone(),
        planned: 1,
        rounds: vec![(1, outcome)],
    };
    let rows = std::slice::from_ref(&row);
    let mut palette = Palette::default();
    palette.set("", Colour::Ours);
    let mut blocks = Vec::new();
    if let Some(doubt) = outcome.doubt() {
        blocks.push(Block::Warning(format!("Invalid: {doubt}. Its figures are worth nothing.")));
    }
    blocks.push(Block::Facts(facts(outcome)));
    if let Some(command) = outcome.command() {
        blocks.push(Block::Command(command.to_owned()));
    }
    let failures = outcome.failures().map(|(what, count)| (what.to_owned(), count as f64));
    blocks.extend(number_table("Failures", failures.collect()).map(Block::Table));
    blocks.extend(latencies(&row));
    blocks.extend(memory::blocks(rows, &palette));
    blocks.extend(timelines(rows, None, &palette));
    let measured = outcome.value.get("measured").filter(|_| outcome.doubt().is_none());
    let parts = [
        ("Figures", measured),
        ("Counts", outcome.value.get("counts")),
        ("The generator's own", outcome.value.get("own")),
    ];
    let tables = parts.into_iter().filter_map(|(caption, part)| {
        let mut numbers = Vec::new();
        for (key, value) in part.and_then(Value::as_object).into_iter().flatten() {
            if !SHOWN_ELSEWHERE.contains(&key.as_str()) && !memory::is_memory(key) {
                flatten(&in_words(key), value, &mut numbers);
            }
        }
        number_table(caption, numbers)
    });
    blocks.push(Block::Tables(tables.collect()));
    Section { title: format!("Run {number}: {}", outcome.scenario), blocks }
}

fn facts(outcome: &Outcome) -> Vec<(String, String)> {
    let ending = if outcome.failed() { "with failures" } else { "all good" };
    let mut facts = vec![("Ended".to_owned(), ending.to_owned())];
    for (title, key) in [("Asked", "asked"), ("Host", "host")] {
        let all = outcome.value[key].as_object().into_iter().flatten();
        let words: Vec<String> =
            all.map(|(key, value)| format!("{} {}", in_words(key), text(value))).collect();
        if !words.is_empty() {
            facts.push((title.to_owned(), words.join(" · ")));
        }
    }
    facts
}

/// Numbers with the way that leads to them.
fn flatten(way: &str, value: &Value, numbers: &mut Vec<(String, f64)>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                flatten(&format!("{way}: {}", in_words(key)), value, numbers);
            }
        }
        value => numbers.extend(value.as_f64().map(|number| (way.to_owned(), number))),
    }
}

fn number_table(caption: &str, numbers: Vec<(String, f64)>) -> Option<Table> {
    let rows = numbers
        .into_iter()
        .map(|(what, value)| vec![Cell::new(what), Cell::new(number::alone(value))]);
    let table = Table {
        caption: caption.to_owned(),
        columns: vec![Column::words("What"), Column::number("Value", "")],
        rows: rows.collect(),
        notes: Vec::new(),
    };
    (!table.rows.is_empty()).then_some(table)
}

/// All latencies of one result in one chart.
fn latencies(row: &Row<'_>) -> Vec<Block> {
    let mut names = keys(std::slice::from_ref(row), &["measured", "latency_us"]);
    names.sort_by_key(|name| name == GENERATOR_LAG);
    if names.is_empty() {
        return Vec::new();
    }
    let all: Vec<_> = names.iter().map(|name| Percentiles::of(row, name)).collect();
    let words: Vec<String> = names.iter().map(|name| in_words(name)).collect();
    let colour = |index: usize| match names[index] == GENERATOR_LAG {
        true => Colour::Bound(1),
        false => in_turn(index),
    };
    let curve = |index: usize| Curve {
        name: &words[index],
        colour: colour(index),
        micros: all[index].micros.clone(),
    };
    let curves: Vec<Curve<'_>> = (0..names.len()).map(curve).collect();
    let cells = (0..names.len()).map(|index| Cell::new(&words[index]).colour(colour(index)));
    vec![
        Block::Charts(vec![latency::draw("Latencies", &curves)]),
        percentile_table("Latencies".to_owned(), cells.collect(), &all),
    ]
}

/// CPU for each unit of work, units in a second, and the 99th percentile; absent where invalid.
fn at_a_glance(outcome: &Outcome) -> [Cell; 3] {
    let measured = outcome.value["measured"].as_object().filter(|_| outcome.doubt().is_none());
    let unit = measured.into_iter().flatten().find_map(|(key, _)| {
        let unit = key.strip_prefix("target_cpu_us_per_")?;
        (unit != "opened").then_some(unit)
    });
    let figure = |pointer: String| {
        let value = outcome.number(&pointer);
        value.map_or_else(Cell::absent, |value| Cell::new(number::alone(value)))
    };
    let each = unit.map(|unit| figure(format!("/measured/target_cpu_us_per_{unit}")));
    let rate = unit.map(|unit| figure(format!("/measured/{unit}s_per_second")));
    let all = outcome.measured("latency_us").and_then(Value::as_object);
    let of = all.into_iter().flatten().map(|(of, _)| of).find(|of| *of != GENERATOR_LAG);
    let p99 = of.map(|of| figure(format!("/measured/latency_us/{of}/p99")));
    [each, rate, p99].map(|cell| cell.unwrap_or_else(Cell::absent))
}

/// A table of single results: each one's ending at a glance.
pub(crate) fn overview(singles: &[Outcome]) -> Table {
    let rows = singles.iter().enumerate().map(|(index, outcome)| {
        let failed: u64 = outcome.failures().map(|(_, count)| count).sum();
        let failed = Cell::new(number::fixed(failed as f64, 0)).mark(match failed {
            0 => Mark::Plain,
            _ => Mark::Bad,
        });
        let ending = match (outcome.doubt(), outcome.failed()) {
            (Some(_), _) => Cell::new("invalid").mark(Mark::Bad),
            (None, true) => Cell::new("failed").mark(Mark::Bad),
            (None, false) => Cell::new("good"),
        };
        let name = format!("{}: {}", index + 1, outcome.scenario);
        let mut cells = vec![Cell::new(name), Cell::new(outcome.asked())];
        cells.extend(at_a_glance(outcome));
        cells.extend([ending, failed]);
        cells
    });
    Table {
        caption: "Single runs".to_owned(),
        columns: vec![
            Column::words("Run"),
            Column::words("Asked"),
            Column::number("CPU", "of the target, µs each"),
            Column::number("Throughput", "per second"),
            Column::number("p99", "µs"),
            Column::words("Result"),
            Column::number("Failures", ""),
        ],
        rows: rows.collect(),
        notes: Vec::new(),
    }
}
