//! The sections of a comparison or a sweep: summary, what was measured, and each work.

use super::chart::bars::{self, Bar};
use super::chart::values::{self, Line};
use super::memory;
use super::page::{Block, Cell, Column, Mark, Section, Table};
use super::palette::{Colour, Palette};
use super::parts::{self, name, transposed};
use super::statistics::{Row, Spread, Standing, Work};
use crate::number;
use crate::result::{About, Figure, Series, text};

pub(crate) fn sections(series: &Series, palette: &Palette, suffix: &str) -> Vec<Section> {
    let mut works = Work::all(series);
    works.iter_mut().for_each(Work::find_processor_time);
    let (swept, compared): (Vec<&Work<'_>>, Vec<&Work<'_>>) =
        works.iter().partition(|work| work.key.is_some());
    let mut summary = Vec::new();
    if !compared.is_empty() {
        summary.push(Block::Table(compare_summary(&compared, palette)));
    }
    if !swept.is_empty() {
        summary.push(Block::Table(sweep_summary(&swept, palette)));
    }
    let mut sections = vec![Section { title: format!("Summary{suffix}"), blocks: summary }];
    if let Some(about) = &series.about {
        let title = format!("Where and how{suffix}");
        // One of several is told by the file that it came from.
        let source = (!suffix.is_empty()).then_some(series.source.as_str());
        sections.push(Section { title, blocks: about_blocks(about, source, palette) });
    }
    sections.extend(works.iter().map(|work| {
        let key = work.key.map(|key| format!(" by {key}")).unwrap_or_default();
        Section {
            title: format!("{}{key}{suffix}", work.title),
            blocks: work_blocks(work, palette),
        }
    }));
    sections
}

/// Works by targets: what decides each.
fn compare_summary(works: &[&Work<'_>], palette: &Palette) -> Table {
    let mut targets: Vec<(&str, &str)> = Vec::new();
    for row in works.iter().flat_map(|work| &work.rows) {
        if targets.iter().all(|(target, _)| *target != row.target) {
            targets.push((row.target, row.version));
        }
    }
    let mut columns = vec![Column::words("Work")];
    columns.extend(targets.iter().map(|(target, version)| Column {
        colour: Some(palette.of(target)),
        ..Column::number(target, version)
    }));
    let shown = works.iter().flat_map(|work| {
        let figures = on_first_screen(work);
        let none = figures.is_empty().then_some((work, None));
        none.into_iter().chain(figures.into_iter().map(move |figure| (work, Some(figure))))
    });
    let rows = shown.map(|(work, figure)| {
        let Some(figure) = figure else { return vec![Cell::new(work.title)] };
        let legend = [&figure.title, &figure.legend()].map(String::as_str).join(", ");
        let mut cells = vec![Cell::new(work.title).note(legend.trim_end_matches(", "))];
        let measured = figure_cells(work, figure, &|row, _| ratio(work, figure, row));
        cells.extend(targets.iter().map(|(target, _)| {
            let place = work.rows.iter().position(|row| row.target == *target);
            place.map_or_else(Cell::absent, |place| measured[place].clone())
        }));
        cells
    });
    let mut rows: Vec<Vec<Cell>> = rows.collect();
    rows.iter_mut().for_each(|row| row.resize_with(columns.len(), Cell::absent));
    let notes = vec![
        "Medians over rounds; the best of each line is bold, with a star. ≈: its range of rounds \
         meets the best one's. ×: the figure divided by Portcullis's."
            .to_owned(),
        "✗: failures, counted below; who failed is best only where all did. Never best: “direct”, \
         which is no proxy at all, and “floor”, the least that one asks of the kernel, if it \
         copies."
            .to_owned(),
    ];
    Table { caption: "What decides, of each work".to_owned(), columns, rows, notes }
}

/// What decides a work, and beside it how much was done and how long it took at worst.
fn on_first_screen<'a>(work: &'a Work<'_>) -> Vec<&'a Figure> {
    let is_beside = |figure: &&Figure| {
        figure.pointer.ends_with("_per_second") || figure.pointer.ends_with("/p99")
    };
    let beside = work.figures.iter().skip(1).filter(is_beside);
    work.figures.first().into_iter().chain(beside).collect()
}

/// The figure divided by Portcullis's.
pub(crate) fn ratio(work: &Work<'_>, figure: &Figure, row: &Row<'_>) -> String {
    let reference = work.reference(row).filter(|reference| reference.target != row.target);
    let ours = reference.and_then(|reference| reference.spread(&figure.pointer));
    match (row.spread(&figure.pointer), ours) {
        (Some(own), Some(ours)) if ours.median > 0.0 => {
            let ratio = own.median / ours.median;
            format!("{}×", number::fixed(ratio, number::decimals([ratio]).min(2)))
        }
        _ => String::new(),
    }
}

/// One figure of each row: the median, and the range over rounds.
pub(crate) fn spread_cells(work: &Work<'_>, figure: &Figure) -> Vec<Cell> {
    let range = |row: &Row<'_>, decimals| match row.spread(&figure.pointer) {
        Some(one) if one.rounds > 1 => {
            let text = |value: f64| number::fixed(value, decimals);
            format!("{}–{}", text(one.least), text(one.most))
        }
        _ => String::new(),
    };
    figure_cells(work, figure, &range)
}

