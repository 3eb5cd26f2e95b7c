//! The help: every key, and what the columns of a table mean.

use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::head::cut;
use super::keys::KEYS;
use super::state::State;

/// Columns of a screen from which on two keys stand beside each other.
const TWO_BESIDE: usize = 112;
/// The room for the names of keys, and of columns.
const NAME: usize = 20;

/// Lines of a screen of this size: keys, then columns, those of the table in use first.
pub(super) fn help(state: &mut State, width: usize, height: usize) -> Vec<Line<'static>> {
    let all = everything(state, width);
    let room = height.saturating_sub(2).max(1);
    let scrolled = state.help_scrolled.min(all.len().saturating_sub(room));
    state.help_scrolled = scrolled;
    let more = all.len() - scrolled.saturating_add(room).min(all.len());
    let mut lines = vec![Line::styled(cut("portcullis top: help", width), Modifier::BOLD)];
    lines.extend(all.into_iter().skip(scrolled).take(room));
    lines.resize(height.saturating_sub(1).max(1), Line::default());
    let words = match more {
        0 => "any key closes it".to_owned(),
        more => format!("↓ {more} lines more; any other key closes it"),
    };
    lines.push(Line::styled(cut(&words, width), Modifier::DIM));
    lines
}

fn everything(state: &State, width: usize) -> Vec<Line<'static>> {
    let beside = if width >= TWO_BESIDE { 2 } else { 1 };
    let mut lines: Vec<Line<'static>> = Vec::new();
    // By columns: the keys of one go on in the next.
    let high = KEYS.len().div_ceil(beside);
    for row in 0..high {
        let keys = (row..KEYS.len()).step_by(high).map(|at| KEYS[at]);
        let parts = keys.flat_map(|(key, does)| named(key, does, width / beside));
        lines.push(parts.collect());
    }
    let others = state.places().into_iter().filter(|index| *index != state.focus);
    for index in [state.focus].into_iter().chain(others) {
        let table = state.table(index);
        lines.push(Line::default());
        lines.push(Line::styled(cut(table.title, width), Modifier::BOLD));
        let columns = table.heads.iter().map(|head| named(head.title, head.means, width));
        lines.extend(columns.map(Line::from_iter));
    }
    lines
}

/// A name and what it means, in so much room.
fn named(name: &str, means: &str, room: usize) -> [Span<'static>; 2] {
    let wide = NAME.min(room);
    let rest = room - wide;
    let means = if rest > 0 { cut(means, rest - 1) } else { String::new() };
    [
        Span::styled(format!("{name:<wide$.wide$}"), Modifier::BOLD),
        Span::raw(format!("{means:<rest$}")),
    ]
}
