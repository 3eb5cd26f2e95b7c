//! What is on the screen: the last two readings and lists of connections, and what the keys have
//! chosen. Pure.

use std::cmp::{Ordering, Reverse};

use crate::api::conns::Conns;
use crate::base::plain_word;
use crate::metrics::Reading;
use crate::summary::{self, Cell, Row, Summary, Table, busiest, events};

/// How many tables there are: those of a summary, and two more.
pub(super) const TABLES: usize = summary::TABLES + 2;
/// That of the listeners: a table that has rows.
const LISTENERS: usize = 1;
/// That of the connections that move most.
pub(super) const BUSIEST: usize = summary::TABLES;
/// That of the last events.
pub(super) const EVENTS: usize = BUSIEST + 1;

/// How a table's rows are arranged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// The column; `None`: as the gateway gives them, those in a bad state first.
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

/// What keys mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mode {
    /// They act on the tables.
    Tables,
    /// They scroll the help, or close it.
    Help,
    /// They write a filter of connections, of which this is there.
    Filter(String),
    /// They say whether this connection is to be ended.
    Confirm(Chosen),
}

/// A connection that somebody wants to end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    /// Its id, which means something to one process alone.
    pub(super) id: String,
    /// The start time of that process.
    pub(super) process: Option<f64>,
    /// Its client's address.
    client: String,
    /// Its upstream and its server.
    server: String,
}

impl Chosen {
    /// Which connection it is, in words.
    pub(super) fn title(&self) -> String {
        let Chosen { id, client, server, .. } = self;
        plain_word(&format!("connection {id}, {client} to {server}")).into_owned()
    }
}

/// What came of something that a key began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// It was done.
    pub(super) done: bool,
    /// In a line.
    pub(super) words: String,
}

/// An answer to the question for connections.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Listed {
    /// These.
    Conns(Conns),
    /// The filter is wrong, for this reason.
    Wrong(String),
    /// The gateway cannot say now.
    Nothing,
}

/// Everything that the screen depends on but its size.
#[derive(Debug)]
pub(super) struct State {
    latest: Reading,
    pub(super) summary: Summary,
    conns: Option<Conns>,
    /// The table at [`BUSIEST`].
    busiest: Table,
    /// The table at [`EVENTS`].
    events: Table,
    /// Whether there is room for connections, were there any.
    pub(super) conns_have_room: bool,
    pub(super) link: Link,
    pub(super) mode: Mode,
    /// The filter of connections; none: all of them.
    pub(super) filter: String,
    /// Why it is wrong.
    pub(super) filter_error: Option<String>,
    /// What came of the last kill, until the next key.
    pub(super) outcome: Option<Outcome>,
    /// The table that keys act on.
    pub(super) focus: usize,
    /// That table alone.
    pub(super) zoomed: bool,
    pub(super) orders: [Order; TABLES],
    /// Rows that are scrolled away, by table; drawing bounds it.
    pub(super) scrolled: [usize; TABLES],
    /// Lines of the help that are scrolled away; drawing bounds it.
    pub(super) help_scrolled: usize,
    /// The connection that is selected, and the place of its row; another one takes that place when
    /// it is gone.
    selected: (Option<String>, usize),
}

impl State {
    pub(super) fn new(first: Reading) -> State {
        State {
            summary: Summary::of(&first, None),
            conns: None,
            busiest: busiest(&Conns::default(), None),
            events: events(&first),
            conns_have_room: false,
            latest: first,
            link: Link::Live,
            mode: Mode::Tables,
            filter: String::new(),
            filter_error: None,
            outcome: None,
            focus: LISTENERS,
            zoomed: false,
            orders: Default::default(),
            scrolled: Default::default(),
            help_scrolled: 0,
            selected: (None, 0),
        }
    }

    /// The next reading is there.
    pub(super) fn on_reading(&mut self, reading: Reading) {
        if self.link == Link::Paused {
            return;
        }
        self.link = Link::Live;
        self.summary = Summary::of(&reading, Some(&self.latest));
        self.events = events(&reading);
        let is_another = process(&reading) != process(&self.latest);
        self.latest = reading;
        if is_another {
            self.forget_conns();
            if let Mode::Confirm(_) = self.mode {
                self.mode = Mode::Tables;
                let words = "the gateway is another process now: nothing was ended".to_owned();
                self.outcome = Some(Outcome { done: false, words });
            }
        }
    }

