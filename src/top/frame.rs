//! The state as lines of text in whatever room there is.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::state::{BUSIEST, Link, State, TABLES};
use crate::summary::{Cell, FIGURE_GAP, Kind, Level, Row, Table, figure_lines, span};

/// Cells of a bar.
const BAR: usize = 6;
/// Between columns.
const GAP: usize = 2;
/// Lines of figures at most.
const FIGURE_LINES: usize = 3;
/// Lines of the screen for each line of figures.
const LINES_PER_FIGURES: usize = 5;

/// Draws everything; what has no room is left out, the least telling first.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut lines = vec![title(state, width)];
    if let Link::Lost(because) = &state.link {
        let because = because.lines().next().unwrap_or_default();
        lines.push(Line::styled(format!("{because}; trying again"), Color::Red));
    }
    lines.push(connections(state, width));
    lines.extend(state.summary.troubles.iter().map(|it| Line::styled(it.clone(), Color::Red)));
    lines.extend(
        figures(state, width).into_iter().take(FIGURE_LINES.min(height / LINES_PER_FIGURES)),
    );
    let footer = usize::from(height > 5);
    let room = height.saturating_sub(lines.len() + footer);
    let rows = std::array::from_fn(|index| state.table(index).rows.len());
    let mut asked_for = rows;
    asked_for[BUSIEST] = rows[BUSIEST].max(1);
    state.conns_have_room = heights(state, asked_for, room)[BUSIEST] > 0;
    for (index, lines_max) in heights(state, rows, room).into_iter().enumerate() {
        if lines_max > 0 {
            lines.push(Line::default());
            lines.extend(table(state, index, width, lines_max - 1));
        }
    }
    if footer > 0 {
        lines.truncate(height - 1);
        lines.resize(height - 1, Line::default());
        lines.push(keys(state, width));
    }
    for (y, line) in lines.into_iter().enumerate().take(height) {
        frame.render_widget(line, Rect { y: area.y + y as u16, height: 1, ..area });
    }
}

fn title(state: &State, width: usize) -> Line<'static> {
    let summary = &state.summary;
    let left = summary.drain_left.map(|left| format!(", ends within {}", span(left)));
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
        Span::styled(format!("  {}{}", summary.stage, left.unwrap_or_default()), stage_style),
    ];
    let mut room =
        width.saturating_sub(link.len() + 1 + spans.iter().map(Span::width).sum::<usize>());
    let version = Span::raw(format!(" {}", summary.version));
    let up = Span::raw(format!("  up {}", span(summary.up)));
    for (place, span) in [(1, version), (3, up)] {
        if span.width() <= room {
            room -= span.width();
            spans.insert(place.min(spans.len()), span);
        }
    }
    spans.push(Span::raw(" ".repeat(room + 1)));
    spans.push(Span::styled(link, link_style));
    Line::from(spans)
}

fn connections(state: &State, width: usize) -> Line<'static> {
    let cell = &state.summary.connections;
    let part = cell.part().unwrap_or(0.0);
    let text = format!(" {}  {:.0} %", cell.text(), part * 100.0);
    let bound = format!("  bound by {}", state.summary.bound_by);
    let name = if width >= 60 { "connections " } else { "" };
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

