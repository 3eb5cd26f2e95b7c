//! The first lines: which gateway, what is wrong, since when, what to do; connections and figures.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::bar::{BAR, bar};
use super::state::{Link, State};
use crate::metrics::reading::Severity;
use crate::summary::{FIGURE_GAP, Said, figure_lines, span};

/// Lines of figures at most.
const FIGURE_LINES: usize = 3;
/// Lines of the screen for each line of figures.
const LINES_PER_FIGURES: usize = 7;
/// Lines of the screen for each line about troubles.
const LINES_PER_TROUBLES: usize = 4;
/// Columns of a screen from which on connections have a name.
const NAMED: usize = 60;

/// All of them, for a screen of this size.
pub(super) fn head(state: &State, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut lines = title(state, width);
    if let Link::Lost(because) = &state.link {
        let because = because.lines().next().unwrap_or_default();
        let words = cut(&format!("{because}; trying again"), width);
        lines.push(Line::styled(words, Color::Red));
    }
    lines.extend(wrong(state, width, (height / LINES_PER_TROUBLES).max(1)));
    lines.push(connections(state, width));
    let figures_max = FIGURE_LINES.min(height / LINES_PER_FIGURES);
    lines.extend(figures(state, width).into_iter().take(figures_max));
    lines
}

/// One line, or two where the second must say which gateway it is.
fn title(state: &State, width: usize) -> Vec<Line<'static>> {
    let summary = &state.summary;
    let stage_style = match summary.stage {
        "ready" => Style::new().fg(Color::Green),
        _ => Style::new().fg(Color::Yellow),
    };
    let (link, link_style) = match &state.link {
        Link::Live => ("live", Style::new().fg(Color::Green)),
        Link::Paused => ("paused", Style::new().fg(Color::Yellow)),
        Link::Lost(_) => ("gone", Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)),
    };
    let mut spans = vec![
        Span::styled("portcullis", Modifier::BOLD),
        Span::styled(format!("  {}", summary.stage_words()), stage_style),
    ];
    let mut room =
        width.saturating_sub(link.len() + 1 + spans.iter().map(Span::width).sum::<usize>());
    let mut second = None;
    if let Some(gateway) = &summary.gateway {
        let beside = Span::raw(format!("  {gateway}"));
        if beside.width() <= room {
            room -= beside.width();
            spans.push(beside);
        } else {
            second = Some(Line::raw(cut(gateway, width)));
        }
    }
    let up = Span::raw(format!("  up {}", span(summary.up)));
    let version = Span::raw(format!(" {}", summary.version));
    for (place, span) in [(spans.len(), up), (1, version)] {
        if span.width() <= room {
            room -= span.width();
            spans.insert(place, span);
        }
    }
    spans.push(Span::raw(" ".repeat(room + 1)));
    spans.push(Span::styled(link, link_style));
    [Line::from(spans)].into_iter().chain(second).collect()
}

/// Whether all is well, and what is not, in so many lines beside that one: each trouble has one,
/// and the worst have more as far as there is room.
fn wrong(state: &State, width: usize, lines_max: usize) -> Vec<Line<'static>> {
    let troubles = &state.summary.troubles;
    let worst = troubles.first().map_or(Severity::Info, |worst| worst.severity);
    let verdict = match worst {
        Severity::Info => Style::new().fg(Color::Green),
        worst => style_of(worst).add_modifier(Modifier::BOLD),
    };
    let mut lines = vec![Line::styled(cut(&state.summary.verdict, width), verdict)];
    let shown = if troubles.len() > lines_max { lines_max - 1 } else { troubles.len() };
    let mut spare = lines_max - troubles.len().min(lines_max);
    for trouble in &troubles[..shown] {
        let mut all = trouble_lines(trouble, width);
        let taken = all.len().min(1 + spare);
        spare -= taken - 1;
        all.truncate(taken);
        lines.extend(all);
    }
    if shown < troubles.len() {
        let more = format!("  and {} more; portcullis status has all", troubles.len() - shown);
        lines.push(Line::styled(cut(&more, width), Modifier::DIM));
    }
    lines
}

/// What is wrong and since when, and what to do: cut to the width, or wrapped in further lines.
fn trouble_lines(trouble: &Said, width: usize) -> Vec<Line<'static>> {
    const INDENT: &str = "  ";
    let style = style_of(trouble.severity);
    let room = width.saturating_sub(INDENT.len()).max(1);
    let words = wrapped(&trouble.words, room).into_iter().enumerate();
    let line = |(index, text): (usize, String)| {
        let bullet = if index == 0 { "● " } else { INDENT };
        Line::styled(cut(&format!("{bullet}{text}"), width), style)
    };
    let mut lines: Vec<Line<'static>> = words.map(line).collect();
    if let Some(remedy) = &trouble.remedy {
        let remedy = wrapped(&format!("→ {remedy}"), room).into_iter();
        lines.extend(remedy.map(|text| Line::raw(cut(&format!("{INDENT}{text}"), width))));
    }
    lines
}

/// The colour of something that is so bad.
pub(super) fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Info => Style::new(),
        Severity::Warning => Style::new().fg(Color::Yellow),
        Severity::Error => Style::new().fg(Color::Red),
    }
}

/// Words in lines of this width; one that is longer has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// As much of a text as has room.
pub(super) fn cut(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn connections(state: &State, width: usize) -> Line<'static> {
    let cell = &state.summary.connections;
    let part = cell.part().unwrap_or(0.0);
    let text = format!(" {}  {:.0} %", cell.text(), part * 100.0);
    let bound = format!("  bound by {}", state.summary.bound_by);
    let name = if width >= NAMED { "connections " } else { "" };
    let room = width.saturating_sub(name.len() + text.chars().count());
    let bound = if room >= bound.chars().count() + BAR { bound } else { String::new() };
    let bar_width = room.saturating_sub(bound.chars().count());
    Line::from(vec![
        Span::styled(name, Modifier::BOLD),
        bar(part, cell.level(), bar_width),
        Span::raw(text),
        Span::styled(bound, Modifier::DIM),
    ])
}

fn figures(state: &State, width: usize) -> Vec<Line<'static>> {
    let figures = state.summary.figures.iter().map(|(head, cell)| {
        let value = Span::styled(cell.text(), Modifier::BOLD);
        [Span::styled(format!("{} ", head.title), Modifier::DIM), value]
    });
    let figures: Vec<[Span<'static>; 2]> = figures.collect();
    let widths = figures.iter().map(|spans| spans.iter().map(Span::width).sum());
    let gap = [Span::raw(" ".repeat(FIGURE_GAP))];
    let lines = figure_lines(widths, width);
    lines.into_iter().map(|line| Line::from(figures[line].join(&gap[..]))).collect()
}
