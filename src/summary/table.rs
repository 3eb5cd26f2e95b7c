//! Tables: heads, rows, and which columns have room.

use super::{Cell, Kind, Level};

/// The name of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// For people.
    pub title: &'static str,
    /// Its place in the row of the page's document, dots between the steps; `#`: the row's name.
    pub path: &'static str,
    /// The place of what it is a share of.
    pub of: &'static str,
    /// Of which kind the values are.
    pub kind: Kind,
    /// Where there is no room, the greatest goes first.
    pub spare: u8,
    /// Words may be cut to so many characters before anything goes; 0: they may not.
    pub least: usize,
    /// What the values say, in a line.
    pub means: &'static str,
}

impl Head {
    /// Of a value that stands alone.
    pub(super) const fn new(
        title: &'static str,
        path: &'static str,
        kind: Kind,
        spare: u8,
    ) -> Head {
        Head { title, path, of: "", kind, spare, least: 0, means: "" }
    }

    /// Of a share of what is at `of`.
    pub(super) const fn share(
        title: &'static str,
        path: &'static str,
        of: &'static str,
        spare: u8,
    ) -> Head {
        Head { of, ..Head::new(title, path, Kind::Share, spare) }
    }

    /// With what its values say.
    pub(super) const fn means(self, means: &'static str) -> Head {
        Head { means, ..self }
    }

    /// With words that may be cut to so many characters.
    pub(super) const fn cut_to(self, least: usize) -> Head {
        Head { least, ..self }
    }

    /// How bad a value is: how near its end, or by its state.
    pub fn level(&self, cell: &Cell) -> Level {
        match cell {
            Cell::Word(word) if self.path == "state" => Level::of_state(word),
            cell => cell.level(),
        }
    }
}

/// Rows of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The title of the table.
    pub title: &'static str,
    /// Their place in the page's document.
    pub path: &'static str,
    /// By column.
    pub heads: &'static [Head],
    /// As long as `heads`, each.
    pub rows: Vec<Row>,
}

impl Table {
    /// Of `columns`, each with its width, those for which `room` has room with `gap` between two;
    /// one at least. Words are cut as far as they may be before a column goes.
    pub fn fit(
        &self,
        mut columns: Vec<(usize, usize)>,
        gap: usize,
        room: usize,
    ) -> Vec<(usize, usize)> {
        let least = |&(column, wide): &(usize, usize)| match self.heads[column].least {
            0 => wide,
            least => wide.min(least.max(self.heads[column].title.chars().count())),
        };
        let total = |columns: &[(usize, usize)]| -> usize {
            columns.iter().map(|one| least(one) + gap).sum::<usize>().saturating_sub(gap)
        };
        while columns.len() > 1 && total(&columns) > room {
            let spare = |at: &usize| (self.heads[columns[*at].0].spare, *at);
            let at = (0..columns.len()).max_by_key(spare).expect("there is more than one");
            columns.remove(at);
        }
        let mut left = room.saturating_sub(total(&columns));
        for one in &mut columns {
            let wide = one.1.min(least(one).saturating_add(left));
            left -= wide - least(one);
            one.1 = wide;
        }
        columns
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name in the table's place in the page's document.
    pub key: String,
    /// By column.
    pub cells: Vec<Cell>,
}