/// Lines for each table with so many rows, a blank one before it among them: first each that has
/// something gets the least that says anything, in their order, then they grow in turn.
fn heights(state: &State, rows: [usize; TABLES], room: usize) -> [usize; TABLES] {
    const LEAST: usize = 3;
    let mut heights = [0; TABLES];
    if state.zoomed {
        heights[state.focus] = room;
        return heights;
    }
    let wanted = rows.map(|rows| if rows > 0 { rows + 2 } else { 0 });
    let mut left = room;
    let focused_first = std::iter::once(state.focus).chain(0..TABLES);
    for index in focused_first {
        if wanted[index] > 0 && heights[index] == 0 && left >= LEAST {
            heights[index] = LEAST;
            left -= LEAST;
        }
    }
    while left > 0 {
        let before = left;
        for index in 0..TABLES {
            if left > 0 && heights[index] > 0 && heights[index] < wanted[index] {
                heights[index] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    heights
}

/// The head and as many rows as `lines_max` allows.
fn table(state: &mut State, index: usize, width: usize, lines_max: usize) -> Vec<Line<'static>> {
    let visible = lines_max.saturating_sub(1);
    let count = state.table(index).rows.len();
    let scrolled = &mut state.scrolled[index];
    *scrolled = (*scrolled).min(count.saturating_sub(visible));
    let scrolled = *scrolled;
    let all = state.rows(index);
    let cut = visible < count;
    let columns = columns(state.table(index), &all, width, cut);
    let mut lines = vec![table_head(state, index, &columns, cut)];
    for row in all.iter().skip(scrolled).take(visible) {
        let mut spans = Vec::new();
        for &(column, wide) in &columns {
            spans.extend(spans_of(&row.cells[column], wide, column == 0));
            spans.push(Span::raw(" ".repeat(GAP)));
        }
        lines.push(Line::from(spans));
    }
    if count == 0 {
        lines.push(Line::styled("nothing here", Modifier::DIM));
    }
    lines.truncate(lines_max);
    lines
}

fn table_head(state: &State, index: usize, columns: &[(usize, usize)], cut: bool) -> Line<'static> {
    let table = state.table(index);
    let focused = index == state.focus;
    let style = match focused {
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
        let text: String = head(table, column, cut).chars().take(wide).collect();
        let left = table.heads[column].kind == Kind::Word;
        let padded = if left { format!("{text:<wide$}") } else { format!("{text:>wide$}") };
        spans.push(Span::styled(format!("{padded}{arrow}"), style));
    }
    Line::from(spans)
}

/// Which columns there is room for, each with its width.
fn columns(table: &Table, rows: &[&Row], width: usize, cut: bool) -> Vec<(usize, usize)> {
    let all = (0..table.heads.len()).map(|column| {
        let cells = rows.iter().map(|row| wide(&row.cells[column])).max();
        (column, cells.unwrap_or(0).max(head(table, column, cut).chars().count()))
    });
    table.fit(all.collect(), GAP, width)
}

/// The name of a column; that of the first also says how many rows there are, where not all show.
fn head(table: &Table, column: usize, cut: bool) -> String {
    let title = table.heads[column].title;
    if cut && column == 0 { format!("{title} of {}", table.rows.len()) } else { title.to_owned() }
}

/// The room that a cell takes; numbers get some to grow, so that columns stand still.
fn wide(cell: &Cell) -> usize {
    let text = cell.text().chars().count();
    match cell {
        Cell::Word(_) => text,
        Cell::Share { .. } => text + 1 + BAR,
        Cell::Balance(_) | Cell::Count(_) | Cell::Rate(_) | Cell::Span(_) => text.max(7),
        Cell::Bytes(_) | Cell::ByteRate(_) => text.max(8),
    }
}

fn spans_of(cell: &Cell, wide: usize, first: bool) -> Vec<Span<'static>> {
    let text = cell.text();
    match (cell, cell.part()) {
        (Cell::Word(_), _) => {
            let style = if first { Modifier::BOLD } else { Modifier::empty() };
            let text: String = text.chars().take(wide).collect();
            vec![Span::styled(format!("{text:<wide$}"), style)]
        }
        (_, Some(part)) => {
            let room = wide.saturating_sub(BAR + 1);
            vec![bar(part, cell.level(), BAR), Span::raw(format!(" {text:>room$}"))]
        }
        _ => vec![Span::raw(format!("{text:>wide$}"))],
    }
}

/// A bar of `width` cells, in eighths; what is not nothing shows.
fn bar(part: f64, level: Level, width: usize) -> Span<'static> {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let mut eighths = (part * (width * 8) as f64).round() as usize;
    if part > 0.0 {
        eighths = eighths.max(1);
    }
    let mut text = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        text.push(EIGHTHS[eighths % 8]);
    }
    let text = format!("{text:·<width$}");
    let color = match level {
        Level::Easy => Color::Green,
        Level::High => Color::Yellow,
        Level::Full => Color::Red,
    };
    Span::styled(text, color)
}

fn keys(state: &State, width: usize) -> Line<'static> {
    let table = state.table(state.focus);
    let column = state.orders[state.focus].column.map_or("config", |c| table.heads[c].title);
    let pause = if state.link == Link::Paused { "go on" } else { "pause" };
    let zoom = if state.zoomed { "all tables" } else { "zoom" };
    let words = [
        ("q", "quit".to_owned()),
        ("Tab", table.title.to_lowercase()),
        ("←→", format!("by {column}")),
        ("r", "reverse".to_owned()),
        ("⏎", zoom.to_owned()),
        ("↑↓", "scroll".to_owned()),
        ("p", pause.to_owned()),
    ];
    let mut line = Line::default();
    for (key, word) in words {
        let gap = if line.spans.is_empty() { "" } else { "  " };
        let spans = [
            Span::raw(gap),
            Span::styled(key, Modifier::BOLD),
            Span::styled(format!(" {word}"), Modifier::DIM),
        ];
        if line.width() + spans.iter().map(Span::width).sum::<usize>() <= width {
            line.extend(spans);
        }
    }
    line
}
