//! The last lines: what came of a key, and which keys there are or what is asked.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::head::cut;
use super::state::{BUSIEST, Link, Mode, Outcome, State};
use crate::base::plain_word;
use crate::doctor::thousands;

/// What came of the last kill, or what the filter means; `None`: nothing is to be said.
pub(super) fn said(state: &State, width: usize) -> Option<Line<'static>> {
    if let Some(Outcome { done, words }) = &state.outcome {
        let color = if *done { Color::Green } else { Color::Yellow };
        return Some(Line::styled(cut(&plain_word(words), width), color));
    }
    if let Some(error) = &state.filter_error {
        return Some(Line::styled(
            cut(&format!("filter {}", plain_word(error)), width),
            Color::Red,
        ));
    }
    let matched = state.matched().map(|(matched, open)| {
        format!(": {} of {} connections", thousands(matched), thousands(open))
    });
    let words = format!("filter {}{}", plain_word(&state.filter), matched.unwrap_or_default());
    (!state.filter.is_empty()).then(|| Line::styled(cut(&words, width), Color::Cyan))
}

/// What is asked, or the most important keys.
pub(super) fn footer(state: &State, width: usize) -> Line<'static> {
    match &state.mode {
        Mode::Filter(text) => prompt(text, width),
        Mode::Confirm(chosen) => {
            let style = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);
            // The question stays whole, whatever the names are.
            let (begin, end) = ("end ", "? y/n");
            let room = width.saturating_sub(begin.len() + end.len());
            Line::styled(format!("{begin}{}{end}", cut(&chosen.title(), room)), style)
        }
        Mode::Tables | Mode::Help => keys(state, width),
    }
}

/// The end of what is written, with a place for the next character.
fn prompt(text: &str, width: usize) -> Line<'static> {
    let text = plain_word(text).into_owned();
    let room = width.saturating_sub(2);
    let hidden = text.chars().count().saturating_sub(room);
    let shown: String = text.chars().skip(hidden).collect();
    let mut line = Line::from(vec![
        Span::styled("/", Modifier::BOLD),
        Span::raw(shown),
        Span::styled(" ", Modifier::REVERSED),
    ]);
    if text.is_empty() {
        let hint = "  as in conns: src=10.0.0.0/8 idle>5m server=UPSTREAM/NAME state=joined";
        line.push_span(Span::styled(hint, Modifier::DIM));
    }
    line
}

fn keys(state: &State, width: usize) -> Line<'static> {
    let table = state.table(state.focus);
    let column = state.orders[state.focus].column.map_or("usual", |c| table.heads[c].title);
    let pause = if state.link == Link::Paused { "go on" } else { "pause" };
    let zoom = if state.zoomed { "all tables" } else { "zoom" };
    let is_list = state.focus == BUSIEST;
    let words = [
        Some(("?", "help".to_owned())),
        Some(("q", "quit".to_owned())),
        Some(("Tab", table.title.to_lowercase())),
        is_list.then(|| ("k", "end it".to_owned())),
        Some(("/", "filter".to_owned())),
        Some(("⏎", zoom.to_owned())),
        Some(("↑↓", if is_list { "select" } else { "scroll" }.to_owned())),
        Some(("←→", format!("by {column}"))),
        Some(("p", pause.to_owned())),
    ];
    let mut line = Line::default();
    for (key, word) in words.into_iter().flatten() {
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
