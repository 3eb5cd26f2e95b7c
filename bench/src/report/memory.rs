//! Memory per connection: what each figure counts, stacked where it has parts.

use super::chart::stack::{self, Fill, MAX_PARTS, Stack};
use super::page::{Block, Cell, Chart, Column, Table};
use super::palette::Palette;
use super::parts::{column, in_words, keys, name, pointer, transposed};
use super::statistics::Row;

/// A part of a result with such figures.
pub(crate) fn is_memory(key: &str) -> bool {
    key.contains("bytes_per_connection")
}

/// Words of the keys that say what all of them are.
const NAMING: [&str; 4] = ["memory", "bytes", "per", "connection"];

const USER: &str = "target_user_pss";
const CGROUP: &str = "target_cgroup";

/// What is known of the keys: title, and what is counted.
const KNOWN: [(&str, &str, &str); 5] = [
    (USER, "user", "PSS of the target's processes: memory of their own, shared pages by share"),
    (
        CGROUP,
        "user and kernel",
        "all that the target's memory cgroup is charged: user memory, sockets, files",
    ),
    (
        "machine_slab",
        "slab, whole machine",
        "the kernel's slab pages of the whole machine: both ends of every connection, generator \
         and servers included",
    ),
    (
        "machine_tcp_queued",
        "queued, whole machine",
        "pages of the whole machine that hold what is queued in TCP sockets, at both ends",
    ),
    (
        "sent_and_unread",
        "sent, not read",
        "bytes that clients sent and whose echo they left unread",
    ),
];

/// Charts and tables of everything that the rows measured per connection.
pub(crate) fn blocks(rows: &[Row<'_>], palette: &Palette) -> Vec<Block> {
    let groups = keys(rows, &["measured"]).into_iter().filter(|key| is_memory(key));
    groups.flat_map(|group| Group { rows, palette, key: &group }.blocks()).collect()
}

/// One object of figures.
struct Group<'a> {
    rows: &'a [Row<'a>],
    palette: &'a Palette,
    key: &'a str,
}