    /// The next list of connections is there, of those that `filter` means.
    pub(super) fn on_conns(&mut self, filter: &str, listed: Listed) {
        if self.link == Link::Paused || filter != self.filter {
            return;
        }
        self.filter_error = None;
        match listed {
            Listed::Conns(conns) => {
                self.busiest = busiest(&conns, self.conns.as_ref());
                self.conns = Some(conns);
            }
            Listed::Wrong(because) => {
                self.forget_conns();
                self.filter_error = Some(because);
            }
            Listed::Nothing => self.forget_conns(),
        }
    }

    /// The gateway does not answer.
    pub(super) fn on_lost(&mut self, because: String) {
        if self.link != Link::Paused {
            self.link = Link::Lost(because);
        }
    }

    /// A kill is over.
    pub(super) fn on_killed(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    fn forget_conns(&mut self) {
        self.conns = None;
        self.busiest = busiest(&Conns::default(), None);
    }

    /// Lists other connections from here on.
    pub(super) fn filter_by(&mut self, filter: String) {
        if filter != self.filter {
            self.forget_conns();
            self.filter_error = None;
            self.filter = filter;
        }
    }

    /// Connections that the filter means, and those that are open, by the last list.
    pub(super) fn matched(&self) -> Option<(u64, u64)> {
        self.conns.as_ref().map(|conns| (conns.matched, conns.open))
    }

    pub(super) fn table(&self, index: usize) -> &Table {
        match index {
            BUSIEST => &self.busiest,
            EVENTS => &self.events,
            index => self.summary.tables()[index],
        }
    }

    /// The tables from the top of the screen to its bottom.
    pub(super) fn places(&self) -> [usize; TABLES] {
        let mut places = [BUSIEST; TABLES];
        places[..BUSIEST].copy_from_slice(&self.summary.order());
        places[EVENTS] = EVENTS;
        places
    }

    /// The rows of a table, as they are arranged.
    pub(super) fn rows(&self, index: usize) -> Vec<&Row> {
        let table = self.table(index);
        let mut rows: Vec<&Row> = table.rows.iter().collect();
        let Order { column, reversed } = self.orders[index];
        match column {
            Some(column) => rows.sort_by(|one, other| {
                let order = usual(&one.cells[column], &other.cells[column]);
                if reversed { order.reverse() } else { order }
            }),
            None => {
                let state = table.heads.iter().position(|head| head.path == "state");
                if let Some(at) = state {
                    rows.sort_by_key(|row| Reverse(table.heads[at].level(&row.cells[at])));
                }
                if reversed {
                    rows.reverse();
                }
            }
        }
        rows
    }

    /// The row of connections that is selected; `None`: there is none, or keys act elsewhere.
    pub(super) fn selected(&self) -> Option<usize> {
        let rows = self.rows(BUSIEST);
        let (id, place) = &self.selected;
        let found = rows.iter().position(|row| Some(&row.key) == id.as_ref());
        let place = found.unwrap_or_else(|| (*place).min(rows.len().saturating_sub(1)));
        (self.focus == BUSIEST && !rows.is_empty()).then_some(place)
    }

    /// Selects the row at this place, or the last one.
    pub(super) fn select(&mut self, place: usize) {
        let rows = self.rows(BUSIEST);
        let place = place.min(rows.len().saturating_sub(1));
        self.selected = (rows.get(place).map(|row| row.key.clone()), place);
    }

    /// The connection that is selected.
    pub(super) fn chosen(&self) -> Option<Chosen> {
        let row = self.rows(BUSIEST)[self.selected()?];
        let [client, server] = [1, 2].map(|column| row.cells[column].text());
        let process = self.conns.as_ref().and_then(|conns| conns.start_time_seconds);
        Some(Chosen { id: row.key.clone(), process, client, server })
    }
}

fn process(reading: &Reading) -> Option<f64> {
    reading.process.start_time_seconds
}

/// Words ascending, numbers descending.
fn usual(one: &Cell, other: &Cell) -> Ordering {
    match one {
        Cell::Word(_) => one.order(other),
        _ => other.order(one),
    }
}
