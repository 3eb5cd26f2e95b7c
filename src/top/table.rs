//! A table: as many of its columns and rows as have room.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::bar::{BAR, bar, color};
use super::head::{cut, style_of};
use super::state::{BUSIEST, EVENTS, State};
use crate::metrics::reading::Severity;
use crate::summary::{Cell, Head, Kind, Row, Table};

/// Between columns.
const GAP: usize = 2;

/// The head and as many rows as `lines_max` allows.
pub(super) fn table(
    state: &mut State,
    index: usize,
    width: usize,
    lines_max: usize,
) -> Vec<Line<'static>> {
    let visible = lines_max.saturating_sub(1);
    let count = state.table(index).rows.len();
    let selected = state.selected().filter(|_| index == BUSIEST);
    let scrolled = &mut state.scrolled[index];
    if let Some(selected) = selected {
        *scrolled = (*scrolled).clamp((selected + 1).saturating_sub(visible), selected);
    }
    *scrolled = (*scrolled).min(count.saturating_sub(visible));
    let scrolled = *scrolled;
    let (table, all) = (state.table(index), state.rows(index));
    let is_cut = visible < count;
    let columns = columns(table, &all, width, is_cut);
    let mut lines = vec![table_head(state, index, &columns, is_cut)];
    for (place, row) in all.iter().enumerate().skip(scrolled).take(visible) {
        let mut spans = Vec::new();
        for &(column, wide) in &columns {
            spans.extend(spans_of(&table.heads[column], &row.cells[column], wide, column == 0));
            spans.push(Span::raw(" ".repeat(GAP)));
        }
        let line = Line::from(spans);
        lines.push(match selected == Some(place) {
            true => line.patch_style(Modifier::REVERSED),
            false if index == EVENTS => line.patch_style(event_style(table, row)),
            false => line,
        });
    }
    if count == 0 {
        lines.push(Line::styled("nothing here", Modifier::DIM));
    }
    lines.truncate(lines_max);
    lines
}

/// The colour of an event, whether its severity has room or not.
fn event_style(table: &Table, row: &Row) -> Style {
    let column = table.heads.iter().position(|head| head.path == "severity");
    let word = column.map(|column| row.cells[column].text());
    let all = [Severity::Warning, Severity::Error].into_iter();
    let severity = all.into_iter().find(|severity| Some(severity.word()) == word.as_deref());
    style_of(severity.unwrap_or(Severity::Info))
}

fn table_head(
    state: &State,
    index: usize,
    columns: &[(usize, usize)],
    is_cut: bool,
) -> Line<'static> {
    let table = state.table(index);
    let style = match index == state.focus {
        true => Style::new().add_modifier(Modifier::REVERSED),
        false => Style::new().add_modifier(Modifier::UNDERLINED | Modifier::BOLD),
    };
    let order = state.orders[index];
    let mut spans = Vec::new();
    for &(column, wide) in columns {
        // In the gap to the next column.
        let arrow = match (order.column == Some(column), order.reversed) {
            (false, _) => "  ",
            (true, false) => "▼ ",
            (true, true) => "▲ ",
        };
        let text: String = title(table, column, is_cut).chars().take(wide).collect();
        let left = table.heads[column].kind == Kind::Word;
        let padded = if left { format!("{text:<wide$}") } else { format!("{text:>wide$}") };
        spans.push(Span::styled(format!("{padded}{arrow}"), style));
    }
    Line::from(spans)
}

/// Which columns there is room for, each with its width.
fn columns(table: &Table, rows: &[&Row], width: usize, is_cut: bool) -> Vec<(usize, usize)> {
    let all = (0..table.heads.len()).map(|column| {
        let cells = rows.iter().map(|row| wide(&row.cells[column])).max();
        (column, cells.unwrap_or(0).max(title(table, column, is_cut).chars().count()))
    });
    // Nobody misses a column that says nothing.
    let is_said = |&(column, _): &(usize, usize)| {
        let is_blank = |row: &&Row| row.cells[column] == Cell::Word(String::new());
        rows.is_empty() || !rows.iter().all(is_blank)
    };
    table.fit(all.filter(is_said).collect(), GAP, width)
}

/// The name of a column; that of the first also says how many rows there are, where not all show.
fn title(table: &Table, column: usize, is_cut: bool) -> String {
    let title = table.heads[column].title;
    if is_cut && column == 0 {
        format!("{title} of {}", table.rows.len())
    } else {
        title.to_owned()
    }
}

/// The room that a cell takes; numbers get some to grow, so that columns stand still.
fn wide(cell: &Cell) -> usize {
    let text = cell.text().chars().count();
    match cell {
        Cell::Word(_) => text,
        Cell::Share { all: 0, .. } => text.max(7),
        Cell::Share { .. } => text + 1 + BAR,
        Cell::Balance(_) | Cell::Count(_) | Cell::Rate(_) | Cell::Span(_) | Cell::Latency(_) => {
            text.max(7)
        }
        Cell::Bytes(_) | Cell::ByteRate(_) => text.max(8),
    }
}

fn spans_of(head: &Head, cell: &Cell, wide: usize, is_first: bool) -> Vec<Span<'static>> {
    let text = cell.text();
    match (cell, cell.part()) {
        (Cell::Word(_), _) => {
            let style = match (head.path, is_first) {
                ("state", _) => Style::new().fg(color(head.level(cell))),
                (_, true) => Style::new().add_modifier(Modifier::BOLD),
                (_, false) => Style::new(),
            };
            vec![Span::styled(format!("{:<wide$}", cut(&text, wide)), style)]
        }
        (_, Some(part)) => {
            let room = wide.saturating_sub(BAR + 1);
            vec![bar(part, cell.level(), BAR), Span::raw(format!(" {text:>room$}"))]
        }
        _ => vec![Span::raw(format!("{text:>wide$}"))],
    }
}