impl Group<'_> {
    fn blocks(&self) -> Vec<Block> {
        // What tells it from others, as in memory_bytes_per_connection_warm.
        let words = self.key.split('_').filter(|word| !NAMING.contains(word));
        let kind: Vec<&str> = words.collect();
        let of_kind = |title: &str| match kind.as_slice() {
            [] => title.to_owned(),
            kind => format!("{title}, {}", kind.join(" ")),
        };
        let title = of_kind("Memory per connection");
        let all = keys(self.rows, &["measured", self.key]);
        let (split, plain): (Vec<&String>, Vec<&String>) =
            all.iter().partition(|key| !keys(self.rows, &["measured", self.key, key]).is_empty());
        let is_known = |key: &&str| self.values(&[key]).iter().any(Option::is_some);
        let mut plain: Vec<&str> = plain.into_iter().map(String::as_str).filter(is_known).collect();
        if plain.is_empty() && split.is_empty() {
            return Vec::new();
        }
        let place = |key: &str| KNOWN.iter().position(|(known, _, _)| *known == key);
        plain.sort_by_key(|key| place(key).unwrap_or(KNOWN.len()));
        let mut charts: Vec<Chart> = self.own_chart(&title, &plain).into_iter().collect();
        let has_parts = |key: &str| split.iter().any(|split| split.starts_with(key));
        for key in plain.iter().filter(|key| ![USER, CGROUP].contains(key) && !has_parts(key)) {
            let values = self.values(&[key]);
            let title = of_kind(&format!("{} per connection", capital(known(key).0)));
            charts.push(self.chart(&title, &[known(key).0], &[values]));
        }
        let mut tables = Vec::new();
        if !plain.is_empty() {
            tables.push(Block::Table(self.table(title, &plain)));
        }
        for key in split {
            let (parts, values) = self.split(key);
            let title = of_kind(&capital(&format!("{} per connection", in_words(key))));
            let names: Vec<&str> = parts.iter().map(String::as_str).collect();
            charts.push(self.chart(&title, &names, &values));
            tables.push(Block::Table(self.split_table(title, &names, &values)));
        }
        let charts = (!charts.is_empty()).then_some(Block::Charts(charts));
        charts.into_iter().chain(tables).collect()
    }

    /// One value for each row.
    fn values(&self, path: &[&str]) -> Vec<Option<f64>> {
        let path = pointer(&[&["measured", self.key], path].concat());
        self.rows.iter().map(|row| row.spread(&path).map(|spread| spread.median)).collect()
    }

    /// What the target's sockets cost beyond its own memory.
    fn kernel(&self) -> Vec<Option<f64>> {
        let (all, user) = (self.values(&[CGROUP]), self.values(&[USER]));
        all.into_iter().zip(user).map(|(all, user)| Some(all? - user?)).collect()
    }

    /// User memory, and the kernel's beside it where it is known.
    fn own_chart(&self, title: &str, plain: &[&str]) -> Option<Chart> {
        plain.contains(&USER).then_some(())?;
        let (mut parts, mut values) = (vec!["user (PSS)"], vec![self.values(&[USER])]);
        if plain.contains(&CGROUP) {
            parts.push("kernel (memory cgroup less PSS)");
            values.push(self.kernel());
        }
        let legend = "bytes, less is better";
        Some(stack::draw(title, legend, &parts, Fill::OfTarget, &self.stacks(&values)))
    }

    fn chart(&self, title: &str, parts: &[&str], values: &[Vec<Option<f64>>]) -> Chart {
        let is_of_machine = title.starts_with("Machine") || parts == ["slab, whole machine"];
        let legend = if is_of_machine { "bytes of the whole machine, both ends" } else { "bytes" };
        stack::draw(title, legend, parts, Fill::Neutral, &self.stacks(values))
    }

    fn stacks(&self, values: &[Vec<Option<f64>>]) -> Vec<Stack<'_>> {
        let stack = |(index, row)| {
            let row: &Row<'_> = row;
            Stack {
                name: &row.label,
                version: row.version,
                colour: self.palette.of(row.target),
                parts: values.iter().map(|of_rows| of_rows[index]).collect(),
            }
        };
        self.rows.iter().enumerate().map(stack).collect()
    }

    /// The largest parts of a split, and the others in one.
    fn split(&self, key: &str) -> (Vec<String>, Vec<Vec<Option<f64>>>) {
        let parts = keys(self.rows, &["measured", self.key, key]);
        let mut parts: Vec<(String, Vec<Option<f64>>)> =
            parts.into_iter().map(|part| (part.clone(), self.values(&[key, &part]))).collect();
        let size = |values: &[Option<f64>]| values.iter().flatten().map(|v| v.abs()).sum::<f64>();
        parts.sort_by(|a, b| size(&b.1).total_cmp(&size(&a.1)));
        if parts.len() > MAX_PARTS {
            let others = parts.split_off(MAX_PARTS - 1);
            let sum = |index: usize| {
                let known = others.iter().filter_map(|(_, values)| values[index]);
                known.reduce(|a, b| a + b)
            };
            let sums = (0..self.rows.len()).map(sum).collect();
            parts.push((format!("{} others", others.len()), sums));
        }
        parts.into_iter().unzip()
    }

    fn names(&self) -> Vec<Cell> {
        self.rows.iter().map(|row| name(row, self.palette.of(row.target))).collect()
    }

    fn table(&self, caption: String, plain: &[&str]) -> Table {
        let mut columns = vec![Column::words("Of")];
        let (mut cells, mut notes) = (vec![self.names()], Vec::new());
        for key in plain {
            let (title, meaning) = known(key);
            columns.push(Column::number(title, "bytes"));
            cells.push(column(&self.values(&[key])));
            if !meaning.is_empty() {
                notes.push(format!("{}: {meaning}.", capital(title)));
            }
            if *key == USER && plain.contains(&CGROUP) {
                columns.push(Column::number("kernel", "bytes"));
                cells.push(column(&self.kernel()));
                notes.push("Kernel: what the memory cgroup is charged, less user.".to_owned());
            }
        }
        Table { caption, columns, rows: transposed(cells), notes }
    }

    fn split_table(&self, caption: String, names: &[&str], values: &[Vec<Option<f64>>]) -> Table {
        let mut columns = vec![Column::words("Of")];
        columns.extend(names.iter().map(|name| Column::number(name, "bytes")));
        let mut cells = vec![self.names()];
        cells.extend(values.iter().map(|values| column(values)));
        let notes = vec!["Where slab is of the machine, it holds both ends.".to_owned()];
        Table { caption, columns, rows: transposed(cells), notes }
    }
}

fn known(key: &str) -> (&str, &'static str) {
    match KNOWN.iter().find(|(known, _, _)| *known == key) {
        Some((_, title, meaning)) => (title, meaning),
        None => (key, ""),
    }
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}
