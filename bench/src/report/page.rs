//! What a report consists of, whatever it is written in.

use maud::Markup;

use super::palette::Colour;

pub(crate) struct Page {
    pub(crate) title: String,
    /// One line below the title.
    pub(crate) lead: String,
    pub(crate) sections: Vec<Section>,
}

/// A heading that the contents list leads to, and what stands below it.
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

pub(crate) enum Block {
    Heading(String),
    Text(String),
    /// What a reader must not miss.
    Warning(String),
    /// A command.
    Command(String),
    /// Names with what belongs to them.
    Facts(Vec<(String, String)>),
    List(Vec<String>),
    Table(Table),
    /// Short ones, side by side where there is room.
    Tables(Vec<Table>),
    /// Charts side by side. A table beside them has the same numbers.
    Charts(Vec<Chart>),
}

pub(crate) struct Chart {
    pub(crate) title: String,
    /// Unit and direction.
    pub(crate) legend: String,
    pub(crate) size: Size,
    pub(crate) svg: Markup,
}

/// How much room a chart takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Medium,
}

/// Rows below heads; the first column names the rows.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Cell>>,
    pub(crate) notes: Vec<String>,
}

pub(crate) struct Column {
    pub(crate) title: String,
    /// Unit, direction, version: what stands small below the title.
    pub(crate) note: String,
    pub(crate) is_number: bool,
    pub(crate) colour: Option<Colour>,
}

impl Column {
    pub(crate) fn words(title: &str) -> Column {
        Column { title: title.into(), note: String::new(), is_number: false, colour: None }
    }

    pub(crate) fn number(title: &str, note: &str) -> Column {
        Column { title: title.into(), note: note.into(), is_number: true, colour: None }
    }
}

#[derive(Clone, Default)]
pub(crate) struct Cell {
    pub(crate) text: String,
    /// What stands small behind or below it.
    pub(crate) note: String,
    pub(crate) mark: Mark,
    pub(crate) colour: Option<Colour>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mark {
    #[default]
    Plain,
    Best,
    Bad,
    /// There is nothing to say.
    Absent,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), ..Cell::default() }
    }

    pub(crate) fn absent() -> Cell {
        Cell { text: "–".to_owned(), mark: Mark::Absent, ..Cell::default() }
    }

    pub(crate) fn note(self, note: impl Into<String>) -> Cell {
        Cell { note: note.into(), ..self }
    }

    pub(crate) fn mark(self, mark: Mark) -> Cell {
        Cell { mark, ..self }
    }

    pub(crate) fn colour(self, colour: Colour) -> Cell {
        Cell { colour: Some(colour), ..self }
    }
}

impl Section {
    /// What its heading is called in links; `index` keeps equal titles apart.
    pub(crate) fn anchor(&self, index: usize) -> String {
        let words = self.title.to_lowercase();
        let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
        format!("s{}-{}", index + 1, words.collect::<Vec<_>>().join("-"))
    }
}