/// One figure of each row: the median, and a note with as many decimals.
fn figure_cells(
    work: &Work<'_>,
    figure: &Figure,
    note: &dyn Fn(&Row<'_>, usize) -> String,
) -> Vec<Cell> {
    let spreads: Vec<Option<Spread>> =
        work.rows.iter().map(|row| row.spread(&figure.pointer)).collect();
    let decimals = number::decimals(spreads.iter().flatten().map(|spread| spread.median));
    let standings = work.standings(figure);
    let rows = work.rows.iter().zip(&spreads).zip(standings);
    rows.map(|((row, spread), standing)| match spread {
        Some(spread) => {
            let (sign, mark) = match (standing, row.failed()) {
                (Standing::Best, false) => ("", Mark::Best),
                (Standing::Best, true) => ("✗ ", Mark::Best),
                (_, true) => ("✗ ", Mark::Bad),
                (Standing::Near, false) => ("≈ ", Mark::Plain),
                (Standing::Behind, false) => ("", Mark::Plain),
            };
            Cell::new(sign.to_owned() + &number::fixed(spread.median, decimals))
                .note(note(row, decimals))
                .mark(mark)
        }
        None if row.doubts().next().is_some() => Cell::new("invalid").mark(Mark::Bad),
        None => Cell::absent(),
    })
    .collect()
}

/// What the best and the worst value of each setting make of each work.
fn sweep_summary(works: &[&Work<'_>], palette: &Palette) -> Table {
    let titles = ["Work", "Setting", "Of", "Figure", "Best value", "There", "Worst value", "There"];
    let columns: Vec<Column> = titles
        .iter()
        .map(
            |title| {
                if *title == "There" { Column::number(title, "") } else { Column::words(title) }
            },
        )
        .collect();
    let mut rows = Vec::new();
    for work in works {
        let Some(figure) = work.figures.first() else { continue };
        for target in work.targets() {
            let of_target = work.rows.iter().filter(|row| row.target == target);
            let mut known: Vec<(&Row<'_>, Spread)> =
                of_target.filter_map(|row| Some((row, row.spread(&figure.pointer)?))).collect();
            known.sort_by(|a, b| a.1.median.total_cmp(&b.1.median));
            if figure.better == Some(crate::result::Better::More) {
                known.reverse();
            }
            let (Some(best), Some(worst)) = (known.first(), known.last()) else { continue };
            let decimals = number::decimals([best.1.median, worst.1.median]);
            let there = |one: &(&Row<'_>, Spread)| Cell::new(number::fixed(one.1.median, decimals));
            let value = |one: &(&Row<'_>, Spread)| Cell::new(one.0.value.as_deref().unwrap_or(""));
            rows.push(vec![
                Cell::new(work.title),
                Cell::new(work.key.unwrap_or("")),
                Cell::new(target).note(best.0.version).colour(palette.of(target)),
                Cell::new(&figure.title).note(figure.legend()),
                value(best).mark(Mark::Best),
                there(best),
                value(worst),
                there(worst),
            ]);
        }
    }
    let caption = "What each setting can do to what decides".to_owned();
    Table { caption, columns, rows, notes: vec!["Medians over rounds.".to_owned()] }
}

fn about_blocks(about: &About, source: Option<&str>, palette: &Palette) -> Vec<Block> {
    let source = source.map(|source| ("Read from".to_owned(), source.to_owned()));
    let mut facts: Vec<(String, String)> = source.into_iter().collect();
    facts.extend([
        ("Started".to_owned(), about.started.clone()),
        ("Kernel".to_owned(), about.kernel.clone()),
        ("Cores".to_owned(), about.cores.to_string()),
    ]);
    if let Some(bytes) = about.memory_bytes {
        facts.push(("Memory".to_owned(), number::bytes(bytes)));
    }
    let files = text(&about.ulimit_nofile);
    if !files.is_empty() {
        facts.push(("ulimit -n".to_owned(), files));
    }
    facts.extend(about.sysctls.iter().map(|(key, value)| (key.clone(), text(value))));
    let mut blocks = vec![Block::Facts(facts), Block::Command(about.command.clone())];
    let named = about.targets.iter().map(|target| {
        let word = |text: &Option<String>| match text.as_deref() {
            Some(text) if !text.is_empty() => Cell::new(text),
            _ => Cell::absent(),
        };
        let first = Cell::new(&target.name).colour(palette.of(&target.name));
        vec![first, word(&target.version), word(&target.config)]
    });
    let columns = ["Target", "Version", "Configuration"].map(Column::words).into();
    let (rows, notes) = (named.collect(), Vec::new());
    blocks.push(Block::Table(Table { caption: "Targets".to_owned(), columns, rows, notes }));
    if !about.skipped.is_empty() {
        let rows = about.skipped.iter().map(|one| {
            let install = one.install.as_deref().map_or_else(Cell::absent, Cell::new);
            vec![Cell::new(&one.name), Cell::new(&one.because), install]
        });
        let columns = ["Skipped", "Because", "To install it"].map(Column::words).into();
        let (rows, notes) = (rows.collect(), Vec::new());
        let caption = "Not measured".to_owned();
        blocks.push(Block::Table(Table { caption, columns, rows, notes }));
    }
    if !about.notes.is_empty() {
        blocks.push(Block::List(about.notes.clone()));
    }
    blocks
}

fn work_blocks(work: &Work<'_>, palette: &Palette) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut outcomes = work.rows.iter().flat_map(|row| &row.rounds).map(|(_, outcome)| *outcome);
    if let Some(outcome) = outcomes.next() {
        let asked = outcome.asked();
        blocks.push(Block::Text(format!("{}: {asked}", outcome.scenario)));
        blocks.extend(outcome.command().map(|command| Block::Command(command.to_owned())));
    }
    blocks.push(Block::Table(figure_table(work, palette)));
    blocks.extend(parts::failures(&work.rows, palette));
    let charts = match work.key {
        Some(key) => work.figures.iter().map(|one| value_chart(work, one, key, palette)).collect(),
        None => work.figures.iter().map(|one| bar_chart(work, one, palette)).collect(),
    };
    blocks.push(Block::Charts(charts));
    let single = work.targets().len() == 1;
    let colour = |(index, row): (usize, &Row<'_>)| match work.key {
        Some(_) if single => Colour::Rival(index + 1),
        _ => palette.of(row.target),
    };
    let colours: Vec<Colour> = work.rows.iter().enumerate().map(colour).collect();
    let deeper: [(&str, Vec<Block>); 3] = [
        ("Latency", parts::latencies(&work.rows, &colours)),
        ("Memory", memory::blocks(&work.rows, palette)),
        (
            "Over time",
            parts::timelines(
                &work.rows,
                work.figures.first().map(|one| one.pointer.as_str()),
                palette,
            ),
        ),
    ];
    for (title, found) in deeper.into_iter().filter(|(_, found)| !found.is_empty()) {
        blocks.push(Block::Heading(title.to_owned()));
        blocks.extend(found);
    }
    blocks
}

/// Every figure of every row, and how far to trust it.
fn figure_table(work: &Work<'_>, palette: &Palette) -> Table {
    let mut columns = vec![Column::words(if work.key.is_some() { "Value" } else { "Target" })];
    let mut cells = vec![work.rows.iter().map(|row| name(row, palette.of(row.target))).collect()];
    for figure in &work.figures {
        columns.push(Column::number(&figure.title, &figure.legend()));
        cells.push(spread_cells(work, figure));
    }
    let rounds = work.rows.iter().map(|row| {
        let (counted, planned) = (row.counted().count(), row.planned);
        let mark = if counted < planned { Mark::Bad } else { Mark::Plain };
        Cell::new(format!("{counted} of {planned}")).mark(mark)
    });
    columns.push(Column::number("Rounds", "valid"));
    cells.push(rounds.collect());
    let failures = work.rows.iter().map(|row| {
        let count: u64 = row.failures().values().sum();
        let mark = if count > 0 { Mark::Bad } else { Mark::Plain };
        Cell::new(number::fixed(count as f64, 0)).mark(mark)
    });
    columns.push(Column::number("Failures", "all rounds"));
    cells.push(failures.collect());
    let mut most = |title: &str, legend: &str, pointer: &str, scale: f64| {
        let value = |row: &Row<'_>| row.spread(pointer).map(|spread| spread.most * scale);
        columns.push(Column::number(title, legend));
        cells.push(parts::column(&work.rows.iter().map(value).collect::<Vec<_>>()));
    };
    most("Generator busy", "% of the time, most", "/own/busiest_thread_ran", 100.0);
    most("Generator late", "ms, longest", "/own/longest_lag_ms", 1.0);
    let caption = "Median over rounds (least–most)".to_owned();
    Table { caption, columns, rows: transposed(cells), notes: Vec::new() }
}

fn bar_chart(work: &Work<'_>, figure: &Figure, palette: &Palette) -> super::page::Chart {
    let bars = work.rows.iter().map(|row| Bar {
        name: row.target,
        version: row.version,
        colour: palette.of(row.target),
        value: row.spread(&figure.pointer).ok_or_else(|| {
            let doubts = row.doubts().count();
            match doubts {
                0 => "not measured".to_owned(),
                _ => format!("invalid: {doubts} of {} rounds", row.planned),
            }
        }),
        has_failures: row.failed(),
    });
    bars::draw(figure, &bars.collect::<Vec<_>>())
}

fn value_chart(
    work: &Work<'_>,
    figure: &Figure,
    key: &str,
    palette: &Palette,
) -> super::page::Chart {
    let all = work.values();
    let lines = work.targets().into_iter().map(|target| {
        let row = |value: &&str| {
            let is_it =
                |row: &&Row<'_>| row.target == target && row.value.as_deref() == Some(value);
            work.rows.iter().find(is_it)?.spread(&figure.pointer)
        };
        Line { name: target, colour: palette.of(target), spreads: all.iter().map(row).collect() }
    });
    values::draw(figure, key, &all, &lines.collect::<Vec<_>>())
}
