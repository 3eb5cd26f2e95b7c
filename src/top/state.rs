//! What is on the screen: the last two readings and lists of connections, and what the keys have
//! chosen. Pure.

use std::cmp::Ordering;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::api::conns::Conns;
use crate::metrics::Reading;
use crate::summary::{Cell, Row, Summary, Table, busiest};

/// How many tables there are.
pub(super) const TABLES: usize = 5;
/// That of the connections that move most, the last.
pub(super) const BUSIEST: usize = TABLES - 1;
/// Rows that a page key moves by.
const PAGE: usize = 10;

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    End,
}

/// How a table's rows are arranged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// The column; `None`: as the gateway gives them.
    pub(super) column: Option<usize>,
    /// Other than usual: words descending, numbers ascending.
    pub(super) reversed: bool,
}

/// How it stands with the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// It answers.
    Live,
    /// It answers, and nobody wants to hear it.
    Paused,
    /// It does not, for this reason.
    Lost(String),
}

/// Everything that the screen depends on but its size.
#[derive(Debug)]
pub(super) struct State {
    latest: Reading,
    pub(super) summary: Summary,
    conns: Option<Conns>,
    /// The table at [`BUSIEST`].
    busiest: Table,
    /// Whether there is room for that table, were there a row in it.
    pub(super) conns_have_room: bool,
    pub(super) link: Link,
    /// The table that keys act on.
    pub(super) focus: usize,
    /// That table alone.
    pub(super) zoomed: bool,
    pub(super) orders: [Order; TABLES],
    /// Rows that are scrolled away, by table; drawing bounds it.
    pub(super) scrolled: [usize; TABLES],
}

impl State {
    pub(super) fn new(first: Reading) -> State {
        State {
            summary: Summary::of(&first, None),
            conns: None,
            busiest: busiest(&Conns::default(), None),
            conns_have_room: false,
            latest: first,
            link: Link::Live,
            focus: 0,
            zoomed: false,
            orders: Default::default(),
            scrolled: Default::default(),
        }
    }

    /// The next reading is there.
    pub(super) fn on_reading(&mut self, reading: Reading) {
        if self.link == Link::Paused {
            return;
        }
        self.link = Link::Live;
        self.summary = Summary::of(&reading, Some(&self.latest));
        self.latest = reading;
    }

    /// The next list of connections is there; nothing, where the gateway cannot make one now.
    pub(super) fn on_conns(&mut self, conns: Option<Conns>) {
        if self.link == Link::Paused {
            return;
        }
        let none = Conns::default();
        self.busiest = busiest(conns.as_ref().unwrap_or(&none), self.conns.as_ref());
        self.conns = conns;
    }

    /// The gateway does not answer.
    pub(super) fn on_lost(&mut self, because: String) {
        if self.link != Link::Paused {
            self.link = Link::Lost(because);
        }
    }

    /// Somebody pressed a key.
    pub(super) fn on_key(&mut self, key: KeyEvent) -> Flow {
        if key.kind == KeyEventKind::Release {
            return Flow::On;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let scrolled = &mut self.scrolled[self.focus];
        match key.code {
            KeyCode::Char('c' | 'd') if control => return Flow::End,
            KeyCode::Char('q') => return Flow::End,
            KeyCode::Esc if self.zoomed => self.zoomed = false,
            KeyCode::Esc => return Flow::End,
            KeyCode::Tab => self.focus = (self.focus + 1) % TABLES,
            KeyCode::BackTab => self.focus = (self.focus + TABLES - 1) % TABLES,
            KeyCode::Enter => self.zoomed = !self.zoomed,
            KeyCode::Right | KeyCode::Char('s') => self.sort_by_next(),
            KeyCode::Left => self.sort_by_previous(),
            KeyCode::Char('r') => {
                let order = &mut self.orders[self.focus];
                order.reversed = !order.reversed;
            }
            KeyCode::Up => *scrolled = scrolled.saturating_sub(1),
            KeyCode::Down => *scrolled += 1,
            KeyCode::PageUp => *scrolled = scrolled.saturating_sub(PAGE),
            KeyCode::PageDown => *scrolled += PAGE,
            KeyCode::Home => *scrolled = 0,
            KeyCode::Char('p') => match self.link {
                Link::Paused => self.link = Link::Live,
                Link::Live => self.link = Link::Paused,
                Link::Lost(_) => {}
            },
            _ => {}
        }
        Flow::On
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

    pub(super) fn table(&self, index: usize) -> &Table {
        self.summary.tables().get(index).copied().unwrap_or(&self.busiest)
    }

    /// The rows of a table, as they are arranged.
    pub(super) fn rows(&self, index: usize) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.table(index).rows.iter().collect();
        let Order { column, reversed } = self.orders[index];
        match column {
            Some(column) => rows.sort_by(|one, other| {
                let order = usual(&one.cells[column], &other.cells[column]);
                if reversed { order.reverse() } else { order }
            }),
            None if reversed => rows.reverse(),
            None => {}
        }
        rows
    }
}

/// Words ascending, numbers descending.
fn usual(one: &Cell, other: &Cell) -> Ordering {
    match one {
        Cell::Word(_) => one.order(other),
        _ => other.order(one),
    }
}
