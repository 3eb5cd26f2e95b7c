//! The state on a screen of any size: what stands where, and what is left out for want of room.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::bottom::{footer, said};
use super::head::head;
use super::help::help;
use super::state::{BUSIEST, EVENTS, Mode, State, TABLES};
use super::table::table;

/// Lines of a screen from which on tables have a blank one before them.
const AIRY: usize = 30;
/// Lines of a screen from which on it has a footer.
const FOOTED: usize = 6;
/// Lines of a table that say anything: its head and a row.
const LEAST: usize = 2;

/// Draws everything; what has no room is left out, the least telling first.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let lines = match state.mode {
        Mode::Help => help(state, width, height),
        _ => tables(state, width, height),
    };
    for (y, line) in lines.into_iter().enumerate().take(height) {
        frame.render_widget(line, Rect { y: area.y + y as u16, height: 1, ..area });
    }
}

fn tables(state: &mut State, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut lines = head(state, width, height);
    let mut bottom = Vec::from_iter(said(state, width));
    // What is asked is answered on the smallest screen.
    if height >= FOOTED || state.mode != Mode::Tables {
        bottom.push(footer(state, width));
    }
    let gap = usize::from(height >= AIRY);
    let room = height.saturating_sub(lines.len() + bottom.len());
    let rows = std::array::from_fn(|index| match state.table(index).rows.len() {
        // It says that there is nothing.
        0 if index == state.focus => 1,
        rows => rows,
    });
    let mut asked_for = rows;
    asked_for[BUSIEST] = rows[BUSIEST].max(1);
    state.conns_have_room = heights(state, asked_for, gap, room)[BUSIEST] > 0;
    let heights = heights(state, rows, gap, room);
    for index in state.places() {
        if heights[index] > 0 {
            lines.extend((0..gap).map(|_| Line::default()));
            lines.extend(table(state, index, width, heights[index] - gap));
        }
    }
    lines.truncate(height.saturating_sub(bottom.len()));
    lines.resize(height.saturating_sub(bottom.len()), Line::default());
    lines.extend(bottom);
    lines
}

/// Lines for each table with so many rows, a gap before it among them: first each that has
/// something gets the least that says anything, the most telling first, then they grow in turn.
fn heights(state: &State, rows: [usize; TABLES], gap: usize, room: usize) -> [usize; TABLES] {
    let mut heights = [0; TABLES];
    if state.zoomed {
        heights[state.focus] = room;
        return heights;
    }
    let wanted = rows.map(|rows| if rows > 0 { gap + 1 + rows } else { 0 });
    let mut left = room;
    let places = state.places();
    // Drains, listeners and servers; then the events.
    let (first, others) = places.split_at(3);
    let by_need = [state.focus].into_iter().chain(first.iter().copied());
    for index in by_need.chain([EVENTS]).chain(others.iter().copied()) {
        if wanted[index] > 0 && heights[index] == 0 && left >= gap + LEAST {
            heights[index] = gap + LEAST;
            left -= gap + LEAST;
        }
    }
    while left > 0 {
        let before = left;
        for index in places {
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
