//! What each key does, and the words for it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::state::{BUSIEST, Chosen, Link, Mode, Outcome, State, TABLES};

/// Rows that a page key moves by.
const PAGE: usize = 10;
/// Characters of a filter at most.
const FILTER_MAX: usize = 500;

/// Every key with what it does.
pub(super) const KEYS: [(&str, &str); 14] = [
    ("?", "this help; any other key closes it"),
    ("q, Ctrl-C", "quit"),
    ("Tab, Shift-Tab", "next table, previous table"),
    ("⏎", "this table alone, all tables"),
    ("↑ ↓ PgUp PgDn Home", "scroll, or select a connection"),
    ("← →", "sort by another column"),
    ("r", "sort the other way round"),
    ("/", "filter connections, as conns does"),
    ("k", "end that connection; it asks first"),
    ("p", "pause, go on"),
    ("Esc", "close, clear the filter, or quit"),
    ("in a filter:", ""),
    ("⏎", "apply it"),
    ("Esc, Ctrl-U", "clear it, empty the line"),
];

/// The keys in lines of text, for the help of the command.
pub fn help_of_keys() -> String {
    let lines = KEYS.iter().map(|(key, does)| format!("  {key:<20}{does}").trim_end().to_owned());
    format!("Keys:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Whether to go on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Flow {
    /// It goes on.
    On,
    /// It ends.
    End,
    /// It goes on, and this connection is to be ended.
    Kill(Chosen),
}

impl State {
    /// Somebody pressed a key.
    pub(super) fn on_key(&mut self, key: KeyEvent) -> Flow {
        if key.kind == KeyEventKind::Release {
            return Flow::On;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Flow::End;
        }
        self.outcome = None;
        match std::mem::replace(&mut self.mode, Mode::Tables) {
            Mode::Tables => return self.on_table_key(key.code),
            Mode::Help => self.on_help_key(key.code),
            Mode::Filter(text) => self.on_filter_key(text, key.code, control),
            Mode::Confirm(chosen) => match key.code {
                KeyCode::Char('y' | 'Y') => return Flow::Kill(chosen),
                _ => self.tell("nothing was ended"),
            },
        }
        Flow::On
    }

    fn on_table_key(&mut self, code: KeyCode) -> Flow {
        match code {
            KeyCode::Char('q') => return Flow::End,
            KeyCode::Esc if self.zoomed => self.zoomed = false,
            KeyCode::Esc if !self.filter.is_empty() => self.filter_by(String::new()),
            KeyCode::Esc => return Flow::End,
            KeyCode::Char('?') => (self.mode, self.help_scrolled) = (Mode::Help, 0),
            KeyCode::Char('/') => {
                self.focus = BUSIEST;
                self.mode = Mode::Filter(self.filter.clone());
            }
            KeyCode::Char('k') => match self.chosen() {
                Some(chosen) => self.mode = Mode::Confirm(chosen),
                None if self.focus == BUSIEST => self.tell("there is no connection to end"),
                None => self.tell("Tab to the connections and select one first"),
            },
            KeyCode::Tab => self.focus_by(1),
            KeyCode::BackTab => self.focus_by(TABLES - 1),
            KeyCode::Enter => self.zoomed = !self.zoomed,
            KeyCode::Right | KeyCode::Char('s') => self.sort_by_next(),
            KeyCode::Left => self.sort_by_previous(),
            KeyCode::Char('r') => {
                let order = &mut self.orders[self.focus];
                order.reversed = !order.reversed;
            }
            KeyCode::Char('p') => match self.link {
                Link::Paused => self.link = Link::Live,
                Link::Live => self.link = Link::Paused,
                Link::Lost(_) => {}
            },
            code => self.on_moving_key(code),
        }
        Flow::On
    }

    /// Moves the selection, or what is scrolled away.
    fn on_moving_key(&mut self, code: KeyCode) {
        if self.focus == BUSIEST {
            let place = moved(self.selected().unwrap_or(0), code);
            place.into_iter().for_each(|place| self.select(place));
        } else if let Some(scrolled) = moved(self.scrolled[self.focus], code) {
            self.scrolled[self.focus] = scrolled;
        }
    }

    fn on_help_key(&mut self, code: KeyCode) {
        if let Some(scrolled) = moved(self.help_scrolled, code) {
            (self.mode, self.help_scrolled) = (Mode::Help, scrolled);
        }
    }

    fn on_filter_key(&mut self, mut text: String, code: KeyCode, control: bool) {
        match code {
            KeyCode::Enter => return self.filter_by(text.trim().to_owned()),
            KeyCode::Esc => return self.filter_by(String::new()),
            KeyCode::Char('u') if control => text.clear(),
            KeyCode::Char(_) if control => {}
            KeyCode::Char(c) if text.chars().count() < FILTER_MAX => text.push(c),
            KeyCode::Backspace => drop(text.pop()),
            _ => {}
        }
        self.mode = Mode::Filter(text);
    }

    fn tell(&mut self, words: &str) {
        self.outcome = Some(Outcome { done: false, words: words.to_owned() });
    }

    /// To the table so many places further down, and round again.
    fn focus_by(&mut self, places: usize) {
        let all = self.places();
        let place = all.iter().position(|table| *table == self.focus).unwrap_or(0);
        self.focus = all[(place + places) % TABLES];
    }

    fn sort_by_next(&mut self) {
        let columns = self.table(self.focus).heads.len();
        let order = &mut self.orders[self.focus];
        let next = order.column.map_or(0, |column| column + 1);
        order.column = (next < columns).then_some(next);
    }

    fn sort_by_previous(&mut self) {
        let columns = self.table(self.focus).heads.len();
        let order = &mut self.orders[self.focus];
        order.column = order.column.map_or(Some(columns - 1), |column| column.checked_sub(1));
    }
}

/// Where a key moves to from this place; `None`: it does not move.
fn moved(from: usize, code: KeyCode) -> Option<usize> {
    match code {
        KeyCode::Up => Some(from.saturating_sub(1)),
        KeyCode::Down => Some(from + 1),
        KeyCode::PageUp => Some(from.saturating_sub(PAGE)),
        KeyCode::PageDown => Some(from + PAGE),
        KeyCode::Home => Some(0),
        _ => None,
    }
}
